/* use.c - slots in use: by the host until it says so, by the device until its
 * events have passed; and brought back for it. */
#include "runtime/act.h"

/* ---- beginning --------------------------------------------------------- */

static void begin_locked(bp_tree *tree, bp__slot *slot, bool is_writing)
{
    slot->n_host_uses++;
    if (is_writing) {
        slot->is_dirty = true;
        slot->has_contents = false;
    }
    bp_stamp_touch(tree, slot->stamp);
}

static bp_status refuse_transit(const bp__slot *slot, bp_error *error)
{
    return bp_fail(error, BP_TIMED_OUT, "'%s' is still on its way %s",
                   bp_key_text(slot->name),
                   slot->state == BP_SLOT_RESTORING ? "in" : "out");
}

/* The slot moves, by someone else's doing: look again, as long as the call may.
 * `slot` may be gone afterwards. */
static bp_status await_transit_locked(bp_tree *tree, const bp__slot *slot,
                                      const bp_wait *wait, bp__pause *pause,
                                      bp_error *error)
{
    if (!bp__may_wait(wait) && pause->n_pauses != 0) {
        return refuse_transit(slot, error);
    }
    bp_error refusal;
    bp_status status = refuse_transit(slot, &refusal); /* while it is there */
    bp__mutex_unlock(&tree->lock);
    bp__poll_retirees(tree);
    bp__mutex_lock(&tree->lock);
    if (!bp__may_wait(wait)) {
        pause->n_pauses++; /* one more look */
        return BP_OK;
    }
    status = bp__pause_locked(tree, wait, pause, error);
    if (status == BP_TIMED_OUT && error != NULL) {
        *error = refusal;
    }
    return status;
}

/* Its name has gone to a slot that its owner still fills: no transaction, so
 * nothing to wait for. */
static bool is_replaced_by_loading_locked(const bp__slot *slot)
{
    if (bp__slot_is_listed(slot)) {
        return false;
    }
    const bp__slot *next =
        bp__slot_named_locked(slot->manager, bp_key_text(slot->name));
    return next != NULL && next->replaced == slot;
}

/* One look at the slot. *is_done: it is in use, or handed out to be filled. */
static bp_status try_begin_locked(bp_tree *tree, bp__slot *slot,
                                  bool is_writing, const bp_wait *wait,
                                  bp__pause *pause, bool *is_done,
                                  bool *needs_load, bp_shortage *shortage,
                                  bp_error *error)
{
    if (slot->is_loading) {
        return bp__refuse_busy(error, slot, "is being loaded");
    }
    if (is_replaced_by_loading_locked(slot)) {
        return bp__refuse_busy(error, slot, "is being replaced");
    }
    if (!bp__slot_is_listed(slot) || slot->state == BP_SLOT_EVICTING ||
        slot->state == BP_SLOT_RESTORING) {
        return await_transit_locked(tree, slot, wait, pause, error);
    }
    if (slot->state == BP_SLOT_RESIDENT) {
        begin_locked(tree, slot, is_writing);
        *is_done = true;
        return BP_OK;
    }
    bp_status status =
        bp__restore_locked(tree, slot, wait, needs_load, shortage, error);
    if (status == BP_OK && *needs_load) {
        begin_locked(tree, slot, true);
        *is_done = true;
    }
    return status;
}

bp_status bp_slot_use_begin(bp_tree *tree, bp_slot handle, bool is_writing,
                            const bp_wait *wait, bool *needs_load,
                            bp_shortage *shortage, bp_error *error)
{
    bp__slot *slot = NULL;
    bp_backend *backend = NULL;
    bp__pause pause = {.step_ns = 0};
    bool is_done = false;
    *needs_load = false;
    bp_status status = bp__act_enter_slot(tree, handle, &slot, &backend, error);
    if (status != BP_OK) {
        return status;
    }
    while (status == BP_OK && !is_done) {
        slot = bp__slot_get_locked(tree, handle);
        status = slot == NULL
                     ? bp__refuse_stale(error, "slot")
                     : try_begin_locked(tree, slot, is_writing, wait, &pause,
                                        &is_done, needs_load, shortage, error);
    }
    bp__tree_leave(tree);
    return bp__act_end(tree, backend, status);
}

/* ---- ending ------------------------------------------------------------ */

/* The backend of the slot, with one more reference; NULL: it is not in use. */
static bp_backend *find_backend(bp_tree *tree, bp_slot handle)
{
    bp_backend *backend = NULL;
    if (bp__runtime_is_over() || !bp__tree_enter_if_ours(tree)) {
        return NULL;
    }
    const bp__slot *slot = bp__slot_get_locked(tree, handle);
    if (slot != NULL && slot->n_host_uses != 0) {
        backend = bp_backend_ref(slot->manager->backend);
    }
    bp__tree_leave(tree);
    return backend;
}

/* Returns an event for the caller to close. */
static bp__event end_locked(bp_tree *tree, bp_slot handle, bp__use use)
{
    bp__slot *slot;
    while ((slot = bp__slot_get_locked(tree, handle)) != NULL &&
           slot->block != NULL && bp__piece_of(slot->block)->is_taken) {
        bp__wait_changed_locked(tree);
    }
    if (slot == NULL || slot->n_host_uses == 0) {
        return use.event;
    }
    slot->n_host_uses--;
    bp__condition_broadcast(&tree->changed);
    if (slot->block == NULL || slot->is_loading) {
        return use.event;
    }
    bp__piece *piece = bp__piece_of(slot->block);
    if (use.event == BP__NO_EVENT) {
        piece->needs_sync |= use.stream == BP_NO_STREAM;
        return BP__NO_EVENT;
    }
    bp__event old = bp__piece_add_use_locked(tree, piece, use);
    bp__piece_note_busy_locked(tree, piece);
    return old;
}

void bp_slot_use_end(bp_tree *tree, bp_slot handle, bp_stream stream)
{
    bp_backend *backend = find_backend(tree, handle);
    if (backend == NULL) {
        return;
    }
    const bp__backend_table *table = backend->table;
    bp__use use = {.stream = stream, .event = BP__NO_EVENT};
    if (stream != BP_NO_STREAM && stream != BP_HOST_ONLY) {
        bool has_passed = false;
        if (table->event_record(backend, stream, &use.event, NULL) != BP_OK) {
            use = (bp__use){.stream = BP_NO_STREAM, .event = BP__NO_EVENT};
        } else if (table->event_query(backend, use.event, &has_passed, NULL) ==
                       BP_OK &&
                   has_passed) {
            table->event_close(backend, use.event);
            use.event = BP__NO_EVENT; /* with its stream: nothing to wait for */
        }
    }
    bp__mutex_lock(&tree->lock);
    bp__event old = end_locked(tree, handle, use);
    bp__tree_leave(tree);
    table->event_close(backend, old);
    bp_backend_unref(backend);
}

/* ---- loading ----------------------------------------------------------- */

/* Returns the copy of the slot that was replaced, which the caller drops.
 * *back: the handle of that slot, which has its name back and was resident. */
static bp__copy *end_load_locked(bp_tree *tree, bp__slot *slot, bool is_good,
                                 bp_slot *back)
{
    bp__piece *piece = bp__piece_of(slot->block);
    bp__slot *old = slot->replaced;
    slot->is_loading = false;
    slot->replaced = NULL;
    if (is_good) {
        bp__slot_arrive_locked(tree, slot, &piece->base);
        slot->is_dirty = true;
        slot->has_contents = false;
        return bp__drop_replaced_locked(tree, old);
    }
    if (old != NULL) {
        bp__slot_give_name_back_locked(slot, old);
        *back = slot->was_resident ? old->handle : BP_NO_SLOT;
    }
    slot->block = NULL;
    piece->resident = NULL;
    if (slot->n_host_uses != 0) {
        slot->n_host_uses--;
    }
    bp__piece_shed_locked(tree, piece);
    if (slot->is_new) {
        bp__slot_free_locked(tree, slot);
    } else {
        bp__slot_sleep_locked(tree, slot);
    }
    bp__condition_broadcast(&tree->changed);
    return NULL;
}

/* After the memory of the one that was to replace it has gone. */
static void bring_back(bp_tree *tree, bp_slot handle)
{
    bp__mutex_lock(&tree->lock);
    bp__slot *slot = bp__slot_get_locked(tree, handle);
    if (slot != NULL) {
        bp__restore_replaced_locked(tree, slot, NULL);
    }
    bp__tree_leave(tree);
}

/* A loader that is still copying has to be done first. */
static bp__slot *find_loading_locked(bp_tree *tree, bp_slot handle)
{
    bp__slot *slot;
    while ((slot = bp__slot_get_locked(tree, handle)) != NULL &&
           slot->is_loading && bp__piece_of(slot->block)->is_taken) {
        bp__wait_changed_locked(tree);
    }
    return slot != NULL && slot->is_loading ? slot : NULL;
}

bp_status bp_slot_loaded(bp_tree *tree, bp_slot handle, bool is_good,
                         bp_error *error)
{
    bp_backend *backend = NULL;
    bp_status status = bp__act_enter_any_slot(tree, handle, &backend, error);
    if (status != BP_OK) {
        return status;
    }
    bp__tree_leave(tree);
    /* What was filled on a device that failed is not there. */
    bp_status fault = bp__backend_check(tree, backend, error);
    bp__mutex_lock(&tree->lock);
    bp__slot *slot = find_loading_locked(tree, handle);
    bp__copy *copy = NULL;
    bp_slot back = BP_NO_SLOT;
    if (slot != NULL) {
        copy = end_load_locked(tree, slot, is_good && fault == BP_OK, &back);
    }
    bp__tree_leave(tree);
    bp__poll_retirees(tree);
    bp__copy_unref(tree, backend, copy);
    if (back != BP_NO_SLOT && fault == BP_OK) {
        bring_back(tree, back);
    }
    bp_backend_unref(backend);
    if (slot == NULL) {
        return bp_fail(error, BP_STALE, "the slot is not being loaded");
    }
    return is_good ? fault : BP_OK;
}

/* ---- evicting ---------------------------------------------------------- */

static bp_status check_evictable(const bp__slot *slot, bp_error *error)
{
    if (slot->is_pinned) {
        return bp__refuse_busy(error, slot, "is pinned");
    }
    if (!bp__slot_is_listed(slot)) {
        return bp__refuse_busy(error, slot, "is being replaced");
    }
    if (slot->n_host_uses != 0) {
        return bp__refuse_busy(error, slot, "is in use by the host");
    }
    return slot->state == BP_SLOT_RESIDENT || slot->state == BP_SLOT_EVICTED
               ? BP_OK
               : bp__refuse_busy(error, slot, "is on its way");
}

bp_status bp_slot_evict(bp_tree *tree, bp_slot handle, bp_error *error)
{
    bp__slot *slot = NULL;
    bp_backend *backend = NULL;
    bp_status status = bp__act_enter_slot(tree, handle, &slot, &backend, error);
    if (status != BP_OK) {
        return status;
    }
    status = check_evictable(slot, error);
    if (status == BP_OK && slot->state == BP_SLOT_RESIDENT) {
        bp__batch batch = {.slots = &slot,
                           .n_slots = 1,
                           .cause = BP_CAUSE_EXPLICIT,
                           .ticket = bp__tree_tick(tree)};
        bp__slot_go_locked(tree, slot, NULL);
        status = bp__evict_locked(tree, &batch, error);
        if (status == BP_OK) {
            bp__await_batch_locked(tree, batch.ticket);
        }
    }
    bp__tree_leave(tree);
    return bp__act_end(tree, backend, status);
}

/* ---- where it lies ----------------------------------------------------- */

static bool find_memory(bp_tree *tree, bp_slot handle, bp__memory *memory,
                        bp_backend **backend)
{
    bool is_there = false;
    if (bp__runtime_is_over() || !bp__tree_enter_if_ours(tree)) {
        return false;
    }
    const bp__slot *slot = bp__slot_get_locked(tree, handle);
    if (slot != NULL && slot->block != NULL) {
        *memory = bp__piece_of(slot->block)->memory;
        *backend = bp_backend_ref(slot->manager->backend);
        is_there = true;
    }
    bp__tree_leave(tree);
    return is_there;
}

uint64_t bp_slot_get_address(bp_tree *tree, bp_slot slot)
{
    bp__memory memory;
    bp_backend *backend;
    if (!find_memory(tree, slot, &memory, &backend)) {
        return 0;
    }
    bp_backend_unref(backend);
    return memory.address;
}

void *bp_slot_get_host_view(bp_tree *tree, bp_slot slot)
{
    bp__memory memory;
    bp_backend *backend;
    if (!find_memory(tree, slot, &memory, &backend)) {
        return NULL;
    }
    void *view = backend->table->host_view(backend, memory);
    bp_backend_unref(backend);
    return view;
}
