/* residue.h - what alignment alone costs one live set.
 *
 * Where buffers are alive together they form a stack, and every byte of it is
 * one address. Count, for a set Q of residues modulo the largest alignment,
 * how many addresses of Q each buffer covers at least, wherever its alignment
 * lets it begin: the sum is a number of addresses of Q below the height, so it
 * bounds the height. All sets Q are tried.
 *
 * Ownership: plain values. Threads: pure. No memory is asked for.
 */
#ifndef BAYPLAN_PLAN_RESIDUE_H
#define BAYPLAN_PLAN_RESIDUE_H

#include "bayplan/base.h"

#define BP__MAX_RESIDUES    8u
#define BP__N_RESIDUE_SETS  (1u << BP__MAX_RESIDUES)
#define BP__N_ALIGN_CLASSES 4u /* 1, 2, 4, 8 units */

typedef struct bp__residues {
    uint64_t unit; /* a power of two that divides every size */
    uint32_t n;    /* residues: 1, 2, 4 or 8 */
    /* Addresses of a set covered at least by (alignment class, size mod n). */
    uint8_t covered[BP__N_ALIGN_CLASSES][BP__MAX_RESIDUES][BP__N_RESIDUE_SETS];
} bp__residues;

/* The live set, summed up. */
typedef struct bp__residue_counts {
    uint64_t n_rounds; /* sum of size / n, in units */
    uint32_t n_items[BP__N_ALIGN_CLASSES][BP__MAX_RESIDUES];
} bp__residue_counts;

/* `unit` divides all sizes (and pins); `max_align` is the largest alignment. */
void bp__residues_init(bp__residues *residues, uint64_t unit,
                       uint64_t max_align);

void bp__residues_count(const bp__residues *residues,
                        bp__residue_counts *counts, uint64_t size,
                        uint64_t align);

/* How many addresses of the set, in units, one buffer covers at least. */
uint64_t bp__residues_need(const bp__residues *residues, uint64_t size,
                           uint64_t align, uint32_t set);

/* A height in bytes that no plan of the live set is below. */
uint64_t bp__residues_bound(const bp__residues *residues,
                            const bp__residue_counts *counts);

#endif
