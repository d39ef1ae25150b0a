/* registry.h - what the registry_*.c files share: the BufferRegistry object,
 * its owners, and its methods. Internal to src/ext.
 */
#ifndef BAYPLAN_EXT_REGISTRY_H
#define BAYPLAN_EXT_REGISTRY_H

#include "ext/ext.h"

/* ---- owners.c: the map from Python factories to core factories --------- */

/* One factory that is known. Indexed by the low 32 bits of its handle. */
typedef struct bpx_owner {
    bp_factory factory;         /* BP_NO_FACTORY: this place is free */
    const void *object;         /* identity only, never followed */
    PyObject *ref;              /* weak reference with our callback */
    PyObject *layout;           /* the Layout last handed out, or NULL */
    const bpx_dtype *precision; /* as the core knows it */
} bpx_owner;

typedef struct bpx_owners {
    bpx_owner *items;
    size_t n_items;
    bpx_ptrmap by_object; /* owner -> index */
    bpx_ptrmap by_ref;    /* weak reference -> index */
} bpx_owners;

struct bpx_registry {
    PyObject_HEAD
    PyObject *module;   /* keeps the state alive until the very end */
    PyObject *callback; /* called when an owner dies; knows us weakly */
    PyObject *weaklist;
    bp_registry *core;
    bpx_owners owners;
    bpx_registry *next; /* in state->registries */
    bpx_registry *previous;
    bool is_poisoned;
};

static inline bpx_state *bpx_registry_state(const bpx_registry *self)
{
    return bpx_state_of(self->module);
}

/* The owner record of an object, NULL if it is not known. The pointer holds
 * until the next open or close. Runs no code of the user. */
bpx_owner *bpx_owner_find(const bpx_registry *self, PyObject *object);
/* The living owner of a factory, a new reference, or NULL without an exception.
 */
PyObject *bpx_owner_of(const bpx_registry *self, bp_factory factory);
/* The factory of an object, opened at first contact (*is_new). `precision` is
 * what a new one counts in; NULL refuses a new one. BP_NO_FACTORY with an
 * exception: TypeError where the object cannot be referenced weakly. */
bp_factory bpx_owner_open(bpx_registry *self, PyObject *object,
                          const bpx_dtype *precision, bool *is_new);
/* Undo an open whose first call failed. */
void bpx_owner_undo(bpx_registry *self, PyObject *object);
/* True if a registry other than `self` knows the object. */
bool bpx_owner_is_elsewhere(const bpx_registry *self, PyObject *object);
/* BufferKeyError: the registry does not know this factory. Always NULL. */
PyObject *bpx_raise_unknown_factory(bpx_registry *self, PyObject *object);

PyObject *bpx_owner_callback_new(bpx_registry *self);
int bpx_owners_traverse(bpx_owners *owners, visitproc visit, void *arg);
/* Drop every owner; the core's factories stay. */
void bpx_owners_clear(bpx_owners *owners);

/* ---- registry_layout.c ------------------------------------------------- */

/* A reference to the current layout of a factory, planned if need be; of an
 * unknown one, an empty layout. NULL with an exception. May give up the GIL. */
bp_layout *bpx_registry_copy_layout(bpx_registry *self, PyObject *factory);

/* ---- registry_phases.c ------------------------------------------------- */

/* "solve" or ("predict", "solve") -> names borrowed from `object`; *last is
 * NULL for a single one. 0, or -1 with an exception. */
int bpx_to_live(bpx_state *st, PyObject *object, const char **first,
                const char **last);

/* ---- methods, by file -------------------------------------------------- */

#define BPX_FAST_METHOD(name)                                                  \
    PyObject *name(PyObject *self, PyObject *const *args, Py_ssize_t n_args,   \
                   PyObject *kwnames)

/* registry_call.c: the two shapes that several methods share. */

/* One core call about a factory, which answers nothing. */
typedef struct bpx_factory_call {
    bpx_signature signature; /* the factory alone */
    bp_status (*function)(bp_registry *core, bp_factory factory,
                          bp_error *error);
    bool must_be_known; /* else an unknown factory is left alone */
} bpx_factory_call;

PyObject *bpx_registry_call(PyObject *self, const bpx_factory_call *call,
                            PyObject *const *args, Py_ssize_t n_args,
                            PyObject *kwnames);
/* A dict that `make` fills from the entries of a factory; an empty one for an
 * unknown factory. `signature` is the factory alone. */
PyObject *bpx_registry_read(PyObject *self, const bpx_signature *signature,
                            PyObject *(*make)(const bpx_registry *self,
                                              const bp_entries *entries),
                            PyObject *const *args, Py_ssize_t n_args,
                            PyObject *kwnames);

/* registry_buffers.c */
BPX_FAST_METHOD(bpx_registry_register);
BPX_FAST_METHOD(bpx_registry_unregister);
BPX_FAST_METHOD(bpx_registry_unregister_all);
BPX_FAST_METHOD(bpx_registry_set_precision);

/* registry_children.c */
BPX_FAST_METHOD(bpx_registry_add_child);
BPX_FAST_METHOD(bpx_registry_remove_child);
BPX_FAST_METHOD(bpx_registry_children);

/* registry_update.c */
PyObject *bpx_registry_update(PyObject *self, PyObject *args, PyObject *kwargs);
BPX_FAST_METHOD(bpx_registry_update_with);
BPX_FAST_METHOD(bpx_registry_probe);
BPX_FAST_METHOD(bpx_registry_overrides);
BPX_FAST_METHOD(bpx_registry_reset_overrides);

/* registry_read.c */
BPX_FAST_METHOD(bpx_registry_entries);
BPX_FAST_METHOD(bpx_registry_dump);
PyObject *bpx_registry_check(PyObject *self, PyObject *unused);
BPX_FAST_METHOD(bpx_registry_layout_version);

/* registry_layout.c */
BPX_FAST_METHOD(bpx_registry_build_layout);
BPX_FAST_METHOD(bpx_registry_invalidate_layout);
BPX_FAST_METHOD(bpx_registry_aggregate_size);
BPX_FAST_METHOD(bpx_registry_aggregate_bytes);
BPX_FAST_METHOD(bpx_registry_child_aggregate_size);
BPX_FAST_METHOD(bpx_registry_child_aggregate_bytes);

/* registry_phases.c */
BPX_FAST_METHOD(bpx_registry_phases);
BPX_FAST_METHOD(bpx_registry_loop);

/* registry_later.c */
BPX_FAST_METHOD(bpx_registry_apply);

#endif
