/* placement.h - what a launch decides about a layout. Registry, plan and
 * launch meet here.
 *
 * Ownership: plain values; bp_bound holds no reference, the caller keeps the
 * layout alive. Threads: pure.
 */
#ifndef BAYPLAN_PLACEMENT_H
#define BAYPLAN_PLACEMENT_H

#include "bayplan/base.h"
#include "bayplan/launch.h"
#include "bayplan/registry.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum bp_stride_policy {
    BP_STRIDE_NONE,       /* the region's bytes */
    BP_STRIDE_PAD,        /* odd multiple of max(4, widest access, alignment) */
    BP_STRIDE_INTERLEAVE, /* NOT_YET */
    BP_N_STRIDE_POLICIES
} bp_stride_policy;

/* "none", "pad", "interleave". Never NULL. */
BP_API const char *bp_stride_policy_name(bp_stride_policy policy);
BP_API bool bp_stride_policy_parse(const char *name, bp_stride_policy *out);

typedef struct bp_bind_request {
    bp_stride_policy policy;
    bool has_stride; /* stride_bytes was given and wins over the policy */
    uint64_t stride_bytes;
    uint64_t lanes_per_run; /* 1..32 and a power of two */
    uint64_t reserve_bytes; /* left free in front, for other users */
} bp_bind_request;

/* Where a kernel's dynamic shared memory holds what: `reserve` bytes, the
 * block-wide region, then run r's slice at slices_offset + r * stride. All
 * offsets are multiples of arena_align. */
typedef struct bp_bound {
    uint64_t stride_bytes;
    uint64_t block_offset;
    uint64_t slices_offset;
    uint32_t arena_align; /* >= 16 */
    uint32_t lanes_per_run;
    uint64_t reserve_bytes;
    bp_stride_policy policy;
} bp_bound;

/* Errors: BAD_VALUE (a stride below the region's bytes or no multiple of its
 * alignment, lanes_per_run, reserve_bytes too large), TOO_LARGE, NOT_YET. */
BP_API BP_MUST_USE bp_status bp_bound_init(bp_bound *out,
                                           const bp_layout *layout,
                                           const bp_bind_request *request,
                                           bp_error *error);
/* Dynamic shared memory for a block of n_runs runs. Errors: TOO_LARGE. */
BP_API BP_MUST_USE bp_status bp_bound_shared_bytes(const bp_bound *bound,
                                                   uint64_t n_runs,
                                                   uint64_t *out,
                                                   bp_error *error);
/* BLAKE2b-128 over the layout's digest and everything above. */
BP_API BP_MUST_USE bp_status bp_bound_digest(const bp_bound *bound,
                                             bp_layout *layout,
                                             char out[BP_DIGEST_TEXT],
                                             bp_error *error);

#ifdef __cplusplus
}
#endif
#endif
