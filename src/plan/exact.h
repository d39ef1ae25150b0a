/* exact.h - both exact searches on one part, interleaved restart by restart.
 *
 * The proven bound is the first target, then levels between it and the best
 * plan; a target that is refuted raises the bound, one that is met lowers the
 * height. A fixed schedule of node budgets decides, never a clock.
 * Ownership: the caller's arrays. Errors: false for no memory; what was found
 * before stays valid.
 */
#ifndef BAYPLAN_PLAN_EXACT_H
#define BAYPLAN_PLAN_EXACT_H

#include "plan/sections.h"

typedef struct bp__exact {
    const bp__sections *sections;
    const bp_plan_request *request;
    uint32_t part;
    uint64_t goal;        /* a height at or below this is as good as any */
    bool is_decision;     /* nothing but the goal is of interest */
    uint64_t height;      /* in: of `offsets` in this part; out: improved */
    uint64_t lower_bound; /* in and out: proven for this part */
    uint64_t node_budget;
    uint64_t n_nodes; /* out: added */
    uint64_t *offsets;
    bool (*poll)(void *ctx, uint64_t n_nodes, uint64_t height,
                 uint64_t lower_bound);
    void *poll_ctx;
    bool is_interrupted;
} bp__exact;

/* Too large for a search? Then bp__exact_run changes nothing. */
BP_MUST_USE bool bp__exact_run(bp__exact *exact);

#endif
