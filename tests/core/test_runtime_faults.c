/* test_runtime_faults.c - in every scenario every action fails once, and so
 * does every allocation of host memory, and the device dies at every step.
 * After each failure everything adds up, no contents are lost, each residency
 * that ended has one record, and the same call succeeds when it is made again.
 */
#include "harness.h"

#include "device_fixture.h"

#include "device/tree.h"

#include "runtime_scenarios.h"

/* ---- one scenario with one failure -------------------------------------- */

/* Where something goes wrong; n counts from 1. */
typedef struct injection {
    bool is_heap; /* the n-th allocation, else the n-th action */
    bp_action action;
    uint64_t n;
} injection;

static bool begin(story *s, const scenario *what, const injection *where,
                  bp_cursor *cursor)
{
    char fail[48];
    bp_sim_options options = what->options;
    memset(s, 0, sizeof *s);
    (void)snprintf(fail, sizeof fail, "%s:#%" PRIu64,
                   bp_action_name(where->action), where->n);
    options.fail = where->is_heap ? NULL : fail;
    s->wait = (bp_wait){.deadline_ns = bp_monotonic_ns() + 10000000000u};
    bool is_good = device_init(&s->it, what->limit, &options) &&
                   bp_cursor_open(bp_tree_get_log(s->it.tree), NULL, cursor,
                                  &s->it.error) == BP_OK;
    if (where->is_heap) {
        test_heap_fail(&s->it.heap, where->n, false);
    }
    return is_good;
}

/* A step that fails and has not evicted anything has changed nothing. Steps of
 * several calls and late events may show more. */
static bool tell(story *s, const scenario *what, int i)
{
    char *before =
        what->options.events == BP_SIM_IMMEDIATE && s->it.heap.fail_at == 0
            ? device_dump(&s->it)
            : NULL;
    uint64_t n_records = device_n_records(&s->it);
    memset(&s->it.error, 0, sizeof s->it.error);
    bp_status status = what->steps[i](s);
    bool is_single = what->steps[i] != fill_0 && what->steps[i] != fill_1 &&
                     what->steps[i] != fill_2 && what->steps[i] != fill_3 &&
                     what->steps[i] != fill_4 && what->steps[i] != fill_5 &&
                     what->steps[i] != fill_0_unknown &&
                     what->steps[i] != fill_1_unknown;
    bool is_good = device_is(status != BP_OK || s->it.error.status == BP_OK,
                             "an error is told of a call that succeeded");
    if (status != BP_OK && before != NULL && is_single &&
        device_n_records(&s->it) == n_records) {
        is_good = device_is_unchanged(&s->it, before) && is_good;
    } else {
        device_drop(&s->it, before);
    }
    is_good = story_holds(s) && is_good;
    if (is_good && status != BP_OK) {
        status = what->steps[i](s);
        is_good = device_is(status == BP_OK, "it does not work again either") &&
                  story_holds(s);
        if (status != BP_OK) {
            printf("    %s: %s\n", bp_status_name(status), s->it.error.text);
        }
    }
    return is_good;
}

static bool end(story *s)
{
    s->it.heap.fail_at = 0;
    bool is_good = true;
    if (s->other != BP_NO_SLOTS) {
        bp_slots_close(s->it.tree, s->other);
    }
    if (s->child != BP_NO_BUDGET) {
        is_good = device_is(
            bp_budget_close(s->it.tree, s->child, &s->it.error) == BP_OK,
            s->it.error.text);
    }
    return device_fini(&s->it) && is_good;
}

/* *has_failed: there was an n-th one. */
static bool run_one(const scenario *what, const injection *where,
                    bool *has_failed)
{
    story s;
    bp_cursor cursor;
    bool is_good = begin(&s, what, where, &cursor);
    for (int i = 0; is_good && what->steps[i] != NULL; i++) {
        is_good = tell(&s, what, i);
        if (!is_good) {
            printf("    in step %d\n", i);
        }
    }
    is_good = is_good && story_log_is_dense(&s, cursor);
    *has_failed = where->is_heap
                      ? s.it.heap.n_refused != 0
                      : bp_sim_n_actions(s.it.sim, where->action) >= where->n;
    is_good = end(&s) && is_good;
    if (!is_good) {
        printf("    in '%s' with %s #%" PRIu64 " failing\n", what->name,
               where->is_heap ? "allocation" : bp_action_name(where->action),
               where->n);
    }
    return is_good;
}

/* ---- every failure of every scenario ------------------------------------- */

static void fails_everywhere(bp_action action)
{
    uint64_t n_runs = 0;
    for (size_t i = 0; i < N_SCENARIOS; i++) {
        bool has_failed = true;
        for (uint64_t n = 1; has_failed; n++, n_runs++) {
            injection where = {.action = action, .n = n};
            CHECK(run_one(&scenarios[i], &where, &has_failed));
        }
    }
    CHECK(n_runs > N_SCENARIOS);
}

static void fails_to_allocate(void)
{
    fails_everywhere(BP_ACTION_ALLOC);
}

static void fails_to_free(void)
{
    fails_everywhere(BP_ACTION_FREE);
}

static void fails_to_copy(void)
{
    fails_everywhere(BP_ACTION_COPY);
}

static void fails_to_record(void)
{
    fails_everywhere(BP_ACTION_EVENT);
}

static void fails_to_synchronise(void)
{
    fails_everywhere(BP_ACTION_SYNC);
}

static void fails_to_get_host_memory(void)
{
    fails_everywhere(BP_ACTION_HOST);
}

static void runs_out_of_memory(void)
{
    uint64_t n_runs = 0;
    for (size_t i = 0; i < N_SCENARIOS; i++) {
        bool has_failed = true;
        for (uint64_t n = 1; has_failed; n++, n_runs++) {
            injection where = {.is_heap = true, .n = n};
            CHECK(run_one(&scenarios[i], &where, &has_failed));
        }
    }
    CHECK(n_runs > N_SCENARIOS);
}

/* ---- a device that dies ------------------------------------------------- */

/* What slots have on the host stays readable; the rest is lost, and said so. */
static bool copies_are_readable(story *s, const bool *had_copy)
{
    for (int i = 0; i < N_STORY_SLOTS; i++) {
        const story_slot *slot = &s->slots[i];
        uint8_t bytes[DEVICE_MAX_BYTES];
        if (slot->slot == BP_NO_SLOT) {
            continue;
        }
        bp_status status = bp_slot_copy_out(s->it.tree, slot->slot, 0, bytes,
                                            slot->n_bytes, &s->it.error);
        if (status == BP_OK && slot->seed != 0 &&
            !is_contents(bytes, slot->n_bytes, slot->seed)) {
            return false;
        }
        if (had_copy[i] &&
            !device_is(status == BP_OK, "a host copy got lost")) {
            return false;
        }
        if (!device_is(status == BP_OK || status == BP_CONTENTS_LOST,
                       s->it.error.text)) {
            return false;
        }
    }
    return true;
}

static void note_copies(story *s, bool *had_copy)
{
    for (int i = 0; i < N_STORY_SLOTS; i++) {
        bp_slot_info info;
        had_copy[i] = s->slots[i].slot != BP_NO_SLOT &&
                      bp_slot_get_info(s->it.tree, s->slots[i].slot, &info,
                                       &s->it.error) == BP_OK &&
                      info.state == BP_SLOT_EVICTED && info.n_host_bytes != 0 &&
                      s->slots[i].keeps_copy;
    }
}

/* Until then all is well; from step `at` on, nothing is. */
static bool dies(const scenario *what, int at)
{
    story s;
    bp_cursor cursor;
    bool had_copy[N_STORY_SLOTS];
    injection nowhere = {.is_heap = true, .n = 0};
    bool is_good = begin(&s, what, &nowhere, &cursor);
    for (int i = 0; is_good && i < at; i++) {
        is_good = tell(&s, what, i);
    }
    note_copies(&s, had_copy);
    bp_sim_fault(s.it.sim);
    bp_slot dead;
    bp_status status = device_allocate(&s.it, "dead", 1, &dead);
    is_good &= device_is(status == BP_DEVICE_FAULT, "the fault is not told");
    is_good &= device_is_sound(&s.it);
    is_good &= device_is(device_stats(&s.it).used == 0 &&
                             device_stats(&s.it).retiring == 0,
                         "the ledger is not released");
    for (int i = at; is_good && what->steps[i] != NULL; i++) {
        status = what->steps[i](&s);
        is_good = device_is_sound(&s.it);
    }
    is_good = is_good && copies_are_readable(&s, had_copy);
    is_good = is_good && story_log_is_dense(&s, cursor);
    is_good = end(&s) && is_good;
    if (!is_good) {
        printf("    in '%s', dead from step %d on\n", what->name, at);
    }
    return is_good;
}

static void dies_at_every_step(void)
{
    for (size_t i = 0; i < N_SCENARIOS; i++) {
        for (int at = 0; scenarios[i].steps[at] != NULL; at++) {
            CHECK(dies(&scenarios[i], at));
        }
    }
}

/* A fault in the middle of a use: the holder is told, and nothing is left. */
static void dies_in_use(void)
{
    device_fixture it;
    bp_slot a, b;
    uint8_t byte = 0;
    CHECK(device_init(&it, 300, NULL));
    CHECK_STATUS(device_allocate(&it, "a", 100, &a), BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "b", 100, &b), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, b, 100, 2, it.stream), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, b, &it.error), BP_OK, &it.error);
    CHECK_STATUS(device_begin(&it, b, false), BP_OK, &it.error);
    CHECK_STATUS(device_begin(&it, a, true), BP_OK, &it.error);
    bp_sim_fault(it.sim);
    CHECK_STATUS(bp_slot_copy_in(it.tree, a, 0, &byte, 1, &it.error),
                 BP_DEVICE_FAULT, NULL);
    char first[256];
    memcpy(first, it.error.text, sizeof first);
    CHECK_U64(device_stats(&it).used, 0);
    CHECK_U64(device_n_records(&it), 3);
    bp_slot_use_end(it.tree, a, it.stream);
    bp_slot_use_end(it.tree, b, it.stream);
    CHECK_STATUS(device_begin(&it, b, false), BP_DEVICE_FAULT, NULL);
    CHECK_TEXT(it.error.text, first);
    CHECK_STATUS(bp_slot_copy_out(it.tree, a, 0, &byte, 1, &it.error),
                 BP_CONTENTS_LOST, NULL);
    /* b was only read: its copy is what it was. */
    CHECK_STATUS(bp_slot_copy_out(it.tree, b, 7, &byte, 1, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(byte, byte_of(2, 7));
    CHECK_STATUS(bp_slot_deallocate(it.tree, a, NULL, &it.error), BP_OK,
                 &it.error);
    CHECK(device_fini(&it));
}

/* A copy is worth something only if it is what the slot had last. */
static void dies_with_old_copies(void)
{
    device_fixture it;
    bp_slot slots[3];
    uint8_t byte = 0;
    static const char *const names[] = {"written", "copied to", "leaving"};
    bp_sim_options manual = {.capacity = UINT64_MAX, .events = BP_SIM_MANUAL};
    CHECK(device_init(&it, 300, &manual));
    for (size_t i = 0; i < 3; i++) {
        CHECK_STATUS(device_allocate(&it, names[i], 100, &slots[i]), BP_OK,
                     &it.error);
        CHECK_STATUS(device_fill(&it, slots[i], 100, i, BP_HOST_ONLY), BP_OK,
                     &it.error);
        CHECK_STATUS(bp_slot_evict(it.tree, slots[i], &it.error), BP_OK,
                     &it.error);
    }
    for (size_t i = 0; i < 3; i++) {
        CHECK_STATUS(device_begin(&it, slots[i], i != 1), BP_OK, &it.error);
    }
    CHECK_STATUS(bp_slot_copy_in(it.tree, slots[1], 0, &byte, 1, &it.error),
                 BP_OK, &it.error);
    bp_slot_use_end(it.tree, slots[2], it.stream);
    CHECK_STATUS(bp_slot_evict(it.tree, slots[2], &it.error), BP_OK, &it.error);
    CHECK_U64(device_state(&it, slots[2]), BP_SLOT_EVICTING);
    bp_sim_fault(it.sim);
    for (size_t i = 0; i < 3; i++) {
        CHECK_STATUS(device_begin(&it, slots[i], false), BP_DEVICE_FAULT, NULL);
        CHECK_U64(device_state(&it, slots[i]), BP_SLOT_EVICTED);
        CHECK_STATUS(
            bp_slot_copy_out(it.tree, slots[i], 0, &byte, 1, &it.error),
            BP_CONTENTS_LOST, NULL);
    }
    CHECK_U64(device_n_records(&it), 6);
    CHECK(device_fini(&it));
}

/* A copy was enqueued behind the device's work, and neither an event nor a wait
 * tells its end: its memory has to stay. */
static void loses_track_of_a_copy(void)
{
    device_fixture it;
    bp_slot a;
    bp_sim_options options = {.capacity = UINT64_MAX,
                              .events = BP_SIM_MANUAL,
                              .fail = "event:#4,sync:#1"};
    CHECK(device_init(&it, 300, &options));
    CHECK_STATUS(device_allocate(&it, "a", 100, &a), BP_OK, &it.error);
    /* Events: after the filling, after the use, awaited, and after the copy. */
    CHECK_STATUS(device_fill(&it, a, 100, 1, it.stream), BP_OK, &it.error);
    CHECK_U64(bp_sim_n_actions(it.sim, BP_ACTION_EVENT), 2);
    char *before = device_dump(&it);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_DEVICE_FAULT, NULL);
    CHECK_U64(bp_sim_n_actions(it.sim, BP_ACTION_EVENT), 4);
    CHECK_U64(bp_sim_n_actions(it.sim, BP_ACTION_SYNC), 1);
    CHECK(device_is_unchanged(&it, before));
    CHECK_U64(device_n_records(&it), 0);
    CHECK(bp_sim_complete(it.sim, UINT64_MAX) != 0);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK(device_holds(&it, a, 100, 1));
    CHECK(device_fini(&it));
}

/* Frees that never work: the bytes stay `retiring` and show, everything else
 * goes on, and closing gives them up. */
static void never_frees(void)
{
    device_fixture it;
    bp_slot a, b;
    bp_sim_options options = {.capacity = UINT64_MAX, .fail = "free:#1-"};
    bp_slots_stats stats;
    CHECK(device_init(&it, 100, &options));
    CHECK_STATUS(device_allocate(&it, "a", 60, &a), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, a, 60, 1, it.stream), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_U64(device_state(&it, a), BP_SLOT_EVICTED);
    CHECK_U64(device_stats(&it).retiring, 60);
    CHECK(device_is_sound(&it));
    CHECK_STATUS(device_allocate(&it, "b", 41, &b), BP_BUDGET_EXCEEDED, NULL);
    CHECK_STATUS(device_allocate(&it, "b", 40, &b), BP_OK, &it.error);
    CHECK_STATUS(bp_slots_get_stats(it.tree, it.slots, &stats, &it.error),
                 BP_OK, &it.error);
    CHECK_U64(stats.n_failed_frees, 1);
    CHECK_U64(stats.n_retiring, 60);
    CHECK_STATUS(bp_slot_deallocate(it.tree, b, NULL, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(device_stats(&it).retiring, 100);
    bp_slots_close(it.tree, it.slots);
    CHECK_U64(device_stats(&it).retiring, 0);
    CHECK_STATUS(bp_budget_close(it.tree, it.budget, &it.error), BP_OK,
                 &it.error);
    bp_tree_free(it.tree);
    bp_backend_unref(it.sim);
    CHECK_U64(it.heap.live_blocks, 0);
}

int main(void)
{
    RUN(fails_to_allocate);
    RUN(fails_to_free);
    RUN(fails_to_copy);
    RUN(fails_to_record);
    RUN(fails_to_synchronise);
    RUN(fails_to_get_host_memory);
    RUN(runs_out_of_memory);
    RUN(dies_at_every_step);
    RUN(dies_in_use);
    RUN(dies_with_old_copies);
    RUN(loses_track_of_a_copy);
    RUN(never_frees);
    return finish();
}
