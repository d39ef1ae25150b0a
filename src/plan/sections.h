/* sections.h - lifetimes cut down to what matters: the maximal live sets.
 *
 * A section is a stretch of time whose live set is not part of its neighbours';
 * two buffers overlap in time exactly if they share a section. A part is a run
 * of sections between two moments at which nothing is alive.
 *
 * Ownership: init allocates, fini returns. Errors: false for no memory.
 */
#ifndef BAYPLAN_PLAN_SECTIONS_H
#define BAYPLAN_PLAN_SECTIONS_H

#include "plan/model.h"

typedef struct bp__part {
    uint32_t first_section, last_section; /* [first, last) */
    uint32_t first_birth, last_birth;     /* positions in `birth` */
} bp__part;

typedef struct bp__sections {
    bp_allocator alloc;
    size_t n_buffers; /* of the request */
    uint32_t n;       /* buffers that are ever alive and not empty */
    uint32_t n_sections, n_parts;
    uint32_t *birth; /* their ids by first, ties in declaration order */
    uint32_t *death; /* by last, ties in declaration order */
    uint32_t *first; /* by id: alive in sections [first, last) */
    uint32_t *last;
    uint64_t *load; /* by section: bytes alive */
    bp__part *parts;
    size_t n_section_slots, part_capacity;
} bp__sections;

BP_MUST_USE bool bp__sections_init(bp__sections *sections,
                                   const bp_plan_request *request,
                                   const bp_allocator *alloc);
void bp__sections_fini(bp__sections *sections);

/* Most bytes alive in any section of [first, last). */
uint64_t bp__sections_load(const bp__sections *sections, uint32_t first,
                           uint32_t last);

#endif
