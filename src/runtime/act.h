/* act.h - what the runtime's parts share: pieces of device memory, host copies,
 * and the steps of a transaction.
 *
 * Locks: functions ending in _locked are called with tree->lock held and return
 * with it held; where they say so, they give it up in between. All the others
 * are called without it. No backend is called and no host memory is freed under
 * it.
 *
 * Who works on what: a slot in EVICTING or RESTORING belongs to the call that
 * brought it there, which alone changes it and needs no lock to read what it
 * does not change; once it has departed it belongs to its block. The memory and
 * the events of a piece are touched, outside the lock, only by whoever has
 * taken it.
 */
#ifndef BAYPLAN_RUNTIME_ACT_H
#define BAYPLAN_RUNTIME_ACT_H

#include "backend/backend.h"
#include "bayplan/runtime.h"
#include "device/claim.h"
#include "device/ledger.h"
#include "device/slots.h"
#include "device/tree.h"

#include <stdatomic.h>

/* ---- pieces ------------------------------------------------------------ */

/* Contents of a slot on the host. Referred to by its slot, and by a piece while
 * the private stream copies from or to it. */
typedef struct bp__copy {
    void *host;
    uint64_t n_bytes;
    atomic_uint_least32_t n_refs;
} bp__copy;

/* The device may use a piece until this has passed. */
typedef struct bp__use {
    bp_stream stream;
    bp__event event;
} bp__use;

typedef struct bp__piece bp__piece;
struct bp__piece {
    bp__block base;
    bp_backend *backend; /* borrowed: its manager's, which outlives it */
    /* Read and written by whoever has taken it: */
    bp__memory memory;
    bool has_memory;
    bool needs_sync; /* used, or copied, with no event to tell the end */
    bp__use *uses;   /* one per stream */
    size_t n_uses, use_capacity;
    bp__event done; /* in the private stream, after the last copy */
    bp__copy *copy; /* what that copy reads or writes; one reference */
    /* Under the lock: */
    bool is_taken;        /* someone works on it without the lock */
    bool is_foreign;      /* it left while the device might still use it */
    bool is_held;         /* so `done` waits for that, and all later copies */
    bool brings_contents; /* its slot will have contents when it has gone */
    bool is_undone;       /* its slot was not made: what its claim had of a
                             reservation goes back there */
    bp__slot *resident;   /* whose memory it is; NULL once it has left */
    bp__claim claim;      /* by which its bytes came */
    uint64_t seen;        /* by which poll, a tick */
    uint64_t batch;       /* of evictions in which it left, a tick */
    bp__piece *next_busy; /* in tree->busy, while resident and in use */
    bp__piece **busy_link;
};

static inline bp__piece *bp__piece_of(bp__block *block)
{
    return (bp__piece *)block;
}

/* For a slot of this manager; NULL without memory. */
bp__piece *bp__piece_new(bp_tree *tree, bp__manager *manager,
                         uint64_t n_charged);
/* Its memory has been freed or given up. NULL is a no-op. */
void bp__piece_free(bp_tree *tree, bp__piece *piece);
/* Take it, waiting for whoever has it. The piece must not go meanwhile. */
void bp__piece_take_locked(bp_tree *tree, bp__piece *piece);
void bp__piece_give_locked(bp_tree *tree, bp__piece *piece);
/* The slot is used until `event`. Returns an event that the caller closes, or
 * BP__NO_EVENT. */
bp__event bp__piece_add_use_locked(bp_tree *tree, bp__piece *piece,
                                   bp__use use);
/* In tree->busy and slot->is_busy if it has uses, else out of them. Of a taken
 * piece, or of one that nobody has taken. */
void bp__piece_note_busy_locked(bp_tree *tree, bp__piece *piece);
/* Forget the uses that have passed. Of a taken piece. */
BP_MUST_USE bp_status bp__piece_poll_uses(bp__piece *piece, bp_error *error);
/* Wait for everything the device was asked to do; then the piece has no uses
 * and no copy under way. Of a taken piece. */
BP_MUST_USE bp_status bp__piece_drain(bp_tree *tree, bp__piece *piece,
                                      bp_error *error);

/* ---- host copies ------------------------------------------------------- */

/* One reference. Errors: NO_MEMORY, DEVICE_FAULT. */
BP_MUST_USE bp_status bp__copy_new(bp_tree *tree, bp_backend *backend,
                                   uint64_t n_bytes, bp__copy **out,
                                   bp_error *error);
bp__copy *bp__copy_ref(bp__copy *copy);
/* NULL is a no-op. */
void bp__copy_unref(bp_tree *tree, bp_backend *backend, bp__copy *copy);
/* The slot has this copy (nullable) from now on, instead of the one returned,
 * which the caller drops. */
bp__copy *bp__slot_set_copy_locked(bp__slot *slot, bp__copy *copy);
/* Bring what `copy` has into a taken piece, and wait until it is there.
 * Errors: DEVICE_FAULT; the piece may then need a sync. */
BP_MUST_USE bp_status bp__copy_into(bp_tree *tree, bp__piece *piece,
                                    bp__copy *copy, bp_error *error);
/* Enqueue the opposite, after the uses of the piece; piece->done tells when.
 * On failure nothing is under way, or the piece needs a sync. */
BP_MUST_USE bp_status bp__copy_from(bp_tree *tree, bp__piece *piece,
                                    bp__copy *copy, bp_error *error);

/* ---- waiting ----------------------------------------------------------- */

/* A series of short pauses between looks at events. All zeros is a new one. */
typedef struct bp__pause {
    uint64_t step_ns;
    uint64_t asked_ns; /* when `is_interrupted` was last asked */
    uint32_t n_pauses;
} bp__pause;

/* How often to look before something else is tried: our own copies pass by
 * themselves unless they lie behind work that came between. */
#define BP__MAX_LOOKS 256u

/* May a call with this `wait` wait for what it did not start itself? */
bool bp__may_wait(const bp_wait *wait);
/* Give the lock up for a moment. TIMED_OUT at the deadline, INTERRUPTED; with a
 * `wait` that may not wait: always OK, for waits on copies of our own. */
BP_MUST_USE bp_status bp__pause_locked(bp_tree *tree, const bp_wait *wait,
                                       bp__pause *pause, bp_error *error);
/* Until someone broadcasts tree->changed, or for a while. */
void bp__wait_changed_locked(bp_tree *tree);
/* The private stream of the backend waits for a use that may not have passed:
 * whatever is copied now comes after that. */
bool bp__stream_is_held_locked(const bp_tree *tree, const bp_backend *backend);

/* ---- loaders ----------------------------------------------------------- */

/* Does the calling thread fill this slot? */
bool bp__is_my_load(const bp__slot *slot);
/* May the calling thread wait, as `wait` says, for the end of this slot's load?
 * Not for one of its own, nor for one whose thread waits, through others even,
 * for one of its own. */
bool bp__may_await_load_locked(bp_tree *tree, const bp__slot *slot,
                               const bp_wait *wait);
/* The calling thread waits for this load from now on; BP_NO_SLOT: for none. */
void bp__note_awaited_locked(bp_tree *tree, bp_slot awaited);

/* ---- retirees ---------------------------------------------------------- */

/* Free what may be freed, without waiting. */
void bp__poll_retirees(bp_tree *tree);
/* Look at the events of resident slots. */
void bp__poll_busy(bp_tree *tree);
/* Wait, for our own copies alone, until everything of this batch has gone or
 * waits for somebody else's work (or seems to: it retires by itself then).
 * Gives the lock up. */
void bp__await_batch_locked(bp_tree *tree, uint64_t batch);
/* A piece whose bytes are in `used` and that is to be no slot's leaves. */
void bp__piece_shed_locked(bp_tree *tree, bp__piece *piece);
/* The same for bytes that are in `retiring`, and in no list yet. */
void bp__piece_undo_locked(bp_tree *tree, bp__piece *piece);
/* A retiree's memory is free, or given up: out of the ledger. The piece is the
 * caller's to free, and its backend is nobody's any more: it has to be referred
 * to until then. */
void bp__piece_retired_locked(bp_tree *tree, bp__piece *piece);

/* ---- evictions --------------------------------------------------------- */

/* Slots that are EVICTING for the caller. */
typedef struct bp__batch {
    bp__slot *const *slots;
    size_t n_slots;
    bp_cause cause;
    bool must_copy; /* also what keeps no copy */
    uint64_t ticket;
} bp__batch;

/* An EVICTING slot, whose piece nobody has taken, departs as it is: its piece
 * is no longer anybody's memory. */
void bp__depart_locked(bp_tree *tree, bp__slot *slot, bp_cause cause);
/* Spill and depart, gives the lock up. On failure those that did not go are
 * RESIDENT again. Errors: DEVICE_FAULT, NO_MEMORY. */
BP_MUST_USE bp_status bp__evict_locked(bp_tree *tree, const bp__batch *batch,
                                       bp_error *error);
/* Evict down to `target` bytes in use of a budget, as far as it goes. */
typedef struct bp__reclaim {
    bp_budget budget; /* stale: nothing to do */
    uint64_t target;
    const bp_backend *backend; /* slots on it alone; NULL: on any */
    const bp__slot *mine;      /* as in bp__choice */
    uint64_t before;           /* as in bp__choice */
    bp_cause cause;
    bool may_wait;
    uint64_t ticket;  /* the answer: of the batch, */
    uint64_t n_bytes; /* and how many bytes were to go */
} bp__reclaim;

/* Gives the lock up. Errors: as above. */
BP_MUST_USE bp_status bp__reclaim_locked(bp_tree *tree, bp__reclaim *what,
                                         bp_error *error);

/* ---- room -------------------------------------------------------------- */

/* What a call wants room for. All else of it is room.c's. */
typedef struct bp__room {
    bp_tree *tree;
    bp__claim *claim;      /* open */
    bp__manager *asker;    /* whose slot is to come; NULL: none */
    bp_slots only;         /* evict this manager's slots alone; BP_NO_SLOTS */
    bool is_strict;        /* evict nothing */
    bp__slot *replaced;    /* goes first, its bytes to the claim; NULL: none */
    const bp_wait *wait;   /* nullable */
    bp_shortage *shortage; /* nullable */
    bp__slot **victims;
    size_t capacity;
    bool is_polled, is_mended;
    uint64_t n_evicted; /* bytes that went for it */
    bp__pause pause;
} bp__room;

/* Complete the claim; gives the lock up. On failure the claim is closed, and
 * `replaced` is RESIDENT or EVICTED or on its way there. Errors:
 * BUDGET_EXCEEDED, CLOSED, INTERRUPTED, BUSY (replaced is in use now),
 * DEVICE_FAULT, NO_MEMORY. */
BP_MUST_USE bp_status bp__room_make_locked(bp__room *room, bp_error *error);

/* ---- arrivals ---------------------------------------------------------- */

/* A slot that is RESTORING for the caller, and what is to become its memory,
 * with a claim that has begun. */
typedef struct bp__arrival {
    bp_tree *tree;
    bp__slot *slot;
    bp__piece *piece;
    bp__slot *replaced; /* as in bp__room */
    bool is_blank;      /* comes without contents: all will be overwritten */
    const bp_wait *wait;
    bp_shortage *shortage;
} bp__arrival;

/* Room, memory, contents; gives the lock up. *needs_load: the slot was handed
 * out to be filled. On failure the piece and its claim are gone and the slot is
 * still RESTORING. Errors: as bp_slots_allocate and bp_slot_use_begin. */
BP_MUST_USE bp_status bp__arrive_locked(bp__arrival *arrival, bool *needs_load,
                                        bp_error *error);
/* What to bring back, and how. */
typedef struct bp__restoral {
    bool is_blank; /* as in bp__arrival */
    const bp_wait *wait;
    bp_shortage *shortage;
} bp__restoral;

/* Bring an EVICTED slot back; gives the lock up. On failure it is EVICTED, or
 * gone; on success it is anybody's, unless *needs_load says that it is handed
 * out to be filled; one that came without contents is RESIDENT, and to be in
 * use before the lock is given up. */
BP_MUST_USE bp_status bp__restore_locked(bp_tree *tree, bp__slot *slot,
                                         const bp__restoral *how,
                                         bool *needs_load, bp_error *error);
/* A copy that was made only because a replacement might have failed. Gives the
 * lock up: the slot is anybody's then. */
void bp__drop_odd_copy_locked(bp_tree *tree, bp__slot *slot);

/* The new slot is there: forget the one it replaced (nullable); what is left of
 * that belongs to its piece. The copy returned is the caller's to drop. */
bp__copy *bp__drop_replaced_locked(bp_tree *tree, bp__slot *old);
/* The new slot could not be had, and `old`, which was resident, has its name
 * back: restore it if that can be done; gives the lock up. */
void bp__restore_replaced_locked(bp_tree *tree, bp__slot *old,
                                 const bp_wait *wait);

/* ---- backends that failed, and the end of the process ------------------- */

bool bp__backend_is_failed(bp_backend *backend);
/* DEVICE_FAULT with the first fault, after the ledger was released; OK if the
 * backend works. */
BP_MUST_USE bp_status bp__backend_check(bp_tree *tree, bp_backend *backend,
                                        bp_error *error);
/* Release the ledger of whatever backend has failed. For calls that know no
 * single one. */
void bp__release_failed(bp_tree *tree);
/* A call that acted on this backend ends: drops a reference, and releases the
 * ledger if the backend failed under it. Returns `status`. */
bp_status bp__act_end(bp_tree *tree, bp_backend *backend, bp_status status);
/* The process is about to end. */
bool bp__runtime_is_over(void);
/* Lock the tree; CLOSED, and not locked, when the process is about to end. */
BP_MUST_USE bp_status bp__act_enter(bp_tree *tree, bp_error *error);
/* Lock the tree and find a slot or manager whose backend works and is referred
 * to once more, until bp__act_end; on failure neither. */
BP_MUST_USE bp_status bp__act_enter_slot(bp_tree *tree, bp_slot handle,
                                         bp__slot **out, bp_backend **backend,
                                         bp_error *error);
/* The same on a backend that may have failed; the slot has to be looked up. */
BP_MUST_USE bp_status bp__act_enter_any_slot(bp_tree *tree, bp_slot handle,
                                             bp_backend **backend,
                                             bp_error *error);
BP_MUST_USE bp_status bp__act_enter_manager(bp_tree *tree, bp_slots handle,
                                            bp__manager **out,
                                            bp_backend **backend,
                                            bp_error *error);
bp_status bp__refuse_busy(bp_error *error, const bp__slot *slot,
                          const char *why);

#endif
