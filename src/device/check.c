/* check.c - every invariant of a tree. Each field of each budget is added up
 * from the owners of its bytes, and has to be what the budget says. */
#include "device/claim.h"
#include "device/ledger.h"
#include "device/slots.h"

#include <inttypes.h>

/* ---- adding up --------------------------------------------------------- */

/* An owner's bytes count in its leaf and in all parents of it. */
static void add(bp__budget *leaf, uint64_t n, bp__field field)
{
    for (bp__budget *budget = leaf; budget != NULL; budget = budget->parent) {
        budget->sums.used += field == BP__USED ? n : 0;
        budget->sums.reserved += field == BP__RESERVED ? n : 0;
        budget->sums.retiring += field == BP__RETIRING ? n : 0;
    }
}

static void add_budgets(bp_tree *tree)
{
    size_t i = 0;
    for (bp__budget *budget;
         (budget = bp__handles_next(&tree->budgets, &i)) != NULL; i++) {
        budget->sums = (bp__sums){0};
    }
    i = 0;
    for (bp__budget *budget;
         (budget = bp__handles_next(&tree->budgets, &i)) != NULL; i++) {
        add(budget, bp__tags_sum_locked(budget), BP__USED);
        if (budget->parent != NULL) {
            budget->parent->sums.n_children++;
        }
    }
}

static void add_promises(bp_tree *tree)
{
    size_t i = 0;
    for (const bp__reservation *reservation;
         (reservation = bp__handles_next(&tree->reservations, &i)) != NULL;
         i++) {
        add(reservation->budget, reservation->n_left, BP__RESERVED);
        reservation->budget->sums.n_reservations++;
    }
    for (const bp__claim *claim = tree->claims; claim != NULL;
         claim = claim->next) {
        for (bp__budget *budget = claim->budget; budget != NULL;
             budget = budget->parent) {
            budget->sums.reserved += claim->held[budget->depth];
        }
    }
}

static void add_blocks(bp_tree *tree)
{
    size_t i = 0;
    for (const bp__slot *slot;
         (slot = bp__handles_next(&tree->slots, &i)) != NULL; i++) {
        if (slot->block != NULL) {
            add(slot->block->budget, slot->block->n_charged,
                slot->state == BP_SLOT_EVICTING ? BP__RETIRING : BP__USED);
        }
    }
    for (const bp__block *block = tree->retirees; block != NULL;
         block = block->next) {
        add(block->budget, block->n_charged, BP__RETIRING);
    }
}

static void add_holders(bp_tree *tree)
{
    size_t i = 0;
    for (const bp__manager *manager;
         (manager = bp__handles_next(&tree->managers, &i)) != NULL; i++) {
        manager->budget->sums.n_managers++;
    }
    i = 0;
    for (const bp__watch *watch;
         (watch = bp__handles_next(&tree->watches, &i)) != NULL; i++) {
        watch->budget->sums.n_watches++;
    }
}

/* ---- one budget -------------------------------------------------------- */

static bp_status broken(bp_error *error, const bp__budget *budget,
                        const char *fault)
{
    if (budget == NULL) {
        return bp_fail(error, BP_INTERNAL, "broken: %s", fault);
    }
    return bp_fail(error, BP_INTERNAL, "broken in budget %u ('%s'): %s",
                   (unsigned)(uint32_t)budget->handle,
                   budget->name == NULL ? "" : bp_key_text(budget->name),
                   fault);
}

static bp_status broken_sum(bp_error *error, const bp__budget *budget,
                            const char *field, uint64_t figure, uint64_t sum)
{
    bp_status status =
        bp_fail(error, BP_INTERNAL,
                "broken in budget %u ('%s'): %s is %" PRIu64
                " bytes, but its owners have %" PRIu64,
                (unsigned)(uint32_t)budget->handle,
                budget->name == NULL ? "" : bp_key_text(budget->name), field,
                figure, sum);
    bp_error_numbers(error, figure, sum);
    return status;
}

static bp_status check_sums(const bp__budget *budget, bp_error *error)
{
    const bp__sums *sums = &budget->sums;
    if (budget->used != sums->used) {
        return broken_sum(error, budget, "used", budget->used, sums->used);
    }
    if (budget->reserved != sums->reserved) {
        return broken_sum(error, budget, "reserved", budget->reserved,
                          sums->reserved);
    }
    if (budget->retiring != sums->retiring) {
        return broken_sum(error, budget, "retiring", budget->retiring,
                          sums->retiring);
    }
    return BP_OK;
}

static const char *fault_in_budget(const bp_tree *tree,
                                   const bp__budget *budget)
{
    const bp__sums *sums = &budget->sums;
    const bp__budget *parent = budget->parent;
    uint64_t in_use = bp__in_use(budget);
    if (bp__handles_get(&tree->budgets, budget->handle) != budget) {
        return "its handle is another's";
    }
    if (parent == NULL
            ? budget->depth != 0
            : budget->depth != parent->depth + 1 ||
                  bp__handles_get(&tree->budgets, parent->handle) != parent) {
        return "it does not hang where it says";
    }
    if (budget->n_children != sums->n_children ||
        budget->n_managers != sums->n_managers ||
        budget->n_reservations != sums->n_reservations ||
        budget->n_watches != sums->n_watches) {
        return "children, managers, reservations or watches are miscounted";
    }
    if (budget->limit > INT64_MAX || budget->ceiling < budget->limit ||
        in_use > budget->ceiling) {
        return "more is in use than was ever allowed";
    }
    if (in_use > budget->peak) {
        return "the peak is below what is in use";
    }
    const char *fault = bp__tags_check_locked(budget);
    return fault != NULL ? fault : bp__history_check_locked(budget);
}

static const char *fault_in_watches(const bp__budget *budget, uint64_t *n_edges)
{
    uint64_t last = 0;
    for (const bp__watch *watch = budget->watches; watch != NULL;
         watch = watch->next) {
        if (watch->budget != budget || watch->order <= last) {
            return "the watches are out of order";
        }
        if (watch->n_edges > BP__MAX_EDGES || bp__watch_is_due(watch)) {
            return "a watch missed an edge";
        }
        last = watch->order;
        *n_edges += watch->n_edges;
    }
    return NULL;
}

/* ---- the whole --------------------------------------------------------- */

static bp_status check_budgets(bp_tree *tree, bp_error *error)
{
    uint64_t n_edges = 0;
    uint32_t n_abandoned = 0;
    size_t i = 0;
    for (const bp__budget *budget;
         (budget = bp__handles_next(&tree->budgets, &i)) != NULL; i++) {
        bp_status status = check_sums(budget, error);
        if (status != BP_OK) {
            return status;
        }
        const char *fault = fault_in_budget(tree, budget);
        if (fault == NULL) {
            fault = fault_in_watches(budget, &n_edges);
        }
        if (fault != NULL) {
            return broken(error, budget, fault);
        }
        n_abandoned += budget->is_abandoned;
    }
    if (n_edges != atomic_load(&tree->n_edges)) {
        return broken(error, NULL, "edges are miscounted");
    }
    return n_abandoned == tree->n_abandoned
               ? BP_OK
               : broken(error, NULL, "abandoned budgets are miscounted");
}

static const char *fault_in_retirees(const bp_tree *tree)
{
    uint32_t n = 0;
    bp__block *const *end = &tree->retirees;
    for (const bp__block *block = tree->retirees; block != NULL;
         block = block->next) {
        end = &block->next;
        n++;
    }
    return end == (bp__block *const *)tree->retirees_end &&
                   n == atomic_load(&tree->n_retirees)
               ? NULL
               : "the list of retirees";
}

static const char *fault_in_handles(const bp_tree *tree)
{
    return bp__handles_check(&tree->budgets) &&
                   bp__handles_check(&tree->reservations) &&
                   bp__handles_check(&tree->watches) &&
                   bp__handles_check(&tree->managers) &&
                   bp__handles_check(&tree->slots)
               ? NULL
               : "a table of handles";
}

static const char *fault_in_slots(const bp_tree *tree)
{
    size_t n_slots = 0;
    size_t i = 0;
    for (const bp__manager *manager;
         (manager = bp__handles_next(&tree->managers, &i)) != NULL; i++) {
        const char *fault = bp__manager_check_locked(tree, manager);
        if (fault != NULL) {
            return fault;
        }
        n_slots += manager->n_slots;
    }
    return n_slots == tree->slots.n_items ? NULL : "a slot without a manager";
}

static bp_status check_locked(bp_tree *tree, bp_error *error)
{
    const char *fault = fault_in_handles(tree);
    if (fault == NULL) {
        fault = fault_in_retirees(tree);
    }
    if (fault == NULL) {
        fault = fault_in_slots(tree);
    }
    if (fault == NULL) {
        fault = bp__claims_check_locked(tree);
    }
    if (fault == NULL) {
        fault = bp__log_check_locked(&tree->log);
    }
    if (fault != NULL) {
        return broken(error, NULL, fault);
    }
    add_budgets(tree);
    add_promises(tree);
    add_blocks(tree);
    add_holders(tree);
    return check_budgets(tree, error);
}

bp_status bp_tree_check(bp_tree *tree, bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    status = check_locked(tree, error);
    bp__tree_leave(tree);
    return status;
}
