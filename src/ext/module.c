/* module.c - the module bayplan._core: state, start and end. */
#define BPX_IMPORT_NUMPY
#include "ext/device.h"

#include <string.h>

/* ---- words ------------------------------------------------------------- */

static int intern_into(PyObject **out, const char *text)
{
    *out = PyUnicode_InternFromString(text);
    return *out == NULL ? -1 : 0;
}

static int intern_hazards(bpx_state *st)
{
    for (int i = 0; i < BP_N_HAZARD_WHENS; i++) {
        if (intern_into(&st->hazard_whens[i],
                        bp_hazard_when_name((bp_hazard_when)i)) < 0) {
            return -1;
        }
    }
    for (int i = 0; i < BP_N_BARRIERS; i++) {
        if (intern_into(&st->barriers[i], bp_barrier_name((bp_barrier)i)) < 0) {
            return -1;
        }
    }
    return 0;
}

static int intern_device(bpx_state *st)
{
    for (int i = 0; i < BP_N_CAUSES; i++) {
        if (intern_into(&st->causes[i], bp_cause_name((bp_cause)i)) < 0) {
            return -1;
        }
    }
    for (int i = 0; i < BP_N_SLOT_STATES; i++) {
        if (intern_into(&st->slot_states[i],
                        bp_slot_state_name((bp_slot_state)i)) < 0) {
            return -1;
        }
    }
    for (int i = 0; i < BP_N_POLICIES; i++) {
        if (intern_into(&st->slot_policies[i], bp_policy_name((bp_policy)i)) <
            0) {
            return -1;
        }
    }
    for (int i = 0; i < BP_N_PRESSURES; i++) {
        st->pressures[i] = PyLong_FromLong(i);
        if (st->pressures[i] == NULL) {
            return -1;
        }
    }
    return 0;
}

static int intern_words(bpx_state *st)
{
    static const char *const words[BPX_N_WORDS] = {
#define BPX_WORD_TEXT(word) #word,
        BPX_WORDS(BPX_WORD_TEXT)
#undef BPX_WORD_TEXT
    };
    for (int i = 0; i < BPX_N_WORDS; i++) {
        if (intern_into(&st->words[i], words[i]) < 0) {
            return -1;
        }
    }
    for (int i = 0; i < BP_N_LOCATIONS; i++) {
        if (intern_into(&st->locations[i], bp_location_name((bp_location)i)) <
            0) {
            return -1;
        }
    }
    for (int i = 0; i < BP_N_STRIDE_POLICIES; i++) {
        if (intern_into(&st->policies[i],
                        bp_stride_policy_name((bp_stride_policy)i)) < 0) {
            return -1;
        }
    }
    for (int i = 0; i < BPX_N_PLAN_STATUSES; i++) {
        if (intern_into(&st->plan_statuses[i],
                        bp_plan_status_name((bp_plan_status)i)) < 0) {
            return -1;
        }
    }
    return intern_hazards(st) < 0 ? -1 : intern_device(st);
}

/* ---- functions --------------------------------------------------------- */

static int set_class(PyObject *given, PyTypeObject *base, PyTypeObject **out)
{
    if (given == NULL) {
        return 0;
    }
    if (!PyType_Check(given) ||
        !PyType_IsSubtype((PyTypeObject *)given, base)) {
        PyErr_Format(PyExc_TypeError, "%R is no subclass of %s", given,
                     base->tp_name);
        return -1;
    }
    Py_XSETREF(*out, (PyTypeObject *)Py_NewRef(given));
    return 0;
}

static PyObject *set_classes(PyObject *module, PyObject *const *args,
                             Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "_set_classes",
        5,
        0,
        0,
        {BPX_layout, BPX_bound, BPX_slot, BPX_pressure, BPX_size}};
    bpx_state *st = bpx_state_of(module);
    PyObject *given[5];
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        set_class(given[0], st->layout_type, &st->layout_class) < 0 ||
        set_class(given[1], st->bound_type, &st->bound_class) < 0 ||
        set_class(given[2], st->slot_type, &st->slot_class) < 0 ||
        (given[3] != NULL && bpx_set_pressures(st, given[3]) < 0)) {
        return NULL;
    }
    if (given[4] != NULL) {
        Py_XSETREF(st->parse_size, Py_NewRef(given[4]));
    }
    Py_RETURN_NONE;
}

/* What runs at exit, before anything is torn down. */
static PyObject *exit_runtime(PyObject *Py_UNUSED(module),
                              PyObject *Py_UNUSED(unused))
{
    bp_runtime_exit();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(plan_doc,
             "plan($module, /, sizes, first, last, *, align=None, pins=None,\n"
             "     mode='auto', budget=None, capacity=None, time_limit=None,\n"
             "     progress=None)\n--\n\n"
             "What bayplan.plan() does, as a plain record.");
PyDoc_STRVAR(live_bytes_doc,
             "live_bytes($module, /, sizes, first, last)\n--\n\n"
             "Bytes alive over time, as steps.\n\n"
             "Returns\n-------\n"
             "tuple of numpy.ndarray\n"
             "    Times, and the bytes alive from each of them on (int64).");
PyDoc_STRVAR(read_csv_doc,
             "read_csv($module, data, where, /)\n--\n\n"
             "The columns of a table in `data`, which messages call `where`:\n"
             "sizes, first, last, alignments or None, offsets or None.");
PyDoc_STRVAR(write_csv_doc, "write_csv($module, /, sizes, first, last, *,\n"
                            "          align=None, offsets=None)\n--\n\n"
                            "A table as bytes.");
PyDoc_STRVAR(
    bank_conflicts_doc,
    "bank_conflicts($module, /, stride, width, lanes_per_run=1)\n--\n\n"
    "How many words of one bank of shared memory a warp asks for at once,\n"
    "when every lane reads the same element of its own run's slice.\n\n"
    "Parameters\n----------\n"
    "stride : int\n"
    "    Bytes between the slices of two runs.\n"
    "width : int\n"
    "    Bytes of one access: 1, 2, 4, 8 or 16; divides `stride`.\n"
    "lanes_per_run : int\n"
    "    Neighbouring lanes that solve one run.\n\n"
    "Returns\n-------\n"
    "int\n    1 (no conflict) to 32.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    A value out of range.");
PyDoc_STRVAR(
    unpack_layout_doc,
    "unpack_layout($module, data, /)\n--\n\n"
    "The layout that pickling turned into `data`.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    `data` is nothing that pickling a layout gives.");
PyDoc_STRVAR(
    unpack_bound_doc,
    "unpack_bound($module, data, /)\n--\n\n"
    "The bound layout that pickling turned into `data`.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    `data` is nothing that pickling one gives.");
PyDoc_STRVAR(
    set_classes_doc,
    "_set_classes($module, /, *, layout=None, bound=None, slot=None,\n"
    "             pressure=None, size=None)\n--\n\n"
    "Say which subclasses of Layout, BoundLayout and Slot to make, which\n"
    "enum has the levels of pressure, and what reads a size in words.");
PyDoc_STRVAR(
    pressure_of_doc,
    "_pressure_of($module, /, used, limit, levels=(50, 80, 95))\n--\n\n"
    "The pressure of `used` bytes of `limit`, exact in integers.");
PyDoc_STRVAR(probe_driver_doc,
             "_probe_driver($module, /)\n--\n\n"
             "Raise DeviceUnavailable, naming what was tried, unless a CUDA\n"
             "device answers.");
PyDoc_STRVAR(exit_runtime_doc, "_exit_runtime($module, /)\n--\n\n"
                               "No driver call from now on.");
PyDoc_STRVAR(statuses_doc,
             "_statuses($module, /)\n--\n\n"
             "(name, code, text, exception type) of every status, for tests.");
PyDoc_STRVAR(raise_status_doc, "_raise_status($module, number, /)\n--\n\n"
                               "Raise what a status becomes, for tests.");

#define FAST(name, function, doc)                                              \
    {name, (PyCFunction)(void (*)(void))(function),                            \
     METH_FASTCALL | METH_KEYWORDS, doc}

static PyMethodDef module_functions[] = {
    FAST("plan", bpx_plan, plan_doc),
    FAST("live_bytes", bpx_live_bytes, live_bytes_doc),
    {"read_csv", bpx_read_csv, METH_VARARGS, read_csv_doc},
    FAST("write_csv", bpx_write_csv, write_csv_doc),
    FAST("bank_conflicts", bpx_bank_conflicts, bank_conflicts_doc),
    {"unpack_layout", bpx_unpack_layout, METH_O, unpack_layout_doc},
    {"unpack_bound", bpx_unpack_bound, METH_O, unpack_bound_doc},
    FAST("_set_classes", set_classes, set_classes_doc),
    FAST("_pressure_of", bpx_pressure_of, pressure_of_doc),
    {"_probe_driver", bpx_probe_driver, METH_NOARGS, probe_driver_doc},
    {"_exit_runtime", exit_runtime, METH_NOARGS, exit_runtime_doc},
    {"_statuses", bpx_statuses, METH_NOARGS, statuses_doc},
    {"_raise_status", bpx_raise_status, METH_O, raise_status_doc},
    {NULL, NULL, 0, NULL}};

/* ---- start and end ----------------------------------------------------- */

static int import_numpy(void)
{
    return PyArray_ImportNumPyAPI();
}

static int add_device_types(PyObject *module)
{
    if (bpx_device_records_add(module) < 0 || bpx_tree_add_type(module) < 0 ||
        bpx_budget_add_type(module) < 0 ||
        bpx_reservation_add_type(module) < 0 ||
        bpx_pressure_watch_add_type(module) < 0 ||
        bpx_log_add_type(module) < 0 || bpx_subscription_add_type(module) < 0 ||
        bpx_sim_add_types(module) < 0) {
        return -1;
    }
    return bpx_slots_add_types(module);
}

/* atexit.register(_exit_runtime). */
static int register_exit(PyObject *module)
{
    PyObject *function = PyObject_GetAttrString(module, "_exit_runtime");
    PyObject *atexit = PyImport_ImportModule("atexit");
    PyObject *answer =
        function == NULL || atexit == NULL
            ? NULL
            : PyObject_CallMethod(atexit, "register", "O", function);
    int rc = answer == NULL ? -1 : 0;
    Py_XDECREF(answer);
    Py_XDECREF(atexit);
    Py_XDECREF(function);
    return rc;
}

static int module_exec(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    if (import_numpy() < 0 || intern_words(st) < 0 || bpx_dtypes_init(st) < 0 ||
        bpx_errors_add(module) < 0 || bpx_records_add(module) < 0 ||
        bpx_registry_add_type(module) < 0 || bpx_layout_add_type(module) < 0 ||
        bpx_bound_add_type(module) < 0 || add_device_types(module) < 0 ||
        register_exit(module) < 0) {
        return -1;
    }
    return PyModule_AddStringConstant(module, "__version__", BAYPLAN_VERSION);
}

/* Every reference of the state that can be part of a cycle. */
#define STATE_TYPES(X)                                                         \
    X(st->base_error)                                                          \
    X(st->registry_type)                                                       \
    X(st->layout_type)                                                         \
    X(st->bound_type)                                                          \
    X(st->layout_class)                                                        \
    X(st->bound_class)                                                         \
    X(st->placement_type)                                                      \
    X(st->region_type)                                                         \
    X(st->entry_type)                                                          \
    X(st->child_region_type)                                                   \
    X(st->plan_type)                                                           \
    X(st->hazard_type)                                                         \
    X(st->parse_size)                                                          \
    X(st->logger)                                                              \
    X(st->tree_type)                                                           \
    X(st->budget_type)                                                         \
    X(st->reservation_type)                                                    \
    X(st->pressure_watch_type)                                                 \
    X(st->log_type)                                                            \
    X(st->subscription_type)                                                   \
    X(st->sim_type)                                                            \
    X(st->sim_stream_type)                                                     \
    X(st->budget_stats_type)                                                   \
    X(st->edge_type)                                                           \
    X(st->evicted_type)                                                        \
    X(st->observation_type)                                                    \
    X(st->slots_type)                                                          \
    X(st->slot_type)                                                           \
    X(st->slot_class)                                                          \
    X(st->slot_use_type)                                                       \
    X(st->slot_view_type)                                                      \
    X(st->slot_stats_type)                                                     \
    X(st->slot_cell_type)                                                      \
    X(st->dtypes.by_object)                                                    \
    X(st->dtypes.by_text)

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    bpx_state *st = bpx_state_of(module);
#define VISIT(reference) Py_VISIT(reference);
    STATE_TYPES(VISIT)
#undef VISIT
    for (int i = 0; i < BPX_N_FAMILIES; i++) {
        Py_VISIT(st->errors[i]);
    }
    for (int i = 0; i < BP_N_PRESSURES; i++) {
        Py_VISIT(st->pressures[i]);
    }
    return 0;
}

static void clear_texts(bpx_state *st)
{
    for (int i = 0; i < BPX_N_WORDS; i++) {
        Py_CLEAR(st->words[i]);
    }
    for (int i = 0; i < BP_N_LOCATIONS; i++) {
        Py_CLEAR(st->locations[i]);
    }
    for (int i = 0; i < BP_N_STRIDE_POLICIES; i++) {
        Py_CLEAR(st->policies[i]);
    }
    for (int i = 0; i < BPX_N_PLAN_STATUSES; i++) {
        Py_CLEAR(st->plan_statuses[i]);
    }
    for (int i = 0; i < BP_N_HAZARD_WHENS; i++) {
        Py_CLEAR(st->hazard_whens[i]);
    }
    for (int i = 0; i < BP_N_BARRIERS; i++) {
        Py_CLEAR(st->barriers[i]);
    }
    for (int i = 0; i < BP_N_CAUSES; i++) {
        Py_CLEAR(st->causes[i]);
    }
    for (int i = 0; i < BP_N_SLOT_STATES; i++) {
        Py_CLEAR(st->slot_states[i]);
    }
    for (int i = 0; i < BP_N_POLICIES; i++) {
        Py_CLEAR(st->slot_policies[i]);
    }
}

static int module_clear(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
#define CLEAR(reference) Py_CLEAR(reference);
    STATE_TYPES(CLEAR)
#undef CLEAR
    for (int i = 0; i < BPX_N_FAMILIES; i++) {
        Py_CLEAR(st->errors[i]);
    }
    for (int i = 0; i < BP_N_PRESSURES; i++) {
        Py_CLEAR(st->pressures[i]);
    }
    return 0;
}

/* Objects of ours hold the module, so none is left that uses the state. */
static void module_free(void *module)
{
    bpx_state *st = bpx_state_of((PyObject *)module);
    (void)module_clear((PyObject *)module);
    clear_texts(st);
    bpx_dtypes_fini(st);
    for (size_t i = 0; i < st->layouts.n_slots; i++) {
        Py_XDECREF((PyObject *)st->layouts.slots[i].value);
    }
    bpx_ptrmap_fini(&st->layouts);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    /* NumPy's table of functions is one per process. */
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL}};

PyDoc_STRVAR(module_doc,
             "The C core of bayplan, as Python objects. Use the package\n"
             "`bayplan`, which has these names and more.");

struct PyModuleDef bpx_module_def = {
    PyModuleDef_HEAD_INIT,         .m_name = "bayplan._core",
    .m_doc = module_doc,           .m_size = sizeof(bpx_state),
    .m_methods = module_functions, .m_slots = module_slots,
    .m_traverse = module_traverse, .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&bpx_module_def);
}
