/* use.c - slots in use: by the host until it says so, by the device until its
 * events have passed; and brought back for it. */
#include "runtime/act.h"

#include <string.h>

/* ---- beginning --------------------------------------------------------- */

/* One call of bp_slot_use_begin. */
typedef struct beginning {
    bp_tree *tree;
    bp_intent intent;
    const bp_wait *wait;
    bp__pause pause;
    bp_slot awaited; /* the slot whose load it waits for, or has waited for */
    char name[64];   /* of a slot that was waited for; cut like an error's */
    bool is_done;    /* in use, or handed out to be filled */
    bool needs_load;
    bp_shortage *shortage;
} beginning;

static void begin_locked(beginning *it, bp__slot *slot, bool is_writing)
{
    slot->n_host_uses++;
    if (is_writing) {
        slot->is_dirty = true;
        slot->has_contents = false;
    }
    bp_stamp_touch(it->tree, slot->stamp);
    it->is_done = true;
}

static bp_status refuse_transit(const bp__slot *slot, bp_error *error)
{
    bp_status status = bp_fail(
        error, BP_TIMED_OUT, "'%s' is still %s", bp_key_text(slot->name),
        slot->is_loading                   ? "being loaded"
        : slot->state == BP_SLOT_RESTORING ? "on its way in"
                                           : "on its way out");
    bp_error_about(error, NULL, bp_key_text(slot->name));
    return status;
}

/* So often is looked at what should take no longer than a copy; a backend that
 * fails again and again must not hold a call that may not wait. */
#define MAX_LOOKS 1024u

/* Another call moves it, and waits for nothing but copies of our own: that is
 * waited for also where a call may wait for nobody's work. */
static bool is_brief_locked(const beginning *it, const bp__slot *slot)
{
    if (!bp__slot_is_listed(slot) || slot->is_loading ||
        it->pause.n_pauses >= MAX_LOOKS) {
        return false;
    }
    if (slot->state == BP_SLOT_RESTORING) {
        return !slot->is_patient;
    }
    if (slot->block != NULL) {
        return true; /* its copy is being asked for */
    }
    const bp__piece *piece = (const bp__piece *)slot->leaving;
    return piece != NULL && !piece->is_foreign &&
           !bp__stream_is_held_locked(it->tree, piece->backend);
}

/* The slot moves, by someone else's doing: look again, as long as the call may.
 * `slot` may be gone afterwards. */
static bp_status await_transit_locked(beginning *it, const bp__slot *slot,
                                      bp_error *error)
{
    bp_tree *tree = it->tree;
    bool may_pause = bp__may_wait(it->wait) || is_brief_locked(it, slot);
    if (!may_pause && it->pause.n_pauses != 0) {
        return refuse_transit(slot, error);
    }
    bp_error refusal;
    bp_status status = refuse_transit(slot, &refusal); /* while it is there */
    memcpy(it->name, refusal.buffer, sizeof it->name);
    bp__mutex_unlock(&tree->lock);
    bp__poll_retirees(tree);
    bp__mutex_lock(&tree->lock);
    if (!may_pause) {
        it->pause.n_pauses++; /* one more look */
        return BP_OK;
    }
    status = bp__pause_locked(tree, it->wait, &it->pause, error);
    if (status == BP_TIMED_OUT && error != NULL) {
        *error = refusal;
    }
    return status;
}

/* The same for a slot that has to wait until `loading` is filled. */
static bp_status await_load_locked(beginning *it, const bp__slot *slot,
                                   const bp__slot *loading, bp_error *error)
{
    if (!bp__may_await_load_locked(it->tree, loading, it->wait)) {
        return bp__refuse_busy(error, slot,
                               slot == loading ? "is being loaded"
                                               : "is being replaced");
    }
    if (it->awaited != loading->handle) {
        it->awaited = loading->handle;
        bp__note_awaited_locked(it->tree, it->awaited);
    }
    return await_transit_locked(it, slot, error);
}

/* The slot that its owner still fills and that has taken the name of this one;
 * NULL: there is none. */
static const bp__slot *find_replacing_locked(const bp__slot *slot)
{
    if (bp__slot_is_listed(slot)) {
        return NULL;
    }
    const bp__slot *next =
        bp__slot_named_locked(slot->manager, bp_key_text(slot->name));
    return next != NULL && next->replaced == slot ? next : NULL;
}

static bp_status restore_locked(beginning *it, bp__slot *slot, bp_error *error)
{
    bp__restoral how = {.is_blank = it->intent == BP_OVERWRITES,
                        .wait = it->wait,
                        .shortage = it->shortage};
    bp_status status =
        bp__restore_locked(it->tree, slot, &how, &it->needs_load, error);
    if (status == BP_OK && (it->needs_load || how.is_blank)) {
        begin_locked(it, slot, true);
    }
    if (status == BP_OK && how.is_blank) {
        bp__drop_odd_copy_locked(it->tree, slot);
    }
    return status;
}

/* It may have gone while it was waited for. */
static bp_status refuse_gone(const beginning *it, bp_error *error)
{
    if (it->name[0] == '\0') {
        return bp__refuse_stale(error, "slot");
    }
    bp_status status = bp_fail(
        error, BP_STALE, "slot '%s' went while it was waited for", it->name);
    bp_error_about(error, NULL, it->name);
    return status;
}

/* One look at the slot. */
static bp_status try_begin_locked(beginning *it, bp__slot *slot,
                                  bp_error *error)
{
    const bp__slot *loading =
        slot->is_loading ? slot : find_replacing_locked(slot);
    if (loading != NULL) {
        return await_load_locked(it, slot, loading, error);
    }
    if (!bp__slot_is_listed(slot) || slot->state == BP_SLOT_EVICTING ||
        slot->state == BP_SLOT_RESTORING) {
        return await_transit_locked(it, slot, error);
    }
    if (slot->state == BP_SLOT_EVICTED) {
        return restore_locked(it, slot, error);
    }
    begin_locked(it, slot, it->intent != BP_READS);
    return BP_OK;
}

bp_status bp_slot_use_begin(bp_tree *tree, bp_slot handle, bp_intent intent,
                            const bp_wait *wait, bool *needs_load,
                            bp_shortage *shortage, bp_error *error)
{
    beginning it = {
        .tree = tree, .intent = intent, .wait = wait, .shortage = shortage};
    bp__slot *slot = NULL;
    bp_backend *backend = NULL;
    *needs_load = false;
    bp_status status = bp__act_enter_slot(tree, handle, &slot, &backend, error);
    if (status != BP_OK) {
        return status;
    }
    while (status == BP_OK && !it.is_done) {
        slot = bp__slot_get_locked(tree, handle);
        status = slot == NULL ? refuse_gone(&it, error)
                              : try_begin_locked(&it, slot, error);
    }
    if (it.awaited != BP_NO_SLOT) {
        bp__note_awaited_locked(tree, BP_NO_SLOT);
    }
    *needs_load = it.needs_load;
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
    /* One that is being replaced again meanwhile belongs to who does that. */
    if (slot != NULL && bp__slot_is_listed(slot)) {
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
    if (slot != NULL && slot->block != NULL &&
        (!slot->is_loading || bp__is_my_load(slot))) {
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
