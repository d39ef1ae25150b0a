/* slots.h - what the slots*.c and slot*.c files share: SlotManager, its Slots,
 * and what holds a Slot in use. Internal to src/ext.
 *
 * Who holds whom (strong references): SlotView, Use -> Slot -> SlotManager ->
 * Budget; SlotManager -> cells -> the functions that fill slots. A cell knows
 * its Slot weakly, so a manager and its slots go as soon as nobody can reach
 * them; only a function that holds its own manager needs the collector.
 * Everything that a finaliser needs survives tp_clear.
 */
#ifndef BAYPLAN_EXT_SLOTS_H
#define BAYPLAN_EXT_SLOTS_H

#include "ext/device.h"

/* What a manager knows of one slot. No Python code sees it. It outlives its
 * slot where a Slot holds it; the handle is stale then. */
typedef struct bpx_cell {
    PyObject_HEAD
    PyObject *name;     /* exactly a str */
    PyObject *kind;     /* a str, or None */
    PyObject *load;     /* NULL: none */
    PyObject *slot_ref; /* weak reference to its Slot, or NULL */
    bp_slot handle;
    bp_stamp *stamp;
    uint64_t n_bytes;
    uint32_t n_loading;   /* calls of `load` that have not returned */
    unsigned long loader; /* the thread of the last one */
} bpx_cell;

struct bpx_slots {
    PyObject_HEAD
    PyObject *module; /* keeps the state alive until the very end */
    bpx_budget *budget;
    PyObject *backend; /* the object that was given */
    bp_backend *backend_core;
    PyObject *policy;     /* a str or a function; NULL: was cleared */
    PyObject *by_name;    /* str -> bpx_cell: the slots that there are */
    bpx_ptrmap by_handle; /* bp_slot -> the same cells, borrowed */
    bp_slots handle;
    bp_deferred *deferred;  /* NULL: handed over */
    bpx_slots *next_ranked; /* in tree->ranked */
    /* Uses, views, copies and calls that go on. Closing waits for the last of
     * them: what they look at must stay where it is. */
    uint32_t n_holds;
    bool is_ranked; /* the policy is a function */
    bool is_closed;
    PyObject *weaklist;
};

typedef struct bpx_slot {
    PyObject_HEAD
    PyObject *module; /* keeps the state alive until the very end */
    bpx_slots *manager;
    bpx_cell *cell;
    PyObject *weaklist;
} bpx_slot;

static inline bpx_state *bpx_slots_state(const bpx_slots *self)
{
    return bpx_state_of(self->module);
}

static inline bpx_tree *bpx_slots_tree(const bpx_slots *self)
{
    return self->budget->tree;
}

/* A method of METH_FASTCALL | METH_KEYWORDS. */
#define BPX_SLOTS_METHOD(name)                                                 \
    PyObject *name(PyObject *self, PyObject *const *args, Py_ssize_t n_args,   \
                   PyObject *kwnames)

/* ---- slots_cells.c: names, cells and handles ---------------------------- */

int bpx_cell_add_type(PyObject *module);
/* `name` and `kind` are text. NULL with an exception. */
bpx_cell *bpx_cell_new(bpx_state *st, PyObject *name, PyObject *kind,
                       PyObject *load);
/* For messages; borrowed. */
const char *bpx_cell_text(const bpx_cell *cell);
/* 0, or -1 with StaleHandle (closed) or ForkedProcess. */
int bpx_slots_check(const bpx_slots *self);
/* The cell of a name, a new reference; NULL with an exception: what
 * bpx_slots_check says, BufferValueError (no text) or BufferKeyError. */
bpx_cell *bpx_slots_find(bpx_slots *self, PyObject *name);
/* The same, NULL without an exception where there is no such name. */
bpx_cell *bpx_slots_peek(bpx_slots *self, PyObject *name);
/* Enter a cell under its name; where the name is new, the room in by_handle was
 * reserved. In place of another cell it cannot fail; else -1 and MemoryError.
 */
int bpx_slots_enter(bpx_slots *self, bpx_cell *cell);
/* Forget a cell whose slot is gone; if it is not there, nothing. */
void bpx_slots_forget(bpx_slots *self, bpx_cell *cell);
/* Names of `n` handles, as a list; handles that are no longer known are left
 * out. */
PyObject *bpx_slots_names(const bpx_slots *self, const bp_slot *handles,
                          size_t n);
/* All handles in order of allocation, to be freed with PyMem_Free. NULL with
 * MemoryError. */
bp_slot *bpx_slots_list(const bpx_slots *self, size_t *n);

/* ---- slots.c: life ------------------------------------------------------ */

/* Something that looks at a slot's memory begins, or is over. The end may close
 * a manager that waited for it. */
void bpx_slots_hold(bpx_slots *self);
void bpx_slots_unhold(bpx_slots *self);
/* The same in a finaliser. */
void bpx_slots_unhold_later(bpx_slots *self);

/* ---- slots_call.c: one acting core call --------------------------------- */

/* Usage: init (ranks, settles), begin, core call with the members, end, and
 * then bpx_tree_after(tree, result), where a failed call's result is
 * bpx_call_raise. The GIL is not held between begin and end, and a close() of
 * the manager meanwhile is done at the end: a signal handler's could not wait
 * for the call that it interrupts. */
typedef struct bpx_call {
    bpx_slots *slots;
    bp_tree *tree;
    bp_slots handle; /* of `slots`, which without the GIL may be closed */
    bpx_wait wait;
    bp_error error;
    bp_shortage shortage;
    uint64_t first_seq; /* records of the call have this or a later one */
} bpx_call;

/* `n_bytes` more will be asked for: where they do not fit, policies that are
 * functions are asked who goes first (code of the user). `timeout` may be NULL.
 * 0, or -1 with an exception. */
int bpx_call_init(bpx_call *call, bpx_slots *slots, uint64_t n_bytes,
                  PyObject *timeout);
/* n_bytes of a call that asks them in any case. */
#define BPX_WHATEVER UINT64_MAX
void bpx_call_begin(bpx_call *call);
void bpx_call_end(bpx_call *call);
/* Raise what call->error says. Always NULL. */
PyObject *bpx_call_raise(bpx_call *call);
/* The end of a method: what came of it, or the exception. */
PyObject *bpx_call_return(bpx_call *call, PyObject *result);

/* ---- slot_load.c -------------------------------------------------------- */

/* This thread is in the function that fills the slot. */
bool bpx_slot_is_filled_here(const bpx_slot *self);
/* Raise a core call's error about this slot, by its name. Always NULL. */
PyObject *bpx_slot_raise(const bpx_slot *self, const bp_error *error);

/* Begin a use, and have the slot filled if it needs that. 0, or -1 with an
 * exception (and no use). */
int bpx_slot_begin(bpx_slot *self, bp_intent intent, PyObject *timeout);
/* Have the function fill the slot, which is RESTORING, and end that. 0, or -1
 * with an exception. */
int bpx_slot_fill(bpx_slot *self);
/* End a use. */
void bpx_slot_end(bpx_slot *self, bp_stream stream);

/* ---- the types ---------------------------------------------------------- */

int bpx_slots_add_type(PyObject *module);
int bpx_slot_add_type(PyObject *module);
/* The Slot of a cell: the same object as long as one is alive. */
bpx_slot *bpx_slot_of(bpx_slots *manager, bpx_cell *cell);
int bpx_slot_use_add_type(PyObject *module);
/* A use that has not begun. */
PyObject *bpx_slot_use_new(bpx_slot *slot, bp_stream stream, bool is_writing,
                           PyObject *timeout);
int bpx_slot_view_add_type(PyObject *module);
BPX_SLOTS_METHOD(bpx_slot_view);
BPX_SLOTS_METHOD(bpx_slot_copy_from);
BPX_SLOTS_METHOD(bpx_slot_copy_to);

/* ---- methods of SlotManager, by file ------------------------------------ */

/* slots_allocate.c */
BPX_SLOTS_METHOD(bpx_slots_allocate);
BPX_SLOTS_METHOD(bpx_slots_deallocate);

/* slots_use.c */
PyObject *bpx_slots_touch(PyObject *self, PyObject *name);
BPX_SLOTS_METHOD(bpx_slots_use);
BPX_SLOTS_METHOD(bpx_slots_prefetch);

/* slots_room.c */
BPX_SLOTS_METHOD(bpx_slots_evict);
BPX_SLOTS_METHOD(bpx_slots_plan);
BPX_SLOTS_METHOD(bpx_slots_make_room);
PyObject *bpx_slots_lru_candidate(PyObject *self, PyObject *unused);

/* slots_read.c */
int bpx_slots_add_records(PyObject *module);
extern PyGetSetDef bpx_slots_getset[];
PyObject *bpx_slots_stats(PyObject *self, PyObject *unused);
Py_ssize_t bpx_slots_length(PyObject *self);
int bpx_slots_contains(PyObject *self, PyObject *name);
PyObject *bpx_slots_iter(PyObject *self);
PyObject *bpx_slots_subscript(PyObject *self, PyObject *name);
PyObject *bpx_slots_repr(PyObject *self);

/* slots_rank.c: bpx_tree_rank_all, and who is asked */
void bpx_slots_rank_join(bpx_slots *self);
void bpx_slots_rank_leave(bpx_slots *self);

#endif
