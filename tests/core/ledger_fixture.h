/* ledger_fixture.h - short words for tests of the ledger: a tree on a counting
 * heap, budgets in one line, and failures that must leave the dump as it was.
 * Needs harness.h before it. */
#ifndef BAYPLAN_TESTS_LEDGER_FIXTURE_H
#define BAYPLAN_TESTS_LEDGER_FIXTURE_H

#include "bayplan/device.h"

typedef struct fixture {
    test_heap heap;
    bp_allocator alloc;
    bp_tree *tree;
    bp_error error;
    bp_shortage shortage;
} fixture;

static inline bool fixture_init(fixture *it)
{
    memset(it, 0, sizeof *it);
    it->alloc = test_heap_init(&it->heap);
    return bp_tree_new(16, &it->alloc, &it->tree, &it->error) == BP_OK;
}

static inline bool fixture_is_sound(fixture *it)
{
    bp_error error = {0};
    bool is_sound = bp_tree_check(it->tree, &error) == BP_OK;
    if (!is_sound) {
        printf("    %s\n", error.text);
    }
    return is_sound;
}

/* All memory came back. */
static inline bool fixture_fini(fixture *it)
{
    bool is_sound = fixture_is_sound(it);
    bp_tree_free(it->tree);
    it->tree = NULL;
    return is_sound && it->heap.live_blocks == 0 && it->heap.live_bytes == 0;
}

static inline bp_status open_with(fixture *it, bp_budget_options options,
                                  bp_budget *out)
{
    return bp_budget_open(it->tree, &options, out, &it->error);
}

/* BP_NO_BUDGET: it failed. */
static inline bp_budget open_under(fixture *it, bp_budget parent,
                                   uint64_t limit, uint64_t granularity)
{
    bp_budget_options options = bp_budget_defaults(limit);
    options.parent = parent;
    options.granularity = granularity;
    bp_budget budget = BP_NO_BUDGET;
    return open_with(it, options, &budget) == BP_OK ? budget : BP_NO_BUDGET;
}

static inline bp_budget open_root(fixture *it, uint64_t limit)
{
    return open_under(it, BP_NO_BUDGET, limit, 1);
}

static inline bp_status charge(fixture *it, bp_budget budget, uint64_t n,
                               const char *tag)
{
    return bp_budget_charge(it->tree, budget, n, tag, &it->shortage,
                            &it->error);
}

static inline bp_status refund(fixture *it, bp_budget budget, uint64_t n,
                               const char *tag)
{
    return bp_budget_refund(it->tree, budget, n, tag, &it->error);
}

static inline bp_status reserve(fixture *it, bp_budget budget, uint64_t n,
                                bp_reservation *out)
{
    return bp_budget_reserve(it->tree, budget, n, out, &it->shortage,
                             &it->error);
}

static inline bp_status take(fixture *it, bp_reservation reservation,
                             uint64_t n, const char *tag)
{
    return bp_reservation_take(it->tree, reservation, n, tag, &it->error);
}

/* All zeros: a stale handle. */
static inline bp_budget_stats stats_of(fixture *it, bp_budget budget)
{
    bp_budget_stats stats = {0};
    return bp_budget_get_stats(it->tree, budget, &stats, NULL) == BP_OK
               ? stats
               : (bp_budget_stats){0};
}

static inline uint64_t used_of(fixture *it, bp_budget budget)
{
    return stats_of(it, budget).used;
}

static inline uint64_t tag_of(fixture *it, bp_budget budget, const char *tag)
{
    uint64_t n = UINT64_MAX;
    return bp_budget_get_tag(it->tree, budget, tag, &n, NULL) == BP_OK
               ? n
               : UINT64_MAX;
}

/* Freed with drop_dump. NULL: no memory. */
static inline char *take_dump(fixture *it)
{
    char *text = NULL;
    return bp_tree_dump(it->tree, &text, NULL) == BP_OK ? text : NULL;
}

static inline void drop_dump(fixture *it, char *text)
{
    if (text != NULL) {
        it->alloc.free(it->alloc.ctx, text, strlen(text) + 1);
    }
}

/* Drops `before`. */
static inline bool is_as_before(fixture *it, char *before)
{
    char *after = take_dump(it);
    bool is_same =
        before != NULL && after != NULL && strcmp(before, after) == 0;
    if (!is_same) {
        printf("    before %s    after  %s", before ? before : "(null)\n",
               after ? after : "(null)\n");
    }
    drop_dump(it, before);
    drop_dump(it, after);
    return is_same && fixture_is_sound(it);
}

/* The call fails with `want` and changes nothing. */
#define CHECK_REFUSED(it, call, want)                                          \
    do {                                                                       \
        char *before_call = take_dump(it);                                     \
        bp_status got_from_call = (call);                                      \
        bool is_kept = is_as_before((it), before_call);                        \
        CHECK_STATUS(got_from_call, (want), &(it)->error);                     \
        CHECK(is_kept);                                                        \
    } while (0)
#define CHECK_OK(it, call) CHECK_STATUS((call), BP_OK, &(it)->error)

#endif
