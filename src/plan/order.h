/* order.h - sorting indices by 64-bit keys, stably and without a comparison
 * function: bytes of the key that are the same everywhere cost nothing.
 * Threads: pure.
 */
#ifndef BAYPLAN_PLAN_ORDER_H
#define BAYPLAN_PLAN_ORDER_H

#include "bayplan/base.h"

/* Sort order[0..n) so that keys[order[k]] ascends; equal keys stay as they
 * were. `spare` has room for n. */
void bp__order_by_key(uint32_t *order, const uint64_t *keys, uint32_t n,
                      uint32_t *spare);

/* A key that sorts as the signed number does. */
static inline uint64_t bp__key_of_time(int64_t time)
{
    return (uint64_t)time ^ (uint64_t)1 << 63;
}

#endif
