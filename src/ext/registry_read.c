/* registry_read.c - BufferRegistry: reading declarations, dump, check. */
#include "ext/registry.h"

static PyObject *entries_tuple(bpx_state *st, const bp_entries *entries,
                               bp_factory factory, const bp_layout *layout)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)entries->n_entries);
    for (size_t i = 0; tuple != NULL && i < entries->n_entries; i++) {
        PyObject *entry =
            bpx_entry_new(st, &entries->entries[i], factory, layout);
        if (entry == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, entry);
    }
    return tuple;
}

PyObject *bpx_registry_entries(PyObject *object, PyObject *const *args,
                               Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {"entries", 1, 1, 1, {BPX_factory}};
    bpx_registry *self = (bpx_registry *)object;
    bpx_state *st = bpx_registry_state(self);
    PyObject *given[1];
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    bpx_owner *owner = bpx_owner_find(self, given[0]);
    if (owner == NULL) {
        return PyTuple_New(0);
    }
    bp_factory factory = owner->factory;
    bp_entries entries;
    bp_layout *layout = NULL;
    bp_error error = {.status = BP_OK};
    if (bp_registry_copy_entries(self->core, factory, &entries, &error) !=
        BP_OK) {
        return bpx_raise(st, &error);
    }
    PyObject *tuple = NULL;
    if (bp_registry_copy_current(self->core, factory, &layout, &error) !=
        BP_OK) {
        bpx_raise(st, &error);
    } else {
        tuple = entries_tuple(st, &entries, factory, layout);
    }
    bp_layout_unref(layout);
    bp_entries_free(&entries);
    return tuple;
}

PyObject *bpx_registry_dump(PyObject *object, PyObject *const *args,
                            Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {"dump", 1, 1, 0, {BPX_factory}};
    bpx_registry *self = (bpx_registry *)object;
    bpx_state *st = bpx_registry_state(self);
    PyObject *given[1];
    bp_factory factory = BP_NO_FACTORY;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    if (given[0] != NULL && given[0] != Py_None) {
        bpx_owner *owner = bpx_owner_find(self, given[0]);
        if (owner == NULL) {
            return PyUnicode_FromString("null");
        }
        factory = owner->factory;
    }
    char *json = NULL;
    bp_error error = {.status = BP_OK};
    if (bp_registry_dump(self->core, factory, &json, &error) != BP_OK) {
        return bpx_raise(st, &error);
    }
    PyObject *text = PyUnicode_FromString(json);
    bp_text_free(self->core, json);
    return text;
}

PyObject *bpx_registry_check(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_registry *self = (bpx_registry *)object;
    bp_error error = {.status = BP_OK};
    if (bp_registry_check(self->core, &error) != BP_OK) {
        return bpx_raise(bpx_registry_state(self), &error);
    }
    Py_RETURN_NONE;
}

PyObject *bpx_registry_layout_version(PyObject *object, PyObject *const *args,
                                      Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "layout_version", 1, 1, 1, {BPX_factory}};
    bpx_registry *self = (bpx_registry *)object;
    bpx_state *st = bpx_registry_state(self);
    PyObject *given[1];
    uint64_t version = 0;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    bpx_owner *owner = bpx_owner_find(self, given[0]);
    bp_error error = {.status = BP_OK};
    if (owner != NULL && bp_registry_version(self->core, owner->factory,
                                             &version, &error) != BP_OK) {
        return bpx_raise(st, &error);
    }
    return PyLong_FromUnsignedLongLong(version);
}
