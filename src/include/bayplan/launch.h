/* launch.h - arithmetic of shared memory banks and strides. Pure functions on
 * plain numbers: no state, no lock, no allocation.
 *
 * Source of the bank model: CUDA C++ Programming Guide, "Shared Memory" of
 * compute capabilities 5.x and later: 32 banks of 4 bytes, a word read by
 * several lanes is broadcast, 8-byte accesses are served per half-warp and
 * 16-byte accesses per quarter-warp.
 */
#ifndef BAYPLAN_LAUNCH_H
#define BAYPLAN_LAUNCH_H

#include "bayplan/base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BP_WARP_LANES 32u
#define BP_N_BANKS    32u
#define BP_BANK_BYTES 4u

/* How many words of one bank a warp asks for at once when every lane reads the
 * same element index of its own run's slice: 1 is conflict free, 32 the worst.
 * `stride_bytes` between runs, accesses of `width` bytes (1, 2, 4, 8 or 16),
 * `lanes_per_run` neighbouring lanes in one run (a divisor or multiple of 32).
 * The index that is worst counts: it matters for widths 1 and 2 alone, where
 * slices begin inside a word.
 * Errors: BAD_VALUE for another width or lanes_per_run, and where width does
 * not divide the stride. */
BP_API BP_MUST_USE bp_status bp_bank_conflicts(uint64_t stride_bytes,
                                               uint32_t width,
                                               uint32_t lanes_per_run,
                                               uint32_t *out_degree,
                                               bp_error *error);

/* The least odd multiple of `unit` (a power of two) that holds n_bytes; 0 for
 * n_bytes 0. Errors: TOO_LARGE, BAD_VALUE (another unit). */
BP_API BP_MUST_USE bp_status bp_stride_pad(uint64_t n_bytes, uint64_t unit,
                                           uint64_t *out_stride,
                                           bp_error *error);

#ifdef __cplusplus
}
#endif
#endif
