/* watches.c - edges of pressure. Nothing is allocated when one happens: edges
 * of one watch alternate, so a count says which ones they were. */
#include "device/ledger.h"

#include "base/alloc.h"

/* ---- seeing ------------------------------------------------------------ */

static uint32_t percent_of(const bp__watch *watch)
{
    return watch->budget->levels.percent[watch->level - 1];
}

static bool has_fallen(const bp__watch *watch)
{
    const bp__budget *budget = watch->budget;
    uint64_t in_use = bp__in_use(budget);
    uint32_t percent = percent_of(watch);
    if (budget->limit == 0) {
        return false; /* CRITICAL, whatever is in use */
    }
    return budget->release < percent
               ? !bp__at_least(in_use, budget->limit, percent - budget->release)
               : in_use == 0;
}

bool bp__watch_is_due(const bp__watch *watch)
{
    return watch->is_above
               ? has_fallen(watch)
               : bp__at_least(bp__in_use(watch->budget), watch->budget->limit,
                              percent_of(watch));
}

static void look(bp_tree *tree, bp__watch *watch)
{
    if (!bp__watch_is_due(watch)) {
        return;
    }
    watch->is_above = !watch->is_above;
    uint64_t n_new = 1;
    if (watch->n_edges == BP__MAX_EDGES) {
        watch->n_edges -= 2; /* the oldest pair: the rest still alternates */
        n_new -= 2;
    }
    watch->n_edges++;
    atomic_fetch_add_explicit(&tree->n_edges, n_new, memory_order_relaxed);
}

void bp__watches_look_locked(bp_tree *tree, bp__budget *budget)
{
    for (bp__watch *watch = budget->watches; watch != NULL;
         watch = watch->next) {
        look(tree, watch);
    }
}

/* ---- open and close ---------------------------------------------------- */

static bp_status open_locked(bp_tree *tree, bp__budget *budget,
                             bp_pressure level, bp_watch *out, bp_error *error)
{
    bp__watch *watch = NULL;
    if (bp__handles_reserve(&tree->watches, &tree->alloc)) {
        watch = bp__alloc_array(&tree->alloc, 1, sizeof *watch);
    }
    if (watch == NULL) {
        return bp__refuse_memory_of(error, "a watch");
    }
    watch->handle = bp__handles_add(&tree->watches, watch);
    watch->budget = budget;
    watch->level = level;
    watch->order = ++tree->orders;
    bp__watch **end = &budget->watches;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = watch;
    budget->n_watches++;
    look(tree, watch);
    *out = watch->handle;
    return BP_OK;
}

bp_status bp_watch_open(bp_tree *tree, bp_budget handle, bp_pressure level,
                        bp_watch *out, bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    bp__budget *budget = bp__budget_get_locked(tree, handle);
    if (budget == NULL) {
        status = bp__refuse_stale(error, "budget");
    } else if ((int)level <= BP_LOW || (int)level >= BP_N_PRESSURES) {
        status = bp_fail(error, BP_BAD_VALUE,
                         "%s is no level to watch: only MEDIUM, HIGH and "
                         "CRITICAL are crossed",
                         bp_pressure_name(level));
    } else {
        status = open_locked(tree, budget, level, out, error);
    }
    bp__tree_leave(tree);
    return status;
}

/* Its place in the budget's list is the caller's to mend. */
static void free_watch(bp_tree *tree, bp__watch *watch)
{
    atomic_fetch_sub_explicit(&tree->n_edges, watch->n_edges,
                              memory_order_relaxed);
    watch->budget->n_watches--;
    (void)bp__handles_remove(&tree->watches, watch->handle);
    bp__free_array(&tree->alloc, watch, 1, sizeof *watch);
}

void bp__watches_close_all_locked(bp_tree *tree, bp__budget *budget)
{
    while (budget->watches != NULL) {
        bp__watch *watch = budget->watches;
        budget->watches = watch->next;
        free_watch(tree, watch);
    }
}

void bp_watch_close(bp_tree *tree, bp_watch handle)
{
    if (!bp__tree_enter_if_ours(tree)) {
        return;
    }
    bp__watch *watch = bp__handles_get(&tree->watches, handle);
    if (watch != NULL) {
        bp__watch **place = &watch->budget->watches;
        while (*place != watch) {
            place = &(*place)->next;
        }
        *place = watch->next;
        free_watch(tree, watch);
    }
    bp__tree_leave(tree);
}

/* ---- taking ------------------------------------------------------------ */

bool bp_tree_has_edges(const bp_tree *tree)
{
    return atomic_load_explicit(&tree->n_edges, memory_order_relaxed) != 0;
}

static bp__watch *oldest_with_edges(const bp_tree *tree)
{
    bp__watch *oldest = NULL;
    size_t i = 0;
    for (bp__watch *watch;
         (watch = bp__handles_next(&tree->watches, &i)) != NULL; i++) {
        if (watch->n_edges != 0 &&
            (oldest == NULL || watch->order < oldest->order)) {
            oldest = watch;
        }
    }
    return oldest;
}

bool bp_tree_take_edge(bp_tree *tree, bp_edge *out)
{
    if (!bp_tree_has_edges(tree) || !bp__tree_enter_if_ours(tree)) {
        return false;
    }
    bp__watch *watch = oldest_with_edges(tree);
    if (watch != NULL) {
        /* The last one led to is_above, and they alternate. */
        bool is_rising =
            watch->n_edges % 2 == 1 ? watch->is_above : !watch->is_above;
        *out = (bp_edge){watch->handle, watch->budget->handle, watch->level,
                         is_rising};
        watch->n_edges--;
        atomic_fetch_sub_explicit(&tree->n_edges, 1, memory_order_relaxed);
    }
    bp__tree_leave(tree);
    return watch != NULL;
}
