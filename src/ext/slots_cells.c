/* slots_cells.c - SlotManager: what it knows of its slots' names.
 *
 * The dict is the core's table of names once more, so that touch() is a look-up
 * and a store. While a call without the GIL is under way, the two may differ:
 * the core decides, and a name is entered or forgotten when the call returns.
 */
#include "ext/slots.h"

#include <string.h>

/* ---- cells -------------------------------------------------------------- */

static int cell_traverse(PyObject *object, visitproc visit, void *arg)
{
    bpx_cell *self = (bpx_cell *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->load);
    return 0;
}

static int cell_clear(PyObject *object)
{
    Py_CLEAR(((bpx_cell *)object)->load);
    return 0;
}

static void cell_dealloc(PyObject *object)
{
    bpx_cell *self = (bpx_cell *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    (void)cell_clear(object);
    Py_XDECREF(self->slot_ref);
    Py_XDECREF(self->kind);
    Py_XDECREF(self->name);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyType_Slot cell_slots[] = {{Py_tp_dealloc, (void *)cell_dealloc},
                                   {Py_tp_traverse, (void *)cell_traverse},
                                   {Py_tp_clear, (void *)cell_clear},
                                   {0, NULL}};

static PyType_Spec cell_spec = {
    .name = "bayplan._core._SlotCell",
    .basicsize = sizeof(bpx_cell),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = cell_slots};

int bpx_cell_add_type(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    st->slot_cell_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &cell_spec, NULL);
    return st->slot_cell_type == NULL ? -1 : 0;
}

bpx_cell *bpx_cell_new(bpx_state *st, PyObject *name, PyObject *kind,
                       PyObject *load)
{
    PyTypeObject *type = st->slot_cell_type;
    bpx_cell *self = (bpx_cell *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->name = PyUnicode_FromObject(name);
    self->kind = Py_NewRef(kind == NULL ? Py_None : kind);
    self->load = Py_XNewRef(load);
    if (self->name == NULL) {
        Py_CLEAR(self);
    }
    return self;
}

const char *bpx_cell_text(const bpx_cell *cell)
{
    const char *text = PyUnicode_AsUTF8(cell->name);
    if (text == NULL) { /* no memory to encode it again */
        PyErr_Clear();
    }
    return text == NULL ? "?" : text;
}

/* ---- names -------------------------------------------------------------- */

int bpx_slots_check(const bpx_slots *self)
{
    bpx_state *st = bpx_slots_state(self);
    if (!bpx_tree_is_ours(bpx_slots_tree(self))) {
        bpx_raise_as(st, BP_FORKED,
                     "this slot manager belongs to the parent process");
        return -1;
    }
    if (self->is_closed) {
        bpx_raise_as(st, BP_CLOSED, "this slot manager is closed");
        return -1;
    }
    return 0;
}

/* 1 and a new reference, 0 (no such name, or no name at all), -1. Subclasses of
 * str would have a say in their hash. */
static int look_up(const bpx_slots *self, PyObject *name, PyObject **out)
{
    *out = NULL;
    if (!PyUnicode_Check(name)) {
        return 0;
    }
    if (PyUnicode_CheckExact(name)) {
        return bpx_dict_get(self->by_name, name, out);
    }
    PyObject *plain = PyUnicode_FromObject(name);
    if (plain == NULL) {
        return -1;
    }
    int rc = bpx_dict_get(self->by_name, plain, out);
    Py_DECREF(plain);
    return rc;
}

bpx_cell *bpx_slots_peek(bpx_slots *self, PyObject *name)
{
    PyObject *cell;
    if (look_up(self, name, &cell) < 0) {
        PyErr_Clear(); /* no memory for a plain copy: it is not found */
    }
    return (bpx_cell *)cell;
}

/* The core's text lists the names that there are. Always NULL. */
static bpx_cell *raise_unknown(bpx_slots *self, const char *name)
{
    bpx_state *st = bpx_slots_state(self);
    bp_error error = {.status = BP_OK};
    bp_slot handle;
    if (bp_slots_find(bpx_slots_tree(self)->core, self->handle, name, &handle,
                      &error) == BP_OK) {
        return (bpx_cell *)bpx_raise_as(
            st, BP_UNKNOWN_SLOT,
            "slot '%.80s' is just being made by another thread", name);
    }
    return (bpx_cell *)bpx_raise(st, &error);
}

bpx_cell *bpx_slots_find(bpx_slots *self, PyObject *name)
{
    PyObject *cell;
    if (bpx_slots_check(self) < 0 || look_up(self, name, &cell) < 0) {
        return NULL;
    }
    if (cell != NULL) {
        return (bpx_cell *)cell;
    }
    const char *text;
    if (bpx_to_text(bpx_slots_state(self), name, "the name of a slot",
                    BP_BAD_NAME, &text) < 0) {
        return NULL;
    }
    return raise_unknown(self, text);
}

/* ---- entering and forgetting -------------------------------------------- */

static const void *key_of(bp_slot handle)
{
    return (const void *)(uintptr_t)handle;
}

int bpx_slots_enter(bpx_slots *self, bpx_cell *cell)
{
    bpx_cell *old = bpx_slots_peek(self, cell->name);
    int rc = PyDict_SetItem(self->by_name, cell->name, (PyObject *)cell);
    if (rc == 0 && old != NULL) {
        bpx_ptrmap_remove(&self->by_handle, key_of(old->handle));
    }
    if (rc == 0) {
        bpx_ptrmap_set(&self->by_handle, key_of(cell->handle), (uintptr_t)cell);
    }
    Py_XDECREF(old);
    return rc;
}

void bpx_slots_forget(bpx_slots *self, bpx_cell *cell)
{
    uintptr_t known;
    if (bpx_ptrmap_get(&self->by_handle, key_of(cell->handle), &known) &&
        known == (uintptr_t)cell) {
        bpx_ptrmap_remove(&self->by_handle, key_of(cell->handle));
    }
    bpx_cell *named = bpx_slots_peek(self, cell->name);
    if (named == cell && PyDict_DelItem(self->by_name, cell->name) < 0) {
        PyErr_Clear(); /* cannot be: it is a str, and it is there */
    }
    Py_XDECREF(named);
}

/* ---- handles ------------------------------------------------------------ */

static PyObject *name_of(const bpx_slots *self, bp_slot handle)
{
    uintptr_t cell;
    return bpx_ptrmap_get(&self->by_handle, key_of(handle), &cell)
               ? ((bpx_cell *)cell)->name
               : NULL;
}

PyObject *bpx_slots_names(const bpx_slots *self, const bp_slot *handles,
                          size_t n)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < n; i++) {
        PyObject *name = name_of(self, handles[i]);
        if (name != NULL && PyList_Append(list, name) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

bp_slot *bpx_slots_list(const bpx_slots *self, size_t *n)
{
    bp_tree *tree = bpx_slots_tree(self)->core;
    size_t capacity = 0;
    bp_slot *handles = NULL;
    do { /* another thread may add some */
        capacity += bp_slots_list(tree, self->handle, NULL, 0) + 8;
        bp_slot *more = PyMem_Realloc(handles, capacity * sizeof *more);
        if (more == NULL) {
            PyMem_Free(handles);
            PyErr_NoMemory();
            return NULL;
        }
        handles = more;
        *n = bp_slots_list(tree, self->handle, handles, capacity);
    } while (*n > capacity);
    return handles;
}
