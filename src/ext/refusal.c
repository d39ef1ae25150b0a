/* refusal.c - what a refused request says: BudgetExceeded and its figures. */
#include "ext/device.h"

#include <string.h>

/* Takes over `value`. What goes wrong here must not hide the refusal. */
static void put(PyObject *exception, const char *field, PyObject *value)
{
    if (value == NULL || PyObject_SetAttrString(exception, field, value) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(value);
}

static void put_number(PyObject *exception, const char *field, uint64_t value)
{
    put(exception, field, PyLong_FromUnsignedLongLong(value));
}

/* The core cuts a name in the middle of a character if it must. */
static PyObject *text_of(const char *text)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "ignore");
}

static void put_shortage(PyObject *exception, const bp_shortage *s)
{
    put_number(exception, "requested", s->requested);
    put_number(exception, "available", s->available);
    put_number(exception, "limit", s->limit);
    put_number(exception, "used", s->used);
    put_number(exception, "reserved", s->reserved);
    put_number(exception, "evictable", s->evictable);
    put_number(exception, "pinned", s->pinned);
    put_number(exception, "in_flight", s->in_flight);
    put_number(exception, "loaded", s->n_loaded);
    put_number(exception, "total", s->n_slots);
    if (s->budget[0] != '\0') {
        put(exception, "budget", text_of(s->budget));
    }
}

/* The exception that is set is a BudgetExceeded. */
static void complete(const bp_error *error, const bp_shortage *shortage,
                     PyObject *evicted)
{
    PyObject *exception = bpx_exception_take();
    if (shortage != NULL && shortage->requested != 0) {
        put_shortage(exception, shortage);
    } else if (error->has_numbers) {
        put_number(exception, "requested", error->value);
        put_number(exception, "available", error->limit);
    }
    if (shortage != NULL && shortage->text[0] != '\0') {
        put(exception, "args", Py_BuildValue("(N)", text_of(shortage->text)));
    }
    if (evicted != NULL) {
        put(exception, "evicted", Py_NewRef(evicted));
    }
    bpx_exception_give(exception);
}

PyObject *bpx_raise_refused(bpx_state *st, const bp_error *error,
                            const bp_shortage *shortage, bpx_wait *wait,
                            PyObject *evicted)
{
    if (wait != NULL && wait->exception != NULL) {
        bpx_exception_give(wait->exception);
        wait->exception = NULL;
        return NULL;
    }
    bpx_raise(st, error);
    if (bp_status_family(error->status) == BP_FAMILY_BUDGET &&
        PyErr_ExceptionMatches(st->errors[BP_FAMILY_BUDGET])) {
        complete(error, shortage, evicted);
    }
    return NULL;
}
