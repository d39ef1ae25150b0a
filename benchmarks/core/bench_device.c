/* bench_device.c - what the ledger's and the slot table's C paths cost.
 *
 *     bench_device            tables of times (best of several rounds) and of
 *                             refusals under contention
 *     bench_device --json     the same as one JSON object
 *     bench_device --list     names, and operations in one run of a case
 *     bench_device NAME N     run one case N times and nothing else: for
 *                             valgrind --tool=callgrind, whose count is the
 *                             same on every run
 */
#include "bayplan/device.h"

#include "device/claim.h"
#include "device/ledger.h"
#include "device/slots.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

/* ---- the ledger -------------------------------------------------------- */

enum { N_BATCH = 1000, MANY = 100000, SLOT_BYTES = 4096 };

typedef struct bench {
    bp_tree *tree;
    bp_budget budget;
    bp__manager *manager;
    bp_stamp **stamps; /* of `manager`'s slots */
    uint64_t turn;
} bench;

static bp_budget open_budget(bp_tree *tree, bp_budget parent, uint64_t limit)
{
    bp_budget_options options = bp_budget_defaults(limit);
    options.parent = parent;
    bp_budget budget;
    MUST(bp_budget_open(tree, &options, &budget, NULL));
    return budget;
}

static void setup_one(bench *b)
{
    MUST(bp_tree_new(0, NULL, &b->tree, NULL));
    b->budget = open_budget(b->tree, BP_NO_BUDGET, (uint64_t)1 << 33);
}

/* Two parents, and watches that never see an edge. */
static void setup_deep(bench *b)
{
    setup_one(b);
    bp_watch watch;
    MUST(bp_watch_open(b->tree, b->budget, BP_HIGH, &watch, NULL));
    for (int i = 0; i < 2; i++) {
        b->budget = open_budget(b->tree, b->budget, (uint64_t)1 << 33);
    }
    MUST(bp_watch_open(b->tree, b->budget, BP_MEDIUM, &watch, NULL));
}

static void charge_and_refund(bench *b, const char *tag)
{
    for (int i = 0; i < N_BATCH; i++) {
        MUST(bp_budget_charge(b->tree, b->budget, 256, tag, NULL, NULL));
        MUST(bp_budget_refund(b->tree, b->budget, 256, tag, NULL));
    }
}

static void run_charge(bench *b)
{
    charge_and_refund(b, NULL);
}

static void run_tagged(bench *b)
{
    charge_and_refund(b, "activations");
}

static void run_reserve(bench *b)
{
    for (int i = 0; i < N_BATCH; i++) {
        bp_reservation r;
        MUST(bp_budget_reserve(b->tree, b->budget, 256, &r, NULL, NULL));
        bp_reservation_close(b->tree, r);
    }
}

static void run_stats(bench *b)
{
    for (int i = 0; i < N_BATCH; i++) {
        bp_budget_stats stats;
        MUST(bp_budget_get_stats(b->tree, b->budget, &stats, NULL));
    }
}

/* ---- slots ------------------------------------------------------------- */

/* A resident slot whose memory nobody has: what is measured decides alone. */
static bp__slot *add_slot(bench *b, bp__block *block, size_t i)
{
    char name[32];
    (void)snprintf(name, sizeof name, "slot%zu", i);
    bp_slot_request request = {.name = name, .n_bytes = SLOT_BYTES};
    bp__slot *slot;
    MUST(bp__slot_new_locked(b->tree, b->manager, &request, NULL, &slot, NULL));
    bp__claim claim;
    bp__claim_begin_locked(b->tree, &claim, b->manager->budget, SLOT_BYTES,
                           NULL);
    if (!bp__claim_take_locked(b->tree, &claim)) {
        fprintf(stderr, "no room for a slot\n");
        exit(1);
    }
    bp__claim_commit_locked(b->tree, &claim);
    bp__slot_arrive_locked(b->tree, slot, block);
    return slot;
}

static void setup_slots(bench *b, bp_policy policy)
{
    MUST(bp_tree_new(0, NULL, &b->tree, NULL));
    b->budget = open_budget(b->tree, BP_NO_BUDGET, (uint64_t)MANY * SLOT_BYTES);
    bp__block *blocks = calloc(MANY, sizeof *blocks);
    b->stamps = calloc(MANY, sizeof *b->stamps);
    if (blocks == NULL || b->stamps == NULL) {
        exit(1);
    }
    MUST(bp__tree_enter(b->tree, NULL));
    bp__budget *budget = bp__budget_get_locked(b->tree, b->budget);
    MUST(bp__manager_new_locked(b->tree, budget, policy, false, NULL, 1,
                                &b->manager, NULL));
    for (size_t i = 0; i < MANY; i++) {
        b->stamps[i] = add_slot(b, &blocks[i], i)->stamp;
    }
    bp__tree_leave(b->tree);
}

static void setup_lru(bench *b)
{
    setup_slots(b, BP_POLICY_LRU);
}

static void setup_mru(bench *b)
{
    setup_slots(b, BP_POLICY_MRU);
}

static void setup_big(bench *b)
{
    setup_slots(b, BP_POLICY_BIG_FIRST);
}

/* Room for `n` slots more. */
static void plan(bench *b, size_t n)
{
    bp_slot victims[100];
    size_t n_victims;
    MUST(bp_slots_plan(b->tree, b->manager->handle, (uint64_t)n * SLOT_BYTES,
                       victims, 100, &n_victims, NULL, NULL));
    if (n_victims != n) {
        fprintf(stderr, "%zu victims, not %zu\n", n_victims, n);
        exit(1);
    }
}

static void touch(bench *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bp_stamp_touch(b->tree, b->stamps[b->turn++ % MANY]);
    }
}

static void run_touch(bench *b)
{
    touch(b, N_BATCH);
}

static void run_plan_one(bench *b)
{
    plan(b, 1);
}

static void run_plan_hundred(bench *b)
{
    plan(b, 100);
}

/* The oldest hundred were used since: what the heap says of them is old. */
static void run_plan_some_touched(bench *b)
{
    touch(b, 100);
    plan(b, 100);
}

/* All were, and in another order than the last time. */
static void before_all_touched(bench *b)
{
    for (size_t i = 0; i < MANY; i++) {
        bp_stamp_touch(b->tree, b->stamps[(i * 7919 + b->turn) % MANY]);
    }
    b->turn++;
}

/* ---- the cases --------------------------------------------------------- */

typedef struct bench_case {
    const char *name;
    const char *what;
    void (*setup)(bench *b);
    void (*before)(bench *b); /* every run, unmeasured; NULL: nothing */
    void (*run)(bench *b);
    unsigned n_inner; /* what one run does this many times */
    unsigned n_runs;  /* in a round */
    double target_ns; /* of one; 0: none */
} bench_case;

static const bench_case cases[] = {
    {"charge", "charge or refund", setup_one, NULL, run_charge, 2 * N_BATCH,
     200, 30},
    {"tagged", "the same under a tag", setup_one, NULL, run_tagged, 2 * N_BATCH,
     200, 30},
    {"deep", "the same, two parents, watches", setup_deep, NULL, run_charge,
     2 * N_BATCH, 200, 0},
    {"reserve", "reserve and give back", setup_one, NULL, run_reserve, N_BATCH,
     200, 0},
    {"stats", "read all figures", setup_one, NULL, run_stats, N_BATCH, 200, 0},
    {"touch", "touch a slot", setup_lru, NULL, run_touch, N_BATCH, 200, 100},
    {"victim1", "the victim of 10^5 slots", setup_lru, NULL, run_plan_one, 1,
     200, 1e6},
    {"victims100", "100 victims of 10^5", setup_lru, NULL, run_plan_hundred, 1,
     50, 1e6},
    {"touched100", "the same, 100 just touched", setup_lru, NULL,
     run_plan_some_touched, 1, 50, 1e6},
    {"touchedall", "the same, all just touched", setup_lru, before_all_touched,
     run_plan_hundred, 1, 5, 1e6},
    {"mru100", "100 of 10^5, most recent first", setup_mru, NULL,
     run_plan_hundred, 1, 5, 1e6},
    {"big100", "100 of 10^5, largest first", setup_big, NULL, run_plan_hundred,
     1, 50, 1e6},
};
enum { N_CASES = sizeof cases / sizeof cases[0], N_ROUNDS = 7 };

static double one_round(const bench_case *it, bench *b)
{
    double took = 0;
    for (unsigned i = 0; i < it->n_runs; i++) {
        if (it->before != NULL) {
            it->before(b);
        }
        double begin = now();
        it->run(b);
        took += now() - begin;
    }
    return took;
}

/* Best of the rounds, in nanoseconds for one of n_inner. The tree of a case
 * stays until the process ends. */
static double measure(const bench_case *it)
{
    bench b = {0};
    it->setup(&b);
    double best = 1e30;
    for (int round = 0; round < N_ROUNDS; round++) {
        double took = one_round(it, &b);
        best = took < best ? took : best;
    }
    return best / it->n_runs / it->n_inner * 1e9;
}

/* ---- refusals under contention ----------------------------------------- */

/* N_THREADS - 1 threads charge and refund little, which always fits; one asks
 * for more than there is, over and over. Whoever adds first and looks then
 * refuses the little because of the much. */
enum { N_THREADS = 8, N_SMALL = 2000000, N_CONTESTS = 5, SMALL = 4096 };
#define CONTENDED_LIMIT ((uint64_t)SMALL * 2 * N_THREADS)

typedef struct contest {
    bool (*charge)(struct contest *it, uint64_t n);
    void (*refund)(struct contest *it, uint64_t n);
    bp_tree *tree;
    bp_budget budget;
    atomic_uint_least64_t used; /* of the scheme that adds first */
    atomic_uint_least64_t n_asked, n_refused, n_doomed;
    atomic_bool is_over;
    pthread_barrier_t start;
} contest;

static bool ask_ledger(contest *it, uint64_t n)
{
    return bp_budget_charge(it->tree, it->budget, n, NULL, NULL, NULL) == BP_OK;
}

static void give_ledger(contest *it, uint64_t n)
{
    MUST(bp_budget_refund(it->tree, it->budget, n, NULL, NULL));
}

static void undo(contest *it, uint64_t n)
{
    atomic_fetch_sub(&it->used, n);
}

static bool add_then_undo(contest *it, uint64_t n)
{
    if (atomic_fetch_add(&it->used, n) + n <= CONTENDED_LIMIT) {
        return true;
    }
    undo(it, n);
    return false;
}

static void *ask_little(void *argument)
{
    contest *it = argument;
    (void)pthread_barrier_wait(&it->start);
    uint64_t n_refused = 0;
    uint64_t n_asked = N_SMALL / (N_THREADS - 1) + 1;
    for (uint64_t i = 0; i < n_asked; i++) {
        if (it->charge(it, SMALL)) {
            it->refund(it, SMALL);
        } else {
            n_refused++;
        }
    }
    atomic_fetch_add(&it->n_asked, n_asked);
    atomic_fetch_add(&it->n_refused, n_refused);
    return NULL;
}

static void *ask_much(void *argument)
{
    contest *it = argument;
    (void)pthread_barrier_wait(&it->start);
    while (!atomic_load(&it->is_over)) {
        if (it->charge(it, CONTENDED_LIMIT + 1)) {
            fprintf(stderr, "more was granted than there is\n");
            exit(1);
        }
        atomic_fetch_add(&it->n_doomed, 1);
    }
    return NULL;
}

static void contend(contest *it)
{
    pthread_t threads[N_THREADS];
    if (pthread_barrier_init(&it->start, NULL, N_THREADS) != 0) {
        exit(1);
    }
    for (int i = 0; i < N_THREADS; i++) {
        if (pthread_create(&threads[i], NULL, i == 0 ? ask_much : ask_little,
                           it) != 0) {
            exit(1);
        }
    }
    for (int i = N_THREADS; i-- > 0;) {
        atomic_store(&it->is_over, i == 0);
        (void)pthread_join(threads[i], NULL);
    }
    (void)pthread_barrier_destroy(&it->start);
}

static void contend_both(contest *ours, contest *theirs)
{
    memset(ours, 0, sizeof *ours);
    memset(theirs, 0, sizeof *theirs);
    ours->charge = ask_ledger;
    ours->refund = give_ledger;
    MUST(bp_tree_new(0, NULL, &ours->tree, NULL));
    ours->budget = open_budget(ours->tree, BP_NO_BUDGET, CONTENDED_LIMIT);
    theirs->charge = add_then_undo;
    theirs->refund = undo;
    /* In turn, so that what else the machine does hits both. */
    for (int i = 0; i < N_CONTESTS; i++) {
        contend(ours);
        contend(theirs);
    }
    bp_tree_free(ours->tree);
}

/* ---- what is printed --------------------------------------------------- */

static double percent_refused(const contest *it)
{
    return 100.0 * (double)it->n_refused / (double)it->n_asked;
}

static void print_contest(const char *name, const contest *it)
{
    printf("%-15s %12llu of %9llu small requests refused (%6.3f %%), beside "
           "%llu doomed\n",
           name, (unsigned long long)it->n_refused,
           (unsigned long long)it->n_asked, percent_refused(it),
           (unsigned long long)it->n_doomed);
}

static void print_table(void)
{
    printf("%-15s %-34s %12s %12s\n", "case", "", "ns", "target");
    for (size_t i = 0; i < N_CASES; i++) {
        double ns = measure(&cases[i]);
        printf("%-15s %-34s %12.1f ", cases[i].name, cases[i].what, ns);
        if (cases[i].target_ns > 0) {
            printf("%12.0f%s\n", cases[i].target_ns,
                   ns <= cases[i].target_ns ? "" : "  MISSED");
        } else {
            printf("%12s\n", "-");
        }
        (void)fflush(stdout);
    }
    contest ours, theirs;
    contend_both(&ours, &theirs);
    printf("\n%d threads, one of which asks for too much:\n", N_THREADS);
    print_contest("bayplan", &ours);
    print_contest("add, then undo", &theirs);
}

static void print_json_contest(const char *name, const contest *it)
{
    printf("  \"%s\": {\"asked\": %llu, \"refused\": %llu, \"doomed\": %llu}",
           name, (unsigned long long)it->n_asked,
           (unsigned long long)it->n_refused, (unsigned long long)it->n_doomed);
}

static void print_json(void)
{
    printf("{\n");
    for (size_t i = 0; i < N_CASES; i++) {
        printf("  \"%s\": {\"what\": \"%s\", \"ns\": %.2f, \"target_ns\": "
               "%.0f},\n",
               cases[i].name, cases[i].what, measure(&cases[i]),
               cases[i].target_ns);
        (void)fflush(stdout);
    }
    contest ours, theirs;
    contend_both(&ours, &theirs);
    print_json_contest("contention", &ours);
    printf(",\n");
    print_json_contest("add_then_undo", &theirs);
    printf("\n}\n");
}

static void print_list(void)
{
    for (size_t i = 0; i < N_CASES; i++) {
        printf("%s %u\n", cases[i].name, cases[i].n_inner);
    }
}

static bool run_one(const char *name, long n)
{
    for (size_t i = 0; i < N_CASES; i++) {
        if (strcmp(cases[i].name, name) == 0) {
            bench b = {0};
            cases[i].setup(&b);
            for (; n > 0; n--) {
                if (cases[i].before != NULL) {
                    cases[i].before(&b);
                }
                cases[i].run(&b);
            }
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    if (argc == 1) {
        print_table();
    } else if (argc == 2 && strcmp(argv[1], "--json") == 0) {
        print_json();
    } else if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        print_list();
    } else if (argc != 3 || !run_one(argv[1], strtol(argv[2], NULL, 10))) {
        fprintf(stderr, "usage: bench_device [--json | --list | CASE N]\n");
        return 2;
    }
    return 0;
}
