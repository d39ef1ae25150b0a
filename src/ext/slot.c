/* slot.c - the Slot type: one named slot, as long as it is there. */
#include "ext/slots.h"

#include "ext/slot_docs.h"

/* ---- life ---------------------------------------------------------------- */

/* The Slot that already stands for a cell, or NULL. */
static bpx_slot *find_wrapped(const bpx_cell *cell)
{
    return cell->slot_ref == NULL ? NULL
                                  : (bpx_slot *)bpx_weakref_get(cell->slot_ref);
}

bpx_slot *bpx_slot_of(bpx_slots *manager, bpx_cell *cell)
{
    bpx_slot *self = find_wrapped(cell);
    if (self != NULL) {
        return self;
    }
    PyTypeObject *type = bpx_slots_state(manager)->slot_class;
    self = (bpx_slot *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->module = Py_NewRef(manager->module);
    self->manager = (bpx_slots *)Py_NewRef(manager);
    self->cell = (bpx_cell *)Py_NewRef(cell);
    PyObject *ref = PyWeakref_NewRef((PyObject *)self, NULL);
    if (ref == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    Py_XSETREF(cell->slot_ref, ref);
    return self;
}

/* No tp_clear: a finaliser needs all of it, and nothing here can be the only
 * link of a cycle that leads on through functions or __dict__s. */
static int slot_traverse(PyObject *object, visitproc visit, void *arg)
{
    bpx_slot *self = (bpx_slot *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->module);
    Py_VISIT(self->manager);
    Py_VISIT(self->cell);
    return 0;
}

static void slot_dealloc(PyObject *object)
{
    bpx_slot *self = (bpx_slot *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weaklist != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    Py_XDECREF(self->cell);
    Py_XDECREF(self->manager);
    Py_XDECREF(self->module);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- reading ------------------------------------------------------------- */

static PyObject *get_name(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((bpx_slot *)self)->cell->name);
}

static PyObject *get_kind(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((bpx_slot *)self)->cell->kind);
}

static PyObject *get_manager(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((bpx_slot *)self)->manager);
}

/* Fields of bp_slot_info, by name. */
enum {
    FIELD_NBYTES,
    FIELD_CHARGED,
    FIELD_STATE,
    FIELD_RESIDENT,
    FIELD_GENERATION,
    FIELD_LAST_USE,
    FIELD_PRIORITY,
    FIELD_PINNED,
    FIELD_HOST_USES,
    FIELD_HOST_BYTES,
    FIELD_DIRTY,
    FIELD_BUSY
};

#define BUSY_CLOSURE ((void *)(intptr_t)FIELD_BUSY)

static PyObject *field_of(bpx_state *st, const bp_slot_info *info, int field)
{
    switch (field) {
    case FIELD_NBYTES:
        return PyLong_FromUnsignedLongLong(info->n_bytes);
    case FIELD_CHARGED:
        return PyLong_FromUnsignedLongLong(info->n_charged);
    case FIELD_STATE:
        return Py_NewRef(st->slot_states[info->state]);
    case FIELD_RESIDENT:
        return PyBool_FromLong(info->state == BP_SLOT_RESIDENT);
    case FIELD_GENERATION:
        return PyLong_FromUnsignedLongLong(info->generation);
    case FIELD_LAST_USE:
        return PyLong_FromUnsignedLongLong(info->last_use);
    case FIELD_PRIORITY:
        return PyLong_FromLong(info->priority);
    case FIELD_PINNED:
        return PyBool_FromLong(info->is_pinned);
    case FIELD_HOST_USES:
        return PyLong_FromUnsignedLong(info->n_host_uses);
    case FIELD_HOST_BYTES:
        return PyLong_FromUnsignedLongLong(info->n_host_bytes);
    case FIELD_DIRTY:
        return PyBool_FromLong(info->is_dirty);
    default:
        return PyBool_FromLong(info->is_busy);
    }
}

static PyObject *get_field(PyObject *object, void *closure)
{
    bpx_slot *self = (bpx_slot *)object;
    bpx_state *st = bpx_state_of(self->module);
    bpx_tree *tree = bpx_slots_tree(self->manager);
    bp_slot_info info;
    bp_error error = {.status = BP_OK};
    if (bpx_slots_check(self->manager) < 0) {
        return NULL;
    }
    if (closure == BUSY_CLOSURE) {
        bpx_tree_settle(tree); /* asks the device */
    }
    bpx_tree_before(tree);
    if (bp_slot_get_info(tree->core, self->cell->handle, &info, &error) !=
        BP_OK) {
        return bpx_tree_after(tree, bpx_slot_raise(self, &error));
    }
    return bpx_tree_after(tree, field_of(st, &info, (int)(intptr_t)closure));
}

static PyObject *slot_repr(PyObject *object)
{
    bpx_slot *self = (bpx_slot *)object;
    bp_slot_info info;
    bool is_there = !self->manager->is_closed &&
                    bp_slot_get_info(bpx_slots_tree(self->manager)->core,
                                     self->cell->handle, &info, NULL) == BP_OK;
    if (!bpx_tree_is_ours(bpx_slots_tree(self->manager))) {
        return PyUnicode_FromFormat("<Slot %R of another process>",
                                    self->cell->name);
    }
    return PyUnicode_FromFormat("<Slot %R: %llu bytes, %s>", self->cell->name,
                                (unsigned long long)self->cell->n_bytes,
                                is_there ? bp_slot_state_name(info.state)
                                         : "gone");
}

/* ---- the type ------------------------------------------------------------ */

#define FAST(name, function, doc)                                              \
    {name, (PyCFunction)(void (*)(void))(function),                            \
     METH_FASTCALL | METH_KEYWORDS, doc}

static PyMethodDef slot_methods[] = {
    FAST("copy_from", bpx_slot_copy_from, copy_from_doc),
    FAST("copy_to", bpx_slot_copy_to, copy_to_doc),
    FAST("view", bpx_slot_view, view_doc),
    {NULL, NULL, 0, NULL}};

#define FIELD(name, which)                                                     \
    {#name, get_field, NULL, name##_doc, (void *)(intptr_t)(which)}

static PyGetSetDef slot_getset[] = {
    {"name", get_name, NULL, name_doc, NULL},
    {"kind", get_kind, NULL, kind_doc, NULL},
    {"manager", get_manager, NULL, manager_doc, NULL},
    FIELD(nbytes, FIELD_NBYTES),
    FIELD(charged, FIELD_CHARGED),
    FIELD(state, FIELD_STATE),
    FIELD(resident, FIELD_RESIDENT),
    FIELD(generation, FIELD_GENERATION),
    FIELD(last_use, FIELD_LAST_USE),
    FIELD(priority, FIELD_PRIORITY),
    FIELD(pinned, FIELD_PINNED),
    FIELD(host_uses, FIELD_HOST_USES),
    FIELD(host_bytes, FIELD_HOST_BYTES),
    FIELD(dirty, FIELD_DIRTY),
    FIELD(busy, FIELD_BUSY),
    {NULL, NULL, NULL, NULL, NULL}};

static PyMemberDef slot_members[] = {{"__weaklistoffset__", T_PYSSIZET,
                                      offsetof(bpx_slot, weaklist), READONLY,
                                      NULL},
                                     {NULL, 0, 0, 0, NULL}};

static PyType_Slot slot_slots[] = {{Py_tp_doc, (void *)slot_doc},
                                   {Py_tp_dealloc, (void *)slot_dealloc},
                                   {Py_tp_traverse, (void *)slot_traverse},
                                   {Py_tp_repr, (void *)slot_repr},
                                   {Py_tp_methods, slot_methods},
                                   {Py_tp_getset, slot_getset},
                                   {Py_tp_members, slot_members},
                                   {0, NULL}};

static PyType_Spec slot_spec = {
    .name = "bayplan._core.Slot",
    .basicsize = sizeof(bpx_slot),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slot_slots};

int bpx_slot_add_type(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    PyObject *type = PyType_FromModuleAndSpec(module, &slot_spec, NULL);
    if (type == NULL) {
        return -1;
    }
    st->slot_type = (PyTypeObject *)type;
    st->slot_class = (PyTypeObject *)Py_NewRef(type);
    return PyModule_AddObjectRef(module, "Slot", type);
}
