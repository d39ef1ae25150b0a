/* watch_pressure.c - levels of pressure as Python objects, and PressureWatch:
 * a function that is called when a budget crosses one. */
#include "ext/device.h"

#include <string.h>

/* ---- pressures --------------------------------------------------------- */

PyObject *bpx_pressure_new(bpx_state *st, bp_pressure pressure)
{
    return Py_NewRef(st->pressures[pressure]);
}

int bpx_set_pressures(bpx_state *st, PyObject *enumeration)
{
    PyObject *members[BP_N_PRESSURES] = {NULL};
    int rc = 0;
    for (int i = 0; rc == 0 && i < BP_N_PRESSURES; i++) {
        members[i] = PyObject_GetAttrString(enumeration,
                                            bp_pressure_name((bp_pressure)i));
        rc = members[i] == NULL ? -1 : 0;
    }
    for (int i = 0; i < BP_N_PRESSURES; i++) {
        if (rc == 0) {
            Py_XSETREF(st->pressures[i], members[i]);
        } else {
            Py_XDECREF(members[i]);
        }
    }
    return rc;
}

/* By identity, by name, by number; no code of the user. */
static bool find_pressure(bpx_state *st, PyObject *object, bp_pressure *out)
{
    int overflow = 0;
    long number = PyLong_Check(object) && !PyBool_Check(object)
                      ? PyLong_AsLongAndOverflow(object, &overflow)
                      : -1;
    const char *name =
        PyUnicode_Check(object) ? PyUnicode_AsUTF8(object) : NULL;
    PyErr_Clear(); /* surrogates are no name */
    for (int i = 0; i < BP_N_PRESSURES; i++) {
        if (object == st->pressures[i] || number == i ||
            (name != NULL &&
             strcmp(name, bp_pressure_name((bp_pressure)i)) == 0)) {
            *out = (bp_pressure)i;
            return true;
        }
    }
    return false;
}

int bpx_to_pressure(bpx_state *st, PyObject *object, bp_pressure *out)
{
    if (find_pressure(st, object, out)) {
        return 0;
    }
    bpx_given given;
    bpx_describe(object, &given);
    bpx_raise_as(st, BP_BAD_VALUE,
                 "a level to watch is MEDIUM, HIGH or CRITICAL, not %s",
                 given.text);
    return -1;
}

int bpx_to_levels(bpx_state *st, PyObject *object, bp_levels *out)
{
    bpx_given given;
    bool is_three = (PyTuple_Check(object) || PyList_Check(object)) &&
                    PySequence_Fast_GET_SIZE(object) == 3;
    if (!is_three) {
        bpx_describe(object, &given);
        bpx_raise_as(st, BP_BAD_VALUE,
                     "levels must be three percents, where MEDIUM, HIGH and "
                     "CRITICAL begin, not %s",
                     given.text);
        return -1;
    }
    for (int i = 0; i < 3; i++) {
        PyObject *item = PySequence_Fast_ITEMS(object)[i];
        uint64_t percent;
        if (bpx_to_uint64(st, item, "a level", BP_BAD_VALUE, &percent) < 0) {
            return -1;
        }
        if (percent > 100) {
            bpx_describe(item, &given);
            bpx_raise_as(st, BP_BAD_VALUE,
                         "a level must be a percent, 1 to 100, not %s",
                         given.text);
            return -1;
        }
        out->percent[i] = (uint8_t)percent;
    }
    return 0;
}

/* The rule of the core, where levels come without a budget. */
static int check_levels(bpx_state *st, bp_levels levels)
{
    const uint8_t *p = levels.percent;
    if (p[0] >= 1 && p[0] < p[1] && p[1] < p[2]) {
        return 0;
    }
    bpx_raise_as(st, BP_BAD_VALUE,
                 "levels must ascend from 1 to 100, not %u, %u, %u", p[0], p[1],
                 p[2]);
    return -1;
}

PyObject *bpx_pressure_of(PyObject *module, PyObject *const *args,
                          Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "_pressure_of", 3, 3, 2, {BPX_used, BPX_limit, BPX_levels}};
    bpx_state *st = bpx_state_of(module);
    PyObject *given[3];
    uint64_t used;
    uint64_t limit;
    bp_levels levels = BP_DEFAULT_LEVELS;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        bpx_to_uint64(st, given[0], "used", BP_BAD_VALUE, &used) < 0 ||
        bpx_to_uint64(st, given[1], "limit", BP_BAD_VALUE, &limit) < 0) {
        return NULL;
    }
    if (given[2] != NULL && (bpx_to_levels(st, given[2], &levels) < 0 ||
                             check_levels(st, levels) < 0)) {
        return NULL;
    }
    return bpx_pressure_new(st, bp_pressure_of(used, limit, levels));
}

/* ---- the tree's table of watches ---------------------------------------- */

/* A borrowed pointer at the low half of the handle; -1 and MemoryError. */
static int enter_watch(bpx_tree *tree, bpx_pressure_watch *watch)
{
    size_t i = (uint32_t)watch->handle;
    if (i >= tree->n_watches) {
        size_t n = 2 * i + 8;
        bpx_pressure_watch **grown =
            PyMem_Realloc(tree->watches, n * sizeof *grown);
        if (grown == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        for (size_t k = tree->n_watches; k < n; k++) {
            grown[k] = NULL;
        }
        tree->watches = grown;
        tree->n_watches = n;
    }
    tree->watches[i] = watch;
    return 0;
}

static bpx_pressure_watch *find_watch(const bpx_tree *tree, bp_watch handle)
{
    size_t i = (uint32_t)handle;
    bpx_pressure_watch *watch = i < tree->n_watches ? tree->watches[i] : NULL;
    return watch != NULL && watch->handle == handle ? watch : NULL;
}

/* Forget it, here and in the core. The reference of its budget is the
 * caller's to drop. */
static void leave_watch(bpx_pressure_watch *watch)
{
    bpx_tree *tree = watch->tree;
    if (find_watch(tree, watch->handle) == watch) {
        tree->watches[(uint32_t)watch->handle] = NULL;
    }
    bp_watch_close(tree->core, watch->handle);
}

/* ---- delivery ---------------------------------------------------------- */

/* Call it with its edge, which joins `list`. -1: no memory; 1: stop. */
static int deliver_edge(bpx_tree *tree, bpx_pressure_watch *watch,
                        const bp_edge *edge, PyObject *list)
{
    bpx_state *st = bpx_tree_state(tree);
    PyObject *budget = bpx_weakref_get(watch->budget_ref);
    if (budget == NULL || watch->callback == NULL) {
        Py_XDECREF(budget);
        return 0;
    }
    PyObject *record = bpx_edge_new(st, budget, edge->level, edge->is_rising);
    Py_DECREF(budget);
    if (record == NULL || PyList_Append(list, record) < 0) {
        Py_XDECREF(record);
        return -1;
    }
    PyObject *callback = Py_NewRef(watch->callback);
    PyObject *answer = PyObject_CallOneArg(callback, record);
    Py_DECREF(record);
    bool is_over =
        answer == NULL && bpx_callback_raised(st, "a callback of pressure",
                                              callback, &watch->has_raised);
    Py_XDECREF(answer);
    Py_DECREF(callback);
    return is_over ? 1 : 0;
}

/* Those of the core join tree->edges. -1: no memory, and the rest stays. */
static int take_edges(bpx_tree *tree)
{
    while (bp_tree_has_edges(tree->core)) {
        if (tree->n_edges == tree->edge_capacity) {
            size_t capacity = 2 * tree->edge_capacity + 8;
            bp_edge *edges =
                PyMem_Realloc(tree->edges, capacity * sizeof *edges);
            if (edges == NULL) {
                PyErr_NoMemory();
                return -1;
            }
            tree->edges = edges;
            tree->edge_capacity = capacity;
        }
        if (!bp_tree_take_edge(tree->core, &tree->edges[tree->n_edges])) {
            break; /* a watch took its edges along */
        }
        tree->n_edges++;
    }
    return 0;
}

/* All that are there now, until something goes wrong or Ctrl-C says so; the
 * rest stays. -1: no memory. */
static int deliver_all(bpx_tree *tree, PyObject *list)
{
    size_t i = 0;
    int rc = take_edges(tree);
    while (rc == 0 && i < tree->n_edges) {
        bp_edge edge = tree->edges[i++];
        bpx_pressure_watch *watch = find_watch(tree, edge.watch);
        if (watch != NULL) {
            Py_INCREF(watch);
            rc = deliver_edge(tree, watch, &edge, list);
            Py_DECREF(watch);
        }
    }
    tree->n_edges -= i;
    memmove(tree->edges, tree->edges + i, tree->n_edges * sizeof *tree->edges);
    return rc;
}

/* Once more where other threads, which do not deliver meanwhile, caused some.
 */
static int deliver_rounds(bpx_tree *tree, PyObject *list)
{
    int rc;
    do {
        tree->has_more_edges = false;
        rc = deliver_all(tree, list);
    } while (rc == 0 && tree->has_more_edges);
    return rc;
}

PyObject *bpx_tree_deliver_edges(bpx_tree *tree)
{
    PyObject *list = PyList_New(0);
    unsigned long self = PyThread_get_thread_ident();
    if (list == NULL || tree->is_delivering) {
        tree->has_more_edges |= tree->is_delivering && tree->deliverer != self;
        return list;
    }
    tree->is_delivering = true;
    tree->deliverer = self;
    if (deliver_rounds(tree, list) < 0) {
        Py_CLEAR(list);
    }
    tree->is_delivering = false;
    return list;
}

/* ---- life -------------------------------------------------------------- */

static bpx_pressure_watch *watch_new(bpx_budget *budget, bp_pressure level,
                                     PyObject *callback)
{
    bpx_state *st = bpx_state_of(budget->module);
    bpx_pressure_watch *self =
        (bpx_pressure_watch *)st->pressure_watch_type->tp_alloc(
            st->pressure_watch_type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->module = Py_NewRef(budget->module);
    self->tree = (bpx_tree *)Py_NewRef(budget->tree);
    self->level = level;
    self->callback = Py_NewRef(callback);
    self->budget_ref = PyWeakref_NewRef((PyObject *)budget, NULL);
    if (self->budget_ref == NULL) {
        Py_CLEAR(self);
    }
    return self;
}

PyObject *bpx_pressure_subscribe(bpx_budget *budget, bp_pressure level,
                                 PyObject *callback)
{
    bpx_tree *tree = budget->tree;
    bpx_pressure_watch *self = watch_new(budget, level, callback);
    if (self == NULL) {
        return NULL;
    }
    bp_error error = {.status = BP_OK};
    if (bp_watch_open(tree->core, budget->handle, level, &self->handle,
                      &error) != BP_OK) {
        Py_DECREF(self);
        return bpx_raise(bpx_tree_state(tree), &error);
    }
    if (enter_watch(tree, self) < 0) {
        bp_watch_close(tree->core, self->handle);
        Py_DECREF(self);
        return NULL;
    }
    self->next = budget->watches;
    budget->watches = (bpx_pressure_watch *)Py_NewRef(self);
    return (PyObject *)self;
}

void bpx_pressure_unsubscribe_all(bpx_budget *budget)
{
    bpx_pressure_watch *watch;
    while ((watch = budget->watches) != NULL) {
        budget->watches = watch->next;
        watch->next = NULL;
        leave_watch(watch);
        Py_DECREF(watch);
    }
}

/* The budget's reference to `watch`, taken out of its list; NULL if it is not
 * there any more. */
static bpx_pressure_watch *unlink_watch(bpx_budget *budget,
                                        bpx_pressure_watch *watch)
{
    bpx_pressure_watch **at = &budget->watches;
    while (*at != NULL && *at != watch) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        *at = watch->next;
        watch->next = NULL;
        return watch;
    }
    return NULL;
}

PyDoc_STRVAR(unsubscribe_doc,
             "unsubscribe($self, /)\n--\n\n"
             "Call no more. Once is enough, twice does no harm.");

static PyObject *watch_unsubscribe(PyObject *object, PyObject *Py_UNUSED(none))
{
    bpx_pressure_watch *self = (bpx_pressure_watch *)object;
    PyObject *budget = bpx_weakref_get(self->budget_ref);
    if (budget != NULL && unlink_watch((bpx_budget *)budget, self) != NULL) {
        leave_watch(self);
        Py_DECREF(self);
    }
    Py_CLEAR(self->callback);
    Py_XDECREF(budget);
    Py_RETURN_NONE;
}

/* `next` is the budget's to visit. */
static int watch_traverse(PyObject *object, visitproc visit, void *arg)
{
    bpx_pressure_watch *self = (bpx_pressure_watch *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->module);
    Py_VISIT(self->tree);
    Py_VISIT(self->callback);
    return 0;
}

static int watch_clear(PyObject *object)
{
    Py_CLEAR(((bpx_pressure_watch *)object)->callback);
    return 0;
}

/* In no table any more: a table's entry goes with its budget's reference. */
static void watch_dealloc(PyObject *object)
{
    bpx_pressure_watch *self = (bpx_pressure_watch *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->callback);
    Py_XDECREF(self->budget_ref);
    Py_XDECREF(self->tree);
    Py_XDECREF(self->module);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- attributes and type ------------------------------------------------ */

static PyObject *get_budget(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *budget =
        bpx_weakref_get(((bpx_pressure_watch *)self)->budget_ref);
    return budget != NULL ? budget : Py_NewRef(Py_None);
}

static PyObject *get_level(PyObject *object, void *Py_UNUSED(closure))
{
    bpx_pressure_watch *self = (bpx_pressure_watch *)object;
    return bpx_pressure_new(bpx_state_of(self->module), self->level);
}

static PyObject *get_callback(PyObject *object, void *Py_UNUSED(closure))
{
    bpx_pressure_watch *self = (bpx_pressure_watch *)object;
    return Py_NewRef(self->callback != NULL ? self->callback : Py_None);
}

static PyObject *watch_repr(PyObject *object)
{
    bpx_pressure_watch *self = (bpx_pressure_watch *)object;
    return PyUnicode_FromFormat("<PressureWatch: %s%s>",
                                bp_pressure_name(self->level),
                                self->callback == NULL ? ", ended" : "");
}

static PyMethodDef watch_methods[] = {
    {"unsubscribe", watch_unsubscribe, METH_NOARGS, unsubscribe_doc},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef watch_getset[] = {
    {"budget", get_budget, NULL, "The budget, None once it is gone.", NULL},
    {"level", get_level, NULL, "MemoryPressure whose edges it sees.", NULL},
    {"callback", get_callback, NULL,
     "What is called with a PressureEdge; None once unsubscribed.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

PyDoc_STRVAR(watch_doc,
             "A function that a budget calls when it crosses a level.\n\n"
             "Made by `Budget.subscribe`; the budget keeps it until\n"
             "`unsubscribe`.");

static PyType_Slot watch_slots[] = {
    {Py_tp_doc, (void *)watch_doc},   {Py_tp_dealloc, watch_dealloc},
    {Py_tp_traverse, watch_traverse}, {Py_tp_clear, watch_clear},
    {Py_tp_repr, watch_repr},         {Py_tp_methods, watch_methods},
    {Py_tp_getset, watch_getset},     {0, NULL}};

static PyType_Spec watch_spec = {
    .name = "bayplan._core.PressureWatch",
    .basicsize = sizeof(bpx_pressure_watch),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = watch_slots,
};

int bpx_pressure_watch_add_type(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    st->pressure_watch_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &watch_spec, NULL);
    return st->pressure_watch_type == NULL
               ? -1
               : PyModule_AddType(module, st->pressure_watch_type);
}
