/* test_device_threads.c - one ledger under eight threads: whoever asks for what
 * there is gets it, whatever others ask for in vain. Worth most under a thread
 * sanitizer. */
#include "harness.h"

#include "bayplan/device.h"
#include "device/ledger.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { N_THREADS = 8, SMALL = 64 };

/* Every small request fits at any moment: at most N_THREADS - 1 threads hold
 * two of them each. The doomed one is larger than the limit less that. */
#define LIMIT  ((uint64_t)SMALL * 2 * N_THREADS)
#define DOOMED (LIMIT + 1)

typedef struct shared {
    bp_tree *tree;
    bp_budget root, leaf;
    atomic_bool is_over;
    atomic_uint n_refused, n_faults, n_doomed;
} shared;

typedef struct worker {
    shared *all;
    unsigned number;
    unsigned n_rounds;
    pthread_t thread;
} worker;

static void expect(shared *all, bool is_true)
{
    if (!is_true) {
        atomic_fetch_add(&all->n_faults, 1);
    }
}

/* One small charge, one small reservation, some of it taken, all given back. */
static void hold_a_little(shared *all, const char *tag, bp_budget budget)
{
    bp_tree *tree = all->tree;
    bp_status charged = bp_budget_charge(tree, budget, SMALL, tag, NULL, NULL);
    bp_reservation r = BP_NO_RESERVATION;
    bp_status reserved = bp_budget_reserve(tree, budget, SMALL, &r, NULL, NULL);
    atomic_fetch_add(&all->n_refused, (charged != BP_OK) + (reserved != BP_OK));
    if (charged == BP_OK) {
        expect(all, bp_budget_refund(tree, budget, SMALL, tag, NULL) == BP_OK);
    }
    if (reserved == BP_OK) {
        expect(all,
               bp_reservation_take(tree, r, SMALL / 2, tag, NULL) == BP_OK);
        expect(all, bp_reservation_left(tree, r) == SMALL / 2);
        bp_reservation_close(tree, r);
        expect(all,
               bp_budget_refund(tree, budget, SMALL / 2, tag, NULL) == BP_OK);
    }
}

static void *work(void *argument)
{
    static const char *const tags[] = {NULL, "a", "b"};
    worker *me = argument;
    bp_budget budget = me->number % 2 == 0 ? me->all->root : me->all->leaf;
    for (unsigned round = 0; round < me->n_rounds; round++) {
        hold_a_little(me->all, tags[me->number % 3], budget);
    }
    return NULL;
}

/* Asks for too much until the others are done, and looks around. */
static void *ask_in_vain(void *argument)
{
    worker *me = argument;
    shared *all = me->all;
    bp_shortage shortage;
    bp_edge edge;
    while (!atomic_load(&all->is_over)) {
        bp_status status = bp_budget_charge(all->tree, all->leaf, DOOMED, NULL,
                                            &shortage, NULL);
        expect(all, status == BP_BUDGET_EXCEEDED);
        expect(all,
               shortage.used + shortage.reserved + shortage.available == LIMIT);
        atomic_fetch_add(&all->n_doomed, 1);
        if (atomic_load(&all->n_doomed) % 64 == 0) {
            expect(all, bp_tree_check(all->tree, NULL) == BP_OK);
        }
        while (bp_tree_take_edge(all->tree, &edge)) {
            expect(all, edge.budget == all->root);
        }
    }
    return NULL;
}

static void run_threads(shared *all, unsigned n_rounds)
{
    worker workers[N_THREADS];
    for (unsigned i = 0; i < N_THREADS; i++) {
        workers[i] = (worker){.all = all, .number = i, .n_rounds = n_rounds};
        CHECK(pthread_create(&workers[i].thread, NULL,
                             i == 0 ? ask_in_vain : work, &workers[i]) == 0);
    }
    for (unsigned i = 1; i < N_THREADS; i++) {
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
    }
    atomic_store(&all->is_over, true);
    CHECK(pthread_join(workers[0].thread, NULL) == 0);
}

static void small_requests_are_never_refused(void)
{
    shared all = {.tree = NULL};
    bp_error error = {0};
    CHECK_STATUS(bp_tree_new(0, NULL, &all.tree, &error), BP_OK, &error);
    bp_budget_options options = bp_budget_defaults(LIMIT);
    CHECK_STATUS(bp_budget_open(all.tree, &options, &all.root, &error), BP_OK,
                 &error);
    options.parent = all.root;
    CHECK_STATUS(bp_budget_open(all.tree, &options, &all.leaf, &error), BP_OK,
                 &error);
    bp_watch watch;
    CHECK_STATUS(bp_watch_open(all.tree, all.root, BP_MEDIUM, &watch, &error),
                 BP_OK, &error);
    run_threads(&all, 4000);
    CHECK_PASSED();
    CHECK_U64(atomic_load(&all.n_refused), 0);
    CHECK_U64(atomic_load(&all.n_faults), 0);
    CHECK(atomic_load(&all.n_doomed) > 0);
    bp_budget_stats stats;
    CHECK_STATUS(bp_budget_get_stats(all.tree, all.root, &stats, &error), BP_OK,
                 &error);
    CHECK_U64(stats.available, LIMIT);
    CHECK(stats.peak <= LIMIT && stats.peak >= SMALL);
    CHECK_U64(stats.n_charges, (uint64_t)(N_THREADS - 1) * 4000 * 2);
    CHECK_STATUS(bp_tree_check(all.tree, &error), BP_OK, &error);
    bp_tree_free(all.tree);
}

/* ---- waiting ----------------------------------------------------------- */

typedef struct sleeper {
    bp_tree *tree;
    bp_budget budget;
    atomic_bool is_there;
    bool is_woken;
} sleeper;

/* Until the budget has room, or for ten seconds. */
static void *wait_for_room(void *argument)
{
    sleeper *me = argument;
    uint64_t deadline = bp_monotonic_ns() + UINT64_C(10000000000);
    if (!bp__tree_enter_if_ours(me->tree)) {
        return NULL;
    }
    const bp__budget *budget = bp__budget_get_locked(me->tree, me->budget);
    atomic_store(&me->is_there, true);
    while (bp__available(budget) == 0 && bp_monotonic_ns() < deadline) {
        bp__condition_wait(&me->tree->changed, &me->tree->lock, deadline);
    }
    me->is_woken = bp_monotonic_ns() < deadline;
    bp__tree_leave(me->tree);
    return NULL;
}

/* Four ways in which bytes become available. */
static void make_room(int way, bp_tree *tree, bp_budget budget,
                      bp_reservation r)
{
    bool is_deferred;
    switch (way) {
    case 0:
        CHECK(bp_budget_refund(tree, budget, 1, NULL, NULL) == BP_OK);
        break;
    case 1:
        bp_reservation_close(tree, r);
        break;
    case 2:
        CHECK(bp_budget_set_limit(tree, budget, 3, &is_deferred, NULL) ==
              BP_OK);
        break;
    default:
        CHECK(bp__tree_enter_if_ours(tree));
        bp__budget_abandon_locked(tree, budget);
        bp__tree_leave(tree);
    }
}

static void whoever_waits_hears_of_room(void)
{
    for (int way = 0; way < 4; way++) {
        sleeper me = {.tree = NULL};
        bp_error error = {0};
        bp_reservation r;
        pthread_t thread;
        CHECK_STATUS(bp_tree_new(0, NULL, &me.tree, &error), BP_OK, &error);
        bp_budget_options options = bp_budget_defaults(2);
        CHECK_STATUS(bp_budget_open(me.tree, &options, &me.budget, &error),
                     BP_OK, &error);
        CHECK_STATUS(
            bp_budget_charge(me.tree, me.budget, 1, NULL, NULL, &error), BP_OK,
            &error);
        CHECK_STATUS(bp_budget_reserve(me.tree, me.budget, 1, &r, NULL, &error),
                     BP_OK, &error);
        CHECK(pthread_create(&thread, NULL, wait_for_room, &me) == 0);
        while (!atomic_load(&me.is_there)) {
            (void)sched_yield();
        }
        make_room(way, me.tree, me.budget, r);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(me.is_woken);
        bp_tree_free(me.tree);
    }
}

/* ---- finalisers -------------------------------------------------------- */

enum { N_DEFERRED = 2000 };

/* Every thread defers its own numbers; one takes while they do. */
static void *defer_all(void *argument)
{
    worker *me = argument;
    for (uint64_t i = 0; i < N_DEFERRED; i++) {
        bp_deferred *node = bp_deferred_new(me->all->tree);
        if (node == NULL) {
            expect(me->all, false);
            return NULL;
        }
        bp_tree_defer(me->all->tree, node, BP_DEFER_USE_END,
                      (uint64_t)me->number << 32 | i);
    }
    return NULL;
}

/* Returns how many there were, each thread's in order. */
static size_t take_some(shared *all, uint64_t next[N_THREADS])
{
    size_t n = 0;
    bp_deferred *node = bp__tree_take_deferred(all->tree);
    while (node != NULL) {
        bp_deferred *after = node->next;
        uint64_t number = node->handle >> 32;
        expect(all, number < N_THREADS &&
                        (node->handle & UINT32_MAX) == next[number]++);
        bp_deferred_free(all->tree, node);
        node = after;
        n++;
    }
    return n;
}

static void deferred_work_is_neither_lost_nor_doubled(void)
{
    shared all = {.tree = NULL};
    bp_error error = {0};
    CHECK_STATUS(bp_tree_new(0, NULL, &all.tree, &error), BP_OK, &error);
    worker workers[N_THREADS];
    uint64_t next[N_THREADS] = {0};
    for (unsigned i = 0; i < N_THREADS; i++) {
        workers[i] = (worker){.all = &all, .number = i};
        CHECK(pthread_create(&workers[i].thread, NULL, defer_all,
                             &workers[i]) == 0);
    }
    size_t n_taken = 0;
    for (unsigned i = 0; i < N_THREADS; i++) {
        n_taken += take_some(&all, next);
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
    }
    n_taken += take_some(&all, next);
    CHECK_U64(n_taken, N_THREADS * N_DEFERRED);
    CHECK_U64(atomic_load(&all.n_faults), 0);
    CHECK(!bp_tree_is_unsettled(all.tree));
    bp_tree_free(all.tree);
}

int main(void)
{
    RUN(small_requests_are_never_refused);
    RUN(whoever_waits_hears_of_room);
    RUN(deferred_work_is_neither_lost_nor_doubled);
    return finish();
}
