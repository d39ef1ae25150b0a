/* eviction_log.c - the EvictionLog type: the log of a tree, or one on its own.
 */
#include "ext/device.h"

/* ---- around every call ------------------------------------------------- */

void bpx_log_before(bpx_log *self)
{
    if (self->tree != NULL) {
        bpx_tree_before(self->tree);
    }
}

PyObject *bpx_log_after(bpx_log *self, PyObject *result)
{
    if (self->tree != NULL) {
        return bpx_tree_after(self->tree, result);
    }
    if (bp_log_has_news(self->own.core)) {
        PyObject *exception = result == NULL ? bpx_exception_take() : NULL;
        bpx_source_deliver(bpx_state_of(self->module), &self->own);
        if (exception != NULL) {
            bpx_exception_give(exception);
        }
    }
    return result;
}

/* ---- life -------------------------------------------------------------- */

PyObject *bpx_log_of_tree(bpx_tree *tree)
{
    bpx_state *st = bpx_tree_state(tree);
    PyObject *known =
        tree->log_ref == NULL ? NULL : bpx_weakref_get(tree->log_ref);
    if (known != NULL) {
        return known;
    }
    bpx_log *self = (bpx_log *)st->log_type->tp_alloc(st->log_type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->module = Py_NewRef(tree->module);
    self->tree = (bpx_tree *)Py_NewRef((PyObject *)tree);
    PyObject *ref = PyWeakref_NewRef((PyObject *)self, NULL);
    if (ref == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    Py_XSETREF(tree->log_ref, ref);
    return (PyObject *)self;
}

static int to_n_records(bpx_state *st, PyObject *object, uint32_t *out)
{
    uint64_t n;
    *out = 0;
    if (object == NULL) {
        return 0;
    }
    if (bpx_to_uint64(st, object, "maxlen", BP_BAD_VALUE, &n) < 0) {
        return -1;
    }
    if (n == 0) {
        bpx_raise_as(st, BP_BAD_VALUE, "maxlen must be at least 1 record");
        return -1;
    }
    *out = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n; /* the core refuses it */
    return 0;
}

static PyObject *log_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"maxlen", NULL};
    PyObject *module = PyType_GetModuleByDef(type, &bpx_module_def);
    PyObject *maxlen = NULL;
    uint32_t n_records;
    if (module == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|O:EvictionLog", names,
                                     &maxlen) ||
        to_n_records(bpx_state_of(module), maxlen, &n_records) < 0) {
        return NULL;
    }
    bpx_log *self = (bpx_log *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->module = Py_NewRef(module);
    bp_error error;
    bp_allocator alloc = bp_allocator_default();
    if (bp_log_new(n_records, &alloc, &self->own.core, &error) != BP_OK) {
        bpx_raise(bpx_state_of(module), &error);
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int log_traverse(PyObject *object, visitproc visit, void *arg)
{
    bpx_log *self = (bpx_log *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->module);
    Py_VISIT(self->tree);
    return bpx_source_traverse(&self->own, visit, arg);
}

static int log_clear(PyObject *object)
{
    bpx_source_clear(&((bpx_log *)object)->own);
    return 0;
}

static void log_dealloc(PyObject *object)
{
    bpx_log *self = (bpx_log *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weaklist != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    (void)log_clear(object);
    bp_log_free(self->own.core);
    Py_XDECREF((PyObject *)self->tree);
    Py_XDECREF(self->module);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- methods ----------------------------------------------------------- */

int bpx_to_cause(bpx_state *st, PyObject *object, bp_cause *out)
{
    const char *text;
    *out = BP_CAUSE_EXPLICIT;
    if (object == NULL) {
        return 0;
    }
    if (bpx_to_text(st, object, "cause", BP_BAD_VALUE, &text) < 0) {
        return -1;
    }
    if (!bp_cause_parse(text, out)) {
        bpx_raise_as(st, BP_BAD_VALUE,
                     "cause must be 'explicit', 'replaced', 'pressure', "
                     "'limit', 'oom', 'sweep' or 'closed', not '%.60s'",
                     text);
        return -1;
    }
    return 0;
}

/* What is appended; the texts are borrowed. */
typedef struct news {
    const char *key, *kind;
    uint64_t n_bytes;
    bp_cause cause;
} news;

/* `given`: key, kind, nbytes, cause. */
static int to_news(bpx_state *st, PyObject *const *given, news *out)
{
    *out = (news){.key = NULL};
    if (bpx_to_text(st, given[0], "key", BP_BAD_NAME, &out->key) < 0 ||
        (given[1] != NULL && given[1] != Py_None &&
         bpx_to_text(st, given[1], "kind", BP_BAD_NAME, &out->kind) < 0) ||
        (given[2] != NULL && bpx_to_uint64(st, given[2], "nbytes", BP_BAD_SIZE,
                                           &out->n_bytes) < 0)) {
        return -1;
    }
    return bpx_to_cause(st, given[3], &out->cause);
}

static PyObject *publish(PyObject *object, PyObject *const *args,
                         Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "publish", 4, 1, 1, {BPX_key, BPX_kind, BPX_nbytes, BPX_cause}};
    bpx_log *self = (bpx_log *)object;
    bpx_state *st = bpx_state_of(self->module);
    PyObject *given[4];
    news what;
    uint64_t seq;
    bp_error error;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        to_news(st, given, &what) < 0) {
        return NULL;
    }
    bpx_log_before(self);
    PyObject *result =
        bp_log_publish(bpx_log_source(self)->core, what.key, what.kind,
                       what.n_bytes, what.cause, &seq, &error) == BP_OK
            ? PyLong_FromUnsignedLongLong(seq)
            : bpx_raise(st, &error);
    return bpx_log_after(self, result);
}

/* The range of what it keeps; false and ForkedProcess. */
static bool read_range(bpx_log *self, uint64_t *first, uint64_t *next)
{
    bp_log *core = bpx_log_source(self)->core;
    bp_error error;
    bp_cursor_state state;
    if (bp_cursor_get_state(core, 0, &state, &error) == BP_FORKED) {
        bpx_raise(bpx_state_of(self->module), &error);
        return false;
    }
    bp_log_range(core, first, next);
    return true;
}

static PyObject *get_first(PyObject *self, void *Py_UNUSED(closure))
{
    uint64_t first;
    uint64_t next;
    return read_range((bpx_log *)self, &first, &next)
               ? PyLong_FromUnsignedLongLong(first)
               : NULL;
}

static PyObject *get_next(PyObject *self, void *Py_UNUSED(closure))
{
    uint64_t first;
    uint64_t next;
    return read_range((bpx_log *)self, &first, &next)
               ? PyLong_FromUnsignedLongLong(next)
               : NULL;
}

static Py_ssize_t log_length(PyObject *self)
{
    uint64_t first;
    uint64_t next;
    return read_range((bpx_log *)self, &first, &next)
               ? (Py_ssize_t)(next - first)
               : -1;
}

/* It has a length, but is no container that could be empty. */
static int log_bool(PyObject *Py_UNUSED(self))
{
    return 1;
}

static PyObject *log_repr(PyObject *object)
{
    bpx_log *self = (bpx_log *)object;
    uint64_t first;
    uint64_t next;
    bp_log *core = bpx_log_source(self)->core;
    bp_cursor_state state;
    if (bp_cursor_get_state(core, 0, &state, NULL) == BP_FORKED) {
        return PyUnicode_FromString("<EvictionLog of another process>");
    }
    bp_log_range(core, &first, &next);
    return PyUnicode_FromFormat("<EvictionLog: records %llu to %llu>",
                                (unsigned long long)first,
                                (unsigned long long)next);
}

/* ---- the type ---------------------------------------------------------- */

PyDoc_STRVAR(
    log_doc,
    "EvictionLog(maxlen=65536)\n--\n\n"
    "What was evicted, in order: a ring of records, and its subscriptions.\n\n"
    "Every budget has one, `Budget.evictions`, which it shares with its\n"
    "parents and children. One made like this stands alone and knows what is\n"
    "published.\n\n"
    "Parameters\n----------\n"
    "maxlen : int\n    Records it keeps, at least 1.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    maxlen is 0, or above 2**28.");
PyDoc_STRVAR(
    publish_doc,
    "publish($self, /, key, *, kind=None, nbytes=0, cause='explicit')\n--\n\n"
    "Append a record about something of another owner's.\n\n"
    "Parameters\n----------\n"
    "key : str\n    Its name, 1 to 255 bytes of UTF-8.\n"
    "kind : str, optional\n    What sort of thing it was.\n"
    "nbytes : int\n    Bytes it had.\n"
    "cause : str\n"
    "    'explicit', 'replaced', 'pressure', 'limit', 'oom', 'sweep' or\n"
    "    'closed'.\n\n"
    "Returns\n-------\n"
    "int\n    Number of the record.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    No such cause, or a text that cannot be kept.");
PyDoc_STRVAR(
    subscribe_doc,
    "subscribe($self, /, kinds=None, keys=None, maxlen=None, callback=None)\n"
    "--\n\n"
    "See the records that are appended from now on.\n\n"
    "Parameters\n----------\n"
    "kinds, keys : iterable of str, optional\n"
    "    Only records of these kinds and keys; by default all.\n"
    "maxlen : int, optional\n"
    "    Records that may wait to be drained; older ones are missed.\n"
    "callback : callable, optional\n"
    "    Takes every Evicted: on return of the call that caused it where that\n"
    "    runs on this very thread, else in `Subscription.drain`. It may call\n"
    "    back in; one that raises is logged.\n\n"
    "Returns\n-------\n"
    "Subscription\n\n"
    "Raises\n------\n"
    "BufferValueError\n    A value out of range.");

#define FAST(name, function, doc)                                              \
    {name, (PyCFunction)(void (*)(void))(function),                            \
     METH_FASTCALL | METH_KEYWORDS, doc}

static PyMethodDef log_methods[] = {
    FAST("publish", publish, publish_doc),
    FAST("subscribe", bpx_log_subscribe, subscribe_doc),
    {NULL, NULL, 0, NULL}};

static PyGetSetDef log_getset[] = {
    {"first", get_first, NULL, "Number of the oldest record it keeps.", NULL},
    {"next", get_next, NULL, "Number of the record to come.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyMemberDef log_members[] = {{"__weaklistoffset__", T_PYSSIZET,
                                     offsetof(bpx_log, weaklist), READONLY,
                                     NULL},
                                    {NULL, 0, 0, 0, NULL}};

static PyType_Slot log_slots[] = {
    {Py_tp_doc, (void *)log_doc}, {Py_tp_new, log_new},
    {Py_tp_dealloc, log_dealloc}, {Py_tp_traverse, log_traverse},
    {Py_tp_clear, log_clear},     {Py_tp_repr, log_repr},
    {Py_tp_methods, log_methods}, {Py_tp_getset, log_getset},
    {Py_tp_members, log_members}, {Py_sq_length, log_length},
    {Py_nb_bool, log_bool},       {0, NULL}};

static PyType_Spec log_spec = {
    .name = "bayplan._core.EvictionLog",
    .basicsize = sizeof(bpx_log),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = log_slots,
};

int bpx_log_add_type(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    st->log_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &log_spec, NULL);
    return st->log_type == NULL ? -1 : PyModule_AddType(module, st->log_type);
}
