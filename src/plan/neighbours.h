/* neighbours.h - who is alive together with whom, where few enough are.
 *
 * Later neighbours are a run of the birth order; earlier ones are listed.
 * Ownership: init/fini; borrows the sections. Errors: false for no memory.
 */
#ifndef BAYPLAN_PLAN_NEIGHBOURS_H
#define BAYPLAN_PLAN_NEIGHBOURS_H

#include "plan/sections.h"

typedef struct bp__neighbours {
    const bp__sections *sections;
    uint64_t n_pairs;
    uint32_t *position; /* by id: place in the birth order */
    uint32_t *until;    /* by place: later neighbours end before this place */
    uint32_t *start;    /* by place (n + 1): where the earlier ones begin ... */
    uint32_t *earlier;  /* ... in this list of ids */
} bp__neighbours;

/* Pairs of buffers alive together. O(n). */
BP_MUST_USE bool bp__neighbours_count(const bp__sections *sections,
                                      uint64_t *out_pairs);

/* `n_pairs` as counted, below 2^32. */
BP_MUST_USE bool bp__neighbours_init(bp__neighbours *neighbours,
                                     const bp__sections *sections,
                                     uint64_t n_pairs);
void bp__neighbours_fini(bp__neighbours *neighbours);

/* Those of a buffer's neighbours whose flag is set, to out (room for all of
 * them); returns how many. */
uint32_t bp__neighbours_gather(const bp__neighbours *neighbours, uint32_t id,
                               const uint8_t *flags, uint32_t *out);

#endif
