/* slot_use.c - the SlotUse type: `with manager.use(name) as slot`. */
#include "ext/slots.h"

typedef struct slot_use {
    PyObject_HEAD
    bpx_slot *slot;
    PyObject *timeout;     /* a number, None, or NULL: 0 */
    bp_deferred *deferred; /* NULL: handed over */
    bp_stream stream;
    bool is_writing;
    bool is_begun;
} slot_use;

/* ---- life ---------------------------------------------------------------- */

PyObject *bpx_slot_use_new(bpx_slot *slot, bp_stream stream, bool is_writing,
                           PyObject *timeout)
{
    PyTypeObject *type = bpx_state_of(slot->module)->slot_use_type;
    slot_use *self = (slot_use *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->slot = (bpx_slot *)Py_NewRef(slot);
    self->timeout = Py_XNewRef(timeout);
    self->stream = stream;
    self->is_writing = is_writing;
    self->deferred = bp_deferred_new(bpx_slots_tree(slot->manager)->core);
    if (self->deferred == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

/* No tp_clear: the finaliser needs the slot. */
static int use_traverse(PyObject *object, visitproc visit, void *arg)
{
    slot_use *self = (slot_use *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->slot);
    Py_VISIT(self->timeout);
    return 0;
}

/* Dropped inside its block: the use ends, and where its stream was nobody can
 * say any more. */
static void use_dealloc(PyObject *object)
{
    slot_use *self = (slot_use *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->slot != NULL) {
        bpx_slots *manager = self->slot->manager;
        bpx_tree_defer(bpx_slots_tree(manager), self->deferred,
                       BP_DEFER_USE_END,
                       self->is_begun ? self->slot->cell->handle : BP_NO_SLOT);
        if (self->is_begun) {
            bpx_slots_unhold_later(manager);
        }
    }
    Py_XDECREF(self->timeout);
    Py_XDECREF(self->slot);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- with ---------------------------------------------------------------- */

static PyObject *use_enter(PyObject *object, PyObject *Py_UNUSED(unused))
{
    slot_use *self = (slot_use *)object;
    bpx_slot *slot = self->slot;
    if (self->is_begun) {
        return bpx_raise_as(bpx_state_of(slot->module), BP_BUSY,
                            "this use of slot '%.80s' has begun already",
                            bpx_cell_text(slot->cell));
    }
    self->is_begun = true;
    if (bpx_slot_begin(slot, self->is_writing ? BP_WRITES : BP_READS,
                       self->timeout) < 0) {
        self->is_begun = false;
        return bpx_tree_after(bpx_slots_tree(slot->manager), NULL);
    }
    return bpx_tree_after(bpx_slots_tree(slot->manager), Py_NewRef(slot));
}

static PyObject *use_exit(PyObject *object, PyObject *Py_UNUSED(args))
{
    slot_use *self = (slot_use *)object;
    if (self->is_begun) {
        self->is_begun = false;
        bpx_slot_end(self->slot, self->stream);
    }
    return bpx_tree_after(bpx_slots_tree(self->slot->manager),
                          Py_NewRef(Py_None));
}

static PyObject *use_get_slot(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((slot_use *)self)->slot);
}

static PyObject *use_repr(PyObject *object)
{
    slot_use *self = (slot_use *)object;
    return PyUnicode_FromFormat("<SlotUse of %R, %s>", self->slot->cell->name,
                                self->is_begun ? "begun" : "not begun");
}

/* ---- the type ------------------------------------------------------------ */

PyDoc_STRVAR(use_doc,
             "One use of a slot: ``with manager.use(name, stream) as slot``.\n"
             "From the beginning of the block to its end the host uses the\n"
             "slot; after it, the device does until what was in the stream\n"
             "has passed. May be used again when it is over.");
PyDoc_STRVAR(enter_doc, "__enter__($self, /)\n--\n\n"
                        "Begin, and restore the slot if it was evicted.");
PyDoc_STRVAR(exit_doc, "__exit__($self, /, *args)\n--\n\n"
                       "The host is done.");
PyDoc_STRVAR(slot_doc, "The Slot.");

static PyMethodDef use_methods[] = {
    {"__enter__", use_enter, METH_NOARGS, enter_doc},
    {"__exit__", use_exit, METH_VARARGS, exit_doc},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef use_getset[] = {{"slot", use_get_slot, NULL, slot_doc, NULL},
                                   {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot use_slots[] = {{Py_tp_doc, (void *)use_doc},
                                  {Py_tp_dealloc, (void *)use_dealloc},
                                  {Py_tp_traverse, (void *)use_traverse},
                                  {Py_tp_repr, (void *)use_repr},
                                  {Py_tp_methods, use_methods},
                                  {Py_tp_getset, use_getset},
                                  {0, NULL}};

static PyType_Spec use_spec = {
    .name = "bayplan._core.SlotUse",
    .basicsize = sizeof(slot_use),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = use_slots};

int bpx_slot_use_add_type(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    PyObject *type = PyType_FromModuleAndSpec(module, &use_spec, NULL);
    st->slot_use_type = (PyTypeObject *)type;
    return type == NULL ? -1 : PyModule_AddObjectRef(module, "SlotUse", type);
}
