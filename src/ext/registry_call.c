/* registry_call.c - BufferRegistry: what methods on one factory have in common.
 */
#include "ext/registry.h"

PyObject *bpx_registry_call(PyObject *object, const bpx_factory_call *call,
                            PyObject *const *args, Py_ssize_t n_args,
                            PyObject *kwnames)
{
    bpx_registry *self = (bpx_registry *)object;
    bpx_state *st = bpx_registry_state(self);
    PyObject *given[1];
    if (bpx_parse(st, &call->signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    bpx_owner *owner = bpx_owner_find(self, given[0]);
    if (owner == NULL && call->must_be_known) {
        return bpx_raise_unknown_factory(self, given[0]);
    }
    bp_error error = {.status = BP_OK};
    if (owner != NULL &&
        call->function(self->core, owner->factory, &error) != BP_OK) {
        return bpx_raise(st, &error);
    }
    Py_RETURN_NONE;
}

PyObject *bpx_registry_read(PyObject *object, const bpx_signature *signature,
                            PyObject *(*make)(const bpx_registry *self,
                                              const bp_entries *entries),
                            PyObject *const *args, Py_ssize_t n_args,
                            PyObject *kwnames)
{
    bpx_registry *self = (bpx_registry *)object;
    bpx_state *st = bpx_registry_state(self);
    PyObject *given[1];
    if (bpx_parse(st, signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    bpx_owner *owner = bpx_owner_find(self, given[0]);
    if (owner == NULL) {
        return PyDict_New();
    }
    bp_entries entries;
    bp_error error = {.status = BP_OK};
    if (bp_registry_copy_entries(self->core, owner->factory, &entries,
                                 &error) != BP_OK) {
        return bpx_raise(st, &error);
    }
    PyObject *dict = make(self, &entries);
    bp_entries_free(&entries);
    return dict;
}
