/* claim.c - transactions on the ledger: what a claim holds at each depth, what
 * is on its way to it, and how the one becomes the other. */
#include "device/claim.h"

#include "device/ledger.h"

#include <assert.h>
#include <string.h>

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint32_t bp__n_shared_depths(const bp__budget *a, const bp__budget *b)
{
    while (a != NULL && b != NULL && a != b) {
        if (a->depth >= b->depth) {
            a = a->parent;
        } else {
            b = b->parent;
        }
    }
    return a == NULL || b == NULL ? 0 : a->depth + 1;
}

void bp__claim_begin_locked(bp_tree *tree, bp__claim *claim, bp__budget *leaf,
                            uint64_t need, bp__reservation *reservation)
{
    memset(claim, 0, sizeof *claim);
    claim->budget = leaf;
    claim->need = need;
    if (reservation != NULL) {
        assert(reservation->budget == leaf);
        uint64_t n = smaller(need, reservation->n_left);
        reservation->n_left -= n;
        claim->reservation = reservation->handle;
        claim->from_reservation = n;
        for (uint32_t depth = 0; depth <= leaf->depth; depth++) {
            claim->held[depth] = n;
        }
    }
    claim->next = tree->claims;
    tree->claims = claim;
}

/* ---- what is short ------------------------------------------------------- */

uint64_t bp__claim_short_of(const bp__claim *claim, const bp__budget *budget,
                            uint64_t n_more)
{
    uint64_t coming = claim->coming[budget->depth] + n_more;
    uint64_t missing = claim->need - claim->held[budget->depth];
    /* Once all that comes has come and what it lacks is had, the budget is to
     * be within its limit, also if that was lowered below use. */
    uint64_t stays = less(bp__in_use(budget), coming);
    return missing == 0 ? 0 : less(missing, less(budget->limit, stays));
}

bp__budget *bp__claim_first_short_locked(const bp__claim *claim)
{
    bp__budget *budget = claim->budget;
    while (budget != NULL && bp__claim_short_of(claim, budget, 0) == 0) {
        budget = budget->parent;
    }
    return budget;
}

bool bp__claim_take_locked(bp_tree *tree, bp__claim *claim)
{
    if (bp__claim_first_short_locked(claim) != NULL) {
        return false;
    }
    for (bp__budget *budget = claim->budget; budget != NULL;
         budget = budget->parent) {
        uint32_t depth = budget->depth;
        uint64_t n =
            less(claim->need - claim->held[depth], claim->coming[depth]);
        bp__move_one(budget, n, BP__AVAILABLE, BP__RESERVED);
        claim->held[depth] += n;
    }
    bp__budget_changed_locked(tree, claim->budget, false);
    return true;
}

bool bp__claim_is_complete(const bp__claim *claim)
{
    for (uint32_t depth = 0; depth <= claim->budget->depth; depth++) {
        if (claim->held[depth] != claim->need) {
            return false;
        }
    }
    return true;
}

/* ---- blocks on their way to a claim -------------------------------------- */

void bp__claim_await_locked(bp__claim *claim, bp__block *block)
{
    assert(block->claim == NULL);
    uint32_t n = bp__n_shared_depths(claim->budget, block->budget);
    for (uint32_t depth = 0; depth < n; depth++) {
        claim->coming[depth] += block->n_charged;
    }
    claim->n_retiring += block->n_charged;
    block->claim = claim;
}

void bp__claim_forget_locked(bp__block *block)
{
    bp__claim *claim = block->claim;
    if (claim == NULL) {
        return;
    }
    uint32_t n = bp__n_shared_depths(claim->budget, block->budget);
    for (uint32_t depth = 0; depth < n; depth++) {
        claim->coming[depth] -= block->n_charged;
    }
    claim->n_retiring -= block->n_charged;
    block->claim = NULL;
}

void bp__claim_receive_locked(bp_tree *tree, bp__block *block)
{
    bp__claim *claim = block->claim;
    uint32_t n_shared =
        claim == NULL ? 0 : bp__n_shared_depths(claim->budget, block->budget);
    for (bp__budget *budget = block->budget; budget != NULL;
         budget = budget->parent) {
        uint64_t n = 0;
        if (budget->depth < n_shared) {
            uint64_t *held = &claim->held[budget->depth];
            n = smaller(block->n_charged, claim->need - *held);
            *held += n;
        }
        bp__move_one(budget, n, BP__RETIRING, BP__RESERVED);
        bp__move_one(budget, block->n_charged - n, BP__RETIRING, BP__AVAILABLE);
    }
    bp__claim_forget_locked(block);
    bp__budget_changed_locked(tree, block->budget, false);
}

/* ---- the end ------------------------------------------------------------- */

static void unlink_claim(bp_tree *tree, bp__claim *claim)
{
    bp__claim **at = &tree->claims;
    while (*at != claim) {
        at = &(*at)->next;
    }
    *at = claim->next;
}

/* What still retires for it retires for nobody. */
static void forget_all(bp_tree *tree, bp__claim *claim)
{
    for (bp__block *block = tree->retirees; block != NULL;
         block = block->next) {
        if (block->claim == claim) {
            bp__claim_forget_locked(block);
            if (block->slot != NULL) {
                block->slot->claim = NULL;
            }
        }
    }
    bp__slot *slot;
    for (size_t i = 0; claim->n_retiring != 0 &&
                       (slot = bp__handles_next(&tree->slots, &i)) != NULL;
         i++) {
        if (slot->block != NULL && slot->block->claim == claim) {
            bp__claim_forget_locked(slot->block);
            slot->claim = NULL;
        }
    }
}

static void close_claim(bp_tree *tree, bp__claim *claim, bool is_admission)
{
    forget_all(tree, claim);
    unlink_claim(tree, claim);
    bp__budget_changed_locked(tree, claim->budget, is_admission);
    bp__condition_broadcast(&tree->changed);
}

void bp__claim_commit_locked(bp_tree *tree, bp__claim *claim)
{
    assert(bp__claim_is_complete(claim));
    bp__move(claim->budget, claim->need, BP__RESERVED, BP__USED);
    close_claim(tree, claim, true);
}

void bp__claim_shed_locked(bp_tree *tree, bp__claim *claim)
{
    assert(bp__claim_is_complete(claim));
    bp__move(claim->budget, claim->need, BP__RESERVED, BP__RETIRING);
    close_claim(tree, claim, false);
}

void bp__claim_abort_locked(bp_tree *tree, bp__claim *claim)
{
    bp__reservation *reservation =
        bp__handles_get(&tree->reservations, claim->reservation);
    uint64_t n_back = reservation == NULL ? 0 : claim->from_reservation;
    if (reservation != NULL) {
        reservation->n_left += n_back;
    }
    for (bp__budget *budget = claim->budget; budget != NULL;
         budget = budget->parent) {
        uint64_t n = claim->held[budget->depth] - n_back;
        bp__move_one(budget, n, BP__RESERVED, BP__AVAILABLE);
    }
    close_claim(tree, claim, false);
}

/* ---- the check ----------------------------------------------------------- */

/* What retires for it, as the slots and the retirees have it. */
static void add_coming(const bp__claim *claim, const bp__block *block,
                       bp__claim *sums)
{
    if (block == NULL || block->claim != claim) {
        return;
    }
    uint32_t n = bp__n_shared_depths(claim->budget, block->budget);
    for (uint32_t depth = 0; depth < n; depth++) {
        sums->coming[depth] += block->n_charged;
    }
    sums->n_retiring += block->n_charged;
}

const char *bp__claims_check_locked(const bp_tree *tree)
{
    for (const bp__claim *claim = tree->claims; claim != NULL;
         claim = claim->next) {
        bp__claim sums = {.need = 0};
        for (const bp__block *block = tree->retirees; block != NULL;
             block = block->next) {
            add_coming(claim, block, &sums);
        }
        const bp__slot *slot;
        for (size_t i = 0; (slot = bp__handles_next(&tree->slots, &i)) != NULL;
             i++) {
            add_coming(claim, slot->block, &sums);
        }
        if (sums.n_retiring != claim->n_retiring ||
            memcmp(sums.coming, claim->coming, sizeof sums.coming) != 0) {
            return "bytes on their way to a claim";
        }
        for (uint32_t depth = 0; depth <= claim->budget->depth; depth++) {
            if (claim->held[depth] > claim->need ||
                claim->held[depth] < claim->from_reservation) {
                return "bytes held by a claim";
            }
        }
    }
    return NULL;
}
