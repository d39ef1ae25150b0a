/* test_sim_streams.c - the simulator's streams: in which order things happen,
 * and when; what a failed action leaves undone. */
#include "harness.h"

#include "backend/backend.h"

#include <pthread.h>

typedef struct fixture {
    test_heap heap;
    bp_allocator alloc;
    bp_backend *sim;
    const bp__backend_table *t;
    bp__memory memory; /* 64 bytes */
    uint8_t *bytes;    /* of it */
    bp_stream stream, other;
    bp_error error;
} fixture;

static void make(fixture *it, bp_sim_events events, uint32_t late_polls,
                 const char *fail)
{
    memset(it, 0, sizeof *it);
    it->alloc = test_heap_init(&it->heap);
    bp_sim_options options = {.capacity = 1000,
                              .events = events,
                              .late_polls = late_polls,
                              .fail = fail};
    CHECK_STATUS(bp_sim_new(&options, &it->alloc, &it->sim, &it->error), BP_OK,
                 &it->error);
    it->t = it->sim->table;
    CHECK_STATUS(it->t->alloc(it->sim, 64, &it->memory, &it->error), BP_OK,
                 &it->error);
    it->bytes = it->t->host_view(it->sim, it->memory);
    memset(it->bytes, 0, 64);
    CHECK_STATUS(bp_sim_stream_open(it->sim, &it->stream, &it->error), BP_OK,
                 &it->error);
    CHECK_STATUS(bp_sim_stream_open(it->sim, &it->other, &it->error), BP_OK,
                 &it->error);
}

static bool fixture_fini(fixture *it)
{
    bp_backend_unref(it->sim);
    return it->heap.live_blocks == 0 && it->heap.live_bytes == 0;
}

/* BP__NO_EVENT: it could not be recorded. */
static bp__event record(fixture *it, bp_stream stream)
{
    bp__event event = BP__NO_EVENT;
    bp_status status = it->t->event_record(it->sim, stream, &event, &it->error);
    return status == BP_OK ? event : BP__NO_EVENT;
}

static bp_status await(fixture *it, bp__event event)
{
    return it->t->event_await(it->sim, event, &it->error);
}

/* One question. */
static bool passed(fixture *it, bp__event event)
{
    bool has_passed = false;
    bp_status status =
        it->t->event_query(it->sim, event, &has_passed, &it->error);
    return status == BP_OK && has_passed;
}

static bp_status out(fixture *it, void *host, uint64_t offset, uint64_t n_bytes)
{
    return it->t->copy_out(it->sim, host, it->memory, offset, n_bytes,
                           &it->error);
}

static bp_status in(fixture *it, uint64_t offset, const void *host,
                    uint64_t n_bytes)
{
    return it->t->copy_in(it->sim, it->memory, offset, host, n_bytes,
                          &it->error);
}

/* ---- immediate --------------------------------------------------------- */

static void at_once(void)
{
    fixture it;
    make(&it, BP_SIM_IMMEDIATE, 0, NULL);
    CHECK_PASSED();
    bp__event event = record(&it, it.stream);
    CHECK(event != BP__NO_EVENT);
    CHECK_STATUS(await(&it, event), BP_OK, &it.error);
    CHECK_U64(bp_sim_n_held(it.sim), 0);
    CHECK(passed(&it, event));
    char host[4] = "abc";
    CHECK_STATUS(in(&it, 3, host, 4), BP_OK, &it.error);
    CHECK_U64(it.bytes[4], 'b');
    char back[4];
    CHECK_STATUS(out(&it, back, 3, 4), BP_OK, &it.error);
    CHECK_TEXT(back, "abc");
    bp__event done = record(&it, BP_NO_STREAM);
    CHECK(passed(&it, done));
    it.t->event_close(it.sim, event);
    it.t->event_close(it.sim, done);
    it.t->event_close(it.sim, done);
    it.t->event_close(it.sim, BP__NO_EVENT);
    CHECK(!passed(&it, done));
    CHECK_U64(it.error.status, BP_DEVICE_FAULT);
    CHECK(fixture_fini(&it));
}

static void copies_stay_inside(void)
{
    fixture it;
    char host[80] = {0};
    make(&it, BP_SIM_IMMEDIATE, 0, NULL);
    CHECK_PASSED();
    CHECK_STATUS(in(&it, 0, host, 64), BP_OK, &it.error);
    CHECK_STATUS(in(&it, 64, host, 0), BP_OK, &it.error);
    CHECK_STATUS(in(&it, 0, host, 65), BP_DEVICE_FAULT, &it.error);
    CHECK_TEXT(it.error.text, "a copy of 65 bytes at 0 does not lie in 64 "
                              "bytes of the simulated device");
    CHECK_STATUS(out(&it, host, 65, 0), BP_DEVICE_FAULT, &it.error);
    CHECK_STATUS(out(&it, host, 60, 5), BP_DEVICE_FAULT, &it.error);
    CHECK_STATUS(out(&it, host, UINT64_MAX, 2), BP_DEVICE_FAULT, &it.error);
    CHECK_STATUS(out(&it, host, 2, UINT64_MAX), BP_DEVICE_FAULT, &it.error);
    bp_backend_info info;
    bp_backend_get_info(it.sim, &info);
    CHECK(!info.is_failed);
    CHECK(fixture_fini(&it));
}

static void streams_there_are(void)
{
    fixture it;
    make(&it, BP_SIM_IMMEDIATE, 0, NULL);
    CHECK_PASSED();
    CHECK(it.stream != it.other);
    CHECK(bp_sim_has_stream(it.sim, it.stream));
    CHECK(it.t->has_stream(it.sim, it.other));
    CHECK(!bp_sim_has_stream(it.sim, BP_NO_STREAM));
    CHECK(!bp_sim_has_stream(it.sim, it.other + 1));
    CHECK(record(&it, it.other + 1) == BP__NO_EVENT);
    CHECK_U64(it.error.status, BP_DEVICE_FAULT);
    CHECK(fixture_fini(&it));
}

/* ---- manual ------------------------------------------------------------ */

static void held_until_told(void)
{
    fixture it;
    make(&it, BP_SIM_MANUAL, 0, NULL);
    CHECK_PASSED();
    bp__event a = record(&it, it.stream);
    bp__event b = record(&it, it.other);
    bp__event c = record(&it, it.stream);
    CHECK_U64(bp_sim_n_held(it.sim), 3);
    for (int i = 0; i < 10; i++) {
        CHECK(!passed(&it, a));
    }
    CHECK_U64(bp_sim_complete(it.sim, 0), 0);
    CHECK_U64(bp_sim_complete(it.sim, 2), 2);
    CHECK(passed(&it, a) && passed(&it, b) && !passed(&it, c));
    CHECK_U64(bp_sim_complete(it.sim, UINT64_MAX), 1);
    CHECK(passed(&it, c));
    CHECK_U64(bp_sim_complete(it.sim, 5), 0);
    CHECK(fixture_fini(&it));
}

/* Nobody's any more: it is not there to be told. */
static void closed_ones_are_not_held(void)
{
    fixture it;
    make(&it, BP_SIM_MANUAL, 0, NULL);
    CHECK_PASSED();
    bp__event a = record(&it, it.stream);
    bp__event b = record(&it, it.stream);
    bp__event c = record(&it, it.stream);
    it.t->event_close(it.sim, b);
    CHECK_U64(bp_sim_n_held(it.sim), 2);
    it.t->event_close(it.sim, a);
    CHECK_U64(bp_sim_n_held(it.sim), 1);
    CHECK_U64(bp_sim_complete(it.sim, 1), 1);
    CHECK(passed(&it, c));
    CHECK(fixture_fini(&it));
}

/* Copies behind an await happen when the event passes, in their order, and see
 * what is there then. */
static void copies_wait_their_turn(void)
{
    fixture it;
    make(&it, BP_SIM_MANUAL, 0, NULL);
    CHECK_PASSED();
    uint8_t one[4] = {1, 1, 1, 1};
    uint8_t two[2] = {2, 2};
    uint8_t first[4] = {9, 9, 9, 9};
    uint8_t last[4] = {9, 9, 9, 9};
    bp__event used = record(&it, it.stream);
    CHECK_STATUS(in(&it, 0, one, 4), BP_OK, &it.error);
    CHECK_U64(it.bytes[0], 1); /* nothing to wait for yet */
    CHECK_STATUS(await(&it, used), BP_OK, &it.error);
    CHECK_STATUS(out(&it, first, 0, 4), BP_OK, &it.error);
    CHECK_STATUS(in(&it, 1, two, 2), BP_OK, &it.error);
    bp__event between = record(&it, BP_NO_STREAM);
    CHECK_STATUS(out(&it, last, 0, 4), BP_OK, &it.error);
    bp__event end = record(&it, BP_NO_STREAM);
    it.bytes[3] = 7; /* what the user's stream still does */
    two[1] = 3;      /* the host's side too is read late */
    CHECK(!passed(&it, between) && !passed(&it, end));
    CHECK_U64(first[0], 9);
    CHECK_U64(it.bytes[1], 1);
    CHECK_U64(bp_sim_n_held(it.sim), 1);
    CHECK_U64(bp_sim_complete(it.sim, 1), 1);
    CHECK(memcmp(first, "\1\1\1\7", 4) == 0);
    CHECK(memcmp(last, "\1\2\3\7", 4) == 0);
    CHECK(passed(&it, between) && passed(&it, end));
    CHECK(fixture_fini(&it));
}

static void one_await_after_another(void)
{
    fixture it;
    make(&it, BP_SIM_MANUAL, 0, NULL);
    CHECK_PASSED();
    uint8_t marks[3] = {1, 2, 3};
    bp__event a = record(&it, it.stream);
    bp__event b = record(&it, it.other);
    CHECK_STATUS(await(&it, b), BP_OK, &it.error); /* the younger one first */
    CHECK_STATUS(in(&it, 0, &marks[0], 1), BP_OK, &it.error);
    CHECK_STATUS(await(&it, a), BP_OK, &it.error);
    CHECK_STATUS(in(&it, 1, &marks[1], 1), BP_OK, &it.error);
    bp__event end = record(&it, BP_NO_STREAM);
    CHECK_U64(bp_sim_complete(it.sim, 1), 1);
    CHECK_U64(it.bytes[0], 0);
    CHECK_U64(bp_sim_complete(it.sim, 1), 1);
    CHECK_U64(it.bytes[0], 1);
    CHECK_U64(it.bytes[1], 2);
    CHECK(passed(&it, end));
    /* What has passed, and what is its own, it does not wait for. */
    CHECK_STATUS(await(&it, a), BP_OK, &it.error);
    CHECK_STATUS(await(&it, end), BP_OK, &it.error);
    CHECK_STATUS(in(&it, 2, &marks[2], 1), BP_OK, &it.error);
    CHECK_U64(it.bytes[2], 3);
    CHECK(fixture_fini(&it));
}

/* An event may be closed while the private stream waits for it. */
static void awaited_and_closed(void)
{
    fixture it;
    make(&it, BP_SIM_MANUAL, 0, NULL);
    CHECK_PASSED();
    uint8_t mark = 5;
    bp__event used = record(&it, it.stream);
    CHECK_STATUS(await(&it, used), BP_OK, &it.error);
    it.t->event_close(it.sim, used);
    CHECK_U64(bp_sim_n_held(it.sim), 1);
    CHECK_STATUS(in(&it, 0, &mark, 1), BP_OK, &it.error);
    bp__event end = record(&it, BP_NO_STREAM);
    it.t->event_close(it.sim, end);
    CHECK_U64(it.bytes[0], 0);
    CHECK_U64(bp_sim_complete(it.sim, 1), 1);
    CHECK_U64(it.bytes[0], 5);
    CHECK(fixture_fini(&it));
}

static void synchronizing_lets_all_pass(void)
{
    fixture it;
    make(&it, BP_SIM_MANUAL, 0, NULL);
    CHECK_PASSED();
    uint8_t mark = 5;
    bp__event used = record(&it, it.stream);
    bp__event more = record(&it, it.other);
    CHECK_STATUS(await(&it, used), BP_OK, &it.error);
    CHECK_STATUS(in(&it, 0, &mark, 1), BP_OK, &it.error);
    bp__event end = record(&it, BP_NO_STREAM);
    CHECK_STATUS(it.t->synchronize(it.sim, &it.error), BP_OK, &it.error);
    CHECK_U64(bp_sim_n_held(it.sim), 0);
    CHECK_U64(it.bytes[0], 5);
    CHECK(passed(&it, used) && passed(&it, more) && passed(&it, end));
    CHECK(fixture_fini(&it));
}

/* Memory must not go while the private stream will touch it. */
static void freed_under_a_copy(void)
{
    fixture it;
    make(&it, BP_SIM_MANUAL, 0, NULL);
    CHECK_PASSED();
    uint8_t mark = 0;
    bp__event used = record(&it, it.stream);
    CHECK_STATUS(await(&it, used), BP_OK, &it.error);
    CHECK_STATUS(out(&it, &mark, 0, 1), BP_OK, &it.error);
    CHECK_STATUS(it.t->free(it.sim, it.memory, &it.error), BP_DEVICE_FAULT,
                 &it.error);
    CHECK_TEXT(it.error.text, "the simulated device failed: memory was freed "
                              "under a copy of it");
    CHECK(fixture_fini(&it));
}

/* What was queued when the device failed never happens. */
static void a_fault_drops_the_queue(void)
{
    fixture it;
    make(&it, BP_SIM_MANUAL, 0, NULL);
    CHECK_PASSED();
    uint8_t mark = 5;
    bp__event used = record(&it, it.stream);
    bp__event closed = record(&it, it.stream);
    CHECK_STATUS(await(&it, used), BP_OK, &it.error);
    CHECK_STATUS(await(&it, closed), BP_OK, &it.error);
    it.t->event_close(it.sim, closed);
    CHECK_STATUS(in(&it, 0, &mark, 1), BP_OK, &it.error);
    bp__event end = record(&it, BP_NO_STREAM);
    bp_sim_fault(it.sim);
    CHECK_U64(bp_sim_n_held(it.sim), 0);
    CHECK_U64(bp_sim_complete(it.sim, UINT64_MAX), 0);
    CHECK_U64(it.bytes[0], 0);
    CHECK(!passed(&it, end));
    CHECK_TEXT(it.error.text, "the simulated device failed: it was told to");
    it.t->event_close(it.sim, used);
    it.t->event_close(it.sim, end);
    CHECK(fixture_fini(&it));
}

/* ---- late -------------------------------------------------------------- */

static void at_the_nth_question(void)
{
    fixture it;
    make(&it, BP_SIM_LATE, 3, NULL);
    CHECK_PASSED();
    bp__event event = record(&it, it.stream);
    CHECK_U64(bp_sim_n_held(it.sim), 1);
    CHECK(!passed(&it, event));
    CHECK(!passed(&it, event));
    CHECK(passed(&it, event));
    CHECK(passed(&it, event));
    CHECK(fixture_fini(&it));
    make(&it, BP_SIM_LATE, 0, NULL);
    CHECK_PASSED();
    event = record(&it, it.stream);
    CHECK_U64(bp_sim_n_held(it.sim), 1);
    CHECK(passed(&it, event));
    CHECK(fixture_fini(&it));
}

/* In one stream what came before has passed too; other streams go their way. */
static void streams_keep_their_order(void)
{
    fixture it;
    make(&it, BP_SIM_LATE, 2, NULL);
    CHECK_PASSED();
    bp__event a = record(&it, it.stream);
    bp__event b = record(&it, it.other);
    bp__event c = record(&it, it.stream);
    bp__event d = record(&it, it.stream);
    CHECK(!passed(&it, c));
    CHECK(passed(&it, c));
    CHECK_U64(bp_sim_n_held(it.sim), 2);
    CHECK(passed(&it, a));
    CHECK(!passed(&it, b));
    CHECK(!passed(&it, d));
    CHECK_U64(bp_sim_complete(it.sim, 1), 1);
    CHECK(passed(&it, b));
    CHECK(passed(&it, d));
    CHECK(fixture_fini(&it));
}

/* Who asks for what comes after asks for what comes before. */
static void questions_reach_what_is_awaited(void)
{
    fixture it;
    make(&it, BP_SIM_LATE, 2, NULL);
    CHECK_PASSED();
    uint8_t marks[2] = {1, 2};
    bp__event a = record(&it, it.stream);
    bp__event b = record(&it, it.other);
    CHECK_STATUS(await(&it, a), BP_OK, &it.error);
    CHECK_STATUS(in(&it, 0, &marks[0], 1), BP_OK, &it.error);
    CHECK_STATUS(await(&it, b), BP_OK, &it.error);
    CHECK_STATUS(in(&it, 1, &marks[1], 1), BP_OK, &it.error);
    bp__event end = record(&it, BP_NO_STREAM);
    CHECK(!passed(&it, end));
    CHECK_U64(it.bytes[0], 0);
    CHECK(!passed(&it, end));
    CHECK_U64(it.bytes[0], 1);
    CHECK(!passed(&it, end));
    CHECK_U64(it.bytes[1], 0);
    CHECK(passed(&it, end));
    CHECK_U64(it.bytes[1], 2);
    CHECK(fixture_fini(&it));
}

/* ---- failures ---------------------------------------------------------- */

enum { N_SCRIPT = 8 };

/* Step i of a script that uses every action of a stream. */
static bp_status script(fixture *it, size_t i, bp__event *event,
                        uint8_t host[4])
{
    static const uint8_t fours[4] = {4, 4, 4, 4};
    switch (i) {
    case 0:
        return in(it, 0, fours, 4);
    case 1:
        return it->t->event_record(it->sim, it->stream, event, &it->error);
    case 2:
        return await(it, *event);
    case 3:
        return out(it, host, 0, 4);
    case 4:
        return in(it, 8, fours, 4);
    case 5:
        return it->t->event_record(it->sim, BP_NO_STREAM, event, &it->error);
    case 6:
        return it->t->synchronize(it->sim, &it->error);
    default:
        return out(it, host, 8, 4);
    }
}

/* The k-th action of a kind fails: once, nothing happens, and again it works.
 */
static void run_script(const char *kind, unsigned k, bool *has_failed)
{
    fixture it;
    char fail[32];
    (void)snprintf(fail, sizeof fail, "%s:#%u", kind, k);
    make(&it, BP_SIM_MANUAL, 0, fail);
    CHECK_PASSED();
    bp__event event = BP__NO_EVENT;
    uint8_t host[4] = {0, 0, 0, 0};
    *has_failed = false;
    for (size_t i = 0; i < N_SCRIPT; i++) {
        uint64_t n_held = bp_sim_n_held(it.sim);
        bp_status status = script(&it, i, &event, host);
        if (status != BP_OK) {
            char want[64];
            (void)snprintf(want, sizeof want,
                           "the simulator was told to fail %s #%u", kind, k);
            CHECK(!*has_failed);
            CHECK_STATUS(status, BP_DEVICE_FAULT, &it.error);
            CHECK_TEXT(it.error.text, want);
            CHECK_U64(bp_sim_n_held(it.sim), n_held);
            CHECK(memcmp(it.bytes, i == 0 ? "\0" : "\4", 1) == 0);
            *has_failed = true;
            CHECK_STATUS(script(&it, i, &event, host), BP_OK, &it.error);
        }
    }
    CHECK(memcmp(host, "\4\4\4\4", 4) == 0);
    CHECK_U64(bp_sim_n_held(it.sim), 0);
    CHECK(fixture_fini(&it));
}

static void every_action_may_fail(void)
{
    static const struct {
        const char *kind;
        unsigned n;
    } kinds[] = {{"copy", 4}, {"event", 3}, {"sync", 1}};
    for (size_t i = 0; i < 3; i++) {
        bool has_failed = true;
        unsigned k = 1;
        for (; has_failed; k++) {
            run_script(kinds[i].kind, k, &has_failed);
            CHECK_PASSED();
        }
        CHECK_U64(k - 2, kinds[i].n);
    }
}

/* Without memory for a step or an event nothing is queued. */
static void memory_runs_out(void)
{
    for (unsigned is_for_ever = 0; is_for_ever < 2; is_for_ever++) {
        uint64_t n_refusals = 0;
        for (size_t i = 0; i < N_SCRIPT; i++) {
            fixture it;
            make(&it, BP_SIM_MANUAL, 0, NULL);
            CHECK_PASSED();
            bp__event event = BP__NO_EVENT;
            uint8_t host[4];
            for (size_t k = 0; k < i; k++) {
                CHECK_STATUS(script(&it, k, &event, host), BP_OK, &it.error);
            }
            bp_status status;
            uint64_t n = 0;
            do {
                test_heap_fail(&it.heap, ++n, is_for_ever != 0);
                status = script(&it, i, &event, host);
                CHECK_STATUS(status,
                             it.heap.n_refused == 0 ? BP_OK : BP_NO_MEMORY,
                             &it.error);
                n_refusals += it.heap.n_refused;
                test_heap_fail(&it.heap, 0, false);
            } while (status != BP_OK);
            for (size_t k = i + 1; k < N_SCRIPT; k++) {
                CHECK_STATUS(script(&it, k, &event, host), BP_OK, &it.error);
            }
            CHECK(memcmp(host, "\4\4\4\4", 4) == 0);
            CHECK(fixture_fini(&it));
        }
        CHECK(n_refusals >= 6);
    }
}

/* ---- random work against a model ---------------------------------------- */

enum { N_WORK = 400 };

/* The private stream's work as a list: a byte in, or a wait for the i-th event.
 * It is done up to the first event that has not passed. */
typedef struct model {
    struct {
        bool is_await;
        size_t event;
        uint8_t place, value;
    } work[N_WORK];
    size_t n_work, n_done;
    bp__event events[N_WORK];
    bool has_passed[N_WORK];
    size_t n_events, n_passed;
    uint8_t bytes[64];
    uint8_t values[N_WORK];
} model;

static void model_go_on(model *m)
{
    for (; m->n_done < m->n_work; m->n_done++) {
        if (m->work[m->n_done].is_await) {
            if (m->work[m->n_done].event >= m->n_passed) {
                return;
            }
        } else {
            m->bytes[m->work[m->n_done].place] = m->work[m->n_done].value;
        }
    }
}

static void random_step(fixture *it, model *m, uint64_t *seed)
{
    switch (random_below(seed, 8)) {
    case 0:
    case 1:
        m->events[m->n_events] =
            record(it, random_below(seed, 2) == 0 ? it->stream : it->other);
        CHECK(m->events[m->n_events++] != BP__NO_EVENT);
        break;
    case 2:
        if (m->n_events != 0) {
            size_t i = (size_t)random_below(seed, m->n_events);
            CHECK_STATUS(await(it, m->events[i]), BP_OK, &it->error);
            m->work[m->n_work].is_await = true;
            m->work[m->n_work++].event = i;
        }
        break;
    case 3: {
        uint64_t n = random_below(seed, 3);
        uint64_t n_held = m->n_events - m->n_passed;
        CHECK_U64(bp_sim_complete(it->sim, n), n < n_held ? n : n_held);
        m->n_passed += (size_t)(n < n_held ? n : n_held);
        break;
    }
    default: {
        uint8_t place = (uint8_t)random_below(seed, 64);
        m->values[m->n_work] = (uint8_t)random_u64(seed);
        CHECK_STATUS(in(it, place, &m->values[m->n_work], 1), BP_OK,
                     &it->error);
        m->work[m->n_work].place = place;
        m->work[m->n_work].value = m->values[m->n_work];
        m->n_work++;
    }
    }
}

static void agrees_with_a_model(void)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        uint64_t dice = seed;
        model m = {.n_work = 0};
        fixture it;
        make(&it, BP_SIM_MANUAL, 0, NULL);
        CHECK_PASSED();
        while (m.n_work < N_WORK && m.n_events < N_WORK) {
            random_step(&it, &m, &dice);
            CHECK_PASSED();
            model_go_on(&m);
            CHECK_U64(bp_sim_n_held(it.sim), m.n_events - m.n_passed);
            CHECK(memcmp(it.bytes, m.bytes, 64) == 0);
        }
        CHECK(fixture_fini(&it));
    }
}

/* ---- threads ----------------------------------------------------------- */

/* Each thread has memory and a stream of its own, and moves it. */
static void *move_bytes(void *ctx)
{
    bp_backend *sim = ctx;
    const bp__backend_table *t = sim->table;
    bp_stream stream;
    bp__memory memory;
    size_t n_bad = bp_sim_stream_open(sim, &stream, NULL) != BP_OK;
    n_bad += t->alloc(sim, 100, &memory, NULL) != BP_OK;
    for (size_t i = 0; i < 200 && n_bad == 0; i++) {
        bp__event used = BP__NO_EVENT;
        bp__event end = BP__NO_EVENT;
        uint8_t sent[100];
        uint8_t back[100];
        bool has_passed = false;
        memset(sent, (int)i, sizeof sent);
        n_bad += t->copy_in(sim, memory, 0, sent, 100, NULL) != BP_OK;
        n_bad += t->event_record(sim, stream, &used, NULL) != BP_OK;
        n_bad += t->event_await(sim, used, NULL) != BP_OK;
        n_bad += t->copy_out(sim, back, memory, 0, 100, NULL) != BP_OK;
        n_bad += t->event_record(sim, BP_NO_STREAM, &end, NULL) != BP_OK;
        t->event_close(sim, used);
        while (!has_passed && n_bad == 0) {
            n_bad += t->event_query(sim, end, &has_passed, NULL) != BP_OK;
        }
        t->event_close(sim, end);
        n_bad += memcmp(sent, back, 100) != 0;
    }
    n_bad += t->free(sim, memory, NULL) != BP_OK;
    return n_bad == 0 ? NULL : sim;
}

static void many_threads(void)
{
    static const bp_sim_events modes[] = {BP_SIM_IMMEDIATE, BP_SIM_LATE};
    for (size_t k = 0; k < 2; k++) {
        bp_backend *sim;
        bp_sim_options options = {
            .capacity = 1000, .events = modes[k], .late_polls = 3};
        CHECK_STATUS(bp_sim_new(&options, NULL, &sim, NULL), BP_OK, NULL);
        pthread_t threads[6];
        for (size_t i = 0; i < 6; i++) {
            CHECK(pthread_create(&threads[i], NULL, move_bytes, sim) == 0);
        }
        for (size_t i = 0; i < 6; i++) {
            void *is_bad;
            CHECK(pthread_join(threads[i], &is_bad) == 0);
            CHECK(is_bad == NULL);
        }
        bp_backend_info info;
        bp_backend_get_info(sim, &info);
        CHECK_U64(info.used, 0);
        CHECK_U64(bp_sim_n_held(sim), 0);
        bp_backend_unref(sim);
    }
}

int main(void)
{
    RUN(at_once);
    RUN(copies_stay_inside);
    RUN(streams_there_are);
    RUN(held_until_told);
    RUN(closed_ones_are_not_held);
    RUN(copies_wait_their_turn);
    RUN(one_await_after_another);
    RUN(awaited_and_closed);
    RUN(synchronizing_lets_all_pass);
    RUN(freed_under_a_copy);
    RUN(a_fault_drops_the_queue);
    RUN(at_the_nth_question);
    RUN(streams_keep_their_order);
    RUN(questions_reach_what_is_awaited);
    RUN(every_action_may_fail);
    RUN(memory_runs_out);
    RUN(agrees_with_a_model);
    RUN(many_threads);
    return finish();
}
