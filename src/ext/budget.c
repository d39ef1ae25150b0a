/* budget.c - the Budget type: life, pressure, and its table of methods. What it
 * does is in budget_ledger.c, what it tells in budget_read.c. */
#include "ext/device.h"

/* ---- options ----------------------------------------------------------- */

typedef struct given_options {
    PyObject *limit, *name, *levels, *release, *evict_at, *parent, *granularity;
} given_options;

static bool is_given(PyObject *object)
{
    return object != NULL && object != Py_None;
}

/* A percent in one byte, which the core judges. */
static int to_percent(bpx_state *st, PyObject *object, const char *what,
                      uint8_t *out)
{
    uint64_t value;
    if (bpx_to_uint64(st, object, what, BP_BAD_VALUE, &value) < 0) {
        return -1;
    }
    if (value > 100) {
        bpx_given given;
        bpx_describe(object, &given);
        bpx_raise_as(st, BP_BAD_VALUE, "%s must be a percent, 0 to 100, not %s",
                     what, given.text);
        return -1;
    }
    *out = (uint8_t)value;
    return 0;
}

static int to_evict_at(bpx_state *st, PyObject *object, uint8_t out[2])
{
    bool is_pair = (PyTuple_Check(object) || PyList_Check(object)) &&
                   PySequence_Fast_GET_SIZE(object) == 2;
    if (!is_pair) {
        bpx_given given;
        bpx_describe(object, &given);
        bpx_raise_as(st, BP_BAD_VALUE,
                     "evict_at must be two percents, (at, down to), or None, "
                     "not %s",
                     given.text);
        return -1;
    }
    for (int i = 0; i < 2; i++) {
        if (to_percent(st, PySequence_Fast_ITEMS(object)[i], "evict_at",
                       &out[i]) < 0) {
            return -1;
        }
    }
    if (out[0] == 0) { /* to the core {0, 0} means: never */
        bpx_raise_as(st, BP_BAD_VALUE, "evict_at must be above 0 percent");
        return -1;
    }
    return 0;
}

/* Texts are borrowed from `given`. */
static int to_options(bpx_state *st, const given_options *given,
                      bp_budget_options *out)
{
    uint64_t limit;
    if (bpx_to_uint64(st, given->limit, "limit", BP_BAD_VALUE, &limit) < 0) {
        return -1;
    }
    *out = bp_budget_defaults(limit);
    if ((is_given(given->name) &&
         bpx_to_label(st, given->name, "the name of a budget", &out->name) <
             0) ||
        (given->levels != NULL &&
         bpx_to_levels(st, given->levels, &out->levels) < 0) ||
        (given->release != NULL &&
         to_percent(st, given->release, "release", &out->release) < 0) ||
        (is_given(given->evict_at) &&
         to_evict_at(st, given->evict_at, out->evict_at) < 0) ||
        (given->granularity != NULL &&
         bpx_to_uint64(st, given->granularity, "granularity", BP_BAD_VALUE,
                       &out->granularity) < 0)) {
        return -1;
    }
    return 0;
}

int bpx_to_budget(bpx_state *st, PyObject *object, const char *what,
                  bpx_budget **out)
{
    if (!PyObject_TypeCheck(object, st->budget_type)) {
        bpx_given given;
        bpx_describe(object, &given);
        PyErr_Format(PyExc_TypeError, "%s must be a Budget, not %s", what,
                     given.text);
        return -1;
    }
    *out = (bpx_budget *)object;
    return 0;
}

/* ---- life -------------------------------------------------------------- */

/* In its own tree, or in its parent's. */
static int open_budget(bpx_budget *self, bp_budget_options *options)
{
    bpx_state *st = bpx_budget_state(self);
    self->tree = self->parent != NULL
                     ? (bpx_tree *)Py_NewRef(self->parent->tree)
                     : bpx_tree_new(self->module);
    if (self->tree == NULL) {
        return -1;
    }
    self->deferred = bp_deferred_new(self->tree->core);
    if (self->deferred == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    bpx_tree_before(self->tree);
    options->parent =
        self->parent == NULL ? BP_NO_BUDGET : self->parent->handle;
    self->granularity = options->granularity;
    bp_error error = {.status = BP_OK};
    if (bp_budget_open(self->tree->core, options, &self->handle, &error) !=
        BP_OK) {
        bpx_raise(st, &error);
        return -1;
    }
    return 0;
}

static PyObject *budget_new(PyTypeObject *type, PyObject *args,
                            PyObject *kwargs)
{
    static char *names[] = {"limit",    "name",   "levels",      "release",
                            "evict_at", "parent", "granularity", NULL};
    PyObject *module = PyType_GetModuleByDef(type, &bpx_module_def);
    if (module == NULL) {
        return NULL;
    }
    bpx_state *st = bpx_state_of(module);
    given_options given = {.limit = NULL};
    bp_budget_options options;
    bpx_budget *parent = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OOOOOO:Budget", names,
                                     &given.limit, &given.name, &given.levels,
                                     &given.release, &given.evict_at,
                                     &given.parent, &given.granularity) ||
        to_options(st, &given, &options) < 0 ||
        (is_given(given.parent) &&
         bpx_to_budget(st, given.parent, "parent", &parent) < 0)) {
        return NULL;
    }
    bpx_budget *self = (bpx_budget *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->module = Py_NewRef(module);
    self->parent = (bpx_budget *)Py_XNewRef((PyObject *)parent);
    self->name = Py_NewRef(given.name == NULL ? Py_None : given.name);
    if (open_budget(self, &options) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->tree->has_evict_at |= options.evict_at[0] != 0;
    return bpx_tree_after(self->tree, (PyObject *)self);
}

static int budget_traverse(PyObject *object, visitproc visit, void *arg)
{
    bpx_budget *self = (bpx_budget *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->module);
    Py_VISIT(self->tree);
    Py_VISIT(self->parent);
    for (bpx_pressure_watch *w = self->watches; w != NULL; w = w->next) {
        Py_VISIT(w);
    }
    return 0;
}

static int budget_clear(PyObject *object)
{
    bpx_pressure_unsubscribe_all((bpx_budget *)object);
    return 0;
}

/* What is charged to it goes with it: nobody else could refund it. */
static void budget_dealloc(PyObject *object)
{
    bpx_budget *self = (bpx_budget *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weaklist != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    (void)budget_clear(object);
    if (self->tree != NULL) {
        bpx_tree_defer(self->tree, self->deferred, BP_DEFER_BUDGET_CLOSE,
                       self->handle);
    }
    Py_XDECREF(self->name);
    Py_XDECREF(self->parent);
    Py_XDECREF(self->tree);
    Py_XDECREF(self->module);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *budget_repr(PyObject *object)
{
    bpx_budget *self = (bpx_budget *)object;
    bp_budget_stats s;
    if (bp_budget_get_stats(self->tree->core, self->handle, &s, NULL) !=
        BP_OK) {
        return PyUnicode_FromString("<Budget of another process>");
    }
    PyObject *figures = PyUnicode_FromFormat(
        "%llu of %llu bytes in use, %s",
        (unsigned long long)(s.used + s.reserved + s.retiring),
        (unsigned long long)s.limit, bp_pressure_name(s.pressure));
    if (figures == NULL) {
        return NULL;
    }
    PyObject *repr =
        self->name == Py_None
            ? PyUnicode_FromFormat("<Budget: %U>", figures)
            : PyUnicode_FromFormat("<Budget %R: %U>", self->name, figures);
    Py_DECREF(figures);
    return repr;
}

/* ---- pressure ---------------------------------------------------------- */

static PyObject *subscribe(PyObject *object, PyObject *const *args,
                           Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "subscribe", 2, 2, 2, {BPX_level, BPX_callback}};
    bpx_budget *self = (bpx_budget *)object;
    bpx_state *st = bpx_budget_state(self);
    PyObject *given[2];
    bp_pressure level;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        bpx_to_pressure(st, given[0], &level) < 0) {
        return NULL;
    }
    if (!PyCallable_Check(given[1])) {
        bpx_given text;
        bpx_describe(given[1], &text);
        return bpx_raise_as(st, BP_BAD_VALUE,
                            "callback must be a function of a PressureEdge, "
                            "not %s",
                            text.text);
    }
    bpx_tree_before(self->tree);
    return bpx_tree_after(self->tree,
                          bpx_pressure_subscribe(self, level, given[1]));
}

static PyObject *drain(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_budget *self = (bpx_budget *)object;
    bp_budget_stats stats;
    bp_error error = {.status = BP_OK};
    bpx_tree_before(self->tree);
    if (bp_budget_get_stats(self->tree->core, self->handle, &stats, &error) !=
        BP_OK) {
        return bpx_raise(bpx_budget_state(self), &error);
    }
    return bpx_tree_after_drain(self->tree, bpx_tree_deliver_edges(self->tree));
}

/* ---- the type ---------------------------------------------------------- */

#include "ext/budget_docs.h"

#define FAST(name, function, doc)                                              \
    {name, (PyCFunction)(void (*)(void))(function),                            \
     METH_FASTCALL | METH_KEYWORDS, doc}

static PyMethodDef budget_methods[] = {
    FAST("charge", bpx_budget_charge, charge_doc),
    FAST("refund", bpx_budget_refund, refund_doc),
    {"reserve", bpx_budget_reserve, METH_O, reserve_doc},
    {"set_limit", bpx_budget_set_limit, METH_O, set_limit_doc},
    {"trim", bpx_budget_trim, METH_NOARGS, trim_doc},
    FAST("make_room", bpx_budget_make_room, make_room_doc),
    FAST("stats", bpx_budget_stats, stats_doc),
    {"tags", bpx_budget_tags, METH_NOARGS, tags_doc},
    {"history", bpx_budget_history, METH_NOARGS, history_doc},
    {"observe", bpx_budget_observe, METH_NOARGS, observe_doc},
    FAST("subscribe", subscribe, subscribe_doc),
    {"drain", drain, METH_NOARGS, drain_doc},
    {"check", bpx_budget_check, METH_NOARGS, check_doc},
    {"dump", bpx_budget_dump, METH_NOARGS, dump_doc},
    {NULL, NULL, 0, NULL}};

static PyMemberDef budget_members[] = {{"__weaklistoffset__", T_PYSSIZET,
                                        offsetof(bpx_budget, weaklist),
                                        READONLY, NULL},
                                       {NULL, 0, 0, 0, NULL}};

static PyType_Slot budget_slots[] = {
    {Py_tp_doc, (void *)budget_doc}, {Py_tp_new, budget_new},
    {Py_tp_dealloc, budget_dealloc}, {Py_tp_traverse, budget_traverse},
    {Py_tp_clear, budget_clear},     {Py_tp_repr, budget_repr},
    {Py_tp_methods, budget_methods}, {Py_tp_getset, bpx_budget_getset},
    {Py_tp_members, budget_members}, {0, NULL}};

static PyType_Spec budget_spec = {
    .name = "bayplan._core.Budget",
    .basicsize = sizeof(bpx_budget),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = budget_slots,
};

int bpx_budget_add_type(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    st->budget_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &budget_spec, NULL);
    return st->budget_type == NULL ? -1
                                   : PyModule_AddType(module, st->budget_type);
}
