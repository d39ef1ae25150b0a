/* first_fit.h - the fast plans: quick, valid, and usually within a few per
 * cent of LOAD.
 *
 * Each writes the offset of every buffer that is ever alive (the others are
 * left alone) and nothing else. Pins are obstacles from the start. Errors:
 * false for no memory. The padded sum of all sizes must be below 2^63.
 */
#ifndef BAYPLAN_PLAN_FIRST_FIT_H
#define BAYPLAN_PLAN_FIRST_FIT_H

#include "plan/neighbours.h"
#include "plan/sections.h"

/* Buffers as they are born, each to the lowest gap. O(n log n). A pin's bytes
 * are taken for the whole time. */
BP_MUST_USE bool bp__fit_by_birth(const bp__sections *sections,
                                  const bp_plan_request *request,
                                  uint64_t *offsets);

/* In which order gap first fit takes the buffers: largest first, ties by
 * earlier start, then declaration order. */
typedef enum bp__fit_order {
    BP__FIT_SIZE,
    BP__FIT_AREA,     /* size times lifetime */
    BP__FIT_DURATION, /* lifetime, then size */
    BP__FIT_CROWD,    /* size times how many it overlaps */
    BP__N_FIT_ORDERS
} bp__fit_order;

/* Gap first fit: each buffer to the lowest place that is free for its whole
 * life. O(n^2): for few thousand buffers. */
BP_MUST_USE bool bp__fit_by_order(const bp__sections *sections,
                                  const bp_plan_request *request,
                                  bp__fit_order order, uint64_t *offsets);

/* The same plan from the list of pairs: for many buffers of which few are alive
 * together. O(pairs log pairs). */
BP_MUST_USE bool bp__fit_by_pairs(const bp__neighbours *neighbours,
                                  const bp_plan_request *request,
                                  bp__fit_order order, uint64_t *offsets);

/* Laminar lifetimes (any two are nested or apart) make a stack. False in
 * *is_laminar: the offsets are of no use. Not for requests with pins. */
BP_MUST_USE bool bp__fit_stack(const bp__sections *sections,
                               const bp_plan_request *request,
                               uint64_t *offsets, bool *is_laminar);

#endif
