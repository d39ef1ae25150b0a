/* simple.h - one buffer after the other, lifetimes ignored.
 *
 * Both functions give the height, and write offsets unless `offsets` is NULL.
 * False: the height is beyond 2^64 - 1; measure without offsets first, then
 * writing cannot fail. Threads: pure. No memory is asked for.
 */
#ifndef BAYPLAN_PLAN_SIMPLE_H
#define BAYPLAN_PLAN_SIMPLE_H

#include "plan/model.h"

/* In declaration order. */
BP_MUST_USE bool bp__plan_sequential(const bp_plan_model *model,
                                     uint64_t *offsets, uint64_t *out_height);
/* Largest alignment first; ties in declaration order. */
BP_MUST_USE bool bp__plan_packed(const bp_plan_model *model, uint64_t *offsets,
                                 uint64_t *out_height);

#endif
