/* registry.c - the BufferRegistry type. Its methods are in registry_*.c. */
#include "ext/registry.h"

/* ---- life -------------------------------------------------------------- */

static int to_budget(bpx_state *st, PyObject *object, uint64_t *out)
{
    if (object == NULL || object == Py_None) {
        *out = 0;
        return 0;
    }
    if (bpx_to_uint64(st, object, "budget", BP_BAD_VALUE, out) < 0) {
        return -1;
    }
    if (*out == 0) {
        bpx_raise_as(st, BP_BAD_VALUE, "budget must be at least 1 node");
        return -1;
    }
    return 0;
}

static int parse_options(bpx_state *st, PyObject *args, PyObject *kwargs,
                         bp_registry_options *options)
{
    static char *names[] = {"mode", "budget", "poison", NULL};
    PyObject *mode = NULL;
    PyObject *budget = NULL;
    PyObject *poison = NULL;
    bool has_poison = false;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOO:BufferRegistry",
                                     names, &mode, &budget, &poison)) {
        return -1;
    }
    if (bpx_to_plan_mode(st, mode, &options->mode) < 0 ||
        to_budget(st, budget, &options->node_budget) < 0 ||
        (poison != NULL &&
         bpx_to_bool(st, poison, "poison", &has_poison) < 0)) {
        return -1;
    }
    if (has_poison) {
        bpx_raise_as(st, BP_NOT_YET, "poison=True is not yet supported");
        return -1;
    }
    return 0;
}

static void link_registry(bpx_registry *self)
{
    bpx_state *st = bpx_registry_state(self);
    self->next = st->registries;
    if (self->next != NULL) {
        self->next->previous = self;
    }
    st->registries = self;
}

static void unlink_registry(bpx_registry *self)
{
    bpx_state *st = bpx_registry_state(self);
    if (self->next != NULL) {
        self->next->previous = self->previous;
    }
    if (self->previous != NULL) {
        self->previous->next = self->next;
    } else if (st->registries == self) {
        st->registries = self->next;
    }
}

static PyObject *registry_new(PyTypeObject *type, PyObject *args,
                              PyObject *kwargs)
{
    PyObject *module = PyType_GetModuleByDef(type, &bpx_module_def);
    if (module == NULL) {
        return NULL;
    }
    bpx_state *st = bpx_state_of(module);
    bp_registry_options options = {.mode = BP_PLAN_AUTO};
    if (parse_options(st, args, kwargs, &options) < 0) {
        return NULL;
    }
    bpx_registry *self = (bpx_registry *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->module = Py_NewRef(module);
    link_registry(self);
    bp_error error = {.status = BP_OK};
    bp_allocator alloc = bp_allocator_default();
    if (bp_registry_new(&options, &alloc, &self->core, &error) != BP_OK) {
        bpx_raise(st, &error);
        Py_DECREF(self);
        return NULL;
    }
    self->callback = bpx_owner_callback_new(self);
    if (self->callback == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int registry_traverse(PyObject *object, visitproc visit, void *arg)
{
    bpx_registry *self = (bpx_registry *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->module);
    Py_VISIT(self->callback);
    return bpx_owners_traverse(&self->owners, visit, arg);
}

/* The callback stays: without it, a registry that lives on (a finaliser brought
 * it back) would hold new owners that it never hears of again. */
static int registry_clear(PyObject *object)
{
    bpx_owners_clear(&((bpx_registry *)object)->owners);
    return 0;
}

static void registry_dealloc(PyObject *object)
{
    bpx_registry *self = (bpx_registry *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weaklist != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    if (self->module != NULL) {
        unlink_registry(self);
    }
    (void)registry_clear(object);
    Py_CLEAR(self->callback);
    bp_registry_free(self->core);
    Py_XDECREF(self->module);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- attributes -------------------------------------------------------- */

static PyObject *get_mode(PyObject *self, void *Py_UNUSED(closure))
{
    bp_registry_options options;
    bp_registry_get_options(((bpx_registry *)self)->core, &options);
    return PyUnicode_FromString(bp_plan_mode_name(options.mode));
}

static PyObject *get_budget(PyObject *self, void *Py_UNUSED(closure))
{
    bp_registry_options options;
    bp_registry_get_options(((bpx_registry *)self)->core, &options);
    if (options.node_budget == 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLongLong(options.node_budget);
}

static PyObject *get_n_factories(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(bp_registry_count(((bpx_registry *)self)->core));
}

static PyObject *registry_repr(PyObject *object)
{
    bpx_registry *self = (bpx_registry *)object;
    bp_registry_options options;
    bp_registry_get_options(self->core, &options);
    size_t n = bp_registry_count(self->core);
    return PyUnicode_FromFormat("<BufferRegistry: %zu %s, mode '%s'>", n,
                                n == 1 ? "factory" : "factories",
                                bp_plan_mode_name(options.mode));
}

/* ---- the type ---------------------------------------------------------- */

#include "ext/registry_docs.h"

#define FAST(name, function, doc)                                              \
    {name, (PyCFunction)(void (*)(void))(function),                            \
     METH_FASTCALL | METH_KEYWORDS, doc}

static PyMethodDef registry_methods[] = {
    FAST("register", bpx_registry_register, register_doc),
    FAST("unregister", bpx_registry_unregister, unregister_doc),
    FAST("unregister_all", bpx_registry_unregister_all, unregister_all_doc),
    FAST("set_precision", bpx_registry_set_precision, set_precision_doc),
    FAST("add_child", bpx_registry_add_child, add_child_doc),
    FAST("remove_child", bpx_registry_remove_child, remove_child_doc),
    FAST("children", bpx_registry_children, children_doc),
    {"update", (PyCFunction)(void (*)(void))bpx_registry_update,
     METH_VARARGS | METH_KEYWORDS, update_doc},
    FAST("_update", bpx_registry_update_with, update_with_doc),
    FAST("_probe", bpx_registry_probe, probe_doc),
    FAST("overrides", bpx_registry_overrides, overrides_doc),
    FAST("reset_overrides", bpx_registry_reset_overrides, reset_overrides_doc),
    FAST("entries", bpx_registry_entries, entries_doc),
    FAST("dump", bpx_registry_dump, dump_doc),
    {"check", bpx_registry_check, METH_NOARGS, check_doc},
    FAST("layout_version", bpx_registry_layout_version, layout_version_doc),
    FAST("build_layout", bpx_registry_build_layout, build_layout_doc),
    FAST("layout", bpx_registry_build_layout, layout_doc),
    FAST("invalidate_layout", bpx_registry_invalidate_layout,
         invalidate_layout_doc),
    FAST("get_aggregate_size", bpx_registry_aggregate_size, aggregate_size_doc),
    FAST("get_aggregate_bytes", bpx_registry_aggregate_bytes,
         aggregate_bytes_doc),
    FAST("get_child_aggregate_size", bpx_registry_child_aggregate_size,
         child_aggregate_size_doc),
    FAST("get_child_aggregate_bytes", bpx_registry_child_aggregate_bytes,
         child_aggregate_bytes_doc),
    FAST("phases", bpx_registry_phases, phases_doc),
    FAST("loop", bpx_registry_loop, loop_doc),
    FAST("apply", bpx_registry_apply, apply_doc),
    {NULL, NULL, 0, NULL}};

static PyGetSetDef registry_getset[] = {
    {"mode", get_mode, NULL, "Planning mode.", NULL},
    {"budget", get_budget, NULL,
     "Nodes a search may use, or None: the default.", NULL},
    {"n_factories", get_n_factories, NULL,
     "Number of living factories that the registry knows.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyMemberDef registry_members[] = {{"__weaklistoffset__", T_PYSSIZET,
                                          offsetof(bpx_registry, weaklist),
                                          READONLY, NULL},
                                         {NULL, 0, 0, 0, NULL}};

static PyType_Slot registry_slots[] = {
    {Py_tp_doc, (void *)registry_doc}, {Py_tp_new, registry_new},
    {Py_tp_dealloc, registry_dealloc}, {Py_tp_traverse, registry_traverse},
    {Py_tp_clear, registry_clear},     {Py_tp_repr, registry_repr},
    {Py_tp_methods, registry_methods}, {Py_tp_getset, registry_getset},
    {Py_tp_members, registry_members}, {0, NULL}};

static PyType_Spec registry_spec = {
    .name = "bayplan._core.BufferRegistry",
    .basicsize = sizeof(bpx_registry),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = registry_slots};

int bpx_registry_add_type(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    PyObject *type = PyType_FromModuleAndSpec(module, &registry_spec, NULL);
    if (type == NULL) {
        return -1;
    }
    st->registry_type = (PyTypeObject *)type;
    return PyModule_AddObjectRef(module, "BufferRegistry", type);
}
