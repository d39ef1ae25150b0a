/* slots.c - the transitions between a slot's states, and what they do to the
 * ledger, the log and the claims. */
#include "device/slots.h"

#include "device/claim.h"
#include "device/ledger.h"

#include <assert.h>

static void state_changed(bp_tree *tree)
{
    bp__condition_broadcast(&tree->changed);
}

/* ---- arriving ------------------------------------------------------------ */

void bp__slot_arrive_locked(bp_tree *tree, bp__slot *slot, bp__block *block)
{
    assert(slot->state == BP_SLOT_RESTORING);
    assert(slot->stamp->heap_place == SIZE_MAX);
    bp__manager *manager = slot->manager;
    *block = (bp__block){.budget = manager->budget,
                         .manager = manager,
                         .n_charged = slot->n_charged};
    slot->block = block;
    slot->claim = NULL;
    slot->state = BP_SLOT_RESIDENT;
    slot->generation = ++tree->generations;
    if (!slot->is_new) {
        manager->counters.n_restores++;
    }
    slot->is_new = false;
    bp_stamp_touch(tree, slot->stamp);
    bp__heap_insert_locked(slot);
    state_changed(tree);
}

bool bp__slot_wake_locked(bp_tree *tree, bp__slot *slot, bp__claim *claim)
{
    assert(slot->state == BP_SLOT_EVICTED && slot->block == NULL);
    if (!bp__log_reserve_locked(&tree->log, tree->slots.n_items)) {
        return false;
    }
    slot->state = BP_SLOT_RESTORING;
    slot->claim = claim;
    state_changed(tree);
    return true;
}

void bp__slot_sleep_locked(bp_tree *tree, bp__slot *slot)
{
    assert(slot->state == BP_SLOT_RESTORING && !slot->is_new);
    slot->state = BP_SLOT_EVICTED;
    slot->claim = NULL;
    state_changed(tree);
}

/* ---- leaving ------------------------------------------------------------- */

void bp__slot_go_locked(bp_tree *tree, bp__slot *slot, bp__claim *claim)
{
    assert(slot->state == BP_SLOT_RESIDENT && slot->block != NULL);
    bp__heap_remove_locked(slot);
    slot->state = BP_SLOT_EVICTING;
    slot->claim = claim;
    bp__budget *leaf = slot->block->budget;
    bp__move(leaf, slot->block->n_charged, BP__USED, BP__RETIRING);
    if (claim != NULL) {
        bp__claim_await_locked(claim, slot->block);
    }
    bp__budget_changed_locked(tree, leaf, false);
    state_changed(tree);
}

void bp__slot_stay_locked(bp_tree *tree, bp__slot *slot)
{
    assert(slot->state == BP_SLOT_EVICTING && slot->block != NULL);
    bp__claim_forget_locked(slot->block);
    bp__budget *leaf = slot->block->budget;
    bp__move(leaf, slot->block->n_charged, BP__RETIRING, BP__USED);
    slot->state = BP_SLOT_RESIDENT;
    slot->claim = NULL;
    bp__heap_insert_locked(slot);
    bp__budget_changed_locked(tree, leaf, false);
    state_changed(tree);
}

void bp__slot_depart_locked(bp_tree *tree, bp__slot *slot, bp_cause cause)
{
    assert(slot->state == BP_SLOT_EVICTING && slot->block != NULL);
    (void)bp__log_append_locked(&tree->log, slot->name, slot->kind,
                                slot->generation, slot->n_bytes, cause);
    slot->manager->counters.n_evictions[cause]++;
    bp__block *block = slot->block;
    for (bp__budget *budget = block->budget; budget != NULL;
         budget = budget->parent) {
        budget->n_evictions++;
    }
    block->slot = slot;
    slot->leaving = block;
    slot->block = NULL;
    bp__block_retire_locked(tree, block);
}

void bp__slot_gone_locked(bp_tree *tree, bp__slot *slot, bool has_contents)
{
    assert(slot->state == BP_SLOT_EVICTING && slot->block == NULL);
    if (slot->leaving != NULL) {
        slot->leaving->slot = NULL;
        slot->leaving = NULL;
    }
    slot->state = BP_SLOT_EVICTED;
    slot->claim = NULL;
    slot->has_contents = has_contents;
    slot->is_busy = false;
    state_changed(tree);
}

/* ---- blocks on their way out --------------------------------------------- */

void bp__block_retire_locked(bp_tree *tree, bp__block *block)
{
    block->next = NULL;
    block->from = tree->retirees_end;
    *tree->retirees_end = block;
    tree->retirees_end = &block->next;
    atomic_fetch_add_explicit(&tree->n_retirees, 1, memory_order_relaxed);
}

static void unlink_block(bp_tree *tree, bp__block *block)
{
    *block->from = block->next;
    if (block->next != NULL) {
        block->next->from = block->from;
    } else {
        tree->retirees_end = block->from;
    }
    block->next = NULL;
    block->from = NULL;
    atomic_fetch_sub_explicit(&tree->n_retirees, 1, memory_order_relaxed);
}

void bp__block_retired_locked(bp_tree *tree, bp__block *block)
{
    unlink_block(tree, block);
    if (block->slot != NULL) {
        block->slot->leaving = NULL;
        block->slot->claim = NULL;
        block->slot = NULL;
    }
    bp__claim_receive_locked(tree, block);
    bp__condition_broadcast(&tree->changed);
}

void bp__block_fail_locked(bp_tree *tree, bp__block *block)
{
    bp__claim_forget_locked(block);
    if (!block->is_failed) {
        block->is_failed = true;
        block->manager->counters.n_failed_frees++;
    }
    bp__condition_broadcast(&tree->changed);
}
