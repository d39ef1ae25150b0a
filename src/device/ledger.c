/* ledger.c - moving bytes between the fields of a budget and its parents. */
#include "device/ledger.h"

#include <assert.h>

bp__budget *bp__budget_get_locked(bp_tree *tree, bp_budget handle)
{
    return bp__handles_get(&tree->budgets, handle);
}

bool bp__round(uint64_t n, uint64_t granularity, uint64_t *out)
{
    uint64_t rounded;
    if (n == 0 || !bp_round_up(n, granularity, &rounded) ||
        rounded > INT64_MAX) {
        return false;
    }
    *out = rounded;
    return true;
}

bp__budget *bp__first_short_locked(bp__budget *leaf, uint64_t n)
{
    for (bp__budget *budget = leaf; budget != NULL; budget = budget->parent) {
        if (bp__available(budget) < n) {
            return budget;
        }
    }
    return NULL;
}

static uint64_t *field_of(bp__budget *budget, bp__field field)
{
    switch (field) {
    case BP__USED:
        return &budget->used;
    case BP__RESERVED:
        return &budget->reserved;
    case BP__RETIRING:
        return &budget->retiring;
    case BP__AVAILABLE:
        break;
    }
    return NULL;
}

void bp__move_one(bp__budget *budget, uint64_t n, bp__field from, bp__field to)
{
    uint64_t *source = field_of(budget, from);
    uint64_t *target = field_of(budget, to);
    if (source != NULL) {
        assert(*source >= n);
        *source -= n;
    }
    if (target != NULL) {
        *target += n;
    }
}

void bp__move(bp__budget *leaf, uint64_t n, bp__field from, bp__field to)
{
    for (bp__budget *budget = leaf; budget != NULL; budget = budget->parent) {
        bp__move_one(budget, n, from, to);
    }
}

static void note_change(bp_tree *tree, bp__budget *budget, uint64_t when)
{
    uint64_t in_use = bp__in_use(budget);
    if (in_use > budget->peak) {
        budget->peak = in_use;
    }
    if (in_use < budget->ceiling) {
        budget->ceiling = in_use > budget->limit ? in_use : budget->limit;
    }
    bp__history_note(budget, when);
    if (budget->watches != NULL) {
        bp__watches_look_locked(tree, budget);
    }
}

void bp__budget_changed_locked(bp_tree *tree, bp__budget *leaf,
                               bool is_admission)
{
    uint64_t when = bp__tree_tick(tree);
    for (bp__budget *budget = leaf; budget != NULL; budget = budget->parent) {
        note_change(tree, budget, when);
        if (!is_admission) {
            continue;
        }
        budget->n_charges++;
        if (budget->evict_at[0] != 0 &&
            bp__at_least(bp__in_use(budget), budget->limit,
                         budget->evict_at[0])) {
            if (!budget->is_reclaim_due) {
                budget->due_since = tree->generations + 1;
            }
            budget->is_reclaim_due = true;
            atomic_store_explicit(&tree->is_reclaim_due, true,
                                  memory_order_relaxed);
        }
    }
}
