/* plan.c - the pure functions: plan() and bank_conflicts(). */
#include "ext/ext.h"

#include <string.h>

/* ---- arrays ------------------------------------------------------------ */

/* Always NULL. */
static PyObject *refuse_array(bpx_state *st, const char *what, PyObject *given)
{
    bpx_given text;
    bpx_describe(given, &text);
    return bpx_raise_as(st, BP_BAD_VALUE,
                        "%s must be a one-dimensional array of integers, not "
                        "%s",
                        what, text.text);
}

static int check_not_negative(bpx_state *st, PyArrayObject *array,
                              const char *what)
{
    const int64_t *items = PyArray_DATA(array);
    npy_intp n = PyArray_SIZE(array);
    for (npy_intp i = 0; i < n; i++) {
        if (items[i] < 0) {
            bpx_raise_as(st, BP_BAD_VALUE, "%s[%lld] is not in 0..2**63-1",
                         what, (long long)i);
            return -1;
        }
    }
    return 0;
}

/* `object` as an int64 array of our own, which no other thread can change while
 * the GIL is away. Integers of any width are taken, nothing else; an empty
 * sequence counts as integers. Unsigned numbers beyond int64 turn negative in
 * the cast and are refused with the negative ones. */
static PyArrayObject *to_array(bpx_state *st, PyObject *object,
                               const char *what, bool is_signed)
{
    PyArrayObject *any = (PyArrayObject *)PyArray_FROM_O(object);
    if (any == NULL) {
        PyErr_Clear();
        return (PyArrayObject *)refuse_array(st, what, object);
    }
    int type_num = PyArray_TYPE(any);
    bool is_integer = PyTypeNum_ISINTEGER(type_num) || PyArray_SIZE(any) == 0;
    PyArrayObject *out = NULL;
    if (!is_integer || PyArray_NDIM(any) != 1) {
        refuse_array(st, what, object);
    } else {
        out = (PyArrayObject *)PyArray_FROMANY(
            (PyObject *)any, NPY_INT64, 1, 1,
            NPY_ARRAY_CARRAY | NPY_ARRAY_FORCECAST | NPY_ARRAY_ENSURECOPY);
    }
    Py_DECREF(any);
    if (out != NULL && !(is_signed && PyTypeNum_ISSIGNED(type_num)) &&
        check_not_negative(st, out, what) < 0) {
        Py_CLEAR(out);
    }
    return out;
}

/* ---- plan -------------------------------------------------------------- */

typedef struct plan_arrays {
    PyArrayObject *sizes;
    PyArrayObject *first;
    PyArrayObject *last;
    PyArrayObject *align; /* NULL: all 1 */
} plan_arrays;

static void plan_arrays_fini(plan_arrays *a)
{
    Py_XDECREF(a->sizes);
    Py_XDECREF(a->first);
    Py_XDECREF(a->last);
    Py_XDECREF(a->align);
}

static int check_length(bpx_state *st, const plan_arrays *a,
                        PyArrayObject *array, const char *what)
{
    npy_intp n = PyArray_SIZE(a->sizes);
    if (array == NULL || PyArray_SIZE(array) == n) {
        return 0;
    }
    bpx_raise_as(st, BP_BAD_VALUE, "sizes has %lld items but %s has %lld",
                 (long long)n, what, (long long)PyArray_SIZE(array));
    return -1;
}

static int plan_arrays_init(bpx_state *st, plan_arrays *a,
                            PyObject *const *given, PyObject *align)
{
    *a = (plan_arrays){NULL, NULL, NULL, NULL};
    if ((a->sizes = to_array(st, given[0], "sizes", false)) != NULL &&
        (a->first = to_array(st, given[1], "first", true)) != NULL &&
        (a->last = to_array(st, given[2], "last", true)) != NULL &&
        (align == NULL ||
         (a->align = to_array(st, align, "align", false)) != NULL) &&
        check_length(st, a, a->first, "first") == 0 &&
        check_length(st, a, a->last, "last") == 0 &&
        check_length(st, a, a->align, "align") == 0) {
        return 0;
    }
    plan_arrays_fini(a);
    return -1;
}

static PyObject *run_plan(bpx_state *st, const plan_arrays *a,
                          bp_plan_mode mode)
{
    npy_intp n = PyArray_SIZE(a->sizes);
    PyObject *offsets = PyArray_SimpleNew(1, &n, NPY_INT64);
    if (offsets == NULL) {
        return NULL;
    }
    bp_plan_request request = {
        .n = (size_t)n,
        .sizes = PyArray_DATA(a->sizes),
        .aligns = a->align == NULL ? NULL : PyArray_DATA(a->align),
        .first = PyArray_DATA(a->first),
        .last = PyArray_DATA(a->last),
        .mode = mode};
    bp_plan_result result = {0};
    bp_error error = {.status = BP_OK};
    bp_allocator alloc = bp_allocator_default();
    uint64_t *out = PyArray_DATA((PyArrayObject *)offsets);
    bp_status status;
    Py_BEGIN_ALLOW_THREADS status =
        bp_plan_run(&request, &alloc, out, &result, &error);
    Py_END_ALLOW_THREADS PyObject *plan = NULL;
    if (status != BP_OK) {
        bpx_raise(st, &error);
    } else if (result.height > INT64_MAX) {
        bpx_raise_as(st, BP_TOO_LARGE, "the plan is %llu bytes high",
                     (unsigned long long)result.height);
    } else {
        plan = bpx_plan_new(st, offsets, &result);
    }
    Py_DECREF(offsets);
    return plan;
}

/* Parameters whose place is reserved: refused unless None. */
static int refuse_reserved(bpx_state *st, PyObject *const *given,
                           const bpx_signature *signature, int from)
{
    for (int i = from; i < signature->n_params; i++) {
        if (given[i] != NULL && given[i] != Py_None) {
            bpx_raise_as(st, BP_NOT_YET, "plan(%s=...) is not yet supported",
                         PyUnicode_AsUTF8(st->words[signature->words[i]]));
            return -1;
        }
    }
    return 0;
}

static int to_mode(bpx_state *st, PyObject *object, bp_plan_mode *out)
{
    const char *text;
    if (bpx_to_text(st, object, "mode", BP_BAD_VALUE, &text) < 0) {
        return -1;
    }
    if (!bp_plan_mode_parse(text, out)) {
        bpx_raise_as(st, BP_BAD_VALUE,
                     "mode must be 'auto', 'sequential', 'packed', 'fast' or "
                     "'optimal', not '%.60s'",
                     text);
        return -1;
    }
    return 0;
}

PyObject *bpx_plan(PyObject *module, PyObject *const *args, Py_ssize_t n_args,
                   PyObject *kwnames)
{
    static const bpx_signature signature = {
        "plan",
        10,
        3,
        3,
        {BPX_sizes, BPX_first, BPX_last, BPX_align, BPX_mode, BPX_budget,
         BPX_pins, BPX_capacity, BPX_time_limit, BPX_progress}};
    bpx_state *st = bpx_state_of(module);
    PyObject *given[10];
    bp_plan_mode mode = BP_PLAN_AUTO;
    uint64_t budget;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        refuse_reserved(st, given, &signature, 6) < 0 ||
        (given[4] != NULL && to_mode(st, given[4], &mode) < 0) ||
        (given[5] != NULL && given[5] != Py_None &&
         bpx_to_uint64(st, given[5], "budget", BP_BAD_VALUE, &budget) < 0)) {
        return NULL;
    }
    PyObject *align = given[3] == Py_None ? NULL : given[3];
    plan_arrays arrays;
    if (plan_arrays_init(st, &arrays, given, align) < 0) {
        return NULL;
    }
    PyObject *plan = run_plan(st, &arrays, mode);
    plan_arrays_fini(&arrays);
    return plan;
}

/* ---- bank_conflicts ---------------------------------------------------- */

PyObject *bpx_bank_conflicts(PyObject *module, PyObject *const *args,
                             Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "bank_conflicts", 3, 3, 2, {BPX_stride, BPX_width, BPX_lanes_per_run}};
    bpx_state *st = bpx_state_of(module);
    PyObject *given[3];
    uint64_t stride;
    uint64_t width;
    uint64_t lanes = 1;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        bpx_to_uint64(st, given[0], "stride", BP_BAD_VALUE, &stride) < 0 ||
        bpx_to_uint64(st, given[1], "width", BP_BAD_VALUE, &width) < 0 ||
        (given[2] != NULL && bpx_to_uint64(st, given[2], "lanes_per_run",
                                           BP_BAD_VALUE, &lanes) < 0)) {
        return NULL;
    }
    if (width > UINT32_MAX || lanes > UINT32_MAX) {
        return bpx_raise_as(st, BP_BAD_VALUE,
                            "width and lanes_per_run must be below 2**32");
    }
    uint32_t degree = 0;
    bp_error error = {.status = BP_OK};
    if (bp_bank_conflicts(stride, (uint32_t)width, (uint32_t)lanes, &degree,
                          &error) != BP_OK) {
        return bpx_raise(st, &error);
    }
    return PyLong_FromUnsignedLong(degree);
}
