/* csv.c - tables of buffers as text: the core reads and writes, Python has the
 * files. */
#include "ext/columns.h"

#include <string.h>

/* ---- reading ----------------------------------------------------------- */

/* A column as an array of its own; None for a column that is not there. */
static PyObject *column_new(const void *items, size_t n)
{
    if (items == NULL) {
        return Py_NewRef(Py_None);
    }
    npy_intp length = (npy_intp)n;
    PyObject *array = PyArray_SimpleNew(1, &length, NPY_INT64);
    if (array != NULL && n > 0) {
        memcpy(PyArray_DATA((PyArrayObject *)array), items,
               n * sizeof(int64_t));
    }
    return array;
}

static PyObject *raise_in_file(bpx_state *st, bp_error *error,
                               const char *where)
{
    if (bp_status_family(error->status) == BP_FAMILY_MEMORY) {
        return bpx_raise(st, error);
    }
    size_t n = strlen(where);
    bool is_long = n > 120; /* leave room for what is wrong */
    return bpx_raise_as(st, error->status, "%s%s: %s", is_long ? "..." : "",
                        is_long ? where + n - 120 : where, error->text);
}

PyObject *bpx_read_csv(PyObject *module, PyObject *args)
{
    bpx_state *st = bpx_state_of(module);
    Py_buffer data;
    const char *where;
    if (!PyArg_ParseTuple(args, "y*s:read_csv", &data, &where)) {
        return NULL;
    }
    bp_plan_table table = {0};
    bp_error error = {.status = BP_OK};
    bp_allocator alloc = bp_allocator_default();
    bp_status status;
    Py_BEGIN_ALLOW_THREADS
    status =
        bp_plan_read_csv(data.buf, (size_t)data.len, &alloc, &table, &error);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&data);
    if (status != BP_OK) {
        return raise_in_file(st, &error, where);
    }
    PyObject *answer = Py_BuildValue(
        "(NNNNN)", column_new(table.sizes, table.n),
        column_new(table.first, table.n), column_new(table.last, table.n),
        column_new(table.aligns, table.n), column_new(table.offsets, table.n));
    bp_plan_table_fini(&table);
    return answer;
}

/* ---- writing ----------------------------------------------------------- */

static PyObject *write_columns(bpx_state *st, const bpx_columns *columns)
{
    /* The core reads these arrays only. */
    bp_plan_table table = {.n = (size_t)PyArray_SIZE(columns->sizes),
                           .sizes = PyArray_DATA(columns->sizes),
                           .first = PyArray_DATA(columns->first),
                           .last = PyArray_DATA(columns->last)};
    if (columns->align != NULL) {
        table.aligns = PyArray_DATA(columns->align);
    }
    if (columns->offsets != NULL) {
        table.offsets = PyArray_DATA(columns->offsets);
    }
    char *text = NULL;
    size_t n_bytes = 0;
    bp_error error = {.status = BP_OK};
    bp_allocator alloc = bp_allocator_default();
    if (bp_plan_write_csv(&table, &alloc, &text, &n_bytes, &error) != BP_OK) {
        return bpx_raise(st, &error);
    }
    PyObject *bytes = PyBytes_FromStringAndSize(text, (Py_ssize_t)n_bytes);
    alloc.free(alloc.ctx, text, n_bytes + 1);
    return bytes;
}

PyObject *bpx_write_csv(PyObject *module, PyObject *const *args,
                        Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "write_csv",
        5,
        3,
        3,
        {BPX_sizes, BPX_first, BPX_last, BPX_align, BPX_offsets}};
    bpx_state *st = bpx_state_of(module);
    PyObject *given[5];
    bpx_columns columns;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        bpx_columns_init(st, &columns, given, given[3], given[4], "offsets") <
            0) {
        return NULL;
    }
    PyObject *bytes = write_columns(st, &columns);
    bpx_columns_fini(&columns);
    return bytes;
}
