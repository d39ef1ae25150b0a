/* choose.c - the choice of victims: the heaps of all managers under a budget
 * are merged by (priority, age), for as long as the budget is short; then the
 * same for its parent. */
#include "device/choose.h"

#include "device/ledger.h"

#include <assert.h>

/* ---- picking ------------------------------------------------------------- */

void bp__picks_begin_locked(bp_tree *tree, bp__picks *picks, bp__manager *only,
                            bool may_wait)
{
    *picks = (bp__picks){.tree = tree, .only = only, .may_wait = may_wait};
    picks->end = &picks->first;
    bp__manager *manager;
    for (size_t i = 0;
         (manager = bp__handles_next(&tree->managers, &i)) != NULL; i++) {
        if (only == NULL || only == manager) {
            bp__heap_refresh_locked(manager);
        }
    }
}

bool bp__slot_can_go(const bp__slot *slot, bool may_wait)
{
    return slot->state == BP_SLOT_RESIDENT && !slot->is_pinned &&
           slot->n_host_uses == 0 && !slot->is_loading &&
           !slot->manager->is_closing && (may_wait || !slot->is_busy);
}

/* Both are the first of their managers' heaps. */
static bool goes_before(const bp__slot *a, const bp__slot *b)
{
    if (a->priority != b->priority) {
        return a->priority < b->priority;
    }
    uint64_t a_use = bp__heap_last_use_locked(a);
    uint64_t b_use = bp__heap_last_use_locked(b);
    return a_use != b_use ? a_use < b_use : a->order < b->order;
}

/* A slot that is being replaced belongs to the call that replaces it: it goes
 * for nobody else, but is told of where nothing is to go. */
static bool is_candidate(const bp__picks *picks, const bp__slot *slot)
{
    bool is_free = picks->choice == NULL || picks->choice->mine == slot ||
                   bp__slot_is_listed(slot);
    bool is_old = picks->choice == NULL || picks->choice->before == 0 ||
                  slot->generation < picks->choice->before;
    return is_free && is_old && bp__slot_can_go(slot, picks->may_wait);
}

/* The slot of a manager that would go first, still in its heap, once those that
 * cannot go are off it. */
static bp__slot *first_of(bp__picks *picks, bp__manager *manager)
{
    bp__slot *slot;
    while ((slot = bp__heap_first_locked(manager)) != NULL &&
           !is_candidate(picks, slot)) {
        bp__heap_remove_locked(slot);
        slot->next_chosen = picks->skipped;
        picks->skipped = slot;
    }
    return slot;
}

static bool is_asked(const bp__picks *picks, const bp__manager *manager)
{
    const void *backend = picks->choice == NULL ? NULL : picks->choice->backend;
    return (picks->only == NULL || picks->only == manager) &&
           (backend == NULL || backend == manager->backend) &&
           !manager->is_closing;
}

static bp__slot *first_under(bp__picks *picks, const bp__budget *budget)
{
    bp__slot *best = NULL;
    bp__manager *manager;
    for (size_t i = 0;
         (manager = bp__handles_next(&picks->tree->managers, &i)) != NULL;
         i++) {
        if (!is_asked(picks, manager) ||
            !bp__is_over(budget, manager->budget)) {
            continue;
        }
        bp__slot *slot = first_of(picks, manager);
        if (slot != NULL && (best == NULL || goes_before(slot, best))) {
            best = slot;
        }
    }
    return best;
}

bp__slot *bp__pick_next_locked(bp__picks *picks, const bp__budget *budget)
{
    bp__slot *slot = first_under(picks, budget);
    if (slot != NULL) {
        bp__heap_remove_locked(slot);
        slot->next_chosen = NULL;
        *picks->end = slot;
        picks->end = &slot->next_chosen;
        picks->n++;
        picks->n_bytes += slot->n_charged;
    }
    return slot;
}

bool bp__pick_bytes_locked(bp__picks *picks, const bp__budget *budget,
                           uint64_t n_bytes)
{
    while (picks->n_bytes < n_bytes) {
        if (bp__pick_next_locked(picks, budget) == NULL) {
            return false;
        }
    }
    return true;
}

bp__budget *bp__pick_for_locked(bp__picks *picks, const bp__claim *claim)
{
    /* Who was picked for a budget is under all its parents, too. */
    for (bp__budget *budget = claim->budget; budget != NULL;
         budget = budget->parent) {
        while (bp__claim_short_of(claim, budget, picks->n_bytes) != 0) {
            if (bp__pick_next_locked(picks, budget) == NULL) {
                return budget;
            }
        }
    }
    return NULL;
}

static void put_back(bp__slot *slot)
{
    while (slot != NULL) {
        bp__slot *next = slot->next_chosen;
        slot->next_chosen = NULL;
        bp__heap_insert_locked(slot);
        slot = next;
    }
}

void bp__picks_put_back_locked(bp__picks *picks)
{
    put_back(picks->first);
    put_back(picks->skipped);
    picks->first = picks->skipped = NULL;
    picks->end = &picks->first;
}

/* ---- choices ------------------------------------------------------------- */

static void begin_choice(bp_tree *tree, bp__picks *picks,
                         const bp__choice *choice)
{
    bp__picks_begin_locked(tree, picks, choice->only, choice->may_wait);
    picks->choice = choice;
}

static void write_down(const bp__picks *picks, bp__choice *choice)
{
    size_t i = 0;
    for (bp__slot *slot = picks->first; slot != NULL && i < choice->capacity;
         slot = slot->next_chosen) {
        choice->victims[i++] = slot;
    }
    choice->n_victims = picks->n;
    choice->n_bytes = picks->n_bytes;
}

/* All that was picked goes; the skipped ones are put back. */
static void let_go(bp__picks *picks, bp__claim *claim)
{
    bp__slot *slot = picks->first;
    picks->first = NULL;
    while (slot != NULL) {
        bp__slot *next = slot->next_chosen;
        slot->next_chosen = NULL;
        bp__slot_go_locked(picks->tree, slot, claim);
        slot = next;
    }
    bp__picks_put_back_locked(picks);
}

bool bp__claim_choose_locked(bp_tree *tree, bp__claim *claim,
                             bp__choice *choice)
{
    bp__picks picks;
    begin_choice(tree, &picks, choice);
    choice->refuser = bp__pick_for_locked(&picks, claim);
    write_down(&picks, choice);
    if (choice->refuser != NULL ||
        (choice->is_claiming && choice->n_victims > choice->capacity)) {
        bp__picks_put_back_locked(&picks);
        return false;
    }
    if (!choice->is_claiming) {
        bp__picks_put_back_locked(&picks);
        return true;
    }
    let_go(&picks, claim);
    bool is_taken = bp__claim_take_locked(tree, claim);
    assert(is_taken);
    (void)is_taken;
    return true;
}

/* ---- down to a target ---------------------------------------------------- */

/* Bytes of a block that will become available in `budget`, and on the backend
 * that is asked for, by themselves. */
static uint64_t leaves(const bp__block *block, const bp__budget *budget,
                       const void *backend)
{
    if (block == NULL || block->is_failed ||
        (backend != NULL && backend != block->manager->backend) ||
        !bp__is_over(budget, block->budget)) {
        return 0;
    }
    bool is_claimed = block->claim != NULL &&
                      budget->depth < bp__n_shared_depths(block->claim->budget,
                                                          block->budget);
    return is_claimed ? 0 : block->n_charged;
}

static uint64_t leaving_of(const bp_tree *tree, const bp__budget *budget,
                           const void *backend)
{
    if (budget->retiring == 0) {
        return 0;
    }
    uint64_t n = 0;
    for (const bp__block *block = tree->retirees; block != NULL;
         block = block->next) {
        n += leaves(block, budget, backend);
    }
    const bp__slot *slot;
    for (size_t i = 0; (slot = bp__handles_next(&tree->slots, &i)) != NULL;
         i++) {
        if (slot->state == BP_SLOT_EVICTING) {
            n += leaves(slot->block, budget, backend);
        }
    }
    return n;
}

void bp__choose_down_locked(bp_tree *tree, bp__budget *budget, uint64_t target,
                            bp__choice *choice)
{
    uint64_t in_use =
        bp__in_use(budget) - leaving_of(tree, budget, choice->backend);
    bp__picks picks;
    begin_choice(tree, &picks, choice);
    choice->refuser = NULL;
    while (in_use > target &&
           !(choice->is_claiming && picks.n == choice->capacity)) {
        const bp__slot *slot = bp__pick_next_locked(&picks, budget);
        if (slot == NULL) {
            choice->refuser = budget;
            break;
        }
        in_use -= slot->n_charged;
    }
    write_down(&picks, choice);
    if (choice->is_claiming) {
        let_go(&picks, NULL);
    } else {
        bp__picks_put_back_locked(&picks);
    }
}

/* ---- in flight ----------------------------------------------------------- */

static uint64_t claims_of_others(const bp_tree *tree, const bp__budget *budget,
                                 const bp__claim *mine)
{
    uint64_t n = 0;
    for (const bp__claim *claim = tree->claims; claim != NULL;
         claim = claim->next) {
        if (claim != mine && bp__is_over(budget, claim->budget)) {
            n += claim->held[budget->depth];
        }
    }
    return n;
}

uint64_t bp__in_flight_locked(const bp_tree *tree, const bp__budget *budget,
                              const bp__claim *mine)
{
    uint64_t n = budget->retiring + claims_of_others(tree, budget, mine);
    if (mine != NULL && bp__is_over(budget, mine->budget)) {
        n -= mine->coming[budget->depth];
    }
    const bp__slot *slot;
    for (size_t i = 0; (slot = bp__handles_next(&tree->slots, &i)) != NULL;
         i++) {
        if (slot->state != BP_SLOT_RESIDENT ||
            !bp__is_over(budget, slot->manager->budget)) {
            continue;
        }
        if (slot->manager->is_closing ||
            (slot->is_busy && bp__slot_can_go(slot, true))) {
            n += slot->n_charged;
        }
    }
    return n;
}
