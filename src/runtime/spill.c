/* spill.c - slots leave the device: their contents go to the host as far as
 * they are worth it, and their residency ends. */
#include "runtime/act.h"

#include "base/alloc.h"

#include <assert.h>

/* One slot's way out. It is EVICTING, and its piece taken. */
typedef struct spill {
    bp_tree *tree;
    bp__slot *slot;
    bp__piece *piece;
    bool must_copy;
    bp__copy *copy; /* what to copy to; NULL: no need to */
    bool is_new;    /* the slot does not have it yet */
} spill;

/* A clean slot with a valid copy has nothing to bring; what keeps no copy has
 * nothing that is worth it. */
static bool is_worth_copying(const bp__slot *slot, bool must_copy)
{
    return (must_copy || slot->keeps_copy) &&
           (slot->is_dirty || !slot->has_contents);
}

/* Nobody else has it; someone may still read what it had before. */
static bool is_own(bp__copy *copy)
{
    return atomic_load_explicit(&copy->n_refs, memory_order_acquire) == 1;
}

static bp_status find_copy(spill *it, bp_error *error)
{
    if (!is_worth_copying(it->slot, it->must_copy)) {
        return BP_OK;
    }
    if (it->slot->copy != NULL && is_own(it->slot->copy)) {
        it->copy = it->slot->copy;
        return BP_OK;
    }
    it->is_new = true;
    return bp__copy_new(it->tree, it->piece->backend, it->slot->n_bytes,
                        &it->copy, error);
}

/* Enqueue what has to be done before the memory can go. One synchronisation
 * does for all pieces of a batch: nobody uses them meanwhile. */
static bp_status enqueue(spill *it, bp_error *error)
{
    bp_status status = BP_OK;
    if (it->piece->needs_sync) {
        status = bp__piece_drain(it->tree, it->piece, error);
    }
    if (status == BP_OK) {
        status = find_copy(it, error);
    }
    if (status == BP_OK && it->copy != NULL) {
        status = bp__copy_from(it->tree, it->piece, it->copy, error);
    }
    return status;
}

void bp__depart_locked(bp_tree *tree, bp__slot *slot, bp_cause cause)
{
    bp__piece *piece = bp__piece_of(slot->block);
    assert(!piece->is_taken);
    piece->resident = NULL;
    piece->is_foreign = piece->n_uses != 0;
    bp__piece_note_busy_locked(tree, piece);
    bp__slot_depart_locked(tree, slot, cause);
}

/* The contents are on their way, or need not be. Returns a copy that the slot
 * no longer has, for the caller to drop. */
static bp__copy *go_locked(spill *it, const bp__batch *batch)
{
    bp__piece *piece = it->piece;
    bp__copy *old =
        it->is_new ? bp__slot_set_copy_locked(it->slot, it->copy) : NULL;
    if (it->copy != NULL) {
        it->slot->manager->counters.moved_out_bytes += it->slot->n_bytes;
    }
    piece->brings_contents = it->copy != NULL || it->slot->has_contents;
    piece->is_held = it->copy != NULL && piece->n_uses != 0;
    piece->batch = batch->ticket;
    bp__piece_give_locked(it->tree, piece);
    bp__depart_locked(it->tree, it->slot, batch->cause);
    return old;
}

/* Gives the lock up; the slot may be gone, and its manager, too. */
static void drop_copy_locked(bp_tree *tree, bp_backend *backend, bp__copy *copy)
{
    if (copy != NULL) {
        bp_backend_ref(backend);
        bp__mutex_unlock(&tree->lock);
        bp__copy_unref(tree, backend, copy);
        bp_backend_unref(backend);
        bp__mutex_lock(&tree->lock);
    }
}

static void stay_locked(bp_tree *tree, bp__slot *slot)
{
    bp__slot_stay_locked(tree, slot);
    bp__piece_note_busy_locked(tree, bp__piece_of(slot->block));
    bp__condition_broadcast(&tree->changed);
}

static bp_status evict_one_locked(bp_tree *tree, bp__slot *slot,
                                  const bp__batch *batch, bp_error *error)
{
    spill it = {.tree = tree,
                .slot = slot,
                .piece = bp__piece_of(slot->block),
                /* One that is being replaced may have to come back. */
                .must_copy = batch->must_copy || !bp__slot_is_listed(slot)};
    bp_backend *backend = it.piece->backend;
    bp__piece_take_locked(tree, it.piece);
    bp__mutex_unlock(&tree->lock);
    bp_status status = enqueue(&it, error);
    if (status != BP_OK && it.is_new) {
        bp__copy_unref(tree, backend, it.copy);
    }
    bp__mutex_lock(&tree->lock);
    if (status == BP_OK) {
        drop_copy_locked(tree, backend, go_locked(&it, batch));
        return BP_OK;
    }
    bp__piece_give_locked(tree, it.piece);
    stay_locked(tree, slot);
    return status;
}

bp_status bp__evict_locked(bp_tree *tree, const bp__batch *batch,
                           bp_error *error)
{
    bp_status status = BP_OK;
    for (size_t i = 0; i < batch->n_slots; i++) {
        if (status == BP_OK) {
            status = evict_one_locked(tree, batch->slots[i], batch, error);
        } else {
            stay_locked(tree, batch->slots[i]);
        }
    }
    bp__condition_broadcast(&tree->changed);
    return status;
}

/* ---- reclaiming -------------------------------------------------------- */

/* Room for victims: the first few need no memory. */
enum { N_FEW = 32 };

/* Ask with more and more room, until all victims fit. */
static bp_status choose_down_locked(bp_tree *tree, bp__budget *budget,
                                    uint64_t target, bp__choice *choice,
                                    bp_error *error)
{
    bp__slot **few = choice->victims;
    choice->is_claiming = false;
    bp__choose_down_locked(tree, budget, target, choice);
    if (choice->n_victims > choice->capacity) {
        size_t n = choice->n_victims;
        choice->victims = bp__alloc_array(&tree->alloc, n, sizeof *few);
        if (choice->victims == NULL) {
            choice->victims = few;
            choice->n_victims = 0;
            return bp__refuse_memory_of(error, "a list of slots to evict");
        }
        choice->capacity = n;
    }
    choice->is_claiming = true;
    bp__choose_down_locked(tree, budget, target, choice);
    return BP_OK;
}

bp_status bp__reclaim_locked(bp_tree *tree, bp__reclaim *what, bp_error *error)
{
    bp__slot *few[N_FEW];
    bp__choice choice = {.backend = what->backend,
                         .mine = what->mine,
                         .before = what->before,
                         .may_wait = what->may_wait,
                         .victims = few,
                         .capacity = N_FEW};
    bp__budget *budget = bp__budget_get_locked(tree, what->budget);
    what->ticket = bp__tree_tick(tree);
    if (budget == NULL) {
        return BP_OK;
    }
    bp_status status =
        choose_down_locked(tree, budget, what->target, &choice, error);
    if (status == BP_OK) {
        bp__batch batch = {.slots = choice.victims,
                           .n_slots = choice.n_victims,
                           .cause = what->cause,
                           .ticket = what->ticket};
        what->n_bytes = choice.n_bytes;
        status = bp__evict_locked(tree, &batch, error);
    }
    if (choice.victims != few) {
        bp__free_array(&tree->alloc, choice.victims, choice.capacity,
                       sizeof *choice.victims);
    }
    return status;
}
