/* bounds.h - heights that no plan can be below. Proven bounds only.
 *
 * Threads: pure. Scratch memory is returned before each call ends.
 */
#ifndef BAYPLAN_PLAN_BOUNDS_H
#define BAYPLAN_PLAN_BOUNDS_H

#include "plan/model.h"

/* LOAD: the most bytes alive at once. O(n log n); no memory is asked for where
 * all are alive together or n <= 64. False: no memory. */
BP_MUST_USE bool bp__plan_load(const bp_plan_model *model,
                               const bp_allocator *alloc, uint64_t *out_load);

/* For a model whose buffers are alive together, once a plan of it is known to
 * fit below 2^64: every buffer of alignment >= A starts at a multiple of A, so
 * it keeps the others of them out of its size rounded up to A; only the last
 * may do without its tail. The bound is the largest, over A, of the sum of
 * those rounded sizes less the largest tail. With A = 1 it is LOAD. */
uint64_t bp__plan_align_bound(const bp_plan_model *model);

#endif
