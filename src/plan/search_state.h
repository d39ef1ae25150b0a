/* search_state.h - the state both exact searches walk through: a skyline of
 * floors, one per section, and for every unplaced item the lowest level it can
 * still reach; with propagation and a trail to take everything back.
 *
 * Units: everything is in the model's units (bytes over a common divisor), and
 * all sums stay below 2^62.
 * Ownership: bp__state_init takes memory from the allocator and bp__state_fini
 * returns it; the model is borrowed and must outlive the state.
 * Errors: init says false when there is no memory; nothing later allocates but
 * the trail, whose failure sets is_out_of_memory and fails the step.
 * Threads: one state, one thread.
 */
#ifndef BAYPLAN_PLAN_SEARCH_STATE_H
#define BAYPLAN_PLAN_SEARCH_STATE_H

#include "plan/search_model.h"

typedef struct bp__undo {
    uint32_t what; /* kind in the upper bits, index below */
    uint32_t aux;
    uint64_t old;
} bp__undo;

typedef struct bp__state {
    const bp__search_model *model;
    bp_allocator alloc;
    uint64_t limit;       /* no item may end above this */
    uint64_t *floor;      /* section: nothing fits below this any more */
    uint64_t *total;      /* section: unplaced bytes and pins above the floor */
    uint64_t *least;      /* item: lowest level still possible (unplaced), or
                             its offset (placed) */
    uint32_t *n_active;   /* section: unplaced items, first in its list */
    uint32_t *list;       /* sections' items, unplaced ones first */
    uint32_t *slot;       /* (item, section): place in the section's list */
    uint32_t *n_starting; /* section: unplaced items that begin here */
    uint32_t *starting;   /* items by first section, unplaced ones first */
    uint32_t *start_slot; /* item: place in `starting` */
    uint32_t *crossing;   /* unplaced items alive in both s and s + 1 */
    uint32_t *witness;    /* section: an item whose least is the floor */
    uint32_t *next_pin;   /* section: first pin above the floor */
    uint64_t *need;       /* section x set of residues: what its unplaced items
                             cover at least */
    uint8_t *is_placed;
    uint32_t *raised;   /* queue of sections whose floor rose */
    uint32_t *doubted;  /* queue of sections whose witness may be gone */
    uint8_t *is_queued; /* bit 0: in raised, bit 1: in doubted */
    uint32_t n_raised, n_doubted;
    bp__undo *trail;
    size_t n_trail, trail_capacity;
    bool is_out_of_memory;
    uint32_t dead_end; /* section at which the last failed step failed */
} bp__state;

BP_MUST_USE bool bp__state_init(bp__state *state, const bp__search_model *model,
                                const bp_allocator *alloc);
void bp__state_fini(bp__state *state);

/* Forget every placement and start towards `limit`. False: no plan reaches
 * it. */
BP_MUST_USE bool bp__state_start(bp__state *state, uint64_t limit);

/* Put an unplaced item at its lowest level, or say that nothing lies in a
 * section below `level`; then propagate. False: a dead end (or no memory); the
 * caller undoes. */
BP_MUST_USE bool bp__state_place(bp__state *state, uint32_t item);
BP_MUST_USE bool bp__state_raise(bp__state *state, uint32_t section,
                                 uint64_t level);
/* Say that `item` lies at `level` or higher. */
BP_MUST_USE bool bp__state_lift(bp__state *state, uint32_t item,
                                uint64_t level);

/* The lowest level at or above `level` where `item` could lie: aligned, and
 * with no pin in the way. */
uint64_t bp__item_level(const bp__search_model *model, const bp__item *item,
                        uint64_t level);

/* Are there too few addresses of some residues between a section's floor and
 * the limit for what it still has to take? */
bool bp__state_is_starved(const bp__state *state, uint32_t section);

/* Back to the moment when n_trail was `mark`. */
void bp__state_undo(bp__state *state, size_t mark);

#endif
