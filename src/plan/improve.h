/* improve.h - plans that know lifetimes: the race of the fast plans, then the
 * exact searches part by part.
 *
 * Ownership: init/fini; borrows model and request. Threads: pure.
 */
#ifndef BAYPLAN_PLAN_IMPROVE_H
#define BAYPLAN_PLAN_IMPROVE_H

#include "plan/model.h"

typedef struct bp__improved {
    bp_allocator alloc;
    size_t n;
    uint64_t *offsets; /* the best plan */
    bp_plan_result result;
} bp__improved;

/* Modes auto, fast and optimal. Errors: BAD_VALUE (pins over each other),
 * TOO_LARGE, NO_MEMORY. */
BP_MUST_USE bp_status bp__improve(bp__improved *improved,
                                  const bp_plan_model *model,
                                  const bp_allocator *alloc, bp_error *error);
void bp__improved_fini(bp__improved *improved);

#endif
