/* layout.h - inside of a layout. Internal to src/registry.
 *
 * One flat block: this header, placements, child regions, far shapes, texts.
 * A layout is written by one thread until it is handed out (a "draft"), and is
 * immutable from then on, but for its reference count and two caches that are
 * computed on first need and published with a compare-and-swap.
 *
 * Ownership: a layout holds a reference on each child's layout, its caches and
 * its block. Threads: no lock; see above.
 */
#ifndef BAYPLAN_REGISTRY_LAYOUT_H
#define BAYPLAN_REGISTRY_LAYOUT_H

#include "bayplan/registry.h"

#include "registry/plans.h"

#include <stdatomic.h>

/* What kernels see, as bytes, and its digest. One block. */
typedef struct bp__content {
    size_t n_bytes;
    uint8_t digest[BP_DIGEST_BYTES];
    uint8_t bytes[];
} bp__content;

/* Name index: n_slots (a power of two) placement numbers, BP__NONE if free. */
typedef struct bp__name_index {
    uint32_t n_slots;
    uint32_t slots[];
} bp__name_index;

struct bp_layout {
    atomic_size_t n_refs;
    bp_allocator alloc;
    size_t n_block_bytes;
    bp_layout *next_dead; /* chain of what is being freed */
    const char *name;     /* of the factory's type, NULL: not known */
    bp_dtype precision;
    uint64_t version;
    bp_factory origin; /* 0: none */
    bp_region regions[BP_N_REGIONS];
    size_t n_placements;
    size_t n_hidden; /* further placements that only find answers with */
    bp_placement *placements;
    size_t n_children;
    bp_child_region *children;
    size_t n_phases;
    const char **phases;
    size_t n_loops;
    bp_loop *loops;
    _Atomic(bp__content *) content;
    _Atomic(bp__name_index *) index;
};

/* How large a layout's block has to be. */
typedef struct bp__layout_size {
    size_t n_placements;
    size_t n_children;
    size_t n_phases;
    size_t n_loops;
    size_t n_far_dims;
    size_t n_text_bytes;
} bp__layout_size;

/* Where to put shapes and texts while a draft is filled. */
typedef struct bp__layout_room {
    uint64_t *dims;
    char *texts;
} bp__layout_room;

/* A draft with one reference: counts, arrays and empty regions are set, the
 * hidden placements are written where there are no children; placements and
 * child regions are zeroed (layout pointers NULL). The precision is the
 * caller's to set, before bp__layout_hide. NULL: no memory. */
bp_layout *bp__layout_alloc(const bp_allocator *alloc,
                            const bp__layout_size *size, bp__layout_room *room);
/* Write the hidden placements. */
void bp__layout_hide(bp_layout *layout);
/* One after the other in the room. */
const char *bp__room_text(bp__layout_room *room, const char *text,
                          size_t n_text);

/* Sizes, alignments, element counts and lifetimes of roll-ups, from the
 * children. */
void bp__layout_size_rollups(bp_layout *layout);
/* bytes, align and widest of every region, from placements that have their
 * offsets. Errors: TOO_LARGE. */
bp_status bp__layout_measure(bp_layout *layout, bp_error *error);

/* Arrays for planning one region, n of each. */
typedef struct bp__solve_scratch {
    uint64_t *sizes;
    uint64_t *aligns;
    uint64_t *offsets;
    int64_t *first;
    int64_t *last;
    uint32_t *which;
    uint64_t *live; /* a phase each and one more */
    size_t n;
    size_t n_live;
    bp_allocator alloc;
    bp__plans *plans; /* borrowed; NULL: nothing is kept */
} bp__solve_scratch;

BP_MUST_USE bool bp__solve_scratch_init(bp__solve_scratch *scratch,
                                        const bp_allocator *alloc, size_t n,
                                        size_t n_phases);
void bp__solve_scratch_fini(bp__solve_scratch *scratch);
/* All offsets, regions and reports of a draft whose children are complete.
 * Errors: TOO_LARGE, NO_MEMORY. */
bp_status bp__layout_solve(bp_layout *layout,
                           const bp_registry_options *options,
                           bp__solve_scratch *scratch, bp_error *error);

/* Whether no two buffers share bytes while both live. Errors: NO_MEMORY.
 * overlap.c. */
bp_status bp__layout_is_disjoint(const bp_layout *layout, bool *out,
                                 bp_error *error);
static inline bool bp__lives_always(uint32_t first_phase)
{
    return first_phase == BP_ALWAYS;
}

/* Whether kernels see the same. Cheaper than contents where children are
 * shared. Errors: NO_MEMORY. */
bp_status bp__layout_same(bp_layout *a, bp_layout *b, bool *out,
                          bp_error *error);
/* Whether the reports, the names and the very children are the same, of
 * layouts that kernels see the same. */
bool bp__layout_same_report(const bp_layout *a, const bp_layout *b);

/* The content, computed now if it has not been. Errors: NO_MEMORY. */
bp_status bp__layout_need_content(bp_layout *layout, const bp__content **out,
                                  bp_error *error);

/* A draft of one context: everything but what planning decides. Roll-ups have
 * no sizes; a child region without a layout has the job node that will give it
 * in offset_bytes[BP_SHARED]. Lock held. draft.c. */
typedef struct bp_registry bp_registry;
struct bp__context;
bp_status bp__draft_new(bp_registry *registry, const struct bp__context *ctx,
                        bp_layout **out, bp_error *error);

#endif
