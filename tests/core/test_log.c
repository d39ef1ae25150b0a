/* test_log.c - the log of evictions: the ring, what subscriptions see and miss
 * (against a slow oracle), and what a failed call leaves behind. */
#include "harness.h"

#include "bayplan/device.h"
#include "device/log.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct fixture {
    test_heap heap;
    bp_allocator alloc;
    bp_log *log;
    bp_error error;
} fixture;

static bool fixture_init(fixture *it, uint32_t n_records)
{
    memset(it, 0, sizeof *it);
    it->alloc = test_heap_init(&it->heap);
    return bp_log_new(n_records, &it->alloc, &it->log, &it->error) == BP_OK;
}

static const char *broken(const fixture *it)
{
    bp__mutex_lock(it->log->lock);
    const char *what = bp__log_check_locked(it->log);
    bp__mutex_unlock(it->log->lock);
    return what;
}

static bool fixture_fini(fixture *it)
{
    const char *what = broken(it);
    if (what != NULL) {
        printf("    %s\n", what);
    }
    bp_log_free(it->log);
    return what == NULL && it->heap.live_blocks == 0 &&
           it->heap.live_bytes == 0;
}

static bp_status publish(fixture *it, const char *key, const char *kind)
{
    uint64_t seq;
    return bp_log_publish(it->log, key, kind, 7, BP_CAUSE_EXPLICIT, &seq,
                          &it->error);
}

static bp_cursor open_on(fixture *it, const char *kind, const char *key,
                         uint64_t max_backlog)
{
    bp_cursor_options options = {.kinds = kind == NULL ? NULL : &kind,
                                 .n_kinds = kind != NULL,
                                 .keys = key == NULL ? NULL : &key,
                                 .n_keys = key != NULL,
                                 .max_backlog = max_backlog};
    bp_cursor cursor = 0;
    bp_status status = bp_cursor_open(it->log, &options, &cursor, &it->error);
    return status == BP_OK ? cursor : 0;
}

/* UINT64_MAX everywhere for a stale handle. */
static bp_cursor_state state_of(fixture *it, bp_cursor cursor)
{
    bp_cursor_state state = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    bp_status status = bp_cursor_get_state(it->log, cursor, &state, &it->error);
    return status == BP_OK
               ? state
               : (bp_cursor_state){UINT64_MAX, UINT64_MAX, UINT64_MAX};
}

/* Drain one; its seq, or UINT64_MAX for none. */
static uint64_t drain_one(fixture *it, bp_cursor cursor)
{
    bp_record record;
    if (bp_cursor_drain(it->log, cursor, &record, 1) == 0) {
        return UINT64_MAX;
    }
    uint64_t seq = record.seq;
    bp_record_fini(&record);
    return seq;
}

/* ---- the ring ---------------------------------------------------------- */

static void names_of_causes(void)
{
    bp_cause cause;
    for (unsigned i = 0; i < BP_N_CAUSES; i++) {
        CHECK(bp_cause_parse(bp_cause_name((bp_cause)i), &cause));
        CHECK_U64(cause, i);
    }
    CHECK_TEXT(bp_cause_name(BP_CAUSE_OOM), "oom");
    CHECK_TEXT(bp_cause_name((bp_cause)BP_N_CAUSES), "?");
    CHECK(!bp_cause_parse("Explicit", &cause));
}

static void ring_grows_then_goes_round(void)
{
    fixture it;
    CHECK(fixture_init(&it, 100));
    uint64_t first;
    uint64_t next;
    bp_log_range(it.log, &first, &next);
    CHECK_U64(first, 0);
    CHECK_U64(next, 0);
    for (uint64_t i = 0; i < 250; i++) {
        uint64_t seq;
        CHECK_STATUS(
            bp_log_publish(it.log, "a", NULL, i, BP_CAUSE_OOM, &seq, &it.error),
            BP_OK, &it.error);
        CHECK_U64(seq, i);
        bp_log_range(it.log, &first, &next);
        CHECK_U64(first, i < 100 ? 0 : i - 99);
        CHECK_U64(next, i + 1);
        CHECK_TEXT(broken(&it) == NULL ? "" : broken(&it), "");
    }
    CHECK_U64(it.log->capacity, 100);
    CHECK(fixture_fini(&it));
}

static void records_say_what_was_published(void)
{
    fixture it;
    CHECK(fixture_init(&it, 0));
    bp_cursor cursor = open_on(&it, NULL, NULL, 0);
    uint64_t seq;
    CHECK_STATUS(bp_log_publish(it.log, "mesh", "asset", UINT64_MAX,
                                BP_CAUSE_SWEEP, &seq, &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(publish(&it, "mesh", NULL), BP_OK, &it.error);
    bp_record records[4];
    CHECK_U64(bp_cursor_drain(it.log, cursor, records, 4), 2);
    CHECK_TEXT(bp_key_text(records[0].key), "mesh");
    CHECK_TEXT(bp_key_text(records[0].kind), "asset");
    CHECK_U64(records[0].n_bytes, UINT64_MAX);
    CHECK_U64(records[0].cause, BP_CAUSE_SWEEP);
    CHECK_U64(records[0].generation, 1);
    CHECK(records[1].kind == NULL);
    CHECK_U64(records[1].generation, 2);
    bp_cursor_close(it.log, cursor);
    bp_log_free(it.log); /* the records outlive it */
    CHECK_TEXT(bp_key_text(records[1].key), "mesh");
    bp_record_fini(&records[0]);
    bp_record_fini(&records[1]);
    CHECK_U64(it.heap.live_blocks, 0);
}

static void what_cannot_be_published(void)
{
    fixture it;
    char longest[BP_MAX_NAME + 2];
    memset(longest, 'k', sizeof longest);
    longest[BP_MAX_NAME + 1] = '\0';
    CHECK(fixture_init(&it, 10));
    CHECK_STATUS(publish(&it, "", NULL), BP_BAD_NAME, &it.error);
    CHECK_STATUS(publish(&it, NULL, NULL), BP_BAD_NAME, &it.error);
    CHECK_STATUS(publish(&it, longest, NULL), BP_BAD_NAME, &it.error);
    CHECK_TEXT(it.error.text, "a key has at most 255 bytes, not 256");
    CHECK_STATUS(publish(&it, "a", longest), BP_BAD_NAME, &it.error);
    CHECK_STATUS(publish(&it, "a", ""), BP_BAD_NAME, &it.error);
    uint64_t seq = 77;
    CHECK_STATUS(bp_log_publish(it.log, "a", NULL, 1, (bp_cause)BP_N_CAUSES,
                                &seq, &it.error),
                 BP_BAD_VALUE, &it.error);
    CHECK_U64(seq, 77);
    uint64_t next;
    bp_log_range(it.log, &seq, &next);
    CHECK_U64(next, 0);
    longest[BP_MAX_NAME] = '\0';
    CHECK_STATUS(publish(&it, longest, longest), BP_OK, &it.error);
    CHECK(fixture_fini(&it));
    bp_log *log = NULL;
    CHECK_STATUS(bp_log_new((1u << 28) + 1, NULL, &log, &it.error),
                 BP_BAD_VALUE, &it.error);
    CHECK(log == NULL);
}

/* In a tree the log has the tree's lock and counts its generations. */
static void embedded_log(void)
{
    test_heap heap;
    bp_allocator alloc = test_heap_init(&heap);
    bp_mutex lock;
    uint64_t generations = 41;
    bp_log log;
    bp_error error;
    CHECK(bp__mutex_init(&lock));
    CHECK_STATUS(bp__log_init(&log, 2, &alloc, &lock, &generations, &error),
                 BP_OK, &error);
    uint64_t seq;
    CHECK_STATUS(
        bp_log_publish(&log, "a", NULL, 1, BP_CAUSE_LIMIT, &seq, &error), BP_OK,
        &error);
    CHECK_U64(generations, 42);
    bp_key *key = bp__key_new(&alloc, "b");
    bp__mutex_lock(&lock);
    CHECK(bp__log_reserve_locked(&log, 5));
    CHECK_U64(bp__log_append_locked(&log, key, NULL, 40, 9, BP_CAUSE_CLOSED),
              1);
    CHECK(bp__log_check_locked(&log) == NULL);
    bp__mutex_unlock(&lock);
    bp__key_unref(key);
    bp__log_fini(&log);
    bp__mutex_fini(&lock);
    CHECK_U64(heap.live_blocks, 0);
}

/* ---- subscriptions ----------------------------------------------------- */

static void filters_let_through(void)
{
    fixture it;
    CHECK(fixture_init(&it, 50));
    bp_cursor all = open_on(&it, NULL, NULL, 0);
    bp_cursor models = open_on(&it, "model", NULL, 0);
    bp_cursor keyed = open_on(&it, NULL, "a", 0);
    bp_cursor both = open_on(&it, "model", "a", 0);
    static const char *const twice[] = {"a", "b", "a", "b"};
    bp_cursor_options options = {.keys = twice, .n_keys = 4};
    bp_cursor pair;
    bp_cursor none;
    CHECK_STATUS(bp_cursor_open(it.log, &options, &pair, &it.error), BP_OK,
                 &it.error);
    options.n_keys = 0;
    CHECK_STATUS(bp_cursor_open(it.log, &options, &none, &it.error), BP_OK,
                 &it.error);
    CHECK(!bp_log_has_news(it.log));
    static const char *const sent[][2] = {{"a", "model"}, {"b", "model"},
                                          {"a", NULL},    {"c", "table"},
                                          {"a", "table"}, {"b", NULL}};
    for (size_t i = 0; i < 6; i++) {
        CHECK_STATUS(publish(&it, sent[i][0], sent[i][1]), BP_OK, &it.error);
    }
    CHECK_U64(state_of(&it, all).n_pending, 6);
    CHECK_U64(state_of(&it, models).n_pending, 2);
    CHECK_U64(state_of(&it, keyed).n_pending, 3);
    CHECK_U64(state_of(&it, both).n_pending, 1);
    CHECK_U64(state_of(&it, pair).n_pending, 5);
    CHECK_U64(state_of(&it, none).n_pending, 0);
    CHECK_U64(drain_one(&it, none), UINT64_MAX);
    CHECK_U64(drain_one(&it, keyed), 0);
    CHECK_U64(drain_one(&it, keyed), 2);
    CHECK_U64(state_of(&it, keyed).n_pending, 1);
    CHECK_U64(drain_one(&it, keyed), 4);
    CHECK_U64(drain_one(&it, keyed), UINT64_MAX);
    CHECK_U64(state_of(&it, keyed).next, 6);
    CHECK(fixture_fini(&it));
}

static void only_what_comes_later(void)
{
    fixture it;
    CHECK(fixture_init(&it, 50));
    CHECK_STATUS(publish(&it, "early", NULL), BP_OK, &it.error);
    bp_cursor cursor = 0;
    CHECK_STATUS(bp_cursor_open(it.log, NULL, &cursor, &it.error), BP_OK,
                 &it.error);
    CHECK(!bp_log_has_news(it.log));
    CHECK_STATUS(publish(&it, "late", NULL), BP_OK, &it.error);
    CHECK(bp_log_has_news(it.log));
    CHECK_U64(drain_one(&it, cursor), 1);
    CHECK(!bp_log_has_news(it.log));
    CHECK(fixture_fini(&it));
}

/* Others' news stay news when one has drained, and go with who had them. */
static void news_are_everyones(void)
{
    fixture it;
    CHECK(fixture_init(&it, 50));
    bp_cursor a = open_on(&it, NULL, NULL, 0);
    bp_cursor b = open_on(&it, NULL, NULL, 0);
    CHECK_STATUS(publish(&it, "x", NULL), BP_OK, &it.error);
    CHECK_U64(drain_one(&it, a), 0);
    CHECK(bp_log_has_news(it.log));
    bp_cursor_close(it.log, b);
    CHECK(!bp_log_has_news(it.log));
    CHECK(fixture_fini(&it));
}

static void backlog_drops_the_oldest(void)
{
    fixture it;
    CHECK(fixture_init(&it, 50));
    bp_cursor cursor = open_on(&it, NULL, "a", 3);
    for (size_t i = 0; i < 5; i++) {
        CHECK_STATUS(publish(&it, "a", NULL), BP_OK, &it.error);
        CHECK_STATUS(publish(&it, "b", NULL), BP_OK, &it.error);
    }
    CHECK_U64(state_of(&it, cursor).n_pending, 3);
    CHECK_U64(state_of(&it, cursor).n_missed, 2);
    CHECK_U64(drain_one(&it, cursor), 4);
    CHECK_U64(state_of(&it, cursor).n_pending, 2);
    CHECK_U64(state_of(&it, cursor).n_missed, 2);
    CHECK_STATUS(publish(&it, "a", NULL), BP_OK, &it.error);
    CHECK_U64(state_of(&it, cursor).n_missed, 2);
    CHECK_U64(drain_one(&it, cursor), 6);
    CHECK(fixture_fini(&it));
}

static void resync_goes_anywhere(void)
{
    fixture it;
    CHECK(fixture_init(&it, 10));
    bp_cursor cursor = open_on(&it, NULL, NULL, 0);
    for (size_t i = 0; i < 25; i++) {
        CHECK_STATUS(publish(&it, "a", NULL), BP_OK, &it.error);
    }
    CHECK_U64(state_of(&it, cursor).n_missed, 15);
    CHECK_STATUS(bp_cursor_resync(it.log, cursor, 26, &it.error), BP_BAD_VALUE,
                 &it.error);
    CHECK_U64(it.error.value, 26);
    CHECK_U64(it.error.limit, 25);
    CHECK_U64(state_of(&it, cursor).n_missed, 15);
    CHECK_STATUS(bp_cursor_resync(it.log, cursor, 3, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(state_of(&it, cursor).n_missed, 0);
    CHECK_U64(state_of(&it, cursor).n_pending, 10);
    CHECK_U64(drain_one(&it, cursor), 15);
    CHECK_STATUS(bp_cursor_resync(it.log, cursor, 25, &it.error), BP_OK,
                 &it.error);
    CHECK(!bp_log_has_news(it.log));
    CHECK_U64(drain_one(&it, cursor), UINT64_MAX);
    CHECK_STATUS(bp_cursor_resync(it.log, cursor, 24, &it.error), BP_OK,
                 &it.error);
    CHECK(bp_log_has_news(it.log));
    CHECK_U64(drain_one(&it, cursor), 24);
    CHECK(fixture_fini(&it));
}

static void drain_keeps_to_its_room(void)
{
    fixture it;
    CHECK(fixture_init(&it, 50));
    bp_cursor cursor = open_on(&it, NULL, NULL, 0);
    for (size_t i = 0; i < 5; i++) {
        CHECK_STATUS(publish(&it, "a", NULL), BP_OK, &it.error);
    }
    bp_record records[4];
    memset(records, 0x5A, sizeof records);
    bp_record untouched = records[3];
    CHECK_U64(bp_cursor_drain(it.log, cursor, records, 0), 0);
    CHECK_U64(bp_cursor_drain(it.log, cursor, records, 3), 3);
    CHECK(memcmp(&untouched, &records[3], sizeof untouched) == 0);
    for (size_t i = 0; i < 3; i++) {
        CHECK_U64(records[i].seq, i);
        bp_record_fini(&records[i]);
    }
    CHECK_U64(drain_one(&it, cursor), 3);
    CHECK(fixture_fini(&it));
}

static void stale_handles(void)
{
    fixture it;
    CHECK(fixture_init(&it, 50));
    bp_cursor cursor = open_on(&it, NULL, NULL, 0);
    bp_cursor_close(it.log, cursor);
    bp_cursor next = open_on(&it, NULL, NULL, 0);
    CHECK_STATUS(publish(&it, "a", NULL), BP_OK, &it.error);
    bp_cursor_state state;
    CHECK_STATUS(bp_cursor_get_state(it.log, cursor, &state, &it.error),
                 BP_STALE, &it.error);
    CHECK_STATUS(bp_cursor_resync(it.log, cursor, 0, &it.error), BP_STALE,
                 &it.error);
    CHECK_U64(drain_one(&it, cursor), UINT64_MAX);
    CHECK_U64(drain_one(&it, 0), UINT64_MAX);
    bp_cursor_close(it.log, cursor);
    bp_cursor_close(it.log, 0);
    CHECK_U64(drain_one(&it, next), 0);
    CHECK(fixture_fini(&it));
}

/* ---- the oracle -------------------------------------------------------- */

enum { N_CURSORS = 6, N_STREAM = 4000, N_KEYS = 4 };

static const char *const keys[N_KEYS] = {"a", "b", "c", "d"};
static const char *const kinds[3] = {"k", "m", NULL};

/* What one subscription is to see, kept the slow way: a list of seqs. */
typedef struct seen {
    bp_cursor cursor;
    unsigned key_mask, kind_mask; /* 0: all */
    uint64_t max_backlog;
    uint64_t pending[N_STREAM];
    size_t n_pending;
    uint64_t n_missed;
} seen;

typedef struct oracle {
    fixture it;
    uint64_t seed;
    uint64_t limit;
    unsigned key_of[N_STREAM], kind_of[N_STREAM];
    uint64_t n;
    seen all[N_CURSORS];
} oracle;

static void lose_first(seen *one)
{
    memmove(one->pending, one->pending + 1,
            --one->n_pending * sizeof one->pending[0]);
}

static bool lets(const oracle *o, const seen *one, uint64_t seq)
{
    unsigned kind = o->kind_of[seq];
    return (one->key_mask == 0 || (one->key_mask >> o->key_of[seq] & 1) != 0) &&
           (one->kind_mask == 0 ||
            (kind < 2 && (one->kind_mask >> kind & 1) != 0));
}

static void note(oracle *o, seen *one, uint64_t seq)
{
    if (lets(o, one, seq)) {
        one->pending[one->n_pending++] = seq;
        if (one->max_backlog != 0 && one->n_pending > one->max_backlog) {
            lose_first(one);
            one->n_missed++;
        }
    }
    uint64_t first = o->n < o->limit ? 0 : o->n - o->limit;
    while (one->n_pending != 0 && one->pending[0] < first) {
        lose_first(one);
        one->n_missed++;
    }
}

static void oracle_publish(oracle *o)
{
    unsigned key = (unsigned)random_below(&o->seed, N_KEYS);
    unsigned kind = (unsigned)random_below(&o->seed, 3);
    CHECK_STATUS(publish(&o->it, keys[key], kinds[kind]), BP_OK, &o->it.error);
    o->key_of[o->n] = key;
    o->kind_of[o->n] = kind;
    o->n++;
    for (size_t i = 0; i < N_CURSORS; i++) {
        note(o, &o->all[i], o->n - 1);
    }
}

static void oracle_open(oracle *o, seen *one)
{
    const char *key_list[N_KEYS];
    const char *kind_list[2];
    size_t n_keys = 0;
    size_t n_kinds = 0;
    bp_cursor_close(o->it.log, one->cursor);
    memset(one, 0, sizeof *one);
    one->key_mask = (unsigned)random_below(&o->seed, 1 << N_KEYS);
    one->kind_mask = (unsigned)random_below(&o->seed, 4);
    one->max_backlog =
        random_below(&o->seed, 2) == 0 ? 0 : 1 + random_below(&o->seed, 20);
    for (unsigned i = 0; i < N_KEYS; i++) {
        if ((one->key_mask >> i & 1) != 0) {
            key_list[n_keys++] = keys[i];
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        if ((one->kind_mask >> i & 1) != 0) {
            kind_list[n_kinds++] = kinds[i];
        }
    }
    bp_cursor_options options = {n_kinds == 0 ? NULL : kind_list, n_kinds,
                                 n_keys == 0 ? NULL : key_list, n_keys,
                                 one->max_backlog};
    CHECK_STATUS(
        bp_cursor_open(o->it.log, &options, &one->cursor, &o->it.error), BP_OK,
        &o->it.error);
}

static void oracle_drain(oracle *o, seen *one)
{
    bp_record records[16];
    size_t n_max = 1 + (size_t)random_below(&o->seed, 16);
    size_t want = one->n_pending < n_max ? one->n_pending : n_max;
    CHECK_U64(bp_cursor_drain(o->it.log, one->cursor, records, n_max), want);
    for (size_t i = 0; i < want; i++) {
        uint64_t seq = one->pending[0];
        CHECK_U64(records[i].seq, seq);
        CHECK_TEXT(bp_key_text(records[i].key), keys[o->key_of[seq]]);
        CHECK((records[i].kind == NULL) == (o->kind_of[seq] == 2));
        bp_record_fini(&records[i]);
        lose_first(one);
    }
}

static void oracle_resync(oracle *o, seen *one)
{
    uint64_t seq = random_below(&o->seed, o->n + 1);
    CHECK_STATUS(bp_cursor_resync(o->it.log, one->cursor, seq, &o->it.error),
                 BP_OK, &o->it.error);
    uint64_t first = o->n < o->limit ? 0 : o->n - o->limit;
    one->n_missed = 0;
    one->n_pending = 0;
    for (uint64_t i = seq < first ? first : seq; i < o->n; i++) {
        if (lets(o, one, i)) {
            one->pending[one->n_pending++] = i;
        }
    }
    while (one->max_backlog != 0 && one->n_pending > one->max_backlog) {
        lose_first(one);
        one->n_missed++;
    }
}

static void oracle_compare(oracle *o)
{
    bool has_news = false;
    for (size_t i = 0; i < N_CURSORS; i++) {
        bp_cursor_state state = state_of(&o->it, o->all[i].cursor);
        CHECK_U64(state.n_pending, o->all[i].n_pending);
        CHECK_U64(state.n_missed, o->all[i].n_missed);
        CHECK(state.n_pending == 0 || state.next <= o->all[i].pending[0]);
        has_news |= state.n_pending != 0;
    }
    CHECK(bp_log_has_news(o->it.log) == has_news);
    CHECK(broken(&o->it) == NULL);
}

static void run_oracle(oracle *o, uint64_t seed)
{
    memset(o, 0, sizeof *o);
    o->seed = seed;
    o->limit = 1 + random_below(&o->seed, 90);
    CHECK(fixture_init(&o->it, (uint32_t)o->limit));
    for (size_t i = 0; i < N_CURSORS; i++) {
        oracle_open(o, &o->all[i]);
    }
    while (o->n < N_STREAM / 4 && !harness.is_failed) {
        seen *one = &o->all[random_below(&o->seed, N_CURSORS)];
        uint64_t dice = random_below(&o->seed, 40);
        if (dice == 0) {
            oracle_open(o, one);
        } else if (dice == 1) {
            oracle_resync(o, one);
        } else if (dice < 8) {
            oracle_drain(o, one);
        } else {
            oracle_publish(o);
        }
        oracle_compare(o);
    }
    CHECK_PASSED();
    CHECK(fixture_fini(&o->it));
}

static void agrees_with_the_oracle(void)
{
    oracle *o = malloc(sizeof *o);
    CHECK(o != NULL);
    for (uint64_t seed = 1; seed <= 12 && !harness.is_failed; seed++) {
        run_oracle(o, seed);
        if (harness.is_failed) {
            printf("    seed %u\n", (unsigned)seed);
        }
    }
    free(o);
}

/* ---- memory ------------------------------------------------------------ */

static void run_refused_log(uint64_t n, bool is_for_ever, bool *is_refused)
{
    test_heap heap;
    bp_allocator alloc = test_heap_init(&heap);
    bp_log *log = NULL;
    bp_error error;
    test_heap_fail(&heap, n, is_for_ever);
    bp_status status = bp_log_new(40, &alloc, &log, &error);
    *is_refused = heap.n_refused != 0;
    CHECK_STATUS(status, *is_refused ? BP_NO_MEMORY : BP_OK, &error);
    CHECK((log == NULL) == *is_refused);
    bp_log_free(log);
    CHECK_U64(heap.live_blocks, 0);
}

static const char *const many[] = {"a", "b", "c", "d", "e", "f",
                                   "g", "h", "i", "j", "k", "l"};

/* The call while the n-th allocation fails, then again with all memory. */
static void run_refused(uint64_t n, bool is_for_ever, bool is_open,
                        size_t n_before, bool *is_refused)
{
    fixture it;
    CHECK(fixture_init(&it, 40));
    bp_cursor watcher = open_on(&it, NULL, NULL, 0);
    for (size_t i = 0; i < n_before; i++) {
        CHECK_STATUS(publish(&it, "a", NULL), BP_OK, &it.error);
    }
    bp_cursor_options options = {many, 12, many, 12, 2};
    bp_cursor cursor = 0;
    bp_cursor_state before = state_of(&it, watcher);
    test_heap_fail(&it.heap, n, is_for_ever);
    bp_status status =
        is_open ? bp_cursor_open(it.log, &options, &cursor, &it.error)
                : publish(&it, "key", "kind");
    *is_refused = it.heap.n_refused != 0;
    test_heap_fail(&it.heap, 0, false);
    CHECK_STATUS(status, *is_refused ? BP_NO_MEMORY : BP_OK, &it.error);
    CHECK(broken(&it) == NULL);
    bp_cursor_state after = state_of(&it, watcher);
    CHECK_U64(after.n_pending, before.n_pending + (!is_open && !*is_refused));
    CHECK_U64(after.n_missed, before.n_missed);
    CHECK(cursor == 0 || !*is_refused);
    CHECK_STATUS(publish(&it, "key", "kind"), BP_OK, &it.error);
    CHECK(fixture_fini(&it));
}

static void memory_runs_out(void)
{
    for (unsigned is_for_ever = 0; is_for_ever < 2; is_for_ever++) {
        bool is_refused = true;
        for (uint64_t n = 1; is_refused; n++) {
            run_refused_log(n, is_for_ever != 0, &is_refused);
            CHECK_PASSED();
        }
        for (unsigned is_open = 0; is_open < 2; is_open++) {
            is_refused = true;
            uint64_t n = 1;
            for (; is_refused; n++) {
                run_refused(n, is_for_ever != 0, is_open != 0, 16, &is_refused);
                CHECK_PASSED();
            }
            CHECK(n > (is_open != 0 ? 25u : 3u));
        }
    }
}

/* An eviction has to be told of, memory or not: then the oldest record goes
 * before its time, and who had not read it knows. */
static void append_needs_no_memory(void)
{
    fixture it;
    CHECK(fixture_init(&it, 40));
    bp_cursor cursor = open_on(&it, NULL, NULL, 0);
    bp_key *key = bp__key_new(&it.alloc, "a");
    test_heap_fail(&it.heap, 1, true);
    for (uint64_t i = 0; i < 30; i++) {
        bp__mutex_lock(it.log->lock);
        uint64_t seq =
            bp__log_append_locked(it.log, key, NULL, 0, 1, BP_CAUSE_PRESSURE);
        bp__mutex_unlock(it.log->lock);
        CHECK_U64(seq, i);
    }
    CHECK_U64(state_of(&it, cursor).n_pending, 16);
    CHECK_U64(state_of(&it, cursor).n_missed, 14);
    CHECK(broken(&it) == NULL);
    test_heap_fail(&it.heap, 0, false);
    CHECK_STATUS(publish(&it, "b", NULL), BP_OK, &it.error);
    CHECK_U64(state_of(&it, cursor).n_pending, 17);
    for (uint64_t i = 14; i <= 30; i++) {
        CHECK_U64(drain_one(&it, cursor), i);
    }
    bp__key_unref(key);
    CHECK(fixture_fini(&it));
}

static void reserve_makes_room(void)
{
    fixture it;
    CHECK(fixture_init(&it, 1000));
    bp__mutex_lock(it.log->lock);
    CHECK(bp__log_reserve_locked(it.log, 99));
    CHECK(it.log->capacity >= 100);
    CHECK(bp__log_reserve_locked(it.log, SIZE_MAX));
    CHECK_U64(it.log->capacity, 1000);
    bp__mutex_unlock(it.log->lock);
    CHECK(fixture_fini(&it));
}

/* ---- threads and processes --------------------------------------------- */

enum { N_WRITERS = 4, N_READERS = 3, N_EACH = 2000 };

typedef struct worker {
    bp_log *log;
    pthread_t thread;
    bp_cursor cursor;
    unsigned i;
    uint64_t n_given;
    bool is_bad;
} worker;

static void *write_records(void *ctx)
{
    worker *me = ctx;
    char key[2] = {(char)('a' + me->i), '\0'};
    for (uint64_t i = 0; i < N_EACH; i++) {
        uint64_t seq;
        me->is_bad |= bp_log_publish(me->log, key, NULL, i, BP_CAUSE_EXPLICIT,
                                     &seq, NULL) != BP_OK;
    }
    return NULL;
}

/* Each key's records come in order. */
static void take(worker *me, uint64_t next_of[N_WRITERS])
{
    bp_record records[8];
    size_t n = bp_cursor_drain(me->log, me->cursor, records, 8);
    for (size_t i = 0; i < n; i++) {
        size_t writer = (size_t)(bp_key_text(records[i].key)[0] - 'a');
        me->is_bad |= records[i].n_bytes < next_of[writer];
        next_of[writer] = records[i].n_bytes + 1;
        bp_record_fini(&records[i]);
    }
    me->n_given += n;
}

static void *read_records(void *ctx)
{
    worker *me = ctx;
    uint64_t next_of[N_WRITERS] = {0};
    uint64_t first;
    uint64_t next = 0;
    while (next < N_WRITERS * N_EACH || bp_log_has_news(me->log)) {
        take(me, next_of);
        bp_cursor_state state;
        if (bp_cursor_get_state(me->log, me->cursor, &state, NULL) != BP_OK) {
            me->is_bad = true;
            break;
        }
        bp_log_range(me->log, &first, &next);
        if (next == N_WRITERS * N_EACH && state.n_pending == 0) {
            break;
        }
    }
    return NULL;
}

static void many_threads(void)
{
    bp_log *log;
    worker workers[N_WRITERS + N_READERS] = {{.log = NULL}};
    CHECK_STATUS(bp_log_new(300, NULL, &log, NULL), BP_OK, NULL);
    for (unsigned i = 0; i < N_WRITERS + N_READERS; i++) {
        workers[i].log = log;
        workers[i].i = i;
        if (i >= N_WRITERS) {
            CHECK_STATUS(bp_cursor_open(log, NULL, &workers[i].cursor, NULL),
                         BP_OK, NULL);
        }
    }
    for (unsigned i = 0; i < N_WRITERS + N_READERS; i++) {
        CHECK(pthread_create(&workers[i].thread, NULL,
                             i < N_WRITERS ? write_records : read_records,
                             &workers[i]) == 0);
    }
    for (unsigned i = 0; i < N_WRITERS + N_READERS; i++) {
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
    }
    for (unsigned i = 0; i < N_WRITERS + N_READERS; i++) {
        CHECK(!workers[i].is_bad);
        if (i >= N_WRITERS) {
            bp_cursor_state state;
            CHECK_STATUS(
                bp_cursor_get_state(log, workers[i].cursor, &state, NULL),
                BP_OK, NULL);
            CHECK_U64(workers[i].n_given + state.n_missed + state.n_pending,
                      N_WRITERS * N_EACH);
        }
    }
    bp_log_free(log);
}

/* 0: all is as it should be. */
static int in_child(fixture *it, bp_cursor cursor)
{
    bp_cursor_state state;
    uint64_t first;
    uint64_t next;
    bp_cursor other;
    bp_log_range(it->log, &first, &next);
    int n_bad = next != 0;
    n_bad += publish(it, "a", NULL) != BP_FORKED;
    n_bad += bp_cursor_open(it->log, NULL, &other, NULL) != BP_FORKED;
    n_bad += bp_cursor_get_state(it->log, cursor, &state, NULL) != BP_FORKED;
    n_bad += bp_cursor_resync(it->log, cursor, 0, NULL) != BP_FORKED;
    n_bad += drain_one(it, cursor) != UINT64_MAX;
    bp_cursor_close(it->log, cursor);
    bp_log_free(it->log);
    return n_bad;
}

static void a_child_process_keeps_off(void)
{
    fixture it;
    CHECK(fixture_init(&it, 10));
    bp_cursor cursor = open_on(&it, NULL, NULL, 0);
    CHECK_STATUS(publish(&it, "a", NULL), BP_OK, &it.error);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        _exit(in_child(&it, cursor));
    }
    int code;
    CHECK(waitpid(child, &code, 0) == child);
    CHECK(WIFEXITED(code));
    CHECK_U64(WEXITSTATUS(code), 0);
    CHECK_U64(drain_one(&it, cursor), 0);
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(names_of_causes);
    RUN(ring_grows_then_goes_round);
    RUN(records_say_what_was_published);
    RUN(what_cannot_be_published);
    RUN(embedded_log);
    RUN(filters_let_through);
    RUN(only_what_comes_later);
    RUN(news_are_everyones);
    RUN(backlog_drops_the_oldest);
    RUN(resync_goes_anywhere);
    RUN(drain_keeps_to_its_room);
    RUN(stale_handles);
    RUN(agrees_with_the_oracle);
    RUN(memory_runs_out);
    RUN(append_needs_no_memory);
    RUN(reserve_makes_room);
    RUN(many_threads);
    RUN(a_child_process_keeps_off);
    return finish();
}
