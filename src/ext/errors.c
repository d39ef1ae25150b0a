/* errors.c - exception types, and the one place that turns a status into an
 * exception.
 *
 * The figures of an error are attributes in the exception's __dict__, so the
 * pickling that every exception has carries them.
 */
#include "ext/ext.h"

#include <stdarg.h>
#include <string.h>

typedef struct exception_row {
    const char *name;  /* "bayplan.X" */
    PyObject **family; /* second base, NULL: none */
    bp_family serves;
    const char *doc;
} exception_row;

static const char base_doc[] =
    "Base of bayplan's exceptions.\n\n"
    "Attributes\n----------\n"
    "code : str or None\n    Stable code, such as ``BAY-E100``.\n"
    "factory : str or None\n    Type name of the factory it is about.\n"
    "buffer : str or None\n    Name of the buffer it is about.\n"
    "value : int or None\n    The number that broke a rule.\n"
    "limit : int or None\n    The number it broke.";

static const char budget_doc[] =
    "A byte budget cannot grant a request, or its device has no memory for "
    "it.\n\n"
    "Its text is the report. Every figure is None where it is not known.\n\n"
    "Attributes\n----------\n"
    "requested, available, limit, used, reserved : int or None\n"
    "    Bytes asked for, and the budget's figures at the moment of refusal.\n"
    "evictable, pinned, in_flight : int or None\n"
    "    Bytes of slots that could go now, that are pinned, and that the "
    "device\n"
    "    may still use.\n"
    "loaded, total : int or None\n    Slots on the device, and all of them.\n"
    "evicted : tuple of str\n    Slots that were evicted for this request.\n"
    "budget : str or None\n    Name of the budget that refused.";

static const exception_row rows[] = {
    {"bayplan.BufferKeyError", &PyExc_KeyError, BP_FAMILY_KEY,
     "No buffer, child, phase or factory of that name."},
    {"bayplan.BufferValueError", &PyExc_ValueError, BP_FAMILY_VALUE,
     "A declaration or an argument that breaks a rule."},
    {"bayplan.NotYetError", &PyExc_NotImplementedError, BP_FAMILY_NOT_YET,
     "A feature whose place is reserved but which does not exist yet."},
    {"bayplan.StaleHandle", &PyExc_RuntimeError, BP_FAMILY_STALE,
     "The object behind a handle is gone."},
    {"bayplan.BudgetExceeded", &PyExc_MemoryError, BP_FAMILY_BUDGET,
     budget_doc},
    {"bayplan.DeviceUnavailable", &PyExc_RuntimeError, BP_FAMILY_DEVICE,
     "There is no driver or no device."},
    {"bayplan.DeviceFault", &PyExc_RuntimeError, BP_FAMILY_FAULT,
     "The device or its driver reported an error."},
    {"bayplan.Busy", &PyExc_RuntimeError, BP_FAMILY_BUSY,
     "The object is in use and cannot change now."},
    {"bayplan.SlotExists", &PyExc_ValueError, BP_FAMILY_EXISTS,
     "A slot of that name exists."},
    {"bayplan.ForkedProcess", &PyExc_RuntimeError, BP_FAMILY_FORKED,
     "A device object was used in a forked process."},
};

/* Attributes at None, and a __str__ that wins over KeyError's, which quotes. */
static PyObject *base_dict(bpx_state *st)
{
    static const bpx_word fields[] = {BPX_code, BPX_factory, BPX_buffer,
                                      BPX_value, BPX_limit};
    PyObject *dict = PyDict_New();
    PyObject *str = PyObject_GetAttrString(PyExc_BaseException, "__str__");
    bool is_ok = dict != NULL && str != NULL &&
                 PyDict_SetItemString(dict, "__str__", str) == 0;
    for (size_t i = 0; is_ok && i < sizeof fields / sizeof *fields; i++) {
        is_ok = PyDict_SetItem(dict, st->words[fields[i]], Py_None) == 0;
    }
    Py_XDECREF(str);
    if (!is_ok) {
        Py_CLEAR(dict);
    }
    return dict;
}

static PyObject *add_exception(PyObject *module, const char *name,
                               const char *doc, PyObject *bases, PyObject *dict)
{
    PyObject *type = PyErr_NewExceptionWithDoc(name, doc, bases, dict);
    if (type == NULL) {
        return NULL;
    }
    if (PyModule_AddObjectRef(module, strrchr(name, '.') + 1, type) < 0) {
        Py_CLEAR(type);
    }
    return type;
}

static int add_family(PyObject *module, bpx_state *st, const exception_row *row)
{
    PyObject *bases = PyTuple_Pack(2, st->base_error, *row->family);
    if (bases == NULL) {
        return -1;
    }
    PyObject *type = add_exception(module, row->name, row->doc, bases, NULL);
    Py_DECREF(bases);
    if (type == NULL) {
        return -1;
    }
    st->errors[row->serves] = type;
    return 0;
}

/* What BudgetExceeded says of a refusal that gave no figures. */
static int add_budget_fields(PyObject *type)
{
    static const char *const fields[] = {
        "requested", "available", "used",   "reserved", "evictable",
        "pinned",    "in_flight", "loaded", "total",    "budget"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (PyObject_SetAttrString(type, fields[i], Py_None) < 0) {
            return -1;
        }
    }
    PyObject *nothing = PyTuple_New(0);
    int rc =
        nothing == NULL ? -1 : PyObject_SetAttrString(type, "evicted", nothing);
    Py_XDECREF(nothing);
    return rc;
}

int bpx_errors_add(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    PyObject *dict = base_dict(st);
    if (dict == NULL) {
        return -1;
    }
    st->base_error = add_exception(module, "bayplan.BayplanError", base_doc,
                                   PyExc_Exception, dict);
    Py_DECREF(dict);
    if (st->base_error == NULL) {
        return -1;
    }
    st->errors[BP_FAMILY_BUG] = Py_NewRef(st->base_error);
    st->errors[BP_FAMILY_NONE] = Py_NewRef(st->base_error);
    st->errors[BP_FAMILY_MEMORY] = Py_NewRef(PyExc_MemoryError);
    st->errors[BP_FAMILY_TIMEOUT] = Py_NewRef(PyExc_TimeoutError);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (add_family(module, st, &rows[i]) < 0) {
            return -1;
        }
    }
    return add_budget_fields(st->errors[BP_FAMILY_BUDGET]);
}

/* Takes over `value`; NULL passes an exception on. */
static int set_field(bpx_state *st, PyObject *exception, bpx_word word,
                     PyObject *value)
{
    if (value == NULL) {
        return -1;
    }
    int rc = PyObject_SetAttr(exception, st->words[word], value);
    Py_DECREF(value);
    return rc;
}

static PyObject *text_or_none(const char *text)
{
    if (text[0] == '\0') {
        return Py_NewRef(Py_None);
    }
    /* The core may have cut a name in the middle of a character. */
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "ignore");
}

static PyObject *number_or_none(const bp_error *error, uint64_t number)
{
    return error->has_numbers ? PyLong_FromUnsignedLongLong(number)
                              : Py_NewRef(Py_None);
}

static int fill(bpx_state *st, PyObject *exception, const bp_error *error)
{
    if (set_field(st, exception, BPX_code,
                  PyUnicode_FromString(bp_status_code(error->status))) < 0 ||
        set_field(st, exception, BPX_factory, text_or_none(error->factory)) <
            0 ||
        set_field(st, exception, BPX_buffer, text_or_none(error->buffer)) < 0 ||
        set_field(st, exception, BPX_value,
                  number_or_none(error, error->value)) < 0 ||
        set_field(st, exception, BPX_limit,
                  number_or_none(error, error->limit)) < 0) {
        return -1;
    }
    return 0;
}

PyObject *bpx_raise(bpx_state *st, const bp_error *error)
{
    bp_family family = bp_status_family(error->status);
    if (family == BP_FAMILY_MEMORY && error->text[0] == '\0') {
        return PyErr_NoMemory();
    }
    PyObject *type = st->errors[family];
    const char *said =
        error->text[0] ? error->text : bp_status_text(error->status);
    PyObject *text =
        PyUnicode_DecodeUTF8(said, (Py_ssize_t)strlen(said), "replace");
    if (text == NULL) {
        return NULL;
    }
    PyObject *exception = PyObject_CallOneArg(type, text);
    Py_DECREF(text);
    if (exception == NULL) {
        return NULL;
    }
    if (fill(st, exception, error) == 0) {
        PyErr_SetObject(type, exception);
    }
    Py_DECREF(exception);
    return NULL;
}

PyObject *bpx_raise_as(bpx_state *st, bp_status status, const char *format, ...)
{
    bp_error error = {.status = status};
    va_list args;
    va_start(args, format);
    int n = vsnprintf(error.text, sizeof error.text, format, args);
    va_end(args);
    if (n >= (int)sizeof error.text) {
        memcpy(error.text + sizeof error.text - 4, "...", 4);
    }
    return bpx_raise(st, &error);
}

/* What goes wrong while an error is completed must not hide the error. */
static void complete(bpx_state *st, PyObject *exception, bpx_word word,
                     PyObject *value)
{
    if (value == NULL ||
        PyObject_SetAttr(exception, st->words[word], value) < 0) {
        PyErr_Clear();
    }
}

/* "Factory: text", and " ('buffer')" where the text does not name it. */
static PyObject *text_about(PyObject *exception, PyObject *factory,
                            PyObject *buffer)
{
    PyObject *text = PyObject_Str(exception);
    if (text == NULL) {
        return NULL;
    }
    bool is_named = buffer == NULL || PyUnicode_Contains(text, buffer) != 0;
    PyObject *longer =
        is_named ? PyUnicode_FromFormat("%U: %U", factory, text)
                 : PyUnicode_FromFormat("%U: %U ('%U')", factory, text, buffer);
    Py_DECREF(text);
    return longer;
}

static void set_text(PyObject *exception, PyObject *text)
{
    PyObject *args = text == NULL ? NULL : PyTuple_Pack(1, text);
    if (args == NULL || PyObject_SetAttrString(exception, "args", args) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(args);
}

void bpx_raised_about(bpx_state *st, PyObject *factory, PyObject *buffer)
{
    if (!PyErr_ExceptionMatches(st->base_error)) {
        return;
    }
    PyObject *exception = bpx_exception_take();
    PyObject *name = PyType_GetName(Py_TYPE(factory));
    if (buffer != NULL && !PyUnicode_Check(buffer)) {
        buffer = NULL;
    }
    if (name != NULL) {
        PyObject *text = text_about(exception, name, buffer);
        set_text(exception, text);
        Py_XDECREF(text);
    }
    complete(st, exception, BPX_factory, name);
    if (buffer != NULL) {
        complete(st, exception, BPX_buffer, buffer);
    }
    Py_XDECREF(name);
    bpx_exception_give(exception);
}

void bpx_raised_value(bpx_state *st, PyObject *value)
{
    if (PyErr_ExceptionMatches(st->base_error)) {
        PyObject *exception = bpx_exception_take();
        complete(st, exception, BPX_value, value);
        bpx_exception_give(exception);
    }
}

void bpx_raised_status(bpx_state *st, bp_status status)
{
    if (PyErr_ExceptionMatches(st->base_error)) {
        PyObject *exception = bpx_exception_take();
        PyObject *code = PyUnicode_FromString(bp_status_code(status));
        complete(st, exception, BPX_code, code);
        Py_XDECREF(code);
        bpx_exception_give(exception);
    }
}

void bpx_describe(PyObject *object, bpx_given *out)
{
    const char *type = Py_TYPE(object)->tp_name;
    PyObject *repr = PyObject_Repr(object);
    const char *text = repr == NULL ? NULL : PyUnicode_AsUTF8(repr);
    if (text == NULL) {
        PyErr_Clear();
        text = "(no repr)";
    }
    const char *dots = strlen(text) > 40 ? "..." : "";
    snprintf(out->text, sizeof out->text, "%.40s%s (%.40s)", text, dots, type);
    Py_XDECREF(repr);
}

PyObject *bpx_statuses(PyObject *module, PyObject *Py_UNUSED(unused))
{
    bpx_state *st = bpx_state_of(module);
    PyObject *list = PyList_New(0);
    for (int i = 0; list != NULL && i < BP_N_STATUSES; i++) {
        bp_status status = (bp_status)i;
        PyObject *row = Py_BuildValue(
            "(sssO)", bp_status_name(status), bp_status_code(status),
            bp_status_text(status), st->errors[bp_status_family(status)]);
        if (row == NULL || PyList_Append(list, row) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(row);
    }
    return list;
}

PyObject *bpx_raise_status(PyObject *module, PyObject *number)
{
    bpx_state *st = bpx_state_of(module);
    long i = PyLong_AsLong(number);
    if (i == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (i <= 0 || i >= BP_N_STATUSES) {
        return PyErr_Format(PyExc_IndexError, "no failing status %ld", i);
    }
    bp_error error = {.status = BP_OK};
    bp_status status =
        bp_fail(&error, (bp_status)i, "%s", bp_status_text((bp_status)i));
    bp_error_about(&error, "Factory", "buffer");
    bp_error_numbers(&error, 7, 5);
    return status == BP_OK ? NULL : bpx_raise(st, &error);
}
