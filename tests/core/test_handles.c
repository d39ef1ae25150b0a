/* test_handles.c - what the ledger stands on: tables of handles, conditions,
 * clocks and forks. */
#include "harness.h"

#include "base/handles.h"
#include "base/lock.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- handles ----------------------------------------------------------- */

static bool add(bp_handles *handles, const bp_allocator *alloc, void *item,
                uint64_t *out)
{
    if (!bp__handles_reserve(handles, alloc)) {
        return false;
    }
    *out = bp__handles_add(handles, item);
    return true;
}

static void a_stale_handle_finds_nothing(void)
{
    test_heap heap;
    bp_allocator alloc = test_heap_init(&heap);
    bp_handles handles = {.slots = NULL};
    int a, b;
    uint64_t first, second, third;
    CHECK(bp__handles_get(&handles, 0) == NULL);
    CHECK(bp__handles_get(&handles, UINT64_MAX) == NULL);
    CHECK(add(&handles, &alloc, &a, &first));
    CHECK(first != 0);
    CHECK(bp__handles_get(&handles, first) == &a);
    CHECK(bp__handles_get(&handles, first + 1) == NULL);
    CHECK(bp__handles_get(&handles, first & UINT32_MAX) == NULL);
    CHECK(bp__handles_remove(&handles, first) == &a);
    CHECK(bp__handles_get(&handles, first) == NULL);
    CHECK(bp__handles_remove(&handles, first) == NULL);
    CHECK(add(&handles, &alloc, &b, &second));
    CHECK((first & UINT32_MAX) == (second & UINT32_MAX));
    CHECK(first != second);
    CHECK(bp__handles_get(&handles, first) == NULL);
    CHECK(bp__handles_get(&handles, second) == &b);
    CHECK(add(&handles, &alloc, &b, &third)); /* an item may be there twice */
    CHECK(third != second && bp__handles_get(&handles, third) == &b);
    CHECK(bp__handles_check(&handles));
    bp__handles_fini(&handles, &alloc);
    CHECK(bp__handles_get(&handles, third) == NULL);
    CHECK_U64(heap.live_blocks, 0);
}

/* After 2^32 lives of one place: handles are still none of 0. */
static void generations_go_round(void)
{
    bp_allocator alloc = bp_allocator_default();
    bp_handles handles = {.slots = NULL};
    int item;
    uint64_t handle;
    CHECK(add(&handles, &alloc, &item, &handle));
    handles.slots[0].generation = UINT32_MAX;
    handle = (uint64_t)UINT32_MAX << 32;
    CHECK(bp__handles_remove(&handles, handle) == &item);
    CHECK(add(&handles, &alloc, &item, &handle));
    CHECK_U64(handle, (uint64_t)1 << 32);
    CHECK(bp__handles_check(&handles));
    bp__handles_fini(&handles, &alloc);
}

enum { N_ITEMS = 64 };

/* Against a plain array that remembers every handle it was ever given. */
static void agrees_with_an_array(void)
{
    test_heap heap;
    bp_allocator alloc = test_heap_init(&heap);
    bp_handles handles = {.slots = NULL};
    static int items[N_ITEMS];
    uint64_t live[N_ITEMS] = {0}, dead[N_ITEMS] = {0};
    uint64_t seed = 5;
    for (int round = 0; round < 20000; round++) {
        size_t i = (size_t)random_below(&seed, N_ITEMS);
        if (live[i] == 0) {
            CHECK(add(&handles, &alloc, &items[i], &live[i]));
        } else if (random_below(&seed, 2) == 0) {
            CHECK(bp__handles_remove(&handles, live[i]) == &items[i]);
            dead[i] = live[i];
            live[i] = 0;
        }
        size_t k = (size_t)random_below(&seed, N_ITEMS);
        CHECK(bp__handles_get(&handles, live[k]) ==
              (live[k] == 0 ? NULL : &items[k]));
        CHECK(bp__handles_get(&handles, dead[k]) == NULL);
    }
    CHECK(bp__handles_check(&handles));
    size_t n_seen = 0, n_live = 0, index = 0;
    for (const int *item; (item = bp__handles_next(&handles, &index)) != NULL;
         index++) {
        size_t i = (size_t)(item - items);
        CHECK_U64(live[i] & UINT32_MAX, index);
        n_seen++;
    }
    for (size_t i = 0; i < N_ITEMS; i++) {
        n_live += live[i] != 0;
    }
    CHECK_U64(n_seen, n_live);
    CHECK_U64(handles.n_items, n_live);
    CHECK(handles.n_slots <= N_ITEMS); /* places are used again */
    bp__handles_fini(&handles, &alloc);
    CHECK_U64(heap.live_bytes, 0);
}

static void without_memory_nothing_changes(void)
{
    test_heap heap;
    bp_allocator alloc = test_heap_init(&heap);
    bp_handles handles = {.slots = NULL};
    int item;
    uint64_t handle;
    test_heap_fail(&heap, 1, false);
    CHECK(!bp__handles_reserve(&handles, &alloc));
    CHECK(handles.slots == NULL && handles.capacity == 0);
    while (handles.n_slots < handles.capacity || handles.capacity == 0) {
        CHECK(add(&handles, &alloc, &item, &handle));
    }
    size_t n = handles.n_items;
    test_heap_fail(&heap, 1, true);
    CHECK(!bp__handles_reserve(&handles, &alloc));
    CHECK_U64(handles.n_items, n);
    CHECK(bp__handles_get(&handles, handle) == &item);
    /* A place that came free needs no memory. */
    CHECK(bp__handles_remove(&handles, handle) == &item);
    CHECK(add(&handles, &alloc, &item, &handle));
    bp__handles_fini(&handles, &alloc);
    CHECK_U64(heap.live_bytes, 0);
}

static void the_check_sees_what_is_broken(void)
{
    bp_allocator alloc = bp_allocator_default();
    bp_handles handles = {.slots = NULL};
    int item;
    uint64_t handle[3];
    for (int i = 0; i < 3; i++) {
        CHECK(add(&handles, &alloc, &item, &handle[i]));
    }
    CHECK(bp__handles_remove(&handles, handle[1]) == &item);
    CHECK(bp__handles_check(&handles));
    handles.n_items++;
    CHECK(!bp__handles_check(&handles));
    handles.n_items--;
    uint32_t first_free = handles.first_free;
    handles.first_free = 2;
    CHECK(!bp__handles_check(&handles));
    handles.first_free = first_free;
    handles.slots[0].generation = 0;
    CHECK(!bp__handles_check(&handles));
    bp__handles_fini(&handles, &alloc);
}

/* ---- conditions and clocks --------------------------------------------- */

static void a_wait_ends_at_its_deadline(void)
{
    bp_mutex mutex;
    bp_condition condition;
    CHECK(bp__mutex_init(&mutex) && bp__condition_init(&condition));
    uint64_t begin = bp_monotonic_ns();
    uint64_t deadline = begin + 20000000;
    bp__mutex_lock(&mutex);
    for (uint64_t now = begin; now < deadline; now = bp_monotonic_ns()) {
        bp__condition_wait(&condition, &mutex, deadline);
    }
    bp__condition_wait(&condition, &mutex, 0); /* long over */
    bp__mutex_unlock(&mutex);
    uint64_t took = bp_monotonic_ns() - begin;
    CHECK(took >= 20000000);
    CHECK(took < 10000000000u);
    bp__condition_fini(&condition);
    bp__mutex_fini(&mutex);
}

typedef struct meeting {
    bp_mutex mutex;
    bp_condition condition;
    int n_there; /* 1: the other came, 2: and was seen */
} meeting;

static void *come(void *argument)
{
    meeting *it = argument;
    bp__mutex_lock(&it->mutex);
    it->n_there = 1;
    bp__condition_broadcast(&it->condition);
    while (it->n_there != 2) {
        bp__condition_wait(&it->condition, &it->mutex, BP_FOR_EVER);
    }
    bp__mutex_unlock(&it->mutex);
    return NULL;
}

static void a_broadcast_ends_a_wait(void)
{
    meeting it = {.n_there = 0};
    pthread_t other;
    CHECK(bp__mutex_init(&it.mutex) && bp__condition_init(&it.condition));
    CHECK(pthread_create(&other, NULL, come, &it) == 0);
    bp__mutex_lock(&it.mutex);
    while (it.n_there != 1) {
        bp__condition_wait(&it.condition, &it.mutex, BP_FOR_EVER);
    }
    it.n_there = 2;
    bp__condition_broadcast(&it.condition);
    bp__mutex_unlock(&it.mutex);
    CHECK(pthread_join(other, NULL) == 0);
    bp__condition_fini(&it.condition);
    bp__mutex_fini(&it.mutex);
}

/* ---- forks ------------------------------------------------------------- */

/* The exit status of a child that runs `test`; -1: there was none. */
static int in_child(int (*test)(uint64_t argument), uint64_t argument)
{
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        _exit(test(argument));
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status)
               ? WEXITSTATUS(status)
               : -1;
}

static int is_later(uint64_t epoch)
{
    return bp_process_epoch() == epoch + 1 ? 0 : 1;
}

static int has_later_child(uint64_t epoch)
{
    return is_later(epoch) == 0 && in_child(is_later, epoch + 1) == 0 &&
                   bp_process_epoch() == epoch + 1
               ? 0
               : 1;
}

static void every_fork_is_counted(void)
{
    uint64_t epoch = bp_process_epoch();
    CHECK_U64(in_child(is_later, epoch), 0);
    CHECK_U64(bp_process_epoch(), epoch); /* the parent is what it was */
    CHECK_U64(in_child(has_later_child, epoch), 0);
    CHECK_U64(in_child(is_later, epoch + 1), 1); /* the test can fail */
}

int main(void)
{
    RUN(a_stale_handle_finds_nothing);
    RUN(generations_go_round);
    RUN(agrees_with_an_array);
    RUN(without_memory_nothing_changes);
    RUN(the_check_sees_what_is_broken);
    RUN(a_wait_ends_at_its_deadline);
    RUN(a_broadcast_ends_a_wait);
    RUN(every_fork_is_counted);
    return finish();
}
