/* open.c - slot managers: their beginning and their end. */
#include "runtime/act.h"

bp_status bp_slots_open(bp_tree *tree, const bp_slots_options *options,
                        bp_slots *out, bp_error *error)
{
    *out = BP_NO_SLOTS;
    if ((unsigned)options->policy >= BP_N_POLICIES) {
        return bp_fail(error, BP_BAD_VALUE, "%u is no policy",
                       (unsigned)options->policy);
    }
    bp_status status = bp__act_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    bp__manager *manager = NULL;
    bp__budget *budget = bp__budget_get_locked(tree, options->budget);
    status = budget == NULL
                 ? bp__refuse_stale(error, "budget")
                 : bp__manager_new_locked(tree, budget, options->policy,
                                          options->is_strict, options->backend,
                                          options->backend->granularity,
                                          &manager, error);
    if (status == BP_OK) {
        bp_backend_ref(options->backend);
        *out = manager->handle;
    }
    bp__tree_leave(tree);
    return status;
}

/* ---- closing ----------------------------------------------------------- */

/* Copies collected under the lock, to be dropped outside. */
enum { N_AT_ONCE = 32 };
typedef struct leftovers {
    bp__copy *copies[N_AT_ONCE];
    size_t n;
} leftovers;

static void forget_locked(bp_tree *tree, bp__slot *slot, leftovers *rest)
{
    bp__copy *copy = bp__slot_set_copy_locked(slot, NULL);
    if (copy != NULL) {
        rest->copies[rest->n++] = copy;
    }
    bp__slot_free_locked(tree, slot);
}

/* Its filler will find the slot gone. */
static void stop_load_locked(bp_tree *tree, bp__slot *slot)
{
    bp__piece *piece = bp__piece_of(slot->block);
    slot->block = NULL;
    slot->is_loading = false;
    slot->is_new = false;
    if (slot->replaced != NULL) { /* its turn will come, too */
        bp__slot_give_name_back_locked(slot, slot->replaced);
        slot->replaced = NULL;
    }
    piece->resident = NULL;
    bp__piece_shed_locked(tree, piece);
    bp__slot_sleep_locked(tree, slot);
}

/* True if the slot is gone; false: another call has it, which will end. */
static bool close_slot_locked(bp_tree *tree, bp__slot *slot, leftovers *rest)
{
    if (!bp__slot_is_listed(slot)) {
        return false; /* being replaced */
    }
    if (slot->block != NULL && bp__piece_of(slot->block)->is_taken) {
        return false;
    }
    if (slot->n_host_uses != 0 && slot->block != NULL) {
        /* Nobody will say what its users have asked of the device. */
        bp__piece_of(slot->block)->needs_sync = true;
    }
    slot->n_host_uses = 0;
    if (slot->is_loading) {
        stop_load_locked(tree, slot);
    } else if (slot->state == BP_SLOT_RESIDENT) {
        bp__slot_go_locked(tree, slot, NULL);
        bp__depart_locked(tree, slot, BP_CAUSE_CLOSED);
        bp__slot_gone_locked(tree, slot, false);
    } else if (slot->state == BP_SLOT_EVICTING && slot->block == NULL) {
        bp__slot_gone_locked(tree, slot, false);
    } else if (slot->state != BP_SLOT_EVICTED) {
        return false;
    }
    forget_locked(tree, slot, rest);
    return true;
}

/* One round over the slots, newest first. */
static void close_slots_locked(bp_tree *tree, bp__manager *manager,
                               leftovers *rest)
{
    for (size_t i = manager->n_slots; i-- > 0 && rest->n < N_AT_ONCE;) {
        (void)close_slot_locked(tree, manager->slots[i], rest);
    }
}

static void close_all_slots(bp_tree *tree, bp__manager *manager,
                            bp_backend *backend)
{
    bool is_empty = false;
    while (!is_empty) {
        leftovers rest = {.n = 0};
        bp__mutex_lock(&tree->lock);
        close_slots_locked(tree, manager, &rest);
        is_empty = manager->n_slots == 0;
        if (!is_empty && rest.n == 0) {
            bp__wait_changed_locked(tree);
        }
        bp__condition_broadcast(&tree->changed);
        bp__tree_leave(tree);
        for (size_t i = 0; i < rest.n; i++) {
            bp__copy_unref(tree, backend, rest.copies[i]);
        }
    }
}

/* A piece of the manager that nobody works on, out of the ledger; NULL: there
 * is none. *has_any: there are some. */
static bp__piece *give_up_one_locked(bp_tree *tree, const bp__manager *manager,
                                     bool *has_any)
{
    *has_any = false;
    for (bp__block *block = tree->retirees; block != NULL;
         block = block->next) {
        if (block->manager == manager) {
            *has_any = true;
            if (!bp__piece_of(block)->is_taken) {
                bp__piece_retired_locked(tree, bp__piece_of(block));
                return bp__piece_of(block);
            }
        }
    }
    return NULL;
}

static bool has_pieces(bp_tree *tree, const bp__manager *manager)
{
    bool has_any = false;
    bp__mutex_lock(&tree->lock);
    for (const bp__block *block = tree->retirees; block != NULL && !has_any;
         block = block->next) {
        has_any = block->manager == manager;
    }
    bp__tree_leave(tree);
    return has_any;
}

/* How often a backend is asked to finish and to free. */
enum { N_TRIES = 4 };

static void free_pieces(bp_tree *tree, const bp__manager *manager,
                        bp_backend *backend)
{
    bp__poll_retirees(tree);
    for (int i = 0; i < N_TRIES && has_pieces(tree, manager); i++) {
        bp_status status = backend->table->synchronize(backend, NULL);
        (void)status; /* it is tried again, and then given up */
        bp__poll_retirees(tree);
    }
    bool has_any = true;
    while (has_any) {
        bp__mutex_lock(&tree->lock);
        bp__piece *piece = give_up_one_locked(tree, manager, &has_any);
        if (piece == NULL && has_any) {
            bp__wait_changed_locked(tree);
        }
        bp__tree_leave(tree);
        if (piece != NULL && !bp__backend_is_failed(backend)) {
            piece->copy = NULL; /* the device may still write to it */
        }
        bp__piece_free(tree, piece);
    }
}

/* The first to close it does; others wait until it is done. */
static bp__manager *begin_close_locked(bp_tree *tree, bp_slots handle)
{
    bp__manager *manager = bp__manager_get_locked(tree, handle);
    if (manager != NULL && !manager->is_closing) {
        manager->is_closing = true;
        bp__condition_broadcast(&tree->changed);
        return manager;
    }
    while (bp__manager_get_locked(tree, handle) != NULL) {
        bp__wait_changed_locked(tree);
    }
    return NULL;
}

void bp_slots_close(bp_tree *tree, bp_slots handle)
{
    if (bp__runtime_is_over() || !bp__tree_enter_if_ours(tree)) {
        return;
    }
    bp__manager *manager = begin_close_locked(tree, handle);
    bp_backend *backend = manager == NULL ? NULL : manager->backend;
    bp__tree_leave(tree);
    if (manager == NULL) {
        return;
    }
    close_all_slots(tree, manager, backend);
    free_pieces(tree, manager, backend);
    bp__mutex_lock(&tree->lock);
    bp__manager_free_locked(tree, manager);
    bp__condition_broadcast(&tree->changed);
    bp__tree_leave(tree);
    bp_backend_unref(backend);
}
