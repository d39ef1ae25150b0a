/* test_sim.c - the simulator's memory, its failures on demand, its end; and the
 * question whether there is a driver. */
#include "harness.h"

#include "backend/backend.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct fixture {
    test_heap heap;
    bp_allocator alloc;
    bp_backend *sim;
    bp_error error;
} fixture;

static bp_status make(fixture *it, const bp_sim_options *options)
{
    memset(it, 0, sizeof *it);
    it->alloc = test_heap_init(&it->heap);
    return bp_sim_new(options, &it->alloc, &it->sim, &it->error);
}

static bp_status make_failing(fixture *it, const char *fail)
{
    bp_sim_options options = {.capacity = UINT64_MAX, .fail = fail};
    return make(it, &options);
}

static bool fixture_fini(fixture *it)
{
    bp_backend_unref(it->sim);
    it->sim = NULL;
    return it->heap.live_blocks == 0 && it->heap.live_bytes == 0;
}

static bp_status take(fixture *it, uint64_t n_bytes, bp__memory *out)
{
    return it->sim->table->alloc(it->sim, n_bytes, out, &it->error);
}

static bp_status give(fixture *it, bp__memory memory)
{
    return it->sim->table->free(it->sim, memory, &it->error);
}

static uint64_t used(fixture *it)
{
    bp_backend_info info;
    bp_backend_get_info(it->sim, &info);
    return info.used;
}

/* ---- memory ------------------------------------------------------------ */

static void plain_simulator(void)
{
    fixture it;
    bp_backend_info info;
    CHECK_STATUS(make(&it, NULL), BP_OK, &it.error);
    bp_backend_get_info(it.sim, &info);
    CHECK_TEXT(info.name, "sim");
    CHECK_U64(info.granularity, 1);
    CHECK_U64(info.used, 0);
    CHECK_U64(info.total, UINT64_MAX);
    CHECK_U64(info.free, UINT64_MAX);
    CHECK(!info.is_failed);
    bp_backend_unref(bp_backend_ref(it.sim));
    bp__memory memory;
    CHECK_STATUS(take(&it, 100, &memory), BP_OK, &it.error);
    CHECK_U64(memory.n_bytes, 100);
    CHECK_U64(memory.address % 256, 0);
    bp_backend_get_info(it.sim, &info);
    CHECK_U64(info.used, 100);
    CHECK_U64(info.free, UINT64_MAX);
    CHECK_STATUS(give(&it, memory), BP_OK, &it.error);
    CHECK_U64(used(&it), 0);
    CHECK(fixture_fini(&it));
}

static void capacity_and_granularity(void)
{
    fixture it;
    bp_sim_options options = {.capacity = 1000, .granularity = 256};
    CHECK_STATUS(make(&it, &options), BP_OK, &it.error);
    bp__memory a;
    bp__memory b;
    bp__memory c = {7, 7};
    CHECK_STATUS(take(&it, 1, &a), BP_OK, &it.error);
    CHECK_U64(a.n_bytes, 256);
    CHECK_STATUS(take(&it, 512, &b), BP_OK, &it.error);
    CHECK_U64(b.n_bytes, 512);
    CHECK_STATUS(take(&it, 1, &c), BP_DEVICE_MEMORY, &it.error);
    CHECK_U64(it.error.limit, 232);
    CHECK_U64(c.address, 7);
    CHECK_U64(used(&it), 768);
    CHECK_STATUS(take(&it, UINT64_MAX, &c), BP_DEVICE_MEMORY, &it.error);
    CHECK_TEXT(it.error.text, "the simulated device has 232 bytes free of "
                              "1000, not 18446744073709551615");
    CHECK_STATUS(give(&it, a), BP_OK, &it.error);
    CHECK_STATUS(take(&it, 256, &c), BP_OK, &it.error);
    bp_backend_info info;
    bp_backend_get_info(it.sim, &info);
    CHECK_U64(info.total, 1000);
    CHECK_U64(info.free, 232);
    CHECK_U64(info.granularity, 256);
    CHECK(fixture_fini(&it)); /* frees what is left */
}

static void to_the_byte(void)
{
    fixture it;
    bp_sim_options options = {.capacity = 1000};
    bp__memory memory;
    CHECK_STATUS(make(&it, &options), BP_OK, &it.error);
    CHECK_STATUS(take(&it, 1001, &memory), BP_DEVICE_MEMORY, &it.error);
    CHECK_STATUS(take(&it, 1000, &memory), BP_OK, &it.error);
    bp__memory more;
    CHECK_STATUS(take(&it, 1, &more), BP_DEVICE_MEMORY, &it.error);
    CHECK_STATUS(give(&it, memory), BP_OK, &it.error);
    CHECK(fixture_fini(&it));
    options.capacity = 0;
    CHECK_STATUS(make(&it, &options), BP_OK, &it.error);
    CHECK_STATUS(take(&it, 1, &memory), BP_DEVICE_MEMORY, &it.error);
    CHECK(fixture_fini(&it));
}

/* More than there can be: an error of the host, not of the device. */
static void too_much_for_the_host(void)
{
    fixture it;
    bp__memory memory;
    CHECK_STATUS(make(&it, NULL), BP_OK, &it.error);
    CHECK_STATUS(take(&it, UINT64_MAX, &memory), BP_NO_MEMORY, &it.error);
    CHECK_STATUS(take(&it, (uint64_t)INT64_MAX, &memory), BP_NO_MEMORY,
                 &it.error);
    void *host;
    CHECK_STATUS(
        it.sim->table->host_alloc(it.sim, UINT64_MAX, &host, &it.error),
        BP_NO_MEMORY, &it.error);
    test_heap_fail(&it.heap, 1, true);
    CHECK_STATUS(take(&it, 10, &memory), BP_NO_MEMORY, &it.error);
    CHECK_STATUS(it.sim->table->host_alloc(it.sim, 10, &host, &it.error),
                 BP_NO_MEMORY, &it.error);
    test_heap_fail(&it.heap, 0, false);
    CHECK_U64(used(&it), 0);
    CHECK(fixture_fini(&it));
}

static void pieces_of_many_sizes(void)
{
    fixture it;
    bp__memory pieces[64] = {{0, 0}};
    uint64_t seed = 5;
    uint64_t n_used = 0;
    CHECK_STATUS(make(&it, NULL), BP_OK, &it.error);
    for (size_t turn = 0; turn < 3000; turn++) {
        bp__memory *piece = &pieces[random_below(&seed, 64)];
        if (piece->address != 0) {
            const uint8_t *bytes = it.sim->table->host_view(it.sim, *piece);
            CHECK(bytes[0] == (uint8_t)piece->n_bytes);
            CHECK(bytes[piece->n_bytes - 1] == (uint8_t)piece->n_bytes);
            CHECK_STATUS(give(&it, *piece), BP_OK, &it.error);
            n_used -= piece->n_bytes;
            piece->address = 0;
        } else {
            CHECK_STATUS(take(&it, 1 + random_below(&seed, 3000), piece), BP_OK,
                         &it.error);
            uint8_t *bytes = it.sim->table->host_view(it.sim, *piece);
            memset(bytes, (uint8_t)piece->n_bytes, piece->n_bytes);
            n_used += piece->n_bytes;
        }
        CHECK_U64(used(&it), n_used);
    }
    CHECK(fixture_fini(&it));
}

static void host_memory(void)
{
    fixture it;
    void *host = NULL;
    CHECK_STATUS(make_failing(&it, "host:#2"), BP_OK, &it.error);
    CHECK_STATUS(it.sim->table->host_alloc(it.sim, 64, &host, &it.error), BP_OK,
                 &it.error);
    memset(host, 1, 64);
    void *other = NULL;
    CHECK_STATUS(it.sim->table->host_alloc(it.sim, 64, &other, &it.error),
                 BP_NO_MEMORY, &it.error);
    CHECK_TEXT(it.error.text, "the simulator was told to fail host #2");
    CHECK(other == NULL);
    it.sim->table->host_free(it.sim, host, 64);
    it.sim->table->host_free(it.sim, NULL, 64);
    CHECK_U64(it.sim->table->trim(it.sim), 0);
    CHECK(fixture_fini(&it));
}

/* ---- failures on demand ------------------------------------------------ */

static void names_of_things(void)
{
    bp_sim_events events;
    for (unsigned i = 0; i < BP_N_SIM_EVENTS; i++) {
        CHECK(
            bp_sim_events_parse(bp_sim_events_name((bp_sim_events)i), &events));
        CHECK_U64(events, i);
    }
    CHECK(!bp_sim_events_parse("sometimes", &events));
    CHECK_TEXT(bp_sim_events_name((bp_sim_events)9), "?");
    CHECK_TEXT(bp_action_name(BP_ACTION_SYNC), "sync");
    CHECK_TEXT(bp_action_name((bp_action)BP_N_ACTIONS), "?");
}

/* Which of the first twelve frees fail, as bits. */
static void check_failing(const char *fail, unsigned want)
{
    fixture it;
    unsigned got = 0;
    CHECK_STATUS(make_failing(&it, fail), BP_OK, &it.error);
    for (unsigned i = 0; i < 12; i++) {
        bp__memory memory;
        CHECK_STATUS(take(&it, 8, &memory), BP_OK, &it.error);
        bp_status status = give(&it, memory);
        CHECK(status == BP_OK || status == BP_DEVICE_FAULT);
        got |= (unsigned)(status != BP_OK) << i;
    }
    CHECK_U64(got, want);
    CHECK_U64(bp_sim_n_actions(it.sim, BP_ACTION_FREE), 12);
    CHECK_U64(bp_sim_n_actions(it.sim, BP_ACTION_ALLOC), 12);
    CHECK_U64(bp_sim_n_actions(it.sim, BP_ACTION_COPY), 0);
    CHECK_U64(bp_sim_n_actions(it.sim, (bp_action)BP_N_ACTIONS), 0);
    bp_backend_info info;
    bp_backend_get_info(it.sim, &info);
    CHECK(!info.is_failed);
    CHECK(fixture_fini(&it));
}

static void which_actions_fail(void)
{
    static const struct {
        const char *fail;
        unsigned want;
    } cases[] = {{"", 0},
                 {"free:#1", 1},
                 {"free:#3", 4},
                 {"free:#2-4", 0xE},
                 {"free:#11-", 0xC00},
                 {"free:#1-", 0xFFF},
                 {"free:#2,free:#4", 0xA},
                 {" free:#2 ,  free:#4 ", 0xA},
                 {"copy:#1-,free:#5-5,sync:#2", 0x10},
                 {"free:#100", 0},
                 {"free:#12-18446744073709551615", 0x800}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_failing(cases[i].fail, cases[i].want);
        CHECK_PASSED();
    }
}

static void what_cannot_be_failed(void)
{
    static const char *const wrong[][2] = {
        {"allok:#1", "'allok:#1'"},
        {"free", "'free'"},
        {"free:", "'free:'"},
        {"free:#", "'free:#'"},
        {"free:1", "'free:1'"},
        {"alloc:#1,free:#x", "'free:#x'"},
        {"free:#0", "'free:#0'"},
        {"free:#3-2", "'free:#3-2'"},
        {"free:#1-2-3", "'free:#1-2-3'"},
        {"free:#1 2", "'free:#1 2'"},
        {"free:#-1", "'free:#-1'"},
        {"free:#1-x", "'free:#1-x'"},
        {"free:#18446744073709551616", "'free:#18446744073709551616'"},
        {"free:#1,", "''"},
        {",free:#1", "''"},
        {"FREE:#1", "'FREE:#1'"},
        {" ", "''"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fixture it;
        CHECK_STATUS(make_failing(&it, wrong[i][0]), BP_BAD_VALUE, &it.error);
        CHECK(strncmp(it.error.text, "fail: ", 6) == 0);
        const char *part = strstr(it.error.text, wrong[i][1]);
        CHECK(part != NULL && strcmp(part, wrong[i][1]) == 0);
        CHECK(it.sim == NULL);
        CHECK_U64(it.heap.live_blocks, 0);
    }
}

static void wrong_options(void)
{
    fixture it;
    bp_sim_options options = {.granularity = 3};
    CHECK_STATUS(make(&it, &options), BP_BAD_VALUE, &it.error);
    CHECK_U64(it.error.value, 3);
    options = (bp_sim_options){.events = BP_N_SIM_EVENTS};
    CHECK_STATUS(make(&it, &options), BP_BAD_VALUE, &it.error);
    CHECK_U64(it.heap.live_blocks, 0);
}

/* A failed alloc leaves nothing, a failed free everything. */
static void failures_change_nothing(void)
{
    fixture it;
    bp__memory memory;
    CHECK_STATUS(make_failing(&it, "alloc:#1,free:#1"), BP_OK, &it.error);
    CHECK_STATUS(take(&it, 8, &memory), BP_DEVICE_MEMORY, &it.error);
    CHECK_U64(used(&it), 0);
    CHECK_STATUS(take(&it, 8, &memory), BP_OK, &it.error);
    memset(it.sim->table->host_view(it.sim, memory), 3, 8);
    CHECK_STATUS(give(&it, memory), BP_DEVICE_FAULT, &it.error);
    CHECK_TEXT(it.error.text, "the simulator was told to fail free #1");
    CHECK_U64(used(&it), 8);
    const uint8_t *bytes = it.sim->table->host_view(it.sim, memory);
    CHECK_U64(bytes[7], 3);
    CHECK_STATUS(give(&it, memory), BP_OK, &it.error);
    CHECK(fixture_fini(&it));
}

/* ---- the end ----------------------------------------------------------- */

static void every_action_reports_the_fault(fixture *it, bp__memory memory,
                                           bp__event event, const char *want)
{
    const bp__backend_table *t = it->sim->table;
    bp_error *error = &it->error;
    bp__memory other;
    bp__event next;
    void *host;
    bool has_passed;
    char byte = 0;
    bp_status got[] = {t->alloc(it->sim, 1, &other, error),
                       t->free(it->sim, memory, error),
                       t->copy_out(it->sim, &byte, memory, 0, 1, error),
                       t->copy_in(it->sim, memory, 0, &byte, 1, error),
                       t->event_record(it->sim, BP_NO_STREAM, &next, error),
                       t->event_await(it->sim, event, error),
                       t->event_query(it->sim, event, &has_passed, error),
                       t->synchronize(it->sim, error),
                       t->host_alloc(it->sim, 1, &host, error)};
    for (size_t i = 0; i < sizeof got / sizeof *got; i++) {
        CHECK_U64(i * 1000 + got[i], i * 1000 + BP_DEVICE_FAULT);
    }
    CHECK_TEXT(error->text, want);
}

static void a_fault_is_the_end(void)
{
    fixture it;
    bp__memory memory;
    bp__event event;
    CHECK_STATUS(make_failing(&it, "sync:#1"), BP_OK, &it.error);
    CHECK_STATUS(take(&it, 8, &memory), BP_OK, &it.error);
    const bp__backend_table *t = it.sim->table;
    CHECK_STATUS(t->event_record(it.sim, BP_NO_STREAM, &event, &it.error),
                 BP_OK, &it.error);
    bp_sim_fault(it.sim);
    every_action_reports_the_fault(&it, memory, event,
                                   "the simulated device failed: it was told "
                                   "to");
    CHECK_PASSED();
    t->event_close(it.sim, event);
    bp_backend_info info;
    bp_backend_get_info(it.sim, &info);
    CHECK(info.is_failed);
    CHECK_U64(info.used, 8);
    CHECK_U64(bp_sim_complete(it.sim, UINT64_MAX), 0);
    CHECK_U64(bp_sim_n_actions(it.sim, BP_ACTION_SYNC), 1);
    CHECK(fixture_fini(&it));
}

/* What frees a piece twice has lost count of its memory; and the first reason
 * stays the reason. */
static void wrong_frees_are_faults(void)
{
    fixture it;
    bp__memory memory;
    bp__memory other;
    CHECK_STATUS(make(&it, NULL), BP_OK, &it.error);
    CHECK_STATUS(take(&it, 64, &memory), BP_OK, &it.error);
    CHECK_STATUS(take(&it, 64, &other), BP_OK, &it.error);
    bp__memory part = {memory.address, 32};
    CHECK_STATUS(give(&it, part), BP_DEVICE_FAULT, &it.error);
    static const char why[] = "the simulated device failed: memory was freed "
                              "that was not allocated";
    CHECK_TEXT(it.error.text, why);
    bp_sim_fault(it.sim);
    CHECK_STATUS(give(&it, other), BP_DEVICE_FAULT, &it.error);
    CHECK_TEXT(it.error.text, why);
    CHECK(fixture_fini(&it));
}

static void memory_runs_out(void)
{
    for (unsigned is_for_ever = 0; is_for_ever < 2; is_for_ever++) {
        bool is_refused = true;
        uint64_t n = 1;
        for (; is_refused; n++) {
            fixture it;
            memset(&it, 0, sizeof it);
            it.alloc = test_heap_init(&it.heap);
            bp_sim_options options = {.fail = "free:#1,free:#2,free:#3,copy:#1,"
                                              "copy:#2,copy:#9-"};
            test_heap_fail(&it.heap, n, is_for_ever != 0);
            bp_status status =
                bp_sim_new(&options, &it.alloc, &it.sim, &it.error);
            is_refused = it.heap.n_refused != 0;
            CHECK_STATUS(status, is_refused ? BP_NO_MEMORY : BP_OK, &it.error);
            CHECK((it.sim == NULL) == is_refused);
            CHECK(fixture_fini(&it));
        }
        CHECK(n > 3);
    }
}

/* ---- threads and processes --------------------------------------------- */

static void *allocate_and_free(void *ctx)
{
    bp_backend *sim = bp_backend_ref(ctx);
    for (size_t i = 0; i < 500; i++) {
        bp__memory memory;
        if (sim->table->alloc(sim, 1 + i % 90, &memory, NULL) == BP_OK) {
            memset(sim->table->host_view(sim, memory), (int)i, memory.n_bytes);
            (void)sim->table->free(sim, memory, NULL);
        }
    }
    bp_backend_unref(sim);
    return NULL;
}

static void many_threads(void)
{
    bp_backend *sim = NULL;
    bp_sim_options options = {.capacity = 300, .fail = "alloc:#50-60"};
    CHECK_STATUS(bp_sim_new(&options, NULL, &sim, NULL), BP_OK, NULL);
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++) {
        CHECK(pthread_create(&threads[i], NULL, allocate_and_free, sim) == 0);
    }
    for (size_t i = 0; i < 8; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    bp_backend_info info;
    bp_backend_get_info(sim, &info);
    CHECK_U64(info.used, 0);
    CHECK_U64(bp_sim_n_actions(sim, BP_ACTION_ALLOC), 4000);
    bp_backend_unref(sim);
}

static int in_child(fixture *it, bp__memory memory)
{
    bp__memory other;
    bp_stream stream;
    bp_backend_info info;
    int n_bad = take(it, 1, &other) != BP_FORKED;
    n_bad += give(it, memory) != BP_FORKED;
    n_bad += bp_sim_stream_open(it->sim, &stream, NULL) != BP_FORKED;
    n_bad += bp_sim_complete(it->sim, 1) != 0;
    n_bad += bp_sim_n_actions(it->sim, BP_ACTION_ALLOC) != 0;
    n_bad += bp_sim_has_stream(it->sim, 1);
    bp_sim_fault(it->sim);
    bp_backend_get_info(it->sim, &info);
    n_bad += info.granularity != 1 || info.used != 0 || info.is_failed;
    bp_backend_unref(it->sim);
    return n_bad;
}

static void a_child_process_keeps_off(void)
{
    fixture it;
    bp__memory memory;
    CHECK_STATUS(make(&it, NULL), BP_OK, &it.error);
    CHECK_STATUS(take(&it, 8, &memory), BP_OK, &it.error);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        _exit(in_child(&it, memory));
    }
    int code;
    CHECK(waitpid(child, &code, 0) == child);
    CHECK(WIFEXITED(code));
    CHECK_U64(WEXITSTATUS(code), 0);
    CHECK_STATUS(give(&it, memory), BP_OK, &it.error);
    CHECK(fixture_fini(&it));
}

/* ---- the driver -------------------------------------------------------- */

/* Yes, or no with reasons; and soon. */
static void is_there_a_driver(void)
{
    bp_error error = {.status = BP_OK};
    uint64_t start = bp_monotonic_ns();
    bp_status status = bp_driver_probe(&error);
    uint64_t n_ns = bp_monotonic_ns() - start;
    CHECK(status == BP_OK || status == BP_NO_DEVICE);
    if (status == BP_NO_DEVICE) {
        CHECK_U64(error.status, BP_NO_DEVICE);
        CHECK(strstr(error.text, "libcuda.so.1: ") != NULL);
        CHECK(strstr(error.text, "libcuda.so: ") != NULL);
        CHECK(n_ns < 100000000u);
    }
    CHECK_U64(bp_driver_probe(NULL), status);
}

int main(void)
{
    RUN(plain_simulator);
    RUN(capacity_and_granularity);
    RUN(to_the_byte);
    RUN(too_much_for_the_host);
    RUN(pieces_of_many_sizes);
    RUN(host_memory);
    RUN(names_of_things);
    RUN(which_actions_fail);
    RUN(what_cannot_be_failed);
    RUN(wrong_options);
    RUN(failures_change_nothing);
    RUN(a_fault_is_the_end);
    RUN(wrong_frees_are_faults);
    RUN(memory_runs_out);
    RUN(many_threads);
    RUN(a_child_process_keeps_off);
    RUN(is_there_a_driver);
    return finish();
}
