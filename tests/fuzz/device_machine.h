/* device_machine.h - what fuzz_device.c plays with: a tree of budgets,
 * simulators and managers, made as the first bytes say, and what must hold of
 * them all the time and at the end. Included once.
 */
#ifndef BAYPLAN_TESTS_DEVICE_MACHINE_H
#define BAYPLAN_TESTS_DEVICE_MACHINE_H

#include "bayplan/runtime.h"
#include "device/tree.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition)                                                     \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: false: %s\n", __FILE__, __LINE__,          \
                    #condition);                                               \
            abort();                                                           \
        }                                                                      \
    } while (0)

enum {
    N_BUDGETS = 4,
    N_SIMS = 2,
    N_MANAGERS = 3,
    N_NAMES = 4,
    N_USES = 6,
    N_RESERVATIONS = 3,
    N_WATCHES = 3,
    N_CURSORS = 3,
    N_STREAMS = 2,
    N_GUARDS = 8,
    MAX_OPERATIONS = 120,
    MAX_GENERATIONS = 4096,
    MAX_BLOCK = 1 << 20,
    UNIT = 16
};

static const char *const names[N_NAMES] = {"a", "b", "c", "d"};

/* ---- a heap that counts and fails -------------------------------------- */

/* Where a stream, or nobody knows who, may still be at work on a device that
 * holds its events back. */
typedef struct guard {
    uint64_t address; /* 0: none */
    uint64_t n_bytes;
    bp_slot slot;
    size_t sim;
    uint64_t n_syncs; /* of that simulator until then */
    bool is_writing;
    bool is_freed;
} guard;

typedef struct heap {
    guard guards[N_GUARDS];
    size_t n_guards;  /* ever set */
    uint64_t fail_in; /* the n-th call from now fails; 0: none */
    uint64_t n_refused;
    size_t live_blocks;
} heap;

static void *heap_alloc(void *ctx, size_t n_bytes)
{
    heap *h = ctx;
    bool is_failing = h->fail_in != 0 && --h->fail_in == 0;
    if (is_failing || n_bytes > MAX_BLOCK) {
        h->n_refused++;
        return NULL;
    }
    void *block = malloc(n_bytes);
    h->live_blocks += block != NULL;
    return block;
}

static void heap_free(void *ctx, void *old, size_t n_bytes)
{
    heap *h = ctx;
    for (size_t i = 0; i < N_GUARDS; i++) {
        guard *it = &h->guards[i];
        it->is_freed |= it->address != 0 &&
                        it->address - (uint64_t)(uintptr_t)old < n_bytes;
    }
    h->live_blocks -= old != NULL;
    free(old);
}

static void *heap_realloc(void *ctx, void *old, size_t n_old, size_t n_bytes)
{
    void *next = heap_alloc(ctx, n_bytes);
    if (next != NULL && old != NULL) {
        memcpy(next, old, n_old < n_bytes ? n_old : n_bytes);
        heap_free(ctx, old, n_old);
    }
    return next;
}

/* ---- the machine ------------------------------------------------------- */

/* What is known of a slot from outside. */
typedef struct content {
    bp_slot slot;
    uint64_t n_bytes;
    bool keeps_copy;
    bool is_loading; /* handed out to be filled, */
    bool is_new;     /* for the first time */
    bool is_known;   /* every byte is `value` */
    uint8_t value;
} content;

typedef struct use {
    bp_slot slot; /* BP_NO_SLOT: none */
    content *of;
    bool is_writing;
} use;

typedef struct machine {
    const uint8_t *at;
    const uint8_t *end;
    heap heap;
    bp_allocator alloc;
    bp_tree *tree;
    bp_budget budgets[N_BUDGETS];
    size_t n_budgets;
    bp_backend *sims[N_SIMS];
    bp_stream streams[N_SIMS][N_STREAMS];
    bool is_held[N_SIMS]; /* its events wait to be told */
    bool is_manual, is_small, may_fail, may_fail_to_free, has_fault;
    bp_slots managers[N_MANAGERS];
    size_t sim_of[N_MANAGERS];
    content contents[N_MANAGERS * N_NAMES]; /* manager by manager */
    content replaced[N_MANAGERS * N_NAMES]; /* while the new one is filled */
    size_t last; /* of the contents: whose turn it was */
    use uses[N_USES];
    bp_reservation reservations[N_RESERVATIONS];
    bp_watch watches[N_WATCHES];
    bp_cursor cursors[N_CURSORS];
    bp_cursor all; /* sees every record */
    uint64_t n_records;
    bool is_told[MAX_GENERATIONS];
    bool may_wait, is_interrupting; /* the call that runs */
    uint8_t n_values;
} machine;

static unsigned next(machine *m)
{
    return m->at < m->end ? *m->at++ : 0;
}

/* Mostly small; sometimes at the edges of what can be said. */
static uint64_t number(machine *m)
{
    unsigned n = next(m);
    switch (n >> 4) {
    case 15:
        return UINT64_C(1) << (n & 15) * 4;
    case 14:
        return UINT64_MAX >> (n & 15);
    default:
        return (uint64_t)n * UNIT + (n & 3);
    }
}

static bp_budget pick_budget(machine *m)
{
    return m->budgets[next(m) % m->n_budgets];
}

static void set_guard(machine *m, guard it)
{
    if (m->is_held[it.sim] && it.address != 0) {
        it.n_syncs = bp_sim_n_actions(m->sims[it.sim], BP_ACTION_SYNC);
        m->heap.guards[m->heap.n_guards++ % N_GUARDS] = it;
    }
}

/* Until an event passes, by complete or by waiting for the whole device, no
 * memory goes that may be in use. */
static void check_guards(machine *m)
{
    for (size_t i = 0; i < N_GUARDS; i++) {
        guard *it = &m->heap.guards[i];
        bool is_over =
            it->address != 0 &&
            bp_sim_n_actions(m->sims[it->sim], BP_ACTION_SYNC) != it->n_syncs;
        REQUIRE(!it->is_freed || is_over);
        if (is_over) {
            *it = (guard){.address = 0};
        }
    }
}

/* What a stream was asked to write is written at the last moment. */
static void work(machine *m, const guard *it)
{
    uint8_t value = ++m->n_values;
    memset((void *)(uintptr_t)it->address, value, it->n_bytes);
    for (size_t i = 0; i < N_MANAGERS * N_NAMES; i++) {
        content *all[2] = {&m->contents[i], &m->replaced[i]};
        for (size_t k = 0; k < 2; k++) {
            if (all[k]->slot == it->slot) {
                all[k]->value = value;
            }
        }
    }
}

static void let_pass(machine *m, size_t sim, uint64_t n)
{
    check_guards(m);
    for (size_t i = 0; i < N_GUARDS && n != 0; i++) {
        /* The oldest first. */
        guard *it = &m->heap.guards[(m->heap.n_guards + i) % N_GUARDS];
        if (it->address != 0 && it->sim == sim) {
            if (it->is_writing) {
                work(m, it);
            }
            *it = (guard){.address = 0};
        }
    }
    (void)bp_sim_complete(m->sims[sim], n);
}

/* Those that wait let all events pass, or give up. */
static bool interrupt(void *ctx)
{
    machine *m = ctx;
    for (size_t i = 0; i < N_SIMS; i++) {
        let_pass(m, i, UINT64_MAX);
    }
    return m->is_interrupting;
}

#define TOO_LONG_NS 5000000000u

/* NULL, or one that may wait. */
static const bp_wait *pick_wait(machine *m, unsigned form, bp_wait *wait)
{
    m->may_wait = (form & 1) != 0;
    m->is_interrupting = (form & 2) != 0;
    *wait = (bp_wait){.deadline_ns = bp_monotonic_ns() + TOO_LONG_NS};
    if (m->is_manual) {
        wait->is_interrupted = interrupt;
        wait->ctx = m;
    }
    return m->may_wait ? wait : NULL;
}

/* ---- what must hold ---------------------------------------------------- */

static void drain_all(machine *m)
{
    bp_log *log = bp_tree_get_log(m->tree);
    bp_record records[5];
    size_t n;
    while ((n = bp_cursor_drain(log, m->all, records, 5)) != 0) {
        for (size_t i = 0; i < n; i++) {
            REQUIRE(records[i].seq == m->n_records++);
            REQUIRE(records[i].generation != 0);
            if (records[i].generation < MAX_GENERATIONS) {
                REQUIRE(!m->is_told[records[i].generation]);
                m->is_told[records[i].generation] = true;
            }
            bp_record_fini(&records[i]);
        }
    }
}

static char *dump_of(machine *m)
{
    char *text;
    REQUIRE(bp_tree_dump(m->tree, &text, NULL) == BP_OK);
    return text;
}

static void drop_dump(machine *m, char *text)
{
    heap_free(&m->heap, text, strlen(text) + 1);
}

static void require_whole(machine *m)
{
    bp_error error = {0};
    if (bp_tree_check(m->tree, &error) != BP_OK) {
        fprintf(stderr, "%s\n", error.text);
        abort();
    }
}

/* Every failure has somebody to blame. */
static bool has_reason(const machine *m, bp_status status, bool is_refused)
{
    bool may_fail = m->may_fail || m->has_fault;
    switch (status) {
    case BP_INTERNAL:
        return false;
    case BP_TIMED_OUT: /* those that wait have time enough */
        return !m->may_wait;
    case BP_NO_MEMORY:
        return is_refused || may_fail;
    case BP_DEVICE_FAULT:
        return may_fail;
    case BP_DEVICE_MEMORY:
        return may_fail || m->is_small;
    case BP_INTERRUPTED:
        return m->is_manual;
    default:
        return true;
    }
}

static void require_reason(const machine *m, bp_status status,
                           const bp_error *error, bool is_refused)
{
    if (!has_reason(m, status, is_refused) || error->status != status ||
        error->text[0] == '\0') {
        fprintf(stderr, "%s without a reason: %s: %s\n", bp_status_name(status),
                bp_status_name(error->status), error->text);
        abort();
    }
}

/* ---- beginning and end ------------------------------------------------- */

static bp_status open_manager(machine *m, size_t i, bp_error *error)
{
    unsigned form = next(m);
    m->sim_of[i] = form / 64 % N_SIMS;
    bp_slots_options options = {.budget = m->budgets[form % m->n_budgets],
                                .backend = m->sims[m->sim_of[i]],
                                .policy = (bp_policy)(form / 4 % 4),
                                .is_strict = form / 16 % 4 == 3};
    return bp_slots_open(m->tree, &options, &m->managers[i], error);
}

static void open_budgets(machine *m)
{
    static const uint8_t parents[N_BUDGETS] = {0, 0, 0, 1};
    static const size_t counts[3] = {1, 3, N_BUDGETS};
    unsigned form = next(m);
    m->n_budgets = counts[form % 3];
    for (size_t i = 0; i < m->n_budgets; i++) {
        uint64_t limit = (1 + (uint64_t)next(m)) * UNIT;
        bp_budget_options options =
            bp_budget_defaults(i == 0 ? 2 * limit : limit);
        options.parent = i == 0 ? BP_NO_BUDGET : m->budgets[parents[i]];
        options.granularity = (form >> i & 8) != 0 ? 2 * UNIT : 1;
        if ((form & 128) != 0) {
            options.evict_at[0] = 90;
            options.evict_at[1] = (uint8_t)(60 + i);
        }
        REQUIRE(bp_budget_open(m->tree, &options, &m->budgets[i], NULL) ==
                BP_OK);
    }
}

static void open_sims(machine *m)
{
    static const bp_sim_events events[4] = {BP_SIM_MANUAL, BP_SIM_IMMEDIATE,
                                            BP_SIM_LATE, BP_SIM_MANUAL};
    for (size_t i = 0; i < N_SIMS; i++) {
        unsigned form = next(m);
        unsigned which = next(m);
        char fail[64];
        bp_action action = (bp_action)(which % BP_N_ACTIONS);
        (void)snprintf(fail, sizeof fail, "%s:#%u-%u", bp_action_name(action),
                       1 + which / 8 % 8, 1 + which / 8 % 8 + which / 64);
        bool is_failing = (form & 3) == 3;
        bp_sim_options options = {
            .capacity = (form & 4) != 0 ? 40 * UNIT * (form >> 4) : UINT64_MAX,
            .events = events[form >> 3 & 3],
            .late_polls = 1 + which % 3,
            .granularity = (form & 32) != 0 ? UNIT : 1,
            .fail = is_failing ? fail : NULL};
        m->may_fail |= is_failing;
        /* After some tries, memory is given up with its backend. */
        m->may_fail_to_free |= is_failing && (action == BP_ACTION_FREE ||
                                              action == BP_ACTION_SYNC);
        m->is_small |= options.capacity != UINT64_MAX;
        m->is_held[i] = options.events == BP_SIM_MANUAL;
        m->is_manual |= m->is_held[i];
        REQUIRE(bp_sim_new(&options, &m->alloc, &m->sims[i], NULL) == BP_OK);
        for (size_t k = 0; k < N_STREAMS; k++) {
            REQUIRE(bp_sim_stream_open(m->sims[i], &m->streams[i][k], NULL) ==
                    BP_OK);
        }
    }
}

static void begin(machine *m)
{
    m->alloc = (bp_allocator){heap_alloc, heap_realloc, heap_free, &m->heap};
    REQUIRE(bp_tree_new(0, &m->alloc, &m->tree, NULL) == BP_OK);
    REQUIRE(bp_cursor_open(bp_tree_get_log(m->tree), NULL, &m->all, NULL) ==
            BP_OK);
    open_budgets(m);
    open_sims(m);
    for (size_t i = 0; i < N_MANAGERS; i++) {
        REQUIRE(open_manager(m, i, NULL) == BP_OK);
    }
}

/* With everything closed, nobody has a byte but those charged by hand. */
static void require_empty(machine *m)
{
    for (size_t i = 0; i < m->n_budgets; i++) {
        bp_budget_stats stats;
        if (bp_budget_get_stats(m->tree, m->budgets[i], &stats, NULL) ==
            BP_OK) {
            REQUIRE(stats.reserved == 0 && stats.retiring == 0);
        }
    }
    for (size_t i = 0; i < N_SIMS; i++) {
        bp_backend_info info;
        bp_backend_get_info(m->sims[i], &info);
        REQUIRE(info.used == 0 || info.is_failed || m->may_fail_to_free);
    }
    REQUIRE(m->n_records == m->tree->generations);
}

static void end(machine *m)
{
    m->heap.fail_in = 0;
    memset(m->heap.guards, 0, sizeof m->heap.guards);
    for (size_t i = 0; i < N_MANAGERS; i++) {
        bp_slots_close(m->tree, m->managers[i]);
        require_whole(m);
    }
    for (size_t i = 0; i < N_RESERVATIONS; i++) {
        bp_reservation_close(m->tree, m->reservations[i]);
    }
    bp_tree_settle(m->tree);
    require_whole(m);
    drain_all(m);
    require_empty(m);
    bp_tree_free(m->tree);
    for (size_t i = 0; i < N_SIMS; i++) {
        bp_backend_unref(m->sims[i]);
    }
    REQUIRE(m->heap.live_blocks == 0);
}

#endif
