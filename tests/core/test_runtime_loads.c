/* test_runtime_loads.c - slots that somebody fills: who may look at them, who
 * waits for them, and who must not; and uses that overwrite all contents. */
#include "harness.h"

#include "device_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static void pause_ms(long ms)
{
    struct timespec step = {.tv_nsec = ms * 1000000};
    (void)nanosleep(&step, NULL);
}

static uint64_t n_copies(const device_fixture *it)
{
    return bp_sim_n_actions(it->sim, BP_ACTION_COPY);
}

static bp_status allocate_loading(device_fixture *it, const char *name,
                                  bool is_replacing, const bp_wait *wait,
                                  bp_slot *out)
{
    bp_slot_request request = {.name = name,
                               .n_bytes = 64,
                               .has_loader = true,
                               .is_replacing = is_replacing};
    return bp_slots_allocate(it->tree, it->slots, &request, wait, out,
                             &it->shortage, &it->error);
}

/* In two parts, so that whoever looks between them sees half of it. */
static bp_status load(device_fixture *it, bp_slot slot, uint64_t seed)
{
    uint8_t bytes[64];
    for (uint64_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = byte_of(seed, i);
    }
    bp_status status =
        bp_slot_copy_in(it->tree, slot, 0, bytes, 32, &it->error);
    pause_ms(5);
    if (status == BP_OK) {
        status =
            bp_slot_copy_in(it->tree, slot, 32, bytes + 32, 32, &it->error);
    }
    return status == BP_OK ? bp_slot_loaded(it->tree, slot, true, &it->error)
                           : status;
}

/* ---- another thread ---------------------------------------------------- */

/* What the other thread does with `slot`, and what came of it. */
typedef struct other {
    device_fixture *it;
    pthread_t thread;
    bp_slot slot, made;
    bp_wait wait;
    bp_status status, second;
    bool needs_load;
    bool is_seen; /* an address or a view was given */
    atomic_bool has_begun, is_done;
    bp_error error;
} other;

static void *use_it(void *ctx)
{
    other *me = ctx;
    atomic_store(&me->has_begun, true);
    me->status = bp_slot_use_begin(me->it->tree, me->slot, BP_READS, &me->wait,
                                   &me->needs_load, NULL, &me->error);
    atomic_store(&me->is_done, true);
    if (me->status == BP_OK && me->needs_load) {
        me->second = bp_slot_loaded(me->it->tree, me->slot, true, NULL);
    }
    if (me->status == BP_OK) {
        bp_slot_use_end(me->it->tree, me->slot, BP_HOST_ONLY);
    }
    return NULL;
}

static void *replace_it(void *ctx)
{
    other *me = ctx;
    bp_slot_request request = {
        .name = "a", .n_bytes = 32, .is_replacing = true};
    atomic_store(&me->has_begun, true);
    me->status = bp_slots_allocate(me->it->tree, me->it->slots, &request,
                                   &me->wait, &me->made, NULL, &me->error);
    atomic_store(&me->is_done, true);
    return NULL;
}

static void *look_at_it(void *ctx)
{
    other *me = ctx;
    uint8_t byte = 77;
    me->status =
        bp_slot_copy_in(me->it->tree, me->slot, 0, &byte, 1, &me->error);
    me->second =
        bp_slot_copy_out(me->it->tree, me->slot, 0, &byte, 1, &me->error);
    me->is_seen = byte != 77 ||
                  bp_slot_get_address(me->it->tree, me->slot) != 0 ||
                  bp_slot_get_host_view(me->it->tree, me->slot) != NULL;
    return NULL;
}

static bool start(other *me, device_fixture *it, void *(*what)(void *),
                  bp_slot slot, uint64_t deadline_ns)
{
    memset(me, 0, sizeof *me);
    me->it = it;
    me->slot = slot;
    me->wait.deadline_ns = deadline_ns;
    return pthread_create(&me->thread, NULL, what, me) == 0;
}

/* Give it the time in which it would be done if it did not wait. */
static bool is_waiting(other *me)
{
    for (int i = 0; i < 2000 && !atomic_load(&me->has_begun); i++) {
        pause_ms(1);
    }
    pause_ms(30);
    return atomic_load(&me->has_begun) && !atomic_load(&me->is_done);
}

static bool run_to_the_end(other *me, device_fixture *it, void *(*what)(void *),
                           bp_slot slot, uint64_t deadline_ns)
{
    return start(me, it, what, slot, deadline_ns) &&
           pthread_join(me->thread, NULL) == 0;
}

static bool threads_init(device_fixture *it)
{
    memset(it, 0, sizeof *it);
    return device_init_with(it, 1000, NULL, NULL);
}

/* ---- waiting for a loader ---------------------------------------------- */

static void waits_for_the_loader_of_another(void)
{
    device_fixture it;
    static other user;
    bp_slot a;
    bool needs_load;
    CHECK(threads_init(&it));
    CHECK_STATUS(allocate_loading(&it, "a", false, NULL, &a), BP_OK, &it.error);
    CHECK(start(&user, &it, use_it, a, BP_FOR_EVER));
    CHECK(is_waiting(&user));
    CHECK_STATUS(load(&it, a, 1), BP_OK, &it.error);
    CHECK_U64(pthread_join(user.thread, NULL), 0);
    CHECK_STATUS(user.status, BP_OK, &user.error);
    CHECK(!user.needs_load);

    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_use_begin(it.tree, a, BP_READS, NULL, &needs_load,
                                   NULL, &it.error),
                 BP_OK, &it.error);
    CHECK(needs_load);
    CHECK(start(&user, &it, use_it, a, BP_FOR_EVER));
    CHECK(is_waiting(&user));
    CHECK_STATUS(load(&it, a, 2), BP_OK, &it.error);
    CHECK_U64(pthread_join(user.thread, NULL), 0);
    CHECK_STATUS(user.status, BP_OK, &user.error);
    bp_slot_use_end(it.tree, a, BP_HOST_ONLY);
    CHECK(device_holds(&it, a, 64, 2));
    CHECK(device_fini(&it));
}

/* What the loader could not do, the one that waited does. */
static void takes_over_from_a_loader_that_fails(void)
{
    device_fixture it;
    static other user;
    bp_slot a;
    bool needs_load;
    CHECK(threads_init(&it));
    CHECK_STATUS(allocate_loading(&it, "a", false, NULL, &a), BP_OK, &it.error);
    CHECK_STATUS(load(&it, a, 1), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_use_begin(it.tree, a, BP_READS, NULL, &needs_load,
                                   NULL, &it.error),
                 BP_OK, &it.error);
    CHECK(start(&user, &it, use_it, a, BP_FOR_EVER));
    CHECK(is_waiting(&user));
    CHECK_STATUS(bp_slot_loaded(it.tree, a, false, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(pthread_join(user.thread, NULL), 0);
    CHECK_STATUS(user.status, BP_OK, &user.error);
    CHECK(user.needs_load);
    CHECK_STATUS(user.second, BP_OK, NULL);

    /* A new one that fails is gone, and the text still names it. */
    bp_slot b;
    CHECK_STATUS(allocate_loading(&it, "b", false, NULL, &b), BP_OK, &it.error);
    CHECK(start(&user, &it, use_it, b, BP_FOR_EVER));
    CHECK(is_waiting(&user));
    CHECK_STATUS(bp_slot_loaded(it.tree, b, false, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(pthread_join(user.thread, NULL), 0);
    CHECK_STATUS(user.status, BP_STALE, NULL);
    CHECK_TEXT(user.error.text, "slot 'b' went while it was waited for");
    CHECK_TEXT(user.error.buffer, "b");
    CHECK(device_fini(&it));
}

static void does_not_wait_for_a_loader_in_vain(void)
{
    device_fixture it;
    static other user;
    bp_slot a, b;
    bool needs_load;
    bp_wait ever = {.deadline_ns = BP_FOR_EVER};
    CHECK(threads_init(&it));
    CHECK_STATUS(allocate_loading(&it, "a", false, NULL, &a), BP_OK, &it.error);
    /* Its own thread. */
    CHECK_STATUS(bp_slot_use_begin(it.tree, a, BP_WRITES, &ever, &needs_load,
                                   NULL, &it.error),
                 BP_BUSY, NULL);
    CHECK_TEXT(it.error.text, "'a' is being loaded");
    CHECK_STATUS(allocate_loading(&it, "a", true, &ever, &b), BP_BUSY, NULL);
    CHECK_TEXT(it.error.buffer, "a");
    /* Another, that may not wait; and one that may not for long. */
    CHECK(run_to_the_end(&user, &it, use_it, a, 0));
    CHECK_STATUS(user.status, BP_BUSY, NULL);
    CHECK(run_to_the_end(&user, &it, replace_it, a, 0));
    CHECK_STATUS(user.status, BP_BUSY, NULL);
    CHECK_TEXT(user.error.buffer, "a");
    CHECK(run_to_the_end(&user, &it, use_it, a,
                         bp_monotonic_ns() + 20 * 1000000u));
    CHECK_STATUS(user.status, BP_TIMED_OUT, NULL);
    CHECK_TEXT(user.error.text, "'a' is still being loaded");
    CHECK(run_to_the_end(&user, &it, replace_it, a,
                         bp_monotonic_ns() + 20 * 1000000u));
    CHECK_STATUS(user.status, BP_BUSY, NULL);
    CHECK_TEXT(user.error.text, "'a' is being loaded");
    CHECK_STATUS(load(&it, a, 1), BP_OK, &it.error);
    CHECK(device_holds(&it, a, 64, 1));
    CHECK(device_fini(&it));
}

static void replaces_when_the_loader_is_done(void)
{
    device_fixture it;
    static other user;
    bp_slot a;
    CHECK(threads_init(&it));
    CHECK_STATUS(allocate_loading(&it, "a", false, NULL, &a), BP_OK, &it.error);
    CHECK(start(&user, &it, replace_it, a, BP_FOR_EVER));
    CHECK(is_waiting(&user));
    CHECK_STATUS(load(&it, a, 1), BP_OK, &it.error);
    CHECK_U64(pthread_join(user.thread, NULL), 0);
    CHECK_STATUS(user.status, BP_OK, &user.error);
    CHECK_U64(device_state(&it, a), BP_N_SLOT_STATES);
    CHECK_U64(device_state(&it, user.made), BP_SLOT_RESIDENT);
    CHECK_U64(device_stats(&it).used, 32);
    CHECK(device_fini(&it));
}

/* The old one is waited for, too: it is gone, or back, at the end. */
static void waits_for_what_is_being_replaced(void)
{
    device_fixture it;
    static other user;
    bp_slot old, new;
    CHECK(threads_init(&it));
    CHECK_STATUS(device_allocate(&it, "a", 32, &old), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, old, 32, 5, BP_HOST_ONLY), BP_OK, &it.error);
    CHECK_STATUS(allocate_loading(&it, "a", true, NULL, &new), BP_OK,
                 &it.error);
    CHECK(run_to_the_end(&user, &it, use_it, old, 0));
    CHECK_STATUS(user.status, BP_BUSY, NULL);
    CHECK_TEXT(user.error.text, "'a' is being replaced");
    CHECK(start(&user, &it, use_it, old, BP_FOR_EVER));
    CHECK(is_waiting(&user));
    CHECK_STATUS(bp_slot_loaded(it.tree, new, false, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(pthread_join(user.thread, NULL), 0);
    CHECK_STATUS(user.status, BP_OK, &user.error);
    CHECK(device_holds(&it, old, 32, 5));

    CHECK_STATUS(allocate_loading(&it, "a", true, NULL, &new), BP_OK,
                 &it.error);
    CHECK(start(&user, &it, use_it, old, BP_FOR_EVER));
    CHECK(is_waiting(&user));
    CHECK_STATUS(load(&it, new, 1), BP_OK, &it.error);
    CHECK_U64(pthread_join(user.thread, NULL), 0);
    CHECK_STATUS(user.status, BP_STALE, NULL);
    CHECK(device_holds(&it, new, 64, 1));
    CHECK(device_fini(&it));
}

/* ---- loaders that wait for each other ----------------------------------- */

typedef struct circle {
    device_fixture it;
    bp_slot a, b;
    bp_status begun, loaded, status;
    bp_error error;
    atomic_bool has_b;
} circle;

/* Fills b, and needs a for it. */
static void *fill_b_from_a(void *ctx)
{
    circle *me = ctx;
    bp_tree *tree = me->it.tree;
    bp_slot_request request = {.name = "b", .n_bytes = 64, .has_loader = true};
    bp_wait ever = {.deadline_ns = BP_FOR_EVER};
    bool needs_load;
    me->begun = bp_slots_allocate(tree, me->it.slots, &request, &ever, &me->b,
                                  NULL, &me->error);
    atomic_store(&me->has_b, true);
    me->status = bp_slot_use_begin(tree, me->a, BP_READS, &ever, &needs_load,
                                   NULL, &me->error);
    if (me->status == BP_OK) {
        bp_slot_use_end(tree, me->a, BP_HOST_ONLY);
    }
    me->loaded = bp_slot_loaded(tree, me->b, true, NULL);
    return NULL;
}

static void closes_no_circle_of_loaders(void)
{
    static circle all;
    device_fixture *it = &all.it;
    pthread_t thread;
    bp_slot none;
    bp_wait ever = {.deadline_ns = BP_FOR_EVER};
    bool needs_load;
    memset(&all, 0, sizeof all);
    CHECK(device_init_with(it, 1000, NULL, NULL));
    CHECK_STATUS(allocate_loading(it, "a", false, NULL, &all.a), BP_OK,
                 &it->error);
    CHECK_U64(pthread_create(&thread, NULL, fill_b_from_a, &all), 0);
    while (!atomic_load(&all.has_b)) {
        pause_ms(1);
    }
    pause_ms(30);
    /* It waits for a; and a's loader must not wait for b. */
    CHECK_STATUS(bp_slot_use_begin(it->tree, all.b, BP_READS, &ever,
                                   &needs_load, NULL, &it->error),
                 BP_BUSY, NULL);
    CHECK_STATUS(allocate_loading(it, "b", true, &ever, &none), BP_BUSY, NULL);
    CHECK_STATUS(load(it, all.a, 1), BP_OK, &it->error);
    CHECK_U64(pthread_join(thread, NULL), 0);
    CHECK_STATUS(all.begun, BP_OK, NULL);
    CHECK_STATUS(all.status, BP_OK, &all.error);
    CHECK_STATUS(all.loaded, BP_OK, NULL);
    CHECK(device_fini(it));
}

/* ---- who may look ------------------------------------------------------- */

static void only_the_loader_sees_what_it_fills(void)
{
    device_fixture it;
    static other user;
    bp_slot a;
    CHECK(threads_init(&it));
    CHECK_STATUS(allocate_loading(&it, "a", false, NULL, &a), BP_OK, &it.error);
    CHECK(run_to_the_end(&user, &it, look_at_it, a, 0));
    CHECK_STATUS(user.status, BP_BUSY, NULL);
    CHECK_STATUS(user.second, BP_BUSY, NULL);
    CHECK_TEXT(user.error.text, "'a' is being loaded");
    CHECK(!user.is_seen);
    uint8_t byte = 5, got = 0;
    uint8_t *view = bp_slot_get_host_view(it.tree, a);
    CHECK(view != NULL);
    CHECK(bp_slot_get_address(it.tree, a) != 0);
    CHECK_STATUS(bp_slot_copy_in(it.tree, a, 3, &byte, 1, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(view[3], 5);
    CHECK_STATUS(bp_slot_copy_out(it.tree, a, 3, &got, 1, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(got, 5);
    CHECK_STATUS(load(&it, a, 1), BP_OK, &it.error);
    CHECK(device_holds(&it, a, 64, 1));
    CHECK(device_fini(&it));
}

/* ---- uses that overwrite everything -------------------------------------- */

static bp_status begin_over(device_fixture *it, bp_slot slot, bool *needs_load)
{
    return bp_slot_use_begin(it->tree, slot, BP_OVERWRITES, NULL, needs_load,
                             &it->shortage, &it->error);
}

static bp_status overwrite(device_fixture *it, bp_slot slot, uint64_t seed)
{
    uint8_t bytes[64];
    bool needs_load;
    for (uint64_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = byte_of(seed, i);
    }
    bp_status status = begin_over(it, slot, &needs_load);
    if (status == BP_OK && needs_load) {
        status = BP_INTERNAL;
    }
    if (status == BP_OK) {
        status =
            bp_slot_copy_in(it->tree, slot, 0, bytes, sizeof bytes, &it->error);
        bp_slot_use_end(it->tree, slot, BP_HOST_ONLY);
    }
    return status;
}

static void overwrites_what_was_lost(void)
{
    device_fixture it;
    bp_slot a, b;
    bp_slot_request request = {.name = "a", .n_bytes = 64};
    CHECK(device_init(&it, 1000, NULL));
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &a, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_STATUS(device_begin(&it, a, true), BP_CONTENTS_LOST, NULL);
    CHECK_TEXT(it.error.buffer, "a");
    CHECK_STATUS(overwrite(&it, a, 4), BP_OK, &it.error);
    CHECK(device_holds(&it, a, 64, 4));

    /* Nor is a loader asked. */
    CHECK_STATUS(allocate_loading(&it, "b", false, NULL, &b), BP_OK, &it.error);
    CHECK_STATUS(load(&it, b, 1), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, b, &it.error), BP_OK, &it.error);
    CHECK_STATUS(overwrite(&it, b, 5), BP_OK, &it.error);
    CHECK(device_holds(&it, b, 64, 5));
    CHECK(device_fini(&it));
}

static void overwrites_without_copying_in(void)
{
    device_fixture it;
    bp_slot a;
    CHECK(device_init(&it, 1000, NULL));
    CHECK_STATUS(device_allocate(&it, "a", 64, &a), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, a, 64, 1, BP_HOST_ONLY), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    uint64_t before = n_copies(&it);
    CHECK_STATUS(overwrite(&it, a, 2), BP_OK, &it.error);
    CHECK_U64(n_copies(&it), before + 1);
    bp_slots_stats stats;
    CHECK_STATUS(bp_slots_get_stats(it.tree, it.slots, &stats, &it.error),
                 BP_OK, &it.error);
    CHECK_U64(stats.moved_in_bytes, 0);
    /* The old copy is no longer what a restore would bring back. */
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_U64(n_copies(&it), before + 2);
    CHECK(device_holds(&it, a, 64, 2));
    CHECK(device_fini(&it));
}

/* Where it cannot begin, the contents are what they were. */
static void keeps_what_it_could_not_overwrite(void)
{
    device_fixture it;
    bp_slot a, b;
    bool needs_load;
    bp_slot_request pinned = {.name = "b", .n_bytes = 100, .is_pinned = true};
    CHECK(device_init(&it, 100, NULL));
    CHECK_STATUS(device_allocate(&it, "a", 64, &a), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, a, 64, 1, BP_HOST_ONLY), BP_OK, &it.error);
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &pinned, NULL, &b, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    char *before = device_dump(&it);
    CHECK_STATUS(begin_over(&it, a, &needs_load), BP_BUDGET_EXCEEDED, NULL);
    CHECK(device_is_unchanged(&it, before));
    CHECK_STATUS(bp_slot_deallocate(it.tree, b, NULL, &it.error), BP_OK,
                 &it.error);
    CHECK(device_holds(&it, a, 64, 1));
    CHECK(device_fini(&it));
}

int main(void)
{
    RUN(waits_for_the_loader_of_another);
    RUN(takes_over_from_a_loader_that_fails);
    RUN(does_not_wait_for_a_loader_in_vain);
    RUN(replaces_when_the_loader_is_done);
    RUN(waits_for_what_is_being_replaced);
    RUN(closes_no_circle_of_loaders);
    RUN(only_the_loader_sees_what_it_fills);
    RUN(overwrites_what_was_lost);
    RUN(overwrites_without_copying_in);
    RUN(keeps_what_it_could_not_overwrite);
    return finish();
}
