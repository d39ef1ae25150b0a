/* overlap.c - do any two buffers of a layout share bytes while both live? */
#include "registry/layout.h"

#include "base/alloc.h"
#include "registry/model.h"

#include <stdlib.h>

typedef struct block {
    uint64_t begin, end;
    uint32_t location;
    uint32_t first, last; /* phases, both included */
} block;

static int compare_blocks(const void *a, const void *b)
{
    const block *x = a;
    const block *y = b;
    if (x->location != y->location) {
        return x->location < y->location ? -1 : 1;
    }
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* One block for everything that has bytes of its own. */
static size_t collect(const bp_layout *layout, block *blocks)
{
    size_t n_phases = layout->n_phases == 0 ? 1 : layout->n_phases;
    size_t n = 0;
    for (size_t i = 0; i < layout->n_placements; i++) {
        const bp_placement *place = &layout->placements[i];
        if (place->location == BP_LOCAL || place->bytes_of != i ||
            place->n_bytes == 0) {
            continue;
        }
        bool is_always = bp__lives_always(place->first_phase);
        blocks[n++] = (block){.begin = place->offset_bytes,
                              .end = place->offset_bytes + place->n_bytes,
                              .location = (uint32_t)place->location,
                              .first = is_always ? 0 : place->first_phase,
                              .last = is_always ? (uint32_t)n_phases - 1
                                                : place->last_phase};
    }
    return n;
}

/* By address, every phase remembers where the last block ended that lives in
 * it. */
static bool are_apart(const block *blocks, size_t n, uint64_t *ends,
                      size_t n_phases)
{
    for (size_t i = 0; i < n; i++) {
        const block *it = &blocks[i];
        if (i == 0 || it->location != blocks[i - 1].location) {
            for (size_t k = 0; k < n_phases; k++) {
                ends[k] = 0;
            }
        }
        for (uint32_t k = it->first; k <= it->last; k++) {
            if (ends[k] > it->begin) {
                return false;
            }
            ends[k] = it->end;
        }
    }
    return true;
}

bp_status bp__layout_is_disjoint(const bp_layout *layout, bool *out,
                                 bp_error *error)
{
    const bp_allocator *alloc = &layout->alloc;
    size_t n_phases = layout->n_phases == 0 ? 1 : layout->n_phases;
    size_t n_places = layout->n_placements;
    block *blocks = bp__alloc_array(alloc, n_places, sizeof *blocks);
    uint64_t *ends = bp__alloc_array(alloc, n_phases, sizeof *ends);
    bp_status status = BP_OK;
    if (blocks == NULL || ends == NULL) {
        status = bp__refuse_memory(error);
    } else {
        size_t n = collect(layout, blocks);
        qsort(blocks, n, sizeof *blocks, compare_blocks);
        *out = are_apart(blocks, n, ends, n_phases);
    }
    bp__free_array(alloc, blocks, n_places, sizeof *blocks);
    bp__free_array(alloc, ends, n_phases, sizeof *ends);
    return status;
}
