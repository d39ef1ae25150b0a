/* test_slots_threads.c - ages are written without a lock while others plan,
 * read, evict and restore. Worth most under a thread sanitizer. */
#include "slots_fixture.h"

#include <pthread.h>

enum { N_SLOTS = 200, N_TOUCHERS = 4, N_PLANNERS = 3, N_ROUNDS = 1500 };

static fixture it;
static bp__manager *manager;
static bp_stamp *stamps[N_SLOTS];
static atomic_uint n_faults;
static atomic_bool is_over;

static void expect(bool is_true)
{
    if (!is_true) {
        atomic_fetch_add(&n_faults, 1);
    }
}

static void *touch(void *seed)
{
    uint64_t state = (uintptr_t)seed;
    while (!atomic_load(&is_over)) {
        for (unsigned i = 0; i < 100; i++) {
            bp_stamp_touch(it.tree, stamps[random_below(&state, N_SLOTS)]);
        }
    }
    return NULL;
}

/* So many different slots of the manager, whatever their ages. */
static void plan_some(size_t n_want)
{
    bp_slot out[N_SLOTS];
    bool is_named[N_SLOTS] = {false};
    size_t n = 0;
    bp_status status = bp_slots_plan(it.tree, manager->handle, n_want, out,
                                     N_SLOTS, &n, NULL, NULL);
    expect(status == BP_BUDGET_EXCEEDED || (status == BP_OK && n <= n_want));
    for (size_t i = 0; i < n; i++) {
        uint32_t index = (uint32_t)out[i];
        expect(index < N_SLOTS && !is_named[index]);
        is_named[index % N_SLOTS] = true;
    }
}

static void *plan(void *seed)
{
    uint64_t state = (uintptr_t)seed;
    for (unsigned i = 0; i < N_ROUNDS / 4; i++) {
        plan_some(1 + (size_t)random_below(&state, 150));
        bp_slot first;
        bp_slots_stats stats;
        expect(bp_slots_first_victim(it.tree, manager->handle, &first, NULL) ==
               BP_OK);
        expect(bp_slots_get_stats(it.tree, manager->handle, &stats, NULL) ==
               BP_OK);
        expect(stats.n_allocated == stats.n_loaded);
        bp_shortage shortage;
        expect(bp_budget_charge(it.tree, manager->budget->handle, N_SLOTS + 1,
                                NULL, &shortage, NULL) == BP_BUDGET_EXCEEDED);
        bp_slot_set_rank(it.tree, first, i);
    }
    return NULL;
}

/* Slots go and come back, each in one step under the lock. */
static void *move(void *seed)
{
    uint64_t state = (uintptr_t)seed;
    for (unsigned i = 0; i < N_ROUNDS; i++) {
        bp__mutex_lock(&it.tree->lock);
        bp__slot *slot = manager->slots[random_below(&state, N_SLOTS)];
        if (slot->state == BP_SLOT_RESIDENT) {
            fixture_evict(&it, slot, BP_CAUSE_EXPLICIT);
        } else {
            expect(bp__slot_wake_locked(it.tree, slot, NULL));
            expect(fixture_bring(&it, slot));
        }
        bp__mutex_unlock(&it.tree->lock);
        expect(i % 64 != 0 || bp_tree_check(it.tree, NULL) == BP_OK);
    }
    return NULL;
}

static void ages_change_meanwhile(bp_policy policy)
{
    memset(&it, 0, sizeof it);
    it.alloc = bp_allocator_default(); /* the counting one knows no threads */
    CHECK_STATUS(bp_tree_new(1000, &it.alloc, &it.tree, &it.error), BP_OK,
                 &it.error);
    manager =
        fixture_manager(&it, fixture_budget(&it, N_SLOTS, NULL, NULL), policy);
    for (size_t i = 0; i < N_SLOTS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%zu", i);
        stamps[i] = fixture_slot(&it, manager, name, 1)->stamp;
    }
    atomic_store(&is_over, false);
    pthread_t touchers[N_TOUCHERS], planners[N_PLANNERS], mover;
    for (uintptr_t i = 0; i < N_TOUCHERS; i++) {
        CHECK(pthread_create(&touchers[i], NULL, touch, (void *)(i + 1)) == 0);
    }
    for (uintptr_t i = 0; i < N_PLANNERS; i++) {
        CHECK(pthread_create(&planners[i], NULL, plan, (void *)(i + 9)) == 0);
    }
    CHECK(pthread_create(&mover, NULL, move, (void *)(uintptr_t)99) == 0);
    (void)pthread_join(mover, NULL);
    for (size_t i = 0; i < N_PLANNERS; i++) {
        (void)pthread_join(planners[i], NULL);
    }
    atomic_store(&is_over, true);
    for (size_t i = 0; i < N_TOUCHERS; i++) {
        (void)pthread_join(touchers[i], NULL);
    }
    CHECK_U64(atomic_load(&n_faults), 0);
    CHECK(fixture_is_whole(&it));
    CHECK(fixture_fini(&it));
}

static void least_recently_used(void)
{
    ages_change_meanwhile(BP_POLICY_LRU);
}

static void most_recently_used(void)
{
    ages_change_meanwhile(BP_POLICY_MRU);
}

static void by_rank(void)
{
    ages_change_meanwhile(BP_POLICY_RANK);
}

int main(void)
{
    RUN(least_recently_used);
    RUN(most_recently_used);
    RUN(by_rank);
    return finish();
}
