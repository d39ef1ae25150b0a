/* registry_later.c - BufferRegistry: a call whose place is reserved. It checks
 * how it is called and refuses with NotYetError. */
#include "ext/registry.h"

PyObject *bpx_registry_apply(PyObject *object, PyObject *const *args,
                             Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "apply", 1, 1, 1, {BPX_launch_plan}};
    bpx_state *st = bpx_registry_state((bpx_registry *)object);
    PyObject *given[1];
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    return bpx_raise_as(st, BP_NOT_YET,
                        "apply() is not yet supported: every buffer lies where "
                        "it was declared");
}
