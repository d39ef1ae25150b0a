/* slots.c - the SlotManager type: life and closing. Its methods are in the
 * other slots_*.c. */
#include "ext/slots.h"

#include <string.h>

/* ---- arguments of the constructor ---------------------------------------- */

typedef struct choices {
    bpx_budget *budget;
    PyObject *policy; /* borrowed */
    bp_slots_options core;
    bool is_ranked;
} choices;

static int to_policy(bpx_state *st, PyObject *object, choices *out)
{
    bpx_given given;
    out->policy = st->slot_policies[BP_POLICY_LRU];
    if (object == NULL) {
        return 0;
    }
    if (PyCallable_Check(object)) {
        out->policy = object;
        out->core.policy = BP_POLICY_RANK;
        out->is_ranked = true;
        return 0;
    }
    for (int i = 0; i < BP_POLICY_RANK && PyUnicode_Check(object); i++) {
        if (PyUnicode_Compare(object, st->slot_policies[i]) == 0) {
            out->policy = st->slot_policies[i];
            out->core.policy = (bp_policy)i;
            return 0;
        }
    }
    bpx_describe(object, &given);
    bpx_raise_as(st, BP_BAD_VALUE,
                 "policy must be 'lru', 'mru', 'big_first' or a function of "
                 "a slot, not %s",
                 given.text);
    return -1;
}

static int to_is_strict(bpx_state *st, PyObject *object, bool *out)
{
    bpx_given given;
    if (object == NULL) {
        return 0;
    }
    if (PyUnicode_Check(object)) {
        *out = PyUnicode_CompareWithASCIIString(object, "raise") == 0;
        if (*out || PyUnicode_CompareWithASCIIString(object, "evict") == 0) {
            return 0;
        }
    }
    bpx_describe(object, &given);
    bpx_raise_as(st, BP_BAD_VALUE,
                 "on_shortage must be 'evict' or 'raise', not %s", given.text);
    return -1;
}

static int parse_options(bpx_state *st, PyObject *args, PyObject *kwargs,
                         PyObject **backend, choices *out)
{
    static char *names[] = {"budget", "backend", "policy", "on_shortage", NULL};
    PyObject *budget = NULL;
    PyObject *policy = NULL;
    PyObject *on_shortage = NULL;
    *backend = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OOO:SlotManager", names,
                                     &budget, backend, &policy, &on_shortage)) {
        return -1;
    }
    if (*backend == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "SlotManager() misses the argument 'backend'");
        return -1;
    }
    *out = (choices){.core = {.policy = BP_POLICY_LRU}};
    if (bpx_to_budget(st, budget, "budget", &out->budget) < 0 ||
        bpx_to_backend(st, *backend, &out->core.backend) < 0 ||
        to_policy(st, policy, out) < 0 ||
        to_is_strict(st, on_shortage, &out->core.is_strict) < 0) {
        return -1;
    }
    out->core.budget = out->budget->handle;
    return 0;
}

/* ---- life ---------------------------------------------------------------- */

static bpx_slots *slots_alloc(PyTypeObject *type, PyObject *module,
                              PyObject *backend, const choices *options)
{
    bpx_slots *self = (bpx_slots *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->module = Py_NewRef(module);
    self->budget = (bpx_budget *)Py_NewRef(options->budget);
    self->backend = Py_NewRef(backend);
    self->backend_core = options->core.backend;
    self->policy = Py_NewRef(options->policy);
    self->by_name = PyDict_New();
    self->deferred = bp_deferred_new(bpx_slots_tree(self)->core);
    if (self->by_name == NULL || self->deferred == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_NoMemory();
        }
        Py_CLEAR(self);
    }
    return self;
}

static PyObject *slots_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *module = PyType_GetModuleByDef(type, &bpx_module_def);
    if (module == NULL) {
        return NULL;
    }
    bpx_state *st = bpx_state_of(module);
    PyObject *backend;
    choices options;
    if (parse_options(st, args, kwargs, &backend, &options) < 0) {
        return NULL;
    }
    bpx_slots *self = slots_alloc(type, module, backend, &options);
    if (self == NULL) {
        return NULL;
    }
    bpx_tree *tree = bpx_slots_tree(self);
    bp_error error = {.status = BP_OK};
    bpx_tree_before(tree);
    if (bp_slots_open(tree->core, &options.core, &self->handle, &error) !=
        BP_OK) {
        bpx_raise(st, &error);
        Py_CLEAR(self);
    } else if (options.is_ranked) {
        bpx_slots_rank_join(self);
    }
    return bpx_tree_after(tree, (PyObject *)self);
}

static int slots_traverse(PyObject *object, visitproc visit, void *arg)
{
    bpx_slots *self = (bpx_slots *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->module);
    Py_VISIT(self->budget);
    Py_VISIT(self->backend);
    Py_VISIT(self->policy);
    Py_VISIT(self->by_name);
    return 0;
}

/* Functions of the user's alone can lead back here: the policy, and those of
 * the cells, which clear themselves. */
static int slots_clear(PyObject *object)
{
    Py_CLEAR(((bpx_slots *)object)->policy);
    return 0;
}

static void slots_dealloc(PyObject *object)
{
    bpx_slots *self = (bpx_slots *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weaklist != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    if (self->budget != NULL) {
        bpx_slots_rank_leave(self);
        bpx_tree_defer(bpx_slots_tree(self), self->deferred,
                       BP_DEFER_SLOTS_CLOSE, self->handle);
    }
    (void)slots_clear(object);
    bpx_ptrmap_fini(&self->by_handle);
    Py_XDECREF(self->by_name);
    Py_XDECREF(self->backend);
    Py_XDECREF(self->budget);
    Py_XDECREF(self->module);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- closing ------------------------------------------------------------- */

/* The slots go. Waits for the device, without the GIL. */
static void close_core(bpx_slots *self)
{
    bp_tree *tree = bpx_slots_tree(self)->core;
    bp_slots handle = self->handle;
    self->handle = BP_NO_SLOTS;
    Py_BEGIN_ALLOW_THREADS
    bp_slots_close(tree, handle);
    Py_END_ALLOW_THREADS
}

void bpx_slots_hold(bpx_slots *self)
{
    self->n_holds++;
}

void bpx_slots_unhold(bpx_slots *self)
{
    if (--self->n_holds == 0 && self->is_closed) {
        close_core(self);
    }
}

void bpx_slots_unhold_later(bpx_slots *self)
{
    if (--self->n_holds == 0 && self->is_closed) {
        bpx_tree_defer(bpx_slots_tree(self), self->deferred,
                       BP_DEFER_SLOTS_CLOSE, self->handle);
        self->deferred = NULL;
        self->handle = BP_NO_SLOTS;
    }
}

/* In a forked child there is nothing to close. */
static PyObject *slots_close(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_slots *self = (bpx_slots *)object;
    bpx_tree *tree = bpx_slots_tree(self);
    if (self->is_closed) {
        Py_RETURN_NONE;
    }
    bpx_slots_rank_leave(self);
    self->is_closed = true;
    bpx_ptrmap_fini(&self->by_handle);
    self->by_handle = (bpx_ptrmap){.n_slots = 0};
    PyDict_Clear(self->by_name);
    bpx_tree_before(tree);
    if (self->n_holds == 0 && self->handle != BP_NO_SLOTS) {
        close_core(self);
    }
    return bpx_tree_after(tree, Py_NewRef(Py_None));
}

static PyObject *slots_enter(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return bpx_slots_check((bpx_slots *)self) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *slots_exit(PyObject *self, PyObject *Py_UNUSED(args))
{
    return slots_close(self, NULL);
}

/* ---- the type ------------------------------------------------------------ */

#include "ext/slots_docs.h"

#define FAST(name, function, doc)                                              \
    {name, (PyCFunction)(void (*)(void))(function),                            \
     METH_FASTCALL | METH_KEYWORDS, doc}

static PyMethodDef slots_methods[] = {
    FAST("allocate", bpx_slots_allocate, allocate_doc),
    FAST("deallocate", bpx_slots_deallocate, deallocate_doc),
    {"touch", bpx_slots_touch, METH_O, touch_doc},
    FAST("use", bpx_slots_use, use_doc),
    FAST("prefetch", bpx_slots_prefetch, prefetch_doc),
    FAST("evict", bpx_slots_evict, evict_doc),
    FAST("plan", bpx_slots_plan, plan_doc),
    FAST("make_room", bpx_slots_make_room, make_room_doc),
    {"lru_candidate", bpx_slots_lru_candidate, METH_NOARGS, lru_candidate_doc},
    {"stats", bpx_slots_stats, METH_NOARGS, stats_doc},
    {"close", slots_close, METH_NOARGS, close_doc},
    {"__enter__", slots_enter, METH_NOARGS, enter_doc},
    {"__exit__", slots_exit, METH_VARARGS, exit_doc},
    {NULL, NULL, 0, NULL}};

static PyMemberDef slots_members[] = {{"__weaklistoffset__", T_PYSSIZET,
                                       offsetof(bpx_slots, weaklist), READONLY,
                                       NULL},
                                      {NULL, 0, 0, 0, NULL}};

static PyType_Slot slots_slots[] = {
    {Py_tp_doc, (void *)slots_doc},
    {Py_tp_new, (void *)slots_new},
    {Py_tp_dealloc, (void *)slots_dealloc},
    {Py_tp_traverse, (void *)slots_traverse},
    {Py_tp_clear, (void *)slots_clear},
    {Py_tp_repr, (void *)bpx_slots_repr},
    {Py_tp_iter, (void *)bpx_slots_iter},
    {Py_tp_methods, slots_methods},
    {Py_tp_getset, bpx_slots_getset},
    {Py_tp_members, slots_members},
    {Py_mp_subscript, (void *)bpx_slots_subscript},
    {Py_mp_length, (void *)bpx_slots_length},
    {Py_sq_contains, (void *)bpx_slots_contains},
    {0, NULL}};

static PyType_Spec slots_spec = {
    .name = "bayplan._core.SlotManager",
    .basicsize = sizeof(bpx_slots),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots_slots};

int bpx_slots_add_type(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    PyObject *type = PyType_FromModuleAndSpec(module, &slots_spec, NULL);
    if (type == NULL) {
        return -1;
    }
    st->slots_type = (PyTypeObject *)type;
    return PyModule_AddObjectRef(module, "SlotManager", type);
}

int bpx_slots_add_types(PyObject *module)
{
    return bpx_cell_add_type(module) < 0 || bpx_slots_add_type(module) < 0 ||
                   bpx_slot_add_type(module) < 0 ||
                   bpx_slot_use_add_type(module) < 0 ||
                   bpx_slot_view_add_type(module) < 0 ||
                   bpx_slots_add_records(module) < 0
               ? -1
               : 0;
}
