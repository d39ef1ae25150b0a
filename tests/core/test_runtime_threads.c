/* test_runtime_threads.c - eight threads on one tree: they allocate, use,
 * evict, replace and give up slots of two managers, hand work to finalisers,
 * and one completes the device's events. Made for the thread sanitizer; without
 * it, it still checks contents, and that everything adds up at the end. */
#include "harness.h"

#include "device_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

enum { N_THREADS = 8, N_NAMES = 10, N_ROUNDS = 1500, N_BYTES = 96 };

typedef struct shared {
    device_fixture it;
    bp_slots managers[2];
    bp_slot moving;
    atomic_uint n_faults;
    atomic_uint n_uses;
    atomic_uint n_running;
} shared;

typedef struct worker {
    shared *all;
    pthread_t thread;
    uint64_t seed;
    bp_stream stream;
    bool is_killer;
} worker;

static void fault(shared *all, const char *what, const bp_error *error)
{
    if (atomic_fetch_add(&all->n_faults, 1) < 5) {
        printf("%s: %s\n", what, error->text);
    }
}

/* Others may have what this thread wants, or have taken it away. */
static bool is_expected(bp_status status)
{
    return status == BP_OK || status == BP_BUDGET_EXCEEDED ||
           status == BP_BUSY || status == BP_STALE || status == BP_TIMED_OUT ||
           status == BP_SLOT_EXISTS || status == BP_UNKNOWN_SLOT;
}

/* A slot holds one byte all over; whoever writes has it alone only as far as it
 * is told by the byte in front. */
static bool is_even(const uint8_t *bytes)
{
    for (size_t i = 1; i < N_BYTES; i++) {
        if (bytes[i] != bytes[0]) {
            return false;
        }
    }
    return true;
}

static bp_status allocate(worker *me, const char *name, bp_error *error)
{
    bp_slot slot;
    bp_wait wait = device_wait_ms(random_below(&me->seed, 2) * 5);
    bp_slot_request request = slot_of(name, N_BYTES);
    request.is_replacing = random_below(&me->seed, 4) == 0;
    request.has_loader = true;
    request.priority = (int32_t)random_below(&me->seed, 3);
    bp_status status = bp_slots_allocate(
        me->all->it.tree, me->all->managers[random_below(&me->seed, 2)],
        &request, random_below(&me->seed, 2) == 0 ? NULL : &wait, &slot, NULL,
        error);
    if (status == BP_OK) {
        uint8_t bytes[N_BYTES];
        memset(bytes, (int)random_below(&me->seed, 256), sizeof bytes);
        status =
            bp_slot_copy_in(me->all->it.tree, slot, 0, bytes, N_BYTES, error);
        bool is_good = status == BP_OK && random_below(&me->seed, 8) != 0;
        bp_status loaded =
            bp_slot_loaded(me->all->it.tree, slot, is_good, error);
        status = status == BP_OK ? loaded : status;
    }
    return status;
}

static void finish_use(worker *me, bp_slot slot)
{
    bp_tree *tree = me->all->it.tree;
    bp_deferred *deferred =
        random_below(&me->seed, 4) == 0 ? bp_deferred_new(tree) : NULL;
    if (deferred != NULL) {
        bp_tree_defer(tree, deferred, BP_DEFER_USE_END, slot);
    } else {
        bp_slot_use_end(tree, slot,
                        random_below(&me->seed, 8) == 0 ? BP_NO_STREAM
                                                        : me->stream);
    }
}

static bp_status use(worker *me, bp_slot slot, bp_error *error)
{
    uint8_t bytes[N_BYTES];
    bool needs_load = false;
    bp_tree *tree = me->all->it.tree;
    bp_wait wait = device_wait_ms(5);
    bp_status status = bp_slot_use_begin(
        tree, slot, BP_READS, random_below(&me->seed, 2) == 0 ? NULL : &wait,
        &needs_load, NULL, error);
    if (status != BP_OK) {
        return status;
    }
    if (needs_load) {
        memset(bytes, 3, sizeof bytes);
        status = bp_slot_copy_in(tree, slot, 0, bytes, N_BYTES, error);
        bp_status loaded = bp_slot_loaded(tree, slot, status == BP_OK, error);
        if (status != BP_OK || loaded != BP_OK) {
            return status == BP_OK ? loaded : status; /* the use is over */
        }
    }
    if (status == BP_OK) {
        status = bp_slot_copy_out(tree, slot, 0, bytes, N_BYTES, error);
        if (status == BP_OK && !is_even(bytes)) {
            fault(me->all, "contents", error);
        }
        atomic_fetch_add(&me->all->n_uses, 1);
        finish_use(me, slot);
    }
    return status;
}

static bp_status act(worker *me, bp_error *error)
{
    bp_tree *tree = me->all->it.tree;
    char name[8];
    bp_slot slot;
    (void)snprintf(name, sizeof name, "n%d",
                   (int)random_below(&me->seed, N_NAMES));
    uint64_t what = random_below(&me->seed, 16);
    if (what < 4) {
        return allocate(me, name, error);
    }
    bp_status status =
        bp_slots_find(tree, me->all->managers[random_below(&me->seed, 2)], name,
                      &slot, error);
    if (status != BP_OK) {
        return status;
    }
    switch (what) {
    case 4:
        return bp_slot_deallocate(tree, slot, NULL, error);
    case 5:
    case 6:
        return bp_slot_evict(tree, slot, error);
    case 7:
        bp_tree_settle(tree);
        return BP_OK;
    case 8:
        return bp_budget_make_room(tree, me->all->it.budget, BP_NO_SLOTS,
                                   N_BYTES, NULL, NULL, NULL, error);
    case 9:
        return bp_tree_check(tree, error);
    default:
        return use(me, slot, error);
    }
}

static void *work(void *ctx)
{
    worker *me = ctx;
    bp_error error;
    for (int i = 0; i < N_ROUNDS; i++) {
        error.text[0] = '\0';
        bp_status status = act(me, &error);
        if (!is_expected(status)) {
            fault(me->all, bp_status_name(status), &error);
        }
    }
    atomic_fetch_sub(&me->all->n_running, 1);
    return NULL;
}

static bool start_all(shared *all, worker *workers)
{
    bp_slots_options other = {.budget = all->it.budget,
                              .backend = all->it.sim,
                              .policy = BP_POLICY_MRU};
    all->managers[0] = all->it.slots;
    if (bp_slots_open(all->it.tree, &other, &all->managers[1],
                      &all->it.error) != BP_OK) {
        return false;
    }
    atomic_init(&all->n_running, N_THREADS);
    for (size_t i = 0; i < N_THREADS; i++) {
        workers[i] = (worker){.all = all, .seed = i + 1};
        if (bp_sim_stream_open(all->it.sim, &workers[i].stream,
                               &all->it.error) != BP_OK ||
            pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            return false;
        }
    }
    return true;
}

static void run_all(bp_sim_events events)
{
    static shared all;
    worker workers[N_THREADS];
    bp_sim_options options = {
        .capacity = UINT64_MAX, .events = events, .late_polls = 3};
    memset(&all, 0, sizeof all);
    /* Room for half of what there may be. */
    CHECK(device_init_with(&all.it, N_NAMES * N_BYTES, &options, NULL));
    CHECK(start_all(&all, workers));
    while (events == BP_SIM_MANUAL && atomic_load(&all.n_running) != 0) {
        (void)bp_sim_complete(all.it.sim, 2);
        bp_tree_settle(all.it.tree);
    }
    for (size_t i = 0; i < N_THREADS; i++) {
        CHECK_U64(pthread_join(workers[i].thread, NULL), 0);
    }
    CHECK_U64(atomic_load(&all.n_faults), 0);
    CHECK(atomic_load(&all.n_uses) > N_THREADS);
    bp_slots_close(all.it.tree, all.managers[1]);
    CHECK(device_fini(&all.it));
}

static void events_pass_at_once(void)
{
    run_all(BP_SIM_IMMEDIATE);
}

static void events_pass_late(void)
{
    run_all(BP_SIM_LATE);
}

static void events_pass_when_told(void)
{
    run_all(BP_SIM_MANUAL);
}

/* ---- closing under others ----------------------------------------------- */

static void *close_soon(void *ctx)
{
    worker *me = ctx;
    for (int i = 0; i < 40; i++) {
        bp_tree_settle(me->all->it.tree);
    }
    bp_slots_close(me->all->it.tree, me->all->managers[0]);
    return NULL;
}

static void *work_until_closed(void *ctx)
{
    worker *me = ctx;
    bp_error error;
    for (int i = 0; i < N_ROUNDS; i++) {
        error.text[0] = '\0';
        bp_status status = act(me, &error);
        if (!is_expected(status) && status != BP_CLOSED) {
            fault(me->all, bp_status_name(status), &error);
        }
    }
    return NULL;
}

static void closes_under_others(void)
{
    static shared all;
    worker workers[4];
    bp_sim_options options = {
        .capacity = UINT64_MAX, .events = BP_SIM_LATE, .late_polls = 2};
    memset(&all, 0, sizeof all);
    CHECK(device_init_with(&all.it, N_NAMES * N_BYTES, &options, NULL));
    all.managers[0] = all.managers[1] = all.it.slots;
    for (size_t i = 0; i < 4; i++) {
        workers[i] = (worker){.all = &all, .seed = 77 + i};
        CHECK_STATUS(
            bp_sim_stream_open(all.it.sim, &workers[i].stream, &all.it.error),
            BP_OK, &all.it.error);
        CHECK_U64(
            pthread_create(&workers[i].thread, NULL,
                           i == 0 || i == 1 ? close_soon : work_until_closed,
                           &workers[i]),
            0);
    }
    for (size_t i = 0; i < 4; i++) {
        CHECK_U64(pthread_join(workers[i].thread, NULL), 0);
    }
    CHECK_U64(atomic_load(&all.n_faults), 0);
    CHECK(device_fini(&all.it));
}

/* ---- a device that dies under others --------------------------------------
 */

static void *work_until_dead(void *ctx)
{
    worker *me = ctx;
    bp_error error;
    for (int i = 0; i < N_ROUNDS; i++) {
        if (me->is_killer && i == N_ROUNDS / 8) {
            bp_sim_fault(me->all->it.sim);
        }
        error.text[0] = '\0';
        bp_status status = act(me, &error);
        if (!is_expected(status) && status != BP_DEVICE_FAULT &&
            status != BP_CONTENTS_LOST) {
            fault(me->all, bp_status_name(status), &error);
        }
    }
    return NULL;
}

static void dies_under_others(void)
{
    static shared all;
    worker workers[4];
    bp_sim_options options = {
        .capacity = UINT64_MAX, .events = BP_SIM_LATE, .late_polls = 2};
    memset(&all, 0, sizeof all);
    CHECK(device_init_with(&all.it, N_NAMES * N_BYTES, &options, NULL));
    all.managers[0] = all.managers[1] = all.it.slots;
    for (size_t i = 0; i < 4; i++) {
        workers[i] =
            (worker){.all = &all, .seed = 400 + i, .is_killer = i == 0};
        CHECK_STATUS(
            bp_sim_stream_open(all.it.sim, &workers[i].stream, &all.it.error),
            BP_OK, &all.it.error);
        CHECK_U64(pthread_create(&workers[i].thread, NULL, work_until_dead,
                                 &workers[i]),
                  0);
    }
    for (size_t i = 0; i < 4; i++) {
        CHECK_U64(pthread_join(workers[i].thread, NULL), 0);
    }
    CHECK_U64(atomic_load(&all.n_faults), 0);
    bp_slot slot;
    CHECK_STATUS(device_allocate(&all.it, "after", 1, &slot), BP_DEVICE_FAULT,
                 NULL);
    CHECK_U64(device_stats(&all.it).used, 0);
    CHECK_U64(device_stats(&all.it).retiring, 0);
    CHECK(device_fini(&all.it));
}

/* ---- what moves by other calls' doing ------------------------------------ */

enum { N_MOVES = 4000 };

static void *evict_often(void *ctx)
{
    worker *me = ctx;
    bp_error error;
    for (int i = 0; i < N_MOVES; i++) {
        bp_status status =
            bp_slot_evict(me->all->it.tree, me->all->moving, &error);
        if (status != BP_OK && status != BP_BUSY) {
            fault(me->all, bp_status_name(status), &error);
        }
    }
    return NULL;
}

/* Nothing but copies of our own has to be waited for: no use is refused, even
 * of calls that may not wait. */
static void *use_often(void *ctx)
{
    worker *me = ctx;
    bp_error error;
    for (int i = 0; i < N_MOVES; i++) {
        bool needs_load = false;
        bp_status status =
            bp_slot_use_begin(me->all->it.tree, me->all->moving, BP_WRITES,
                              NULL, &needs_load, NULL, &error);
        if (status != BP_OK) {
            fault(me->all, bp_status_name(status), &error);
            continue;
        }
        atomic_fetch_add(&me->all->n_uses, 1);
        bp_slot_use_end(me->all->it.tree, me->all->moving, me->stream);
    }
    return NULL;
}

static void moves_of_others_are_waited_for(void)
{
    static shared all;
    worker workers[4];
    memset(&all, 0, sizeof all);
    CHECK(device_init_with(&all.it, N_BYTES, NULL, NULL));
    CHECK_STATUS(device_allocate(&all.it, "moving", N_BYTES, &all.moving),
                 BP_OK, &all.it.error);
    for (size_t i = 0; i < 4; i++) {
        workers[i] = (worker){.all = &all};
        CHECK_STATUS(
            bp_sim_stream_open(all.it.sim, &workers[i].stream, &all.it.error),
            BP_OK, &all.it.error);
        CHECK_U64(pthread_create(&workers[i].thread, NULL,
                                 i < 2 ? evict_often : use_often, &workers[i]),
                  0);
    }
    for (size_t i = 0; i < 4; i++) {
        CHECK_U64(pthread_join(workers[i].thread, NULL), 0);
    }
    CHECK_U64(atomic_load(&all.n_faults), 0);
    CHECK_U64(atomic_load(&all.n_uses), 2 * N_MOVES);
    CHECK(device_fini(&all.it));
}

int main(void)
{
    RUN(moves_of_others_are_waited_for);
    RUN(events_pass_at_once);
    RUN(events_pass_late);
    RUN(events_pass_when_told);
    RUN(closes_under_others);
    RUN(dies_under_others);
    return finish();
}
