/* trim.c - room for its own sake: make_room, trim, and what the device says. */
#include "runtime/act.h"

/* ---- make_room --------------------------------------------------------- */

static bp_status make_room_locked(bp__room *room, bp__budget *budget,
                                  uint64_t n_bytes, bp_error *error)
{
    uint64_t need;
    if (!bp__round(n_bytes, budget->granularity, &need)) {
        bp_status status =
            bp_fail(error, BP_BAD_SIZE, "%llu bytes cannot be made room for",
                    (unsigned long long)n_bytes);
        bp_error_numbers(error, n_bytes, INT64_MAX);
        return status;
    }
    bp__claim_begin_locked(room->tree, room->claim, budget, need, NULL);
    bp_status status = bp__room_make_locked(room, error);
    if (status == BP_OK) {
        bp__claim_abort_locked(room->tree, room->claim);
    }
    return status;
}

bp_status bp_budget_make_room(bp_tree *tree, bp_budget handle, bp_slots slots,
                              uint64_t n_bytes, const bp_wait *wait,
                              uint64_t *freed, bp_shortage *shortage,
                              bp_error *error)
{
    bp_status status = bp__act_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    bp__claim claim;
    bp__room room = {.tree = tree,
                     .claim = &claim,
                     .only = slots,
                     .wait = wait,
                     .shortage = shortage};
    bp__budget *budget = bp__budget_get_locked(tree, handle);
    if (budget == NULL) {
        status = bp__refuse_stale(error, "budget");
    } else if (slots != BP_NO_SLOTS &&
               bp__manager_get_locked(tree, slots) == NULL) {
        status = bp__refuse_stale(error, "slot manager");
    } else if (n_bytes != 0) {
        status = make_room_locked(&room, budget, n_bytes, error);
    }
    bp__tree_leave(tree);
    if (status == BP_DEVICE_FAULT) {
        bp__release_failed(tree);
    }
    if (status == BP_OK && freed != NULL) {
        *freed = room.n_evicted;
    }
    return status;
}

/* ---- trim -------------------------------------------------------------- */

static bool is_under(const bp__budget *leaf, const bp__budget *budget)
{
    while (leaf != NULL && leaf != budget) {
        leaf = leaf->parent;
    }
    return leaf == budget;
}

/* The backend of the first manager under `budget` from *index on, referred to
 * once more; NULL: there is none. */
static bp_backend *next_backend_locked(bp_tree *tree, const bp__budget *budget,
                                       size_t *index)
{
    const bp__manager *manager;
    while ((manager = bp__handles_next(&tree->managers, index)) != NULL) {
        ++*index;
        if (is_under(manager->budget, budget)) {
            return bp_backend_ref(manager->backend);
        }
    }
    return NULL;
}

static bp_backend *next_backend(bp_tree *tree, bp_budget handle, size_t *index)
{
    bp__mutex_lock(&tree->lock);
    const bp__budget *budget = bp__budget_get_locked(tree, handle);
    bp_backend *backend =
        budget == NULL ? NULL : next_backend_locked(tree, budget, index);
    bp__tree_leave(tree);
    return backend;
}

static bp_status trim_backends(bp_tree *tree, bp_budget handle, bp_error *error)
{
    bp_backend *backend;
    size_t index = 0;
    while ((backend = next_backend(tree, handle, &index)) != NULL) {
        bp_status status = bp__backend_check(tree, backend, error);
        if (status == BP_OK) {
            (void)backend->table->trim(backend);
        }
        bp_backend_unref(backend);
        if (status != BP_OK) {
            return status;
        }
    }
    return BP_OK;
}

/* used + retiring. */
static bp_status weigh(bp_tree *tree, bp_budget handle, uint64_t *out,
                       uint64_t *limit, bp_error *error)
{
    bp_status status = bp__act_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    const bp__budget *budget = bp__budget_get_locked(tree, handle);
    if (budget == NULL) {
        status = bp__refuse_stale(error, "budget");
    } else {
        *out = budget->used + budget->retiring;
        *limit = budget->limit;
    }
    bp__tree_leave(tree);
    return status;
}

bp_status bp_budget_trim(bp_tree *tree, bp_budget handle, uint64_t *freed,
                         bp_error *error)
{
    uint64_t before = 0, after = 0, limit = 0;
    bp_status status = weigh(tree, handle, &before, &limit, error);
    if (status != BP_OK) {
        return status;
    }
    bp__poll_retirees(tree);
    bp__poll_busy(tree);
    status = trim_backends(tree, handle, error);
    if (status != BP_OK) {
        return status;
    }
    bp__reclaim down = {
        .budget = handle, .target = limit, .cause = BP_CAUSE_LIMIT};
    bp__mutex_lock(&tree->lock);
    status = bp__reclaim_locked(tree, &down, error);
    bp__await_batch_locked(tree, down.ticket);
    bp__tree_leave(tree);
    if (status == BP_DEVICE_FAULT) {
        bp__release_failed(tree);
    }
    if (status == BP_OK) {
        status = weigh(tree, handle, &after, &limit, error);
    }
    if (status == BP_OK && freed != NULL) {
        *freed = before > after ? before - after : 0;
    }
    return status;
}

/* ---- what the device says ------------------------------------------------ */

bp_status bp_budget_observe(bp_tree *tree, bp_budget handle,
                            bp_observation *out, bp_error *error)
{
    bp_status status = bp__act_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    size_t index = 0;
    bp_backend *backend = NULL;
    const bp__budget *budget = bp__budget_get_locked(tree, handle);
    *out = (bp_observation){.free = 0};
    if (budget == NULL) {
        status = bp__refuse_stale(error, "budget");
    } else {
        out->tracked = bp__in_use(budget) + budget->cached;
        backend = next_backend_locked(tree, budget, &index);
    }
    bp__tree_leave(tree);
    if (status == BP_OK && backend == NULL) {
        status = bp_fail(error, BP_NO_DEVICE,
                         "no slot manager of this budget has a device to ask");
    }
    if (status == BP_OK) {
        status = bp__backend_check(tree, backend, error);
    }
    if (status == BP_OK) {
        bp_backend_info info;
        bp_backend_get_info(backend, &info);
        out->free = info.free;
        out->total = info.total;
        uint64_t n_used = info.total - info.free;
        if (info.total != UINT64_MAX && n_used > out->tracked) {
            out->untracked = n_used - out->tracked;
        }
    }
    bp_backend_unref(backend);
    return status;
}
