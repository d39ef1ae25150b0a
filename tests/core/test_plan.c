/* test_plan.c - bp_plan_run against hand-made tables, an exhaustive search and
 * plain restatements of the rules. */
#include "harness.h"

#include "bayplan/plan.h"

enum { MAX_N = 256 };

typedef struct problem {
    size_t n;
    uint64_t sizes[MAX_N], aligns[MAX_N];
    int64_t first[MAX_N], last[MAX_N];
    bool has_lifetimes;
} problem;

static bp_plan_request request_of(const problem *p, bp_plan_mode mode)
{
    return (bp_plan_request){
        .n = p->n,
        .sizes = p->sizes,
        .aligns = p->aligns,
        .first = p->has_lifetimes ? p->first : NULL,
        .last = p->has_lifetimes ? p->last : NULL,
        .mode = mode,
    };
}

static problem random_problem(uint64_t *seed, size_t n, bool has_lifetimes)
{
    problem p = {.n = n, .has_lifetimes = has_lifetimes};
    uint64_t n_aligns = 1 + random_below(seed, 5);
    uint64_t max_size = 1 + random_below(seed, 40);
    int64_t horizon = 1 + (int64_t)random_below(seed, 8);
    for (size_t i = 0; i < n; i++) {
        p.aligns[i] = (uint64_t)1 << random_below(seed, n_aligns);
        p.sizes[i] =
            random_below(seed, 8) == 0 ? 0 : random_below(seed, max_size);
        p.first[i] = (int64_t)random_below(seed, (uint64_t)horizon) - 3;
        p.last[i] =
            p.first[i] + (int64_t)random_below(seed, (uint64_t)horizon + 1);
    }
    return p;
}

/* Takes address space, and at the same time. */
static bool is_conflict(const problem *p, size_t i, size_t j)
{
    if (p->sizes[i] == 0 || p->sizes[j] == 0) {
        return false;
    }
    if (!p->has_lifetimes) {
        return true;
    }
    return p->first[i] < p->last[i] && p->first[j] < p->last[j] &&
           p->first[i] < p->last[j] && p->first[j] < p->last[i];
}

/* ---- the exhaustive search --------------------------------------------- */

/* Any plan, taken in order of its offsets, is not below this one: each buffer
 * at the first aligned place above all earlier ones it conflicts with. */
static uint64_t height_of_order(const problem *p, const size_t *order)
{
    uint64_t height = 0, ends[8];
    for (size_t k = 0; k < p->n; k++) {
        size_t i = order[k];
        uint64_t at = 0;
        for (size_t m = 0; m < k; m++) {
            if (is_conflict(p, i, order[m]) && ends[m] > at) {
                at = ends[m];
            }
        }
        at = (at + p->aligns[i] - 1) / p->aligns[i] * p->aligns[i];
        bool is_live = !p->has_lifetimes || p->first[i] < p->last[i];
        ends[k] = is_live && p->sizes[i] != 0 ? at + p->sizes[i] : 0;
        /* What is never alive lies somewhere, too. */
        uint64_t end = is_live ? ends[k] : p->sizes[i];
        height = end > height ? end : height;
    }
    return height;
}

/* The next permutation in lexicographic order; false after the last. */
static bool next_order(size_t *order, size_t n)
{
    size_t i = n;
    while (i > 1 && order[i - 2] > order[i - 1]) {
        i--;
    }
    if (i < 2) {
        return false;
    }
    size_t j = n - 1;
    while (order[j] < order[i - 2]) {
        j--;
    }
    size_t swap = order[i - 2];
    order[i - 2] = order[j];
    order[j] = swap;
    for (size_t a = i - 1, b = n - 1; a < b; a++, b--) {
        swap = order[a];
        order[a] = order[b];
        order[b] = swap;
    }
    return true;
}

static uint64_t optimal_height(const problem *p)
{
    size_t order[8];
    for (size_t i = 0; i < p->n; i++) {
        order[i] = i;
    }
    uint64_t best = UINT64_MAX;
    do {
        uint64_t height = height_of_order(p, order);
        best = height < best ? height : best;
    } while (next_order(order, p->n));
    return best;
}

/* ---- restatements of the rules ----------------------------------------- */

static uint64_t naive_load(const problem *p)
{
    uint64_t most = 0, always = 0;
    for (size_t i = 0; i < p->n; i++) {
        uint64_t live = 0;
        for (size_t j = 0; j < p->n; j++) {
            bool is_live =
                p->first[j] <= p->first[i] && p->first[i] < p->last[j];
            live += is_live ? p->sizes[j] : 0;
        }
        most = live > most ? live : most;
        always += p->sizes[i];
    }
    return p->has_lifetimes ? most : always;
}

/* The simple modes share nothing; the others only where it is allowed. */
static void check_plan(const problem *p, bp_plan_mode mode,
                       const uint64_t *offsets, const bp_plan_result *result)
{
    bool is_simple = mode == BP_PLAN_SEQUENTIAL || mode == BP_PLAN_PACKED;
    uint64_t height = 0;
    for (size_t i = 0; i < p->n; i++) {
        CHECK_U64(offsets[i] % p->aligns[i], 0);
        uint64_t end = offsets[i] + p->sizes[i];
        height = end > height ? end : height;
        for (size_t j = 0; j < i; j++) {
            CHECK((!is_simple && !is_conflict(p, i, j)) || p->sizes[i] == 0 ||
                  p->sizes[j] == 0 || end <= offsets[j] ||
                  offsets[j] + p->sizes[j] <= offsets[i]);
        }
    }
    CHECK_U64(result->height, height);
    CHECK_U64(result->load, naive_load(p));
    CHECK(result->lower_bound >= result->load);
    CHECK(result->lower_bound <= result->height);
    CHECK((result->status == BP_PLAN_IS_OPTIMAL) ==
          (result->height == result->lower_bound));
}

/* Bump allocation in the mode's order, restated with a sorted order. */
static void check_order(const problem *p, bp_plan_mode mode,
                        const uint64_t *offsets)
{
    size_t order[MAX_N];
    for (size_t i = 0; i < p->n; i++) {
        size_t at = i;
        for (; mode == BP_PLAN_PACKED && at > 0 &&
               p->aligns[order[at - 1]] < p->aligns[i];
             at--) {
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
    uint64_t cursor = 0;
    for (size_t k = 0; k < p->n; k++) {
        size_t i = order[k];
        uint64_t align = p->aligns[i];
        if (p->sizes[i] == 0) {
            CHECK_U64(offsets[i], cursor / align * align);
        } else {
            cursor = (cursor + align - 1) / align * align;
            CHECK_U64(offsets[i], cursor);
            cursor += p->sizes[i];
        }
    }
}

/* Run one mode, with all the checks that need no optimum. */
static void run_mode(const problem *p, bp_plan_mode mode, uint64_t *offsets,
                     bp_plan_result *result)
{
    bp_plan_request request = request_of(p, mode);
    bp_error error;
    CHECK_STATUS(bp_plan_run(&request, NULL, offsets, result, &error), BP_OK,
                 &error);
    check_plan(p, mode, offsets, result);
    CHECK_PASSED();
    if (mode != BP_PLAN_AUTO) {
        check_order(p, mode, offsets);
    }
}

/* All three modes and how they must relate; leaves auto's result. */
static void run_all(const problem *p, bp_plan_result *result)
{
    uint64_t sequential[MAX_N], packed[MAX_N], offsets[MAX_N];
    bp_plan_result a, b;
    run_mode(p, BP_PLAN_SEQUENTIAL, sequential, &a);
    CHECK_PASSED();
    run_mode(p, BP_PLAN_PACKED, packed, &b);
    CHECK_PASSED();
    run_mode(p, BP_PLAN_AUTO, offsets, result);
    CHECK_PASSED();
    CHECK_U64(a.lower_bound, b.lower_bound);
    CHECK(a.lower_bound <= result->lower_bound);
    CHECK(result->height <= a.height && result->height <= b.height);
    if (a.status == BP_PLAN_IS_OPTIMAL) {
        CHECK(memcmp(offsets, sequential, p->n * sizeof *offsets) == 0);
        CHECK_U64(result->n_nodes, 0);
    }
}

static void small_problems_against_every_order(void)
{
    uint64_t seed = 20;
    unsigned n_padded = 0;
    for (int round = 0; round < 3000; round++) {
        problem p =
            random_problem(&seed, random_below(&seed, 7), round % 3 == 0);
        bp_plan_result result;
        run_all(&p, &result);
        CHECK_PASSED();
        uint64_t best = optimal_height(&p);
        CHECK_U64(result.status, BP_PLAN_IS_OPTIMAL);
        CHECK_U64(result.height, best);
        n_padded += result.lower_bound > result.load;
    }
    /* The rounds were not all of one kind. */
    CHECK(n_padded > 20);
}

static void large_problems_against_the_rules(void)
{
    uint64_t seed = 21;
    for (int round = 0; round < 60; round++) {
        problem p = random_problem(&seed, random_below(&seed, MAX_N + 1),
                                   round % 2 == 0);
        bp_plan_result result;
        run_all(&p, &result);
        CHECK_PASSED();
    }
}

/* ---- by hand ----------------------------------------------------------- */

static void check_table(const problem *p, bp_plan_mode mode,
                        const uint64_t *offsets, bp_plan_result want)
{
    uint64_t got[MAX_N];
    bp_plan_result result;
    run_mode(p, mode, got, &result);
    CHECK_PASSED();
    for (size_t i = 0; i < p->n; i++) {
        CHECK_U64(got[i], offsets[i]);
    }
    CHECK_U64(result.height, want.height);
    CHECK_U64(result.load, want.load);
    CHECK_U64(result.lower_bound, want.lower_bound);
    CHECK_U64(result.status, want.status);
}

static void tables_made_by_hand(void)
{
    /* Three float32, an odd byte, two float64, an empty one. */
    problem p = {
        .n = 5, .sizes = {12, 1, 16, 0, 4}, .aligns = {4, 1, 8, 16, 4}};
    const uint64_t sequential[] = {0, 12, 16, 32, 32};
    check_table(&p, BP_PLAN_SEQUENTIAL, sequential,
                (bp_plan_result){36, 33, 33, BP_PLAN_FEASIBLE, 0, false});
    CHECK_PASSED();
    const uint64_t packed[] = {16, 32, 0, 0, 28};
    check_table(&p, BP_PLAN_PACKED, packed,
                (bp_plan_result){33, 33, 33, BP_PLAN_IS_OPTIMAL, 0, false});
    CHECK_PASSED();
    check_table(&p, BP_PLAN_AUTO, packed,
                (bp_plan_result){33, 33, 33, BP_PLAN_IS_OPTIMAL, 0, false});
    CHECK_PASSED();

    /* Three buffers of 9 bytes at multiples of 8: two must leave 7 free. */
    problem q = {.n = 3, .sizes = {9, 9, 9}, .aligns = {8, 8, 8}};
    const uint64_t apart[] = {0, 16, 32};
    check_table(&q, BP_PLAN_AUTO, apart,
                (bp_plan_result){41, 27, 41, BP_PLAN_IS_OPTIMAL, 0, false});
    CHECK_PASSED();

    /* An empty buffer at another time does not weaken that bound. */
    problem e = {.n = 4,
                 .sizes = {9, 0, 9, 9},
                 .aligns = {8, 8, 8, 8},
                 .first = {0, 7, 1, 2},
                 .last = {5, 8, 5, 5},
                 .has_lifetimes = true};
    const uint64_t with_empty[] = {0, 8, 16, 32};
    check_table(&e, BP_PLAN_AUTO, with_empty,
                (bp_plan_result){41, 27, 41, BP_PLAN_IS_OPTIMAL, 0, false});
}

static void lifetimes_count_for_auto(void)
{
    /* Never together: the simple modes do not share, and say so; auto does. */
    problem r = {.n = 2,
                 .sizes = {10, 6},
                 .aligns = {1, 1},
                 .first = {0, 5},
                 .last = {5, 9},
                 .has_lifetimes = true};
    const uint64_t in_turn[] = {0, 10};
    check_table(&r, BP_PLAN_SEQUENTIAL, in_turn,
                (bp_plan_result){16, 10, 10, BP_PLAN_FEASIBLE, 0, false});
    CHECK_PASSED();
    const uint64_t shared[] = {0, 0};
    check_table(&r, BP_PLAN_AUTO, shared,
                (bp_plan_result){10, 10, 10, BP_PLAN_IS_OPTIMAL, 0, false});
    CHECK_PASSED();
    r.last[0] = 6;
    check_table(&r, BP_PLAN_AUTO, in_turn,
                (bp_plan_result){16, 16, 16, BP_PLAN_IS_OPTIMAL, 0, false});
}

static void nothing_is_planned_at_once(void)
{
    const uint64_t nowhere[] = {0};
    problem none = {.n = 0};
    check_table(&none, BP_PLAN_AUTO, nowhere,
                (bp_plan_result){0, 0, 0, BP_PLAN_IS_OPTIMAL, 0, false});
}

static void no_alignments_means_one(void)
{
    const uint64_t sizes[] = {3, 0, 5};
    bp_plan_request request = {.n = 3, .sizes = sizes, .mode = BP_PLAN_PACKED};
    uint64_t offsets[3];
    bp_plan_result result;
    CHECK_STATUS(bp_plan_run(&request, NULL, offsets, &result, NULL), BP_OK,
                 NULL);
    CHECK(offsets[0] == 0 && offsets[1] == 3 && offsets[2] == 3);
    CHECK_U64(result.height, 8);
}

static void a_tie_keeps_declaration_order(void)
{
    problem p = {.n = 2, .sizes = {8, 8}, .aligns = {4, 8}};
    const uint64_t in_order[] = {0, 8};
    check_table(&p, BP_PLAN_AUTO, in_order,
                (bp_plan_result){16, 16, 16, BP_PLAN_IS_OPTIMAL, 0, false});
    CHECK_PASSED();
    /* Both orders leave holes, and the same height: 9, 3, 5 would take 21, what
     * three starts at multiples of 4 cannot be below (8 + 12 + 4 - 3). */
    problem q = {.n = 3, .sizes = {5, 9, 3}, .aligns = {4, 8, 4}};
    const uint64_t holes[] = {0, 8, 20};
    uint64_t packed[MAX_N];
    bp_plan_result result;
    run_mode(&q, BP_PLAN_PACKED, packed, &result);
    CHECK_PASSED();
    CHECK_U64(result.height, 23);
    CHECK(packed[0] == 12 && packed[1] == 0);
    check_table(&q, BP_PLAN_SEQUENTIAL, holes,
                (bp_plan_result){23, 17, 21, BP_PLAN_FEASIBLE, 0, false});
    CHECK_PASSED();
    const uint64_t searched[] = {16, 0, 12};
    check_table(&q, BP_PLAN_AUTO, searched,
                (bp_plan_result){21, 17, 21, BP_PLAN_IS_OPTIMAL, 0, false});
}

/* ---- refusals ---------------------------------------------------------- */

/* The status and the text; and nothing may be written. */
static void check_refused(const bp_plan_request *request,
                          const bp_allocator *alloc, bp_status want,
                          const char *text)
{
    uint64_t offsets[MAX_N], offsets_before[MAX_N];
    memset(offsets, 0xCD, sizeof offsets);
    memcpy(offsets_before, offsets, sizeof offsets);
    bp_plan_result result, before;
    memset(&result, 0xCD, sizeof result);
    before = result;
    bp_error error;
    CHECK_STATUS(bp_plan_run(request, alloc, offsets, &result, &error), want,
                 &error);
    CHECK_U64(error.status, want);
    CHECK_TEXT(error.text, text);
    CHECK(memcmp(offsets, offsets_before, sizeof offsets) == 0);
    CHECK(memcmp(&result, &before, sizeof result) == 0);
    CHECK_U64(bp_plan_run(request, alloc, offsets, &result, NULL), want);
}

static void bad_values_are_refused(void)
{
    const uint64_t sizes[] = {1, 2, 3};
    uint64_t aligns[] = {1, 2, 0};
    int64_t first[] = {0, 4, 0}, last[] = {1, 3, 1};
    bp_plan_request request = {.n = 3, .sizes = sizes, .aligns = aligns};
    check_refused(&request, NULL, BP_BAD_VALUE,
                  "buffer 2: alignment 0 is no power of two up to 2^32");
    CHECK_PASSED();
    aligns[2] = 12;
    check_refused(&request, NULL, BP_BAD_VALUE,
                  "buffer 2: alignment 12 is no power of two up to 2^32");
    CHECK_PASSED();
    aligns[2] = UINT64_C(1) << 33;
    check_refused(
        &request, NULL, BP_BAD_VALUE,
        "buffer 2: alignment 8589934592 is no power of two up to 2^32");
    CHECK_PASSED();
    aligns[2] = UINT64_C(1) << 32;
    request.first = first;
    request.last = last;
    check_refused(&request, NULL, BP_BAD_VALUE,
                  "buffer 1: its lifetime ends at 3, before it begins at 4");
    CHECK_PASSED();
    request.last = NULL;
    check_refused(&request, NULL, BP_BAD_VALUE,
                  "lifetimes need both first and last");
    CHECK_PASSED();
    request.first = NULL;
    request.mode = BP_N_PLAN_MODES;
    check_refused(&request, NULL, BP_BAD_VALUE, "5 is no plan mode");
}

static void sums_beyond_64_bits_are_refused(void)
{
    uint64_t sizes[] = {UINT64_MAX - 10, 11};
    uint64_t aligns[] = {1, 1};
    bp_plan_request request = {.n = 2, .sizes = sizes, .aligns = aligns};
    const bp_plan_mode modes[] = {BP_PLAN_AUTO, BP_PLAN_SEQUENTIAL,
                                  BP_PLAN_PACKED};
    for (size_t m = 0; m < 3; m++) {
        request.mode = modes[m];
        sizes[1] = 11;
        check_refused(&request, NULL, BP_TOO_LARGE,
                      "the sizes up to buffer 1 sum to more than 2^64 - 1");
        CHECK_PASSED();
        sizes[1] = 10;
        uint64_t offsets[2];
        bp_plan_result result;
        CHECK_STATUS(bp_plan_run(&request, NULL, offsets, &result, NULL), BP_OK,
                     NULL);
        CHECK_U64(offsets[1], UINT64_MAX - 10);
        CHECK_U64(result.height, UINT64_MAX);
        CHECK_U64(result.status, BP_PLAN_IS_OPTIMAL);
    }
    /* The sizes fit; with their padding they do not. */
    const char *padded =
        "the sizes with their alignments need more than 2^64 - 1 bytes";
    sizes[0] = UINT64_MAX - 5;
    sizes[1] = 5;
    aligns[0] = aligns[1] = 8;
    for (size_t m = 0; m < 3; m++) {
        request.mode = modes[m];
        check_refused(&request, NULL, BP_TOO_LARGE, padded);
        CHECK_PASSED();
    }
}

static void auto_takes_the_order_that_fits(void)
{
    /* 5 bytes first, then the large one needs padding that is not there. */
    const uint64_t sizes[] = {5, UINT64_MAX - 5}, aligns[] = {1, 8};
    bp_plan_request request = {
        .n = 2, .sizes = sizes, .aligns = aligns, .mode = BP_PLAN_SEQUENTIAL};
    check_refused(
        &request, NULL, BP_TOO_LARGE,
        "the sizes with their alignments need more than 2^64 - 1 bytes");
    CHECK_PASSED();
    request.mode = BP_PLAN_AUTO;
    uint64_t offsets[2];
    bp_plan_result result;
    CHECK_STATUS(bp_plan_run(&request, NULL, offsets, &result, NULL), BP_OK,
                 NULL);
    CHECK(offsets[0] == UINT64_MAX - 5 && offsets[1] == 0);
    CHECK_U64(result.height, UINT64_MAX);
    CHECK_U64(result.status, BP_PLAN_IS_OPTIMAL);
}

static void scratch_memory_is_returned(void)
{
    uint64_t seed = 22;
    for (size_t n = 60; n < 70; n++) {
        problem p = random_problem(&seed, n, true);
        p.first[0] = 0, p.last[0] = 1, p.sizes[0] = 1;
        p.first[1] = 1, p.last[1] = 2, p.sizes[1] = 1; /* not together */
        bp_plan_request request = request_of(&p, BP_PLAN_SEQUENTIAL);
        test_heap heap;
        bp_allocator alloc = test_heap_init(&heap);
        uint64_t offsets[MAX_N];
        bp_plan_result result;
        CHECK_STATUS(bp_plan_run(&request, &alloc, offsets, &result, NULL),
                     BP_OK, NULL);
        CHECK_U64(heap.n_calls, n > 64 ? 1 : 0);
        CHECK_U64(heap.live_bytes, 0);
        if (n > 64) {
            char text[100];
            (void)snprintf(text, sizeof text,
                           "no memory to sort the lifetimes of %zu buffers", n);
            test_heap_fail(&heap, 1, true);
            check_refused(&request, &alloc, BP_NO_MEMORY, text);
            CHECK_PASSED();
        }
        p.has_lifetimes = false;
        request = request_of(&p, BP_PLAN_PACKED);
        test_heap_fail(&heap, 1, true);
        CHECK_STATUS(bp_plan_run(&request, &alloc, offsets, &result, NULL),
                     BP_OK, NULL);
        CHECK_U64(heap.n_calls, 0);
    }
}

static void modes_have_names(void)
{
    const char *const names[] = {"auto", "sequential", "packed", "fast",
                                 "optimal"};
    for (int i = 0; i < BP_N_PLAN_MODES; i++) {
        bp_plan_mode mode = BP_N_PLAN_MODES;
        CHECK_TEXT(bp_plan_mode_name((bp_plan_mode)i), names[i]);
        CHECK(bp_plan_mode_parse(names[i], &mode));
        CHECK_U64(mode, i);
    }
    bp_plan_mode mode = BP_PLAN_PACKED;
    CHECK(!bp_plan_mode_parse("Auto", &mode));
    CHECK(!bp_plan_mode_parse("", &mode));
    CHECK(!bp_plan_mode_parse("unknown", &mode));
    CHECK_U64(mode, BP_PLAN_PACKED);
    CHECK_TEXT(bp_plan_mode_name((bp_plan_mode)77), "unknown");
    CHECK_TEXT(bp_plan_status_name(BP_PLAN_IS_OPTIMAL), "optimal");
    CHECK_TEXT(bp_plan_status_name(BP_PLAN_FEASIBLE), "feasible");
    CHECK_TEXT(bp_plan_status_name(BP_PLAN_INFEASIBLE), "infeasible");
    CHECK_TEXT(bp_plan_status_name(BP_PLAN_UNKNOWN), "unknown");
}

int main(void)
{
    RUN(modes_have_names);
    RUN(tables_made_by_hand);
    RUN(lifetimes_count_for_auto);
    RUN(nothing_is_planned_at_once);
    RUN(no_alignments_means_one);
    RUN(a_tie_keeps_declaration_order);
    RUN(small_problems_against_every_order);
    RUN(large_problems_against_the_rules);
    RUN(bad_values_are_refused);
    RUN(sums_beyond_64_bits_are_refused);
    RUN(auto_takes_the_order_that_fits);
    RUN(scratch_memory_is_returned);
    return finish();
}
