/* allocate.c - slots are made, replaced and given up. */
#include "runtime/act.h"

#include <assert.h>

/* ---- giving up --------------------------------------------------------- */

/* Forget an EVICTED slot; the copy returned is the caller's to drop. */
static bp__copy *forget_locked(bp_tree *tree, bp__slot *slot)
{
    bp__copy *copy = bp__slot_set_copy_locked(slot, NULL);
    bp__slot_free_locked(tree, slot);
    bp__condition_broadcast(&tree->changed);
    return copy;
}

static bp_status refuse_in_use(const bp__slot *slot, bp_error *error)
{
    if (!bp__slot_is_listed(slot)) {
        return bp__refuse_busy(error, slot, "is being replaced");
    }
    if (slot->n_host_uses != 0) {
        return bp__refuse_busy(error, slot, "is in use by the host");
    }
    if (slot->is_loading) {
        return bp__refuse_busy(error, slot, "is being loaded");
    }
    if (slot->state == BP_SLOT_EVICTING) {
        return bp__refuse_busy(error, slot, "is on its way out");
    }
    return slot->state == BP_SLOT_RESTORING
               ? bp__refuse_busy(error, slot, "is on its way in")
               : BP_OK;
}

/* Of a RESIDENT slot, whose contents nobody wants; its piece is free. */
static void leave_locked(bp_tree *tree, bp__slot *slot, bp_cause cause)
{
    bp__slot_go_locked(tree, slot, NULL);
    bp__depart_locked(tree, slot, cause);
    bp__slot_gone_locked(tree, slot, false);
}

/* Look the slot up until it stands still. */
static bp_status find_idle_locked(bp_tree *tree, bp_slot handle, bp__slot **out,
                                  bp_error *error)
{
    for (;;) {
        bp__slot *slot = bp__slot_get_locked(tree, handle);
        if (slot == NULL) {
            return bp__refuse_stale(error, "slot");
        }
        bp_status status = refuse_in_use(slot, error);
        *out = slot;
        if (status != BP_OK || slot->state != BP_SLOT_RESIDENT ||
            !bp__piece_of(slot->block)->is_taken) {
            return status;
        }
        bp__wait_changed_locked(tree);
    }
}

bp_status bp_slot_deallocate(bp_tree *tree, bp_slot handle, uint64_t *freed,
                             bp_error *error)
{
    bp_backend *backend = NULL;
    bp_status status = bp__act_enter_any_slot(tree, handle, &backend, error);
    if (status != BP_OK) {
        return status;
    }
    bp__slot *slot = NULL;
    bp__copy *copy = NULL;
    uint64_t n = 0;
    status = find_idle_locked(tree, handle, &slot, error);
    if (status == BP_OK && slot->state == BP_SLOT_RESIDENT) {
        n = slot->n_charged;
        leave_locked(tree, slot, BP_CAUSE_EXPLICIT);
    }
    if (status == BP_OK) {
        copy = forget_locked(tree, slot);
    }
    bp__tree_leave(tree);
    bp__poll_retirees(tree);
    bp__copy_unref(tree, backend, copy);
    bp_backend_unref(backend);
    if (status == BP_OK && freed != NULL) {
        *freed = n;
    }
    return status;
}

/* ---- allocating -------------------------------------------------------- */

/* One call of bp_slots_allocate. */
typedef struct allocation {
    bp_tree *tree;
    bp__manager *manager;
    bp_backend *backend;
    const bp_slot_request *request;
    const bp_wait *wait;
    bp_shortage *shortage;
    bp__piece *piece;
    bp__slot *slot;
    bp__slot *replaced;
    bp_slot awaited;   /* the slot whose load it waits for, or has waited for */
    bool was_resident; /* what is replaced */
    bp__copy *copy;    /* of that; dropped at the end */
} allocation;

static bp_status refuse_reservation(const allocation *it, bp_status status,
                                    const char *why, bp_error *error)
{
    const char *name = it->request->name == NULL ? "" : it->request->name;
    status = bp_fail(error, status, "the reservation for slot '%.80s' %s", name,
                     why);
    bp_error_about(error, NULL, name);
    return status;
}

static bp_status find_reservation_locked(const allocation *it,
                                         bp__reservation **out, bp_error *error)
{
    *out = NULL;
    if (it->request->reservation == BP_NO_RESERVATION) {
        return BP_OK;
    }
    *out = bp__handles_get(&it->tree->reservations, it->request->reservation);
    if (*out == NULL) {
        return refuse_reservation(it, BP_STALE, "is gone", error);
    }
    return (*out)->budget == it->manager->budget
               ? BP_OK
               : refuse_reservation(it, BP_BAD_VALUE, "is of another budget",
                                    error);
}

static bool may_await_locked(allocation *it, const bp__slot *slot)
{
    if (slot->n_host_uses != 0 || !bp__may_wait(it->wait)) {
        return false;
    }
    if (!slot->is_loading) {
        return true;
    }
    if (!bp__may_await_load_locked(it->tree, slot, it->wait)) {
        return false;
    }
    if (it->awaited != slot->handle) {
        it->awaited = slot->handle;
        bp__note_awaited_locked(it->tree, it->awaited);
    }
    return true;
}

/* The slot that has the name is on its way, or in use: wait for the first as
 * long as the call may. The manager is looked up again. */
static bp_status await_replaced_locked(allocation *it, const bp__slot *slot,
                                       bp__pause *pause, bp_error *error)
{
    bp_tree *tree = it->tree;
    bp_slots handle = it->manager->handle;
    bp_error refusal;
    bp_status status = refuse_in_use(slot, &refusal);
    bp_status paused = BP_TIMED_OUT;
    if (may_await_locked(it, slot)) {
        bp__mutex_unlock(&tree->lock);
        bp__poll_retirees(tree);
        bp__mutex_lock(&tree->lock);
        paused = bp__pause_locked(tree, it->wait, pause, error);
    }
    if (paused == BP_TIMED_OUT) {
        if (error != NULL) {
            *error = refusal;
        }
        return status;
    }
    it->manager = bp__manager_get_locked(tree, handle);
    if (it->manager == NULL || it->manager->is_closing) {
        return bp_fail(error, BP_CLOSED, "the slot manager is closing");
    }
    return paused;
}

/* The slot that the new one replaces, if there is one; it stands still. */
static bp_status find_replaced_locked(allocation *it, bp_error *error)
{
    bp__pause pause = {.step_ns = 0};
    bp_status status = BP_OK;
    while (status == BP_OK && it->replaced == NULL) {
        bp__slot *slot =
            it->request->name == NULL
                ? NULL
                : bp__slot_named_locked(it->manager, it->request->name);
        if (slot == NULL || !it->request->is_replacing) {
            break; /* a name that is taken is refused with the rest */
        }
        if (refuse_in_use(slot, NULL) == BP_OK) {
            it->replaced = slot;
        } else {
            status = await_replaced_locked(it, slot, &pause, error);
        }
    }
    if (it->awaited != BP_NO_SLOT) {
        bp__note_awaited_locked(it->tree, BP_NO_SLOT);
    }
    return status;
}

/* Everything that can be refused without looking at the ledger. */
static bp_status make_slot_locked(allocation *it, bp_error *error)
{
    bp__reservation *reservation;
    bp_status status = find_replaced_locked(it, error);
    if (status == BP_OK) {
        status = find_reservation_locked(it, &reservation, error);
    }
    if (status == BP_OK) {
        status = bp__slot_new_locked(it->tree, it->manager, it->request,
                                     it->replaced, &it->slot, error);
    }
    if (status == BP_OK) {
        it->piece = bp__piece_new(it->tree, it->manager, it->slot->n_charged);
        if (it->piece == NULL) {
            if (it->replaced != NULL) {
                bp__slot_give_name_back_locked(it->slot, it->replaced);
            }
            bp__slot_free_locked(it->tree, it->slot);
            return bp__refuse_memory_of(error, "a piece of device memory");
        }
        bp__claim_begin_locked(it->tree, &it->piece->claim, it->manager->budget,
                               it->slot->n_charged, reservation);
    }
    return status;
}

bp__copy *bp__drop_replaced_locked(bp_tree *tree, bp__slot *old)
{
    if (old == NULL) {
        return NULL;
    }
    if (old->state == BP_SLOT_EVICTING) {
        bp__slot_gone_locked(tree, old, false);
    }
    assert(old->state == BP_SLOT_EVICTED);
    return forget_locked(tree, old);
}

void bp__restore_replaced_locked(bp_tree *tree, bp__slot *old,
                                 const bp_wait *wait)
{
    bp__restoral how = {.wait = wait};
    bool needs_load = false;
    if (old->state == BP_SLOT_EVICTED && old->has_contents &&
        !old->manager->is_closing) {
        bp_status status =
            bp__restore_locked(tree, old, &how, &needs_load, NULL);
        (void)status; /* at worst it stays evicted, with its copy */
    }
}

/* The new slot could not be had. */
static void bring_back_locked(allocation *it)
{
    bp__slot *old = it->replaced;
    if (old != NULL) {
        bp__slot_give_name_back_locked(it->slot, old);
    }
    bp__slot_free_locked(it->tree, it->slot);
    bp__condition_broadcast(&it->tree->changed);
    if (old != NULL && it->was_resident) {
        bp__restore_replaced_locked(it->tree, old, it->wait);
    }
}

static bp_status allocate_locked(allocation *it, bp_slot *out, bp_error *error)
{
    bp_status status = make_slot_locked(it, error);
    if (status != BP_OK) {
        return status;
    }
    it->was_resident =
        it->replaced != NULL && it->replaced->state == BP_SLOT_RESIDENT;
    bp__arrival arrival = {.tree = it->tree,
                           .slot = it->slot,
                           .piece = it->piece,
                           .replaced = it->replaced,
                           .wait = it->wait,
                           .shortage = it->shortage};
    bool needs_load = false;
    status = bp__arrive_locked(&arrival, &needs_load, error);
    if (status == BP_OK && needs_load) { /* bp_slot_loaded drops it */
        it->slot->replaced = it->replaced;
        it->slot->was_resident = it->was_resident;
    } else if (status == BP_OK) {
        it->copy = bp__drop_replaced_locked(it->tree, it->replaced);
    }
    if (status == BP_OK) {
        *out = it->slot->handle;
    } else {
        bring_back_locked(it);
    }
    return status;
}

bp_status bp_slots_allocate(bp_tree *tree, bp_slots slots,
                            const bp_slot_request *request, const bp_wait *wait,
                            bp_slot *out, bp_shortage *shortage,
                            bp_error *error)
{
    allocation it = {
        .tree = tree, .request = request, .wait = wait, .shortage = shortage};
    *out = BP_NO_SLOT;
    bp_status status =
        bp__act_enter_manager(tree, slots, &it.manager, &it.backend, error);
    if (status != BP_OK) {
        return status;
    }
    status = allocate_locked(&it, out, error);
    bp__tree_leave(tree);
    bp__poll_retirees(tree);
    bp__copy_unref(tree, it.backend, it.copy);
    return bp__act_end(tree, it.backend, status);
}
