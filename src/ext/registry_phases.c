/* registry_phases.c - BufferRegistry: phases, loops, and when something lives.
 */
#include "ext/registry.h"

/* ---- live= ------------------------------------------------------------- */

int bpx_to_live(bpx_state *st, PyObject *object, const char **first,
                const char **last)
{
    *last = NULL;
    if (PyUnicode_Check(object)) {
        return bpx_to_text(st, object, "live", BP_BAD_LIFE, first);
    }
    if (PyTuple_Check(object) && PyTuple_GET_SIZE(object) == 2) {
        return bpx_to_text(st, PyTuple_GET_ITEM(object, 0),
                           "the first phase of live", BP_BAD_LIFE, first) < 0 ||
                       bpx_to_text(st, PyTuple_GET_ITEM(object, 1),
                                   "the last phase of live", BP_BAD_LIFE,
                                   last) < 0
                   ? -1
                   : 0;
    }
    bpx_given given;
    bpx_describe(object, &given);
    bpx_raise_as(st, BP_BAD_LIFE,
                 "live must be a phase or a tuple of the first and the last "
                 "one, not %s",
                 given.text);
    return -1;
}

/* ---- phases ------------------------------------------------------------ */

/* Names borrowed from args[1..n]; PyMem_Free the answer. NULL with an
 * exception. */
static const char **to_names(bpx_state *st, PyObject *const *args, size_t n)
{
    const char **names = PyMem_Calloc(n == 0 ? 1 : n, sizeof *names);
    if (names == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        if (bpx_to_name(st, args[1 + i], "the name of a phase", &names[i]) <
            0) {
            bpx_raised_about(st, args[0], args[1 + i]);
            PyMem_Free(names);
            return NULL;
        }
    }
    return names;
}

static PyObject *set_phases(bpx_registry *self, PyObject *owner,
                            const char *const *names, size_t n)
{
    bpx_state *st = bpx_registry_state(self);
    const bpx_dtype *precision = NULL;
    if (bpx_owner_find(self, owner) == NULL) {
        if (n == 0) {
            Py_RETURN_NONE; /* nothing to forget, and no first contact */
        }
        precision = bpx_precision_of(st, owner);
        if (precision == NULL) {
            return NULL;
        }
    }
    bool is_new = false;
    bp_factory factory = bpx_owner_open(self, owner, precision, &is_new);
    if (factory == BP_NO_FACTORY) {
        return NULL;
    }
    bp_error error = {.status = BP_OK};
    if (bp_registry_phases(self->core, factory, names, n, &error) != BP_OK) {
        if (is_new) {
            bpx_owner_undo(self, owner);
        }
        return bpx_raise(st, &error);
    }
    Py_RETURN_NONE;
}

PyObject *bpx_registry_phases(PyObject *object, PyObject *const *args,
                              Py_ssize_t n_args, PyObject *kwnames)
{
    bpx_registry *self = (bpx_registry *)object;
    if (n_args < 1 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) != 0)) {
        return PyErr_Format(PyExc_TypeError,
                            "phases() takes a factory and the names of its "
                            "phases, none of them by keyword");
    }
    size_t n = (size_t)n_args - 1;
    const char **names = to_names(bpx_registry_state(self), args, n);
    if (names == NULL) {
        return NULL;
    }
    PyObject *done = set_phases(self, args[0], names, n);
    PyMem_Free(names);
    return done;
}

/* ---- loops ------------------------------------------------------------- */

PyObject *bpx_registry_loop(PyObject *object, PyObject *const *args,
                            Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "loop", 3, 3, 2, {BPX_factory, BPX_first, BPX_last}};
    bpx_registry *self = (bpx_registry *)object;
    bpx_state *st = bpx_registry_state(self);
    PyObject *given[3];
    const char *first;
    const char *last = NULL;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    if (bpx_to_text(st, given[1], "the first phase of a loop", BP_BAD_LIFE,
                    &first) < 0 ||
        (given[2] != NULL && given[2] != Py_None &&
         bpx_to_text(st, given[2], "the last phase of a loop", BP_BAD_LIFE,
                     &last) < 0)) {
        bpx_raised_about(st, given[0], NULL);
        return NULL;
    }
    bpx_owner *owner = bpx_owner_find(self, given[0]);
    if (owner == NULL) {
        return bpx_raise_unknown_factory(self, given[0]);
    }
    bp_error error = {.status = BP_OK};
    if (bp_registry_loop(self->core, owner->factory, first, last, &error) !=
        BP_OK) {
        return bpx_raise(st, &error);
    }
    Py_RETURN_NONE;
}
