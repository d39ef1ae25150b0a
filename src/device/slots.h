/* slots.h - the table of slots: names, states, and the transitions between
 * them. It knows no memory: blocks and copies are the runtime's.
 *
 * All under the tree's lock. Functions that cannot fail have had their room
 * made before (bp__slot_new_locked makes it for a slot's whole life).
 */
#ifndef BAYPLAN_DEVICE_SLOTS_H
#define BAYPLAN_DEVICE_SLOTS_H

#include "bayplan/device.h"
#include "device/tree.h"

bp__manager *bp__manager_get_locked(bp_tree *tree, bp_slots handle);
bp__slot *bp__slot_get_locked(bp_tree *tree, bp_slot handle);
/* By name, NULL if there is none. */
bp__slot *bp__slot_named_locked(const bp__manager *manager, const char *name);

/* One that has its name; a slot that is being replaced has lost it. */
static inline bool bp__slot_is_listed(const bp__slot *slot)
{
    return slot->name_place != UINT32_MAX;
}
/* BAD_SIZE; `name` may be NULL. */
bp_status bp__refuse_slot_size(bp_error *error, const char *name,
                               uint64_t n_bytes);

/* `backend` is kept, not looked at; `granularity` is the backend's.
 * Errors: NO_MEMORY. */
BP_MUST_USE bp_status bp__manager_new_locked(
    bp_tree *tree, bp__budget *budget, bp_policy policy, bool is_strict,
    void *backend, uint64_t granularity, bp__manager **out, bp_error *error);
/* Has no slots left. */
void bp__manager_free_locked(bp_tree *tree, bp__manager *manager);

/* A new slot under this name, RESTORING and is_new, without a block; it has
 * room in every table (heap, names, log) it will ever need. The name must be
 * free, unless it is taken by `replaced`, which then loses its name to the new
 * one. Errors: SLOT_EXISTS, BAD_NAME, BAD_SIZE, NO_MEMORY. */
BP_MUST_USE bp_status bp__slot_new_locked(bp_tree *tree, bp__manager *manager,
                                          const bp_slot_request *request,
                                          bp__slot *replaced, bp__slot **out,
                                          bp_error *error);
/* Give the name back to the slot that lost it (the new one goes next). */
void bp__slot_give_name_back_locked(bp__slot *slot, bp__slot *replaced);
/* Forget a slot without a block: its handle is stale from now on. Its copy is
 * the runtime's to free. */
void bp__slot_free_locked(bp_tree *tree, bp__slot *slot);

/* RESTORING -> RESIDENT, on `block`, whose bytes are in `used` already; a new
 * generation, newest age, into the heap. */
void bp__slot_arrive_locked(bp_tree *tree, bp__slot *slot, bp__block *block);
/* RESIDENT -> EVICTING for a claim (nullable): bytes used -> retiring, out of
 * the heap. */
void bp__slot_go_locked(bp_tree *tree, bp__slot *slot, bp__claim *claim);
/* EVICTING -> RESIDENT: it could not go. Same generation, same age. */
void bp__slot_stay_locked(bp_tree *tree, bp__slot *slot);
/* EVICTING with its block -> the residency ends: the record is appended and the
 * block joins the retirees (it still names the slot until
 * bp__slot_gone_locked). */
void bp__slot_depart_locked(bp_tree *tree, bp__slot *slot, bp_cause cause);
/* EVICTING -> EVICTED: contents are where they go (`has_contents`). */
void bp__slot_gone_locked(bp_tree *tree, bp__slot *slot, bool has_contents);
/* EVICTED -> RESTORING, and back. Waking makes room for the record of the next
 * residency's end; false, and nothing changed: no memory for it. */
BP_MUST_USE bool bp__slot_wake_locked(bp_tree *tree, bp__slot *slot,
                                      bp__claim *claim);
void bp__slot_sleep_locked(bp_tree *tree, bp__slot *slot);

/* A retiree's memory is free: it leaves the list, its bytes go to its claim or
 * become available. The block is the caller's to free. */
void bp__block_retired_locked(bp_tree *tree, bp__block *block);
/* The backend would not free it: is_failed, counted once, and no claim waits
 * for its bytes any more (they stay in `retiring`). */
void bp__block_fail_locked(bp_tree *tree, bp__block *block);
/* Put a block, whose bytes are in `retiring`, at the end of the list. */
void bp__block_retire_locked(bp_tree *tree, bp__block *block);

/* ---- victims.c: who goes first ----------------------------------------- */

/* A slot becomes RESIDENT, or no longer is. Room was made. Pinned slots are in
 * no heap; for them, and for removing one that is not in it, a no-op. */
void bp__heap_insert_locked(bp__slot *slot);
void bp__heap_remove_locked(bp__slot *slot);
/* Take the slot of `manager` that would go first off the heap; NULL if it is
 * empty. bp__heap_insert_locked puts it back. Lazily corrected: a touch only
 * stores an age, and the heap looks at it here. */
bp__slot *bp__heap_pop_locked(bp__manager *manager);
/* The same slot, left where it is. */
bp__slot *bp__heap_first_locked(bp__manager *manager);
/* Before a series of pops: under MRU what was touched has to rise. */
void bp__heap_refresh_locked(bp__manager *manager);
/* Its rank has changed. A no-op for a slot that is in no heap. */
void bp__heap_reorder_locked(bp__slot *slot);
/* The age the heap knows of a slot in it; true of the first. */
uint64_t bp__heap_last_use_locked(const bp__slot *slot);
/* Room for so many slots. On failure the heap is as before. */
BP_MUST_USE bool bp__heap_reserve_locked(const bp_allocator *alloc,
                                         bp__manager *manager, size_t n_slots);
void bp__heap_fini_locked(const bp_allocator *alloc, bp__manager *manager);
/* Order and places. Ages may be stale. */
bool bp__heap_check_locked(const bp__manager *manager);

/* Every invariant of a manager's tables (slots, names, heap, places) and of its
 * slots' states; NULL, or the name of the broken one. */
const char *bp__manager_check_locked(const bp_tree *tree,
                                     const bp__manager *manager);

#endif
