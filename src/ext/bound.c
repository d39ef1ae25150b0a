/* bound.c - the BoundLayout type: a layout and what a launch decided about it.
 */
#include "ext/ext.h"

#include <string.h>

typedef struct bpx_bound {
    PyObject_HEAD
    PyObject *module;
    PyObject *layout; /* a Layout */
    bp_bound core;
    PyObject *weaklist;
} bpx_bound;

/* ---- life -------------------------------------------------------------- */

static PyObject *bound_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                           PyObject *Py_UNUSED(kwargs))
{
    return PyErr_Format(PyExc_TypeError, "%s objects come from Layout.bind()",
                        type->tp_name);
}

static PyObject *wrap(PyObject *module, PyObject *layout, const bp_bound *core)
{
    PyTypeObject *type = bpx_state_of(module)->bound_class;
    bpx_bound *self = (bpx_bound *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->module = Py_NewRef(module);
        self->layout = Py_NewRef(layout);
        self->core = *core;
    }
    return (PyObject *)self;
}

static PyObject *bind_layout(bpx_layout *layout, const bp_bind_request *request)
{
    bp_bound core;
    bp_error error = {.status = BP_OK};
    if (bp_bound_init(&core, layout->core, request, &error) != BP_OK) {
        return bpx_raise(bpx_state_of(layout->module), &error);
    }
    return wrap(layout->module, (PyObject *)layout, &core);
}

static int bound_traverse(PyObject *object, visitproc visit, void *arg)
{
    bpx_bound *self = (bpx_bound *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->module);
    Py_VISIT(self->layout);
    return 0;
}

/* No tp_clear: layout and module cannot change, and a cycle through a bound
 * layout passes a __dict__, which is cleared there. */
static void bound_dealloc(PyObject *object)
{
    bpx_bound *self = (bpx_bound *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weaklist != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    Py_XDECREF(self->layout);
    Py_XDECREF(self->module);
    type->tp_free(object);
    Py_DECREF(type);
}

static bpx_state *state_of(PyObject *self)
{
    return bpx_state_of(((bpx_bound *)self)->module);
}

static bp_layout *layout_core_of(PyObject *self)
{
    return ((bpx_layout *)((bpx_bound *)self)->layout)->core;
}

/* ---- Layout.bind ------------------------------------------------------- */

static int to_policy(bpx_state *st, PyObject *object, bp_stride_policy *out)
{
    const char *text;
    if (bpx_to_text(st, object, "policy", BP_BAD_VALUE, &text) < 0) {
        return -1;
    }
    if (!bp_stride_policy_parse(text, out)) {
        bpx_raise_as(st, BP_BAD_VALUE,
                     "policy must be 'pad', 'none' or 'interleave', not "
                     "'%.60s'",
                     text);
        return -1;
    }
    return 0;
}

PyObject *bpx_layout_bind(PyObject *self, PyObject *const *args,
                          Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "bind",
        4,
        0,
        0,
        {BPX_stride, BPX_policy, BPX_lanes_per_run, BPX_reserve_bytes}};
    bpx_state *st = bpx_state_of(((bpx_layout *)self)->module);
    bp_bind_request request = {.policy = BP_STRIDE_PAD, .lanes_per_run = 1};
    PyObject *given[4];
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    request.has_stride = given[0] != NULL && given[0] != Py_None;
    if ((request.has_stride &&
         bpx_to_uint64(st, given[0], "stride", BP_BAD_VALUE,
                       &request.stride_bytes) < 0) ||
        (given[1] != NULL && to_policy(st, given[1], &request.policy) < 0) ||
        (given[2] != NULL &&
         bpx_to_uint64(st, given[2], "lanes_per_run", BP_BAD_VALUE,
                       &request.lanes_per_run) < 0) ||
        (given[3] != NULL &&
         bpx_to_uint64(st, given[3], "reserve_bytes", BP_BAD_VALUE,
                       &request.reserve_bytes) < 0)) {
        return NULL;
    }
    return bind_layout((bpx_layout *)self, &request);
}

/* ---- reading ----------------------------------------------------------- */

static PyObject *get_layout(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((bpx_bound *)self)->layout);
}

static PyObject *get_number(PyObject *object, void *closure)
{
    const bp_bound *core = &((bpx_bound *)object)->core;
    const uint64_t numbers[] = {core->stride_bytes,  core->block_offset,
                                core->slices_offset, core->reserve_bytes,
                                core->lanes_per_run, core->arena_align};
    return PyLong_FromUnsignedLongLong(numbers[(uintptr_t)closure]);
}

static PyObject *get_policy(PyObject *self, void *Py_UNUSED(closure))
{
    bp_stride_policy policy = ((bpx_bound *)self)->core.policy;
    return Py_NewRef(state_of(self)->policies[policy]);
}

static int digest_text(PyObject *self, char out[BP_DIGEST_TEXT])
{
    bp_error error = {.status = BP_OK};
    if (bp_bound_digest(&((bpx_bound *)self)->core, layout_core_of(self), out,
                        &error) != BP_OK) {
        bpx_raise(state_of(self), &error);
        return -1;
    }
    return 0;
}

static PyObject *get_digest(PyObject *self, void *Py_UNUSED(closure))
{
    char text[BP_DIGEST_TEXT];
    return digest_text(self, text) < 0 ? NULL : PyUnicode_FromString(text);
}

static PyObject *bound_shared_bytes(PyObject *self, PyObject *const *args,
                                    Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "dynamic_shared_bytes", 1, 1, 1, {BPX_runs_per_block}};
    bpx_state *st = state_of(self);
    PyObject *given[1];
    uint64_t n_runs;
    uint64_t n_bytes = 0;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        bpx_to_uint64(st, given[0], "runs_per_block", BP_BAD_VALUE, &n_runs) <
            0) {
        return NULL;
    }
    bp_error error = {.status = BP_OK};
    if (bp_bound_shared_bytes(&((bpx_bound *)self)->core, n_runs, &n_bytes,
                              &error) != BP_OK) {
        return bpx_raise(st, &error);
    }
    return PyLong_FromUnsignedLongLong(n_bytes);
}

/* ---- identity ---------------------------------------------------------- */

static bool same_binding(const bp_bound *a, const bp_bound *b)
{
    return a->stride_bytes == b->stride_bytes &&
           a->block_offset == b->block_offset &&
           a->slices_offset == b->slices_offset &&
           a->arena_align == b->arena_align &&
           a->lanes_per_run == b->lanes_per_run &&
           a->reserve_bytes == b->reserve_bytes && a->policy == b->policy;
}

static PyObject *bound_richcompare(PyObject *self, PyObject *other, int op)
{
    bpx_state *st = state_of(self);
    if ((op != Py_EQ && op != Py_NE) ||
        !PyObject_TypeCheck(other, st->bound_type)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    bool is_equal =
        same_binding(&((bpx_bound *)self)->core, &((bpx_bound *)other)->core);
    bp_error error = {.status = BP_OK};
    if (is_equal && bp_layout_equal(layout_core_of(self), layout_core_of(other),
                                    &is_equal, &error) != BP_OK) {
        return bpx_raise(st, &error);
    }
    return PyBool_FromLong(is_equal == (op == Py_EQ));
}

static Py_hash_t bound_hash(PyObject *self)
{
    char text[BP_DIGEST_TEXT];
    if (digest_text(self, text) < 0) {
        return -1;
    }
    text[15] = '\0'; /* 60 bits: never -1 */
    return (Py_hash_t)strtoull(text, NULL, 16);
}

static PyObject *bound_repr(PyObject *object)
{
    bpx_bound *self = (bpx_bound *)object;
    return PyUnicode_FromFormat(
        "<BoundLayout: stride %llu bytes (%s), lanes_per_run %u, slices at "
        "%llu, of %R>",
        (unsigned long long)self->core.stride_bytes,
        bp_stride_policy_name(self->core.policy), self->core.lanes_per_run,
        (unsigned long long)self->core.slices_offset, self->layout);
}

static PyObject *bound_copy(PyObject *self, PyObject *Py_UNUSED(memo))
{
    return Py_NewRef(self);
}

/* ---- pickle: a fixed head, then the layout's own bytes ----------------- */

static const unsigned char magic[8] = {'b', 'a', 'y', 'b', 'i', 'n', 'd', 1};
/* magic; stride, lanes, reserve, policy as little-endian 64-bit numbers */
enum { HEAD_BYTES = 8 + 4 * 8 };

static void put_u64(unsigned char *at, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        at[i] = (unsigned char)(value >> (8 * i));
    }
}

static uint64_t take_u64(const unsigned char *at)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

static PyObject *pack(bpx_bound *self)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    bp_error error = {.status = BP_OK};
    bp_layout *layout = layout_core_of((PyObject *)self);
    if (bp_layout_pack(layout, &bytes, &n, &error) != BP_OK) {
        return bpx_raise(bpx_state_of(self->module), &error);
    }
    PyObject *data =
        PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(HEAD_BYTES + n));
    if (data != NULL) {
        unsigned char *at = (unsigned char *)PyBytes_AS_STRING(data);
        memcpy(at, magic, sizeof magic);
        put_u64(at + 8, self->core.stride_bytes);
        put_u64(at + 16, self->core.lanes_per_run);
        put_u64(at + 24, self->core.reserve_bytes);
        put_u64(at + 32, (uint64_t)self->core.policy);
        memcpy(at + HEAD_BYTES, bytes, n);
    }
    bp_layout_pack_free(layout, bytes, n);
    return data;
}

static PyObject *bound_reduce(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_bound *self = (bpx_bound *)object;
    PyObject *unpack = PyObject_GetAttrString(self->module, "unpack_bound");
    PyObject *data = unpack == NULL ? NULL : pack(self);
    if (data == NULL) {
        Py_XDECREF(unpack);
        return NULL;
    }
    return Py_BuildValue("(N(N))", unpack, data);
}

static PyObject *unpack_tail(PyObject *module, const char *bytes, Py_ssize_t n)
{
    PyObject *tail = PyBytes_FromStringAndSize(bytes, n);
    PyObject *layout = tail == NULL ? NULL : bpx_unpack_layout(module, tail);
    Py_XDECREF(tail);
    return layout;
}

PyObject *bpx_unpack_bound(PyObject *module, PyObject *data)
{
    bpx_state *st = bpx_state_of(module);
    if (!PyBytes_Check(data) || PyBytes_GET_SIZE(data) < HEAD_BYTES ||
        memcmp(PyBytes_AS_STRING(data), magic, sizeof magic) != 0) {
        return bpx_raise_as(st, BP_BAD_DATA, "not a packed bound layout");
    }
    const unsigned char *at = (const unsigned char *)PyBytes_AS_STRING(data);
    uint64_t policy = take_u64(at + 32);
    if (policy >= BP_N_STRIDE_POLICIES) {
        return bpx_raise_as(st, BP_BAD_DATA, "no stride policy %llu",
                            (unsigned long long)policy);
    }
    bp_bind_request request = {.policy = (bp_stride_policy)policy,
                               .has_stride = true,
                               .stride_bytes = take_u64(at + 8),
                               .lanes_per_run = take_u64(at + 16),
                               .reserve_bytes = take_u64(at + 24)};
    PyObject *layout = unpack_tail(module, (const char *)at + HEAD_BYTES,
                                   PyBytes_GET_SIZE(data) - HEAD_BYTES);
    PyObject *bound =
        layout == NULL ? NULL : bind_layout((bpx_layout *)layout, &request);
    Py_XDECREF(layout);
    return bound;
}

/* ---- the type ---------------------------------------------------------- */

PyDoc_STRVAR(bound_doc,
             "A layout and what a launch decides about it.\n\n"
             "Bound layouts come from `Layout.bind`. Dynamic shared memory\n"
             "holds `reserve_bytes` bytes for others, the block-wide region\n"
             "at `block_offset`, then run r's slice at\n"
             "``slices_offset + r * stride``. All numbers are bytes.");
PyDoc_STRVAR(shared_bytes_doc,
             "dynamic_shared_bytes($self, /, runs_per_block)\n--\n\n"
             "Bytes of dynamic shared memory to launch a block with.\n\n"
             "Parameters\n----------\n"
             "runs_per_block : int\n    Runs that one block solves.\n\n"
             "Returns\n-------\n"
             "int\n    Bytes, `reserve_bytes` included.\n\n"
             "Raises\n------\n"
             "BufferValueError\n    No integer >= 0, or too many bytes.");
PyDoc_STRVAR(reduce_doc, "__reduce__($self, /)\n--\n\n"
                         "Pickle as one canonical block of bytes.");
PyDoc_STRVAR(copy_doc, "__copy__($self, /)\n--\n\n"
                       "The bound layout itself, which is immutable.");
PyDoc_STRVAR(deepcopy_doc, "__deepcopy__($self, memo, /)\n--\n\n"
                           "The bound layout itself, which is immutable.");

static PyMethodDef bound_methods[] = {
    {"dynamic_shared_bytes", (PyCFunction)(void (*)(void))bound_shared_bytes,
     METH_FASTCALL | METH_KEYWORDS, shared_bytes_doc},
    {"__reduce__", bound_reduce, METH_NOARGS, reduce_doc},
    {"__copy__", bound_copy, METH_NOARGS, copy_doc},
    {"__deepcopy__", bound_copy, METH_O, deepcopy_doc},
    {NULL, NULL, 0, NULL}};

#define NUMBER(index) (void *)(uintptr_t)(index)

static PyGetSetDef bound_getset[] = {
    {"layout", get_layout, NULL, "The `Layout` that was bound.", NULL},
    {"stride", get_number, NULL, "Bytes between the shared slices of two runs.",
     NUMBER(0)},
    {"block_offset", get_number, NULL, "Byte offset of the block-wide region.",
     NUMBER(1)},
    {"slices_offset", get_number, NULL, "Byte offset of run 0's slice.",
     NUMBER(2)},
    {"reserve_bytes", get_number, NULL,
     "Bytes left free in front, for other users.", NUMBER(3)},
    {"lanes_per_run", get_number, NULL,
     "Neighbouring lanes that solve one run.", NUMBER(4)},
    {"arena_align", get_number, NULL,
     "Bytes that the start of dynamic shared memory must be aligned to.",
     NUMBER(5)},
    {"policy", get_policy, NULL, "How the stride was chosen: 'pad' or 'none'.",
     NULL},
    {"digest", get_digest, NULL,
     "32 hexadecimal digits of the layout's digest and all of the above.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyMemberDef bound_members[] = {{"__weaklistoffset__", T_PYSSIZET,
                                       offsetof(bpx_bound, weaklist), READONLY,
                                       NULL},
                                      {NULL, 0, 0, 0, NULL}};

static PyType_Slot bound_slots[] = {{Py_tp_doc, (void *)bound_doc},
                                    {Py_tp_new, bound_new},
                                    {Py_tp_dealloc, bound_dealloc},
                                    {Py_tp_traverse, bound_traverse},
                                    {Py_tp_repr, bound_repr},
                                    {Py_tp_hash, bound_hash},
                                    {Py_tp_richcompare, bound_richcompare},
                                    {Py_tp_methods, bound_methods},
                                    {Py_tp_getset, bound_getset},
                                    {Py_tp_members, bound_members},
                                    {0, NULL}};

static PyType_Spec bound_spec = {
    .name = "bayplan._core.BoundLayout",
    .basicsize = sizeof(bpx_bound),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = bound_slots};

int bpx_bound_add_type(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    PyObject *type = PyType_FromModuleAndSpec(module, &bound_spec, NULL);
    if (type == NULL) {
        return -1;
    }
    st->bound_type = (PyTypeObject *)type;
    st->bound_class = (PyTypeObject *)Py_NewRef(type);
    return PyModule_AddObjectRef(module, "BoundLayout", type);
}
