/* live.c - bytes alive over time, for drawings. */
#include "base/alloc.h"
#include "plan/order.h"

#include "bayplan/plan.h"

#define MAX_BUFFERS ((size_t)1 << 30) /* their events are 32-bit numbers */

static bp_status check(size_t n, const uint64_t *sizes, const int64_t *first,
                       const int64_t *last, bp_error *error)
{
    uint64_t total = 0;
    if (n > MAX_BUFFERS) {
        return bp_fail(error, BP_TOO_LARGE, "%zu buffers are more than 2^30",
                       n);
    }
    for (size_t i = 0; i < n; i++) {
        if (first[i] > last[i]) {
            return bp_fail(error, BP_BAD_VALUE,
                           "buffer %zu: its lifetime ends before it begins", i);
        }
        if (!bp_add(total, sizes[i], &total)) {
            return bp_fail(error, BP_TOO_LARGE,
                           "the sizes up to buffer %zu sum to more than "
                           "2^64 - 1",
                           i);
        }
    }
    return BP_OK;
}

/* One step per moment at which the level changes. Events below n are births,
 * the others deaths; within one moment their order does not matter, since the
 * sum wraps there and back. */
static size_t add_up(size_t n, const uint64_t *sizes, const uint32_t *order,
                     const uint64_t *keys, int64_t *times, uint64_t *live)
{
    uint64_t level = 0, before = 0;
    size_t n_steps = 0;
    for (size_t k = 0; k < 2 * n; k++) {
        size_t event = order[k];
        level += event < n ? sizes[event] : (uint64_t)0 - sizes[event - n];
        bool is_last = k + 1 == 2 * n || keys[order[k + 1]] != keys[event];
        if (is_last && level != before) {
            times[n_steps] = (int64_t)(keys[event] ^ (uint64_t)1 << 63);
            live[n_steps++] = level;
            before = level;
        }
    }
    return n_steps;
}

bp_status bp_plan_live(size_t n, const uint64_t *sizes, const int64_t *first,
                       const int64_t *last, const bp_allocator *alloc,
                       int64_t *times, uint64_t *live, size_t *out_n,
                       bp_error *error)
{
    bp_status status = check(n, sizes, first, last, error);
    if (status != BP_OK) {
        return status;
    }
    bp_allocator source = bp__allocator_or_default(alloc);
    uint64_t *keys = bp__alloc_array(&source, 2 * n, sizeof *keys);
    uint32_t *order = bp__alloc_array(&source, 2 * n, sizeof *order);
    uint32_t *spare = bp__alloc_array(&source, 2 * n, sizeof *spare);
    if (keys == NULL || order == NULL || spare == NULL) {
        status = bp_fail(error, BP_NO_MEMORY,
                         "no memory to sort the lifetimes of %zu buffers", n);
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        order[i] = (uint32_t)i;
        order[n + i] = (uint32_t)(n + i);
        keys[i] = bp__key_of_time(first[i]);
        keys[n + i] = bp__key_of_time(last[i]);
    }
    bp__order_by_key(order, keys, (uint32_t)(2 * n), spare);
    *out_n = add_up(n, sizes, order, keys, times, live);
done:
    bp__free_array(&source, spare, 2 * n, sizeof *spare);
    bp__free_array(&source, order, 2 * n, sizeof *order);
    bp__free_array(&source, keys, 2 * n, sizeof *keys);
    return status;
}
