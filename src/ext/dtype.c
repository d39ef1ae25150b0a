/* dtype.c - NumPy dtypes and the core's canonical texts.
 *
 * A plain type's text is its dtype.str ("<f4"). A record's is a Python literal
 * that numpy.dtype() takes back (names, formats, offsets, itemsize, aligned),
 * made here and not by NumPy's repr, because it is part of every digest and
 * must not change with NumPy's version.
 */
#include "ext/ext.h"

#include <string.h>

/* ---- what is refused --------------------------------------------------- */

/* Always -1. */
static int refuse(bpx_state *st, PyArray_Descr *descr, const char *why)
{
    bpx_given given;
    bpx_describe((PyObject *)descr, &given);
    bpx_raise_as(st, BP_BAD_DTYPE, "%s cannot be an element type: %s",
                 given.text, why);
    return -1;
}

static int check_leaf(bpx_state *st, PyArray_Descr *descr)
{
    if (PyDataType_REFCHK(descr)) {
        return refuse(st, descr, "it holds Python objects");
    }
    if (descr->type_num >= NPY_NTYPES_LEGACY || descr->type_num < 0) {
        return refuse(st, descr, "it is not one of NumPy's fixed-size types");
    }
    if (PyDataType_ISBYTESWAPPED(descr)) {
        return refuse(st, descr, "its byte order is not this machine's");
    }
    return 0;
}

static int check_whole(bpx_state *st, PyArray_Descr *descr)
{
    if (PyDataType_ELSIZE(descr) <= 0) {
        return refuse(st, descr, "its elements have no bytes");
    }
    if (PyDataType_SUBARRAY(descr) != NULL) {
        return refuse(st, descr,
                      "it is a subarray; give the shape as the size");
    }
    if (PyDataType_ELSIZE(descr) > INT32_MAX) {
        return refuse(st, descr, "its elements are too large");
    }
    return 0;
}

/* ---- dtype -> text ----------------------------------------------------- */

/* What numpy.dtype() makes the type from again: a str, or for records a dict of
 * plain Python objects, or (base, shape). */
static PyObject *spec_of(bpx_state *st, PyArray_Descr *descr);

static int append_field(bpx_state *st, PyArray_Descr *descr, PyObject *name,
                        PyObject *formats, PyObject *offsets)
{
    PyObject *field = NULL;
    if (bpx_dict_get(PyDataType_FIELDS(descr), name, &field) <= 0) {
        return -1;
    }
    int rc = -1;
    PyObject *spec = NULL;
    if (PyTuple_GET_SIZE(field) > 2) { /* (dtype, offset, title) */
        refuse(st, descr, "its fields have titles");
        goto done;
    }
    spec = spec_of(st, (PyArray_Descr *)PyTuple_GET_ITEM(field, 0));
    if (spec != NULL && PyList_Append(formats, spec) == 0 &&
        PyList_Append(offsets, PyTuple_GET_ITEM(field, 1)) == 0) {
        rc = 0;
    }
done:
    Py_XDECREF(spec);
    Py_DECREF(field);
    return rc;
}

static PyObject *record_spec(bpx_state *st, PyArray_Descr *descr)
{
    PyObject *names = PyDataType_NAMES(descr);
    PyObject *formats = PyList_New(0);
    PyObject *offsets = PyList_New(0);
    PyObject *spec = NULL;
    if (formats == NULL || offsets == NULL) {
        goto done;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++) {
        if (append_field(st, descr, PyTuple_GET_ITEM(names, i), formats,
                         offsets) < 0) {
            goto done;
        }
    }
    bool is_aligned = PyDataType_FLAGCHK(descr, NPY_ALIGNED_STRUCT) != 0;
    spec =
        Py_BuildValue("{s:N,s:O,s:O,s:n,s:O}", "names", PySequence_List(names),
                      "formats", formats, "offsets", offsets, "itemsize",
                      (Py_ssize_t)PyDataType_ELSIZE(descr), "aligned",
                      is_aligned ? Py_True : Py_False);
done:
    Py_XDECREF(formats);
    Py_XDECREF(offsets);
    return spec;
}

static PyObject *spec_of(bpx_state *st, PyArray_Descr *descr)
{
    PyArray_ArrayDescr *subarray = PyDataType_SUBARRAY(descr);
    if (subarray != NULL) {
        PyObject *base = spec_of(st, subarray->base);
        return base == NULL ? NULL
                            : Py_BuildValue("(NO)", base, subarray->shape);
    }
    if (check_leaf(st, descr) < 0) {
        return NULL;
    }
    if (PyDataType_HASFIELDS(descr)) {
        return record_spec(st, descr);
    }
    return PyObject_GetAttrString((PyObject *)descr, "str");
}

static PyObject *text_of(bpx_state *st, PyArray_Descr *descr)
{
    if (check_whole(st, descr) < 0) {
        return NULL;
    }
    PyObject *spec = spec_of(st, descr);
    if (spec == NULL || PyUnicode_Check(spec)) {
        return spec;
    }
    PyObject *text = PyObject_Repr(spec);
    Py_DECREF(spec);
    return text;
}

/* ---- text -> dtype ----------------------------------------------------- */

static PyObject *descr_of_spec(PyObject *spec);

/* In place: an outer record's `aligned` must not reach its inner ones, and it
 * does not reach what is a dtype already. */
static int make_formats(PyObject *record)
{
    PyObject *formats = PyMapping_GetItemString(record, "formats");
    int rc = formats != NULL && PyList_Check(formats) ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(formats); i++) {
        PyObject *descr = descr_of_spec(PyList_GET_ITEM(formats, i));
        rc = descr == NULL ? -1 : PyList_SetItem(formats, i, descr);
    }
    Py_XDECREF(formats);
    return rc;
}

static PyObject *descr_of_pair(PyObject *pair)
{
    PyObject *base = PyTuple_GET_SIZE(pair) == 2
                         ? descr_of_spec(PyTuple_GET_ITEM(pair, 0))
                         : NULL;
    if (base == NULL) {
        return NULL;
    }
    return Py_BuildValue("(NO)", base, PyTuple_GET_ITEM(pair, 1));
}

/* What spec_of gives, back into a dtype. Specs come from literals of our own
 * reading, so nobody else holds them. */
static PyObject *descr_of_spec(PyObject *spec)
{
    PyObject *ready = NULL;
    if (PyTuple_Check(spec)) {
        ready = descr_of_pair(spec);
    } else if (!PyDict_Check(spec) || make_formats(spec) == 0) {
        ready = Py_NewRef(spec);
    }
    PyArray_Descr *descr = NULL;
    if (ready != NULL && PyArray_DescrConverter(ready, &descr) != NPY_SUCCEED) {
        descr = NULL;
    }
    Py_XDECREF(ready);
    return (PyObject *)descr;
}

static PyArray_Descr *descr_of(PyObject *text)
{
    PyObject *spec = Py_NewRef(text);
    if (PyUnicode_READ_CHAR(text, 0) == '{') {
        PyObject *ast = PyImport_ImportModule("ast");
        Py_DECREF(spec);
        spec = ast == NULL
                   ? NULL
                   : PyObject_CallMethod(ast, "literal_eval", "O", text);
        Py_XDECREF(ast);
    }
    PyObject *descr = spec == NULL ? NULL : descr_of_spec(spec);
    Py_XDECREF(spec);
    return (PyArray_Descr *)descr;
}

/* ---- the table --------------------------------------------------------- */

int bpx_dtypes_init(bpx_state *st)
{
    st->dtypes.by_object = PyDict_New();
    st->dtypes.by_text = PyDict_New();
    return st->dtypes.by_object && st->dtypes.by_text ? 0 : -1;
}

void bpx_dtypes_fini(bpx_state *st)
{
    bpx_dtypes *table = &st->dtypes;
    for (size_t i = 0; i < table->n_items; i++) {
        Py_XDECREF(table->items[i]->descr);
        Py_XDECREF(table->items[i]->text);
        PyMem_Free(table->items[i]);
    }
    PyMem_Free(table->items);
    table->items = NULL;
    table->n_items = table->capacity = 0;
}

/* The entry a dict holds for a key: NULL with or without an exception. */
static const bpx_dtype *look_up(const bpx_dtypes *table, PyObject *dict,
                                PyObject *key)
{
    PyObject *index = NULL;
    if (bpx_dict_get(dict, key, &index) <= 0) {
        return NULL;
    }
    size_t i = PyLong_AsSize_t(index);
    Py_DECREF(index);
    return table->items[i];
}

static int remember(bpx_dtypes *table, PyObject *dict, PyObject *key,
                    const bpx_dtype *entry)
{
    for (size_t i = table->n_items; i-- > 0;) {
        if (table->items[i] == entry) {
            PyObject *index = PyLong_FromSize_t(i);
            int rc = index == NULL ? -1 : PyDict_SetItem(dict, key, index);
            Py_XDECREF(index);
            return rc;
        }
    }
    return 0;
}

static bpx_dtype *new_entry(PyArray_Descr *descr, PyObject *text)
{
    const char *utf8 = PyUnicode_AsUTF8(text);
    bpx_dtype *entry = utf8 == NULL ? NULL : PyMem_Calloc(1, sizeof *entry);
    if (entry == NULL) {
        return utf8 == NULL ? NULL : (bpx_dtype *)PyErr_NoMemory();
    }
    entry->descr = (PyArray_Descr *)Py_NewRef(descr);
    entry->text = Py_NewRef(text);
    entry->core.text = utf8;
    entry->core.n_bytes = (uint32_t)PyDataType_ELSIZE(descr);
    entry->core.align = (uint32_t)PyDataType_ALIGNMENT(descr);
    return entry;
}

static int grow(bpx_dtypes *table)
{
    if (table->n_items < table->capacity) {
        return 0;
    }
    size_t capacity = table->capacity == 0 ? 16 : table->capacity * 2;
    bpx_dtype **items = table->items;
    PyMem_Resize(items, bpx_dtype *, capacity);
    if (items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    table->items = items;
    table->capacity = capacity;
    return 0;
}

/* The entry of a checked descr and its canonical text, made if it is new. */
static const bpx_dtype *intern(bpx_state *st, PyArray_Descr *descr,
                               PyObject *text)
{
    bpx_dtypes *table = &st->dtypes;
    const bpx_dtype *known = look_up(table, table->by_text, text);
    if (known != NULL || PyErr_Occurred() || grow(table) < 0) {
        return known;
    }
    bpx_dtype *entry = new_entry(descr, text);
    if (entry == NULL) {
        return NULL;
    }
    table->items[table->n_items++] = entry;
    if (remember(table, table->by_text, text, entry) < 0) {
        return NULL; /* the entry stays and is found by nobody */
    }
    return entry;
}

/* ---- face -------------------------------------------------------------- */

/* Bool to clongdouble, and half. */
static bool is_plain_number(int type_num)
{
    return (type_num >= 0 && type_num < NPY_OBJECT) || type_num == NPY_HALF;
}

/* NumPy's own types, of which there is one object each, can be remembered by
 * identity; anything else is looked at afresh. */
static bool is_builtin(PyObject *object, const PyArray_Descr *descr)
{
    if (!is_plain_number(descr->type_num)) {
        return false;
    }
    PyArray_Descr *single = PyArray_DescrFromType(descr->type_num);
    bool is_single = single == descr;
    Py_XDECREF(single);
    return is_single && (PyType_Check(object) || object == (PyObject *)descr);
}

/* The types that by_object may be asked for: hash and eq of anything else could
 * be the user's. */
static bool is_hashable_key(PyObject *object)
{
    return Py_TYPE(object) == &PyType_Type ||
           (PyArray_DescrCheck(object) &&
            is_plain_number(((PyArray_Descr *)object)->type_num));
}

const bpx_dtype *bpx_dtype_convert(bpx_state *st, PyObject *object)
{
    bpx_dtypes *table = &st->dtypes;
    bool is_key = is_hashable_key(object);
    if (is_key) {
        const bpx_dtype *known = look_up(table, table->by_object, object);
        if (known != NULL || PyErr_Occurred()) {
            return known;
        }
    }
    PyArray_Descr *descr = NULL;
    if (PyArray_DescrConverter(object, &descr) != NPY_SUCCEED) {
        PyErr_Clear();
        bpx_given given;
        bpx_describe(object, &given);
        bpx_raise_as(st, BP_BAD_DTYPE, "%s is no NumPy dtype", given.text);
        return NULL;
    }
    PyObject *text = text_of(st, descr);
    const bpx_dtype *entry = text == NULL ? NULL : intern(st, descr, text);
    if (entry != NULL && is_key && is_builtin(object, descr) &&
        remember(table, table->by_object, object, entry) < 0) {
        entry = NULL;
    }
    Py_XDECREF(text);
    Py_DECREF(descr);
    return entry;
}

/* Make the entry of a text read from outside; its canonical form must be the
 * text itself. */
static const bpx_dtype *intern_text(bpx_state *st, PyObject *text)
{
    if (PyUnicode_GET_LENGTH(text) == 0) {
        return NULL;
    }
    PyArray_Descr *descr = descr_of(text);
    PyObject *again = descr == NULL ? NULL : text_of(st, descr);
    const bpx_dtype *entry = NULL;
    if (again != NULL && PyUnicode_Compare(again, text) == 0) {
        entry = intern(st, descr, text);
    }
    Py_XDECREF(again);
    Py_XDECREF(descr);
    return entry;
}

const bpx_dtype *bpx_dtype_of_core(bpx_state *st, const bp_dtype *core)
{
    PyObject *text = PyUnicode_FromString(core->text);
    if (text == NULL) {
        return NULL;
    }
    const bpx_dtype *entry = look_up(&st->dtypes, st->dtypes.by_text, text);
    if (entry == NULL && !PyErr_Occurred()) {
        entry = intern_text(st, text);
    }
    Py_DECREF(text);
    if (entry != NULL && entry->core.n_bytes == core->n_bytes &&
        entry->core.align == core->align) {
        return entry;
    }
    if (entry == NULL && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        return NULL;
    }
    PyErr_Clear();
    bpx_raise_as(st, BP_BAD_DATA,
                 "'%.80s' of %u bytes, aligned to %u, is no element type here",
                 core->text, core->n_bytes, core->align);
    return NULL;
}

const bpx_dtype *bpx_precision_of(bpx_state *st, PyObject *factory)
{
    PyObject *precision = NULL;
    if (bpx_attr_get(factory, st->words[BPX_precision], &precision) < 0) {
        return NULL;
    }
    if (precision == NULL || precision == Py_None) {
        Py_XSETREF(precision, (PyObject *)PyArray_DescrFromType(NPY_FLOAT32));
    }
    const bpx_dtype *entry = bpx_dtype_convert(st, precision);
    Py_DECREF(precision);
    if (entry == NULL) {
        bpx_raised_about(st, factory, NULL);
    }
    return entry;
}
