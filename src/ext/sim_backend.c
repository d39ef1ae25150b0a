/* sim_backend.c - the SimBackend and SimStream types: host memory that behaves
 * like a device. */
#include "ext/device.h"

#include <string.h>

typedef struct bpx_sim_stream {
    PyObject_HEAD
    bpx_sim *backend; /* keeps the module alive, too */
    bp_stream handle;
} bpx_sim_stream;

/* ---- life -------------------------------------------------------------- */

typedef struct given_options {
    PyObject *capacity, *events, *fail, *granularity, *polls;
} given_options;

static int to_events(bpx_state *st, PyObject *object, bp_sim_events *out)
{
    const char *text;
    if (bpx_to_text(st, object, "events", BP_BAD_VALUE, &text) < 0) {
        return -1;
    }
    if (!bp_sim_events_parse(text, out)) {
        bpx_raise_as(st, BP_BAD_VALUE,
                     "events must be 'immediate', 'manual' or 'late', not "
                     "'%.60s'",
                     text);
        return -1;
    }
    return 0;
}

/* At least 1; 0 would mean the default to the core. */
static int to_count(bpx_state *st, PyObject *object, const char *what,
                    uint64_t *out)
{
    if (bpx_to_uint64(st, object, what, BP_BAD_VALUE, out) < 0) {
        return -1;
    }
    if (*out == 0) {
        bpx_raise_as(st, BP_BAD_VALUE, "%s must be at least 1", what);
        return -1;
    }
    return 0;
}

/* Texts are borrowed from `given`. */
static int to_options(bpx_state *st, const given_options *given,
                      bp_sim_options *out)
{
    uint64_t polls = 1;
    *out = (bp_sim_options){.capacity = UINT64_MAX, .granularity = 1};
    if ((given->capacity != NULL && given->capacity != Py_None &&
         bpx_to_bytes(st, given->capacity, "capacity", BP_BAD_VALUE,
                      &out->capacity) < 0) ||
        (given->events != NULL &&
         to_events(st, given->events, &out->events) < 0) ||
        (given->fail != NULL && given->fail != Py_None &&
         bpx_to_text(st, given->fail, "fail", BP_BAD_VALUE, &out->fail) < 0) ||
        (given->granularity != NULL &&
         to_count(st, given->granularity, "granularity", &out->granularity) <
             0) ||
        (given->polls != NULL &&
         to_count(st, given->polls, "polls", &polls) < 0)) {
        return -1;
    }
    if (polls > UINT32_MAX) {
        bpx_raise_as(st, BP_BAD_VALUE, "polls must be below 2**32");
        return -1;
    }
    out->late_polls = (uint32_t)polls;
    return 0;
}

static PyObject *sim_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"capacity",    "events", "fail",
                            "granularity", "polls",  NULL};
    PyObject *module = PyType_GetModuleByDef(type, &bpx_module_def);
    given_options given = {.capacity = NULL};
    bp_sim_options options;
    if (module == NULL ||
        !PyArg_ParseTupleAndKeywords(
            args, kwargs, "|OOOOO:SimBackend", names, &given.capacity,
            &given.events, &given.fail, &given.granularity, &given.polls) ||
        to_options(bpx_state_of(module), &given, &options) < 0) {
        return NULL;
    }
    bpx_sim *self = (bpx_sim *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->module = Py_NewRef(module);
    self->epoch = bp_process_epoch();
    bp_error error;
    bp_allocator alloc = bp_allocator_default();
    if (bp_sim_new(&options, &alloc, &self->core, &error) != BP_OK) {
        bpx_raise(bpx_state_of(module), &error);
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int sim_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((bpx_sim *)object)->module);
    return 0;
}

static void sim_dealloc(PyObject *object)
{
    bpx_sim *self = (bpx_sim *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weaklist != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    bp_backend_unref(self->core);
    Py_XDECREF(self->module);
    type->tp_free(object);
    Py_DECREF(type);
}

int bpx_to_backend(bpx_state *st, PyObject *object, bp_backend **out)
{
    if (!PyObject_TypeCheck(object, st->sim_type)) {
        bpx_given given;
        bpx_describe(object, &given);
        PyErr_Format(PyExc_TypeError, "backend must be a SimBackend, not %s",
                     given.text);
        return -1;
    }
    *out = ((bpx_sim *)object)->core;
    return 0;
}

/* ---- streams ----------------------------------------------------------- */

static PyObject *stream_new(bpx_sim *backend, bp_stream handle)
{
    bpx_state *st = bpx_state_of(backend->module);
    bpx_sim_stream *self =
        (bpx_sim_stream *)st->sim_stream_type->tp_alloc(st->sim_stream_type, 0);
    if (self != NULL) {
        self->backend = (bpx_sim *)Py_NewRef((PyObject *)backend);
        self->handle = handle;
    }
    return (PyObject *)self;
}

static int stream_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((bpx_sim_stream *)object)->backend);
    return 0;
}

static void stream_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_XDECREF((PyObject *)((bpx_sim_stream *)object)->backend);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *stream_repr(PyObject *object)
{
    return PyUnicode_FromFormat(
        "<SimStream %llu>",
        (unsigned long long)((bpx_sim_stream *)object)->handle);
}

static PyObject *stream_get_backend(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef((PyObject *)((bpx_sim_stream *)self)->backend);
}

int bpx_to_stream(bpx_state *st, PyObject *object, bp_backend *backend,
                  bp_stream *out)
{
    *out = BP_NO_STREAM;
    if (object == NULL || object == Py_None) {
        return 0;
    }
    if (!PyObject_TypeCheck(object, st->sim_stream_type)) {
        bpx_given given;
        bpx_describe(object, &given);
        PyErr_Format(PyExc_TypeError,
                     "stream must be a SimStream or None, not %s", given.text);
        return -1;
    }
    const bpx_sim_stream *stream = (bpx_sim_stream *)object;
    if (stream->backend->core != backend) {
        bpx_raise_as(st, BP_BAD_VALUE, "the stream belongs to another backend");
        return -1;
    }
    *out = stream->handle;
    return 0;
}

/* ---- methods ----------------------------------------------------------- */

/* The core's functions that cannot fail do nothing in a forked child; here it
 * is said. */
static bool check_process(const bpx_sim *self)
{
    if (self->epoch == bp_process_epoch()) {
        return true;
    }
    bpx_raise_as(bpx_state_of(self->module), BP_FORKED,
                 "this SimBackend belongs to the parent process");
    return false;
}

static PyObject *complete(PyObject *object, PyObject *const *args,
                          Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {"complete", 1, 1, 0, {BPX_n}};
    bpx_sim *self = (bpx_sim *)object;
    bpx_state *st = bpx_state_of(self->module);
    PyObject *given[1];
    uint64_t n = UINT64_MAX;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        (given[0] != NULL && given[0] != Py_None &&
         bpx_to_uint64(st, given[0], "n", BP_BAD_VALUE, &n) < 0) ||
        !check_process(self)) {
        return NULL;
    }
    return PyLong_FromUnsignedLongLong(bp_sim_complete(self->core, n));
}

static PyObject *fault(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_sim *self = (bpx_sim *)object;
    if (!check_process(self)) {
        return NULL;
    }
    bp_sim_fault(self->core);
    Py_RETURN_NONE;
}

static PyObject *stream(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_sim *self = (bpx_sim *)object;
    bp_stream handle;
    bp_error error;
    if (bp_sim_stream_open(self->core, &handle, &error) != BP_OK) {
        return bpx_raise(bpx_state_of(self->module), &error);
    }
    return stream_new(self, handle);
}

static PyObject *actions(PyObject *object, PyObject *kind)
{
    bpx_sim *self = (bpx_sim *)object;
    bpx_state *st = bpx_state_of(self->module);
    const char *text;
    if (bpx_to_text(st, kind, "kind", BP_BAD_VALUE, &text) < 0 ||
        !check_process(self)) {
        return NULL;
    }
    for (int i = 0; i < BP_N_ACTIONS; i++) {
        if (strcmp(text, bp_action_name((bp_action)i)) == 0) {
            return PyLong_FromUnsignedLongLong(
                bp_sim_n_actions(self->core, (bp_action)i));
        }
    }
    return bpx_raise_as(st, BP_BAD_VALUE,
                        "kind must be 'alloc', 'free', 'copy', 'event', "
                        "'sync' or 'host', not '%.60s'",
                        text);
}

/* ---- attributes -------------------------------------------------------- */

static PyObject *get_used(PyObject *object, void *Py_UNUSED(closure))
{
    bpx_sim *self = (bpx_sim *)object;
    bp_backend_info info;
    if (!check_process(self)) {
        return NULL;
    }
    bp_backend_get_info(self->core, &info);
    return PyLong_FromUnsignedLongLong(info.used);
}

static PyObject *get_held(PyObject *object, void *Py_UNUSED(closure))
{
    bpx_sim *self = (bpx_sim *)object;
    return check_process(self)
               ? PyLong_FromUnsignedLongLong(bp_sim_n_held(self->core))
               : NULL;
}

static PyObject *get_capacity(PyObject *self, void *Py_UNUSED(closure))
{
    bp_backend_info info;
    bp_backend_get_info(((bpx_sim *)self)->core, &info);
    if (info.total == UINT64_MAX) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLongLong(info.total);
}

static PyObject *get_granularity(PyObject *self, void *Py_UNUSED(closure))
{
    bp_backend_info info;
    bp_backend_get_info(((bpx_sim *)self)->core, &info);
    return PyLong_FromUnsignedLongLong(info.granularity);
}

static PyObject *get_name(PyObject *self, void *Py_UNUSED(closure))
{
    bp_backend_info info;
    bp_backend_get_info(((bpx_sim *)self)->core, &info);
    return PyUnicode_FromString(info.name);
}

static PyObject *sim_repr(PyObject *object)
{
    bp_backend_info info;
    if (((bpx_sim *)object)->epoch != bp_process_epoch()) {
        return PyUnicode_FromString("<SimBackend of another process>");
    }
    bp_backend_get_info(((bpx_sim *)object)->core, &info);
    if (info.total == UINT64_MAX) {
        return PyUnicode_FromFormat("<SimBackend: %llu bytes used>",
                                    (unsigned long long)info.used);
    }
    return PyUnicode_FromFormat("<SimBackend: %llu of %llu bytes used>",
                                (unsigned long long)info.used,
                                (unsigned long long)info.total);
}

PyObject *bpx_probe_driver(PyObject *module, PyObject *Py_UNUSED(unused))
{
    bp_error error;
    bp_status status;
    Py_BEGIN_ALLOW_THREADS
    status = bp_driver_probe(&error);
    Py_END_ALLOW_THREADS
    if (status != BP_OK) {
        return bpx_raise(bpx_state_of(module), &error);
    }
    Py_RETURN_NONE;
}

/* ---- the types --------------------------------------------------------- */

PyDoc_STRVAR(
    sim_doc,
    "SimBackend(capacity=None, events='immediate', fail=None, granularity=1,\n"
    "           polls=1)\n--\n\n"
    "Host memory that behaves like a device: streams, events, failures.\n\n"
    "Parameters\n----------\n"
    "capacity : int or str, optional\n    Bytes of the device ('8GiB'); by "
    "default no limit.\n"
    "events : str\n"
    "    When what a stream was given is done: 'immediate' (at once), "
    "'manual'\n"
    "    (when `complete` says so) or 'late' (when asked `polls` times).\n"
    "fail : str, optional\n"
    "    Actions that fail, counted per kind from 1, like\n"
    "    ``'alloc:#7,copy:#2-3,free:#5-'``. A failing alloc is a device out "
    "of\n"
    "    memory. Kinds: alloc, free, copy, event, sync, host.\n"
    "granularity : int\n"
    "    Allocations are rounded up to a multiple of it; a power of two.\n"
    "polls : int\n    For 'late'.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    A value out of range.");
PyDoc_STRVAR(complete_doc,
             "complete($self, /, n=None)\n--\n\n"
             "Let the n oldest events that are held back pass, by default "
             "all.\n\n"
             "Returns\n-------\n"
             "int\n    How many passed.");
PyDoc_STRVAR(fault_doc, "fault($self, /)\n--\n\n"
                        "The device fails: from now on every action raises\n"
                        "DeviceFault.");
PyDoc_STRVAR(stream_doc, "stream($self, /)\n--\n\n"
                         "A new stream of this device.\n\n"
                         "Returns\n-------\n"
                         "SimStream");
PyDoc_STRVAR(actions_doc,
             "actions($self, kind, /)\n--\n\n"
             "How many actions of a kind there were, failed ones too.\n\n"
             "Raises\n------\n"
             "BufferValueError\n    No such kind.");
PyDoc_STRVAR(stream_type_doc,
             "A stream of a SimBackend. Made by its `stream`.");

static PyMethodDef sim_methods[] = {
    {"complete", (PyCFunction)(void (*)(void))complete,
     METH_FASTCALL | METH_KEYWORDS, complete_doc},
    {"fault", fault, METH_NOARGS, fault_doc},
    {"stream", stream, METH_NOARGS, stream_doc},
    {"actions", actions, METH_O, actions_doc},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef sim_getset[] = {
    {"used", get_used, NULL, "Bytes allocated now, as rounded.", NULL},
    {"held", get_held, NULL, "Events held back now.", NULL},
    {"capacity", get_capacity, NULL, "Bytes of the device; None: no limit.",
     NULL},
    {"granularity", get_granularity, NULL,
     "Allocations are rounded up to a multiple of it, in bytes.", NULL},
    {"name", get_name, NULL, "'sim'.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyMemberDef sim_members[] = {{"__weaklistoffset__", T_PYSSIZET,
                                     offsetof(bpx_sim, weaklist), READONLY,
                                     NULL},
                                    {NULL, 0, 0, 0, NULL}};

static PyType_Slot sim_slots[] = {{Py_tp_doc, (void *)sim_doc},
                                  {Py_tp_new, sim_new},
                                  {Py_tp_dealloc, sim_dealloc},
                                  {Py_tp_traverse, sim_traverse},
                                  {Py_tp_repr, sim_repr},
                                  {Py_tp_methods, sim_methods},
                                  {Py_tp_getset, sim_getset},
                                  {Py_tp_members, sim_members},
                                  {0, NULL}};

static PyType_Spec sim_spec = {
    .name = "bayplan._core.SimBackend",
    .basicsize = sizeof(bpx_sim),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = sim_slots,
};

static PyGetSetDef stream_getset[] = {{"backend", stream_get_backend, NULL,
                                       "The SimBackend it belongs to.", NULL},
                                      {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc, (void *)stream_type_doc}, {Py_tp_dealloc, stream_dealloc},
    {Py_tp_traverse, stream_traverse},    {Py_tp_repr, stream_repr},
    {Py_tp_getset, stream_getset},        {0, NULL}};

static PyType_Spec stream_spec = {
    .name = "bayplan._core.SimStream",
    .basicsize = sizeof(bpx_sim_stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = stream_slots,
};

int bpx_sim_add_types(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    st->sim_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &sim_spec, NULL);
    st->sim_stream_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &stream_spec, NULL);
    if (st->sim_type == NULL || st->sim_stream_type == NULL ||
        PyModule_AddType(module, st->sim_type) < 0) {
        return -1;
    }
    return PyModule_AddType(module, st->sim_stream_type);
}
