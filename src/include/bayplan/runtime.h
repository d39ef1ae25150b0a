/* runtime.h - named slots of device memory: what device.h decides, carried out
 * on a backend.
 *
 * A slot manager owns slots under one budget, on one backend. A slot has a
 * name, a size, and contents that may leave the device and come back:
 *
 *     RESIDENT -> EVICTING -> EVICTED -> RESTORING -> RESIDENT
 *
 * A failure goes back one step. A slot's handle holds from allocate to
 * deallocate (or replace); its *generation* names one residency, and no two
 * residencies of a tree share one.
 *
 * Whoever needs room evicts in this order: slots by (priority, policy, age). A
 * slot that is pinned or in use by the host never goes. One that the device may
 * still use goes only where the call may wait for it.
 *
 * Ownership: managers and slots belong to the tree; a manager holds a reference
 * to its backend. Texts are copied.
 * Threads and errors: as in device.h. Copies, backend calls and waits happen
 * without the tree's lock. A call that fails changes nothing, except that what
 * was evicted for it stays evicted (its contents kept, its record in the log).
 */
#ifndef BAYPLAN_RUNTIME_H
#define BAYPLAN_RUNTIME_H

#include "bayplan/backend.h"
#include "bayplan/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- managers ---------------------------------------------------------- */

typedef struct bp_slots_options {
    bp_budget budget;
    bp_backend *backend; /* gets one more reference */
    bp_policy policy;
    bool is_strict; /* refuse instead of evicting */
} bp_slots_options;

/* Errors: STALE (budget), BAD_VALUE (policy), NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_slots_open(bp_tree *tree,
                                           const bp_slots_options *options,
                                           bp_slots *out, bp_error *error);
/* Every slot goes, in use or not, its record CLOSED; waits for the device. A
 * stale handle is a no-op. Never fails: what the backend will not free is given
 * up with the backend, and leaves the ledger. */
BP_API void bp_slots_close(bp_tree *tree, bp_slots slots);

/* ---- allocation -------------------------------------------------------- */

/* A new slot, resident. With has_loader it is handed out RESTORING: the caller
 * fills it with bp_slot_copy_in and ends with bp_slot_loaded. A replaced slot
 * is evicted first (REPLACED, its contents kept) and forgotten at the end; if
 * the new one cannot be had, the old one is restored, or at worst left EVICTED
 * with its copy; and what was taken from the reservation goes back to it, if it
 * is still open. Errors: BUDGET_EXCEEDED (`shortage`, nullable, says why),
 * DEVICE_MEMORY (the budget has room, the device has not, also after slots on
 * the same backend went, OOM), SLOT_EXISTS, BUSY
 * (the one to be replaced), BAD_NAME, BAD_SIZE (0, 2^63 or more), BAD_VALUE (a
 * reservation of another budget), STALE, CLOSED, DEVICE_FAULT, INTERRUPTED,
 * NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_slots_allocate(
    bp_tree *tree, bp_slots slots, const bp_slot_request *request,
    const bp_wait *wait, bp_slot *out, bp_shortage *shortage, bp_error *error);
/* The slot is gone; *freed (nullable) are the bytes it had on the device. What
 * the device still uses is retiring until it is done.
 * Errors: BUSY (in use by the host, or in transition), STALE. */
BP_API BP_MUST_USE bp_status bp_slot_deallocate(bp_tree *tree, bp_slot slot,
                                                uint64_t *freed,
                                                bp_error *error);
/* ---- use --------------------------------------------------------------- */

/* What a use does to the contents. */
typedef enum bp_intent {
    BP_READS,     /* nothing: a valid host copy stays valid */
    BP_WRITES,    /* changes them */
    BP_OVERWRITES /* writes every byte, and reads none before: what the slot had
                     need not come back */
} bp_intent;

/* In use by the host from now until bp_slot_use_end, restored if it was
 * evicted. *needs_load tells that the caller has to fill it (RESTORING), on
 * this thread, and to call bp_slot_loaded before anything else. With
 * BP_OVERWRITES an evicted slot comes back without contents: nothing is copied
 * or loaded, and nothing can be lost. A transaction on this slot that waits
 * for nothing itself is waited for; any other one, and another thread that
 * fills it, as long as `wait` allows; not one that waits, through others even,
 * for what this thread fills.
 * Errors: BUDGET_EXCEEDED, DEVICE_MEMORY, CONTENTS_LOST (evicted without a copy
 * and without a loader), BUSY (being loaded, and that is not waited for),
 * TIMED_OUT, STALE, DEVICE_FAULT, INTERRUPTED, NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_slot_use_begin(
    bp_tree *tree, bp_slot slot, bp_intent intent, const bp_wait *wait,
    bool *needs_load, bp_shortage *shortage, bp_error *error);
/* `stream`: the slot counts as used by the device until what is in this stream
 * now has passed. BP_NO_STREAM: unknown; the context is synchronised before its
 * bytes move. BP_HOST_ONLY: the device never saw it. Never fails: where no
 * event can be recorded, the end is unknown. A stale handle is a no-op. */
BP_API void bp_slot_use_end(bp_tree *tree, bp_slot slot, bp_stream stream);
/* The filling that allocate or use_begin asked for is over; if it failed, the
 * slot goes back one step (a new one is gone, what it was to replace is back,
 * and so is what it took of a reservation; another is EVICTED), and so does the
 * use. Errors: STALE. */
BP_API BP_MUST_USE bp_status bp_slot_loaded(bp_tree *tree, bp_slot slot,
                                            bool is_good, bp_error *error);

/* Spill if the contents are worth it, and end the residency (EXPLICIT).
 * Evicted already: OK. Errors: BUSY (pinned, in use by the host, in
 * transition), STALE, DEVICE_FAULT, NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_slot_evict(bp_tree *tree, bp_slot slot,
                                           bp_error *error);

/* Between host and slot; the slot has to be in use, or being loaded by this
 * thread (BUSY otherwise, so for all others while it is being loaded; and a
 * copy out of an evicted slot reads its host copy). Blocks
 * until done, without a deadline: for other copies of this slot; and where the
 * device may still use the slot, or the end of such a use is unknown, or the
 * backend's private stream waits for somebody's work, for all work of the
 * device. Errors: BAD_SIZE (past the end), BUSY, CONTENTS_LOST, STALE,
 * DEVICE_FAULT, NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_slot_copy_in(bp_tree *tree, bp_slot slot,
                                             uint64_t offset, const void *host,
                                             uint64_t n_bytes, bp_error *error);
BP_API BP_MUST_USE bp_status bp_slot_copy_out(bp_tree *tree, bp_slot slot,
                                              uint64_t offset, void *host,
                                              uint64_t n_bytes,
                                              bp_error *error);
/* Where it lies on the device; 0: nowhere, or another thread fills it. Holds as
 * long as it is in use. */
BP_API uint64_t bp_slot_get_address(bp_tree *tree, bp_slot slot);
/* Where the host sees the bytes, NULL where it cannot, or where another thread
 * fills the slot. Holds as long as it is in use. */
BP_API void *bp_slot_get_host_view(bp_tree *tree, bp_slot slot);

/* ---- room -------------------------------------------------------------- */

/* Evict until n bytes are available; *freed (nullable) bytes went. With
 * `slots`, of this manager alone; BP_NO_SLOTS: of the whole order under
 * `budget`. Errors: as allocate; STALE. */
BP_API BP_MUST_USE bp_status
bp_budget_make_room(bp_tree *tree, bp_budget budget, bp_slots slots,
                    uint64_t n_bytes, const bp_wait *wait, uint64_t *freed,
                    bp_shortage *shortage, bp_error *error);
/* Empty idle caches, try failed frees again, evict down to the limit (LIMIT).
 * *freed (nullable): bytes that left used or retiring. What cannot go stays and
 * shows in bp_budget_stats.over. Errors: STALE, DEVICE_FAULT, NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_budget_trim(bp_tree *tree, bp_budget budget,
                                            uint64_t *freed, bp_error *error);

typedef struct bp_observation {
    uint64_t free, total; /* as the backend says; UINT64_MAX: no capacity */
    uint64_t tracked;   /* used + reserved + retiring + cached of the budget */
    uint64_t untracked; /* bytes in use on the device beyond that; 0 where
                           there is no capacity */
} bp_observation;

/* Ask the backend of the budget's first manager. Errors: NO_DEVICE (no
 * manager), STALE, DEVICE_FAULT. */
BP_API BP_MUST_USE bp_status bp_budget_observe(bp_tree *tree, bp_budget budget,
                                               bp_observation *out,
                                               bp_error *error);

/* ---- settling ---------------------------------------------------------- */

/* Do it, as far as it can be done without waiting. Never fails; what could not
 * be done stays. */
BP_API void bp_tree_settle(bp_tree *tree);
/* The process is about to end: from now on no tree or backend of this process
 * calls a driver. */
BP_API void bp_runtime_exit(void);

#ifdef __cplusplus
}
#endif
#endif
