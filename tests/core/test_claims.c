/* test_claims.c - one transaction's hold on the ledger: whose bytes a claim
 * gets, where, and that nobody else gets them on the way. */
#include "slots_fixture.h"

static fixture it;

#define CHECK_WHOLE() CHECK(fixture_is_whole(&it))

enum { N_MOST = 16 };

static bool has_figures(const bp__budget *budget, uint64_t used,
                        uint64_t reserved, uint64_t retiring)
{
    bool is_so = budget->used == used && budget->reserved == reserved &&
                 budget->retiring == retiring;
    if (!is_so) {
        printf("used %" PRIu64 ", reserved %" PRIu64 ", retiring %" PRIu64 "\n",
               budget->used, budget->reserved, budget->retiring);
    }
    return is_so;
}

/* Choose and claim; how many victims, or SIZE_MAX if it failed. */
static size_t choose(bp__claim *claim, bp__slot **victims, bool may_wait)
{
    bp__choice choice = {.may_wait = may_wait,
                         .is_claiming = true,
                         .victims = victims,
                         .capacity = N_MOST};
    return bp__claim_choose_locked(it.tree, claim, &choice) ? choice.n_victims
                                                            : SIZE_MAX;
}

static void retire_one(bp__slot *victim)
{
    fixture_finish(&it, victim, BP_CAUSE_PRESSURE);
}

static bp__reservation *reserve(bp__budget *budget, uint64_t n_bytes)
{
    bp_reservation handle;
    return bp_budget_reserve(it.tree, budget->handle, n_bytes, &handle, NULL,
                             &it.error) == BP_OK
               ? bp__handles_get(&it.tree->reservations, handle)
               : NULL;
}

/* Bytes that were committed, and of which no block came. */
static void forget(bp__budget *budget, uint64_t n_bytes)
{
    bp__move(budget, n_bytes, BP__USED, BP__AVAILABLE);
    bp__budget_changed_locked(it.tree, budget, false);
}

/* ---- one budget ---------------------------------------------------------- */

static void victims_give_to_the_claim_alone(void)
{
    fixture_init(&it);
    bp__budget *budget = fixture_budget(&it, 100, NULL, NULL);
    bp__manager *manager = fixture_manager(&it, budget, BP_POLICY_LRU);
    bp__slot *a = fixture_slot(&it, manager, "a", 40);
    bp__slot *b = fixture_slot(&it, manager, "b", 30);
    CHECK(a != NULL && b != NULL);
    bp__claim claim;
    bp__slot *victims[N_MOST];
    bp__claim_begin_locked(it.tree, &claim, budget, 80, NULL);
    CHECK(!bp__claim_take_locked(it.tree, &claim));
    CHECK(bp__claim_first_short_locked(&claim) == budget);
    CHECK_U64(bp__claim_short_of(&claim, budget, 0), 50);
    CHECK_U64(choose(&claim, victims, false), 2);
    CHECK(victims[0] == a && victims[1] == b && a->claim == &claim);
    /* What was available is held at once, and nothing is left for others. */
    CHECK(has_figures(budget, 0, 10, 70 + 0));
    CHECK_U64(bp__available(budget), 20);
    CHECK_U64(claim.n_retiring, 70);
    CHECK(!bp__claim_is_complete(&claim));
    CHECK_WHOLE();
    retire_one(a);
    CHECK(has_figures(budget, 0, 50, 30));
    CHECK_U64(bp__available(budget), 20);
    CHECK(!bp__claim_is_complete(&claim));
    CHECK_WHOLE();
    retire_one(b);
    CHECK(has_figures(budget, 0, 80, 0));
    CHECK(bp__claim_is_complete(&claim));
    CHECK(b->claim == NULL);
    bp__claim_commit_locked(it.tree, &claim);
    CHECK(has_figures(budget, 80, 0, 0));
    CHECK(it.tree->claims == NULL);
    forget(budget, 80);
    CHECK(fixture_fini(&it));
}

static void what_is_too_much_becomes_available(void)
{
    fixture_init(&it);
    bp__budget *budget = fixture_budget(&it, 100, NULL, NULL);
    bp__manager *manager = fixture_manager(&it, budget, BP_POLICY_LRU);
    bp__slot *a = fixture_slot(&it, manager, "a", 90);
    bp__claim claim;
    bp__slot *victims[N_MOST];
    bp__claim_begin_locked(it.tree, &claim, budget, 20, NULL);
    CHECK_U64(choose(&claim, victims, false), 1);
    CHECK(has_figures(budget, 0, 0, 90)); /* it needs nothing else */
    CHECK_U64(bp__available(budget), 10);
    retire_one(a);
    CHECK(has_figures(budget, 0, 20, 0));
    CHECK_U64(bp__available(budget), 80);
    CHECK_WHOLE();
    bp__claim_abort_locked(it.tree, &claim);
    CHECK_U64(bp__available(budget), 100);
    CHECK(fixture_fini(&it));
}

/* A failed choice, a choice that was only asked, an undone one. */
static void nothing_is_left_behind(void)
{
    fixture_init(&it);
    bp__budget *root = fixture_budget(&it, 100, NULL, "root");
    bp__budget *leaf = fixture_budget(&it, 90, root, "leaf");
    bp__manager *manager = fixture_manager(&it, leaf, BP_POLICY_LRU);
    CHECK(fixture_slot(&it, manager, "a", 30) != NULL);
    CHECK(fixture_slot(&it, manager, "b", 30) != NULL);
    bp__slot *pinned = fixture_slot(&it, manager, "c", 20);
    pinned->n_host_uses = 1;
    bp__reservation *promise = reserve(leaf, 5);
    CHECK(promise != NULL);
    char *before = fixture_dump(&it);
    bp__claim claim;
    bp__slot *victims[N_MOST];
    bp__choice choice = {.victims = victims, .capacity = N_MOST};

    bp__claim_begin_locked(it.tree, &claim, leaf, 71, promise);
    choice.is_claiming = true;
    CHECK(!bp__claim_choose_locked(it.tree, &claim, &choice));
    CHECK(choice.refuser == leaf);
    CHECK_U64(choice.n_victims, 2); /* all there are */
    CHECK_U64(choice.n_bytes, 60);
    bp__claim_abort_locked(it.tree, &claim);
    CHECK(fixture_is_as(&it, before));

    before = fixture_dump(&it);
    bp__claim_begin_locked(it.tree, &claim, leaf, 70, promise);
    CHECK_U64(promise->n_left, 0);
    choice.capacity = 1;
    CHECK(!bp__claim_choose_locked(it.tree, &claim, &choice));
    CHECK(choice.refuser == NULL);
    CHECK_U64(choice.n_victims, 2); /* more than there is room for */
    choice.is_claiming = false;
    CHECK(bp__claim_choose_locked(it.tree, &claim, &choice));
    CHECK_U64(choice.n_victims, 2);
    CHECK(victims[0]->state == BP_SLOT_RESIDENT);
    choice.capacity = N_MOST;
    choice.is_claiming = true;
    CHECK(bp__claim_choose_locked(it.tree, &claim, &choice));
    CHECK(victims[1]->state == BP_SLOT_EVICTING);
    CHECK_WHOLE();
    bp__slot_stay_locked(it.tree, victims[1]);
    CHECK_U64(bp__claim_short_of(&claim, leaf, 0), 30);
    bp__slot_stay_locked(it.tree, victims[0]);
    CHECK_U64(claim.n_retiring, 0);
    bp__claim_abort_locked(it.tree, &claim);
    CHECK(fixture_is_as(&it, before));
    pinned->n_host_uses = 0;
    bp_reservation_close(it.tree, promise->handle);
    CHECK(fixture_fini(&it));
}

/* A claim whose victims have departed ends: they retire for nobody. */
static void victims_outlive_their_claim(void)
{
    fixture_init(&it);
    bp__budget *budget = fixture_budget(&it, 100, NULL, NULL);
    bp__manager *manager = fixture_manager(&it, budget, BP_POLICY_LRU);
    bp__slot *slots[3];
    slots[0] = fixture_slot(&it, manager, "a", 50);
    slots[1] = fixture_slot(&it, manager, "b", 25);
    slots[2] = fixture_slot(&it, manager, "c", 25);
    bp__claim claim;
    bp__slot *victims[N_MOST];
    bp__claim_begin_locked(it.tree, &claim, budget, 80, NULL);
    CHECK_U64(choose(&claim, victims, false), 3);
    bp__slot_depart_locked(it.tree, slots[0], BP_CAUSE_PRESSURE);
    bp__slot_gone_locked(it.tree, slots[0], true);
    bp__slot_depart_locked(it.tree, slots[1], BP_CAUSE_PRESSURE);
    bp__claim_abort_locked(it.tree, &claim); /* the third is still at home */
    CHECK(slots[1]->claim == NULL && slots[2]->claim == NULL);
    CHECK(slots[2]->block->claim == NULL);
    CHECK_WHOLE();
    bp__slot_stay_locked(it.tree, slots[2]);
    bp__slot_gone_locked(it.tree, slots[1], true);
    CHECK(has_figures(budget, 25, 0, 75));
    fixture_retire(&it, it.tree->retirees);
    fixture_retire(&it, it.tree->retirees);
    CHECK(has_figures(budget, 25, 0, 0));
    CHECK_WHOLE();
    CHECK(fixture_fini(&it));
}

/* Complete before the last victim is free: that one is nobody's then. */
static void a_commit_lets_the_rest_go(void)
{
    fixture_init(&it);
    bp__budget *root = fixture_budget(&it, 100, NULL, NULL);
    bp__budget *left = fixture_budget(&it, 60, root, NULL);
    bp__budget *right = fixture_budget(&it, 100, root, NULL);
    bp__manager *at_left = fixture_manager(&it, left, BP_POLICY_LRU);
    bp__manager *at_right = fixture_manager(&it, right, BP_POLICY_LRU);
    bp__slot *a = fixture_slot(&it, at_right, "a", 40);
    bp__slot *b = fixture_slot(&it, at_left, "b", 60);
    bp__claim claim;
    bp__slot *victims[N_MOST];
    /* `left` must give b, which is enough for the root. */
    bp__claim_begin_locked(it.tree, &claim, left, 10, NULL);
    CHECK_U64(choose(&claim, victims, false), 1);
    CHECK(victims[0] == b);
    bp__slot_go_locked(it.tree, a, NULL);
    bp__claim_await_locked(&claim, a->block); /* as if it had been chosen */
    a->claim = &claim;
    CHECK_WHOLE();
    retire_one(b);
    CHECK(bp__claim_is_complete(&claim));
    bp__claim_commit_locked(it.tree, &claim);
    CHECK(a->claim == NULL && a->block->claim == NULL);
    retire_one(a);
    CHECK(has_figures(root, 10, 0, 0));
    forget(left, 10);
    CHECK(fixture_fini(&it));
}

static void a_failed_free_needs_another_victim(void)
{
    fixture_init(&it);
    bp__budget *budget = fixture_budget(&it, 100, NULL, NULL);
    bp__manager *manager = fixture_manager(&it, budget, BP_POLICY_LRU);
    bp__slot *a = fixture_slot(&it, manager, "a", 50);
    bp__slot *b = fixture_slot(&it, manager, "b", 50);
    bp__claim claim;
    bp__slot *victims[N_MOST];
    bp__claim_begin_locked(it.tree, &claim, budget, 50, NULL);
    CHECK_U64(choose(&claim, victims, false), 1);
    bp__block *stuck = a->block;
    bp__slot_depart_locked(it.tree, a, BP_CAUSE_PRESSURE);
    bp__slot_gone_locked(it.tree, a, true);
    bp__block_fail_locked(it.tree, stuck);
    CHECK_U64(claim.n_retiring, 0);
    CHECK(!bp__claim_is_complete(&claim));
    CHECK(!bp__claim_take_locked(it.tree, &claim));
    CHECK_WHOLE();
    CHECK_U64(choose(&claim, victims, false), 1);
    CHECK(victims[0] == b);
    retire_one(b);
    CHECK(bp__claim_is_complete(&claim));
    CHECK(has_figures(budget, 0, 50, 50));
    bp__claim_abort_locked(it.tree, &claim);
    fixture_retire(&it, stuck); /* at last */
    CHECK(has_figures(budget, 0, 0, 0));
    CHECK(fixture_fini(&it));
}

/* ---- reservations -------------------------------------------------------- */

static void reservations_come_first(void)
{
    fixture_init(&it);
    bp__budget *root = fixture_budget(&it, 100, NULL, NULL);
    bp__budget *leaf = fixture_budget(&it, 100, root, NULL);
    bp__reservation *promise = reserve(leaf, 60);
    bp__claim claim;
    /* Within the reservation. */
    bp__claim_begin_locked(it.tree, &claim, leaf, 40, promise);
    CHECK(bp__claim_is_complete(&claim));
    CHECK_U64(promise->n_left, 20);
    CHECK(has_figures(leaf, 0, 60, 0));
    CHECK_WHOLE();
    bp__claim_abort_locked(it.tree, &claim);
    CHECK_U64(promise->n_left, 60);
    CHECK(has_figures(root, 0, 60, 0));
    /* Beyond it: the rest from what is available. */
    bp__claim_begin_locked(it.tree, &claim, leaf, 90, promise);
    CHECK_U64(promise->n_left, 0);
    CHECK(bp__claim_take_locked(it.tree, &claim));
    CHECK(has_figures(root, 0, 90, 0));
    CHECK(bp__claim_is_complete(&claim));
    bp__claim_abort_locked(it.tree, &claim);
    CHECK_U64(promise->n_left, 60);
    CHECK(has_figures(root, 0, 60, 0));
    /* Beyond everything. */
    bp__claim_begin_locked(it.tree, &claim, leaf, 101, promise);
    CHECK(!bp__claim_take_locked(it.tree, &claim));
    CHECK_U64(bp__claim_short_of(&claim, leaf, 0), 1);
    CHECK_WHOLE();
    /* Closed while the claim has its bytes: they become available. */
    bp_reservation_close(it.tree, promise->handle);
    CHECK_WHOLE();
    CHECK(has_figures(leaf, 0, 60, 0));
    bp__claim_abort_locked(it.tree, &claim);
    CHECK(has_figures(root, 0, 0, 0));
    CHECK_WHOLE();
    CHECK(fixture_fini(&it));
}

/* ---- trees --------------------------------------------------------------- */

/* The root is short, the leaf is not: a sibling's slot gives its bytes to the
 * root's share of the claim; at the leaf they come from `available`, and in the
 * sibling they become available. */
static void siblings_give_to_the_parents_they_share(void)
{
    fixture_init(&it);
    bp__budget *root = fixture_budget(&it, 100, NULL, NULL);
    bp__budget *left = fixture_budget(&it, 80, root, NULL);
    bp__budget *right = fixture_budget(&it, 80, root, NULL);
    bp__manager *manager = fixture_manager(&it, right, BP_POLICY_LRU);
    bp__slot *a = fixture_slot(&it, manager, "a", 70);
    CHECK_U64(bp__n_shared_depths(left, right), 1);
    CHECK_U64(bp__n_shared_depths(left, left), 2);
    CHECK_U64(bp__n_shared_depths(left, root), 1);
    bp__claim claim;
    bp__slot *victims[N_MOST];
    bp__claim_begin_locked(it.tree, &claim, left, 60, NULL);
    CHECK(bp__claim_first_short_locked(&claim) == root);
    CHECK_U64(choose(&claim, victims, false), 1);
    CHECK(victims[0] == a);
    CHECK(has_figures(left, 0, 60, 0));
    CHECK(has_figures(right, 0, 0, 70));
    CHECK(has_figures(root, 0, 0, 70));
    CHECK_WHOLE();
    retire_one(a);
    CHECK(has_figures(left, 0, 60, 0));
    CHECK(has_figures(right, 0, 0, 0));
    CHECK(has_figures(root, 0, 60, 0));
    CHECK(bp__claim_is_complete(&claim));
    CHECK_WHOLE();
    bp__claim_abort_locked(it.tree, &claim);
    CHECK(has_figures(left, 0, 0, 0) && has_figures(root, 0, 0, 0));
    CHECK(fixture_fini(&it));
}

/* The leaf's own slots go for the leaf's shortage, whoever is older. */
static void the_leaf_is_mended_first(void)
{
    fixture_init(&it);
    bp__budget *root = fixture_budget(&it, 100, NULL, NULL);
    bp__budget *left = fixture_budget(&it, 50, root, NULL);
    bp__budget *right = fixture_budget(&it, 60, root, NULL);
    bp__manager *at_left = fixture_manager(&it, left, BP_POLICY_LRU);
    bp__manager *at_right = fixture_manager(&it, right, BP_POLICY_LRU);
    bp__slot *old = fixture_slot(&it, at_right, "old", 30);
    bp__slot *mid = fixture_slot(&it, at_left, "mid", 30);
    bp__slot *young = fixture_slot(&it, at_right, "young", 30);
    CHECK(old != NULL && mid != NULL && young != NULL);
    bp__claim claim;
    bp__slot *victims[N_MOST];
    bp__claim_begin_locked(it.tree, &claim, left, 50, NULL);
    CHECK_U64(choose(&claim, victims, false), 2);
    CHECK(victims[0] == mid && victims[1] == old);
    CHECK_WHOLE();
    bp__slot_stay_locked(it.tree, old);
    bp__slot_stay_locked(it.tree, mid);
    bp__claim_abort_locked(it.tree, &claim);
    /* Only one manager's slots: the leaf can be mended, the root cannot. */
    bp__claim_begin_locked(it.tree, &claim, left, 50, NULL);
    bp__choice choice = {.only = at_left,
                         .is_claiming = true,
                         .victims = victims,
                         .capacity = N_MOST};
    CHECK(!bp__claim_choose_locked(it.tree, &claim, &choice));
    CHECK(choice.refuser == root);
    bp__claim_abort_locked(it.tree, &claim);
    CHECK(fixture_fini(&it));
}

/* A limit below use: the next claim mends it as well. */
static void a_lowered_limit_is_mended(void)
{
    fixture_init(&it);
    bp__budget *budget = fixture_budget(&it, 200, NULL, NULL);
    bp__manager *manager = fixture_manager(&it, budget, BP_POLICY_LRU);
    static const char *const names[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < 4; i++) {
        CHECK(fixture_slot(&it, manager, names[i], 50) != NULL);
    }
    bool is_deferred;
    CHECK_STATUS(bp_budget_set_limit(it.tree, budget->handle, 110, &is_deferred,
                                     &it.error),
                 BP_OK, &it.error);
    CHECK(is_deferred);
    bp__claim claim;
    bp__slot *victims[N_MOST];
    bp__claim_begin_locked(it.tree, &claim, budget, 50, NULL);
    CHECK_U64(bp__claim_short_of(&claim, budget, 0), 50);
    CHECK_U64(bp__claim_short_of(&claim, budget, 50), 50);
    CHECK_U64(bp__claim_short_of(&claim, budget, 139), 1);
    CHECK_U64(bp__claim_short_of(&claim, budget, 140), 0);
    CHECK_U64(choose(&claim, victims, false), 3);
    for (size_t i = 0; i < 3; i++) {
        retire_one(victims[i]);
        CHECK_WHOLE();
    }
    CHECK(has_figures(budget, 50, 50, 0));
    bp__claim_abort_locked(it.tree, &claim);
    CHECK(fixture_fini(&it));
}

/* ---- down to a target, in flight ----------------------------------------- */

static size_t choose_down(bp__budget *budget, uint64_t target, size_t capacity,
                          bp__slot **victims, bp__budget **refuser)
{
    bp__choice choice = {
        .is_claiming = true, .victims = victims, .capacity = capacity};
    bp__choose_down_locked(it.tree, budget, target, &choice);
    *refuser = choice.refuser;
    return choice.n_victims;
}

static void down_to_a_target(void)
{
    fixture_init(&it);
    bp__budget *root = fixture_budget(&it, 200, NULL, NULL);
    bp__budget *leaf = fixture_budget(&it, 200, root, NULL);
    bp__manager *manager = fixture_manager(&it, leaf, BP_POLICY_LRU);
    static const char *const names[] = {"a", "b", "c", "d"};
    bp__slot *slots[4];
    for (size_t i = 0; i < 4; i++) {
        slots[i] = fixture_slot(&it, manager, names[i], 40);
    }
    bp__slot *victims[N_MOST];
    bp__budget *refuser;
    CHECK_U64(choose_down(root, 160, N_MOST, victims, &refuser), 0);
    CHECK_U64(choose_down(root, 159, N_MOST, victims, &refuser), 1);
    CHECK(victims[0] == slots[0] && refuser == NULL);
    CHECK_WHOLE();
    /* What is leaving need not be found again: at home, or departed. */
    CHECK_U64(choose_down(root, 120, N_MOST, victims, &refuser), 0);
    bp__slot_depart_locked(it.tree, slots[0], BP_CAUSE_LIMIT);
    CHECK_U64(choose_down(leaf, 120, N_MOST, victims, &refuser), 0);
    bp__block_fail_locked(it.tree, it.tree->retirees);
    /* It may never go: another one has to. */
    CHECK_U64(choose_down(root, 120, N_MOST, victims, &refuser), 1);
    CHECK(victims[0] == slots[1]);
    CHECK_U64(choose_down(root, 0, 1, victims, &refuser), 1);
    CHECK(victims[0] == slots[2] && refuser == NULL);
    CHECK_U64(choose_down(root, 0, N_MOST, victims, &refuser), 1);
    CHECK(victims[0] == slots[3] && refuser == root);
    CHECK_WHOLE();
    CHECK(has_figures(root, 0, 0, 160));
    bp__slot_gone_locked(it.tree, slots[0], true);
    CHECK(fixture_fini(&it));
}

/* What leaves for a claim stays in use where the claim gets it. */
static void what_a_claim_gets_does_not_leave(void)
{
    fixture_init(&it);
    bp__budget *root = fixture_budget(&it, 100, NULL, NULL);
    bp__budget *left = fixture_budget(&it, 100, root, NULL);
    bp__budget *right = fixture_budget(&it, 100, root, NULL);
    bp__manager *manager = fixture_manager(&it, right, BP_POLICY_LRU);
    bp__slot *a = fixture_slot(&it, manager, "a", 50);
    bp__slot *b = fixture_slot(&it, manager, "b", 50);
    bp__claim claim;
    bp__slot *victims[N_MOST];
    bp__claim_begin_locked(it.tree, &claim, left, 40, NULL);
    CHECK_U64(choose(&claim, victims, false), 1);
    CHECK(victims[0] == a);
    bp__choice choice = {.victims = victims, .capacity = N_MOST};
    /* 50 of a leave `right`, but none of them the root. */
    bp__choose_down_locked(it.tree, right, 50, &choice);
    CHECK_U64(choice.n_victims, 0);
    bp__choose_down_locked(it.tree, root, 50, &choice);
    CHECK_U64(choice.n_victims, 1);
    CHECK(victims[0] == b);
    retire_one(a);
    bp__choose_down_locked(it.tree, root, 90, &choice);
    CHECK_U64(choice.n_victims, 0);
    bp__claim_abort_locked(it.tree, &claim);
    CHECK(fixture_fini(&it));
}

static void what_is_in_flight(void)
{
    fixture_init(&it);
    bp__budget *root = fixture_budget(&it, 1000, NULL, NULL);
    bp__budget *left = fixture_budget(&it, 1000, root, NULL);
    bp__budget *right = fixture_budget(&it, 1000, root, NULL);
    bp__manager *manager = fixture_manager(&it, left, BP_POLICY_LRU);
    bp__manager *closing = fixture_manager(&it, right, BP_POLICY_LRU);
    bp__slot *busy = fixture_slot(&it, manager, "busy", 1);
    busy->is_busy = true;
    bp__slot *held = fixture_slot(&it, manager, "held", 2);
    held->is_busy = true;
    held->n_host_uses = 1;
    bp__slot *going = fixture_slot(&it, manager, "going", 4);
    bp__slot_go_locked(it.tree, going, NULL);
    CHECK(fixture_slot(&it, manager, "idle", 8) != NULL);
    CHECK(fixture_slot(&it, closing, "closing", 16) != NULL);
    closing->is_closing = true;
    bp__claim mine, other;
    bp__claim_begin_locked(it.tree, &mine, left, 32, NULL);
    bp__claim_begin_locked(it.tree, &other, left, 64, NULL);
    CHECK(bp__claim_take_locked(it.tree, &mine));
    CHECK(bp__claim_take_locked(it.tree, &other));
    CHECK_U64(bp__in_flight_locked(it.tree, left, &mine), 1 + 4 + 64);
    CHECK_U64(bp__in_flight_locked(it.tree, left, NULL), 1 + 4 + 32 + 64);
    CHECK_U64(bp__in_flight_locked(it.tree, right, &mine), 16);
    CHECK_U64(bp__in_flight_locked(it.tree, root, &mine), 1 + 4 + 16 + 64);
    bp__claim_await_locked(&mine, going->block); /* comes to it anyway */
    CHECK_U64(bp__in_flight_locked(it.tree, root, &mine), 1 + 16 + 64);
    CHECK_U64(bp__in_flight_locked(it.tree, right, &mine), 16);
    bp__claim_abort_locked(it.tree, &other);
    bp__claim_abort_locked(it.tree, &mine);
    held->n_host_uses = 0;
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(victims_give_to_the_claim_alone);
    RUN(what_is_too_much_becomes_available);
    RUN(nothing_is_left_behind);
    RUN(victims_outlive_their_claim);
    RUN(a_commit_lets_the_rest_go);
    RUN(a_failed_free_needs_another_victim);
    RUN(reservations_come_first);
    RUN(siblings_give_to_the_parents_they_share);
    RUN(the_leaf_is_mended_first);
    RUN(a_lowered_limit_is_mended);
    RUN(down_to_a_target);
    RUN(what_a_claim_gets_does_not_leave);
    RUN(what_is_in_flight);
    return finish();
}
