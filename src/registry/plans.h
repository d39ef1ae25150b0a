/* plans.h - the plans that cost a search, kept, so that factories that look
 * alike share one and a rebuild to what once was searches nothing.
 *
 * A plan is a pure function of its request: what is found here is what the
 * planner would answer, byte for byte, so neither what is kept nor for how long
 * shows in any layout. Requests are found by hash and compared in full. What
 * all plans take together is bounded; the one that was not used for the longest
 * time goes first.
 *
 * Ownership: the plans own copies of requests and offsets, all from the
 * allocator of their birth. Errors: keeping a plan is a favour: without memory
 * it is left undone, and nothing else changes. Lock rule: planning, allocating
 * and freeing happen outside the lock, which guards the rest; it is the
 * registry's own, borrowed.
 */
#ifndef BAYPLAN_REGISTRY_PLANS_H
#define BAYPLAN_REGISTRY_PLANS_H

#include "bayplan/plan.h"

#include "base/lock.h"

/* Of all that is kept in one registry: some 250 plans of 100 buffers with
 * lifetimes. A plan that is larger on its own is not kept. */
#define BP__PLANS_BYTES   ((size_t)1 << 20)
#define BP__PLANS_BUCKETS 512u

typedef struct bp__plan bp__plan;

typedef struct bp__plans {
    bp_mutex *lock;
    bp_allocator alloc;
    size_t n_most_bytes; /* BP__PLANS_BYTES */
    size_t n_bytes;      /* of all plans */
    size_t n_plans;
    bp__plan *newest; /* by last use, a list in both directions */
    bp__plan *oldest;
    bp__plan *buckets[BP__PLANS_BUCKETS];
    uint32_t (*hash)(const bp_plan_request *request);
    /* What happened so far. */
    uint64_t n_found;
    uint64_t n_searched; /* not found */
    uint64_t n_dropped;  /* gone to make room */
    uint64_t n_refused;  /* not kept for want of memory */
} bp__plans;

/* Empty. The lock is the caller's and outlives the plans. */
void bp__plans_init(bp__plans *plans, bp_mutex *lock,
                    const bp_allocator *alloc);
/* Nobody else uses them any more. */
void bp__plans_fini(bp__plans *plans);

/* As bp_plan_run, and with its answer. Where planning is as cheap as looking it
 * up, nothing is looked up or kept: modes sequential and packed, and auto where
 * declaration order is proven best; nor with pins or a capacity, which no
 * layout has. `plans` may be NULL. Errors: as bp_plan_run; the offsets may be
 * overwritten on failure. The lock is not held by the caller. */
bp_status bp__plans_run(bp__plans *plans, const bp_plan_request *request,
                        const bp_allocator *alloc, uint64_t *offsets,
                        bp_plan_result *result, bp_error *error);

/* The first broken invariant, or NULL. Lock held. */
const char *bp__plans_check(const bp__plans *plans);

#endif
