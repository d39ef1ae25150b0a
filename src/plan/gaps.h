/* gaps.h - the free stretches of an address space without end: a balanced tree
 * by address in which every node knows the largest gap below it, so that the
 * lowest gap that is large enough is found in O(log n).
 *
 * Ownership: init/fini. Errors: false for no memory; the gaps then are as they
 * were. Determinism: priorities come from a counter, never from addresses.
 */
#ifndef BAYPLAN_PLAN_GAPS_H
#define BAYPLAN_PLAN_GAPS_H

#include "bayplan/base.h"

typedef struct bp__gap {
    uint64_t begin, end;
    uint64_t largest; /* of the subtree */
    uint32_t left, right, parent, priority;
} bp__gap;

typedef struct bp__gaps {
    bp_allocator alloc;
    bp__gap *nodes; /* node 0 is nobody; its largest is 0 */
    size_t capacity;
    uint32_t n_nodes; /* handed out so far, node 0 included */
    uint32_t free_node, root;
} bp__gaps;

/* Everything is free. */
BP_MUST_USE bool bp__gaps_init(bp__gaps *gaps, const bp_allocator *alloc);
void bp__gaps_fini(bp__gaps *gaps);

/* Take `size` >= 1 bytes at the lowest address that is a multiple of `align`;
 * if the first gaps that are large enough all fail by their alignment, at the
 * lowest of those that cannot fail. */
BP_MUST_USE bool bp__gaps_take(bp__gaps *gaps, uint64_t size, uint64_t align,
                               uint64_t *out_offset);

/* Take what is free of [begin, end). */
BP_MUST_USE bool bp__gaps_reserve(bp__gaps *gaps, uint64_t begin, uint64_t end);

/* Is all of [begin, end) free? */
bool bp__gaps_has(const bp__gaps *gaps, uint64_t begin, uint64_t end);

/* Give [begin, end) back; all of it must be taken. */
BP_MUST_USE bool bp__gaps_give(bp__gaps *gaps, uint64_t begin, uint64_t end);

/* Every invariant of the tree. */
bool bp__gaps_check(const bp__gaps *gaps);

#endif
