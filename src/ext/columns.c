/* columns.c - buffers as arrays of integers, one per column: what plan() and
 * the functions about files are given. */
#include "ext/columns.h"

#define MAX_BUFFERS ((npy_intp)1 << 31)

/* ---- one array --------------------------------------------------------- */

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

/* An empty sequence counts as integers. Unsigned numbers beyond int64 turn
 * negative in the cast and are refused with the negative ones. */
PyArrayObject *bpx_to_array(bpx_state *st, PyObject *object, const char *what,
                            bool is_signed)
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
    } else if (PyArray_SIZE(any) > MAX_BUFFERS) {
        bpx_raise_as(st, BP_TOO_LARGE, "%s has %lld items, more than 2**31",
                     what, (long long)PyArray_SIZE(any));
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

/* ---- all of them ------------------------------------------------------- */

void bpx_columns_fini(bpx_columns *columns)
{
    Py_CLEAR(columns->sizes);
    Py_CLEAR(columns->first);
    Py_CLEAR(columns->last);
    Py_CLEAR(columns->align);
    Py_CLEAR(columns->offsets);
}

static int check_length(bpx_state *st, const bpx_columns *columns,
                        PyArrayObject *array, const char *what)
{
    npy_intp n = PyArray_SIZE(columns->sizes);
    if (array == NULL || PyArray_SIZE(array) == n) {
        return 0;
    }
    bpx_raise_as(st, BP_BAD_VALUE, "sizes has %lld items but %s has %lld",
                 (long long)n, what, (long long)PyArray_SIZE(array));
    return -1;
}

static bool is_said(PyObject *object)
{
    return object != NULL && object != Py_None;
}

int bpx_columns_init(bpx_state *st, bpx_columns *columns,
                     PyObject *const *given, PyObject *align, PyObject *offsets,
                     const char *offsets_word)
{
    *columns = (bpx_columns){NULL, NULL, NULL, NULL, NULL};
    if ((columns->sizes = bpx_to_array(st, given[0], "sizes", false)) != NULL &&
        (columns->first = bpx_to_array(st, given[1], "first", true)) != NULL &&
        (columns->last = bpx_to_array(st, given[2], "last", true)) != NULL &&
        (!is_said(align) ||
         (columns->align = bpx_to_array(st, align, "align", false)) != NULL) &&
        (!is_said(offsets) || (columns->offsets = bpx_to_array(
                                   st, offsets, offsets_word, true)) != NULL) &&
        check_length(st, columns, columns->first, "first") == 0 &&
        check_length(st, columns, columns->last, "last") == 0 &&
        check_length(st, columns, columns->align, "align") == 0 &&
        check_length(st, columns, columns->offsets, offsets_word) == 0) {
        return 0;
    }
    bpx_columns_fini(columns);
    return -1;
}

const void *bpx_items(PyArrayObject *array)
{
    return array == NULL ? NULL : PyArray_DATA(array);
}
