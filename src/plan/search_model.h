/* search_model.h - one stretch of time as the exact searches see it: items
 * over sections (maximal live sets), in units of the common divisor.
 *
 * Ownership: bp__search_model_init allocates, bp__search_model_fini returns.
 * Immutable in between, so any number of states may share one model.
 */
#ifndef BAYPLAN_PLAN_SEARCH_MODEL_H
#define BAYPLAN_PLAN_SEARCH_MODEL_H

#include "base/alloc.h"

#define BP__NONE UINT32_MAX
/* More would take a table of 2^8 sets for each item. */
#define BP__SEARCH_RESIDUES 4u

typedef struct bp__item {
    uint64_t size;  /* >= 1 */
    uint64_t align; /* >= 1, a power of two */
    uint32_t first; /* alive in sections [first, last) */
    uint32_t last;
    uint32_t id;     /* index in the request */
    uint32_t twin;   /* the item before this one that is the same in all
                        that matters, or BP__NONE */
    uint64_t weight; /* length of its lifetime, for orderings only */
} bp__item;

/* A fixed block [low, high), alive in sections [first, last). */
typedef struct bp__pin {
    uint64_t low, high;
    uint32_t first, last;
} bp__pin;

typedef struct bp__search_model {
    bp_allocator alloc;
    uint32_t n, n_pins, n_sections;
    bp__item *items;         /* by first section */
    bp__pin *pins;           /* by low */
    uint32_t *list_start;    /* n_sections + 1: where a section's list begins */
    uint32_t *slot_start;    /* n + 1: where an item's slots begin */
    uint32_t *begin_start;   /* n_sections + 1: items that begin before here */
    uint32_t *pin_start;     /* n_sections + 1 */
    uint32_t *pin_list;      /* pins of a section, by low */
    uint64_t *section_total; /* bytes of items and pins */
    size_t n_slots, n_pin_slots;
    uint64_t pins_top; /* no plan is lower than this */
    /* Addresses by their residue modulo n_residues (1, 2 or 4; 1: alignment is
     * no matter), and for each item how many of each set of residues it covers
     * at least, wherever it lies (residue.h). */
    uint32_t n_residues, n_sets;
    uint64_t *item_need; /* n x n_sets */
} bp__search_model;

/* Items come by first section and pins by low end; they are copied, and `twin`
 * is filled in. False: no memory. */
BP_MUST_USE bool bp__search_model_init(bp__search_model *model,
                                       const bp__item *items, uint32_t n,
                                       const bp__pin *pins, uint32_t n_pins,
                                       uint32_t n_sections,
                                       const bp_allocator *alloc);
void bp__search_model_fini(bp__search_model *model);

#endif
