/* arrive.c - a slot comes to the device: room in the ledger, memory from the
 * backend, contents from the host. */
#include "runtime/act.h"

#include "base/text.h"

#include <assert.h>
#include <stdio.h>

/* ---- memory ------------------------------------------------------------ */

static const bp__budget *root_of(const bp__budget *budget)
{
    while (budget->parent != NULL) {
        budget = budget->parent;
    }
    return budget;
}

/* What is in use and not about to become available, on this backend, by
 * itself. */
static uint64_t staying_locked(const bp_tree *tree, const bp__budget *root,
                               const bp_backend *backend)
{
    uint64_t n = bp__in_use(root);
    for (const bp__block *block = tree->retirees; block != NULL;
         block = block->next) {
        if (!block->is_failed && block->claim == NULL &&
            block->manager->backend == backend &&
            root_of(block->budget) == root) {
            n -= block->n_charged;
        }
    }
    return n;
}

/* The budget has room, the device has not: others of this process may have it,
 * or it lies in pieces. Evict as much as is asked for, once; what lies on other
 * devices would not help. */
static bp_status evict_for_device(const bp__arrival *arrival,
                                  uint64_t *n_evicted, bp_error *error)
{
    bp_tree *tree = arrival->tree;
    uint64_t n = arrival->piece->base.n_charged;
    bp__mutex_lock(&tree->lock);
    const bp__budget *root = root_of(arrival->slot->manager->budget);
    const bp_backend *backend = arrival->piece->backend;
    uint64_t in_use = staying_locked(tree, root, backend);
    bp__reclaim down = {.budget = root->handle,
                        .target = in_use > n ? in_use - n : 0,
                        .backend = backend,
                        .cause = BP_CAUSE_OOM};
    bp_status status = bp__reclaim_locked(tree, &down, error);
    *n_evicted = down.n_bytes;
    bp__await_batch_locked(tree, down.ticket);
    bp__tree_leave(tree);
    return status;
}

/* The backend knows neither who asks, nor what went for it in vain. */
static void name_asker(const bp__arrival *arrival, uint64_t n_evicted,
                       bp_error *error)
{
    const bp__slot *slot = arrival->slot;
    const bp_key *budget = slot->manager->budget->name;
    char vain[64 + BP__GROUPED_BYTES] = "";
    char digits[BP__GROUPED_BYTES];
    if (error == NULL) {
        return;
    }
    bp_error told = *error;
    if (n_evicted != 0) {
        (void)snprintf(vain, sizeof vain, " (%s bytes were evicted for it)",
                       bp__grouped(n_evicted, digits));
    }
    (void)bp_fail(error, told.status, "slot '%.60s'%s%.40s%s: %.90s%s",
                  bp_key_text(slot->name), budget == NULL ? "" : " of budget '",
                  budget == NULL ? "" : bp_key_text(budget),
                  budget == NULL ? "" : "'", told.text, vain);
    bp_error_about(error, NULL, bp_key_text(slot->name));
    if (told.has_numbers) {
        bp_error_numbers(error, told.value, told.limit);
    }
}

static bp_status ask(const bp__arrival *arrival, bp_error *error)
{
    bp__piece *piece = arrival->piece;
    bp_status status = piece->backend->table->alloc(
        piece->backend, arrival->slot->n_bytes, &piece->memory, error);
    piece->has_memory = status == BP_OK;
    return status;
}

static bp_status get_memory(const bp__arrival *arrival, bp_error *error)
{
    bp_backend *backend = arrival->piece->backend;
    uint64_t n_evicted = 0;
    bp_error told = {.status = BP_OK}; /* only if asking again does not help */
    bp_status status = ask(arrival, &told);
    if (status == BP_DEVICE_MEMORY) {
        (void)backend->table->trim(backend);
        bp__poll_retirees(arrival->tree);
        status = ask(arrival, &told);
    }
    if (status == BP_DEVICE_MEMORY && !arrival->slot->manager->is_strict) {
        status = evict_for_device(arrival, &n_evicted, &told);
        if (status == BP_OK) {
            status = ask(arrival, &told);
        }
    }
    if (status == BP_DEVICE_MEMORY) {
        name_asker(arrival, n_evicted, &told);
    }
    if (status != BP_OK && error != NULL) {
        *error = told;
    }
    return status;
}

/* ---- contents ---------------------------------------------------------- */

/* A copy would come after what the private stream waits for. */
static bp_status await_stream_locked(const bp__arrival *arrival,
                                     bp_error *error)
{
    bp_tree *tree = arrival->tree;
    bp__pause pause = {.step_ns = 0};
    while (bp__stream_is_held_locked(tree, arrival->piece->backend)) {
        bp__mutex_unlock(&tree->lock);
        bp__poll_retirees(tree);
        bp__mutex_lock(&tree->lock);
        if (!bp__stream_is_held_locked(tree, arrival->piece->backend)) {
            break;
        }
        if (arrival->slot->manager->is_closing) {
            return bp_fail(error, BP_CLOSED, "the slot manager is closing");
        }
        bp_status status =
            bp__may_wait(arrival->wait)
                ? bp__pause_locked(tree, arrival->wait, &pause, error)
                : bp_fail(error, BP_TIMED_OUT,
                          "'%s' can be restored when the device is done with "
                          "what leaves before it",
                          bp_key_text(arrival->slot->name));
        if (status != BP_OK) {
            return status;
        }
    }
    return BP_OK;
}

static bp_status get_contents(const bp__arrival *arrival, bp_error *error)
{
    bp_tree *tree = arrival->tree;
    bp__slot *slot = arrival->slot;
    bp__mutex_lock(&tree->lock);
    bp_status status = await_stream_locked(arrival, error);
    bp__mutex_unlock(&tree->lock);
    if (status == BP_OK) {
        status = bp__copy_into(tree, arrival->piece, slot->copy, error);
    }
    return status;
}

/* ---- the end ----------------------------------------------------------- */

/* The bytes become used, the memory the slot's. */
static void settle_in_locked(const bp__arrival *arrival, bool has_contents,
                             bool *needs_load)
{
    bp__slot *slot = arrival->slot;
    bp__piece *piece = arrival->piece;
    bp__claim_commit_locked(arrival->tree, &piece->claim);
    piece->resident = slot;
    *needs_load = !has_contents && !arrival->is_blank && slot->has_loader;
    if (*needs_load) {
        slot->claim = NULL;
        slot->block = &piece->base;
        slot->is_loading = true;
        slot->loader = bp__thread_self();
        slot->awaited = BP_NO_SLOT;
        bp__condition_broadcast(&arrival->tree->changed);
        return;
    }
    bp__slot_arrive_locked(arrival->tree, slot, &piece->base);
    slot->is_dirty = !has_contents;
    if (has_contents) {
        slot->manager->counters.moved_in_bytes += slot->n_bytes;
    }
}

/* Memory that will not be the slot's goes the way of all memory: it may have a
 * copy under way, and freeing it may fail. */
static void undo_locked(const bp__arrival *arrival)
{
    bp_tree *tree = arrival->tree;
    bp__piece *piece = arrival->piece;
    arrival->slot->claim = NULL;
    if (!piece->has_memory) {
        bp__claim_abort_locked(tree, &piece->claim);
        bp__mutex_unlock(&tree->lock);
        bp__piece_free(tree, piece);
    } else {
        bp__claim_shed_locked(tree, &piece->claim);
        bp__piece_undo_locked(tree, piece);
        bp__mutex_unlock(&tree->lock);
        bp__poll_retirees(tree);
    }
    bp__mutex_lock(&tree->lock);
}

static bp_status make_room_locked(const bp__arrival *arrival, bp_error *error)
{
    bp__room room = {.tree = arrival->tree,
                     .claim = &arrival->piece->claim,
                     .asker = arrival->slot->manager,
                     .is_strict = arrival->slot->manager->is_strict,
                     .replaced = arrival->replaced,
                     .wait = arrival->wait,
                     .shortage = arrival->shortage};
    return bp__room_make_locked(&room, error);
}

bp_status bp__arrive_locked(bp__arrival *arrival, bool *needs_load,
                            bp_error *error)
{
    bp_tree *tree = arrival->tree;
    bp__slot *slot = arrival->slot;
    bool has_contents = slot->has_contents && !arrival->is_blank;
    slot->claim = &arrival->piece->claim;
    *needs_load = false;
    bp_status status = make_room_locked(arrival, error);
    if (status != BP_OK) {
        slot->claim = NULL;
        bp__mutex_unlock(&tree->lock);
        bp__piece_free(tree, arrival->piece);
        bp__mutex_lock(&tree->lock);
        return status;
    }
    bp__mutex_unlock(&tree->lock);
    status = get_memory(arrival, error);
    if (status == BP_OK && has_contents) {
        status = get_contents(arrival, error);
    }
    bp__mutex_lock(&tree->lock);
    if (status == BP_OK && slot->manager->is_closing) {
        status = bp_fail(error, BP_CLOSED, "the slot manager is closing");
    }
    if (status == BP_OK) {
        settle_in_locked(arrival, has_contents, needs_load);
    } else {
        undo_locked(arrival);
    }
    return status;
}

/* ---- restoring --------------------------------------------------------- */

void bp__drop_odd_copy_locked(bp_tree *tree, bp__slot *slot)
{
    if (slot->keeps_copy || slot->copy == NULL) {
        return;
    }
    bp__copy *copy = bp__slot_set_copy_locked(slot, NULL);
    bp_backend *backend = slot->manager->backend;
    slot->has_contents = false;
    slot->is_dirty = true;
    bp_backend_ref(backend);
    bp__mutex_unlock(&tree->lock);
    bp__copy_unref(tree, backend, copy);
    bp_backend_unref(backend);
    bp__mutex_lock(&tree->lock);
}

static bp_status begin_restore_locked(bp__arrival *arrival, bp_error *error)
{
    bp_tree *tree = arrival->tree;
    bp__slot *slot = arrival->slot;
    arrival->piece = bp__piece_new(tree, slot->manager, slot->n_charged);
    if (arrival->piece == NULL) {
        return bp__refuse_memory_of(error, "a piece of device memory");
    }
    bp__claim *claim = &arrival->piece->claim;
    bp__claim_begin_locked(tree, claim, slot->manager->budget, slot->n_charged,
                           NULL);
    if (!bp__slot_wake_locked(tree, slot, claim)) {
        bp__claim_abort_locked(tree, claim);
        bp__mutex_unlock(&tree->lock);
        bp__piece_free(tree, arrival->piece);
        bp__mutex_lock(&tree->lock);
        return bp__refuse_memory_of(error, "the log");
    }
    return BP_OK;
}

/* What is refused before anything is begun. */
static bp_status check_restorable_locked(const bp_tree *tree,
                                         const bp__slot *slot,
                                         const bp__restoral *how,
                                         bp_error *error)
{
    if (how->is_blank) {
        return BP_OK;
    }
    if (!slot->has_contents && !slot->has_loader) {
        bp_status status =
            bp_fail(error, BP_CONTENTS_LOST,
                    "'%s' was evicted without a copy: overwrite all of it, or "
                    "replace it",
                    bp_key_text(slot->name));
        bp_error_about(error, NULL, bp_key_text(slot->name));
        return status;
    }
    if (slot->has_contents && !bp__may_wait(how->wait) &&
        bp__stream_is_held_locked(tree, slot->manager->backend)) {
        return bp_fail(error, BP_TIMED_OUT,
                       "'%s' can be restored when the device is done with what "
                       "leaves before it",
                       bp_key_text(slot->name));
    }
    return BP_OK;
}

bp_status bp__restore_locked(bp_tree *tree, bp__slot *slot,
                             const bp__restoral *how, bool *needs_load,
                             bp_error *error)
{
    assert(slot->state == BP_SLOT_EVICTED);
    bp_status status = check_restorable_locked(tree, slot, how, error);
    if (status != BP_OK) {
        return status;
    }
    bp__arrival arrival = {.tree = tree,
                           .slot = slot,
                           .is_blank = how->is_blank,
                           .wait = how->wait,
                           .shortage = how->shortage};
    status = begin_restore_locked(&arrival, error);
    if (status != BP_OK) {
        return status;
    }
    slot->is_patient = bp__may_wait(how->wait);
    status = bp__arrive_locked(&arrival, needs_load, error);
    if (status != BP_OK) {
        bp__slot_sleep_locked(tree, slot);
    } else if (!*needs_load && !how->is_blank) {
        bp__drop_odd_copy_locked(tree, slot);
    }
    return status;
}
