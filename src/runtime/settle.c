/* settle.c - what was put off: work of finalisers, memory on its way out, and
 * budgets that are to be kept below their mark. */
#include "runtime/act.h"

static void close_budget(bp_tree *tree, bp_budget handle)
{
    if (bp__tree_enter_if_ours(tree)) {
        bp__budget_abandon_locked(tree, handle);
        bp__tree_leave(tree);
    }
}

static void run_deferred(bp_tree *tree)
{
    bp_deferred *work = bp__tree_take_deferred(tree);
    while (work != NULL) {
        bp_deferred *next = work->next;
        switch (work->what) {
        case BP_DEFER_USE_END:
            bp_slot_use_end(tree, work->handle, BP_NO_STREAM);
            break;
        case BP_DEFER_HOST_USE_END:
            bp_slot_use_end(tree, work->handle, BP_HOST_ONLY);
            break;
        case BP_DEFER_RESERVATION_CLOSE:
            bp_reservation_close(tree, work->handle);
            break;
        case BP_DEFER_SLOTS_CLOSE:
            bp_slots_close(tree, work->handle);
            break;
        case BP_DEFER_BUDGET_CLOSE:
            close_budget(tree, work->handle);
            break;
        default:
            break;
        }
        bp_deferred_free(tree, work);
        work = next;
    }
}

/* ---- evict_at ---------------------------------------------------------- */

/* `percent` of a limit below 2^63, without overflow. */
static uint64_t part_of(uint64_t limit, uint64_t percent)
{
    return limit / 100 * percent + limit % 100 * percent / 100;
}

/* The next budget that asks for it, which is not asked again. */
static bp__budget *take_due_locked(bp_tree *tree)
{
    bp__budget *budget;
    for (size_t i = 0; (budget = bp__handles_next(&tree->budgets, &i)) != NULL;
         i++) {
        if (budget->is_reclaim_due) {
            budget->is_reclaim_due = false;
            return budget;
        }
    }
    return NULL;
}

/* As far as it goes: what fails stays where it is. */
static void reclaim_due(bp_tree *tree)
{
    bp__mutex_lock(&tree->lock);
    atomic_store_explicit(&tree->is_reclaim_due, false, memory_order_relaxed);
    const bp__budget *budget;
    while ((budget = take_due_locked(tree)) != NULL) {
        bp__reclaim down = {.budget = budget->handle,
                            .target =
                                part_of(budget->limit, budget->evict_at[1]),
                            .before = budget->due_since,
                            .cause = BP_CAUSE_PRESSURE};
        bp_status status = bp__reclaim_locked(tree, &down, NULL);
        (void)status;
        bp__await_batch_locked(tree, down.ticket);
    }
    bp__tree_leave(tree);
}

void bp_tree_settle(bp_tree *tree)
{
    if (bp__runtime_is_over() || !bp_tree_is_ours(tree)) {
        return;
    }
    run_deferred(tree);
    bp__poll_retirees(tree);
    bp__poll_busy(tree);
    if (atomic_load_explicit(&tree->is_reclaim_due, memory_order_relaxed)) {
        reclaim_due(tree);
    }
}
