/* choose.h - slots taken off their heaps in the order in which they would go,
 * to be claimed, or looked at and put back.
 *
 * Between begin and put_back no other function of the tree is called. All under
 * the tree's lock; nothing can fail.
 */
#ifndef BAYPLAN_DEVICE_CHOOSE_H
#define BAYPLAN_DEVICE_CHOOSE_H

#include "device/claim.h"

typedef struct bp__picks {
    bp_tree *tree;
    bp__manager *only;        /* whose slots alone; NULL: everyone's */
    bool may_wait;            /* also slots the device may still use */
    const bp__choice *choice; /* what is to go; NULL: they are only named */
    bp__slot *first;          /* in order, linked by next_chosen */
    bp__slot **end;
    bp__slot *skipped; /* cannot go now */
    size_t n;
    uint64_t n_bytes;
} bp__picks;

void bp__picks_begin_locked(bp_tree *tree, bp__picks *picks, bp__manager *only,
                            bool may_wait);
/* The next slot under `budget`; NULL: there is none. */
bp__slot *bp__pick_next_locked(bp__picks *picks, const bp__budget *budget);
/* Until what was picked has n_bytes, or there is no more. True: it has. */
bool bp__pick_bytes_locked(bp__picks *picks, const bp__budget *budget,
                           uint64_t n_bytes);
/* Until the claim could be taken; NULL. Otherwise the budget that stays short.
 */
bp__budget *bp__pick_for_locked(bp__picks *picks, const bp__claim *claim);
/* Every slot that was picked or skipped is in its heap again. */
void bp__picks_put_back_locked(bp__picks *picks);

/* Why a request was refused; see report.c. */
typedef struct bp__refusal {
    bp__budget *refuser;
    const bp__manager *asker; /* whose policy words the suggestion, or NULL */
    bp__manager *only;        /* whose slots it may name; NULL: everyone's */
    uint64_t requested;
    uint64_t n_short; /* bytes that would have helped */
} bp__refusal;

/* Fill both (nullable) and count nothing. BUDGET_EXCEEDED. */
bp_status bp__report_locked(bp_tree *tree, const bp__refusal *why,
                            bp_shortage *out, bp_error *error);

/* Is `budget` the other, or above it? */
static inline bool bp__is_over(const bp__budget *budget,
                               const bp__budget *other)
{
    while (other != NULL && other->depth > budget->depth) {
        other = other->parent;
    }
    return other == budget;
}

/* Could this slot go, if the device were done with it (may_wait), or now? */
bool bp__slot_can_go(const bp__slot *slot, bool may_wait);

#endif
