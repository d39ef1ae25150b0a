/* plan.c - the pure functions: plan(), the live bytes of its picture, and
 * bank_conflicts(). */
#include "ext/columns.h"

/* ---- plan -------------------------------------------------------------- */

static PyObject *wrap_plan(bpx_state *st, const bpx_columns *columns,
                           PyObject *offsets, const bp_plan_result *result)
{
    if (result->height > INT64_MAX) {
        return bpx_raise_as(st, BP_TOO_LARGE, "the plan is %llu bytes high",
                            (unsigned long long)result->height);
    }
    PyArrayObject *const inputs[3] = {columns->sizes, columns->first,
                                      columns->last};
    for (int i = 0; i < 3; i++) {
        PyArray_CLEARFLAGS(inputs[i], NPY_ARRAY_WRITEABLE);
    }
    return bpx_plan_new(st, offsets, result, inputs);
}

/* `request` has the wishes; the arrays are added here. */
static PyObject *run_plan(bpx_state *st, const bpx_columns *columns,
                          bp_plan_request *request, bpx_watch *watch)
{
    npy_intp n = PyArray_SIZE(columns->sizes);
    PyObject *offsets = PyArray_SimpleNew(1, &n, NPY_INT64);
    if (offsets == NULL) {
        return NULL;
    }
    request->n = (size_t)n;
    request->sizes = bpx_items(columns->sizes);
    request->aligns = bpx_items(columns->align);
    request->first = bpx_items(columns->first);
    request->last = bpx_items(columns->last);
    request->pins = bpx_items(columns->offsets);
    request->poll = bpx_watch_poll;
    request->poll_ctx = watch;
    bp_plan_result result = {0};
    bp_error error = {.status = BP_OK};
    bp_allocator alloc = bp_allocator_default();
    uint64_t *out = PyArray_DATA((PyArrayObject *)offsets);
    bpx_watch_begin(watch);
    bp_status status = bp_plan_run(request, &alloc, out, &result, &error);
    bpx_watch_end(watch);
    bp_plan_progress last = {result.n_nodes, result.height, result.lower_bound};
    PyObject *plan = NULL;
    if (bpx_watch_finish(watch, status == BP_OK ? &last : NULL) == 0) {
        plan = status != BP_OK ? bpx_raise(st, &error)
                               : wrap_plan(st, columns, offsets, &result);
    }
    Py_DECREF(offsets);
    return plan;
}

static int to_budget(bpx_state *st, PyObject *object, uint64_t *out)
{
    *out = 0;
    if (object == NULL || object == Py_None) {
        return 0;
    }
    if (bpx_to_uint64(st, object, "budget", BP_BAD_VALUE, out) < 0) {
        return -1;
    }
    if (*out == 0) {
        bpx_raise_as(st, BP_BAD_VALUE,
                     "budget must be at least 1 node (mode 'fast' searches "
                     "nothing)");
        return -1;
    }
    return 0;
}

static int to_capacity(bpx_state *st, PyObject *object,
                       bp_plan_request *request)
{
    request->has_capacity = object != NULL && object != Py_None;
    return request->has_capacity
               ? bpx_to_uint64(st, object, "capacity", BP_BAD_VALUE,
                               &request->capacity)
               : 0;
}

PyObject *bpx_plan(PyObject *module, PyObject *const *args, Py_ssize_t n_args,
                   PyObject *kwnames)
{
    static const bpx_signature signature = {
        "plan",
        10,
        3,
        3,
        {BPX_sizes, BPX_first, BPX_last, BPX_align, BPX_pins, BPX_mode,
         BPX_budget, BPX_capacity, BPX_time_limit, BPX_progress}};
    bpx_state *st = bpx_state_of(module);
    PyObject *given[10];
    bp_plan_request request = {.mode = BP_PLAN_AUTO};
    bpx_watch watch;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        bpx_to_plan_mode(st, given[5], &request.mode) < 0 ||
        to_budget(st, given[6], &request.node_budget) < 0 ||
        to_capacity(st, given[7], &request) < 0 ||
        bpx_watch_init(st, &watch, given[8], given[9]) < 0) {
        return NULL;
    }
    bpx_columns columns;
    if (bpx_columns_init(st, &columns, given, given[3], given[4], "pins") < 0) {
        return NULL;
    }
    PyObject *plan = run_plan(st, &columns, &request, &watch);
    bpx_columns_fini(&columns);
    return plan;
}

/* ---- live bytes -------------------------------------------------------- */

static PyObject *first_items(PyObject *array, size_t n)
{
    return PySequence_GetSlice(array, 0, (Py_ssize_t)n);
}

static PyObject *run_live(bpx_state *st, const bpx_columns *columns)
{
    npy_intp n = PyArray_SIZE(columns->sizes);
    npy_intp room = 2 * n;
    PyObject *times = PyArray_SimpleNew(1, &room, NPY_INT64);
    PyObject *live = PyArray_SimpleNew(1, &room, NPY_INT64);
    PyObject *answer = NULL;
    size_t n_steps = 0;
    bp_error error = {.status = BP_OK};
    bp_allocator alloc = bp_allocator_default();
    if (times != NULL && live != NULL) {
        bp_status status =
            bp_plan_live((size_t)n, bpx_items(columns->sizes),
                         bpx_items(columns->first), bpx_items(columns->last),
                         &alloc, PyArray_DATA((PyArrayObject *)times),
                         PyArray_DATA((PyArrayObject *)live), &n_steps, &error);
        answer = status != BP_OK
                     ? bpx_raise(st, &error)
                     : Py_BuildValue("(NN)", first_items(times, n_steps),
                                     first_items(live, n_steps));
    }
    Py_XDECREF(times);
    Py_XDECREF(live);
    return answer;
}

PyObject *bpx_live_bytes(PyObject *module, PyObject *const *args,
                         Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "live_bytes", 3, 3, 3, {BPX_sizes, BPX_first, BPX_last}};
    bpx_state *st = bpx_state_of(module);
    PyObject *given[3];
    bpx_columns columns;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        bpx_columns_init(st, &columns, given, NULL, NULL, "") < 0) {
        return NULL;
    }
    PyObject *answer = run_live(st, &columns);
    bpx_columns_fini(&columns);
    return answer;
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
