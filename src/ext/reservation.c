/* reservation.c - the Reservation type: bytes of a budget that are promised. */
#include "ext/device.h"

/* ---- life -------------------------------------------------------------- */

static int reserve(bpx_reservation *self, uint64_t n_bytes)
{
    bpx_budget *budget = self->budget;
    bpx_state *st = bpx_budget_state(budget);
    bp_error error;
    bp_shortage shortage;
    bpx_shortage_init(&shortage);
    if (bp_budget_reserve(budget->tree->core, budget->handle, n_bytes,
                          &self->handle, &shortage, &error) != BP_OK) {
        self->handle = BP_NO_RESERVATION;
        bpx_raise_refused(st, &error, &shortage, NULL, NULL);
        return -1;
    }
    return 0;
}

PyObject *bpx_reservation_new(bpx_budget *budget, uint64_t n_bytes)
{
    bpx_state *st = bpx_budget_state(budget);
    bpx_reservation *self = (bpx_reservation *)st->reservation_type->tp_alloc(
        st->reservation_type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->module = Py_NewRef(budget->module);
    self->budget = (bpx_budget *)Py_NewRef((PyObject *)budget);
    self->deferred = bp_deferred_new(budget->tree->core);
    if (self->deferred == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    if (reserve(self, n_bytes) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* The budget stays until the end: the finaliser needs its tree. */
static int reservation_traverse(PyObject *object, visitproc visit, void *arg)
{
    bpx_reservation *self = (bpx_reservation *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->module);
    Py_VISIT(self->budget);
    return 0;
}

static void reservation_dealloc(PyObject *object)
{
    bpx_reservation *self = (bpx_reservation *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weaklist != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    if (self->budget != NULL) {
        bpx_tree_defer(self->budget->tree, self->deferred,
                       BP_DEFER_RESERVATION_CLOSE, self->handle);
    }
    Py_XDECREF(self->budget);
    Py_XDECREF(self->module);
    type->tp_free(object);
    Py_DECREF(type);
}

int bpx_to_reservation(bpx_state *st, PyObject *object, const bpx_tree *tree,
                       bp_reservation *out)
{
    *out = BP_NO_RESERVATION;
    if (object == NULL || object == Py_None) {
        return 0;
    }
    if (!PyObject_TypeCheck(object, st->reservation_type)) {
        bpx_given given;
        bpx_describe(object, &given);
        PyErr_Format(PyExc_TypeError,
                     "reservation must be a Reservation or None, not %s",
                     given.text);
        return -1;
    }
    const bpx_reservation *reservation = (bpx_reservation *)object;
    if (reservation->budget->tree != tree) {
        bpx_raise_as(st, BP_BAD_VALUE,
                     "the reservation belongs to another budget");
        return -1;
    }
    *out = reservation->handle;
    return 0;
}

/* ---- methods ----------------------------------------------------------- */

static PyObject *take(PyObject *object, PyObject *const *args,
                      Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {"take", 2, 2, 1, {BPX_n, BPX_tag}};
    bpx_reservation *self = (bpx_reservation *)object;
    bpx_tree *tree = self->budget->tree;
    bpx_state *st = bpx_tree_state(tree);
    uint64_t n_bytes;
    const char *tag;
    if (bpx_parse_amount(st, &signature, args, n_args, kwnames, &n_bytes,
                         &tag) < 0) {
        return NULL;
    }
    bp_error error;
    bpx_tree_before(tree);
    PyObject *result = bp_reservation_take(tree->core, self->handle, n_bytes,
                                           tag, &error) == BP_OK
                           ? bpx_rounded(self->budget, n_bytes)
                           : bpx_raise_refused(st, &error, NULL, NULL, NULL);
    return bpx_tree_after(tree, result);
}

static PyObject *close_reservation(PyObject *object,
                                   PyObject *Py_UNUSED(unused))
{
    bpx_reservation *self = (bpx_reservation *)object;
    bpx_tree *tree = self->budget->tree;
    self->is_closed = true;
    bpx_tree_before(tree);
    bp_reservation_close(tree->core, self->handle);
    return bpx_tree_after(tree, Py_NewRef(Py_None));
}

static PyObject *enter(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_reservation *self = (bpx_reservation *)object;
    if (self->is_closed) {
        return bpx_raise_as(bpx_tree_state(self->budget->tree), BP_STALE,
                            "this reservation is closed");
    }
    return Py_NewRef(object);
}

static PyObject *leave(PyObject *self, PyObject *Py_UNUSED(args))
{
    return close_reservation(self, NULL);
}

static PyObject *get_left(PyObject *object, void *Py_UNUSED(closure))
{
    bpx_reservation *self = (bpx_reservation *)object;
    return PyLong_FromUnsignedLongLong(
        bp_reservation_left(self->budget->tree->core, self->handle));
}

static PyObject *get_budget(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef((PyObject *)((bpx_reservation *)self)->budget);
}

static PyObject *reservation_repr(PyObject *object)
{
    bpx_reservation *self = (bpx_reservation *)object;
    uint64_t left = bp_reservation_left(self->budget->tree->core, self->handle);
    if (!bpx_tree_is_ours(self->budget->tree)) {
        return PyUnicode_FromString("<Reservation of another process>");
    }
    if (self->is_closed) {
        return PyUnicode_FromString("<Reservation: closed>");
    }
    return PyUnicode_FromFormat("<Reservation: %llu bytes left>",
                                (unsigned long long)left);
}

/* ---- the type ---------------------------------------------------------- */

PyDoc_STRVAR(reservation_doc,
             "Bytes that a budget has promised. Made by `Budget.reserve`.\n\n"
             "A context manager: on exit, what was not taken goes back. It\n"
             "goes back too when the object is dropped.");
PyDoc_STRVAR(take_doc,
             "take($self, /, n, tag=None)\n--\n\n"
             "Count n of the promised bytes as used.\n\n"
             "Returns\n-------\n"
             "int\n    Bytes taken: n, rounded up to the granularity.\n\n"
             "Raises\n------\n"
             "BudgetExceeded\n    More than is left.\n"
             "BufferValueError\n    n is 0, negative, or 2**63 or more.\n"
             "StaleHandle\n    It is closed.");
PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
                        "Give back what is left. Twice does no harm.");

static PyMethodDef reservation_methods[] = {
    {"take", (PyCFunction)(void (*)(void))take, METH_FASTCALL | METH_KEYWORDS,
     take_doc},
    {"close", close_reservation, METH_NOARGS, close_doc},
    {"__enter__", enter, METH_NOARGS, NULL},
    {"__exit__", leave, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef reservation_getset[] = {
    {"left", get_left, NULL, "Bytes not taken yet; 0 once closed.", NULL},
    {"budget", get_budget, NULL, "The budget that promised.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyMemberDef reservation_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(bpx_reservation, weaklist),
     READONLY, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyType_Slot reservation_slots[] = {
    {Py_tp_doc, (void *)reservation_doc},
    {Py_tp_dealloc, reservation_dealloc},
    {Py_tp_traverse, reservation_traverse},
    {Py_tp_repr, reservation_repr},
    {Py_tp_methods, reservation_methods},
    {Py_tp_getset, reservation_getset},
    {Py_tp_members, reservation_members},
    {0, NULL}};

static PyType_Spec reservation_spec = {
    .name = "bayplan._core.Reservation",
    .basicsize = sizeof(bpx_reservation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = reservation_slots,
};

int bpx_reservation_add_type(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    st->reservation_type = (PyTypeObject *)PyType_FromModuleAndSpec(
        module, &reservation_spec, NULL);
    return st->reservation_type == NULL
               ? -1
               : PyModule_AddType(module, st->reservation_type);
}
