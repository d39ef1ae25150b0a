/* layout.c - the Layout type: an immutable snapshot of one factory. */
#include "ext/ext.h"

#include <string.h>

/* ---- life -------------------------------------------------------------- */

static PyObject *layout_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                            PyObject *Py_UNUSED(kwargs))
{
    return PyErr_Format(PyExc_TypeError,
                        "%s objects come from BufferRegistry.build_layout()",
                        type->tp_name);
}

static PyObject *wrap_new(PyObject *module, bp_layout *core, bool is_poisoned)
{
    PyTypeObject *type = bpx_state_of(module)->layout_class;
    bpx_layout *self = (bpx_layout *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->module = Py_NewRef(module);
        self->core = bp_layout_ref(core);
        self->hash = -1;
        self->is_poisoned = is_poisoned;
    }
    return (PyObject *)self;
}

/* The Layout that already stands for `core`, or NULL. */
static PyObject *find_wrapped(const bpx_state *st, const bp_layout *core)
{
    uintptr_t ref;
    return bpx_ptrmap_get(&st->layouts, core, &ref)
               ? bpx_weakref_get((PyObject *)ref)
               : NULL;
}

PyObject *bpx_layout_wrap(PyObject *module, bp_layout *core, bool is_poisoned)
{
    bpx_state *st = bpx_state_of(module);
    PyObject *ref = NULL;
    PyObject *self = find_wrapped(st, core);
    if (self != NULL) {
        goto done;
    }
    self = wrap_new(module, core, is_poisoned);
    ref = self == NULL ? NULL : PyWeakref_NewRef(self, NULL);
    if (ref == NULL || bpx_ptrmap_reserve(&st->layouts) < 0) {
        Py_CLEAR(self);
        goto done;
    }
    uintptr_t old;
    if (bpx_ptrmap_get(&st->layouts, core, &old)) {
        Py_DECREF((PyObject *)old);
    }
    bpx_ptrmap_set(&st->layouts, core, (uintptr_t)Py_NewRef(ref));
done:
    Py_XDECREF(ref);
    bp_layout_unref(core);
    return self;
}

/* `self` is on its way out: drop the entry unless a newer Layout has it. */
static void forget_wrapped(bpx_layout *self)
{
    bpx_state *st = bpx_state_of(self->module);
    uintptr_t ref;
    if (!bpx_ptrmap_get(&st->layouts, self->core, &ref)) {
        return;
    }
    PyObject *newer = bpx_weakref_get((PyObject *)ref);
    if (newer == NULL) {
        bpx_ptrmap_remove(&st->layouts, self->core);
        Py_DECREF((PyObject *)ref);
    }
    Py_XDECREF(newer);
}

static int layout_traverse(PyObject *object, visitproc visit, void *arg)
{
    bpx_layout *self = (bpx_layout *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->module);
    Py_VISIT(self->placements);
    Py_VISIT(self->children);
    Py_VISIT(self->phases);
    for (int i = 0; i < BP_N_REGIONS; i++) {
        Py_VISIT(self->regions[i]);
    }
    return 0;
}

static int layout_clear(PyObject *object)
{
    bpx_layout *self = (bpx_layout *)object;
    Py_CLEAR(self->placements);
    Py_CLEAR(self->children);
    Py_CLEAR(self->phases);
    for (int i = 0; i < BP_N_REGIONS; i++) {
        Py_CLEAR(self->regions[i]);
    }
    return 0;
}

static void layout_dealloc(PyObject *object)
{
    bpx_layout *self = (bpx_layout *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weaklist != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    if (self->core != NULL) {
        forget_wrapped(self);
    }
    (void)layout_clear(object);
    bp_layout_unref(self->core);
    Py_XDECREF(self->module);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- reading ----------------------------------------------------------- */

static bpx_state *state_of(PyObject *self)
{
    return bpx_state_of(((bpx_layout *)self)->module);
}

static bp_layout *core_of(PyObject *self)
{
    return ((bpx_layout *)self)->core;
}

PyObject *bpx_layout_placements(bpx_layout *self)
{
    if (self->placements != NULL) {
        return Py_NewRef(self->placements);
    }
    bpx_state *st = bpx_state_of(self->module);
    PyObject *phases = bpx_layout_phases(self);
    size_t n = bp_layout_n_placements(self->core);
    PyObject *tuple = phases == NULL ? NULL : PyTuple_New((Py_ssize_t)n);
    for (size_t i = 0; tuple != NULL && i < n; i++) {
        PyObject *item = bpx_placement_new(
            st, phases, bp_layout_get_placement(self->core, i));
        if (item == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, item);
    }
    Py_XDECREF(phases);
    if (tuple != NULL && self->placements == NULL) {
        self->placements = Py_NewRef(tuple);
    }
    return tuple;
}

static PyObject *get_placements(PyObject *self, void *Py_UNUSED(closure))
{
    return bpx_layout_placements((bpx_layout *)self);
}

static PyObject *get_region(PyObject *object, void *closure)
{
    bpx_layout *self = (bpx_layout *)object;
    size_t location = (size_t)(uintptr_t)closure;
    if (self->regions[location] != NULL) {
        return Py_NewRef(self->regions[location]);
    }
    PyObject *placements = bpx_layout_placements(self);
    if (placements == NULL) {
        return NULL;
    }
    PyObject *region = bpx_region_new(bpx_state_of(self->module), self->core,
                                      (bp_location)location, placements);
    Py_DECREF(placements);
    if (region != NULL && self->regions[location] == NULL) {
        self->regions[location] = Py_NewRef(region);
    }
    return region;
}

static int add_child(bpx_layout *self, PyObject *phases,
                     const bp_child_region *child, PyObject *dict)
{
    PyObject *name = PyUnicode_FromString(child->name);
    PyObject *layout =
        name == NULL
            ? NULL
            : bpx_layout_wrap(self->module, bp_layout_ref(child->layout),
                              self->is_poisoned);
    PyObject *record = layout == NULL
                           ? NULL
                           : bpx_child_region_new(bpx_state_of(self->module),
                                                  phases, name, layout, child);
    int rc = record == NULL ? -1 : PyDict_SetItem(dict, name, record);
    Py_XDECREF(record);
    Py_XDECREF(layout);
    Py_XDECREF(name);
    return rc;
}

static PyObject *get_children(PyObject *object, void *Py_UNUSED(closure))
{
    bpx_layout *self = (bpx_layout *)object;
    if (self->children != NULL) {
        return Py_NewRef(self->children);
    }
    PyObject *phases = bpx_layout_phases(self);
    PyObject *dict = phases == NULL ? NULL : PyDict_New();
    size_t n = bp_layout_n_children(self->core);
    for (size_t i = 0; dict != NULL && i < n; i++) {
        if (add_child(self, phases, bp_layout_get_child(self->core, i), dict) <
            0) {
            Py_CLEAR(dict);
        }
    }
    PyObject *proxy = dict == NULL ? NULL : PyDictProxy_New(dict);
    Py_XDECREF(dict);
    Py_XDECREF(phases);
    if (proxy != NULL && self->children == NULL) {
        self->children = Py_NewRef(proxy);
    }
    return proxy;
}

static PyObject *get_name(PyObject *self, void *Py_UNUSED(closure))
{
    const char *name = bp_layout_get_name(core_of(self));
    if (name == NULL) {
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(name);
}

static PyObject *get_precision(PyObject *self, void *Py_UNUSED(closure))
{
    const bpx_dtype *dtype = bpx_dtype_of_core(
        state_of(self), bp_layout_get_precision(core_of(self)));
    return dtype == NULL ? NULL : Py_NewRef((PyObject *)dtype->descr);
}

static PyObject *get_version(PyObject *self, void *Py_UNUSED(closure))
{
    if (!bp_layout_get_region(core_of(self), BP_SHARED)->has_report) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLongLong(bp_layout_version(core_of(self)));
}

static PyObject *get_digest(PyObject *self, void *Py_UNUSED(closure))
{
    char text[BP_DIGEST_TEXT];
    bp_error error = {.status = BP_OK};
    if (bp_layout_digest(core_of(self), text, &error) != BP_OK) {
        return bpx_raise(state_of(self), &error);
    }
    return PyUnicode_FromString(text);
}

static PyObject *get_poison(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((bpx_layout *)self)->is_poisoned);
}

/* ---- mapping ----------------------------------------------------------- */

/* "a, b, c" of the placements, cut when long. */
static void list_names(const bp_layout *layout, char *out, size_t n_out)
{
    size_t used = 0;
    size_t n = bp_layout_n_placements(layout);
    out[0] = '\0';
    for (size_t i = 0; i < n && used < n_out; i++) {
        int more = snprintf(out + used, n_out - used, "%s%s", i ? ", " : "",
                            bp_layout_get_placement(layout, i)->name);
        used += more > 0 ? (size_t)more : 0;
    }
    if (used >= n_out) {
        memcpy(out + n_out - 4, "...", 4);
    }
}

static PyObject *raise_unknown(PyObject *self, const char *name)
{
    const char *factory = bp_layout_get_name(core_of(self));
    char names[160];
    list_names(core_of(self), names, sizeof names);
    bp_error error = {.status = BP_OK};
    bp_status status = bp_fail(&error, BP_UNKNOWN_BUFFER,
                               "%.60s has no buffer '%.60s' (has: %s)",
                               factory == NULL ? "the layout" : factory, name,
                               names[0] == '\0' ? "none" : names);
    bp_error_about(&error, factory, name);
    return status == BP_OK ? NULL : bpx_raise(state_of(self), &error);
}

static PyObject *layout_subscript(PyObject *self, PyObject *key)
{
    const char *name;
    bpx_state *st = state_of(self);
    if (bpx_to_text(st, key, "a buffer's name", BP_BAD_NAME, &name) < 0) {
        return NULL;
    }
    const bp_placement *placement = bp_layout_find(core_of(self), name);
    if (placement == NULL) {
        return raise_unknown(self, name);
    }
    PyObject *phases = bpx_layout_phases((bpx_layout *)self);
    PyObject *record =
        phases == NULL ? NULL : bpx_placement_new(st, phases, placement);
    Py_XDECREF(phases);
    return record;
}

static int layout_contains(PyObject *self, PyObject *key)
{
    if (!PyUnicode_Check(key)) {
        return 0;
    }
    Py_ssize_t n;
    const char *name = PyUnicode_AsUTF8AndSize(key, &n);
    if (name == NULL) {
        PyErr_Clear();
        return 0;
    }
    return strlen(name) == (size_t)n &&
           bp_layout_find(core_of(self), name) != NULL;
}

/* ---- identity ---------------------------------------------------------- */

static PyObject *layout_richcompare(PyObject *self, PyObject *other, int op)
{
    bpx_state *st = state_of(self);
    if ((op != Py_EQ && op != Py_NE) ||
        !PyObject_TypeCheck(other, st->layout_type)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    bool is_equal = true;
    bp_error error = {.status = BP_OK};
    if (core_of(self) != core_of(other) &&
        bp_layout_equal(core_of(self), core_of(other), &is_equal, &error) !=
            BP_OK) {
        return bpx_raise(st, &error);
    }
    return PyBool_FromLong(is_equal == (op == Py_EQ));
}

static Py_hash_t layout_hash(PyObject *object)
{
    bpx_layout *self = (bpx_layout *)object;
    if (self->hash != -1) {
        return self->hash;
    }
    char text[BP_DIGEST_TEXT];
    bp_error error = {.status = BP_OK};
    if (bp_layout_digest(self->core, text, &error) != BP_OK) {
        bpx_raise(bpx_state_of(self->module), &error);
        return -1;
    }
    text[15] = '\0'; /* 60 bits: never -1 */
    self->hash = (Py_hash_t)strtoull(text, NULL, 16);
    return self->hash;
}

static PyObject *layout_repr(PyObject *self)
{
    const bp_layout *core = core_of(self);
    const char *name = bp_layout_get_name(core);
    return PyUnicode_FromFormat(
        "<Layout of %s: shared %llu, block %llu, persistent_local %llu, "
        "local %llu bytes>",
        name == NULL ? "(unpickled)" : name,
        (unsigned long long)bp_layout_get_region(core, BP_SHARED)->n_bytes,
        (unsigned long long)bp_layout_get_region(core, BP_BLOCK)->n_bytes,
        (unsigned long long)bp_layout_get_region(core, BP_PERSISTENT_LOCAL)
            ->n_bytes,
        (unsigned long long)bp_layout_get_region(core, BP_LOCAL)->n_bytes);
}

static PyObject *layout_reduce(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_layout *self = (bpx_layout *)object;
    uint8_t *bytes = NULL;
    size_t n = 0;
    bp_error error = {.status = BP_OK};
    if (bp_layout_pack(self->core, &bytes, &n, &error) != BP_OK) {
        return bpx_raise(bpx_state_of(self->module), &error);
    }
    PyObject *data = PyBytes_FromStringAndSize((char *)bytes, (Py_ssize_t)n);
    bp_layout_pack_free(self->core, bytes, n);
    PyObject *unpack = PyObject_GetAttrString(self->module, "unpack_layout");
    if (data == NULL || unpack == NULL) {
        Py_XDECREF(data);
        Py_XDECREF(unpack);
        return NULL;
    }
    return Py_BuildValue("(N(N))", unpack, data);
}

/* Layouts are immutable: a copy, shallow or deep, is the layout. */
static PyObject *layout_copy(PyObject *self, PyObject *Py_UNUSED(memo))
{
    return Py_NewRef(self);
}

PyObject *bpx_unpack_layout(PyObject *module, PyObject *data)
{
    bpx_state *st = bpx_state_of(module);
    bpx_given given;
    if (!PyBytes_Check(data)) {
        bpx_describe(data, &given);
        return bpx_raise_as(st, BP_BAD_DATA, "data must be bytes, not %s",
                            given.text);
    }
    bp_layout *core = NULL;
    bp_error error = {.status = BP_OK};
    bp_allocator alloc = bp_allocator_default();
    if (bp_layout_unpack((const uint8_t *)PyBytes_AS_STRING(data),
                         (size_t)PyBytes_GET_SIZE(data), &alloc, &core,
                         &error) != BP_OK) {
        return bpx_raise(st, &error);
    }
    PyObject *layout = bpx_layout_wrap(module, core, false);
    /* Element types are checked here; the core only knows their texts. */
    PyObject *precision = layout == NULL ? NULL : get_precision(layout, NULL);
    PyObject *placements =
        precision == NULL ? NULL : bpx_layout_placements((bpx_layout *)layout);
    if (placements == NULL) {
        Py_CLEAR(layout);
    }
    Py_XDECREF(precision);
    Py_XDECREF(placements);
    return layout;
}

/* ---- the type ---------------------------------------------------------- */

#include "ext/layout_docs.h"

static PyMethodDef layout_methods[] = {
    {"table", bpx_layout_table, METH_NOARGS, table_doc},
    {"bind", (PyCFunction)(void (*)(void))bpx_layout_bind,
     METH_FASTCALL | METH_KEYWORDS, bind_doc},
    {"hazards", (PyCFunction)(void (*)(void))bpx_layout_hazards,
     METH_FASTCALL | METH_KEYWORDS, hazards_doc},
    {"__reduce__", layout_reduce, METH_NOARGS, reduce_doc},
    {"__copy__", layout_copy, METH_NOARGS, copy_doc},
    {"__deepcopy__", layout_copy, METH_O, deepcopy_doc},
    {NULL, NULL, 0, NULL}};

#define REGION(location) (void *)(uintptr_t)(location)

static PyGetSetDef layout_getset[] = {
    {"name", get_name, NULL, name_doc, NULL},
    {"precision", get_precision, NULL, precision_doc, NULL},
    {"version", get_version, NULL, version_doc, NULL},
    {"digest", get_digest, NULL, digest_doc, NULL},
    {"shared", get_region, NULL, shared_doc, REGION(BP_SHARED)},
    {"block", get_region, NULL, block_doc, REGION(BP_BLOCK)},
    {"local", get_region, NULL, local_doc, REGION(BP_LOCAL)},
    {"persistent_local", get_region, NULL, persistent_local_doc,
     REGION(BP_PERSISTENT_LOCAL)},
    {"placements", get_placements, NULL, placements_doc, NULL},
    {"phases", bpx_layout_get_phases, NULL, phases_doc, NULL},
    {"loops", bpx_layout_get_loops, NULL, loops_doc, NULL},
    {"poison", get_poison, NULL, poison_doc, NULL},
    {"children", get_children, NULL, children_doc, NULL},
    {"shared_slices", bpx_layout_slices, NULL, shared_slices_doc,
     REGION(BP_SHARED)},
    {"persistent_local_slices", bpx_layout_slices, NULL,
     persistent_local_slices_doc, REGION(BP_PERSISTENT_LOCAL)},
    {"local_sizes", bpx_layout_local_sizes, NULL, local_sizes_doc, NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyMemberDef layout_members[] = {{"__weaklistoffset__", T_PYSSIZET,
                                        offsetof(bpx_layout, weaklist),
                                        READONLY, NULL},
                                       {NULL, 0, 0, 0, NULL}};

static PyType_Slot layout_slots[] = {
    {Py_tp_doc, (void *)layout_doc},   {Py_tp_new, layout_new},
    {Py_tp_dealloc, layout_dealloc},   {Py_tp_traverse, layout_traverse},
    {Py_tp_clear, layout_clear},       {Py_tp_repr, layout_repr},
    {Py_tp_hash, layout_hash},         {Py_tp_richcompare, layout_richcompare},
    {Py_tp_methods, layout_methods},   {Py_tp_getset, layout_getset},
    {Py_tp_members, layout_members},   {Py_mp_subscript, layout_subscript},
    {Py_sq_contains, layout_contains}, {0, NULL}};

static PyType_Spec layout_spec = {
    .name = "bayplan._core.Layout",
    .basicsize = sizeof(bpx_layout),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = layout_slots};

int bpx_layout_add_type(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    PyObject *type = PyType_FromModuleAndSpec(module, &layout_spec, NULL);
    if (type == NULL) {
        return -1;
    }
    st->layout_type = (PyTypeObject *)type;
    st->layout_class = (PyTypeObject *)Py_NewRef(type);
    return PyModule_AddObjectRef(module, "Layout", type);
}
