/* reservations.c - bytes promised to somebody who will ask for them later. */
#include "device/ledger.h"

#include "base/alloc.h"
#include "base/text.h"

static bp_status reserve_locked(bp_tree *tree, bp_budget handle,
                                uint64_t n_bytes, bp_reservation *out,
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
    bp__reservation *reservation = NULL;
    if (bp__handles_reserve(&tree->reservations, &tree->alloc)) {
        reservation = bp__alloc_array(&tree->alloc, 1, sizeof *reservation);
    }
    if (reservation == NULL) {
        return bp__refuse_memory_of(error, "a reservation");
    }
    reservation->handle = bp__handles_add(&tree->reservations, reservation);
    reservation->budget = budget;
    reservation->n_left = n;
    budget->n_reservations++;
    bp__move(budget, n, BP__AVAILABLE, BP__RESERVED);
    bp__budget_changed_locked(tree, budget, true);
    *out = reservation->handle;
    return BP_OK;
}

bp_status bp_budget_reserve(bp_tree *tree, bp_budget budget, uint64_t n_bytes,
                            bp_reservation *out, bp_shortage *shortage,
                            bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    status = reserve_locked(tree, budget, n_bytes, out, shortage, error);
    bp__tree_leave(tree);
    return status;
}

/* More is asked of it than it has. */
static bp_status refuse_rest(const bp__reservation *reservation, uint64_t n,
                             bp_error *error)
{
    char asked[BP__GROUPED_BYTES], left[BP__GROUPED_BYTES];
    const bp_key *name = reservation->budget->name;
    bp_status status =
        bp_fail(error, BP_BUDGET_EXCEEDED,
                "%s bytes asked of a reservation%s%.80s%s that has %s left",
                bp__grouped(n, asked), name == NULL ? "" : " of budget '",
                name == NULL ? "" : bp_key_text(name), name == NULL ? "" : "'",
                bp__grouped(reservation->n_left, left));
    bp_error_numbers(error, n, reservation->n_left);
    return status;
}

static bp_status take_locked(bp_tree *tree, bp_reservation handle,
                             uint64_t n_bytes, const char *tag, bp_error *error)
{
    bp__reservation *reservation = bp__handles_get(&tree->reservations, handle);
    if (reservation == NULL) {
        return bp__refuse_stale(error, "reservation");
    }
    bp__budget *budget = reservation->budget;
    uint64_t n;
    if (!bp__round(n_bytes, budget->granularity, &n)) {
        return bp__refuse_size(error, n_bytes);
    }
    if (n > reservation->n_left) {
        return refuse_rest(reservation, n, error);
    }
    uint64_t *tagged;
    bp_status status = bp__tag_make_locked(tree, budget, tag, &tagged, error);
    if (status != BP_OK) {
        return status;
    }
    *tagged += n;
    reservation->n_left -= n;
    bp__move(budget, n, BP__RESERVED, BP__USED);
    bp__budget_changed_locked(tree, budget, false);
    return BP_OK;
}

bp_status bp_reservation_take(bp_tree *tree, bp_reservation reservation,
                              uint64_t n_bytes, const char *tag,
                              bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    status = take_locked(tree, reservation, n_bytes, tag, error);
    bp__tree_leave(tree);
    return status;
}

uint64_t bp_reservation_left(bp_tree *tree, bp_reservation handle)
{
    if (!bp__tree_enter_if_ours(tree)) {
        return 0;
    }
    const bp__reservation *reservation =
        bp__handles_get(&tree->reservations, handle);
    uint64_t n_left = reservation == NULL ? 0 : reservation->n_left;
    bp__tree_leave(tree);
    return n_left;
}

void bp_reservation_close(bp_tree *tree, bp_reservation handle)
{
    if (!bp__tree_enter_if_ours(tree)) {
        return;
    }
    bp__reservation *reservation =
        bp__handles_remove(&tree->reservations, handle);
    if (reservation != NULL) {
        /* A claim that began with its bytes keeps them: what it will not need
         * becomes available. */
        bp__budget *budget = reservation->budget;
        budget->n_reservations--;
        bp__move(budget, reservation->n_left, BP__RESERVED, BP__AVAILABLE);
        bp__free_array(&tree->alloc, reservation, 1, sizeof *reservation);
        bp__budget_changed_locked(tree, budget, false);
        bp__condition_broadcast(&tree->changed);
    }
    bp__tree_leave(tree);
}
