/* test_victims.c - who goes first: the heaps and their merging against a plain
 * sort, and how little the heaps have to do. */
#include "slots_fixture.h"

#include "device/choose.h"

enum { N_MAX = 64 };

static fixture it;

/* ---- the oracle: sorted from scratch ------------------------------------- */

static uint64_t last_use_of(const bp__slot *slot)
{
    return atomic_load(&slot->stamp->last_use);
}

static uint64_t key_of(const bp__slot *slot)
{
    switch (slot->manager->policy) {
    case BP_POLICY_MRU:
        return UINT64_MAX - last_use_of(slot);
    case BP_POLICY_BIG_FIRST:
        return UINT64_MAX - slot->n_charged;
    case BP_POLICY_RANK:
        return slot->rank;
    default:
        return 0;
    }
}

static int by_number(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* Of slots of different managers, with_key false. */
static int compare(const bp__slot *a, const bp__slot *b, bool with_key)
{
    if (a->priority != b->priority) {
        return a->priority < b->priority ? -1 : 1;
    }
    int order = with_key ? by_number(key_of(a), key_of(b)) : 0;
    if (order == 0) {
        order = by_number(last_use_of(a), last_use_of(b));
    }
    return order != 0 ? order : by_number(a->order, b->order);
}

static bool may_go(const bp__slot *slot, bool may_wait)
{
    return slot->state == BP_SLOT_RESIDENT && !slot->is_pinned &&
           slot->n_host_uses == 0 && !slot->is_loading &&
           !slot->manager->is_closing && (may_wait || !slot->is_busy);
}

static bool is_under(const bp__budget *budget, const bp__budget *top)
{
    while (budget != NULL && budget != top) {
        budget = budget->parent;
    }
    return budget == top;
}

static bool is_among(const bp__slot *slot, bp__slot *const *out, size_t n)
{
    while (n > 0 && out[n - 1] != slot) {
        n--;
    }
    return n > 0;
}

/* Every slot under `top` that may go, in order: the first of each manager, of
 * those the first, and so on. */
static size_t sorted(const bp__budget *top, const bp__manager *only,
                     bool may_wait, bp__slot **out)
{
    size_t n = 0;
    for (;;) {
        bp__slot *best = NULL;
        bp__manager *manager;
        for (size_t i = 0;
             (manager = bp__handles_next(&it.tree->managers, &i)) != NULL;
             i++) {
            if ((only != NULL && only != manager) ||
                !is_under(manager->budget, top)) {
                continue;
            }
            bp__slot *head = NULL;
            for (size_t k = 0; k < manager->n_slots; k++) {
                bp__slot *slot = manager->slots[k];
                if (may_go(slot, may_wait) && !is_among(slot, out, n) &&
                    (head == NULL || compare(slot, head, true) < 0)) {
                    head = slot;
                }
            }
            if (head != NULL &&
                (best == NULL || compare(head, best, false) < 0)) {
                best = head;
            }
        }
        if (best == NULL) {
            return n;
        }
        out[n++] = best;
    }
}

/* ---- the same from the tree ---------------------------------------------- */

static void expect_order(bp__budget *top, bp__manager *only, bool may_wait)
{
    bp__slot *want[N_MAX], *got[N_MAX];
    size_t n = sorted(top, only, may_wait, want);
    bp__choice choice = {
        .only = only, .may_wait = may_wait, .victims = got, .capacity = N_MAX};
    char *before = fixture_dump(&it);
    bp__choose_down_locked(it.tree, top, 0, &choice);
    CHECK(fixture_is_as(&it, before));
    CHECK_U64(choice.n_victims, n);
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        CHECK(got[i] == want[i]);
        n_bytes += want[i]->n_charged;
    }
    CHECK_U64(choice.n_bytes, n_bytes);
    CHECK(fixture_is_whole(&it));
}

/* plan() names the shortest beginning of that order that makes room. */
static void expect_plan(bp__manager *manager, uint64_t n_bytes)
{
    bp__slot *order[N_MAX];
    size_t n_order = sorted(manager->budget, manager, false, order);
    uint64_t have = bp__available(manager->budget);
    size_t n_want = 0;
    while (have < n_bytes && n_want < n_order) {
        have += order[n_want++]->n_charged;
    }
    bp_slot out[N_MAX];
    size_t n = 99;
    bp_status status = bp_slots_plan(it.tree, manager->handle, n_bytes, out,
                                     N_MAX, &n, NULL, &it.error);
    if (have < n_bytes) {
        CHECK_U64(status, BP_BUDGET_EXCEEDED);
        CHECK_U64(n, 99);
        return;
    }
    CHECK_STATUS(status, BP_OK, &it.error);
    CHECK_U64(n, n_want);
    for (size_t i = 0; i < n; i++) {
        CHECK_U64(out[i], order[i]->handle);
    }
}

static void expect_first(bp__manager *manager)
{
    bp__slot *order[N_MAX];
    size_t n = sorted(manager->budget, manager, false, order);
    bp_slot first = BP_NO_SLOT;
    bp_status status =
        bp_slots_first_victim(it.tree, manager->handle, &first, &it.error);
    if (n == 0) {
        CHECK_U64(status, BP_UNKNOWN_SLOT);
    } else {
        CHECK_STATUS(status, BP_OK, &it.error);
        CHECK_U64(first, order[0]->handle);
    }
}

/* ---- random changes ------------------------------------------------------ */

static bp__slot *any_slot(bp__manager *manager, uint64_t *seed)
{
    return manager->n_slots == 0
               ? NULL
               : manager->slots[random_below(seed, manager->n_slots)];
}

static void add_one(bp__manager *manager, uint64_t *seed)
{
    static unsigned n_names;
    if (it.tree->slots.n_items >= N_MAX / 2) {
        return;
    }
    char name[24];
    (void)snprintf(name, sizeof name, "slot %u", n_names++);
    bp_slot_request request = fixture_request(name, 1 + random_below(seed, 50));
    request.priority = (int32_t)random_below(seed, 3) - 1;
    request.is_pinned = random_below(seed, 6) == 0;
    (void)fixture_ask(&it, manager, &request);
}

static void come_or_go(bp__slot *slot)
{
    if (slot->state == BP_SLOT_RESIDENT) {
        fixture_evict(&it, slot, BP_CAUSE_EXPLICIT);
    } else if (!bp__slot_wake_locked(it.tree, slot, NULL) ||
               !fixture_bring(&it, slot)) {
        bp__slot_sleep_locked(it.tree, slot);
    }
}

static void change_one(bp__manager *manager, uint64_t *seed)
{
    bp__slot *slot = any_slot(manager, seed);
    uint64_t what = random_below(seed, 16);
    if (slot == NULL || what < 3) {
        add_one(manager, seed);
    } else if (what < 9) {
        bp_stamp_touch(it.tree, slot->stamp);
    } else if (what == 9) {
        bp_slot_set_rank(it.tree, slot->handle, random_below(seed, 5));
    } else if (what == 10) {
        slot->n_host_uses = slot->n_host_uses == 0;
    } else if (what == 11) {
        slot->is_busy = !slot->is_busy;
    } else if (what == 12) {
        slot->is_loading = !slot->is_loading;
    } else if (what == 13 || slot->state != BP_SLOT_RESIDENT) {
        come_or_go(slot);
    } else if (what == 14) {
        fixture_drop(&it, slot);
    } else {
        bp__heap_remove_locked(slot); /* from wherever it is */
        if (slot->state == BP_SLOT_RESIDENT) {
            bp__heap_insert_locked(slot);
        }
    }
}

static void one_manager(bp_policy policy)
{
    uint64_t seed = 100 + policy;
    fixture_init(&it);
    bp__budget *budget = fixture_budget(&it, 700, NULL, NULL);
    bp__manager *manager = fixture_manager(&it, budget, policy);
    for (unsigned round = 0; round < 3000; round++) {
        change_one(manager, &seed);
        if (round % 3 == 0) {
            expect_order(budget, NULL, random_below(&seed, 2) == 0);
            CHECK_PASSED();
        }
        expect_plan(manager, random_below(&seed, 900) + 1);
        expect_first(manager);
        CHECK_PASSED();
    }
    CHECK(fixture_fini(&it));
}

static void least_recently_used_first(void)
{
    one_manager(BP_POLICY_LRU);
}

static void most_recently_used_first(void)
{
    one_manager(BP_POLICY_MRU);
}

static void largest_first(void)
{
    one_manager(BP_POLICY_BIG_FIRST);
}

static void smallest_rank_first(void)
{
    one_manager(BP_POLICY_RANK);
}

/* Five managers of all policies under three budgets of one tree. */
static void managers_are_merged(void)
{
    uint64_t seed = 5;
    fixture_init(&it);
    bp__budget *root = fixture_budget(&it, 900, NULL, NULL);
    bp__budget *left = fixture_budget(&it, 500, root, NULL);
    bp__budget *right = fixture_budget(&it, 500, root, NULL);
    bp__budget *const homes[] = {root, left, left, right, right};
    bp__manager *managers[5];
    for (unsigned i = 0; i < 5; i++) {
        managers[i] =
            fixture_manager(&it, homes[i], (bp_policy)(i % BP_N_POLICIES));
    }
    for (unsigned round = 0; round < 4000; round++) {
        change_one(managers[random_below(&seed, 5)], &seed);
        managers[4]->is_closing = random_below(&seed, 10) == 0;
        bool may_wait = random_below(&seed, 2) == 0;
        bp__manager *only =
            random_below(&seed, 3) == 0 ? managers[round % 5] : NULL;
        expect_order(round % 2 == 0 ? root : homes[round % 5], only, may_wait);
        CHECK_PASSED();
        managers[4]->is_closing = false;
    }
    CHECK(fixture_fini(&it));
}

/* ---- equal ages, priorities ---------------------------------------------- */

static void ties_go_by_birth(void)
{
    fixture_init(&it);
    bp__budget *budget = fixture_budget(&it, 1000, NULL, NULL);
    bp__manager *manager = fixture_manager(&it, budget, BP_POLICY_BIG_FIRST);
    bp__slot *slots[6];
    for (size_t i = 0; i < 6; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "%zu", i);
        bp_slot_request request = fixture_request(name, 10);
        request.priority = i == 0 ? 1 : 0;
        slots[i] = fixture_ask(&it, manager, &request);
        CHECK(slots[i] != NULL);
    }
    for (size_t i = 6; i-- > 0;) { /* all of one age, put in backwards */
        bp__heap_remove_locked(slots[i]);
        atomic_store(&slots[i]->stamp->last_use, 77);
        bp__heap_insert_locked(slots[i]);
    }
    static const size_t want[] = {1, 2, 3, 4, 5, 0};
    for (size_t i = 0; i < 6; i++) {
        CHECK(bp__heap_first_locked(manager) == slots[want[i]]);
        CHECK(bp__heap_pop_locked(manager) == slots[want[i]]);
    }
    CHECK(bp__heap_pop_locked(manager) == NULL);
    CHECK(bp__heap_first_locked(manager) == NULL);
    for (size_t i = 0; i < 6; i++) {
        bp__heap_insert_locked(slots[i]);
    }
    CHECK(fixture_fini(&it));
}

/* ---- how little is done -------------------------------------------------- */

enum { N_MANY = 100000 };

static void plan_many(bp__manager *manager, size_t n_victims)
{
    static bp_slot out[N_MANY];
    size_t n;
    CHECK_STATUS(bp_slots_plan(it.tree, manager->handle, n_victims, out, N_MANY,
                               &n, NULL, &it.error),
                 BP_OK, &it.error);
    CHECK_U64(n, n_victims);
    for (size_t i = 1; i < n; i++) {
        CHECK(last_use_of(bp__slot_get_locked(it.tree, out[i - 1])) <
              last_use_of(bp__slot_get_locked(it.tree, out[i])));
    }
}

/* A hundred thousand slots: a plan looks at what was touched and stands first,
 * and at most twice at everything. */
static void few_corrections(void)
{
    uint64_t seed = 3;
    fixture_init(&it);
    bp__budget *budget = fixture_budget(&it, N_MANY, NULL, NULL);
    bp__manager *manager = fixture_manager(&it, budget, BP_POLICY_LRU);
    for (size_t i = 0; i < N_MANY; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%zu", i);
        CHECK(fixture_slot(&it, manager, name, 1) != NULL);
    }
    plan_many(manager, 100);
    CHECK_PASSED();
    CHECK_U64(manager->n_corrections, 0); /* they lie as they came */
    for (size_t i = 0; i < 1000; i++) {
        bp_stamp_touch(it.tree, any_slot(manager, &seed)->stamp);
    }
    plan_many(manager, 100);
    CHECK_PASSED();
    /* Of the thousand, about one stands among the first hundred. */
    CHECK(manager->n_corrections <= 20);
    for (size_t i = 0; i < N_MANY; i++) {
        bp_stamp_touch(it.tree, manager->slots[i * 7919 % N_MANY]->stamp);
    }
    manager->n_corrections = 0;
    plan_many(manager, 100);
    CHECK_PASSED();
    /* Some in vain, then all at once. */
    CHECK_U64(manager->n_corrections, N_MANY / 32 + 16 + N_MANY);
    manager->n_corrections = 0;
    plan_many(manager, 1000);
    CHECK_PASSED();
    CHECK(manager->n_corrections <= N_MANY / 32);
    manager->n_corrections = 0;
    plan_many(manager, 1000);
    CHECK_PASSED();
    CHECK_U64(manager->n_corrections, 0);
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(least_recently_used_first);
    RUN(most_recently_used_first);
    RUN(largest_first);
    RUN(smallest_rank_first);
    RUN(managers_are_merged);
    RUN(ties_go_by_birth);
    RUN(few_corrections);
    return finish();
}
