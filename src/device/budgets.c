/* budgets.c - budgets open, tell how they are, and close. */
#include "device/ledger.h"

#include "base/alloc.h"
#include "base/text.h"

#include <assert.h>
#include <inttypes.h>

bp_budget_options bp_budget_defaults(uint64_t limit)
{
    return (bp_budget_options){.limit = limit,
                               .levels = BP_DEFAULT_LEVELS,
                               .release = BP_DEFAULT_RELEASE,
                               .granularity = 1};
}

/* ---- open -------------------------------------------------------------- */

bp_status bp__refuse_limit(bp_error *error, uint64_t limit)
{
    if (limit <= INT64_MAX) {
        return BP_OK;
    }
    bp_status status =
        bp_fail(error, BP_BAD_VALUE,
                "a limit of %" PRIu64 " bytes is 2^63 or more", limit);
    bp_error_numbers(error, limit, (uint64_t)INT64_MAX);
    return status;
}

static bp_status check_percents(const bp_budget_options *options,
                                bp_error *error)
{
    const uint8_t *level = options->levels.percent;
    if (level[0] < 1 || level[0] >= level[1] || level[1] >= level[2] ||
        level[2] > 100) {
        return bp_fail(error, BP_BAD_VALUE,
                       "levels %u, %u, %u are not three percents that ascend "
                       "from 1 or more to 100 or less",
                       level[0], level[1], level[2]);
    }
    if (options->release > 100) {
        return bp_fail(error, BP_BAD_VALUE, "a release of %u is above 100 %%",
                       options->release);
    }
    const uint8_t *evict_at = options->evict_at;
    if (evict_at[0] > 100 || evict_at[1] > evict_at[0]) {
        return bp_fail(error, BP_BAD_VALUE,
                       "evict_at %u, %u are not two percents of which the "
                       "second is no more than the first",
                       evict_at[0], evict_at[1]);
    }
    return BP_OK;
}

static bp_status check_options(const bp_budget_options *options,
                               bp_error *error)
{
    bp_status status = check_percents(options, error);
    if (status == BP_OK) {
        status = bp__refuse_limit(error, options->limit);
    }
    if (status == BP_OK && !bp_is_power_of_two(options->granularity)) {
        status = bp_fail(error, BP_BAD_VALUE,
                         "a granularity of %" PRIu64 " is no power of two",
                         options->granularity);
    }
    return status;
}

static bp_status find_parent_locked(bp_tree *tree, bp_budget handle,
                                    bp__budget **out, bp_error *error)
{
    *out = NULL;
    if (handle == BP_NO_BUDGET) {
        return BP_OK;
    }
    *out = bp__budget_get_locked(tree, handle);
    if (*out == NULL) {
        return bp__refuse_stale(error, "parent");
    }
    if ((*out)->depth + 1 >= BP_MAX_BUDGET_DEPTH) {
        return bp_fail(error, BP_BAD_VALUE,
                       "budgets are nested %u deep at most",
                       BP_MAX_BUDGET_DEPTH);
    }
    return BP_OK;
}

static bool budget_init(bp_tree *tree, bp__budget *budget,
                        const bp_budget_options *options, bp__budget *parent)
{
    budget->parent = parent;
    budget->depth = parent == NULL ? 0 : parent->depth + 1;
    budget->limit = budget->ceiling = options->limit;
    budget->granularity = options->granularity;
    budget->levels = options->levels;
    budget->release = options->release;
    budget->evict_at[0] = options->evict_at[0];
    budget->evict_at[1] = options->evict_at[1];
    if (options->name != NULL) {
        budget->name = bp__key_new(&tree->alloc, options->name);
        if (budget->name == NULL) {
            return false;
        }
    }
    return bp__history_init(tree, budget, options->n_history);
}

static bp_status open_locked(bp_tree *tree, const bp_budget_options *options,
                             bp_budget *out, bp_error *error)
{
    bp__budget *parent;
    bp_status status =
        find_parent_locked(tree, options->parent, &parent, error);
    if (status != BP_OK) {
        return status;
    }
    bp__budget *budget = NULL;
    if (bp__handles_reserve(&tree->budgets, &tree->alloc)) {
        budget = bp__alloc_array(&tree->alloc, 1, sizeof *budget);
    }
    if (budget == NULL || !budget_init(tree, budget, options, parent)) {
        bp__budget_free(tree, budget);
        return bp__refuse_memory_of(error, "a budget");
    }
    budget->handle = bp__handles_add(&tree->budgets, budget);
    if (parent != NULL) {
        parent->n_children++;
    }
    *out = budget->handle;
    return BP_OK;
}

bp_status bp_budget_open(bp_tree *tree, const bp_budget_options *options,
                         bp_budget *out, bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    status = check_options(options, error);
    if (status == BP_OK) {
        status = open_locked(tree, options, out, error);
    }
    bp__tree_leave(tree);
    return status;
}

/* ---- close ------------------------------------------------------------- */

void bp__budget_free(bp_tree *tree, bp__budget *budget)
{
    if (budget == NULL) {
        return;
    }
    bp__key_unref(budget->name);
    bp__tags_fini(tree, budget);
    bp__history_fini(tree, budget);
    bp__free_array(&tree->alloc, budget, 1, sizeof *budget);
}

static bool is_held(const bp_tree *tree, const bp__budget *budget)
{
    for (const bp__claim *claim = tree->claims; claim != NULL;
         claim = claim->next) {
        if (claim->budget == budget) {
            return true;
        }
    }
    return budget->n_children != 0 || budget->n_managers != 0 ||
           budget->n_reservations != 0 || bp__in_use(budget) != 0;
}

static void close_locked(bp_tree *tree, bp__budget *budget)
{
    bp__watches_close_all_locked(tree, budget);
    if (budget->parent != NULL) {
        budget->parent->n_children--;
    }
    if (budget->is_abandoned) {
        tree->n_abandoned--;
    }
    (void)bp__handles_remove(&tree->budgets, budget->handle);
    bp__budget_free(tree, budget);
}

static bp_status refuse_close(bp_error *error, const bp__budget *budget)
{
    char name[80] = "the budget";
    if (budget->name != NULL) {
        bp_text text;
        bp__text_init_bounded(&text, name, sizeof name);
        bp__text_printf(&text, "budget '%s'", bp_key_text(budget->name));
    }
    return bp_fail(error, BP_BUSY,
                   "%s cannot be closed: it has %u children, %u slot managers, "
                   "%u reservations and %" PRIu64 " bytes in use",
                   name, (unsigned)budget->n_children,
                   (unsigned)budget->n_managers,
                   (unsigned)budget->n_reservations, bp__in_use(budget));
}

bp_status bp_budget_close(bp_tree *tree, bp_budget handle, bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    bp__budget *budget = bp__budget_get_locked(tree, handle);
    if (budget == NULL) {
        status = bp__refuse_stale(error, "budget");
    } else if (is_held(tree, budget)) {
        status = refuse_close(error, budget);
    } else {
        close_locked(tree, budget);
    }
    bp__tree_leave(tree);
    return status;
}

/* ---- abandoned budgets ------------------------------------------------- */

void bp__budget_abandon_locked(bp_tree *tree, bp_budget handle)
{
    bp__budget *budget = bp__budget_get_locked(tree, handle);
    if (budget == NULL || budget->is_abandoned) {
        return;
    }
    budget->is_abandoned = true;
    tree->n_abandoned++;
    uint64_t charged = bp__tags_sum_locked(budget);
    bp__tags_fini(tree, budget);
    bp__move(budget, charged, BP__USED, BP__AVAILABLE);
    bp__budget_changed_locked(tree, budget, false);
    bp__condition_broadcast(&tree->changed);
}

void bp__budgets_sweep_locked(bp_tree *tree)
{
    for (bool is_closing = true; is_closing;) {
        is_closing = false; /* a child may let its parent go */
        size_t i = 0;
        for (bp__budget *budget;
             (budget = bp__handles_next(&tree->budgets, &i)) != NULL; i++) {
            if (budget->is_abandoned && !is_held(tree, budget)) {
                close_locked(tree, budget);
                is_closing = true;
            }
        }
    }
}

/* ---- read -------------------------------------------------------------- */

static void fill_stats(const bp__budget *budget, bp_budget_stats *out)
{
    uint64_t in_use = bp__in_use(budget);
    *out = (bp_budget_stats){
        .limit = budget->limit,
        .used = budget->used,
        .reserved = budget->reserved,
        .retiring = budget->retiring,
        .cached = budget->cached,
        .available = bp__available(budget),
        .over = in_use > budget->limit ? in_use - budget->limit : 0,
        .peak = budget->peak,
        .pressure = bp_pressure_of(in_use, budget->limit, budget->levels),
        .levels = budget->levels,
        .granularity = budget->granularity,
        .n_charges = budget->n_charges,
        .n_refusals = budget->n_refusals,
        .n_evictions = budget->n_evictions,
        .n_children = budget->n_children,
        .parent =
            budget->parent == NULL ? BP_NO_BUDGET : budget->parent->handle,
    };
    bp_text text;
    bp__text_init_bounded(&text, out->name, sizeof out->name);
    bp__text_put(&text, budget->name == NULL ? "" : bp_key_text(budget->name));
}

bp_status bp_budget_get_stats(bp_tree *tree, bp_budget handle,
                              bp_budget_stats *out, bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    const bp__budget *budget = bp__budget_get_locked(tree, handle);
    if (budget == NULL) {
        status = bp__refuse_stale(error, "budget");
    } else {
        fill_stats(budget, out);
    }
    bp__tree_leave(tree);
    return status;
}
