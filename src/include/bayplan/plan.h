/* plan.h - dynamic storage allocation as a pure function: sizes, alignments
 * and lifetimes in, offsets and proven bounds out.
 *
 * Ownership: the caller owns every array on both sides.
 * Threads: no state, no lock; any number of calls may run at once.
 * Determinism: the same request gives the same bytes on every machine.
 */
#ifndef BAYPLAN_PLAN_H
#define BAYPLAN_PLAN_H

#include "bayplan/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever the same request may give other offsets. */
#define BP_PLAN_ALGORITHM 1u

typedef enum bp_plan_mode {
    BP_PLAN_AUTO,       /* declaration order if it meets the bound, else the
                           better of sequential and packed */
    BP_PLAN_SEQUENTIAL, /* one after the other, in declaration order */
    BP_PLAN_PACKED,     /* one after the other, alignment descending; ties in
                           declaration order */
    BP_PLAN_FAST,       /* BP_NOT_YET */
    BP_PLAN_OPTIMAL,    /* BP_NOT_YET */
    BP_N_PLAN_MODES
} bp_plan_mode;

/* The words Python uses: "auto", "sequential", ... Never NULL. */
BP_API const char *bp_plan_mode_name(bp_plan_mode mode);
/* False if `name` is no mode. */
BP_API bool bp_plan_mode_parse(const char *name, bp_plan_mode *out);

typedef enum bp_plan_status {
    BP_PLAN_FEASIBLE,  /* valid; maybe not the lowest */
    BP_PLAN_IS_OPTIMAL /* valid and the height equals a proven lower bound */
} bp_plan_status;

/* "feasible" or "optimal". Never NULL. */
BP_API const char *bp_plan_status_name(bp_plan_status status);

typedef struct bp_plan_request {
    size_t n;
    const uint64_t *sizes;  /* bytes, n of them; 0 is legal and never blocks */
    const uint64_t *aligns; /* powers of two, any up to 2^32; NULL: all 1 */
    const int64_t *first;   /* alive in [first, last); both NULL: always */
    const int64_t *last;
    bp_plan_mode mode;
} bp_plan_request;

typedef struct bp_plan_result {
    uint64_t height;      /* largest offset + size, not rounded */
    uint64_t load;        /* most bytes alive at once */
    uint64_t lower_bound; /* proven: no plan is lower */
    bp_plan_status status;
} bp_plan_result;

/* Fill offsets[0..n) and *result. The two simple modes ignore lifetimes when
 * they place (load and lower_bound do not): a cursor starts at 0, is rounded up
 * to each buffer's alignment and moves on by its size. A buffer of size 0 lies
 * at the cursor rounded *down* to its alignment and does not move it, so it
 * never raises the height.
 * Errors: BAD_VALUE (first > last, only one of first and last, an alignment
 * that is no power of two or above 2^32), TOO_LARGE (sums beyond 2^64 - 1),
 * NOT_YET, NO_MEMORY. Nothing is written to the outputs on failure. `alloc`
 * (NULL: the default one) gives scratch memory, returned before the call ends;
 * without lifetimes, and for up to 64 buffers, none is asked for. */
BP_API BP_MUST_USE bp_status bp_plan_run(const bp_plan_request *request,
                                         const bp_allocator *alloc,
                                         uint64_t *offsets,
                                         bp_plan_result *result,
                                         bp_error *error);

#ifdef __cplusplus
}
#endif
#endif
