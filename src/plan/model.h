/* model.h - a plan request that was looked at once.
 *
 * Ownership: borrows the request's arrays. Threads: pure.
 */
#ifndef BAYPLAN_PLAN_MODEL_H
#define BAYPLAN_PLAN_MODEL_H

#include "bayplan/plan.h"

typedef struct bp_plan_model {
    const bp_plan_request *request;
    uint64_t total_bytes; /* sum of all sizes */
    uint64_t align_bits;  /* every alignment in use, or-ed */
    bool is_together;     /* some moment has every buffer of size > 0 alive */
} bp_plan_model;

/* Errors: as bp_plan_run, but NO_MEMORY. */
BP_MUST_USE bp_status bp__plan_model_init(bp_plan_model *model,
                                          const bp_plan_request *request,
                                          bp_error *error);

static inline uint64_t bp__plan_align(const bp_plan_request *request, size_t i)
{
    return request->aligns == NULL ? 1 : request->aligns[i];
}

/* Takes address space at some time. */
static inline bool bp__plan_is_ever_live(const bp_plan_request *request,
                                         size_t i)
{
    return request->sizes[i] != 0 &&
           (request->first == NULL || request->first[i] < request->last[i]);
}

/* Where a caller wants it, and nowhere else. */
static inline bool bp__plan_is_pinned(const bp_plan_request *request, size_t i)
{
    return request->pins != NULL && request->pins[i] >= 0;
}

#endif
