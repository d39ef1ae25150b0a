/* charges.c - used bytes that the caller counts by itself, and limits. */
#include "device/claim.h"
#include "device/ledger.h"

#include <inttypes.h>

bp_status bp__refuse_size(bp_error *error, uint64_t n_bytes)
{
    bp_status status =
        n_bytes == 0
            ? bp_fail(error, BP_BAD_SIZE,
                      "0 bytes can be neither charged nor "
                      "reserved nor refunded")
            : bp_fail(error, BP_BAD_SIZE,
                      "%" PRIu64 " bytes, rounded up, are 2^63 or more",
                      n_bytes);
    bp_error_numbers(error, n_bytes, (uint64_t)INT64_MAX);
    return status;
}

bp_status bp__ask_room_locked(bp_tree *tree, bp__budget *budget,
                              uint64_t n_bytes, uint64_t *rounded,
                              bp_shortage *shortage, bp_error *error)
{
    if (!bp__round(n_bytes, budget->granularity, rounded)) {
        return bp__refuse_size(error, n_bytes);
    }
    bp__budget *refuser = bp__first_short_locked(budget, *rounded);
    if (refuser != NULL) {
        return bp__refuse_room_locked(tree, refuser, NULL, *rounded, shortage,
                                      error);
    }
    return BP_OK;
}

static bp_status charge_locked(bp_tree *tree, bp_budget handle,
                               uint64_t n_bytes, const char *tag,
                               bp_shortage *shortage, bp_error *error)
{
    bp__budget *budget = bp__budget_get_locked(tree, handle);
    if (budget == NULL) {
        return bp__refuse_stale(error, "budget");
    }
    uint64_t n;
    bp_status status =
        bp__ask_room_locked(tree, budget, n_bytes, &n, shortage, error);
    if (status != BP_OK) {
        return status;
    }
    uint64_t *tagged;
    status = bp__tag_make_locked(tree, budget, tag, &tagged, error);
    if (status != BP_OK) {
        return status;
    }
    *tagged += n;
    bp__move(budget, n, BP__AVAILABLE, BP__USED);
    bp__budget_changed_locked(tree, budget, true);
    return BP_OK;
}

bp_status bp_budget_charge(bp_tree *tree, bp_budget budget, uint64_t n_bytes,
                           const char *tag, bp_shortage *shortage,
                           bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    status = charge_locked(tree, budget, n_bytes, tag, shortage, error);
    bp__tree_leave(tree);
    return status;
}

static bp_status refuse_refund(bp_error *error, uint64_t n, const char *tag,
                               uint64_t charged)
{
    bp_status status =
        tag == NULL ? bp_fail(error, BP_BAD_VALUE,
                              "a refund of %" PRIu64 " bytes, but %" PRIu64
                              " are charged under no tag",
                              n, charged)
                    : bp_fail(error, BP_BAD_VALUE,
                              "a refund of %" PRIu64 " bytes, but %" PRIu64
                              " are charged under '%s'",
                              n, charged, tag);
    bp_error_numbers(error, n, charged);
    return status;
}

static bp_status refund_locked(bp_tree *tree, bp_budget handle,
                               uint64_t n_bytes, const char *tag,
                               bp_error *error)
{
    bp__budget *budget = bp__budget_get_locked(tree, handle);
    if (budget == NULL) {
        return bp__refuse_stale(error, "budget");
    }
    if (n_bytes == 0) {
        return bp__refuse_size(error, 0);
    }
    uint64_t *tagged = bp__tag_bytes_locked(budget, tag);
    uint64_t charged = tagged == NULL ? 0 : *tagged;
    uint64_t n;
    if (!bp__round(n_bytes, budget->granularity, &n) || n > charged) {
        return refuse_refund(error, n_bytes, tag, charged);
    }
    *tagged -= n;
    bp__move(budget, n, BP__USED, BP__AVAILABLE);
    bp__budget_changed_locked(tree, budget, false);
    bp__condition_broadcast(&tree->changed);
    return BP_OK;
}

bp_status bp_budget_refund(bp_tree *tree, bp_budget budget, uint64_t n_bytes,
                           const char *tag, bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    status = refund_locked(tree, budget, n_bytes, tag, error);
    bp__tree_leave(tree);
    return status;
}

static void set_limit_locked(bp_tree *tree, bp__budget *budget, uint64_t limit)
{
    uint64_t in_use = bp__in_use(budget);
    bool is_more = limit > budget->limit;
    budget->limit = limit;
    budget->ceiling = in_use > limit ? in_use : limit;
    bp__budget_changed_locked(tree, budget, false);
    if (is_more) {
        bp__condition_broadcast(&tree->changed);
    }
}

bp_status bp_budget_set_limit(bp_tree *tree, bp_budget handle, uint64_t limit,
                              bool *is_deferred, bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    bp__budget *budget = bp__budget_get_locked(tree, handle);
    if (budget == NULL) {
        status = bp__refuse_stale(error, "budget");
    } else {
        status = bp__refuse_limit(error, limit);
    }
    if (status == BP_OK) {
        set_limit_locked(tree, budget, limit);
        *is_deferred = bp__in_use(budget) > limit;
    }
    bp__tree_leave(tree);
    return status;
}
