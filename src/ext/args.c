/* args.c - keyword parsing for METH_FASTCALL methods, and the conversions of
 * plain arguments. */
#include "ext/ext.h"

#include <math.h>
#include <string.h>

/* ---- keywords ---------------------------------------------------------- */

/* The index of a keyword, -1 if the function has none of that name. Call sites
 * intern their keywords, so the first loop nearly always finds it. */
static int find_param(const bpx_state *st, const bpx_signature *signature,
                      PyObject *keyword)
{
    for (int i = 0; i < signature->n_params; i++) {
        if (st->words[signature->words[i]] == keyword) {
            return i;
        }
    }
    for (int i = 0; i < signature->n_params; i++) {
        if (PyUnicode_Compare(st->words[signature->words[i]], keyword) == 0) {
            return i;
        }
    }
    return -1;
}

static int parse_keywords(const bpx_state *st, const bpx_signature *signature,
                          PyObject *const *values, PyObject *kwnames,
                          PyObject **out)
{
    Py_ssize_t n = PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t k = 0; k < n; k++) {
        PyObject *keyword = PyTuple_GET_ITEM(kwnames, k);
        int i = find_param(st, signature, keyword);
        if (i < 0) {
            PyErr_Format(PyExc_TypeError,
                         "%s() got an unexpected keyword argument '%U'",
                         signature->function, keyword);
            return -1;
        }
        if (out[i] != NULL) {
            PyErr_Format(PyExc_TypeError,
                         "%s() got multiple values for argument '%U'",
                         signature->function, keyword);
            return -1;
        }
        out[i] = values[k];
    }
    return 0;
}

int bpx_parse(const bpx_state *st, const bpx_signature *signature,
              PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames,
              PyObject **out)
{
    if (n_args > signature->n_positional) {
        PyErr_Format(PyExc_TypeError,
                     "%s() takes at most %d positional arguments (%zd given)",
                     signature->function, signature->n_positional, n_args);
        return -1;
    }
    for (Py_ssize_t i = 0; i < signature->n_params; i++) {
        out[i] = i < n_args ? args[i] : NULL;
    }
    if (kwnames != NULL &&
        parse_keywords(st, signature, args + n_args, kwnames, out) < 0) {
        return -1;
    }
    for (int i = 0; i < signature->n_required; i++) {
        if (out[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() misses the argument '%U'",
                         signature->function, st->words[signature->words[i]]);
            return -1;
        }
    }
    return 0;
}

/* ---- numbers ----------------------------------------------------------- */

typedef enum integer_kind {
    NO_INTEGER,
    IN_RANGE,
    NEGATIVE,
    HUGE_
} integer_kind;

static integer_kind read_pylong(PyObject *number, uint64_t *out)
{
    int overflow = 0;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow == 0 && value >= 0) {
        *out = (uint64_t)value;
        return IN_RANGE;
    }
    if (overflow <= 0) {
        return NEGATIVE;
    }
    *out = PyLong_AsUnsignedLongLong(number);
    if (*out == UINT64_MAX && PyErr_Occurred()) {
        PyErr_Clear();
        return HUGE_;
    }
    return IN_RANGE;
}

static integer_kind read_integer(PyObject *object, uint64_t *out)
{
    if (PyLong_Check(object)) {
        return PyBool_Check(object) ? NO_INTEGER : read_pylong(object, out);
    }
    /* NumPy's timedelta64 calls itself a signed integer. */
    if (!PyArray_IsScalar(object, Integer) ||
        PyArray_IsScalar(object, Timedelta)) {
        return NO_INTEGER;
    }
    PyObject *number = PyNumber_Index(object);
    if (number == NULL) {
        PyErr_Clear();
        return NO_INTEGER;
    }
    integer_kind kind = read_pylong(number, out);
    Py_DECREF(number);
    return kind;
}

/* Always -1. A size beyond 64 bits is too large, not no size. */
static int refuse_integer(bpx_state *st, PyObject *object, const char *what,
                          bp_status status, integer_kind kind)
{
    bpx_given given;
    bpx_describe(object, &given);
    if (kind == HUGE_) {
        bpx_raise_as(st, status == BP_BAD_SIZE ? BP_TOO_LARGE : status,
                     "%s must be below 2**64, not %s", what, given.text);
    } else {
        bpx_raise_as(st, status, "%s must be an integer >= 0, not %s", what,
                     given.text);
    }
    if (kind != NO_INTEGER) {
        bpx_raised_value(st, object);
    }
    return -1;
}

int bpx_to_uint64(bpx_state *st, PyObject *object, const char *what,
                  bp_status status, uint64_t *out)
{
    integer_kind kind = read_integer(object, out);
    if (kind != IN_RANGE) {
        return refuse_integer(st, object, what, status, kind);
    }
    return 0;
}

int bpx_to_bytes(bpx_state *st, PyObject *object, const char *what,
                 bp_status status, uint64_t *out)
{
    if (!PyUnicode_Check(object) || st->parse_size == NULL) {
        return bpx_to_uint64(st, object, what, status, out);
    }
    PyObject *number = PyObject_CallOneArg(st->parse_size, object);
    if (number == NULL) {
        bpx_raised_status(st, status);
        return -1;
    }
    int rc = bpx_to_uint64(st, number, what, status, out);
    Py_DECREF(number);
    return rc;
}

int bpx_to_bool(bpx_state *st, PyObject *object, const char *what, bool *out)
{
    if (PyBool_Check(object)) {
        *out = object == Py_True;
        return 0;
    }
    if (PyArray_IsScalar(object, Bool)) {
        *out = PyArrayScalar_VAL(object, Bool) != 0;
        return 0;
    }
    bpx_given given;
    bpx_describe(object, &given);
    bpx_raise_as(st, BP_BAD_VALUE, "%s must be True or False, not %s", what,
                 given.text);
    return -1;
}

int bpx_to_float(bpx_state *st, PyObject *object, const char *what, float *out)
{
    double value = PyFloat_AsDouble(object);
    if (value == -1.0 && PyErr_Occurred()) {
        PyErr_Clear();
        bpx_given given;
        bpx_describe(object, &given);
        bpx_raise_as(st, BP_BAD_VALUE, "%s must be a number, not %s", what,
                     given.text);
        return -1;
    }
    *out = (float)value;
    return 0;
}

int bpx_to_seconds(bpx_state *st, PyObject *object, const char *what,
                   double *out)
{
    *out = INFINITY;
    if (object == Py_None) {
        return 0;
    }
    *out = PyBool_Check(object) ? -1.0 : PyFloat_AsDouble(object);
    if (PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError) &&
            !PyErr_ExceptionMatches(PyExc_OverflowError)) {
            return -1;
        }
        PyErr_Clear();
        *out = -1.0;
    }
    if (!(*out >= 0.0)) { /* NaN too */
        bpx_given given;
        bpx_describe(object, &given);
        bpx_raise_as(st, BP_BAD_VALUE,
                     "%s must be a number of seconds >= 0, not %s", what,
                     given.text);
        return -1;
    }
    return 0;
}

/* ---- shapes ------------------------------------------------------------ */

/* IN_RANGE, or what the first item that is not is (*bad). */
static integer_kind read_items(PyObject *const *items, Py_ssize_t n,
                               uint64_t *shape, Py_ssize_t *bad)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        integer_kind kind = read_integer(items[i], &shape[i]);
        if (kind != IN_RANGE) {
            *bad = i;
            return kind;
        }
    }
    return IN_RANGE;
}

static bool is_sequence(PyObject *object)
{
    return PyTuple_Check(object) || PyList_Check(object);
}

/* IN_RANGE only for a whole shape. */
static integer_kind read_shape(PyObject *object, uint64_t *shape,
                               uint32_t *n_dims, Py_ssize_t *bad)
{
    *bad = 0;
    if (!is_sequence(object)) {
        *n_dims = 1;
        return read_integer(object, &shape[0]);
    }
    Py_ssize_t n = PySequence_Fast_GET_SIZE(object);
    if (n < 1 || n > (Py_ssize_t)BP_MAX_DIMS) {
        return NO_INTEGER;
    }
    *n_dims = (uint32_t)n;
    return read_items(PySequence_Fast_ITEMS(object), n, shape, bad);
}

bool bpx_is_shape(PyObject *object, uint64_t shape[BP_MAX_DIMS],
                  uint32_t *n_dims)
{
    Py_ssize_t bad;
    integer_kind kind = read_shape(object, shape, n_dims, &bad);
    if (kind == HUGE_) { /* the core says that it is too large */
        shape[0] = UINT64_MAX;
        *n_dims = 1;
    }
    return kind == IN_RANGE || kind == HUGE_;
}

int bpx_to_shape(bpx_state *st, PyObject *object, const char *name,
                 uint64_t shape[BP_MAX_DIMS], uint32_t *n_dims)
{
    Py_ssize_t bad;
    integer_kind kind = read_shape(object, shape, n_dims, &bad);
    if (kind == IN_RANGE) {
        return 0;
    }
    char what[128];
    if (!is_sequence(object)) {
        snprintf(what, sizeof what, "the size of '%.80s'", name);
        return refuse_integer(st, object, what, BP_BAD_SIZE, kind);
    }
    Py_ssize_t n = PySequence_Fast_GET_SIZE(object);
    if (n < 1 || n > (Py_ssize_t)BP_MAX_DIMS) {
        bpx_raise_as(st, BP_BAD_SIZE,
                     "the shape of '%.80s' must have 1 to %u dimensions, "
                     "not %zd",
                     name, BP_MAX_DIMS, n);
        return -1;
    }
    snprintf(what, sizeof what, "dimension %zd of the shape of '%.80s'", bad,
             name);
    PyObject *item = PySequence_Fast_ITEMS(object)[bad];
    return refuse_integer(st, item, what, BP_BAD_SIZE, kind);
}

/* ---- texts ------------------------------------------------------------- */

int bpx_to_text(bpx_state *st, PyObject *object, const char *what,
                bp_status status, const char **out)
{
    bpx_given given;
    if (!PyUnicode_Check(object)) {
        bpx_describe(object, &given);
        bpx_raise_as(st, status, "%s must be a str, not %s", what, given.text);
        return -1;
    }
    Py_ssize_t n = 0;
    *out = PyUnicode_AsUTF8AndSize(object, &n);
    if (*out != NULL && strlen(*out) == (size_t)n) {
        return 0;
    }
    if (*out == NULL && !PyErr_ExceptionMatches(PyExc_UnicodeError)) {
        return -1;
    }
    PyErr_Clear();
    bpx_describe(object, &given);
    bpx_raise_as(st, status, "%s must be plain text, not %s", what, given.text);
    return -1;
}

int bpx_to_label(bpx_state *st, PyObject *object, const char *what,
                 const char **out)
{
    if (bpx_to_text(st, object, what, BP_BAD_NAME, out) < 0) {
        return -1;
    }
    if ((*out)[0] == '\0') {
        bpx_raise_as(st, BP_BAD_NAME, "%s cannot be empty: leave it out", what);
        return -1;
    }
    return 0;
}

/* 1 if Python would read the identifier as it stands: the compiler turns names
 * in source code into NFKC, so any other form could never be written there. */
static int is_normal(PyObject *name)
{
    PyObject *module = PyImport_ImportModule("unicodedata");
    if (module == NULL) {
        return -1;
    }
    PyObject *answer =
        PyObject_CallMethod(module, "is_normalized", "sO", "NFKC", name);
    Py_DECREF(module);
    if (answer == NULL) {
        return -1;
    }
    int rc = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return rc;
}

int bpx_to_name(bpx_state *st, PyObject *object, const char *what,
                const char **out)
{
    if (bpx_to_text(st, object, what, BP_BAD_NAME, out) < 0) {
        return -1;
    }
    if (PyUnicode_IS_ASCII(object)) {
        return 0;
    }
    if (!PyUnicode_IsIdentifier(object)) {
        bpx_raise_as(st, BP_BAD_NAME, "'%s' is not an identifier", *out);
        return -1;
    }
    int rc = is_normal(object);
    if (rc == 0) {
        bpx_raise_as(st, BP_BAD_NAME,
                     "'%s' is not in normal form (NFKC), so code could not "
                     "name it",
                     *out);
    }
    return rc == 1 ? 0 : -1;
}

/* ---- locations --------------------------------------------------------- */

static int parse_location(bpx_state *st, PyObject *object, int n_legal,
                          bp_location *out)
{
    for (int i = 0; i < n_legal; i++) {
        if (st->locations[i] == object) {
            *out = (bp_location)i;
            return 0;
        }
    }
    if (PyUnicode_Check(object)) {
        for (int i = 0; i < n_legal; i++) {
            if (PyUnicode_Compare(st->locations[i], object) == 0) {
                *out = (bp_location)i;
                return 0;
            }
        }
    }
    bpx_given given;
    bpx_describe(object, &given);
    bpx_raise_as(st, BP_BAD_LOCATION,
                 "a location is 'shared', 'block', 'local'%s, not %s",
                 n_legal > BP_AUTO ? ", 'persistent_local' or 'auto'"
                                   : " or 'persistent_local'",
                 given.text);
    return -1;
}

int bpx_to_location(bpx_state *st, PyObject *object, bp_location *out)
{
    return parse_location(st, object, BP_N_LOCATIONS, out);
}

int bpx_to_region(bpx_state *st, PyObject *object, bp_location *out)
{
    return parse_location(st, object, BP_N_REGIONS, out);
}

int bpx_to_plan_mode(bpx_state *st, PyObject *object, bp_plan_mode *out)
{
    const char *text;
    *out = BP_PLAN_AUTO;
    if (object == NULL) {
        return 0;
    }
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
