/* registry_later.c - BufferRegistry: calls whose place is reserved. They check
 * how they are called and refuse with NotYetError. */
#include "ext/registry.h"

static PyObject *refuse(bpx_registry *self, const char *what)
{
    return bpx_raise_as(bpx_registry_state(self), BP_NOT_YET,
                        "%s() is not yet supported: every buffer is alive "
                        "always and lies where it was declared",
                        what);
}

PyObject *bpx_registry_phases(PyObject *object, PyObject *const *args,
                              Py_ssize_t n_args, PyObject *kwnames)
{
    (void)args;
    if (n_args < 1 || kwnames != NULL) {
        return PyErr_Format(PyExc_TypeError,
                            "phases() takes a factory and names of phases");
    }
    return refuse((bpx_registry *)object, "phases");
}

PyObject *bpx_registry_loop(PyObject *object, PyObject *const *args,
                            Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "loop", 3, 3, 3, {BPX_factory, BPX_first, BPX_last}};
    bpx_registry *self = (bpx_registry *)object;
    PyObject *given[3];
    if (bpx_parse(bpx_registry_state(self), &signature, args, n_args, kwnames,
                  given) < 0) {
        return NULL;
    }
    return refuse(self, "loop");
}

PyObject *bpx_registry_apply(PyObject *object, PyObject *const *args,
                             Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "apply", 1, 1, 1, {BPX_launch_plan}};
    bpx_registry *self = (bpx_registry *)object;
    PyObject *given[1];
    if (bpx_parse(bpx_registry_state(self), &signature, args, n_args, kwnames,
                  given) < 0) {
        return NULL;
    }
    return refuse(self, "apply");
}
