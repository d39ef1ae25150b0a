/* device_fixture.h - short words for tests of slots on a simulated device: a
 * tree with one budget, one simulator and one manager on a counting heap;
 * contents that can be told apart; and what has to hold at all times. Needs
 * harness.h before it. */
#ifndef BAYPLAN_TESTS_DEVICE_FIXTURE_H
#define BAYPLAN_TESTS_DEVICE_FIXTURE_H

#include "bayplan/runtime.h"

typedef struct device_fixture {
    test_heap heap;
    bp_allocator alloc;
    bp_tree *tree;
    bp_budget budget;
    bp_backend *sim;
    bp_stream stream; /* one of a user's */
    bp_slots slots;
    bp_error error;
    bp_shortage shortage;
} device_fixture;

/* No heap is counted for tests with threads: alloc is then NULL. */
static inline bool device_init_with(device_fixture *it, uint64_t limit,
                                    const bp_sim_options *options,
                                    const bp_allocator *alloc)
{
    bp_budget_options budget = bp_budget_defaults(limit);
    bp_slots_options slots = {.policy = BP_POLICY_LRU};
    if (bp_tree_new(0, alloc, &it->tree, &it->error) != BP_OK ||
        bp_budget_open(it->tree, &budget, &it->budget, &it->error) != BP_OK ||
        bp_sim_new(options, alloc, &it->sim, &it->error) != BP_OK ||
        bp_sim_stream_open(it->sim, &it->stream, &it->error) != BP_OK) {
        return false;
    }
    slots.budget = it->budget;
    slots.backend = it->sim;
    return bp_slots_open(it->tree, &slots, &it->slots, &it->error) == BP_OK;
}

static inline bool device_init(device_fixture *it, uint64_t limit,
                               const bp_sim_options *options)
{
    memset(it, 0, sizeof *it);
    it->alloc = test_heap_init(&it->heap);
    return device_init_with(it, limit, options, &it->alloc);
}

static inline bool device_is(bool is_true, const char *what)
{
    if (!is_true) {
        printf("    %s\n", what);
    }
    return is_true;
}

/* Every invariant, and no byte of the budget that is no slot's. */
static inline bool device_is_sound(device_fixture *it)
{
    bp_error error = {.text = ""};
    return device_is(bp_tree_check(it->tree, &error) == BP_OK, error.text);
}

static inline uint64_t device_used(const device_fixture *it)
{
    bp_backend_info info;
    bp_backend_get_info(it->sim, &info);
    return info.used;
}

/* Everything goes; all memory came back, the device's too. */
static inline bool device_fini(device_fixture *it)
{
    bool is_sound = device_is_sound(it);
    bp_slots_close(it->tree, it->slots);
    bp_tree_settle(it->tree);
    bp_backend_info info;
    bp_backend_get_info(it->sim, &info);
    is_sound &= device_is(info.used == 0 || info.is_failed,
                          "memory is left on the device");
    is_sound &= device_is_sound(it);
    is_sound &=
        device_is(bp_budget_close(it->tree, it->budget, &it->error) == BP_OK,
                  "the budget does not close");
    bp_tree_free(it->tree);
    bp_backend_unref(it->sim);
    it->tree = NULL;
    it->sim = NULL;
    return is_sound &&
           device_is(it->heap.live_blocks == 0 && it->heap.live_bytes == 0,
                     "memory is left on the heap");
}

/* ---- slots ------------------------------------------------------------- */

static inline bp_slot_request slot_of(const char *name, uint64_t n_bytes)
{
    return (bp_slot_request){
        .name = name, .n_bytes = n_bytes, .keeps_copy = true};
}

static inline bp_status device_allocate(device_fixture *it, const char *name,
                                        uint64_t n_bytes, bp_slot *out)
{
    bp_slot_request request = slot_of(name, n_bytes);
    return bp_slots_allocate(it->tree, it->slots, &request, NULL, out,
                             &it->shortage, &it->error);
}

static inline bp_status device_begin(device_fixture *it, bp_slot slot,
                                     bool is_writing)
{
    bool needs_load;
    return bp_slot_use_begin(it->tree, slot, is_writing ? BP_WRITES : BP_READS,
                             NULL, &needs_load, &it->shortage, &it->error);
}

/* Bytes that no other (slot, seed) has at the same place. */
static inline uint8_t byte_of(uint64_t seed, uint64_t i)
{
    uint64_t x = seed * UINT64_C(0x9E3779B97F4A7C15) + i / 7 + i * 131;
    return (uint8_t)(x ^ x >> 8 ^ x >> 29);
}

enum { DEVICE_MAX_BYTES = 4096 };

/* Write the contents that `seed` stands for, in use. */
static inline bp_status device_fill(device_fixture *it, bp_slot slot,
                                    uint64_t n_bytes, uint64_t seed,
                                    bp_stream stream)
{
    uint8_t bytes[DEVICE_MAX_BYTES];
    for (uint64_t i = 0; i < n_bytes; i++) {
        bytes[i] = byte_of(seed, i);
    }
    bp_status status = device_begin(it, slot, true);
    if (status == BP_OK) {
        status = bp_slot_copy_in(it->tree, slot, 0, bytes, n_bytes, &it->error);
        bp_slot_use_end(it->tree, slot, stream);
    }
    return status;
}

static inline bool is_contents(const uint8_t *bytes, uint64_t n_bytes,
                               uint64_t seed)
{
    for (uint64_t i = 0; i < n_bytes; i++) {
        if (bytes[i] != byte_of(seed, i)) {
            printf("    byte %" PRIu64 " is %u, not %u\n", i, bytes[i],
                   byte_of(seed, i));
            return false;
        }
    }
    return true;
}

/* Use the slot, bringing it back if need be, and compare. */
static inline bool device_holds(device_fixture *it, bp_slot slot,
                                uint64_t n_bytes, uint64_t seed)
{
    uint8_t bytes[DEVICE_MAX_BYTES] = {0};
    if (device_begin(it, slot, false) != BP_OK) {
        printf("    use: %s\n", it->error.text);
        return false;
    }
    bp_status status =
        bp_slot_copy_out(it->tree, slot, 0, bytes, n_bytes, &it->error);
    bp_slot_use_end(it->tree, slot, it->stream);
    if (status != BP_OK) {
        printf("    copy_out: %s\n", it->error.text);
    }
    return status == BP_OK && is_contents(bytes, n_bytes, seed);
}

static inline bp_slot_state device_state(device_fixture *it, bp_slot slot)
{
    bp_slot_info info;
    return bp_slot_get_info(it->tree, slot, &info, &it->error) == BP_OK
               ? info.state
               : BP_N_SLOT_STATES;
}

static inline bp_budget_stats device_stats(device_fixture *it)
{
    bp_budget_stats stats;
    memset(&stats, 0, sizeof stats);
    if (bp_budget_get_stats(it->tree, it->budget, &stats, &it->error) !=
        BP_OK) {
        stats.limit = UINT64_MAX;
    }
    return stats;
}

static inline uint64_t device_n_records(device_fixture *it)
{
    uint64_t first, next;
    bp_log_range(bp_tree_get_log(it->tree), &first, &next);
    return next;
}

/* The dump, for comparing; the caller gives it back. */
static inline char *device_dump(device_fixture *it)
{
    char *text = NULL;
    return bp_tree_dump(it->tree, &text, &it->error) == BP_OK ? text : NULL;
}

static inline void device_drop(device_fixture *it, char *dump)
{
    if (dump != NULL) {
        bp_allocator alloc = bp_tree_get_allocator(it->tree);
        alloc.free(alloc.ctx, dump, strlen(dump) + 1);
    }
}

/* True if the dump is still `before`, which is given back. */
static inline bool device_is_unchanged(device_fixture *it, char *before)
{
    char *after = device_dump(it);
    bool is_same =
        before != NULL && after != NULL && strcmp(before, after) == 0;
    if (!is_same) {
        printf("    before %s\n    after  %s\n", before ? before : "(null)",
               after ? after : "(null)");
    }
    device_drop(it, before);
    device_drop(it, after);
    return is_same;
}

static inline bp_wait device_wait_ms(uint64_t ms)
{
    return (bp_wait){.deadline_ns = bp_monotonic_ns() + ms * 1000000u};
}

#endif
