/* ledger.h - the primitives every change of a budget's figures goes through.
 *
 * All run under the tree's lock and none can fail; whoever calls them has asked
 * first whether there is room.
 */
#ifndef BAYPLAN_DEVICE_LEDGER_H
#define BAYPLAN_DEVICE_LEDGER_H

#include "device/tree.h"

typedef enum bp__field {
    BP__AVAILABLE, /* nowhere */
    BP__USED,
    BP__RESERVED,
    BP__RETIRING
} bp__field;

bp__budget *bp__budget_get_locked(bp_tree *tree, bp_budget handle);

static inline uint64_t bp__in_use(const bp__budget *budget)
{
    return budget->used + budget->reserved + budget->retiring;
}

static inline uint64_t bp__available(const bp__budget *budget)
{
    uint64_t in_use = bp__in_use(budget);
    return in_use >= budget->limit ? 0 : budget->limit - in_use;
}

/* `n`, rounded to `granularity`; false at 2^63 and above, or for 0. */
BP_MUST_USE bool bp__round(uint64_t n, uint64_t granularity, uint64_t *out);

/* The first budget from `leaf` up that has no room for n bytes; NULL: all
 * have. */
bp__budget *bp__first_short_locked(bp__budget *leaf, uint64_t n);

/* Move n bytes in one budget, not in its parents. Figures only. */
void bp__move_one(bp__budget *budget, uint64_t n, bp__field from, bp__field to);
/* Move n bytes in `leaf` and all its parents. Figures only. */
void bp__move(bp__budget *leaf, uint64_t n, bp__field from, bp__field to);
/* After any moves, once per call that changed `leaf` or its parents' figures or
 * limits: peaks, history, edges of watches; where is_admission holds, also
 * n_charges and evict_at. */
void bp__budget_changed_locked(bp_tree *tree, bp__budget *leaf,
                               bool is_admission);

/* x * 100 >= limit * percent, exactly. */
bool bp__at_least(uint64_t x, uint64_t limit, uint32_t percent);

/* ---- charges.c --------------------------------------------------------- */

/* BAD_SIZE for what bp__round would not have. */
bp_status bp__refuse_size(bp_error *error, uint64_t n_bytes);
/* Round for `budget` and ask it and its parents. Errors: BAD_SIZE,
 * BUDGET_EXCEEDED. */
BP_MUST_USE bp_status bp__ask_room_locked(bp_tree *tree, bp__budget *budget,
                                          uint64_t n_bytes, uint64_t *rounded,
                                          bp_shortage *shortage,
                                          bp_error *error);

/* ---- budgets.c --------------------------------------------------------- */

/* OK, or BAD_VALUE for a limit of 2^63 or more. */
BP_MUST_USE bp_status bp__refuse_limit(bp_error *error, uint64_t limit);
/* For BP_DEFER_BUDGET_CLOSE: everything charged to it goes back, and it is
 * closed by the bp__tree_leave after the last child, slot manager, reservation,
 * claim or byte on its way out has gone. A stale handle is a no-op. */
void bp__budget_abandon_locked(bp_tree *tree, bp_budget handle);
/* Close the abandoned ones that nothing holds. */
void bp__budgets_sweep_locked(bp_tree *tree);
/* Everything of it, figures or not; it is in no list any more. */
void bp__budget_free(bp_tree *tree, bp__budget *budget);

/* ---- tags.c ------------------------------------------------------------ */

/* Where the bytes under `tag` (NULL: under none) are counted; NULL for a tag
 * it never saw. */
uint64_t *bp__tag_bytes_locked(bp__budget *budget, const char *tag);
/* The same, made at 0 where it is new. Errors: BAD_NAME, NO_MEMORY. */
BP_MUST_USE bp_status bp__tag_make_locked(bp_tree *tree, bp__budget *budget,
                                          const char *tag, uint64_t **out,
                                          bp_error *error);
void bp__tags_fini(bp_tree *tree, bp__budget *budget);
/* What is charged under tags and under none. */
uint64_t bp__tags_sum_locked(const bp__budget *budget);
/* NULL, or the name of the broken invariant. */
const char *bp__tags_check_locked(const bp__budget *budget);

/* ---- history.c --------------------------------------------------------- */

/* The first point is the budget as it is. False: no memory. */
BP_MUST_USE bool bp__history_init(bp_tree *tree, bp__budget *budget,
                                  uint32_t n_max);
void bp__history_fini(bp_tree *tree, bp__budget *budget);
void bp__history_note(bp__budget *budget, uint64_t when);
const char *bp__history_check_locked(const bp__budget *budget);

/* ---- watches.c --------------------------------------------------------- */

/* The budget's figures changed: edges. */
void bp__watches_look_locked(bp_tree *tree, bp__budget *budget);
void bp__watches_close_all_locked(bp_tree *tree, bp__budget *budget);
/* Would a watch of this level and budget, above or not, see an edge now? */
bool bp__watch_is_due(const bp__watch *watch);

#endif
