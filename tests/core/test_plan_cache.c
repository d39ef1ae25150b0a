/* test_plan_cache.c - plans that are kept: who shares one, what is found, what
 * goes first, and that nothing of it shows in any plan. */
#include "harness.h"

#include "registry_fixture.h"

#include "lifetimes_fixture.h"

#include "base/alloc.h"
#include "registry/model.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- problems ---------------------------------------------------------- */

enum { MAX_N = 40 };

typedef struct problem {
    size_t n;
    uint64_t sizes[MAX_N], aligns[MAX_N];
    int64_t first[MAX_N], last[MAX_N];
    bp_plan_request request;
} problem;

/* A problem that declaration order does not solve. */
static void make_problem(problem *p, uint64_t seed, size_t n)
{
    memset(p, 0, sizeof *p);
    p->n = n;
    for (size_t i = 0; i < n; i++) {
        p->aligns[i] = (uint64_t)1 << random_below(&seed, 5);
        p->sizes[i] = 1 + random_below(&seed, 300);
        p->first[i] = (int64_t)random_below(&seed, 8);
        p->last[i] = p->first[i] + 1 + (int64_t)random_below(&seed, 3);
    }
    /* Two that are never alive at once. */
    p->first[0] = 0, p->last[0] = 1;
    p->first[1] = 9, p->last[1] = 10;
    p->request = (bp_plan_request){.n = n,
                                   .sizes = p->sizes,
                                   .aligns = p->aligns,
                                   .first = p->first,
                                   .last = p->last,
                                   .mode = BP_PLAN_AUTO,
                                   .node_budget = 500};
}

static bool is_same_answer(size_t n, const uint64_t *a, const uint64_t *b,
                           const bp_plan_result *x, const bp_plan_result *y)
{
    return memcmp(a, b, n * sizeof *a) == 0 && x->height == y->height &&
           x->load == y->load && x->lower_bound == y->lower_bound &&
           x->status == y->status && x->n_nodes == y->n_nodes &&
           x->is_interrupted == y->is_interrupted;
}

/* What the kept plans answer is what the planner answers. */
static bool answers_right(bp__plans *plans, const bp_plan_request *request)
{
    uint64_t got[MAX_N] = {0};
    uint64_t want[MAX_N] = {0};
    bp_plan_result result = {0};
    bp_plan_result expected = {0};
    bp_error error = {0};
    bp_status status = bp_plan_run(request, NULL, want, &expected, &error);
    if (status != BP_OK) {
        return false;
    }
    return bp__plans_run(plans, request, &plans->alloc, got, &result, &error) ==
               BP_OK &&
           is_same_answer(request->n, got, want, &result, &expected);
}

/* Plans alone, on a heap that counts. */
typedef struct shelf {
    test_heap heap;
    bp_allocator alloc;
    bp_mutex lock;
    bp__plans plans;
} shelf;

static bool shelf_init(shelf *it)
{
    memset(it, 0, sizeof *it);
    it->alloc = test_heap_init(&it->heap);
    bool is_there = bp__mutex_init(&it->lock);
    bp__plans_init(&it->plans, &it->lock, &it->alloc);
    return is_there;
}

static bool shelf_is_sound(const shelf *it)
{
    const char *fault = bp__plans_check(&it->plans);
    if (fault != NULL) {
        printf("    %s\n", fault);
    }
    return fault == NULL;
}

static bool shelf_fini(shelf *it)
{
    bool is_sound = shelf_is_sound(it);
    bp__plans_fini(&it->plans);
    bp__mutex_fini(&it->lock);
    return is_sound && it->heap.live_blocks == 0 && it->heap.live_bytes == 0 &&
           it->plans.n_plans == 0 && it->plans.n_bytes == 0;
}

#define CHECK_COUNTS(shelf_plans, found, searched, kept)                       \
    do {                                                                       \
        CHECK_U64((shelf_plans)->n_found, (found));                            \
        CHECK_U64((shelf_plans)->n_searched, (searched));                      \
        CHECK_U64((shelf_plans)->n_plans, (kept));                             \
    } while (0)

/* ---- what a request is ------------------------------------------------- */

static uint32_t same_hash(const bp_plan_request *request)
{
    (void)request;
    return 7;
}

static uint32_t few_hashes(const bp_plan_request *request)
{
    return (uint32_t)(request->sizes[0] % 3) * BP__PLANS_BUCKETS;
}

/* Every request once, then again, on one shelf. */
static void find_each(uint32_t (*hash)(const bp_plan_request *))
{
    enum { N = 60 };
    static problem problems[N];
    shelf it;
    CHECK(shelf_init(&it));
    if (hash != NULL) {
        it.plans.hash = hash;
    }
    for (uint64_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < N; i++) {
            make_problem(&problems[i], i + 1, 3 + i % 30);
            CHECK(answers_right(&it.plans, &problems[i].request));
            CHECK_COUNTS(&it.plans, round == 0 ? 0 : (round - 1) * N + i + 1,
                         round == 0 ? i + 1 : N, round == 0 ? i + 1 : N);
        }
        CHECK(shelf_is_sound(&it));
    }
    CHECK(shelf_fini(&it));
}

static void finds_what_it_keeps(void)
{
    find_each(NULL);
}

static void compares_in_full_where_hashes_collide(void)
{
    find_each(same_hash);
    CHECK_PASSED();
    find_each(few_hashes);
}

/* One change at a time: every part of a request makes it another. */
static void tells_apart(uint32_t (*hash)(const bp_plan_request *))
{
    enum { N = 10 };
    static problem problems[N];
    for (size_t i = 0; i < N; i++) {
        make_problem(&problems[i], 5, 12);
    }
    problems[1].sizes[11]++;
    problems[2].aligns[4] *= 2;
    problems[3].first[0]--;
    problems[4].last[1]++;
    problems[5].request.n--;
    problems[6].request.mode = BP_PLAN_FAST;
    problems[7].request.mode = BP_PLAN_OPTIMAL;
    problems[8].request.node_budget++;
    problems[9].request.aligns = NULL;
    shelf it;
    CHECK(shelf_init(&it));
    if (hash != NULL) {
        it.plans.hash = hash;
    }
    for (size_t i = 0; i < N; i++) {
        CHECK(answers_right(&it.plans, &problems[i].request));
        CHECK_COUNTS(&it.plans, 0, i + 1, i + 1);
    }
    /* No alignments are not alignments of 1; no lifetimes are not always. */
    problem p;
    make_problem(&p, 5, 12);
    for (size_t i = 0; i < p.n; i++) {
        p.aligns[i] = 1;
    }
    CHECK(answers_right(&it.plans, &p.request));
    CHECK_COUNTS(&it.plans, 0, N + 1, N + 1);
    make_problem(&p, 5, 12);
    p.request.mode = BP_PLAN_FAST;
    p.request.first = p.request.last = NULL;
    CHECK(answers_right(&it.plans, &p.request));
    CHECK_COUNTS(&it.plans, 0, N + 2, N + 2);
    for (size_t i = 0; i < N; i++) {
        CHECK(answers_right(&it.plans, &problems[i].request));
        CHECK_COUNTS(&it.plans, i + 1, N + 2, N + 2);
    }
    CHECK(shelf_fini(&it));
}

static void tells_requests_apart(void)
{
    tells_apart(NULL);
    CHECK_PASSED();
    tells_apart(same_hash);
}

/* ---- what is not kept -------------------------------------------------- */

static void keeps_nothing_cheap(void)
{
    shelf it;
    CHECK(shelf_init(&it));
    problem p;
    make_problem(&p, 3, 20);
    static const bp_plan_mode simple[] = {BP_PLAN_SEQUENTIAL, BP_PLAN_PACKED};
    for (size_t i = 0; i < 2; i++) {
        p.request.mode = simple[i];
        CHECK(answers_right(&it.plans, &p.request));
    }
    /* Declaration order is best: one alignment, all alive, declared or not. */
    p.request.mode = BP_PLAN_AUTO;
    for (size_t i = 0; i < p.n; i++) {
        p.aligns[i] = 1;
        p.first[i] = 0;
        p.last[i] = 3;
    }
    CHECK(answers_right(&it.plans, &p.request));
    p.request.first = p.request.last = NULL;
    CHECK(answers_right(&it.plans, &p.request));
    p.request.n = 0;
    CHECK(answers_right(&it.plans, &p.request));
    CHECK_COUNTS(&it.plans, 0, 0, 0);
    CHECK(shelf_fini(&it));
}

static bool stop_now(void *ctx, const bp_plan_progress *progress)
{
    (void)progress;
    ++*(unsigned *)ctx;
    return true;
}

/* A search that goes on until its budget is used up. */
static void make_hard(problem *p)
{
    uint64_t seed = 1;
    bp_plan_result result = {0};
    uint64_t offsets[MAX_N];
    do {
        make_problem(p, seed++, MAX_N);
        p->request.node_budget = 1 << 14;
        if (bp_plan_run(&p->request, NULL, offsets, &result, NULL) != BP_OK) {
            return;
        }
    } while (result.n_nodes < p->request.node_budget && seed < 500);
}

static void keeps_nothing_interrupted(void)
{
    shelf it;
    CHECK(shelf_init(&it));
    problem p;
    make_hard(&p);
    unsigned n_polls = 0;
    p.request.poll = stop_now;
    p.request.poll_ctx = &n_polls;
    uint64_t offsets[MAX_N];
    bp_plan_result result;
    CHECK_STATUS(
        bp__plans_run(&it.plans, &p.request, &it.alloc, offsets, &result, NULL),
        BP_OK, NULL);
    CHECK(result.is_interrupted && n_polls == 1);
    CHECK_COUNTS(&it.plans, 0, 1, 0);
    p.request.poll = NULL;
    CHECK(answers_right(&it.plans, &p.request));
    CHECK_COUNTS(&it.plans, 0, 2, 1);
    /* What is kept needs no search that could be stopped. */
    p.request.poll = stop_now;
    CHECK_STATUS(
        bp__plans_run(&it.plans, &p.request, &it.alloc, offsets, &result, NULL),
        BP_OK, NULL);
    CHECK(!result.is_interrupted && n_polls == 1);
    CHECK_COUNTS(&it.plans, 1, 2, 1);
    CHECK(shelf_fini(&it));
}

static void keeps_no_pins_and_no_capacity(void)
{
    shelf it;
    CHECK(shelf_init(&it));
    problem p;
    make_problem(&p, 4, 10);
    CHECK(answers_right(&it.plans, &p.request));
    p.request.has_capacity = true;
    p.request.capacity = 10;
    CHECK(answers_right(&it.plans, &p.request));
    p.request.has_capacity = false;
    int64_t pins[MAX_N];
    for (size_t i = 0; i < p.n; i++) {
        pins[i] = -1;
    }
    pins[3] = 4096;
    p.request.pins = pins;
    CHECK(answers_right(&it.plans, &p.request));
    CHECK_COUNTS(&it.plans, 0, 1, 1);
    CHECK(shelf_fini(&it));
}

/* ---- room -------------------------------------------------------------- */

static void drops_what_was_not_used_for_longest(void)
{
    enum { A, B, C, D, E, N };
    problem p[N];
    shelf it;
    CHECK(shelf_init(&it));
    for (size_t i = 0; i < N; i++) {
        make_problem(&p[i], 20 + i, 10);
    }
    CHECK(answers_right(&it.plans, &p[A].request));
    it.plans.n_most_bytes = 3 * it.plans.n_bytes; /* of equal size */
    CHECK(answers_right(&it.plans, &p[B].request));
    CHECK(answers_right(&it.plans, &p[C].request));
    CHECK(answers_right(&it.plans, &p[A].request));
    CHECK_COUNTS(&it.plans, 1, 3, 3);
    CHECK_U64(it.plans.n_dropped, 0);
    CHECK(answers_right(&it.plans, &p[D].request)); /* B goes */
    CHECK_COUNTS(&it.plans, 1, 4, 3);
    CHECK_U64(it.plans.n_dropped, 1);
    CHECK(answers_right(&it.plans, &p[C].request));
    CHECK(answers_right(&it.plans, &p[A].request));
    CHECK(answers_right(&it.plans, &p[D].request));
    CHECK_COUNTS(&it.plans, 4, 4, 3);
    CHECK(answers_right(&it.plans, &p[B].request)); /* C goes */
    CHECK(answers_right(&it.plans, &p[A].request));
    CHECK_COUNTS(&it.plans, 5, 5, 3);
    /* A larger one needs the room of two: D and B. */
    make_problem(&p[E], 30, 19);
    CHECK(answers_right(&it.plans, &p[E].request));
    CHECK_COUNTS(&it.plans, 5, 6, 2);
    CHECK_U64(it.plans.n_dropped, 4);
    CHECK(answers_right(&it.plans, &p[A].request));
    CHECK_COUNTS(&it.plans, 6, 6, 2);
    CHECK(shelf_is_sound(&it));
    /* One that has no room at all drops nothing. */
    make_problem(&p[E], 31, MAX_N);
    CHECK(answers_right(&it.plans, &p[E].request));
    CHECK_COUNTS(&it.plans, 6, 7, 2);
    CHECK_U64(it.plans.n_dropped, 4);
    CHECK(shelf_fini(&it));
}

static void stays_within_its_bytes(void)
{
    shelf it;
    CHECK(shelf_init(&it));
    CHECK_U64(it.plans.n_most_bytes, BP__PLANS_BYTES);
    problem p;
    size_t n_most = 0;
    for (uint64_t seed = 1; it.plans.n_dropped < 5; seed++) {
        make_problem(&p, seed, MAX_N);
        p.request.mode = BP_PLAN_FAST;
        CHECK(answers_right(&it.plans, &p.request));
        CHECK(it.plans.n_bytes <= BP__PLANS_BYTES);
        CHECK_U64(it.heap.live_bytes, it.plans.n_bytes);
        n_most = it.plans.n_bytes > n_most ? it.plans.n_bytes : n_most;
        CHECK(seed < 5000);
    }
    /* It was full but for less than one plan. */
    CHECK(n_most + it.plans.n_bytes / it.plans.n_plans > BP__PLANS_BYTES);
    CHECK(shelf_fini(&it));
}

/* ---- errors ------------------------------------------------------------ */

static void keeping_is_a_favour(void)
{
    problem p;
    make_problem(&p, 9, 30);
    unsigned n_unkept = 0;
    unsigned n_failed = 0;
    for (uint64_t n = 1;; n++) {
        shelf it;
        CHECK(shelf_init(&it));
        uint64_t offsets[MAX_N];
        bp_plan_result result;
        bp_error error = {0};
        test_heap_fail(&it.heap, n, n % 2 == 0);
        bp_status status = bp__plans_run(&it.plans, &p.request, &it.alloc,
                                         offsets, &result, &error);
        uint64_t n_refused = it.heap.n_refused;
        test_heap_fail(&it.heap, 0, false);
        CHECK_U64(it.plans.n_plans, n_refused == 0);
        CHECK_U64(it.heap.live_blocks, n_refused == 0);
        if (status == BP_OK) {
            CHECK_U64(it.plans.n_refused, n_refused);
            n_unkept += n_refused == 1;
        } else {
            CHECK_STATUS(status, BP_NO_MEMORY, &error);
            CHECK_U64(error.status, BP_NO_MEMORY);
            CHECK_U64(it.plans.n_refused, 0);
            n_failed++;
        }
        CHECK(answers_right(&it.plans, &p.request));
        CHECK(answers_right(&it.plans, &p.request));
        CHECK_COUNTS(&it.plans, n_refused == 0 ? 2 : 1, n_refused == 0 ? 1 : 2,
                     1);
        CHECK(shelf_fini(&it));
        if (n_refused == 0) {
            break;
        }
    }
    CHECK_U64(n_unkept, 1);
    CHECK(n_failed > 5);
}

static void errors_are_the_planners(void)
{
    shelf it;
    CHECK(shelf_init(&it));
    problem p;
    make_problem(&p, 2, 6);
    p.last[5] = p.first[5] - 1;
    uint64_t offsets[MAX_N];
    bp_plan_result result;
    for (int mode = 0; mode < BP_N_PLAN_MODES; mode++) {
        bp_error want = {0};
        bp_error got = {0};
        p.request.mode = (bp_plan_mode)mode;
        CHECK_STATUS(bp_plan_run(&p.request, NULL, offsets, &result, &want),
                     BP_BAD_VALUE, &want);
        CHECK_STATUS(bp__plans_run(&it.plans, &p.request, &it.alloc, offsets,
                                   &result, &got),
                     BP_BAD_VALUE, &got);
        CHECK_TEXT(got.text, want.text);
    }
    CHECK_COUNTS(&it.plans, 0, 2, 0); /* auto fails before it looks */
    /* Only another order than that of declaration fits 64 bits. */
    problem q = {.sizes = {1, UINT64_MAX - UINT32_MAX},
                 .aligns = {1, (uint64_t)1 << 32}};
    q.request = (bp_plan_request){.n = 2, .sizes = q.sizes, .aligns = q.aligns};
    bp_error error = {0};
    CHECK_STATUS(bp__plans_run(&it.plans, &q.request, &it.alloc, offsets,
                               &result, &error),
                 BP_OK, &error);
    CHECK_U64(error.status, BP_OK);
    CHECK_U64(offsets[0], UINT64_MAX - UINT32_MAX);
    CHECK_U64(offsets[1], 0);
    CHECK(answers_right(&it.plans, &q.request));
    CHECK_COUNTS(&it.plans, 1, 3, 1);
    CHECK(shelf_fini(&it));
}

static void check_finds_what_is_broken(void)
{
    shelf it;
    CHECK(shelf_init(&it));
    problem p;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        make_problem(&p, seed, 8);
        CHECK(answers_right(&it.plans, &p.request));
    }
    it.plans.hash = same_hash;
    CHECK_TEXT(bp__plans_check(&it.plans),
               "a kept plan is no plan of its request");
    shelf fresh;
    CHECK(shelf_init(&fresh));
    it.plans.hash = fresh.plans.hash;
    CHECK(bp__plans_check(&it.plans) == NULL);
    it.plans.n_bytes--;
    CHECK_TEXT(bp__plans_check(&it.plans), "the kept plans are miscounted");
    it.plans.n_bytes++;
    it.plans.n_most_bytes = it.plans.n_bytes - 1;
    CHECK_TEXT(bp__plans_check(&it.plans), "the kept plans are miscounted");
    it.plans.n_most_bytes = BP__PLANS_BYTES;
    it.plans.n_plans++;
    CHECK_TEXT(bp__plans_check(&it.plans),
               "the kept plans are not those in the buckets");
    it.plans.n_plans--;
    bp__plan *newest = it.plans.newest;
    it.plans.newest = it.plans.oldest;
    CHECK_TEXT(bp__plans_check(&it.plans), "the kept plans are no list");
    it.plans.newest = newest;
    CHECK(shelf_fini(&it));
    CHECK(shelf_fini(&fresh));
}

/* ---- registries -------------------------------------------------------- */

/* Ten buffers in four phases; `which` changes one of them. */
static bool declare_ten(fixture *it, bp_factory factory, const char *prefix,
                        uint64_t which)
{
    static const char *const phases[] = {"p0", "p1", "p2", "p3"};
    uint64_t seed = 77;
    if (PHASES(it, factory, "p0", "p1", "p2", "p3") != BP_OK) {
        return false;
    }
    for (int i = 0; i < 10; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%s%d", prefix, i);
        uint64_t n = 1 + random_below(&seed, 100) + (i == 3 ? which : 0);
        size_t first = i < 4 ? (size_t)i : random_below(&seed, 4);
        if (declare_live(it, factory, name, n, BP_SHARED, phases[first],
                         phases[first + random_below(&seed, 4 - first)]) !=
            BP_OK) {
            return false;
        }
    }
    return true;
}

static bool is_built(fixture *it, bp_factory factory)
{
    bp_layout *layout = layout_of(it, factory);
    bp_layout_unref(layout);
    return layout != NULL;
}

static void twins_share_one_plan(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    const bp__plans *plans = &it.registry->plans;
    bp_factory f[3];
    for (size_t i = 0; i < 3; i++) {
        f[i] = fixture_open(&it, i == 0 ? "One" : "Other");
        CHECK(declare_ten(&it, f[i], i == 0 ? "a" : "b", i == 2 ? 5 : 0));
    }
    char *before = take_dump(&it);
    bp_layout *one = layout_of(&it, f[0]);
    CHECK_COUNTS(plans, 0, 1, 1);
    bp_layout *other = layout_of(&it, f[1]);
    CHECK_COUNTS(plans, 1, 1, 1);
    CHECK(one != NULL && other != NULL && one != other);
    for (size_t i = 0; i < 10; i++) {
        CHECK_U64(bp_layout_get_placement(one, i)->offset_bytes,
                  bp_layout_get_placement(other, i)->offset_bytes);
    }
    const bp_region *a = bp_layout_get_region(one, BP_SHARED);
    const bp_region *b = bp_layout_get_region(other, BP_SHARED);
    CHECK_U64(a->lower_bound, b->lower_bound);
    CHECK_U64(a->load, b->load);
    CHECK_U64(a->status, b->status);
    CHECK(is_built(&it, f[2])); /* no twin */
    CHECK_COUNTS(plans, 1, 2, 2);
    char *after = take_dump(&it);
    CHECK_TEXT(after, before);
    drop_dump(&it, before);
    drop_dump(&it, after);
    bp_layout_unref(one);
    bp_layout_unref(other);
    CHECK(fixture_fini(&it));
}

static void what_once_was_is_found(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_OPTIMAL));
    const bp__plans *plans = &it.registry->plans;
    bp_factory f = fixture_open(&it, "One");
    CHECK(declare_ten(&it, f, "a", 0));
    CHECK(is_built(&it, f));
    CHECK(is_built(&it, f)); /* current: nothing is looked up */
    CHECK_COUNTS(plans, 0, 1, 1);
    CHECK(declare_ten(&it, f, "a", 9));
    CHECK(is_built(&it, f));
    CHECK_COUNTS(plans, 0, 2, 2);
    CHECK(declare_ten(&it, f, "a", 0));
    CHECK(is_built(&it, f));
    CHECK_STATUS(bp_registry_invalidate(it.registry, f, &it.error), BP_OK,
                 &it.error);
    CHECK(is_built(&it, f));
    CHECK_COUNTS(plans, 2, 2, 2);
    /* Another memory, other names: the same plan. It outlives its factory. */
    bp_factory_close(it.registry, f);
    f = fixture_open(&it, "Two");
    CHECK(declare_ten(&it, f, "b", 9));
    for (int i = 0; i < 10; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "b%d_location", i);
        CHECK_STATUS(move(&it, f, key, "block"), BP_OK, &it.error);
    }
    CHECK(is_built(&it, f));
    CHECK_COUNTS(plans, 3, 2, 2);
    CHECK(fixture_fini(&it));
}

static void simple_layouts_look_nothing_up(void)
{
    static const bp_plan_mode modes[] = {BP_PLAN_SEQUENTIAL, BP_PLAN_PACKED,
                                         BP_PLAN_AUTO};
    for (size_t i = 0; i < 3; i++) {
        fixture it;
        CHECK(fixture_init(&it, modes[i]));
        bp_factory f = fixture_open(&it, "One");
        if (modes[i] != BP_PLAN_AUTO) {
            CHECK(declare_ten(&it, f, "a", 0));
        } else {
            CHECK_STATUS(declare(&it, f, "x", 3, BP_SHARED), BP_OK, NULL);
            CHECK_STATUS(declare(&it, f, "y", 5, BP_SHARED), BP_OK, NULL);
        }
        CHECK(is_built(&it, f));
        CHECK_COUNTS(&it.registry->plans, 0, 0, 0);
        CHECK(fixture_fini(&it));
    }
}

static bool has_digest(fixture *it, bp_factory factory,
                       char digest[BP_DIGEST_TEXT])
{
    bp_layout *layout = layout_of(it, factory);
    bool is_there =
        layout != NULL && bp_layout_digest(layout, digest, &it->error) == BP_OK;
    bp_layout_unref(layout);
    return is_there;
}

/* A long history with room for a few plans, and none: the same layouts. */
static void no_layout_shows_what_is_kept(void)
{
    fixture kept;
    fixture none;
    CHECK(fixture_init(&kept, BP_PLAN_AUTO));
    CHECK(fixture_init(&none, BP_PLAN_AUTO));
    kept.registry->plans.n_most_bytes = 6000;
    none.registry->plans.n_most_bytes = 0;
    bp_factory f = fixture_open(&kept, "F");
    bp_factory g = fixture_open(&none, "F");
    uint64_t seed = 5;
    for (int round = 0; round < 300; round++) {
        uint64_t which = random_below(&seed, 2) * random_below(&seed, 30);
        CHECK(declare_ten(&kept, f, "a", which));
        CHECK(declare_ten(&none, g, "a", which));
        char x[BP_DIGEST_TEXT];
        char y[BP_DIGEST_TEXT];
        CHECK(has_digest(&kept, f, x));
        CHECK(has_digest(&none, g, y));
        CHECK_TEXT(x, y);
    }
    CHECK(kept.registry->plans.n_found > 50);
    CHECK(kept.registry->plans.n_dropped > 50);
    CHECK_COUNTS(&none.registry->plans, 0, none.registry->plans.n_searched, 0);
    CHECK(fixture_fini(&kept));
    CHECK(fixture_fini(&none));
}

static void registry_check_looks_at_plans(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory f = fixture_open(&it, "One");
    CHECK(declare_ten(&it, f, "a", 0));
    CHECK(is_built(&it, f));
    it.registry->plans.n_bytes++;
    CHECK_STATUS(bp_registry_check(it.registry, &it.error), BP_INTERNAL,
                 &it.error);
    CHECK(strstr(it.error.text, "the kept plans are miscounted") != NULL);
    it.registry->plans.n_bytes--;
    CHECK(fixture_fini(&it));
}

/* ---- threads ----------------------------------------------------------- */

enum { N_THREADS = 8, N_SHAPES = 12, N_TURNS = 300 };

typedef struct crowd {
    bp_mutex lock;
    bp__plans plans;
    problem problems[N_SHAPES];
    atomic_uint n_wrong;
} crowd;

typedef struct member {
    crowd *all;
    pthread_t thread;
    uint64_t seed;
} member;

static void *plan_at_random(void *argument)
{
    member *me = argument;
    crowd *all = me->all;
    for (int turn = 0; turn < N_TURNS; turn++) {
        const problem *p = &all->problems[random_below(&me->seed, N_SHAPES)];
        bool is_right = answers_right(&all->plans, &p->request);
        if (turn % 16 == 0) {
            bp__mutex_lock(&all->lock);
            is_right = is_right && bp__plans_check(&all->plans) == NULL;
            bp__mutex_unlock(&all->lock);
        }
        atomic_fetch_add(&all->n_wrong, !is_right);
    }
    return NULL;
}

/* Room for half of what they ask for: all the time something is found, kept
 * twice or dropped. */
static void many_threads_share_plans(void)
{
    static crowd all;
    CHECK(bp__mutex_init(&all.lock));
    bp_allocator alloc = bp__allocator_or_default(NULL);
    bp__plans_init(&all.plans, &all.lock, &alloc);
    all.plans.n_most_bytes = 6000;
    for (size_t i = 0; i < N_SHAPES; i++) {
        make_problem(&all.problems[i], i + 1, 20);
    }
    member members[N_THREADS];
    for (size_t i = 0; i < N_THREADS; i++) {
        members[i] = (member){.all = &all, .seed = i + 1};
        CHECK(pthread_create(&members[i].thread, NULL, plan_at_random,
                             &members[i]) == 0);
    }
    for (size_t i = 0; i < N_THREADS; i++) {
        CHECK(pthread_join(members[i].thread, NULL) == 0);
    }
    CHECK_U64(atomic_load(&all.n_wrong), 0);
    CHECK_U64(all.plans.n_found + all.plans.n_searched, N_THREADS * N_TURNS);
    CHECK(all.plans.n_found > 0 && all.plans.n_dropped > 0);
    CHECK(bp__plans_check(&all.plans) == NULL);
    bp__plans_fini(&all.plans);
    bp__mutex_fini(&all.lock);
}

int main(void)
{
    RUN(finds_what_it_keeps);
    RUN(compares_in_full_where_hashes_collide);
    RUN(tells_requests_apart);
    RUN(keeps_nothing_cheap);
    RUN(keeps_nothing_interrupted);
    RUN(keeps_no_pins_and_no_capacity);
    RUN(drops_what_was_not_used_for_longest);
    RUN(stays_within_its_bytes);
    RUN(keeping_is_a_favour);
    RUN(errors_are_the_planners);
    RUN(check_finds_what_is_broken);
    RUN(twins_share_one_plan);
    RUN(what_once_was_is_found);
    RUN(simple_layouts_look_nothing_up);
    RUN(no_layout_shows_what_is_kept);
    RUN(registry_check_looks_at_plans);
    RUN(many_threads_share_plans);
    return finish();
}
