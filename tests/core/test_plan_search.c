/* test_plan_search.c - plans that know lifetimes: against every order of
 * placement for few buffers, and against the rules for more. */
#include "bayplan/plan.h"
#include "harness.h"

#define MAX_N 1100u

typedef struct problem {
    size_t n;
    uint64_t sizes[MAX_N], aligns[MAX_N];
    int64_t first[MAX_N], last[MAX_N], pins[MAX_N];
    bool has_pins;
} problem;

static bp_plan_request request_of(const problem *p, bp_plan_mode mode)
{
    return (bp_plan_request){.n = p->n,
                             .sizes = p->sizes,
                             .aligns = p->aligns,
                             .first = p->first,
                             .last = p->last,
                             .pins = p->has_pins ? p->pins : NULL,
                             .mode = mode};
}

static bool is_live(const problem *p, size_t i)
{
    return p->sizes[i] != 0 && p->first[i] < p->last[i];
}

static bool do_clash(const problem *p, const uint64_t *offsets, size_t i,
                     size_t k)
{
    return is_live(p, i) && is_live(p, k) && p->first[i] < p->last[k] &&
           p->first[k] < p->last[i] && offsets[i] < offsets[k] + p->sizes[k] &&
           offsets[k] < offsets[i] + p->sizes[i];
}

/* ---- an independent optimum -------------------------------------------- */

/* In some order (that of its offsets) first fit builds an optimal plan: each
 * buffer comes to lie no higher than there, so all orders are tried. */
typedef struct orders {
    const problem *p;
    uint64_t offsets[8];
    bool is_placed[8];
    uint64_t best;
} orders;

static uint64_t first_fit(const orders *o, size_t i)
{
    const problem *p = o->p;
    uint64_t trial[8];
    memcpy(trial, o->offsets, sizeof trial);
    for (trial[i] = 0;; trial[i] += p->aligns[i]) {
        bool is_free = true;
        for (size_t k = 0; k < p->n && is_free; k++) {
            is_free = k == i || !o->is_placed[k] || !do_clash(p, trial, i, k);
        }
        if (is_free) {
            return trial[i];
        }
    }
}

static void try_orders(orders *o, uint64_t height) /* depth <= 7 */
{
    bool is_done = true;
    for (size_t i = 0; i < o->p->n; i++) {
        if (o->is_placed[i]) {
            continue;
        }
        is_done = false;
        o->offsets[i] = first_fit(o, i);
        uint64_t end = o->offsets[i] + o->p->sizes[i];
        end = end > height ? end : height;
        if (end < o->best) {
            o->is_placed[i] = true;
            try_orders(o, end);
            o->is_placed[i] = false;
        }
    }
    if (is_done && height < o->best) {
        o->best = height;
    }
}

static uint64_t optimum(const problem *p)
{
    orders o = {.p = p, .best = UINT64_MAX};
    uint64_t height = 0;
    for (size_t i = 0; i < p->n; i++) {
        bool is_pinned = p->has_pins && p->pins[i] >= 0;
        if (is_pinned || !is_live(p, i)) {
            o.is_placed[i] = true;
            o.offsets[i] = is_pinned ? (uint64_t)p->pins[i] : 0;
            uint64_t end = o.offsets[i] + p->sizes[i];
            height = p->sizes[i] != 0 && end > height ? end : height;
        }
    }
    try_orders(&o, height);
    return o.best;
}

/* ---- random problems --------------------------------------------------- */

static void pin_some(problem *p, uint64_t *seed)
{
    uint64_t offsets[MAX_N];
    p->has_pins = true;
    for (size_t i = 0; i < p->n; i++) {
        p->pins[i] = -1;
        offsets[i] = random_below(seed, 12) * p->aligns[i];
        bool is_free = random_below(seed, 3) == 0;
        for (size_t k = 0; k < i && is_free; k++) {
            is_free = p->pins[k] < 0 || !do_clash(p, offsets, i, k);
        }
        if (is_free) {
            p->pins[i] = (int64_t)offsets[i];
        }
    }
}

static problem random_problem(uint64_t *seed, size_t n)
{
    problem p = {.n = n};
    uint64_t unit = UINT64_C(1) << random_below(seed, 4);
    uint64_t n_times = 1 + random_below(seed, 7);
    uint64_t largest = 1 + random_below(seed, 12);
    uint64_t n_aligns = 1 + random_below(seed, 5);
    for (size_t i = 0; i < n; i++) {
        int64_t a = (int64_t)random_below(seed, n_times + 1);
        int64_t b = (int64_t)random_below(seed, n_times + 1);
        p.sizes[i] = random_below(seed, largest + 1) * unit;
        p.aligns[i] = UINT64_C(1) << random_below(seed, n_aligns);
        p.first[i] = (a < b ? a : b) - 3;
        p.last[i] = (a < b ? b : a) - 3;
    }
    if (random_below(seed, 3) == 0) {
        pin_some(&p, seed);
    }
    return p;
}

/* ---- what holds for every plan ----------------------------------------- */

static void check_plan(const problem *p, const uint64_t *offsets,
                       const bp_plan_result *result)
{
    uint64_t height = 0;
    for (size_t i = 0; i < p->n; i++) {
        CHECK_U64(offsets[i] % p->aligns[i], 0);
        CHECK(!p->has_pins || p->pins[i] < 0 ||
              offsets[i] == (uint64_t)p->pins[i]);
        for (size_t k = 0; k < i; k++) {
            CHECK(!do_clash(p, offsets, i, k));
        }
        uint64_t end = offsets[i] + p->sizes[i];
        height = p->sizes[i] != 0 && end > height ? end : height;
    }
    CHECK_U64(result->height, height);
    CHECK(result->load <= result->lower_bound);
    CHECK(result->lower_bound <= result->height);
}

static void run(const problem *p, const bp_plan_request *request,
                uint64_t *offsets, bp_plan_result *result)
{
    bp_error error;
    CHECK_STATUS(bp_plan_run(request, NULL, offsets, result, &error), BP_OK,
                 &error);
    check_plan(p, offsets, result);
    CHECK_PASSED();
    if (!request->has_capacity) {
        CHECK_U64(result->status, result->height == result->lower_bound
                                      ? BP_PLAN_IS_OPTIMAL
                                      : BP_PLAN_FEASIBLE);
    }
}

/* ---- few buffers ------------------------------------------------------- */

static void check_capacities(const problem *p, uint64_t best)
{
    bp_plan_request request = request_of(p, BP_PLAN_OPTIMAL);
    uint64_t offsets[MAX_N];
    bp_plan_result result;
    request.has_capacity = true;
    request.capacity = best;
    run(p, &request, offsets, &result);
    CHECK_PASSED();
    CHECK_U64(result.status, BP_PLAN_FEASIBLE);
    CHECK(result.height <= best);
    request.capacity = best + 5;
    run(p, &request, offsets, &result);
    CHECK_PASSED();
    CHECK_U64(result.status, BP_PLAN_FEASIBLE);
    if (best > 0) {
        request.capacity = best - 1;
        run(p, &request, offsets, &result);
        CHECK_PASSED();
        CHECK_U64(result.status, BP_PLAN_INFEASIBLE);
        CHECK(result.lower_bound == best);
        request.mode = BP_PLAN_FAST;
        run(p, &request, offsets, &result);
        CHECK_PASSED();
        CHECK(result.status == BP_PLAN_INFEASIBLE ||
              result.status == BP_PLAN_UNKNOWN);
    }
}

static void few_buffers_against_every_order(void)
{
    uint64_t seed = 31, n_searched = 0, n_padded = 0, n_refuted = 0;
    for (int round = 0; round < 6000; round++) {
        problem p = random_problem(&seed, random_below(&seed, 8));
        uint64_t best = optimum(&p), offsets[MAX_N];
        static const bp_plan_mode modes[] = {BP_PLAN_FAST, BP_PLAN_AUTO,
                                             BP_PLAN_OPTIMAL};
        bp_plan_result result, fast = {.lower_bound = UINT64_MAX};
        for (size_t m = 0; m < 3; m++) {
            bp_plan_request request = request_of(&p, modes[m]);
            run(&p, &request, offsets, &result);
            CHECK_PASSED();
            CHECK(result.lower_bound <= best && best <= result.height);
            fast = m == 0 ? result : fast;
        }
        CHECK_U64(result.height, best);
        CHECK_U64(result.status, BP_PLAN_IS_OPTIMAL);
        CHECK_U64(fast.n_nodes, 0);
        n_refuted += fast.lower_bound < best;
        n_searched += result.n_nodes > 0;
        n_padded += result.load < best;
        if (round % 4 == 0) {
            check_capacities(&p, best);
            CHECK_PASSED();
        }
    }
    /* The rounds were not all easy. */
    CHECK(n_searched > 200);
    CHECK(n_padded > 1000);
    CHECK(n_refuted > 100); /* the search itself raised the bound */
}

/* Sections whose order matters: no plan reaches LOAD. */
static void a_gap_that_search_must_prove(void)
{
    uint64_t seed = 32;
    for (int round = 0; round < 300; round++) {
        problem p = {.n = 7};
        for (size_t i = 0; i < p.n; i++) {
            p.sizes[i] = 1 + random_below(&seed, 6);
            p.aligns[i] = 1;
            p.first[i] = (int64_t)random_below(&seed, 6);
            p.last[i] = p.first[i] + 1 + (int64_t)random_below(&seed, 4);
        }
        bp_plan_request request = request_of(&p, BP_PLAN_OPTIMAL);
        uint64_t offsets[MAX_N], best = optimum(&p);
        bp_plan_result result;
        run(&p, &request, offsets, &result);
        CHECK_PASSED();
        CHECK_U64(result.height, best);
        CHECK_U64(result.lower_bound, best);
    }
}

/* ---- budgets, polls, memory -------------------------------------------- */

static problem phases_problem(uint64_t seed, size_t n)
{
    problem p = {.n = n};
    int64_t n_phases = 2 + (int64_t)random_below(&seed, 7);
    for (size_t i = 0; i < n; i++) {
        uint64_t item = random_below(&seed, 3) == 0 ? 8 : 4;
        p.sizes[i] = item * (1 + random_below(&seed, 40));
        p.aligns[i] = random_below(&seed, 6) == 0 ? 16 : item;
        p.first[i] = (int64_t)random_below(&seed, (uint64_t)n_phases);
        p.last[i] =
            p.first[i] + 1 +
            (int64_t)random_below(&seed, (uint64_t)(n_phases - p.first[i]));
    }
    return p;
}

/* Eight staggered buffers over eight moments, and two more in each moment that
 * fill it: load 1000 everywhere, which hardly any plan reaches. */
static problem filled_problem(uint64_t seed)
{
    enum { N_LONG = 8, N_MOMENTS = 8, HEIGHT = 1000 };
    problem p = {.n = 0};
    uint64_t live[N_MOMENTS] = {0};
    while (p.n < N_LONG) {
        int64_t first = (int64_t)random_below(&seed, N_MOMENTS - 2);
        int64_t last = first + 2 + (int64_t)random_below(&seed, 4);
        last = last < N_MOMENTS ? last : N_MOMENTS;
        uint64_t most = 0, size = 20 + random_below(&seed, 166);
        for (int64_t t = first; t < last; t++) {
            most = live[t] > most ? live[t] : most;
        }
        if (most + size > HEIGHT - 200) {
            continue;
        }
        for (int64_t t = first; t < last; t++) {
            live[t] += size;
        }
        p.sizes[p.n] = size;
        p.first[p.n] = first;
        p.last[p.n++] = last;
    }
    for (int64_t t = 0; t < N_MOMENTS; t++) {
        uint64_t left = HEIGHT - live[t];
        uint64_t size = left / 4 + random_below(&seed, left / 2);
        for (int k = 0; k < 2; k++) {
            p.sizes[p.n] = k == 0 ? size : left - size;
            p.first[p.n] = t;
            p.last[p.n++] = t + 1;
        }
    }
    for (size_t i = 0; i < p.n; i++) {
        p.aligns[i] = 1;
    }
    return p;
}

static void a_cut_at_every_node(void)
{
    for (uint64_t seed = 1; seed < 40; seed++) {
        problem p = phases_problem(seed, 12 + seed);
        bp_plan_request request = request_of(&p, BP_PLAN_OPTIMAL);
        uint64_t offsets[MAX_N];
        bp_plan_result full, cut;
        request.node_budget = 20000;
        run(&p, &request, offsets, &full);
        CHECK_PASSED();
        uint64_t step = 1 + full.n_nodes / 97;
        for (uint64_t budget = 1; budget <= full.n_nodes + 1; budget += step) {
            request.node_budget = budget;
            run(&p, &request, offsets, &cut);
            CHECK_PASSED();
            CHECK(cut.n_nodes <= budget);
            CHECK(!cut.is_interrupted);
            CHECK(cut.lower_bound <= full.height);
            CHECK(full.lower_bound <= cut.height);
        }
        CHECK_U64(cut.height <= full.height || step > 1, 1);
    }
}

/* Cut the largest rectangle until there are n; the square is the optimum. */
static problem tiling(size_t n, uint64_t side, uint64_t seed)
{
    problem p = {.n = 1};
    p.sizes[0] = side;
    p.last[0] = (int64_t)side;
    p.aligns[0] = 1;
    while (p.n < n) {
        size_t at = 0, k = p.n++;
        for (size_t i = 1; i < k; i++) {
            if (p.sizes[i] * (uint64_t)(p.last[i] - p.first[i]) >
                p.sizes[at] * (uint64_t)(p.last[at] - p.first[at])) {
                at = i;
            }
        }
        uint64_t w = (uint64_t)(p.last[at] - p.first[at]), h = p.sizes[at];
        uint64_t whole = w > h ? w : h;
        uint64_t part = whole / 4 + random_below(&seed, whole / 2 + 1);
        part = part == 0 ? 1 : part;
        p.aligns[k] = 1;
        p.first[k] = p.first[at];
        p.last[k] = p.last[at];
        p.sizes[k] = h;
        if (w > h) {
            p.last[at] = p.first[k] = p.first[at] + (int64_t)part;
        } else {
            p.sizes[at] = part;
            p.sizes[k] = h - part;
        }
    }
    return p;
}

typedef struct poll_log {
    uint64_t n_calls, stop_at, n_nodes, height, lower_bound;
    bool is_orderly;
} poll_log;

static bool poll_and_stop(void *ctx, const bp_plan_progress *progress)
{
    poll_log *polling = ctx;
    polling->is_orderly = polling->is_orderly &&
                          progress->n_nodes >= polling->n_nodes &&
                          progress->lower_bound >= polling->lower_bound &&
                          progress->height <= polling->height &&
                          progress->lower_bound <= progress->height;
    polling->n_nodes = progress->n_nodes;
    polling->lower_bound = progress->lower_bound;
    polling->height = progress->height;
    return ++polling->n_calls == polling->stop_at;
}

static void a_poll_stops_the_search(void)
{
    problem p = tiling(1025, 4096, 44);
    bp_plan_request request = request_of(&p, BP_PLAN_OPTIMAL);
    poll_log polling = {.stop_at = 5, .height = UINT64_MAX, .is_orderly = true};
    uint64_t offsets[MAX_N];
    bp_plan_result result;
    request.poll = poll_and_stop;
    request.poll_ctx = &polling;
    run(&p, &request, offsets, &result);
    CHECK_PASSED();
    CHECK_U64(polling.n_calls, 5);
    CHECK(polling.is_orderly);
    CHECK(result.is_interrupted);
    CHECK(result.n_nodes >= polling.n_nodes);
}

/* Two stretches that no search finishes; what is told is about both. */
static void a_poll_sees_the_whole(void)
{
    problem p = filled_problem(9);
    problem other = filled_problem(12);
    for (size_t i = 0; i < other.n; i++) {
        p.sizes[p.n] = other.sizes[i];
        p.aligns[p.n] = 1;
        p.first[p.n] = other.first[i] + 100;
        p.last[p.n++] = other.last[i] + 100;
    }
    bp_plan_request request = request_of(&p, BP_PLAN_OPTIMAL);
    poll_log polling = {.height = UINT64_MAX, .is_orderly = true};
    uint64_t offsets[MAX_N];
    bp_plan_result result;
    request.node_budget = 60000;
    request.poll = poll_and_stop;
    request.poll_ctx = &polling;
    run(&p, &request, offsets, &result);
    CHECK_PASSED();
    CHECK_U64(result.n_nodes, 60000);
    CHECK(polling.n_calls > 40);
    CHECK(polling.is_orderly);
    CHECK(!result.is_interrupted);
    CHECK(polling.height >= result.height);
    CHECK(polling.lower_bound <= result.lower_bound);
}

static void memory_that_fails_leaves_nothing(void)
{
    problem p = phases_problem(3, 40);
    pin_some(&p, &(uint64_t){9});
    for (int has_pins = 0; has_pins < 2; has_pins++) {
        p.has_pins = has_pins != 0;
        bp_plan_request request = request_of(&p, BP_PLAN_OPTIMAL);
        request.node_budget = 3000;
        test_heap heap;
        bp_allocator alloc = test_heap_init(&heap);
        uint64_t want[MAX_N], got[MAX_N], before[MAX_N];
        bp_plan_result result, blank;
        CHECK_STATUS(bp_plan_run(&request, &alloc, want, &result, NULL), BP_OK,
                     NULL);
        CHECK_U64(heap.live_bytes, 0);
        memset(before, 0xCD, sizeof before);
        memset(&blank, 0xCD, sizeof blank);
        bool has_failed = true;
        for (uint64_t k = 1; has_failed; k++) {
            memcpy(got, before, sizeof got);
            memcpy(&result, &blank, sizeof blank);
            test_heap_fail(&heap, k, k % 2 == 0);
            bp_status status =
                bp_plan_run(&request, &alloc, got, &result, NULL);
            has_failed = heap.n_refused > 0;
            CHECK_U64(heap.live_bytes, 0);
            CHECK_U64(status, has_failed ? BP_NO_MEMORY : BP_OK);
            if (has_failed) {
                CHECK(memcmp(got, before, sizeof got) == 0);
                CHECK(memcmp(&result, &blank, sizeof blank) == 0);
            }
        }
        CHECK(memcmp(got, want, p.n * sizeof *got) == 0);
    }
}

/* ---- many buffers ------------------------------------------------------ */

static void registry_shapes_are_proved(void)
{
    unsigned n_proved = 0, n_cases = 150;
    for (uint64_t seed = 1; seed <= n_cases; seed++) {
        problem p = phases_problem(seed, 12 + seed % 89);
        bp_plan_request request = request_of(&p, BP_PLAN_AUTO);
        uint64_t offsets[MAX_N], again[MAX_N];
        bp_plan_result result;
        run(&p, &request, offsets, &result);
        CHECK_PASSED();
        n_proved += result.status == BP_PLAN_IS_OPTIMAL;
        CHECK(result.height - result.lower_bound <= result.height / 100);
        run(&p, &request, again, &result);
        CHECK(memcmp(again, offsets, p.n * sizeof *offsets) == 0);
    }
    CHECK(n_proved * 100 >= n_cases * 97);
}

static void tilings_are_proved(void)
{
    static const size_t counts[] = {65, 129, 257, 513, 1025};
    for (size_t k = 0; k < 5; k++) {
        problem p = tiling(counts[k], 131072, 40 + k);
        bp_plan_request request = request_of(&p, BP_PLAN_OPTIMAL);
        uint64_t offsets[MAX_N];
        bp_plan_result result;
        run(&p, &request, offsets, &result);
        CHECK_PASSED();
        CHECK_U64(result.height, 131072);
        CHECK_U64(result.status, BP_PLAN_IS_OPTIMAL);
    }
}

/* A decision is worth the whole budget in auto too: this one takes more nodes
 * than auto spends to improve a plan. */
static void auto_decides_like_optimal(void)
{
    problem p = filled_problem(9);
    uint64_t offsets[2][MAX_N];
    bp_plan_result results[2];
    for (size_t k = 0; k < 2; k++) {
        bp_plan_request request =
            request_of(&p, k == 0 ? BP_PLAN_AUTO : BP_PLAN_OPTIMAL);
        request.has_capacity = true;
        request.capacity = 1000;
        run(&p, &request, offsets[k], &results[k]);
        CHECK_PASSED();
        CHECK_U64(results[k].load, 1000);
        CHECK_U64(results[k].status, BP_PLAN_INFEASIBLE);
        CHECK(results[k].n_nodes > BP_PLAN_AUTO_NODES);
    }
    CHECK_U64(results[0].n_nodes, results[1].n_nodes);
    CHECK(memcmp(offsets[0], offsets[1], p.n * sizeof **offsets) == 0);
}

/* A bound that equals the capacity refutes nothing: with a node less than the
 * proof takes, the answer is unknown. */
static void no_decision_before_its_proof(void)
{
    problem p = filled_problem(9);
    bp_plan_request request = request_of(&p, BP_PLAN_OPTIMAL);
    uint64_t offsets[MAX_N];
    bp_plan_result result;
    request.has_capacity = true;
    request.capacity = 1000;
    run(&p, &request, offsets, &result);
    CHECK_PASSED();
    CHECK_U64(result.status, BP_PLAN_INFEASIBLE);
    CHECK_U64(result.lower_bound, 1001);
    uint64_t needed = result.n_nodes;
    const uint64_t budgets[] = {1, 100, needed / 2, needed - 1, needed};
    for (size_t k = 0; k < 5; k++) {
        request.node_budget = budgets[k];
        run(&p, &request, offsets, &result);
        CHECK_PASSED();
        CHECK(result.height > 1000);
        CHECK_U64(result.n_nodes, budgets[k]);
        CHECK_U64(result.lower_bound, k < 4 ? 1000 : 1001);
        CHECK_U64(result.status, k < 4 ? BP_PLAN_UNKNOWN : BP_PLAN_INFEASIBLE);
    }
    request.mode = BP_PLAN_FAST;
    run(&p, &request, offsets, &result);
    CHECK_PASSED();
    CHECK_U64(result.status, BP_PLAN_UNKNOWN);
    CHECK_U64(result.lower_bound, 1000);
}

enum { DISJOINT, TOGETHER, NESTED, OF_EQUAL_SIZES, N_SHAPES };

/* Sizes are multiples of the largest alignment. */
static problem shape_problem(int shape, uint64_t *seed)
{
    problem p = {.n = 1 + random_below(seed, 300)};
    int64_t n = (int64_t)p.n, depth = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t first = i, last = i + 1;
        if (shape == TOGETHER) {
            first = -i;
        } else if (shape == NESTED) { /* each in the one before, or after it */
            depth = random_below(seed, 4) == 0 ? i : depth;
            first = 1000 * depth + i;
            last = 1000 * depth + 2 * n - i;
        } else if (shape == OF_EQUAL_SIZES) {
            first = (int64_t)random_below(seed, p.n);
            last = first + 1 + (int64_t)random_below(seed, 60);
        }
        p.sizes[i] = shape == OF_EQUAL_SIZES ? 48 : 16 * random_below(seed, 9);
        p.aligns[i] = UINT64_C(1) << random_below(seed, 5);
        p.first[i] = first;
        p.last[i] = last;
    }
    return p;
}

/* What has an exact rule of its own takes no search, whatever its order. */
static void easy_shapes_need_no_search(void)
{
    uint64_t seed = 33;
    for (int round = 0; round < 50 * N_SHAPES; round++) {
        problem p = shape_problem(round % N_SHAPES, &seed);
        bp_plan_request request = request_of(&p, BP_PLAN_FAST);
        uint64_t offsets[MAX_N];
        bp_plan_result result;
        run(&p, &request, offsets, &result);
        CHECK_PASSED();
        CHECK_U64(result.height, result.load);
        CHECK_U64(result.status, BP_PLAN_IS_OPTIMAL);
        for (size_t i = 0; i < p.n && round % N_SHAPES == DISJOINT; i++) {
            CHECK_U64(offsets[i], 0);
        }
    }
}

/* One number for many plans: compilers, optimisation and machines must agree.
 * A change of the algorithm changes it (and BP_PLAN_ALGORITHM). */
static void plans_are_the_same_everywhere(void)
{
    uint64_t digest = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        problem p = phases_problem(seed + 500, 10 + seed);
        if (seed % 3 == 0) {
            pin_some(&p, &(uint64_t){seed});
        }
        for (int mode = BP_PLAN_FAST; mode <= BP_PLAN_OPTIMAL; mode++) {
            bp_plan_request request = request_of(&p, (bp_plan_mode)mode);
            request.node_budget = 2000;
            uint64_t offsets[MAX_N];
            bp_plan_result result;
            run(&p, &request, offsets, &result);
            CHECK_PASSED();
            for (size_t i = 0; i < p.n; i++) {
                digest = (digest ^ offsets[i]) * UINT64_C(0x100000001b3);
                digest ^= digest >> 29;
            }
            digest += result.n_nodes * 31 + result.lower_bound;
        }
    }
    CHECK_U64(digest, UINT64_C(12926634077208330093));
}

/* ---- edges ------------------------------------------------------------- */

/* A pin says where a buffer without bytes lies, and nothing else: not even at
 * the end of what a pin can say does it raise a height or spoil a sum. */
static void pins_without_bytes_raise_nothing(void)
{
    static const int64_t places[] = {0, 48, INT64_MAX - 15};
    for (size_t k = 0; k < 3; k++) {
        for (int mode = BP_PLAN_AUTO; mode < BP_N_PLAN_MODES; mode++) {
            problem p = {.n = 3,
                         .sizes = {8, 0, 4},
                         .aligns = {4, 16, 4},
                         .first = {0, 0, 1},
                         .last = {2, 9, 3},
                         .pins = {-1, places[k], -1},
                         .has_pins = true};
            bp_plan_request request = request_of(&p, (bp_plan_mode)mode);
            if (mode == BP_PLAN_SEQUENTIAL || mode == BP_PLAN_PACKED) {
                continue;
            }
            uint64_t offsets[MAX_N];
            bp_plan_result result;
            run(&p, &request, offsets, &result);
            CHECK_PASSED();
            CHECK_U64(offsets[1], (uint64_t)places[k]);
            CHECK_U64(result.height, 12);
            CHECK_U64(result.lower_bound, 12);
            CHECK_U64(result.status, BP_PLAN_IS_OPTIMAL);
            request.has_capacity = true;
            request.capacity = 12;
            run(&p, &request, offsets, &result);
            CHECK_PASSED();
            CHECK_U64(result.status, BP_PLAN_FEASIBLE);
        }
    }
}

/* The end of a pin is a bound of its own, in every mode and without a node. */
static void a_high_pin_is_a_bound(void)
{
    for (int mode = BP_PLAN_AUTO; mode < BP_N_PLAN_MODES; mode++) {
        problem p = {.n = 2,
                     .sizes = {8, 4},
                     .aligns = {4, 4},
                     .first = {0, 0},
                     .last = {2, 2},
                     .pins = {100, -1},
                     .has_pins = true};
        bp_plan_request request = request_of(&p, (bp_plan_mode)mode);
        if (mode == BP_PLAN_SEQUENTIAL || mode == BP_PLAN_PACKED) {
            continue;
        }
        uint64_t offsets[MAX_N];
        bp_plan_result result;
        run(&p, &request, offsets, &result);
        CHECK_PASSED();
        CHECK_U64(offsets[1], 0);
        CHECK_U64(result.load, 12);
        CHECK_U64(result.height, 108);
        CHECK_U64(result.lower_bound, 108);
        CHECK_U64(result.n_nodes, 0);
        request.has_capacity = true;
        request.capacity = 107;
        run(&p, &request, offsets, &result);
        CHECK_PASSED();
        CHECK_U64(result.status, BP_PLAN_INFEASIBLE);
    }
}

/* The large buffer does not fit below the pin, and no height below the best is
 * worth a node; but there are 2^56 of them. */
static void heights_without_hope_are_skipped(void)
{
    const uint64_t large = (uint64_t)1 << 57, half = (uint64_t)1 << 56;
    problem p = {.n = 2,
                 .sizes = {large, 1},
                 .aligns = {1, 1},
                 .first = {0, 0},
                 .last = {1, 1},
                 .pins = {-1, (int64_t)half},
                 .has_pins = true};
    bp_plan_request request = request_of(&p, BP_PLAN_OPTIMAL);
    uint64_t offsets[MAX_N];
    bp_plan_result result;
    run(&p, &request, offsets, &result);
    CHECK_PASSED();
    CHECK_U64(result.load, large + 1);
    CHECK_U64(result.height, large + half + 1);
    CHECK_U64(result.lower_bound, large + half + 1);
    CHECK_U64(result.status, BP_PLAN_IS_OPTIMAL);
    CHECK_U64(result.n_nodes, 0);
    request.has_capacity = true;
    request.capacity = large + half;
    run(&p, &request, offsets, &result);
    CHECK_PASSED();
    CHECK_U64(result.status, BP_PLAN_INFEASIBLE);
}

/* A stretch with a buffer too many for exact search takes no node; without the
 * last one it does. No first fit meets the bound here. */
static void a_stretch_too_large_is_not_searched(void)
{
    enum { N = BP_PLAN_MAX_SEARCHED + 1 };
    static uint64_t sizes[N], aligns[N], offsets[N];
    for (size_t i = 0; i < N; i++) {
        sizes[i] = 3 + 2 * (i % 5);
        aligns[i] = (uint64_t)1 << i % 7;
    }
    bp_plan_request request = {.n = N,
                               .sizes = sizes,
                               .aligns = aligns,
                               .mode = BP_PLAN_OPTIMAL,
                               .node_budget = 100};
    bp_plan_result result;
    bp_error error;
    CHECK_STATUS(bp_plan_run(&request, NULL, offsets, &result, &error), BP_OK,
                 &error);
    CHECK_U64(result.status, BP_PLAN_FEASIBLE);
    CHECK_U64(result.n_nodes, 0);
    request.n = N - 1;
    CHECK_STATUS(bp_plan_run(&request, NULL, offsets, &result, &error), BP_OK,
                 &error);
    CHECK_U64(result.n_nodes, 100);
}

/* The modes' own budgets shrink beyond 512 buffers. */
static void many_buffers_have_fewer_nodes(void)
{
    enum { N = 1024 };
    static uint64_t sizes[N], aligns[N], offsets[N];
    for (size_t i = 0; i < N; i++) {
        sizes[i] = 3 + 2 * (i % 5);
        aligns[i] = (uint64_t)1 << i % 7;
    }
    for (size_t n = N / 2; n <= N; n += N / 4) {
        bp_plan_request request = {.n = n, .sizes = sizes, .aligns = aligns};
        bp_plan_result result;
        bp_error error;
        CHECK_STATUS(bp_plan_run(&request, NULL, offsets, &result, &error),
                     BP_OK, &error);
        CHECK_U64(result.status, BP_PLAN_FEASIBLE);
        CHECK_U64(result.n_nodes, BP_PLAN_AUTO_NODES * 512 / n);
    }
}

/* Likewise by pairs: 1,023 buffers live through all sections, and each section
 * has one of its own. 1,024 sections make 1,024 * 1,024 pairs, all that is
 * taken; one more is too many. */
static void a_stretch_of_too_many_pairs_is_not_searched(void)
{
    enum { N_LONG = 1023, N_SECTIONS = 1024, N = N_LONG + N_SECTIONS + 1 };
    static uint64_t sizes[N], aligns[N], offsets[N];
    static int64_t first[N], last[N];
    for (size_t i = 0; i < N; i++) {
        bool is_long = i < N_LONG;
        sizes[i] = 3 + 2 * (i % 5);
        aligns[i] = (uint64_t)1 << i % 7;
        first[i] = is_long ? 0 : (int64_t)(i - N_LONG);
        last[i] = is_long ? N_SECTIONS + 1 : first[i] + 1;
    }
    bp_plan_request request = {.sizes = sizes,
                               .aligns = aligns,
                               .first = first,
                               .last = last,
                               .mode = BP_PLAN_OPTIMAL,
                               .node_budget = 100};
    bp_plan_result result;
    bp_error error;
    for (size_t more = 0; more < 2; more++) {
        request.n = N - 1 + more;
        for (size_t i = 0; i < N_LONG; i++) {
            last[i] = (int64_t)(N_SECTIONS + more);
        }
        CHECK_STATUS(bp_plan_run(&request, NULL, offsets, &result, &error),
                     BP_OK, &error);
        CHECK_U64(result.status, BP_PLAN_FEASIBLE);
        CHECK_U64(result.n_nodes, more == 0 ? 100 : 0);
    }
}

/* ---- refusals ---------------------------------------------------------- */

static void check_refused(const bp_plan_request *request, bp_status want,
                          const char *text)
{
    uint64_t offsets[8] = {7, 7, 7, 7, 7, 7, 7, 7};
    bp_plan_result result;
    bp_error error;
    CHECK_STATUS(bp_plan_run(request, NULL, offsets, &result, &error), want,
                 &error);
    CHECK_TEXT(error.text, text);
    CHECK_U64(offsets[0], 7);
}

static void bad_pins_are_refused(void)
{
    const uint64_t sizes[] = {8, 8, 8}, aligns[] = {4, 4, 4};
    const int64_t first[] = {0, 1, 5}, last[] = {3, 4, 9};
    int64_t pins[] = {-1, -1, -2};
    bp_plan_request request = {.n = 3,
                               .sizes = sizes,
                               .aligns = aligns,
                               .first = first,
                               .last = last,
                               .pins = pins,
                               .mode = BP_PLAN_OPTIMAL};
    check_refused(&request, BP_BAD_VALUE,
                  "buffer 2: -2 is no offset (-1 means that it is free)");
    CHECK_PASSED();
    pins[2] = 6;
    check_refused(&request, BP_BAD_VALUE,
                  "buffer 2: its pin 6 is no multiple of its alignment 4");
    CHECK_PASSED();
    pins[0] = 8;
    pins[1] = 12;
    pins[2] = 8;
    check_refused(&request, BP_BAD_VALUE,
                  "buffers 0 and 1 are alive together and pinned over each "
                  "other, at 8 and 12");
    CHECK_PASSED();
    request.mode = BP_PLAN_PACKED;
    check_refused(&request, BP_BAD_VALUE,
                  "plan mode \"packed\" knows no pins (auto, fast and optimal "
                  "do)");
    CHECK_PASSED();
    request.pins = NULL;
    request.has_capacity = true;
    request.mode = BP_PLAN_SEQUENTIAL;
    check_refused(&request, BP_BAD_VALUE,
                  "plan mode \"sequential\" knows no capacity (auto, fast and "
                  "optimal do)");
    CHECK_PASSED();
    request.n = ((size_t)1 << 31) + 1;
    request.mode = BP_PLAN_FAST;
    check_refused(&request, BP_TOO_LARGE,
                  "2147483649 buffers are more than 2^31");
}

/* Of five pins the last two overlap. The others touch the last one in time, or
 * in address from below and from above. */
static void the_pins_that_overlap_are_named(void)
{
    const uint64_t sizes[] = {8, 8, 8, 8, 8};
    const int64_t first[] = {0, 2, 2, 2, 3}, last[] = {2, 9, 9, 9, 9};
    int64_t pins[] = {8, 0, 16, 8, 8};
    bp_plan_request request = {.n = 5,
                               .sizes = sizes,
                               .first = first,
                               .last = last,
                               .pins = pins,
                               .mode = BP_PLAN_FAST};
    check_refused(&request, BP_BAD_VALUE,
                  "buffers 3 and 4 are alive together and pinned over each "
                  "other, at 8 and 8");
    CHECK_PASSED();
    pins[4] = 24;
    uint64_t offsets[5];
    bp_plan_result result;
    bp_error error;
    CHECK_STATUS(bp_plan_run(&request, NULL, offsets, &result, &error), BP_OK,
                 &error);
    CHECK_U64(result.height, 32);
    for (int64_t at = 1; at < 24; at++) { /* one byte over, from both sides */
        pins[4] = at;
        CHECK_STATUS(bp_plan_run(&request, NULL, offsets, &result, &error),
                     BP_BAD_VALUE, &error);
    }
}

static void sums_near_the_end(void)
{
    const uint64_t sizes[] = {UINT64_MAX - 9, 4, 5};
    const uint64_t aligns[] = {1, 1, 1};
    const int64_t first[] = {0, 1, 2}, last[] = {2, 3, 4};
    int64_t pins[] = {-1, INT64_MAX, -1};
    bp_plan_request request = {.n = 3,
                               .sizes = sizes,
                               .aligns = aligns,
                               .first = first,
                               .last = last,
                               .mode = BP_PLAN_OPTIMAL};
    problem p = {.n = 3,
                 .sizes = {UINT64_MAX - 9, 4, 5},
                 .aligns = {1, 1, 1},
                 .first = {0, 1, 2},
                 .last = {2, 3, 4}};
    uint64_t offsets[MAX_N];
    bp_plan_result result;
    run(&p, &request, offsets, &result);
    CHECK_PASSED();
    CHECK_U64(result.load, UINT64_MAX - 5);
    request.pins = pins;
    check_refused(&request, BP_TOO_LARGE,
                  "the sizes with their pins and alignments sum to more than "
                  "2^62 bytes");
}

/* Pins count in full: 8 + (2^62 - 8) is the largest sum. */
static void pins_near_the_end(void)
{
    problem p = {.n = 2,
                 .sizes = {4, 4},
                 .aligns = {1, 1},
                 .last = {1, 1},
                 .pins = {((int64_t)1 << 62) - 8, -1},
                 .has_pins = true};
    bp_plan_request request = request_of(&p, BP_PLAN_OPTIMAL);
    uint64_t offsets[MAX_N];
    bp_plan_result result;
    run(&p, &request, offsets, &result);
    CHECK_PASSED();
    CHECK_U64(result.height, ((uint64_t)1 << 62) - 4);
    CHECK_U64(result.status, BP_PLAN_IS_OPTIMAL);
    p.pins[0]++;
    check_refused(&request, BP_TOO_LARGE,
                  "the sizes with their pins and alignments sum to more than "
                  "2^62 bytes");
}

int main(void)
{
    RUN(few_buffers_against_every_order);
    RUN(a_gap_that_search_must_prove);
    RUN(a_cut_at_every_node);
    RUN(a_poll_stops_the_search);
    RUN(a_poll_sees_the_whole);
    RUN(memory_that_fails_leaves_nothing);
    RUN(registry_shapes_are_proved);
    RUN(tilings_are_proved);
    RUN(auto_decides_like_optimal);
    RUN(no_decision_before_its_proof);
    RUN(easy_shapes_need_no_search);
    RUN(plans_are_the_same_everywhere);
    RUN(pins_without_bytes_raise_nothing);
    RUN(a_high_pin_is_a_bound);
    RUN(heights_without_hope_are_skipped);
    RUN(a_stretch_too_large_is_not_searched);
    RUN(many_buffers_have_fewer_nodes);
    RUN(a_stretch_of_too_many_pairs_is_not_searched);
    RUN(bad_pins_are_refused);
    RUN(the_pins_that_overlap_are_named);
    RUN(sums_near_the_end);
    RUN(pins_near_the_end);
    return finish();
}
