/* test_runtime_races.c - two calls that meet at the worst moment: hooks in the
 * backend stop one of them there. And one race over and over: host copies
 * that are read while their slot comes and goes. */
#include "harness.h"

#include "device_fixture.h"

#include "backend/backend.h"
#include "device/slots.h"
#include "runtime/act.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static void pause_ms(long ms)
{
    struct timespec step = {.tv_sec = ms / 1000,
                            .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&step, NULL);
}

/* At most ten seconds. */
static bool await_flag(atomic_bool *flag)
{
    for (int i = 0; i < 10000 && !atomic_load(flag); i++) {
        pause_ms(1);
    }
    return atomic_load(flag);
}

/* ---- a name that is replaced twice -------------------------------------- */

/* The second call to replace a slot stops inside of the backend's alloc, while
 * the first one, which failed, goes on. */
static struct twice {
    const bp__backend_table *real;
    bp__backend_table table;
    device_fixture *it;
    pthread_t thread;
    bp_slot slot;
    bp_status status;
    atomic_bool may_begin, is_inside, may_end;
} twice;

static bp_status alloc_slowly(bp_backend *backend, uint64_t n_bytes,
                              bp__memory *out, bp_error *error)
{
    if (n_bytes == 120) { /* of the second call alone */
        atomic_store(&twice.is_inside, true);
        (void)await_flag(&twice.may_end);
    }
    return twice.real->alloc(backend, n_bytes, out, error);
}

/* The first call frees what it had; its slot has its name back by now. */
static bp_status free_hooked(bp_backend *backend, bp__memory memory,
                             bp_error *error)
{
    if (memory.n_bytes == 110 && !atomic_exchange(&twice.may_begin, true)) {
        (void)await_flag(&twice.is_inside);
    }
    return twice.real->free(backend, memory, error);
}

static void *replace_again(void *ctx)
{
    device_fixture *it = ctx;
    bp_error error;
    bp_slot_request request = slot_of("a", 120);
    request.is_replacing = true;
    (void)await_flag(&twice.may_begin);
    twice.status = bp_slots_allocate(it->tree, it->slots, &request, NULL,
                                     &twice.slot, NULL, &error);
    return NULL;
}

static void *let_it_end(void *ctx)
{
    (void)ctx;
    if (await_flag(&twice.is_inside)) {
        pause_ms(100);
    }
    atomic_store(&twice.may_end, true);
    return NULL;
}

/* What the second call replaces is not brought back by the first. */
static void replaced_while_another_fails(void)
{
    device_fixture it;
    bp_slot old, new;
    pthread_t helper;
    memset(&it, 0, sizeof it);
    memset(&twice, 0, sizeof twice);
    CHECK(device_init_with(&it, 300, NULL, NULL));
    CHECK_STATUS(device_allocate(&it, "a", 100, &old), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, old, 100, 1, BP_HOST_ONLY), BP_OK, &it.error);
    bp_slot_request request = {
        .name = "a", .n_bytes = 110, .has_loader = true, .is_replacing = true};
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &new,
                                   NULL, &it.error),
                 BP_OK, &it.error);
    twice.real = it.sim->table;
    twice.table = *it.sim->table;
    twice.table.alloc = alloc_slowly;
    twice.table.free = free_hooked;
    it.sim->table = &twice.table;
    CHECK_U64(pthread_create(&twice.thread, NULL, replace_again, &it), 0);
    CHECK_U64(pthread_create(&helper, NULL, let_it_end, NULL), 0);
    CHECK_STATUS(bp_slot_loaded(it.tree, new, false, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(pthread_join(twice.thread, NULL), 0);
    CHECK_U64(pthread_join(helper, NULL), 0);
    CHECK_STATUS(twice.status, BP_OK, NULL);
    CHECK_U64(device_state(&it, twice.slot), BP_SLOT_RESIDENT);
    CHECK_U64(device_state(&it, old), BP_N_SLOT_STATES);
    CHECK_U64(device_stats(&it).used, 120);
    CHECK(device_fini(&it));
}

/* ---- closing while a copy waits ------------------------------------------ */

typedef struct waiter {
    device_fixture it;
    bp_slot slot;
    bp_status status;
    atomic_bool is_done, was_helped;
} waiter;

static void *use_for_ever(void *ctx)
{
    waiter *me = ctx;
    bp_error error;
    bool needs_load;
    bp_wait wait = {.deadline_ns = UINT64_MAX};
    me->status = bp_slot_use_begin(me->it.tree, me->slot, BP_READS, &wait,
                                   &needs_load, NULL, &error);
    return NULL;
}

static void *help_if_need_be(void *ctx)
{
    waiter *me = ctx;
    for (int i = 0; i < 3000 && !atomic_load(&me->is_done); i++) {
        pause_ms(1);
    }
    if (!atomic_load(&me->is_done)) {
        atomic_store(&me->was_helped, true);
        (void)bp_sim_complete(me->it.sim, UINT64_MAX);
    }
    return NULL;
}

/* A restore that waits behind somebody's work ends when its manager closes. */
static void closing_ends_a_wait_for_the_stream(void)
{
    static waiter all;
    bp_slot gone;
    pthread_t user, helper;
    bp_sim_options options = {.capacity = UINT64_MAX, .events = BP_SIM_MANUAL};
    memset(&all, 0, sizeof all);
    device_fixture *it = &all.it;
    CHECK(device_init_with(it, 1000, &options, NULL));
    CHECK_STATUS(device_allocate(it, "a", 100, &all.slot), BP_OK, &it->error);
    CHECK_STATUS(device_fill(it, all.slot, 100, 1, BP_HOST_ONLY), BP_OK,
                 &it->error);
    CHECK_STATUS(bp_slot_evict(it->tree, all.slot, &it->error), BP_OK,
                 &it->error);
    CHECK_STATUS(device_allocate(it, "b", 100, &gone), BP_OK, &it->error);
    CHECK_STATUS(device_fill(it, gone, 100, 2, it->stream), BP_OK, &it->error);
    CHECK_STATUS(bp_slot_evict(it->tree, gone, &it->error), BP_OK, &it->error);
    CHECK_U64(pthread_create(&user, NULL, use_for_ever, &all), 0);
    while (device_state(it, all.slot) != BP_SLOT_RESTORING) {
        pause_ms(1);
    }
    CHECK_U64(pthread_create(&helper, NULL, help_if_need_be, &all), 0);
    bp_slots_close(it->tree, it->slots);
    atomic_store(&all.is_done, true);
    CHECK_U64(pthread_join(user, NULL), 0);
    CHECK_U64(pthread_join(helper, NULL), 0);
    CHECK(!atomic_load(&all.was_helped));
    CHECK_STATUS(all.status, BP_CLOSED, NULL);
    CHECK(device_fini(it));
}

/* ---- the last piece, and its backend --------------------------------------
 */

/* Who settles stops where it is about to forget a piece that is free. */
static struct last {
    const bp__backend_table *real;
    bp__backend_table table;
    device_fixture it;
    atomic_bool is_settling, is_inside, is_destroyed, was_used_after;
} last;

static void destroy_hooked(bp_backend *backend)
{
    atomic_store(&last.is_destroyed, true);
    last.real->destroy(backend);
}

static void close_hooked(bp_backend *backend, bp__event event)
{
    bool is_out = device_stats(&last.it).retiring == 0;
    if (is_out && atomic_exchange(&last.is_settling, false)) {
        atomic_store(&last.is_inside, true);
        for (int i = 0; i < 300 && !atomic_load(&last.is_destroyed); i++) {
            pause_ms(1);
        }
        if (atomic_load(&last.is_destroyed)) {
            atomic_store(&last.was_used_after, true);
            return;
        }
    }
    last.real->event_close(backend, event);
}

static void *settle_once(void *ctx)
{
    bp_tree_settle(ctx);
    return NULL;
}

/* A manager is closed, and the last reference to its backend dropped, while
 * another call still has to do with its last piece. */
static void a_backend_outlives_its_pieces(void)
{
    bp_slot slot;
    pthread_t thread;
    device_fixture *it = &last.it;
    bp_sim_options options = {.capacity = UINT64_MAX, .events = BP_SIM_MANUAL};
    CHECK(device_init_with(it, 300, &options, NULL));
    last.real = it->sim->table;
    last.table = *it->sim->table;
    last.table.destroy = destroy_hooked;
    last.table.event_close = close_hooked;
    it->sim->table = &last.table;
    CHECK_STATUS(device_allocate(it, "a", 100, &slot), BP_OK, &it->error);
    CHECK_STATUS(device_fill(it, slot, 100, 1, it->stream), BP_OK, &it->error);
    CHECK_STATUS(bp_slot_deallocate(it->tree, slot, NULL, &it->error), BP_OK,
                 &it->error);
    CHECK_U64(device_stats(it).retiring, 100);
    CHECK_U64(bp_sim_complete(it->sim, UINT64_MAX), 1);
    bp_backend_unref(it->sim); /* the manager has the last one */
    atomic_store(&last.is_settling, true);
    CHECK_U64(pthread_create(&thread, NULL, settle_once, it->tree), 0);
    CHECK(await_flag(&last.is_inside));
    bp_slots_close(it->tree, it->slots);
    CHECK_U64(pthread_join(thread, NULL), 0);
    CHECK(!atomic_load(&last.was_used_after));
    CHECK(atomic_load(&last.is_destroyed));
    bp_tree_free(it->tree);
}

/* ---- host copies that are read --------------------------------------------
 */

enum { N_LARGE = 1 << 20, N_TURNS = 60 };

typedef struct reading {
    device_fixture it;
    bp_slot slot;
    atomic_bool is_over;
    atomic_uint n_read, n_torn;
    uint8_t written[N_LARGE];
    uint8_t read[N_LARGE];
} reading;

static bool is_one_byte(const uint8_t *bytes)
{
    return memcmp(bytes, bytes + 1, N_LARGE - 1) == 0;
}

static void *read_copies(void *ctx)
{
    reading *all = ctx;
    bp_error error;
    while (!atomic_load(&all->is_over)) {
        if (bp_slot_copy_out(all->it.tree, all->slot, 0, all->read, N_LARGE,
                             &error) == BP_OK) {
            atomic_fetch_add(&all->n_read, 1);
            if (!is_one_byte(all->read)) {
                atomic_fetch_add(&all->n_torn, 1);
            }
        }
    }
    return NULL;
}

static bp_status write_and_evict(reading *all, int turn)
{
    device_fixture *it = &all->it;
    memset(all->written, turn, N_LARGE);
    bp_status status = device_begin(it, all->slot, true);
    if (status != BP_OK) {
        return status;
    }
    status = bp_slot_copy_in(it->tree, all->slot, 0, all->written, N_LARGE,
                             &it->error);
    bp_slot_use_end(it->tree, all->slot, BP_HOST_ONLY);
    return status == BP_OK ? bp_slot_evict(it->tree, all->slot, &it->error)
                           : status;
}

/* What an evicted slot has is read whole, also if the slot comes back and goes
 * again before the reader is done. */
static void a_copy_is_read_whole(void)
{
    static reading all;
    pthread_t reader;
    memset(&all, 0, sizeof all);
    CHECK(device_init_with(&all.it, 2 * N_LARGE, NULL, NULL));
    CHECK_STATUS(device_allocate(&all.it, "a", N_LARGE, &all.slot), BP_OK,
                 &all.it.error);
    CHECK_STATUS(write_and_evict(&all, 0), BP_OK, &all.it.error);
    CHECK_U64(pthread_create(&reader, NULL, read_copies, &all), 0);
    for (int turn = 1; turn < N_TURNS || atomic_load(&all.n_read) < 20;
         turn++) {
        CHECK_STATUS(write_and_evict(&all, turn), BP_OK, &all.it.error);
        if (turn % 8 == 0) {
            pause_ms(2);
        }
    }
    atomic_store(&all.is_over, true);
    CHECK_U64(pthread_join(reader, NULL), 0);
    CHECK_U64(atomic_load(&all.n_torn), 0);
    CHECK(device_fini(&all.it));
}

/* The same, step by step: a reader that has begun has what was there then. */
static void a_reader_keeps_what_it_reads(void)
{
    device_fixture it;
    bp_slot slot;
    CHECK(device_init(&it, 200, NULL));
    CHECK_STATUS(device_allocate(&it, "a", 100, &slot), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, slot, 100, 1, BP_HOST_ONLY), BP_OK,
                 &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, slot, &it.error), BP_OK, &it.error);
    bp__copy *copy = bp__slot_get_locked(it.tree, slot)->copy;
    bp__copy_ref(copy); /* as bp_slot_copy_out does */
    CHECK_STATUS(device_fill(&it, slot, 100, 2, BP_HOST_ONLY), BP_OK,
                 &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, slot, &it.error), BP_OK, &it.error);
    CHECK(is_contents(copy->host, 100, 1));
    CHECK(bp__slot_get_locked(it.tree, slot)->copy != copy);
    bp__copy_unref(it.tree, it.sim, copy);
    CHECK(device_holds(&it, slot, 100, 2));
    /* Nobody reads it now: the same memory serves again. */
    CHECK_STATUS(bp_slot_evict(it.tree, slot, &it.error), BP_OK, &it.error);
    copy = bp__slot_get_locked(it.tree, slot)->copy;
    CHECK_STATUS(device_fill(&it, slot, 100, 3, BP_HOST_ONLY), BP_OK,
                 &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, slot, &it.error), BP_OK, &it.error);
    CHECK(bp__slot_get_locked(it.tree, slot)->copy == copy);
    CHECK(device_holds(&it, slot, 100, 3));
    CHECK(device_fini(&it));
}

int main(void)
{
    RUN(replaced_while_another_fails);
    RUN(closing_ends_a_wait_for_the_stream);
    RUN(a_backend_outlives_its_pieces);
    RUN(a_copy_is_read_whole);
    RUN(a_reader_keeps_what_it_reads);
    return finish();
}
