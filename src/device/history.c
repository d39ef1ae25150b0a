/* history.c - a budget's past in bounded room.
 *
 * Every stride-th change is kept. When the room is full, every second point
 * goes and the stride doubles. The capacity is even, so that the change that
 * found it full lies on the new, coarser grid too. */
#include "device/ledger.h"

#include "base/alloc.h"

#include <string.h>

static bp_history_point point_of(const bp__budget *budget, uint64_t when)
{
    return (bp_history_point){.when = when,
                              .used = budget->used,
                              .reserved = budget->reserved,
                              .retiring = budget->retiring,
                              .limit = budget->limit};
}

bool bp__history_init(bp_tree *tree, bp__budget *budget, uint32_t n_max)
{
    bp__history *history = &budget->history;
    uint32_t n = n_max == 0 ? BP_DEFAULT_N_HISTORY : n_max;
    /* One of them is the newest, which may lie off the grid. */
    history->capacity = n < 4 ? 2 : (n - 1) / 2 * 2;
    history->points = bp__alloc_array(&tree->alloc, history->capacity,
                                      sizeof *history->points);
    if (history->points == NULL) {
        return false;
    }
    history->stride = 1;
    history->newest = point_of(budget, bp__tree_tick(tree));
    history->points[history->n_points++] = history->newest;
    return true;
}

void bp__history_fini(bp_tree *tree, bp__budget *budget)
{
    bp__history *history = &budget->history;
    bp__free_array(&tree->alloc, history->points, history->capacity,
                   sizeof *history->points);
    history->points = NULL;
}

static void thin_out(bp__history *history)
{
    history->n_points /= 2;
    for (uint32_t i = 0; i < history->n_points; i++) {
        history->points[i] = history->points[2 * (size_t)i];
    }
    history->stride *= 2;
}

static bool is_same(const bp_history_point *a, const bp__budget *b)
{
    return a->used == b->used && a->reserved == b->reserved &&
           a->retiring == b->retiring && a->limit == b->limit;
}

void bp__history_note(bp__budget *budget, uint64_t when)
{
    bp__history *history = &budget->history;
    if (is_same(&history->newest, budget)) {
        return;
    }
    history->newest = point_of(budget, when);
    if (++history->n_skipped < history->stride) {
        return;
    }
    history->n_skipped = 0;
    if (history->n_points == history->capacity) {
        thin_out(history);
    }
    history->points[history->n_points++] = history->newest;
}

const char *bp__history_check_locked(const bp__budget *budget)
{
    const bp__history *history = &budget->history;
    if (history->n_points == 0 || history->n_points > history->capacity ||
        history->n_skipped >= history->stride) {
        return "the history is out of bounds";
    }
    for (uint32_t i = 1; i < history->n_points; i++) {
        if (history->points[i].when <= history->points[i - 1].when) {
            return "the history is out of order";
        }
    }
    return is_same(&history->newest, budget)
               ? NULL
               : "the history does not end in the present";
}

/* ---- read -------------------------------------------------------------- */

static size_t copy_newest(const bp__history *history, bp_history_point *out,
                          size_t n_max)
{
    size_t has_newest = history->n_skipped != 0 ? 1 : 0;
    size_t n_grid = history->n_points;
    if (n_max == 0) {
        return 0;
    }
    size_t n_from_grid = n_max - has_newest;
    n_from_grid = n_from_grid < n_grid ? n_from_grid : n_grid;
    if (n_from_grid != 0) {
        memcpy(out, history->points + (n_grid - n_from_grid),
               n_from_grid * sizeof *out);
    }
    if (has_newest != 0) {
        out[n_from_grid] = history->newest;
    }
    return n_from_grid + has_newest;
}

size_t bp_budget_copy_history(bp_tree *tree, bp_budget handle,
                              bp_history_point *out, size_t n_max)
{
    if (!bp__tree_enter_if_ours(tree)) {
        return 0;
    }
    const bp__budget *budget = bp__budget_get_locked(tree, handle);
    size_t n = budget == NULL ? 0 : copy_newest(&budget->history, out, n_max);
    bp__tree_leave(tree);
    return n;
}
