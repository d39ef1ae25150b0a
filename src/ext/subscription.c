/* subscription.c - the Subscription type: a filtered cursor of a log, with or
 * without a callback.
 */
#include "ext/device.h"

typedef struct bpx_subscription {
    PyObject_HEAD
    PyObject *module;
    bpx_log *log;
    bpx_feed *feed;
    PyObject *weaklist;
} bpx_subscription;

/* ---- birth ------------------------------------------------------------- */

/* A list of str, or NULL for None and NULL; -1 with an exception. Runs code of
 * the user. */
static int to_texts(bpx_state *st, PyObject *object, const char *what,
                    PyObject **out)
{
    *out = NULL;
    if (object == NULL || object == Py_None) {
        return 0;
    }
    PyObject *list = PyUnicode_Check(object) ? NULL : PySequence_List(object);
    if (list == NULL) {
        if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_TypeError)) {
            return -1;
        }
        PyErr_Clear();
        bpx_given given;
        bpx_describe(object, &given);
        bpx_raise_as(st, BP_BAD_VALUE, "%s must be several str, not %s", what,
                     given.text);
        return -1;
    }
    *out = list;
    return 0;
}

/* Texts borrowed from `list`, in an array to be given to PyMem_Free; NULL with
 * an exception. */
static const char **borrow_texts(bpx_state *st, PyObject *list,
                                 const char *what)
{
    Py_ssize_t n = PyList_GET_SIZE(list);
    const char **texts = PyMem_Calloc((size_t)n + 1, sizeof *texts);
    if (texts == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        if (bpx_to_text(st, PyList_GET_ITEM(list, i), what, BP_BAD_NAME,
                        &texts[i]) < 0) {
            PyMem_Free(texts);
            return NULL;
        }
    }
    return texts;
}

/* What subscribe was given, converted. Filled in and given back by the two
 * functions below. */
typedef struct request {
    PyObject *kinds, *keys;
    const char **kind_texts, **key_texts;
    bp_cursor_options options;
    PyObject *callback; /* borrowed */
} request;

static void request_fini(request *r)
{
    PyMem_Free(r->kind_texts);
    PyMem_Free(r->key_texts);
    Py_XDECREF(r->kinds);
    Py_XDECREF(r->keys);
}

static int to_callback(bpx_state *st, PyObject *object, PyObject **out)
{
    *out = object == Py_None ? NULL : object;
    if (*out == NULL || PyCallable_Check(object)) {
        return 0;
    }
    bpx_given given;
    bpx_describe(object, &given);
    bpx_raise_as(st, BP_BAD_VALUE,
                 "callback must be a function of an Evicted, not %s",
                 given.text);
    return -1;
}

static int to_backlog(bpx_state *st, PyObject *object, uint64_t *out)
{
    if (object == NULL || object == Py_None) {
        return 0;
    }
    if (bpx_to_uint64(st, object, "maxlen", BP_BAD_VALUE, out) < 0) {
        return -1;
    }
    if (*out == 0) {
        bpx_raise_as(st, BP_BAD_VALUE,
                     "maxlen must be at least 1, or None: as many as the log "
                     "keeps");
        return -1;
    }
    return 0;
}

/* `given`: kinds, keys, maxlen, callback. */
static int request_init(bpx_state *st, PyObject *const *given, request *r)
{
    *r = (request){.kinds = NULL};
    if (to_texts(st, given[0], "kinds", &r->kinds) < 0 ||
        to_texts(st, given[1], "keys", &r->keys) < 0 ||
        to_backlog(st, given[2], &r->options.max_backlog) < 0 ||
        to_callback(st, given[3], &r->callback) < 0 ||
        (r->kinds != NULL &&
         (r->kind_texts = borrow_texts(st, r->kinds, "a kind")) == NULL) ||
        (r->keys != NULL &&
         (r->key_texts = borrow_texts(st, r->keys, "a key")) == NULL)) {
        request_fini(r);
        return -1;
    }
    r->options.kinds = r->kind_texts;
    r->options.keys = r->key_texts;
    r->options.n_kinds = r->kinds == NULL ? 0 : (size_t)Py_SIZE(r->kinds);
    r->options.n_keys = r->keys == NULL ? 0 : (size_t)Py_SIZE(r->keys);
    return 0;
}

static PyObject *subscription_new(bpx_log *log, const request *r)
{
    bpx_state *st = bpx_state_of(log->module);
    bpx_subscription *self =
        (bpx_subscription *)st->subscription_type->tp_alloc(
            st->subscription_type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->module = Py_NewRef(log->module);
    self->log = (bpx_log *)Py_NewRef((PyObject *)log);
    self->feed =
        bpx_feed_new(st, bpx_log_source(log), &r->options, r->callback);
    if (self->feed == NULL) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

PyObject *bpx_log_subscribe(PyObject *object, PyObject *const *args,
                            Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "subscribe", 4, 4, 0, {BPX_kinds, BPX_keys, BPX_maxlen, BPX_callback}};
    bpx_log *self = (bpx_log *)object;
    bpx_state *st = bpx_state_of(self->module);
    PyObject *given[4];
    request r;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    given[3] = given[3] == NULL ? Py_None : given[3];
    if (request_init(st, given, &r) < 0) {
        return NULL;
    }
    bpx_log_before(self);
    PyObject *result = subscription_new(self, &r);
    request_fini(&r);
    return bpx_log_after(self, result);
}

/* ---- life -------------------------------------------------------------- */

static int subscription_traverse(PyObject *object, visitproc visit, void *arg)
{
    bpx_subscription *self = (bpx_subscription *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->module);
    Py_VISIT(self->log);
    return 0;
}

static void subscription_dealloc(PyObject *object)
{
    bpx_subscription *self = (bpx_subscription *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weaklist != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    if (self->feed != NULL) {
        if (!self->feed->is_linked) {
            bpx_feed_close(bpx_log_source(self->log), self->feed);
        }
        bpx_feed_drop(self->feed);
    }
    Py_XDECREF((PyObject *)self->log);
    Py_XDECREF(self->module);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- methods ----------------------------------------------------------- */

/* What the core says of it; false with an exception. */
static bool read_state(bpx_subscription *self, bp_cursor_state *out)
{
    bp_error error;
    bpx_source *source = bpx_log_source(self->log);
    if (bp_cursor_get_state(source->core, self->feed->cursor, out, &error) !=
        BP_OK) {
        bpx_raise(bpx_state_of(self->module), &error);
        return false;
    }
    return true;
}

/* Fork: an exception. Unsubscribed: nothing to give. */
static int can_drain(bpx_subscription *self)
{
    bp_error error;
    bp_cursor_state state;
    bpx_source *source = bpx_log_source(self->log);
    bp_status status =
        bp_cursor_get_state(source->core, self->feed->cursor, &state, &error);
    if (status == BP_OK || status == BP_STALE) {
        return status == BP_OK && !self->feed->is_draining;
    }
    bpx_raise(bpx_state_of(self->module), &error);
    return -1;
}

static PyObject *drain(PyObject *object, PyObject *const *args,
                       Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {"drain", 1, 1, 0, {BPX_max}};
    bpx_subscription *self = (bpx_subscription *)object;
    bpx_state *st = bpx_state_of(self->module);
    PyObject *given[1];
    uint64_t n_max = UINT64_MAX;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        (given[0] != NULL && given[0] != Py_None &&
         bpx_to_uint64(st, given[0], "max", BP_BAD_VALUE, &n_max) < 0)) {
        return NULL;
    }
    bpx_log_before(self->log);
    int rc = can_drain(self);
    PyObject *list = rc < 0 ? NULL : PyList_New(0);
    if (list != NULL && rc > 0 &&
        bpx_feed_drain(st, bpx_log_source(self->log), self->feed, n_max, list) <
            0) {
        Py_CLEAR(list);
    }
    /* What the call-back caused comes at the next call. */
    self->feed->round = bpx_log_source(self->log)->round + 1;
    return bpx_log_after(self->log, list);
}

static PyObject *resync(PyObject *object, PyObject *seq)
{
    bpx_subscription *self = (bpx_subscription *)object;
    bpx_state *st = bpx_state_of(self->module);
    uint64_t from;
    bp_error error;
    if (bpx_to_uint64(st, seq, "seq", BP_BAD_VALUE, &from) < 0) {
        return NULL;
    }
    bpx_log_before(self->log);
    PyObject *result =
        bp_cursor_resync(bpx_log_source(self->log)->core, self->feed->cursor,
                         from, &error) == BP_OK
            ? Py_NewRef(Py_None)
            : bpx_raise(st, &error);
    return bpx_log_after(self->log, result);
}

static PyObject *unsubscribe(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_subscription *self = (bpx_subscription *)object;
    bpx_feed_close(bpx_log_source(self->log), self->feed);
    Py_RETURN_NONE;
}

static PyObject *get_pending(PyObject *object, void *Py_UNUSED(closure))
{
    bp_cursor_state state;
    return read_state((bpx_subscription *)object, &state)
               ? PyLong_FromUnsignedLongLong(state.n_pending)
               : NULL;
}

static PyObject *get_missed(PyObject *object, void *Py_UNUSED(closure))
{
    bp_cursor_state state;
    return read_state((bpx_subscription *)object, &state)
               ? PyLong_FromUnsignedLongLong(state.n_missed)
               : NULL;
}

static PyObject *get_callback(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *callback = ((bpx_subscription *)self)->feed->callback;
    return Py_NewRef(callback == NULL ? Py_None : callback);
}

static PyObject *subscription_repr(PyObject *object)
{
    bpx_subscription *self = (bpx_subscription *)object;
    bp_cursor_state state;
    bp_status status = bp_cursor_get_state(bpx_log_source(self->log)->core,
                                           self->feed->cursor, &state, NULL);
    if (status == BP_FORKED) {
        return PyUnicode_FromString("<Subscription of another process>");
    }
    if (status != BP_OK) {
        return PyUnicode_FromString("<Subscription: ended>");
    }
    return PyUnicode_FromFormat("<Subscription: %llu pending, %llu missed>",
                                (unsigned long long)state.n_pending,
                                (unsigned long long)state.n_missed);
}

/* ---- the type ---------------------------------------------------------- */

PyDoc_STRVAR(subscription_doc,
             "A filtered view of an EvictionLog. Made by its `subscribe`.\n\n"
             "Without a callback it ends when it is dropped. With one, the\n"
             "log keeps it until `unsubscribe`.");
PyDoc_STRVAR(
    drain_doc,
    "drain($self, /, max=None)\n--\n\n"
    "Every matching record that was not drained yet, at most `max`.\n\n"
    "Each goes to the callback too, on this thread. From within the callback,\n"
    "and while another thread drains, there is nothing: [].\n\n"
    "Returns\n-------\n"
    "list of Evicted\n    In order; empty once unsubscribed.\n\n"
    "Raises\n------\n"
    "ForkedProcess\n    The log was made by the parent process.");
PyDoc_STRVAR(resync_doc,
             "resync($self, seq, /)\n--\n\n"
             "Go on from the record `seq` (what the log still has of it), and\n"
             "forget what was missed.\n\n"
             "Raises\n------\n"
             "BufferValueError\n    There is no such record yet.\n"
             "StaleHandle\n    It is unsubscribed.");
PyDoc_STRVAR(unsubscribe_doc, "unsubscribe($self, /)\n--\n\n"
                              "See no more. Twice does no harm.");

static PyMethodDef subscription_methods[] = {
    {"drain", (PyCFunction)(void (*)(void))drain, METH_FASTCALL | METH_KEYWORDS,
     drain_doc},
    {"resync", resync, METH_O, resync_doc},
    {"unsubscribe", unsubscribe, METH_NOARGS, unsubscribe_doc},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef subscription_getset[] = {
    {"pending", get_pending, NULL, "Records that a drain would give.", NULL},
    {"missed", get_missed, NULL,
     "Records that the log or `maxlen` dropped before they were drained.",
     NULL},
    {"callback", get_callback, NULL, "What every record is handed to, or None.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyMemberDef subscription_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(bpx_subscription, weaklist),
     READONLY, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyType_Slot subscription_slots[] = {
    {Py_tp_doc, (void *)subscription_doc},
    {Py_tp_dealloc, subscription_dealloc},
    {Py_tp_traverse, subscription_traverse},
    {Py_tp_repr, subscription_repr},
    {Py_tp_methods, subscription_methods},
    {Py_tp_getset, subscription_getset},
    {Py_tp_members, subscription_members},
    {0, NULL}};

static PyType_Spec subscription_spec = {
    .name = "bayplan._core.Subscription",
    .basicsize = sizeof(bpx_subscription),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = subscription_slots,
};

int bpx_subscription_add_type(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    st->subscription_type = (PyTypeObject *)PyType_FromModuleAndSpec(
        module, &subscription_spec, NULL);
    return st->subscription_type == NULL
               ? -1
               : PyModule_AddType(module, st->subscription_type);
}
