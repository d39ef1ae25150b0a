/* fault.c - how calls begin and end: backends that failed, and the end of the
 * process. */
#include "runtime/act.h"

/* Set once, when the interpreter ends: drivers may be gone by then. */
static atomic_bool is_over;

void bp_runtime_exit(void)
{
    atomic_store_explicit(&is_over, true, memory_order_relaxed);
}

bool bp__runtime_is_over(void)
{
    return atomic_load_explicit(&is_over, memory_order_relaxed);
}

/* ---- backends that failed ---------------------------------------------- */

bool bp__backend_is_failed(bp_backend *backend)
{
    bp_backend_info info;
    bp_backend_get_info(backend, &info);
    return info.is_failed;
}

/* Nobody can use the slot any more, whoever holds it. */
static void abandon_slot_locked(bp_tree *tree, bp__slot *slot)
{
    slot->n_host_uses = 0;
    bp__slot_go_locked(tree, slot, NULL);
    bp__depart_locked(tree, slot, BP_CAUSE_CLOSED);
    bp__slot_gone_locked(tree, slot, slot->has_contents);
}

/* What is in transition is left to the call that moves it: it will meet the
 * fault itself. */
static void abandon(bp_tree *tree, const bp_backend *backend)
{
    bp__mutex_lock(&tree->lock);
    bp__slot *slot;
    for (size_t i = 0; (slot = bp__handles_next(&tree->slots, &i)) != NULL;
         i++) {
        if (slot->manager->backend == backend &&
            slot->state == BP_SLOT_RESIDENT &&
            !bp__piece_of(slot->block)->is_taken) {
            abandon_slot_locked(tree, slot);
        }
    }
    bp__condition_broadcast(&tree->changed);
    bp__tree_leave(tree);
    bp__poll_retirees(tree);
}

bp_status bp__backend_check(bp_tree *tree, bp_backend *backend, bp_error *error)
{
    if (!bp__backend_is_failed(backend)) {
        return BP_OK;
    }
    abandon(tree, backend);
    /* Whatever is asked of it now is answered with its first fault. */
    bp_status status = backend->table->synchronize(backend, error);
    return status != BP_OK
               ? status
               : bp_fail(error, BP_DEVICE_FAULT, "backend '%s' failed",
                         backend->table->name);
}

/* A backend that has failed, referred to once more, of the manager at or after
 * *index. */
static bp_backend *next_failed(bp_tree *tree, size_t *index)
{
    for (;;) {
        bp__mutex_lock(&tree->lock);
        const bp__manager *manager = bp__handles_next(&tree->managers, index);
        bp_backend *found =
            manager == NULL ? NULL : bp_backend_ref(manager->backend);
        bp__tree_leave(tree);
        if (found == NULL || bp__backend_is_failed(found)) {
            ++*index;
            return found;
        }
        ++*index;
        bp_backend_unref(found);
    }
}

void bp__release_failed(bp_tree *tree)
{
    bp_backend *backend;
    size_t index = 0;
    while ((backend = next_failed(tree, &index)) != NULL) {
        abandon(tree, backend);
        bp_backend_unref(backend);
    }
}

/* ---- beginning and end of a call ---------------------------------------- */

bp_status bp__act_enter(bp_tree *tree, bp_error *error)
{
    if (bp__runtime_is_over()) {
        return bp_fail(error, BP_CLOSED, "the process is about to end");
    }
    return bp__tree_enter(tree, error);
}

bp_status bp__act_end(bp_tree *tree, bp_backend *backend, bp_status status)
{
    if (status == BP_DEVICE_FAULT && bp__backend_is_failed(backend)) {
        abandon(tree, backend);
    }
    bp_backend_unref(backend);
    return status;
}

/* Leave the lock to ask the backend, then take it again. */
static bp_status check_backend_locked(bp_tree *tree, bp_backend *backend,
                                      bp_error *error)
{
    bp_backend_ref(backend);
    bp__tree_leave(tree);
    bp_status status = bp__backend_check(tree, backend, error);
    if (status == BP_OK) {
        status = bp__tree_enter(tree, error);
    }
    if (status != BP_OK) {
        bp_backend_unref(backend);
    }
    return status;
}

bp_status bp__act_enter_any_slot(bp_tree *tree, bp_slot handle,
                                 bp_backend **backend, bp_error *error)
{
    bp_status status = bp__act_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    const bp__slot *slot = bp__slot_get_locked(tree, handle);
    if (slot == NULL) {
        bp__tree_leave(tree);
        return bp__refuse_stale(error, "slot");
    }
    *backend = bp_backend_ref(slot->manager->backend);
    bp__tree_leave(tree);
    if (bp__backend_is_failed(*backend)) {
        abandon(tree, *backend);
    }
    status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        bp_backend_unref(*backend);
    }
    return status;
}

bp_status bp__act_enter_slot(bp_tree *tree, bp_slot handle, bp__slot **out,
                             bp_backend **backend, bp_error *error)
{
    bp_status status = bp__act_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    bp__slot *slot = bp__slot_get_locked(tree, handle);
    if (slot == NULL) {
        bp__tree_leave(tree);
        return bp__refuse_stale(error, "slot");
    }
    *backend = slot->manager->backend;
    status = check_backend_locked(tree, *backend, error);
    if (status != BP_OK) {
        return status;
    }
    *out = bp__slot_get_locked(tree, handle);
    if (*out == NULL) {
        bp__tree_leave(tree);
        bp_backend_unref(*backend);
        return bp__refuse_stale(error, "slot");
    }
    return BP_OK;
}

bp_status bp__act_enter_manager(bp_tree *tree, bp_slots handle,
                                bp__manager **out, bp_backend **backend,
                                bp_error *error)
{
    bp_status status = bp__act_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    bp__manager *manager = bp__manager_get_locked(tree, handle);
    bp_backend *found = manager == NULL ? NULL : manager->backend;
    if (found != NULL) {
        status = check_backend_locked(tree, found, error);
        if (status != BP_OK) {
            return status;
        }
        manager = bp__manager_get_locked(tree, handle);
    }
    if (manager != NULL && !manager->is_closing) {
        *out = manager;
        *backend = found;
        return BP_OK;
    }
    bool is_closing = manager != NULL;
    bp__tree_leave(tree);
    bp_backend_unref(found);
    return is_closing ? bp_fail(error, BP_CLOSED, "the slot manager is closing")
                      : bp__refuse_stale(error, "slot manager");
}

bp_status bp__refuse_busy(bp_error *error, const bp__slot *slot,
                          const char *why)
{
    bp_status status =
        bp_fail(error, BP_BUSY, "'%s' %s", bp_key_text(slot->name), why);
    bp_error_about(error, NULL, bp_key_text(slot->name));
    return status;
}
