/* slot_view.c - the SlotView type: a slot's bytes where they are, as an array.
 *
 * A view is one use of its slot by the host. Arrays made from it hold it, so
 * the use ends when the last of them is gone, on whatever thread that is.
 */
#include "ext/slots.h"

typedef struct slot_view {
    PyObject_HEAD
    bpx_slot *slot;
    PyArray_Descr *descr;
    bp_deferred *deferred;
    void *data; /* holds while the view does */
    npy_intp shape[BP_MAX_DIMS];
    int n_dims;
    bool is_writing;
    bool is_begun;
    PyObject *weaklist;
} slot_view;

/* ---- life ---------------------------------------------------------------- */

/* No tp_clear: the finaliser needs the slot. Arrays are invisible to the
 * collector, so a view that has some is never garbage. */
static int view_traverse(PyObject *object, visitproc visit, void *arg)
{
    slot_view *self = (slot_view *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->slot);
    return 0;
}

static void view_dealloc(PyObject *object)
{
    slot_view *self = (slot_view *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weaklist != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    bpx_slots *manager = self->slot->manager;
    bpx_tree_defer(bpx_slots_tree(manager), self->deferred,
                   BP_DEFER_HOST_USE_END,
                   self->is_begun ? self->slot->cell->handle : BP_NO_SLOT);
    if (self->is_begun) {
        bpx_slots_unhold_later(manager);
    }
    Py_XDECREF(self->descr);
    Py_DECREF(self->slot);
    type->tp_free(object);
    Py_DECREF(type);
}

/* A view that looks at nothing yet. */
static slot_view *view_new(bpx_slot *slot, const bpx_dtype *dtype)
{
    PyTypeObject *type = bpx_state_of(slot->module)->slot_view_type;
    slot_view *self = (slot_view *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->slot = (bpx_slot *)Py_NewRef(slot);
    self->descr = (PyArray_Descr *)Py_NewRef(dtype->descr);
    self->deferred = bp_deferred_new(bpx_slots_tree(slot->manager)->core);
    if (self->deferred == NULL) {
        Py_DECREF(self);
        PyErr_NoMemory();
        return NULL;
    }
    return self;
}

/* ---- what to see --------------------------------------------------------- */

static int raise_bad_shape(const slot_view *self, const char *why, uint64_t n,
                           uint64_t limit)
{
    bp_error error = {.status = BP_OK};
    bp_status status = bp_fail(&error, BP_BAD_SIZE, why, (unsigned long long)n,
                               (unsigned long long)limit);
    bp_error_numbers(&error, n, limit);
    if (status != BP_OK) {
        bpx_raise(bpx_state_of(self->slot->module), &error);
    }
    return -1;
}

/* All of the slot, as elements of `n_element` bytes. */
static int shape_whole(slot_view *self, uint64_t n_element)
{
    uint64_t n = self->slot->cell->n_bytes;
    if (n % n_element != 0) {
        return raise_bad_shape(self,
                               "%llu bytes do not divide into elements of "
                               "%llu bytes",
                               n, n_element);
    }
    self->shape[0] = (npy_intp)(n / n_element);
    self->n_dims = 1;
    return 0;
}

static int shape_given(slot_view *self, PyObject *object, uint64_t n_element)
{
    bpx_state *st = bpx_state_of(self->slot->module);
    uint64_t shape[BP_MAX_DIMS];
    uint32_t n_dims;
    if (bpx_to_shape(st, object, "view", shape, &n_dims) < 0) {
        return -1;
    }
    uint64_t n = n_element;
    uint64_t room = self->slot->cell->n_bytes;
    for (uint32_t i = 0; i < n_dims; i++) {
        /* An empty view may not overflow in its other dimensions either. */
        if (!bp_mul(n, shape[i] == 0 ? 1 : shape[i], &n) || n > room) {
            return raise_bad_shape(self,
                                   "the view has %llu bytes or more, and the "
                                   "slot has %llu",
                                   n, room);
        }
        self->shape[i] = (npy_intp)shape[i];
    }
    self->n_dims = (int)n_dims;
    return 0;
}

/* A view may outlive the function that fills the slot, and the memory of a slot
 * goes when that function fails. */
static int refuse_filling(const bpx_slot *slot)
{
    bpx_raise_as(bpx_state_of(slot->module), BP_BUSY,
                 "slot '%.80s' is being loaded: what loads it fills it with "
                 "copy_from(), and views come afterwards",
                 bpx_cell_text(slot->cell));
    return -1;
}

static int view_begin(slot_view *self)
{
    bpx_slot *slot = self->slot;
    if (bpx_slot_is_filled_here(slot)) {
        return refuse_filling(slot);
    }
    if (bpx_slot_begin(slot, self->is_writing ? BP_WRITES : BP_READS, NULL) <
        0) {
        return -1;
    }
    self->is_begun = true;
    self->data = bp_slot_get_host_view(bpx_slots_tree(slot->manager)->core,
                                       slot->cell->handle);
    if (self->data == NULL) {
        bpx_raise_as(bpx_state_of(slot->module), BP_NOT_YET,
                     "views of memory that the host cannot see");
        return -1;
    }
    return 0;
}

PyObject *bpx_slot_view(PyObject *object, PyObject *const *args,
                        Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "view", 3, 3, 0, {BPX_dtype, BPX_shape, BPX_write}};
    bpx_slot *slot = (bpx_slot *)object;
    bpx_state *st = bpx_state_of(slot->module);
    PyObject *given[3];
    bool is_writing = true;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        (given[2] != NULL &&
         bpx_to_bool(st, given[2], "write", &is_writing) < 0)) {
        return NULL;
    }
    PyObject *uint8 = (PyObject *)&PyUInt8ArrType_Type;
    const bpx_dtype *dtype =
        bpx_dtype_convert(st, given[0] == NULL ? uint8 : given[0]);
    slot_view *self = dtype == NULL ? NULL : view_new(slot, dtype);
    if (self == NULL) {
        return NULL;
    }
    self->is_writing = is_writing;
    bool is_whole = given[1] == NULL || given[1] == Py_None;
    uint64_t n_element = dtype->core.n_bytes;
    int rc = is_whole ? shape_whole(self, n_element)
                      : shape_given(self, given[1], n_element);
    if (rc < 0 || view_begin(self) < 0) {
        Py_CLEAR(self);
    }
    return bpx_tree_after(bpx_slots_tree(slot->manager), (PyObject *)self);
}

/* ---- arrays -------------------------------------------------------------- */

static PyObject *view_numpy(PyObject *object, PyObject *Py_UNUSED(unused))
{
    slot_view *self = (slot_view *)object;
    PyObject *array = PyArray_NewFromDescr(
        &PyArray_Type, (PyArray_Descr *)Py_NewRef(self->descr), self->n_dims,
        self->shape, NULL, self->data,
        self->is_writing ? NPY_ARRAY_WRITEABLE : 0, NULL);
    if (array == NULL) {
        return NULL;
    }
    if (PyArray_SetBaseObject((PyArrayObject *)array, Py_NewRef(self)) < 0) {
        Py_CLEAR(array);
    }
    return array;
}

/* Have an array of ours answer. */
static PyObject *ask_array(PyObject *self, const char *method,
                           PyObject *const *args, Py_ssize_t n_args,
                           PyObject *kwnames)
{
    PyObject *array = view_numpy(self, NULL);
    PyObject *function =
        array == NULL ? NULL : PyObject_GetAttrString(array, method);
    PyObject *answer =
        function == NULL
            ? NULL
            : PyObject_Vectorcall(function, args, (size_t)n_args, kwnames);
    Py_XDECREF(function);
    Py_XDECREF(array);
    return answer;
}

static BPX_SLOTS_METHOD(view_dlpack)
{
    return ask_array(self, "__dlpack__", args, n_args, kwnames);
}

static BPX_SLOTS_METHOD(view_array)
{
    return ask_array(self, "__array__", args, n_args, kwnames);
}

static PyObject *view_dlpack_device(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return ask_array(self, "__dlpack_device__", NULL, 0, NULL);
}

/* ---- reading ------------------------------------------------------------- */

static PyObject *get_slot(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((slot_view *)self)->slot);
}

static PyObject *get_dtype(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((slot_view *)self)->descr);
}

static PyObject *get_shape(PyObject *object, void *Py_UNUSED(closure))
{
    slot_view *self = (slot_view *)object;
    return PyArray_IntTupleFromIntp(self->n_dims, self->shape);
}

static PyObject *get_nbytes(PyObject *object, void *Py_UNUSED(closure))
{
    slot_view *self = (slot_view *)object;
    npy_intp n = PyArray_MultiplyList(self->shape, self->n_dims);
    return PyLong_FromSsize_t(n * PyDataType_ELSIZE(self->descr));
}

static PyObject *view_repr(PyObject *object)
{
    slot_view *self = (slot_view *)object;
    PyObject *shape = get_shape(object, NULL);
    PyObject *text =
        shape == NULL
            ? NULL
            : PyUnicode_FromFormat("<SlotView of %R: %R, %S>",
                                   self->slot->cell->name, shape, self->descr);
    Py_XDECREF(shape);
    return text;
}

/* ---- the type ------------------------------------------------------------ */

PyDoc_STRVAR(view_doc,
             "A slot's bytes where they are.\n\n"
             "The slot is in use by the host until the view and every array\n"
             "made from it are gone. `numpy.asarray` and `numpy.from_dlpack`\n"
             "take a view of the simulator's memory as it is.");
PyDoc_STRVAR(numpy_doc,
             "numpy($self, /)\n--\n\n"
             "The bytes as an array: no copy; read-only with write=False.\n\n"
             "Returns\n-------\n"
             "numpy.ndarray\n    Of `shape` and `dtype`; holds the view.");
PyDoc_STRVAR(dlpack_doc,
             "__dlpack__($self, /, **kwargs)\n--\n\n"
             "What numpy.ndarray.__dlpack__ gives; holds the view.");
PyDoc_STRVAR(dlpack_device_doc, "__dlpack_device__($self, /)\n--\n\n"
                                "(1, 0): memory of the host.");
PyDoc_STRVAR(array_doc, "__array__($self, /, *args, **kwargs)\n--\n\n"
                        "For numpy.asarray().");
PyDoc_STRVAR(slot_doc, "The Slot.");
PyDoc_STRVAR(dtype_doc, "numpy.dtype of one element.");
PyDoc_STRVAR(shape_doc, "Tuple of elements.");
PyDoc_STRVAR(nbytes_doc, "Bytes that are seen.");

#define FAST(name, function, doc)                                              \
    {name, (PyCFunction)(void (*)(void))(function),                            \
     METH_FASTCALL | METH_KEYWORDS, doc}

static PyMethodDef view_methods[] = {
    {"numpy", view_numpy, METH_NOARGS, numpy_doc},
    FAST("__dlpack__", view_dlpack, dlpack_doc),
    {"__dlpack_device__", view_dlpack_device, METH_NOARGS, dlpack_device_doc},
    FAST("__array__", view_array, array_doc),
    {NULL, NULL, 0, NULL}};

static PyGetSetDef view_getset[] = {
    {"slot", get_slot, NULL, slot_doc, NULL},
    {"dtype", get_dtype, NULL, dtype_doc, NULL},
    {"shape", get_shape, NULL, shape_doc, NULL},
    {"nbytes", get_nbytes, NULL, nbytes_doc, NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyMemberDef view_members[] = {{"__weaklistoffset__", T_PYSSIZET,
                                      offsetof(slot_view, weaklist), READONLY,
                                      NULL},
                                     {NULL, 0, 0, 0, NULL}};

static PyType_Slot view_slots[] = {{Py_tp_doc, (void *)view_doc},
                                   {Py_tp_dealloc, (void *)view_dealloc},
                                   {Py_tp_traverse, (void *)view_traverse},
                                   {Py_tp_repr, (void *)view_repr},
                                   {Py_tp_methods, view_methods},
                                   {Py_tp_getset, view_getset},
                                   {Py_tp_members, view_members},
                                   {0, NULL}};

static PyType_Spec view_spec = {
    .name = "bayplan._core.SlotView",
    .basicsize = sizeof(slot_view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = view_slots};

int bpx_slot_view_add_type(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    PyObject *type = PyType_FromModuleAndSpec(module, &view_spec, NULL);
    st->slot_view_type = (PyTypeObject *)type;
    return type == NULL ? -1 : PyModule_AddObjectRef(module, "SlotView", type);
}
