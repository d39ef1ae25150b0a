/* owners.c - Python factories to core factories, by identity.
 *
 * An owner is held by a weak reference, never hashed and never compared. Its
 * address finds its record; the weak reference proves that the address still
 * means the same object. The weak reference's callback knows the registry
 * weakly, so that neither keeps the other alive.
 */
#include "ext/registry.h"

#include <string.h>

static size_t index_of(bp_factory factory)
{
    return (size_t)(factory & UINT32_MAX);
}

/* ---- finding ----------------------------------------------------------- */

bpx_owner *bpx_owner_find(const bpx_registry *self, PyObject *object)
{
    uintptr_t index;
    if (!bpx_ptrmap_get(&self->owners.by_object, object, &index)) {
        return NULL;
    }
    bpx_owner *owner = &self->owners.items[index];
    PyObject *alive = bpx_weakref_get(owner->ref);
    /* `object` lives, since the caller has it; so nothing dies here. */
    bool is_same = alive == object;
    Py_XDECREF(alive);
    return is_same ? owner : NULL;
}

PyObject *bpx_owner_of(const bpx_registry *self, bp_factory factory)
{
    size_t index = index_of(factory);
    if (factory == BP_NO_FACTORY || index >= self->owners.n_items ||
        self->owners.items[index].factory != factory) {
        return NULL;
    }
    return bpx_weakref_get(self->owners.items[index].ref);
}

bool bpx_owner_is_elsewhere(const bpx_registry *self, PyObject *object)
{
    const bpx_registry *other = bpx_registry_state(self)->registries;
    for (; other != NULL; other = other->next) {
        if (other != self && bpx_owner_find(other, object) != NULL) {
            return true;
        }
    }
    return false;
}

/* ---- closing ----------------------------------------------------------- */

/* Take record `index` out of the maps and close its factory; the caller drops
 * the two references, which may run code of the user. */
static bpx_owner take_out(bpx_registry *self, size_t index)
{
    bpx_owner *owner = &self->owners.items[index];
    bpx_owner taken = *owner;
    uintptr_t current;
    if (bpx_ptrmap_get(&self->owners.by_object, taken.object, &current) &&
        current == index) {
        bpx_ptrmap_remove(&self->owners.by_object, taken.object);
    }
    bpx_ptrmap_remove(&self->owners.by_ref, taken.ref);
    *owner = (bpx_owner){.factory = BP_NO_FACTORY};
    bp_factory_close(self->core, taken.factory);
    return taken;
}

static void close_owner(bpx_registry *self, size_t index)
{
    bpx_owner taken = take_out(self, index);
    Py_XDECREF(taken.layout);
    Py_XDECREF(taken.ref);
}

void bpx_owner_undo(bpx_registry *self, PyObject *object)
{
    bpx_owner *owner = bpx_owner_find(self, object);
    if (owner != NULL) {
        close_owner(self, index_of(owner->factory));
    }
}

/* The callback of every owner's weak reference. `registry_ref` is a weak
 * reference, too: a registry that is gone needs no telling. */
static PyObject *owner_died(PyObject *registry_ref, PyObject *ref)
{
    bpx_registry *self = (bpx_registry *)bpx_weakref_get(registry_ref);
    uintptr_t index;
    if (self != NULL && bpx_ptrmap_get(&self->owners.by_ref, ref, &index)) {
        close_owner(self, index);
    }
    Py_XDECREF(self);
    Py_RETURN_NONE;
}

static PyMethodDef owner_died_def = {"owner_died", owner_died, METH_O, NULL};

PyObject *bpx_owner_callback_new(bpx_registry *self)
{
    PyObject *self_ref = PyWeakref_NewRef((PyObject *)self, NULL);
    if (self_ref == NULL) {
        return NULL;
    }
    PyObject *callback = PyCFunction_New(&owner_died_def, self_ref);
    Py_DECREF(self_ref);
    return callback;
}

/* ---- opening ----------------------------------------------------------- */

static PyObject *new_ref(bpx_registry *self, PyObject *object)
{
    PyObject *ref = PyWeakref_NewRef(object, self->callback);
    if (ref == NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Format(
            PyExc_TypeError,
            "a registry holds its factories by weak reference, and '%s' "
            "objects allow none: add '__weakref__' to the __slots__ of the "
            "class, or register an object of a class of your own",
            Py_TYPE(object)->tp_name);
    }
    return ref;
}

/* Room for the record of `factory`. */
static int reserve(bpx_owners *owners, bp_factory factory)
{
    size_t index = index_of(factory);
    if (bpx_ptrmap_reserve(&owners->by_object) < 0 ||
        bpx_ptrmap_reserve(&owners->by_ref) < 0) {
        return -1;
    }
    if (index < owners->n_items) {
        return 0;
    }
    size_t n_items = 2 * index + 8;
    bpx_owner *items = owners->items;
    PyMem_Resize(items, bpx_owner, n_items);
    if (items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(items + owners->n_items, 0,
           (n_items - owners->n_items) * sizeof *items);
    owners->items = items;
    owners->n_items = n_items;
    return 0;
}

/* No Python object is made from here on, so nobody can come between. */
static bp_factory open_core(bpx_registry *self, PyObject *object, PyObject *ref,
                            const char *type_name, const bpx_dtype *precision)
{
    bp_factory factory = BP_NO_FACTORY;
    bp_error error = {.status = BP_OK};
    if (bp_factory_open(self->core, type_name, &precision->core, &factory,
                        &error) != BP_OK) {
        bpx_raise(bpx_registry_state(self), &error);
        return BP_NO_FACTORY;
    }
    if (reserve(&self->owners, factory) < 0) {
        bp_factory_close(self->core, factory);
        return BP_NO_FACTORY;
    }
    size_t index = index_of(factory);
    self->owners.items[index] = (bpx_owner){.factory = factory,
                                            .object = object,
                                            .ref = Py_NewRef(ref),
                                            .precision = precision};
    bpx_ptrmap_set(&self->owners.by_object, object, index);
    bpx_ptrmap_set(&self->owners.by_ref, ref, index);
    return factory;
}

bp_factory bpx_owner_open(bpx_registry *self, PyObject *object,
                          const bpx_dtype *precision, bool *is_new)
{
    *is_new = false;
    bpx_owner *known = bpx_owner_find(self, object);
    if (known != NULL) {
        return known->factory;
    }
    if (precision == NULL) { /* it was known a moment ago */
        bpx_raise_unknown_factory(self, object);
        return BP_NO_FACTORY;
    }
    bp_factory factory = BP_NO_FACTORY;
    PyObject *ref = new_ref(self, object);
    PyObject *type_name = ref == NULL ? NULL : PyType_GetName(Py_TYPE(object));
    const char *utf8 = type_name == NULL ? NULL : PyUnicode_AsUTF8(type_name);
    if (utf8 != NULL) {
        known = bpx_owner_find(self, object); /* opened meanwhile? */
        if (known != NULL) {
            factory = known->factory;
        } else {
            factory = open_core(self, object, ref, utf8, precision);
            *is_new = factory != BP_NO_FACTORY;
        }
    }
    Py_XDECREF(type_name);
    Py_XDECREF(ref);
    return factory;
}

PyObject *bpx_raise_unknown_factory(bpx_registry *self, PyObject *object)
{
    bp_error error = {.status = BP_OK};
    const char *name = Py_TYPE(object)->tp_name;
    size_t n = bp_registry_count(self->core);
    bp_status status =
        bp_fail(&error, BP_UNKNOWN_FACTORY,
                "this %.80s has no buffers here (the registry knows %zu %s)",
                name, n, n == 1 ? "factory" : "factories");
    bp_error_about(&error, name, NULL);
    return status == BP_OK ? NULL : bpx_raise(bpx_registry_state(self), &error);
}

/* ---- garbage collection ------------------------------------------------ */

int bpx_owners_traverse(bpx_owners *owners, visitproc visit, void *arg)
{
    for (size_t i = 0; i < owners->n_items; i++) {
        Py_VISIT(owners->items[i].ref);
        Py_VISIT(owners->items[i].layout);
    }
    return 0;
}

void bpx_owners_clear(bpx_owners *owners)
{
    bpx_owners taken = *owners;
    *owners = (bpx_owners){.items = NULL};
    for (size_t i = 0; i < taken.n_items; i++) {
        Py_XDECREF(taken.items[i].layout);
        Py_XDECREF(taken.items[i].ref);
    }
    PyMem_Free(taken.items);
    bpx_ptrmap_fini(&taken.by_object);
    bpx_ptrmap_fini(&taken.by_ref);
}
