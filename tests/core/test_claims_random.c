/* test_claims_random.c - many claims at once in trees of budgets, against a
 * choice of victims worked out the slow way; what was promised to a claim
 * reaches it whatever happens meanwhile. */
#include "slots_fixture.h"

static fixture it;

#define CHECK_WHOLE() CHECK(fixture_is_whole(&it))

enum { N_BUDGETS = 7, N_CLAIMS = 4, N_PROMISES = 3, N_SLOTS = 24 };

typedef struct job {
    bp__claim claim;
    bp__slot *slot;   /* what it is for; NULL: no job */
    bool is_promised; /* all it lacks is on its way, and nothing failed */
} job;

static struct {
    bp__budget *budgets[N_BUDGETS];
    bp__manager *managers[N_BUDGETS];
    job jobs[N_CLAIMS];
    bp_reservation promises[N_PROMISES];
    uint64_t charged[N_BUDGETS];
    uint64_t seed;
    unsigned n_names;
    unsigned n_chosen, n_sibling_victims, n_refused, n_commits;
} world;

static uint64_t below(uint64_t n)
{
    return random_below(&world.seed, n);
}

static bool is_over(const bp__budget *top, const bp__budget *budget)
{
    while (budget != NULL && budget != top) {
        budget = budget->parent;
    }
    return budget == top;
}

static void build_world(uint64_t seed)
{
    memset(&world, 0, sizeof world);
    world.seed = seed;
    fixture_init(&it);
    for (size_t i = 0; i < N_BUDGETS; i++) {
        bp__budget *parent = i == 0 ? NULL : world.budgets[below(i)];
        while (parent != NULL && parent->depth == 3) {
            parent = parent->parent;
        }
        uint64_t limit = 200 + below(200);
        world.budgets[i] = fixture_budget(
            &it, parent == NULL ? limit + 200 : limit, parent, NULL);
        CHECK(world.budgets[i] != NULL);
        world.managers[i] = fixture_manager(&it, world.budgets[i],
                                            below(3) == 0 ? BP_POLICY_BIG_FIRST
                                                          : BP_POLICY_LRU);
    }
}

/* ---- the oracle of a choice ---------------------------------------------- */

static bool may_go(const bp__slot *slot, bool may_wait)
{
    return slot->state == BP_SLOT_RESIDENT && !slot->is_pinned &&
           slot->n_host_uses == 0 && (may_wait || !slot->is_busy);
}

static bool is_first(const bp__slot *a, const bp__slot *b, bool is_same)
{
    uint64_t a_use = atomic_load(&a->stamp->last_use);
    uint64_t b_use = atomic_load(&b->stamp->last_use);
    if (a->priority != b->priority) {
        return a->priority < b->priority;
    }
    if (is_same && a->manager->policy == BP_POLICY_BIG_FIRST &&
        a->n_charged != b->n_charged) {
        return a->n_charged > b->n_charged;
    }
    return a_use != b_use ? a_use < b_use : a->order < b->order;
}

static bool is_among(const bp__slot *slot, bp__slot *const *list, size_t n)
{
    while (n > 0 && list[n - 1] != slot) {
        n--;
    }
    return n > 0;
}

static bp__slot *next_victim(const bp__budget *budget, bool may_wait,
                             bp__slot *const *taken, size_t n)
{
    bp__slot *best = NULL;
    for (size_t m = 0; m < N_BUDGETS; m++) {
        const bp__manager *manager = world.managers[m];
        bp__slot *head = NULL;
        for (size_t i = 0;
             is_over(budget, manager->budget) && i < manager->n_slots; i++) {
            bp__slot *slot = manager->slots[i];
            if (may_go(slot, may_wait) && !is_among(slot, taken, n) &&
                (head == NULL || is_first(slot, head, true))) {
                head = slot;
            }
        }
        if (head != NULL && (best == NULL || is_first(head, best, false))) {
            best = head;
        }
    }
    return best;
}

/* Bytes on their way to the claim at this budget, added up from the blocks. */
static uint64_t coming_to(const bp__claim *claim, const bp__budget *budget)
{
    uint64_t n = 0;
    const bp__slot *slot;
    for (size_t i = 0; (slot = bp__handles_next(&it.tree->slots, &i)) != NULL;
         i++) {
        if (slot->block != NULL && slot->block->claim == claim &&
            is_over(budget, slot->manager->budget)) {
            n += slot->n_charged;
        }
    }
    for (const bp__block *block = it.tree->retirees; block != NULL;
         block = block->next) {
        if (block->claim == claim && is_over(budget, block->budget)) {
            n += block->n_charged;
        }
    }
    return n;
}

/* Would the budget be short, had the `n` slots gone for the claim? In whole
 * numbers that may be negative: what will be in use, against the limit. */
static bool is_short(const bp__claim *claim, const bp__budget *budget,
                     bp__slot *const *taken, size_t n)
{
    int64_t missing =
        (int64_t)claim->need - (int64_t)claim->held[budget->depth];
    int64_t will_be = (int64_t)bp__in_use(budget) + missing -
                      (int64_t)coming_to(claim, budget);
    for (size_t i = 0; i < n; i++) {
        will_be -= is_over(budget, taken[i]->manager->budget)
                       ? (int64_t)taken[i]->n_charged
                       : 0;
    }
    return missing > 0 && will_be > (int64_t)budget->limit;
}

/* The victims, or SIZE_MAX and who refuses. */
static size_t expected(const bp__claim *claim, bool may_wait, bp__slot **taken,
                       bp__budget **refuser)
{
    size_t n = 0;
    for (bp__budget *budget = claim->budget; budget != NULL;
         budget = budget->parent) {
        while (is_short(claim, budget, taken, n)) {
            taken[n] = next_victim(budget, may_wait, taken, n);
            if (taken[n] == NULL) {
                *refuser = budget;
                return SIZE_MAX;
            }
            n++;
        }
    }
    return n;
}

/* ---- what happens in it -------------------------------------------------- */

static void begin_job(job *work)
{
    size_t m = (size_t)below(N_BUDGETS);
    bp__manager *manager = world.managers[m];
    bp__slot *slot = NULL;
    if (manager->n_slots != 0 && below(3) == 0) {
        slot = manager->slots[below(manager->n_slots)];
        if (slot->state != BP_SLOT_EVICTED) {
            return;
        }
        CHECK(bp__slot_wake_locked(it.tree, slot, &work->claim));
    } else if (it.tree->slots.n_items < N_SLOTS) {
        char name[24];
        (void)snprintf(name, sizeof name, "slot %u", world.n_names++);
        bp_slot_request request = fixture_request(name, 1 + below(120));
        request.priority = (int32_t)below(2);
        request.is_pinned = below(8) == 0;
        CHECK_STATUS(bp__slot_new_locked(it.tree, manager, &request, NULL,
                                         &slot, &it.error),
                     BP_OK, &it.error);
        slot->claim = &work->claim;
    } else {
        return;
    }
    bp__reservation *promise = bp__handles_get(
        &it.tree->reservations, world.promises[below(N_PROMISES)]);
    if (promise != NULL && promise->budget != manager->budget) {
        promise = NULL;
    }
    work->slot = slot;
    work->is_promised = false;
    bp__claim_begin_locked(it.tree, &work->claim, manager->budget,
                           slot->n_charged, promise);
}

static void find_room(job *work)
{
    bp__slot *want[N_SLOTS + 1], *got[N_SLOTS];
    bp__budget *refuser = NULL;
    bool may_wait = below(2) == 0;
    size_t n_want = expected(&work->claim, may_wait, want, &refuser);
    bp__choice choice = {.may_wait = may_wait,
                         .is_claiming = true,
                         .victims = got,
                         .capacity = N_SLOTS};
    char *before = fixture_dump(&it);
    bool is_chosen = bp__claim_choose_locked(it.tree, &work->claim, &choice);
    CHECK(is_chosen == (n_want != SIZE_MAX));
    CHECK(choice.refuser == refuser);
    if (!is_chosen) {
        world.n_refused++;
        CHECK(fixture_is_as(&it, before));
        return;
    }
    fixture_free_dump(&it, before);
    CHECK_U64(choice.n_victims, n_want);
    for (size_t i = 0; i < n_want; i++) {
        CHECK(got[i] == want[i]);
        CHECK(got[i]->state == BP_SLOT_EVICTING);
        CHECK(got[i]->claim == &work->claim);
        world.n_sibling_victims +=
            !is_over(got[i]->manager->budget, work->claim.budget);
    }
    world.n_chosen += n_want != 0;
    work->is_promised = true;
}

/* In all budgets over it: so much to the claim, the rest to nobody. */
static void retire_and_compare(bp__block *block)
{
    bp__claim *claim = block->claim;
    uint64_t n = block->n_charged;
    bp__budget *const leaf = block->budget;
    uint64_t reserved[4], available[4];
    for (const bp__budget *b = leaf; b != NULL; b = b->parent) {
        bool is_shared = claim != NULL && is_over(b, claim->budget);
        uint64_t missing = is_shared ? claim->need - claim->held[b->depth] : 0;
        uint64_t more = missing < n ? missing : n;
        reserved[b->depth] = b->reserved + more;
        uint64_t in_use = bp__in_use(b) - (n - more);
        available[b->depth] = in_use >= b->limit ? 0 : b->limit - in_use;
    }
    fixture_retire(&it, block);
    for (const bp__budget *b = leaf; b != NULL; b = b->parent) {
        CHECK_U64(b->reserved, reserved[b->depth]);
        CHECK_U64(bp__available(b), available[b->depth]);
    }
}

static job *job_of(const bp__claim *claim)
{
    for (size_t i = 0; i < N_CLAIMS; i++) {
        if (claim != NULL && &world.jobs[i].claim == claim) {
            return &world.jobs[i];
        }
    }
    return NULL;
}

static void spoil(const bp__claim *claim)
{
    job *work = job_of(claim);
    if (work != NULL) {
        work->is_promised = false;
    }
}

static void move_retiree(void)
{
    uint32_t n = atomic_load(&it.tree->n_retirees);
    if (n == 0) {
        return;
    }
    bp__block *block = it.tree->retirees;
    for (uint64_t i = below(n); i > 0; i--) {
        block = block->next;
    }
    if (below(8) == 0) {
        spoil(block->claim);
        bp__block_fail_locked(it.tree, block);
    } else {
        retire_and_compare(block);
    }
}

static void move_slot(bp__slot *slot)
{
    switch (slot->state) {
    case BP_SLOT_RESIDENT:
        if (below(4) == 0) {
            bp__slot_go_locked(it.tree, slot, NULL);
        } else if (below(3) == 0) {
            slot->is_busy = !slot->is_busy;
        } else {
            bp_stamp_touch(it.tree, slot->stamp);
        }
        break;
    case BP_SLOT_EVICTING:
        if (slot->block == NULL) {
            bp__slot_gone_locked(it.tree, slot, true);
        } else if (below(8) == 0) {
            spoil(slot->claim);
            bp__slot_stay_locked(it.tree, slot);
        } else {
            bp__slot_depart_locked(it.tree, slot, BP_CAUSE_PRESSURE);
        }
        break;
    case BP_SLOT_EVICTED:
        if (below(3) == 0) {
            bp__slot_free_locked(it.tree, slot);
        }
        break;
    default:
        break;
    }
}

static void give_up(job *work)
{
    bp__slot *slot;
    for (size_t i = 0; (slot = bp__handles_next(&it.tree->slots, &i)) != NULL;
         i++) {
        if (slot->claim == &work->claim && slot->block != NULL) {
            bp__slot_stay_locked(it.tree, slot);
        }
    }
    bp__claim_abort_locked(it.tree, &work->claim);
    if (work->slot->is_new) {
        bp__slot_free_locked(it.tree, work->slot);
    } else {
        bp__slot_sleep_locked(it.tree, work->slot);
    }
    work->slot = NULL;
}

static void move_job(job *work)
{
    if (work->slot == NULL) {
        begin_job(work);
    } else if (bp__claim_is_complete(&work->claim)) {
        bp__claim_commit_locked(it.tree, &work->claim);
        bp__block *block = fixture_block(&it);
        bp__slot_arrive_locked(it.tree, work->slot, block);
        work->slot = NULL;
        world.n_commits++;
    } else if (below(12) == 0) {
        give_up(work);
    } else if (!work->is_promised) {
        if (below(2) == 0 && bp__claim_take_locked(it.tree, &work->claim)) {
            work->is_promised = true;
        } else {
            find_room(work);
        }
    }
}

static void move_ledger(void)
{
    size_t i = (size_t)below(N_BUDGETS), p = (size_t)below(N_PROMISES);
    bp_budget budget = world.budgets[i]->handle;
    bp_status status = BP_OK;
    bool is_deferred;
    switch (below(5)) {
    case 0:
        if (world.charged[i] == 0 &&
            bp_budget_charge(it.tree, budget, 1 + p * 20, NULL, NULL, NULL) ==
                BP_OK) {
            world.charged[i] = 1 + p * 20;
        }
        break;
    case 1:
        if (world.charged[i] != 0) {
            status = bp_budget_refund(it.tree, budget, world.charged[i], NULL,
                                      &it.error);
            world.charged[i] = 0;
        }
        break;
    case 2:
        if (below(4) == 0) {
            status = bp_budget_set_limit(it.tree, budget,
                                         250 - (uint64_t)below(2) * below(200),
                                         &is_deferred, &it.error);
        }
        break;
    case 3:
        if (bp_reservation_left(it.tree, world.promises[p]) == 0) {
            bp_reservation_close(it.tree, world.promises[p]);
            status = bp_budget_reserve(it.tree, budget, 1 + below(60),
                                       &world.promises[p], NULL, NULL);
            status = status == BP_BUDGET_EXCEEDED ? BP_OK : status;
        }
        break;
    default:
        bp_reservation_close(it.tree, world.promises[p]);
        break;
    }
    CHECK_STATUS(status, BP_OK, &it.error);
}

/* What was promised to a claim, it has or gets, whatever others do. */
static void promises_are_kept(void)
{
    for (size_t i = 0; i < N_CLAIMS; i++) {
        const job *work = &world.jobs[i];
        if (work->slot == NULL || !work->is_promised) {
            continue;
        }
        const bp__claim *claim = &work->claim;
        for (const bp__budget *b = claim->budget; b != NULL; b = b->parent) {
            CHECK(claim->held[b->depth] + coming_to(claim, b) >= claim->need);
        }
        CHECK(claim->n_retiring != 0 || bp__claim_is_complete(claim));
    }
}

static void random_world(uint64_t seed, unsigned n_rounds)
{
    build_world(seed);
    CHECK_PASSED();
    for (unsigned round = 0; round < n_rounds; round++) {
        uint64_t what = below(10);
        if (what < 4) {
            move_job(&world.jobs[below(N_CLAIMS)]);
        } else if (what < 6) {
            move_retiree();
        } else if (what < 9) {
            bp__manager *manager = world.managers[below(N_BUDGETS)];
            if (manager->n_slots != 0) {
                move_slot(manager->slots[below(manager->n_slots)]);
            }
        } else {
            move_ledger();
        }
        CHECK_PASSED();
        CHECK_WHOLE();
        promises_are_kept();
        CHECK_PASSED();
    }
    for (size_t i = 0; i < N_CLAIMS; i++) {
        if (world.jobs[i].slot != NULL) {
            give_up(&world.jobs[i]);
        }
    }
    CHECK(it.tree->claims == NULL);
    CHECK(fixture_fini(&it));
}

static void random_claims(void)
{
    unsigned n_chosen = 0, n_siblings = 0, n_refused = 0, n_commits = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        random_world(seed, 4000);
        if (harness.is_failed) {
            printf("seed %" PRIu64 "\n", seed);
            return;
        }
        n_chosen += world.n_chosen;
        n_siblings += world.n_sibling_victims;
        n_refused += world.n_refused;
        n_commits += world.n_commits;
    }
    /* It was about something. */
    CHECK(n_chosen > 100 && n_siblings > 50 && n_refused > 100);
    CHECK(n_commits > 500);
}

int main(void)
{
    RUN(random_claims);
    return finish();
}
