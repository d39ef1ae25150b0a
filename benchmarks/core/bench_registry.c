/* bench_registry.c - what the registry's C paths cost.
 *
 *     bench_registry            a table of times (best of several rounds)
 *     bench_registry --list     names, and operations in one run of a case
 *     bench_registry NAME N     run one case N times and nothing else: for
 *                               valgrind --tool=callgrind, whose count is the
 *                               same on every run
 */
#include "bayplan/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const bp_dtype f4 = {"<f4", 4, 4};

#define MUST(call)                                                             \
    do {                                                                       \
        if ((call) != BP_OK) {                                                 \
            fprintf(stderr, "%s failed\n", #call);                             \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what the cases run on --------------------------------------------- */

enum { MAX_NAMES = 1000 };
static char names[MAX_NAMES][16];

typedef struct bench {
    bp_registry *registry;
    bp_factory factory;
    bp_factory leaf;
    uint64_t turn;
} bench;

static void declare(bp_registry *registry, bp_factory factory, const char *name,
                    uint64_t n)
{
    bp_buffer_spec spec;
    bp_buffer_spec_init(&spec);
    spec.name = name;
    spec.shape = &n;
    spec.location = BP_SHARED;
    MUST(bp_registry_register(registry, factory, &spec, NULL, NULL));
}

static bp_factory open_with(bp_registry *registry, size_t n_buffers)
{
    bp_factory factory;
    MUST(bp_factory_open(registry, "Factory", &f4, &factory, NULL));
    for (size_t i = 0; i < n_buffers; i++) {
        declare(registry, factory, names[i], i % 64 + 1);
    }
    return factory;
}

static void build(bp_registry *registry, bp_factory factory)
{
    bp_layout *layout;
    MUST(bp_registry_copy_layout(registry, factory, &layout, NULL));
    bp_layout_unref(layout);
}

static void setup_flat(bench *b, size_t n_buffers, bp_plan_mode mode)
{
    bp_registry_options options = {mode, 0};
    MUST(bp_registry_new(&options, NULL, &b->registry, NULL));
    b->factory = b->leaf = open_with(b->registry, n_buffers);
    build(b->registry, b->factory);
}

/* Numerical Recipes' 32-bit generator: the same numbers on every machine. */
static uint32_t next_random(uint32_t *state)
{
    *state = *state * UINT32_C(1664525) + UINT32_C(1013904223);
    return *state >> 16;
}

/* Buffers in eight phases, so that declaration order is far from the bound and
 * first fits miss it too. */
static bp_factory open_phased(bp_registry *registry, size_t n_buffers)
{
    static const char *const phases[] = {"p0", "p1", "p2", "p3",
                                         "p4", "p5", "p6", "p7"};
    bp_factory factory;
    MUST(bp_factory_open(registry, "Phased", &f4, &factory, NULL));
    MUST(bp_registry_phases(registry, factory, phases, 8, NULL));
    uint32_t state = 1;
    for (size_t i = 0; i < n_buffers; i++) {
        uint64_t n = next_random(&state) % 1000 + 1;
        size_t first = next_random(&state) % 8;
        size_t last = first + next_random(&state) % 4;
        bp_buffer_spec spec;
        bp_buffer_spec_init(&spec);
        spec.name = names[i];
        spec.shape = &n;
        spec.location = BP_SHARED;
        spec.first_phase = phases[first];
        spec.last_phase = phases[last < 8 ? last : 7];
        MUST(bp_registry_register(registry, factory, &spec, NULL, NULL));
    }
    return factory;
}

/* The one edit between two rebuilds of it. */
static void declare_first(bench *b, uint64_t n)
{
    bp_buffer_spec spec;
    bp_buffer_spec_init(&spec);
    spec.name = names[0];
    spec.shape = &n;
    spec.location = BP_SHARED;
    spec.first_phase = "p0";
    MUST(bp_registry_register(b->registry, b->factory, &spec, NULL, NULL));
}

static void setup_phased(bench *b)
{
    MUST(bp_registry_new(NULL, NULL, &b->registry, NULL));
    b->factory = b->leaf = open_phased(b->registry, 100);
    build(b->registry, b->factory);
}

/* A full tree of about 10^4 factories, 100 buffers each. */
static void setup_tree(bench *b, size_t arity)
{
    enum { N = 10000 };
    static bp_factory nodes[N];
    MUST(bp_registry_new(NULL, NULL, &b->registry, NULL));
    for (size_t i = N; i-- > 0;) {
        nodes[i] = open_with(b->registry, 100);
        for (size_t k = 1; k <= arity && arity * i + k < N; k++) {
            char name[32];
            (void)snprintf(name, sizeof name, "child%zu", k);
            MUST(bp_registry_add_child(b->registry, nodes[i],
                                       nodes[arity * i + k], name, NULL, NULL,
                                       NULL));
        }
    }
    b->factory = nodes[0];
    b->leaf = nodes[N - 1];
    build(b->registry, b->factory);
}

static void setup_none(bench *b)
{
    setup_flat(b, 0, BP_PLAN_AUTO);
}

static void setup_10(bench *b)
{
    setup_flat(b, 10, BP_PLAN_SEQUENTIAL);
}

static void setup_100(bench *b)
{
    setup_flat(b, 100, BP_PLAN_SEQUENTIAL);
}

static void setup_100_auto(bench *b)
{
    setup_flat(b, 100, BP_PLAN_AUTO);
}

static void setup_1000(bench *b)
{
    setup_flat(b, 1000, BP_PLAN_SEQUENTIAL);
}

static void setup_tree_2(bench *b)
{
    setup_tree(b, 2);
}

static void setup_tree_100(bench *b)
{
    setup_tree(b, 100);
}

/* ---- the cases --------------------------------------------------------- */

/* A hundred new buffers, in a factory that is born for them. */
static void run_register(bench *b)
{
    bp_factory_close(b->registry, open_with(b->registry, 100));
}

static void run_unchanged(bench *b)
{
    for (size_t i = 0; i < 100; i++) {
        declare(b->registry, b->factory, names[i], i % 64 + 1);
    }
}

static void run_query(bench *b)
{
    for (size_t i = 0; i < 100; i++) {
        bp_layout *layout;
        MUST(bp_registry_copy_current(b->registry, b->factory, &layout, NULL));
        bp_layout_unref(layout);
    }
}

/* One size changes, so the new layout is not the old one. */
static void run_rebuild(bench *b)
{
    declare(b->registry, b->leaf, names[0], 1 + b->turn++ % 2 * 64);
    build(b->registry, b->factory);
}

/* More sizes in turn than plans are kept: each has to be searched for. */
static void run_searched(bench *b)
{
    declare_first(b, 1 + b->turn++ % 1000);
    build(b->registry, b->factory);
}

/* Two sizes in turn: both plans are kept. */
static void run_kept(bench *b)
{
    declare_first(b, 1 + b->turn++ % 2);
    build(b->registry, b->factory);
}

static void run_invalidated(bench *b)
{
    MUST(bp_registry_invalidate(b->registry, b->factory, NULL));
    build(b->registry, b->factory);
}

static void run_update(bench *b)
{
    uint64_t n = 1 + b->turn++ % 2;
    bp_update_item item = {.key = "buffer7_size",
                           .kind = BP_VALUE_SHAPE,
                           .shape = &n,
                           .n_dims = 1};
    MUST(bp_registry_update(b->registry, b->factory, NULL, &item, 1,
                            BP_UPDATE_STRICT, NULL));
}

typedef struct bench_case {
    const char *name;
    const char *what;
    void (*setup)(bench *b);
    void (*run)(bench *b);
    unsigned n_inner; /* what one run does this many times */
    unsigned n_runs;  /* in a round */
    double target_us; /* of one; 0: none */
} bench_case;

static const bench_case cases[] = {
    {"register", "register a new buffer", setup_none, run_register, 100, 500,
     0.2},
    {"unchanged", "register it again, unchanged", setup_100, run_unchanged, 100,
     500, 0.1},
    {"query", "copy the current layout", setup_1000, run_query, 100, 1000, 0.1},
    {"update", "update one size by key", setup_100, run_update, 1, 10000, 0},
    {"rebuild10", "one edit, rebuild of 10", setup_10, run_rebuild, 1, 10000,
     0},
    {"rebuild100", "one edit, rebuild of 100", setup_100, run_rebuild, 1, 2000,
     6},
    {"rebuild100auto", "the same in mode auto", setup_100_auto, run_rebuild, 1,
     2000, 0},
    {"invalidated100", "rebuild of 100 to the same", setup_100, run_invalidated,
     1, 2000, 6},
    {"searched100", "one edit, search for 100 in phases", setup_phased,
     run_searched, 1, 10, 0},
    {"kept100", "the same, found again", setup_phased, run_kept, 1, 2000, 0},
    {"rebuild1000", "one edit, rebuild of 1000", setup_1000, run_rebuild, 1,
     200, 0},
    {"tree2", "edit a leaf of 10^4 x 100, 2-ary", setup_tree_2, run_rebuild, 1,
     20, 1000},
    {"tree100", "the same, 100-ary", setup_tree_100, run_rebuild, 1, 20, 1000},
};
enum { N_CASES = sizeof cases / sizeof cases[0], N_ROUNDS = 7 };

/* Best of the rounds, in microseconds for one of n_inner. */
static double measure(const bench_case *it, bench *b)
{
    double best = 1e30;
    for (int round = 0; round < N_ROUNDS; round++) {
        double begin = now();
        for (unsigned i = 0; i < it->n_runs; i++) {
            it->run(b);
        }
        double one = (now() - begin) / it->n_runs / it->n_inner * 1e6;
        best = one < best ? one : best;
    }
    return best;
}

static void print_table(void)
{
    printf("%-15s %-34s %10s %10s\n", "case", "", "us", "target");
    for (size_t i = 0; i < N_CASES; i++) {
        bench b = {0};
        cases[i].setup(&b);
        double us = measure(&cases[i], &b);
        bp_registry_free(b.registry);
        printf("%-15s %-34s %10.4f ", cases[i].name, cases[i].what, us);
        if (cases[i].target_us > 0) {
            printf("%10.4f%s\n", cases[i].target_us,
                   us <= cases[i].target_us ? "" : "  MISSED");
        } else {
            printf("%10s\n", "-");
        }
        (void)fflush(stdout);
    }
}

static void print_list(void)
{
    for (size_t i = 0; i < N_CASES; i++) {
        printf("%s %u\n", cases[i].name, cases[i].n_inner);
    }
}

int main(int argc, char **argv)
{
    for (unsigned i = 0; i < MAX_NAMES; i++) {
        (void)snprintf(names[i], sizeof names[i], "buffer%u", i);
    }
    if (argc == 1) {
        print_table();
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        print_list();
        return 0;
    }
    for (size_t i = 0; argc == 3 && i < N_CASES; i++) {
        if (strcmp(cases[i].name, argv[1]) == 0) {
            bench b = {0};
            cases[i].setup(&b);
            for (long n = strtol(argv[2], NULL, 10); n > 0; n--) {
                cases[i].run(&b);
            }
            bp_registry_free(b.registry);
            return 0;
        }
    }
    fprintf(stderr, "usage: bench_registry [--list | CASE N]\n");
    return 2;
}
