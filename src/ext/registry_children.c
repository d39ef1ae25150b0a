/* registry_children.c - BufferRegistry: children of factories. */
#include "ext/registry.h"

enum { ARG_PARENT, ARG_CHILD, ARG_NAME, ARG_LIVE };

/* An object that no registry but this one may know. */
static int check_home(bpx_registry *self, PyObject *child)
{
    if (bpx_owner_find(self, child) != NULL ||
        !bpx_owner_is_elsewhere(self, child)) {
        return 0;
    }
    bp_error error = {.status = BP_OK};
    const char *name = Py_TYPE(child)->tp_name;
    bp_status status = bp_fail(&error, BP_BAD_VALUE,
                               "this %.80s belongs to another registry; a "
                               "child needs its parent's",
                               name);
    bp_error_about(&error, name, NULL);
    if (status != BP_OK) {
        bpx_raise(bpx_registry_state(self), &error);
    }
    return -1;
}

/* What user code has a say in, before any contact: both precisions. */
static int read_precisions(bpx_registry *self, PyObject *const *given,
                           const bpx_dtype *precisions[2])
{
    bpx_state *st = bpx_registry_state(self);
    for (int i = 0; i < 2; i++) {
        precisions[i] = bpx_precision_of(st, given[i]);
        if (precisions[i] == NULL) {
            return -1;
        }
    }
    return 0;
}

/* A name, and the phases in which the child is called. */
typedef struct calling {
    const char *name;
    const char *first;
    const char *last;
} calling;

static int connect(bpx_registry *self, PyObject *const *given,
                   const calling *how)
{
    const bpx_dtype *precisions[2];
    bp_factory factories[2] = {BP_NO_FACTORY, BP_NO_FACTORY};
    bool is_new[2] = {false, false};
    if (read_precisions(self, given, precisions) < 0) {
        return -1;
    }
    bool is_open = true;
    for (int i = 0; i < 2 && is_open; i++) {
        factories[i] =
            bpx_owner_open(self, given[i], precisions[i], &is_new[i]);
        is_open = factories[i] != BP_NO_FACTORY;
    }
    bp_error error = {.status = BP_OK};
    if (is_open && bp_registry_add_child(
                       self->core, factories[ARG_PARENT], factories[ARG_CHILD],
                       how->name, how->first, how->last, &error) == BP_OK) {
        return 0;
    }
    for (int i = 1; i >= 0; i--) {
        if (is_new[i]) {
            bpx_owner_undo(self, given[i]);
        }
    }
    if (is_open) {
        bpx_raise(bpx_registry_state(self), &error);
    }
    return -1;
}

PyObject *bpx_registry_add_child(PyObject *object, PyObject *const *args,
                                 Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "add_child", 4, 3, 2, {BPX_parent, BPX_child, BPX_name, BPX_live}};
    bpx_registry *self = (bpx_registry *)object;
    bpx_state *st = bpx_registry_state(self);
    PyObject *given[4];
    calling how = {.name = "child"};
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    if (given[ARG_NAME] != NULL &&
        bpx_to_name(st, given[ARG_NAME], "the name of a child", &how.name) <
            0) {
        bpx_raised_about(st, given[ARG_PARENT], given[ARG_NAME]);
        return NULL;
    }
    if (given[ARG_LIVE] != NULL && given[ARG_LIVE] != Py_None &&
        bpx_to_live(st, given[ARG_LIVE], &how.first, &how.last) < 0) {
        bpx_raised_about(st, given[ARG_PARENT], given[ARG_NAME]);
        return NULL;
    }
    if (check_home(self, given[ARG_CHILD]) < 0 ||
        connect(self, given, &how) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *bpx_registry_remove_child(PyObject *object, PyObject *const *args,
                                    Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "remove_child", 2, 2, 2, {BPX_parent, BPX_name}};
    bpx_registry *self = (bpx_registry *)object;
    bpx_state *st = bpx_registry_state(self);
    PyObject *given[2];
    const char *name;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        bpx_to_text(st, given[1], "the name of a child", BP_BAD_NAME, &name) <
            0) {
        return NULL;
    }
    bpx_owner *owner = bpx_owner_find(self, given[0]);
    if (owner == NULL) {
        return bpx_raise_unknown_factory(self, given[0]);
    }
    bp_error error = {.status = BP_OK};
    if (bp_registry_remove_child(self->core, owner->factory, name, &error) !=
        BP_OK) {
        return bpx_raise(st, &error);
    }
    Py_RETURN_NONE;
}

/* name -> owner, None where the owner is gone. */
static PyObject *children_dict(const bpx_registry *self,
                               const bp_entries *entries)
{
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict != NULL && i < entries->n_children; i++) {
        const bp_child *child = &entries->children[i];
        PyObject *owner = bpx_owner_of(self, child->factory);
        if (owner == NULL) {
            owner = Py_NewRef(Py_None);
        }
        if (PyDict_SetItemString(dict, child->name, owner) < 0) {
            Py_CLEAR(dict);
        }
        Py_DECREF(owner);
    }
    return dict;
}

PyObject *bpx_registry_children(PyObject *self, PyObject *const *args,
                                Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {"children", 1, 1, 1, {BPX_factory}};
    return bpx_registry_read(self, &signature, children_dict, args, n_args,
                             kwnames);
}
