/* test_runtime_wait.c - slots that the device still uses, on a simulator whose
 * events pass when they are told to: what may wait waits, what may not refuses
 * at once and changes nothing. */
#include "harness.h"

#include "device_fixture.h"

#include <pthread.h>
#include <time.h>

static const bp_sim_options manual = {.capacity = UINT64_MAX,
                                      .events = BP_SIM_MANUAL};

/* A slot with contents that a stream of the user's still works on. */
static bp_slot busy_slot(device_fixture *it, const char *name, uint64_t n_bytes,
                         uint64_t seed)
{
    bp_slot slot = BP_NO_SLOT;
    bp_status status = device_allocate(it, name, n_bytes, &slot);
    if (status == BP_OK) {
        status = device_fill(it, slot, n_bytes, seed, it->stream);
    }
    return status == BP_OK ? slot : BP_NO_SLOT;
}

static bp_status allocate_within(device_fixture *it, const char *name,
                                 uint64_t n_bytes, const bp_wait *wait,
                                 bp_slot *out)
{
    bp_slot_request request = slot_of(name, n_bytes);
    return bp_slots_allocate(it->tree, it->slots, &request, wait, out,
                             &it->shortage, &it->error);
}

/* Completes everything after a while, from another thread. */
typedef struct completer {
    bp_backend *sim;
    pthread_t thread;
    uint64_t delay_ns;
} completer;

static void *complete(void *ctx)
{
    completer *it = ctx;
    uint64_t until = bp_monotonic_ns() + it->delay_ns;
    struct timespec step = {.tv_nsec = 1000000};
    while (bp_monotonic_ns() < until) {
        (void)nanosleep(&step, NULL);
    }
    (void)bp_sim_complete(it->sim, UINT64_MAX);
    return NULL;
}

static bool complete_later(completer *it, bp_backend *sim, uint64_t ms)
{
    it->sim = sim;
    it->delay_ns = ms * 1000000u;
    return pthread_create(&it->thread, NULL, complete, it) == 0;
}

/* ---- timeout 0 --------------------------------------------------------- */

static void refuses_at_once(void)
{
    device_fixture it;
    bp_slot b;
    CHECK(device_init(&it, 100, &manual));
    bp_slot a = busy_slot(&it, "a", 100, 3);
    CHECK(a != BP_NO_SLOT);
    CHECK_U64(bp_sim_n_held(it.sim), 1);
    char *before = device_dump(&it);
    CHECK_STATUS(device_allocate(&it, "b", 10, &b), BP_BUDGET_EXCEEDED, NULL);
    CHECK_U64(it.shortage.in_flight, 100);
    CHECK_U64(it.shortage.evictable, 0);
    CHECK(device_is_unchanged(&it, before));
    CHECK_U64(device_n_records(&it), 0);
    CHECK_U64(bp_sim_complete(it.sim, 1), 1);
    CHECK_STATUS(device_allocate(&it, "b", 10, &b), BP_OK, &it.error);
    CHECK_U64(device_state(&it, a), BP_SLOT_EVICTED);
    CHECK(device_fini(&it));
}

/* A slot that left while it was in use by the device retires when the device is
 * done, and is waited for by nobody who may not wait. */
static void retires_behind_the_device(void)
{
    device_fixture it;
    bp_slot b;
    uint8_t byte;
    CHECK(device_init(&it, 100, &manual));
    bp_slot a = busy_slot(&it, "a", 100, 3);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_U64(device_state(&it, a), BP_SLOT_EVICTING);
    CHECK_U64(device_n_records(&it), 1);
    CHECK_U64(device_stats(&it).retiring, 100);
    CHECK_U64(device_stats(&it).used, 0);
    CHECK(device_is_sound(&it));
    char *before = device_dump(&it);
    CHECK_STATUS(device_allocate(&it, "b", 1, &b), BP_BUDGET_EXCEEDED, NULL);
    CHECK_U64(it.shortage.in_flight, 100);
    CHECK_STATUS(device_begin(&it, a, false), BP_TIMED_OUT, NULL);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_BUSY, NULL);
    CHECK_STATUS(bp_slot_deallocate(it.tree, a, NULL, &it.error), BP_BUSY,
                 NULL);
    CHECK_STATUS(bp_slot_copy_out(it.tree, a, 0, &byte, 1, &it.error), BP_BUSY,
                 NULL);
    CHECK(device_is_unchanged(&it, before));
    CHECK(bp_tree_is_unsettled(it.tree));
    (void)bp_sim_complete(it.sim, UINT64_MAX);
    bp_tree_settle(it.tree);
    CHECK(!bp_tree_is_unsettled(it.tree));
    CHECK_U64(device_state(&it, a), BP_SLOT_EVICTED);
    CHECK_U64(device_stats(&it).retiring, 0);
    CHECK_U64(device_used(&it), 0);
    CHECK(device_holds(&it, a, 100, 3));
    CHECK_U64(device_n_records(&it), 1);
    CHECK(device_fini(&it));
}

static void deallocates_behind_the_device(void)
{
    device_fixture it;
    bp_slot b;
    CHECK(device_init(&it, 100, &manual));
    bp_slot a = busy_slot(&it, "a", 60, 3);
    uint64_t freed = 0;
    CHECK_STATUS(bp_slot_deallocate(it.tree, a, &freed, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(freed, 60);
    CHECK_U64(device_state(&it, a), BP_N_SLOT_STATES);
    CHECK_U64(device_stats(&it).retiring, 60);
    CHECK_U64(device_used(&it), 60);
    CHECK_STATUS(device_allocate(&it, "a", 41, &b), BP_BUDGET_EXCEEDED, NULL);
    CHECK_STATUS(device_allocate(&it, "a", 40, &b), BP_OK, &it.error);
    (void)bp_sim_complete(it.sim, UINT64_MAX);
    bp_tree_settle(it.tree);
    CHECK_U64(device_stats(&it).retiring, 0);
    CHECK_U64(device_used(&it), 40);
    CHECK(device_fini(&it));
}

/* Nor is a copy of our own that lies behind such work. */
static void waits_for_no_queued_copy(void)
{
    device_fixture it;
    bp_slot b;
    CHECK(device_init(&it, 200, &manual));
    CHECK_STATUS(device_allocate(&it, "b", 100, &b), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, b, 100, 1, it.stream), BP_OK, &it.error);
    (void)bp_sim_complete(it.sim, UINT64_MAX);
    bp_slot a = busy_slot(&it, "a", 100, 3);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, b, &it.error), BP_OK, &it.error);
    CHECK_U64(device_state(&it, b), BP_SLOT_EVICTING);
    char *before = device_dump(&it);
    uint64_t started = bp_monotonic_ns();
    CHECK_STATUS(device_begin(&it, b, false), BP_TIMED_OUT, NULL);
    CHECK(bp_monotonic_ns() - started < 500000000u); /* it does not even try */
    CHECK(device_is_unchanged(&it, before));
    (void)bp_sim_complete(it.sim, UINT64_MAX);
    CHECK(device_holds(&it, b, 100, 1));
    CHECK(device_fini(&it));
}

/* What would have to be copied behind somebody's work is not, by a call that
 * may not wait. */
static void does_not_queue(void)
{
    device_fixture it;
    bp_slot b, c, d;
    CHECK(device_init(&it, 300, &manual));
    CHECK_STATUS(device_allocate(&it, "b", 100, &b), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, b, 100, 1, it.stream), BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "c", 100, &c), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, c, 100, 2, it.stream), BP_OK, &it.error);
    (void)bp_sim_complete(it.sim, UINT64_MAX);
    CHECK_STATUS(bp_slot_evict(it.tree, c, &it.error), BP_OK, &it.error);
    bp_slot a = busy_slot(&it, "a", 100, 3);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    char *before = device_dump(&it);
    CHECK_STATUS(device_allocate(&it, "d", 200, &d), BP_BUDGET_EXCEEDED, NULL);
    CHECK_STATUS(device_begin(&it, c, false), BP_TIMED_OUT, NULL);
    CHECK(device_is_unchanged(&it, before));
    (void)bp_sim_complete(it.sim, UINT64_MAX);
    CHECK_STATUS(device_allocate(&it, "d", 300, &d), BP_OK, &it.error);
    CHECK(device_holds(&it, a, 100, 3));
    CHECK(device_holds(&it, b, 100, 1));
    CHECK(device_holds(&it, c, 100, 2));
    CHECK(device_fini(&it));
}

static void replaces_only_what_can_go(void)
{
    device_fixture it;
    bp_slot b;
    bp_slot_request request = slot_of("a", 60);
    request.is_replacing = true;
    CHECK(device_init(&it, 100, &manual));
    bp_slot a = busy_slot(&it, "a", 60, 3);
    char *before = device_dump(&it);
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &b, NULL,
                                   &it.error),
                 BP_BUDGET_EXCEEDED, NULL);
    CHECK(device_is_unchanged(&it, before));
    /* There is room for both: the old one retires by itself. */
    request.n_bytes = 40;
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &b, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    CHECK_U64(device_state(&it, a), BP_N_SLOT_STATES);
    CHECK_U64(device_stats(&it).used, 40);
    CHECK_U64(device_stats(&it).retiring, 60);
    CHECK_U64(device_n_records(&it), 1);
    CHECK(device_is_sound(&it));
    (void)bp_sim_complete(it.sim, UINT64_MAX);
    bp_tree_settle(it.tree);
    CHECK_U64(device_used(&it), 40);
    CHECK(device_fini(&it));
}

/* ---- deadlines --------------------------------------------------------- */

static void waits_until_the_deadline(void)
{
    device_fixture it;
    bp_slot b;
    CHECK(device_init(&it, 100, &manual));
    bp_slot a = busy_slot(&it, "a", 100, 3);
    bp_wait wait = device_wait_ms(30);
    CHECK_STATUS(allocate_within(&it, "b", 10, &wait, &b), BP_BUDGET_EXCEEDED,
                 NULL);
    CHECK(bp_monotonic_ns() >= wait.deadline_ns);
    CHECK_U64(it.shortage.in_flight, 100);
    /* What was evicted for it stays evicted. */
    CHECK_U64(device_state(&it, a), BP_SLOT_EVICTING);
    CHECK_U64(device_n_records(&it), 1);
    CHECK_U64(device_stats(&it).reserved, 0);
    CHECK(device_is_sound(&it));
    wait = device_wait_ms(20);
    bool needs_load;
    CHECK_STATUS(bp_slot_use_begin(it.tree, a, BP_READS, &wait, &needs_load,
                                   NULL, &it.error),
                 BP_TIMED_OUT, NULL);
    (void)bp_sim_complete(it.sim, UINT64_MAX);
    CHECK(device_holds(&it, a, 100, 3));
    CHECK(device_fini(&it));
}

static void wakes_when_the_device_is_done(void)
{
    device_fixture it;
    bp_slot b;
    completer other;
    CHECK(device_init(&it, 100, &manual));
    bp_slot a = busy_slot(&it, "a", 100, 3);
    bp_wait wait = {.deadline_ns = BP_FOR_EVER};
    CHECK(complete_later(&other, it.sim, 20));
    bp_status status = allocate_within(&it, "b", 100, &wait, &b);
    CHECK_U64(pthread_join(other.thread, NULL), 0);
    CHECK_STATUS(status, BP_OK, &it.error);
    CHECK_U64(device_state(&it, a), BP_SLOT_EVICTED);
    CHECK_STATUS(bp_slot_deallocate(it.tree, b, NULL, &it.error), BP_OK,
                 &it.error);

    /* A use waits for the eviction that is under way. */
    CHECK(device_holds(&it, a, 100, 3));
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_U64(device_state(&it, a), BP_SLOT_EVICTING);
    CHECK(complete_later(&other, it.sim, 20));
    bool needs_load;
    status = bp_slot_use_begin(it.tree, a, BP_READS, &wait, &needs_load, NULL,
                               &it.error);
    CHECK_U64(pthread_join(other.thread, NULL), 0);
    CHECK_STATUS(status, BP_OK, &it.error);
    bp_slot_use_end(it.tree, a, BP_NO_STREAM);
    CHECK(device_holds(&it, a, 100, 3));
    CHECK(device_fini(&it));
}

static void replaces_when_the_device_is_done(void)
{
    device_fixture it;
    bp_slot b;
    completer other;
    bp_slot_request request = slot_of("a", 100);
    request.is_replacing = true;
    CHECK(device_init(&it, 100, &manual));
    bp_slot a = busy_slot(&it, "a", 100, 3);
    CHECK(a != BP_NO_SLOT);
    bp_wait wait = {.deadline_ns = BP_FOR_EVER};
    CHECK(complete_later(&other, it.sim, 20));
    bp_status status = bp_slots_allocate(it.tree, it.slots, &request, &wait, &b,
                                         NULL, &it.error);
    CHECK_U64(pthread_join(other.thread, NULL), 0);
    CHECK_STATUS(status, BP_OK, &it.error);
    CHECK_U64(device_n_records(&it), 1);
    CHECK_U64(device_used(&it), 100);
    CHECK(device_fini(&it));
}

/* Where everything in flight would not do, there is nothing to wait for. */
static void does_not_wait_in_vain(void)
{
    device_fixture it;
    bp_slot b, c;
    CHECK(device_init(&it, 100, &manual));
    bp_slot_request request = slot_of("c", 50);
    request.is_pinned = true;
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &c, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    bp_slot a = busy_slot(&it, "a", 50, 3);
    CHECK(a != BP_NO_SLOT);
    bp_wait wait = {.deadline_ns = BP_FOR_EVER};
    char *before = device_dump(&it);
    CHECK_STATUS(allocate_within(&it, "b", 51, &wait, &b), BP_BUDGET_EXCEEDED,
                 NULL);
    /* A use of the host's is nothing to wait for either. */
    CHECK_STATUS(device_begin(&it, a, false), BP_OK, &it.error);
    CHECK_STATUS(allocate_within(&it, "b", 1, &wait, &b), BP_BUDGET_EXCEEDED,
                 NULL);
    bp_slot_use_end(it.tree, a, it.stream);
    CHECK(device_is_unchanged(&it, before));
    CHECK(device_fini(&it));
}

static bool stops_at_third(void *ctx)
{
    return ++*(int *)ctx == 3;
}

static void is_interrupted(void)
{
    device_fixture it;
    bp_slot b;
    int n_asked = 0;
    CHECK(device_init(&it, 100, &manual));
    bp_slot a = busy_slot(&it, "a", 100, 3);
    bp_wait wait = {BP_FOR_EVER, stops_at_third, &n_asked};
    uint64_t start = bp_monotonic_ns();
    CHECK_STATUS(allocate_within(&it, "b", 10, &wait, &b), BP_INTERRUPTED,
                 NULL);
    CHECK_U64(n_asked, 3);
    CHECK(bp_monotonic_ns() - start < 2000000000u);
    CHECK_U64(b, BP_NO_SLOT);
    CHECK(device_is_sound(&it));
    CHECK_U64(device_stats(&it).reserved, 0);
    n_asked = 0;
    bool needs_load;
    CHECK_STATUS(bp_slot_use_begin(it.tree, a, BP_READS, &wait, &needs_load,
                                   NULL, &it.error),
                 BP_INTERRUPTED, NULL);
    (void)bp_sim_complete(it.sim, UINT64_MAX);
    CHECK(device_holds(&it, a, 100, 3));
    CHECK(device_fini(&it));
}

/* ---- late events, unknown ends ------------------------------------------ */

static void polls_late_events(void)
{
    bp_sim_options late = {
        .capacity = UINT64_MAX, .events = BP_SIM_LATE, .late_polls = 5};
    device_fixture it;
    bp_slot b;
    CHECK(device_init(&it, 100, &late));
    bp_slot a = busy_slot(&it, "a", 100, 3);
    CHECK_STATUS(device_allocate(&it, "b", 10, &b), BP_BUDGET_EXCEEDED, NULL);
    bp_wait wait = {.deadline_ns = BP_FOR_EVER};
    CHECK_STATUS(allocate_within(&it, "b", 10, &wait, &b), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_deallocate(it.tree, b, NULL, &it.error), BP_OK,
                 &it.error);
    CHECK(device_holds(&it, a, 100, 3));
    /* Asking often enough is enough. */
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    for (int i = 0; i < 12 && bp_tree_is_unsettled(it.tree); i++) {
        bp_tree_settle(it.tree);
    }
    CHECK_U64(device_state(&it, a), BP_SLOT_EVICTED);
    CHECK(device_fini(&it));
}

/* Used without a stream: the whole device is waited for before bytes move. */
static void synchronises_where_the_end_is_unknown(void)
{
    device_fixture it;
    bp_slot a, b;
    CHECK(device_init(&it, 1000, &manual));
    CHECK_STATUS(device_allocate(&it, "a", 100, &a), BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "b", 100, &b), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, a, 100, 1, BP_NO_STREAM), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, b, 100, 2, it.stream), BP_OK, &it.error);
    uint64_t n_syncs = bp_sim_n_actions(it.sim, BP_ACTION_SYNC);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_U64(device_state(&it, a), BP_SLOT_EVICTED);
    CHECK_U64(bp_sim_n_actions(it.sim, BP_ACTION_SYNC), n_syncs + 1);
    CHECK_U64(bp_sim_n_held(it.sim), 0);
    CHECK_STATUS(bp_slot_evict(it.tree, b, &it.error), BP_OK, &it.error);
    CHECK_U64(device_state(&it, b), BP_SLOT_EVICTED);
    CHECK_U64(bp_sim_n_actions(it.sim, BP_ACTION_SYNC), n_syncs + 1);
    CHECK(device_fini(&it));
}

/* Uses of several streams, each to be awaited; a later one of the same stream
 * stands for the earlier. */
static void awaits_every_stream(void)
{
    device_fixture it;
    bp_slot a;
    bp_stream streams[4];
    CHECK(device_init(&it, 1000, &manual));
    CHECK_STATUS(device_allocate(&it, "a", 100, &a), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, a, 100, 1, BP_NO_STREAM), BP_OK, &it.error);
    for (int i = 0; i < 8; i++) {
        if (i < 4) {
            CHECK_STATUS(bp_sim_stream_open(it.sim, &streams[i], &it.error),
                         BP_OK, &it.error);
        }
        CHECK_STATUS(device_begin(&it, a, true), BP_OK, &it.error);
        bp_slot_use_end(it.tree, a, streams[i % 4]);
    }
    CHECK_STATUS(bp_slot_deallocate(it.tree, a, NULL, &it.error), BP_OK,
                 &it.error);
    /* Closing waits for the device and needs nobody else. */
    CHECK(device_fini(&it));
}

/* The device writes until its event passes: what leaves is what it wrote last.
 */
static void copies_after_the_uses(void)
{
    device_fixture it;
    CHECK(device_init(&it, 100, &manual));
    bp_slot a = busy_slot(&it, "a", 64, 3);
    uint8_t *view = bp_slot_get_host_view(it.tree, a);
    CHECK(view != NULL);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_U64(device_state(&it, a), BP_SLOT_EVICTING);
    for (uint64_t i = 0; i < 64; i++) {
        view[i] = byte_of(8, i);
    }
    (void)bp_sim_complete(it.sim, UINT64_MAX);
    bp_tree_settle(it.tree);
    CHECK_U64(device_state(&it, a), BP_SLOT_EVICTED);
    CHECK(device_holds(&it, a, 64, 8));
    CHECK(device_fini(&it));
}

/* Closing while a copy is under way: it ends before its memory goes. */
static void closes_behind_the_device(void)
{
    device_fixture it;
    bp_slot b;
    CHECK(device_init(&it, 300, &manual));
    bp_slot a = busy_slot(&it, "a", 64, 3);
    CHECK(busy_slot(&it, "b", 64, 4) != BP_NO_SLOT);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    bp_slot_request request = slot_of("b", 65);
    request.is_replacing = true;
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &b, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    CHECK(bp_sim_n_held(it.sim) != 0);
    CHECK_U64(device_stats(&it).retiring, 128);
    bp_slots_close(it.tree, it.slots);
    CHECK_U64(bp_sim_n_held(it.sim), 0);
    CHECK_U64(device_used(&it), 0);
    CHECK_U64(device_n_records(&it), 3);
    CHECK(device_fini(&it));
}

/* What only the host saw needs no wait for the device. */
static void trusts_the_host(void)
{
    device_fixture it;
    bp_slot b;
    CHECK(device_init(&it, 300, &manual));
    CHECK(busy_slot(&it, "a", 64, 3) != BP_NO_SLOT);
    CHECK_STATUS(device_allocate(&it, "b", 64, &b), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, b, 64, 4, BP_HOST_ONLY), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, b, &it.error), BP_OK, &it.error);
    CHECK_U64(device_state(&it, b), BP_SLOT_EVICTED);
    CHECK_U64(bp_sim_n_actions(it.sim, BP_ACTION_SYNC), 0);
    CHECK_U64(bp_sim_n_held(it.sim), 1);
    (void)bp_sim_complete(it.sim, UINT64_MAX);
    CHECK(device_holds(&it, b, 64, 4));
    CHECK(device_fini(&it));
}

int main(void)
{
    RUN(refuses_at_once);
    RUN(retires_behind_the_device);
    RUN(deallocates_behind_the_device);
    RUN(waits_for_no_queued_copy);
    RUN(does_not_queue);
    RUN(replaces_only_what_can_go);
    RUN(waits_until_the_deadline);
    RUN(wakes_when_the_device_is_done);
    RUN(replaces_when_the_device_is_done);
    RUN(does_not_wait_in_vain);
    RUN(is_interrupted);
    RUN(polls_late_events);
    RUN(synchronises_where_the_end_is_unknown);
    RUN(awaits_every_stream);
    RUN(copies_after_the_uses);
    RUN(closes_behind_the_device);
    RUN(trusts_the_host);
    return finish();
}
