/* section_bounds.h - what no plan can be below, section by section: LOAD, the
 * alignment bound and the residue bound.
 *
 * Errors: false for no memory. Threads: pure.
 */
#ifndef BAYPLAN_PLAN_SECTION_BOUNDS_H
#define BAYPLAN_PLAN_SECTION_BOUNDS_H

#include "plan/sections.h"

/* The best proven bound of each part, at least its LOAD, to bounds[0..n_parts).
 * Where there are too many (buffer, section) pairs, LOAD alone. */
BP_MUST_USE bool bp__section_bounds(const bp__sections *sections,
                                    const bp_plan_model *model,
                                    uint64_t *bounds);

#endif
