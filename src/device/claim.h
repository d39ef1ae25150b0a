/* claim.h - transactions on the ledger: a claim takes what is available,
 * names victims for the rest, and gets the victims' bytes as they come free,
 * never through `available`.
 *
 *     begin -> choose* -> (runtime spills; depart; retire)* -> commit | abort
 *
 * All under the tree's lock.
 */
#ifndef BAYPLAN_DEVICE_CLAIM_H
#define BAYPLAN_DEVICE_CLAIM_H

#include "device/slots.h"
#include "device/tree.h"

/* What a choice of victims may take. */
typedef struct bp__choice {
    bp__manager *only;   /* this manager's slots alone; NULL: the whole order */
    const void *backend; /* slots on this one alone; NULL: on any */
    const bp__slot *mine; /* may go though it has lost its name: the caller is
                             who replaces it; NULL: none */
    uint64_t before;      /* what came with this generation or later stays; 0:
                             nothing for that */
    bool may_wait;        /* also slots the device may still use */
    bool is_claiming;     /* false: name them, change nothing */
    bp__slot **victims;   /* room of the caller's */
    size_t capacity;
    size_t n_victims;    /* may exceed capacity where nothing is claimed */
    uint64_t n_bytes;    /* of them all */
    bp__budget *refuser; /* of a choice that failed: who stayed short */
} bp__choice;

/* Open a claim for `need` bytes (rounded): takes up to that from `reservation`
 * (nullable). Takes nothing else. Cannot fail. */
void bp__claim_begin_locked(bp_tree *tree, bp__claim *claim, bp__budget *leaf,
                            uint64_t need, bp__reservation *reservation);
/* Try to complete it: everything it lacks, less what is retiring for it, is
 * taken from `available`. True if nothing is lacking but that. All or nothing.
 */
bool bp__claim_take_locked(bp_tree *tree, bp__claim *claim);
/* Name (and with is_claiming, claim: EVICTING, bytes used -> retiring for this
 * claim) the victims whose going would let bp__claim_take_locked succeed, in
 * the reclaim order; and, with is_claiming, take the rest. False, and nothing
 * changed, if there are not enough or more than `capacity` would be claimed
 * (choice->n_victims > capacity tells). */
bool bp__claim_choose_locked(bp_tree *tree, bp__claim *claim,
                             bp__choice *choice);
/* How many bytes keep it from that at `budget`, one of its chain, if n_more
 * were on their way to it there; 0: none. */
uint64_t bp__claim_short_of(const bp__claim *claim, const bp__budget *budget,
                            uint64_t n_more);
/* Complete: held in full at every depth. */
bool bp__claim_is_complete(const bp__claim *claim);
/* The first budget from the leaf up that keeps bp__claim_take_locked from
 * succeeding; NULL: none does. */
bp__budget *bp__claim_first_short_locked(const bp__claim *claim);
/* reserved -> used, and the claim is closed. It is complete. */
void bp__claim_commit_locked(bp_tree *tree, bp__claim *claim);
/* reserved -> retiring, and the claim is closed: memory was had, and will not
 * be used. It is complete; the caller has the block that these bytes are. */
void bp__claim_shed_locked(bp_tree *tree, bp__claim *claim);
/* What it holds goes back (first to its reservation), what retires for it goes
 * to nobody, its victims that are still EVICTING with their block are the
 * caller's to put back first (bp__slot_stay_locked). Closed. */
void bp__claim_abort_locked(bp_tree *tree, bp__claim *claim);

/* The depths, from the root down, at which two budgets have the same one. */
uint32_t bp__n_shared_depths(const bp__budget *a, const bp__budget *b);
/* A block in `retiring` will go to the claim; will go to nobody; is free, and
 * its bytes go to its claim as far as that needs them, or become available. */
void bp__claim_await_locked(bp__claim *claim, bp__block *block);
void bp__claim_forget_locked(bp__block *block);
void bp__claim_receive_locked(bp_tree *tree, bp__block *block);

/* Bytes that could become free without anyone's leave: retiring, in claims, of
 * slots the device may still use, and of managers that are closing, under
 * `budget`; all but what `mine` (nullable) has or waits for. */
uint64_t bp__in_flight_locked(const bp_tree *tree, const bp__budget *budget,
                              const bp__claim *mine);

/* Reclaim down to `target` bytes in use of `budget` (for evict_at, limits),
 * less what is leaving already: as many victims as it takes, as there are
 * (choice->refuser is `budget` then), or as choice->victims has room for;
 * claimed for nobody. */
void bp__choose_down_locked(bp_tree *tree, bp__budget *budget, uint64_t target,
                            bp__choice *choice);

/* Every invariant of the open claims; NULL, or the name of the broken one. */
const char *bp__claims_check_locked(const bp_tree *tree);

/* Fill `out` (nullable) with the state of the budget that refused and a
 * suggestion; also counts the refusal. `asker`: whose policy words the
 * suggestion, where it is true of all it names; NULL: a plain charge.
 * BUDGET_EXCEEDED. */
bp_status bp__refuse_room_locked(bp_tree *tree, bp__budget *refuser,
                                 const bp__manager *asker, uint64_t requested,
                                 bp_shortage *out, bp_error *error);
/* The same for an open claim (abort it afterwards): what it holds already, from
 * a reservation say, need not be found again. `refuser`: choice->refuser, or
 * NULL for the first that is short. */
bp_status bp__refuse_claim_locked(bp_tree *tree, const bp__claim *claim,
                                  bp__budget *refuser, const bp__manager *asker,
                                  bp_shortage *out, bp_error *error);

#endif
