/* layout_table.c - a layout's placements as a NumPy structured array. */
#include "ext/ext.h"

#include <string.h>

enum { LOCATION_CHARS = 16 }; /* of "persistent_local", the longest */

/* Bytes of the parts of one row, which has no padding. */
typedef struct row_shape {
    Py_ssize_t name_chars;
    Py_ssize_t dtype_chars;
} row_shape;

static Py_ssize_t larger(Py_ssize_t a, Py_ssize_t b)
{
    return a > b ? a : b;
}

/* Texts of the dtype column: dtype.str, which of records is their void type. */
static PyObject *dtype_text(bpx_state *st, const bp_placement *placement)
{
    const bpx_dtype *dtype = bpx_dtype_of_core(st, &placement->dtype);
    return dtype == NULL
               ? NULL
               : PyObject_GetAttrString((PyObject *)dtype->descr, "str");
}

/* The columns `names` and `dtypes` as lists of str, and their widths. */
static int read_texts(bpx_state *st, const bp_layout *layout, PyObject *names,
                      PyObject *dtypes, row_shape *shape)
{
    *shape = (row_shape){1, 1};
    size_t n = bp_layout_n_placements(layout);
    for (size_t i = 0; i < n; i++) {
        const bp_placement *p = bp_layout_get_placement(layout, i);
        PyObject *name = PyUnicode_FromString(p->name);
        PyObject *dtype = name == NULL ? NULL : dtype_text(st, p);
        int rc = dtype == NULL || PyList_Append(names, name) < 0 ||
                         PyList_Append(dtypes, dtype) < 0
                     ? -1
                     : 0;
        if (rc == 0) {
            shape->name_chars =
                larger(shape->name_chars, PyUnicode_GET_LENGTH(name));
            shape->dtype_chars =
                larger(shape->dtype_chars, PyUnicode_GET_LENGTH(dtype));
        }
        Py_XDECREF(name);
        Py_XDECREF(dtype);
        if (rc < 0) {
            return -1;
        }
    }
    return 0;
}

static PyArray_Descr *row_descr(const row_shape *shape)
{
    PyObject *spec =
        Py_BuildValue("[(sN)(sN)(ss)(ss)(ss)(sN)(ss)(ss)]", "name",
                      PyUnicode_FromFormat("U%zd", shape->name_chars),
                      "location", PyUnicode_FromFormat("U%d", LOCATION_CHARS),
                      "offset", "i8", "nbytes", "i8", "size", "i8", "dtype",
                      PyUnicode_FromFormat("U%zd", shape->dtype_chars), "first",
                      "i8", "last", "i8");
    PyArray_Descr *descr = NULL;
    if (spec != NULL && PyArray_DescrConverter(spec, &descr) != NPY_SUCCEED) {
        descr = NULL;
    }
    Py_XDECREF(spec);
    return descr;
}

/* Write a zero-padded text of n_chars and answer where the next part goes. NULL
 * with an exception. */
static char *put_text(char *at, PyObject *text, Py_ssize_t n_chars)
{
    Py_UCS4 *ucs4 = PyUnicode_AsUCS4Copy(text);
    if (ucs4 == NULL) {
        return NULL;
    }
    memcpy(at, ucs4, (size_t)PyUnicode_GET_LENGTH(text) * sizeof(Py_UCS4));
    PyMem_Free(ucs4);
    return at + (size_t)n_chars * sizeof(Py_UCS4);
}

static char *put_number(char *at, uint64_t value)
{
    int64_t number = (int64_t)value; /* bytes stay below 2^48 */
    memcpy(at, &number, sizeof number);
    return at + sizeof number;
}

/* `at` points to a zeroed row. */
static int put_row(bpx_state *st, char *at, const bp_layout *layout,
                   const bp_placement *p, PyObject *name, PyObject *dtype,
                   const row_shape *shape)
{
    at = put_text(at, name, shape->name_chars);
    if (at == NULL) {
        return -1;
    }
    at = put_text(at, st->locations[p->location], LOCATION_CHARS);
    if (at == NULL) {
        return -1;
    }
    at = put_number(at, p->offset_bytes);
    at = put_number(at, p->n_bytes);
    at = put_number(at, p->n_items);
    at = put_text(at, dtype, shape->dtype_chars);
    if (at == NULL) {
        return -1;
    }
    bool is_always = p->first_phase == BP_ALWAYS;
    uint64_t n_phases = bp_layout_n_phases(layout);
    at = put_number(at, is_always ? 0 : p->first_phase);
    put_number(at, !is_always      ? (uint64_t)p->last_phase + 1
                   : n_phases == 0 ? 1
                                   : n_phases);
    return 0;
}

static PyObject *fill_table(bpx_state *st, const bp_layout *layout,
                            PyObject *names, PyObject *dtypes,
                            const row_shape *shape)
{
    PyArray_Descr *descr = row_descr(shape);
    if (descr == NULL) {
        return NULL;
    }
    npy_intp n = (npy_intp)bp_layout_n_placements(layout);
    size_t n_row = (size_t)PyDataType_ELSIZE(descr);
    PyObject *table = PyArray_Zeros(1, &n, descr, 0);
    for (npy_intp i = 0; table != NULL && i < n; i++) {
        char *row =
            (char *)PyArray_DATA((PyArrayObject *)table) + (size_t)i * n_row;
        if (put_row(st, row, layout, bp_layout_get_placement(layout, (size_t)i),
                    PyList_GET_ITEM(names, i), PyList_GET_ITEM(dtypes, i),
                    shape) < 0) {
            Py_CLEAR(table);
        }
    }
    return table;
}

PyObject *bpx_layout_table(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_layout *self = (bpx_layout *)object;
    bpx_state *st = bpx_state_of(self->module);
    PyObject *names = PyList_New(0);
    PyObject *dtypes = PyList_New(0);
    PyObject *table = NULL;
    row_shape shape;
    if (names != NULL && dtypes != NULL &&
        read_texts(st, self->core, names, dtypes, &shape) == 0) {
        table = fill_table(st, self->core, names, dtypes, &shape);
    }
    Py_XDECREF(names);
    Py_XDECREF(dtypes);
    return table;
}
