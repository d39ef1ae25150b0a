/* test_hazards.c - buffers that share bytes one after the other: what must
 * stand between, and what packs and checks say of such layouts. The offsets are
 * written by hand, so that they do not hang on how a planner chooses. */
#include "harness.h"

#include "registry_fixture.h"

#include "lifetimes_fixture.h"

#include "registry/layout.h"

/* ---- layouts by hand --------------------------------------------------- */

static void put_at(bp_layout *layout, const char *name, uint64_t offset)
{
    for (size_t i = 0; i < layout->n_placements; i++) {
        if (strcmp(layout->placements[i].name, name) == 0) {
            layout->placements[i].offset_bytes = offset;
        }
    }
}

/* A step with two loops, one in the other: pre, [a, b, [c, d], e], post. */
static bp_factory make_step(fixture *it)
{
    bp_factory f = fixture_open(it, "Step");
    bp_status status = PHASES(it, f, "pre", "a", "b", "c", "d", "e", "post");
    if (status == BP_OK) {
        status = make_loop(it, f, "a", "e");
    }
    if (status == BP_OK) {
        status = make_loop(it, f, "c", "d");
    }
    return status == BP_OK ? f : BP_NO_FACTORY;
}

typedef struct expected {
    const char *before, *after;
    uint32_t leaves, enters, loop;
    bp_hazard_when when;
    bp_barrier barrier;
} expected;

static void check_hazards(const bp_layout *layout, uint32_t lanes,
                          const expected *want, size_t n_want)
{
    bp_hazard *got = NULL;
    size_t n = 0;
    bp_error error;
    CHECK_STATUS(bp_layout_hazards(layout, lanes, &got, &n, &error), BP_OK,
                 &error);
    bool is_right = n == n_want;
    for (size_t i = 0; i < n && i < n_want; i++) {
        const bp_placement *b = bp_layout_get_placement(layout, got[i].before);
        const bp_placement *a = bp_layout_get_placement(layout, got[i].after);
        is_right = is_right && strcmp(b->name, want[i].before) == 0 &&
                   strcmp(a->name, want[i].after) == 0 &&
                   got[i].leaves == want[i].leaves &&
                   got[i].enters == want[i].enters &&
                   got[i].loop == want[i].loop && got[i].when == want[i].when &&
                   got[i].barrier == want[i].barrier &&
                   got[i].location == a->location;
    }
    for (size_t i = 0; i < n && !is_right; i++) {
        printf("    %s: %s (until %u) > %s (from %u), loop %d: %s\n",
               bp_hazard_when_name(got[i].when),
               bp_layout_get_placement(layout, got[i].before)->name,
               (unsigned)got[i].leaves,
               bp_layout_get_placement(layout, got[i].after)->name,
               (unsigned)got[i].enters, (int)got[i].loop,
               bp_barrier_name(got[i].barrier));
    }
    bp_layout_hazards_free(layout, got, n);
    CHECK(is_right);
}

/* ---- hazards ----------------------------------------------------------- */

static void names_and_bad_lanes(void)
{
    CHECK_TEXT(bp_hazard_when_name(BP_HAZARD_LOOP), "loop");
    CHECK_TEXT(bp_hazard_when_name(BP_N_HAZARD_WHENS), "unknown");
    CHECK_TEXT(bp_barrier_name(BP_BARRIER_WARP), "syncwarp");
    CHECK_TEXT(bp_barrier_name(BP_N_BARRIERS), "unknown");
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_layout *layout = layout_of(&it, make_step(&it));
    CHECK(layout != NULL);
    static const uint32_t bad[] = {0, 3, 33, 64};
    for (size_t i = 0; i < 4; i++) {
        bp_hazard *list = NULL;
        size_t n = 0;
        CHECK_STATUS(bp_layout_hazards(layout, bad[i], &list, &n, &it.error),
                     BP_BAD_VALUE, NULL);
        CHECK_U64(it.error.value, bad[i]);
        CHECK_U64(it.error.limit, 32);
        CHECK(list == NULL);
    }
    check_hazards(layout, 1, NULL, 0);
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

/* x (pre), y (b), z (post) in the same place; w always, u beside them. */
static void finds_direct_take_overs(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = make_step(&it);
    CHECK_STATUS(declare(&it, f, "w", 4, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(declare_live(&it, f, "z", 4, BP_SHARED, "post", NULL), BP_OK,
                 &it.error);
    CHECK_STATUS(declare_live(&it, f, "y", 4, BP_SHARED, "b", NULL), BP_OK,
                 &it.error);
    CHECK_STATUS(declare_live(&it, f, "x", 6, BP_SHARED, "pre", NULL), BP_OK,
                 &it.error);
    bp_layout *layout = layout_of(&it, f);
    CHECK(layout != NULL);
    check_hazards(layout, 32, NULL, 0); /* one after the other: no sharing */
    CHECK_PASSED();
    put_at(layout, "z", 16);
    put_at(layout, "y", 16);
    put_at(layout, "x", 16);
    const expected same[] = {
        {"x", "y", 0, 2, BP_ALWAYS, BP_HAZARD_STEP, BP_BARRIER_WARP},
        {"y", "z", 2, 6, BP_ALWAYS, BP_HAZARD_STEP, BP_BARRIER_WARP},
        {"z", "x", 6, 0, BP_ALWAYS, BP_HAZARD_CALL, BP_BARRIER_WARP}};
    check_hazards(layout, 2, same, 3);
    CHECK_PASSED();
    /* z reaches over y's end into what was x's last. */
    put_at(layout, "z", 24);
    const expected over[] = {
        {"x", "y", 0, 2, BP_ALWAYS, BP_HAZARD_STEP, BP_BARRIER_NONE},
        {"y", "z", 2, 6, BP_ALWAYS, BP_HAZARD_STEP, BP_BARRIER_NONE},
        {"x", "z", 0, 6, BP_ALWAYS, BP_HAZARD_STEP, BP_BARRIER_NONE},
        {"z", "x", 6, 0, BP_ALWAYS, BP_HAZARD_CALL, BP_BARRIER_NONE},
        {"y", "x", 2, 0, BP_ALWAYS, BP_HAZARD_CALL, BP_BARRIER_NONE}};
    check_hazards(layout, 1, over, 5);
    CHECK_PASSED();
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

/* In the loops the last owner of the body gives way to the first one. */
static void finds_turns_of_loops(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = make_step(&it);
    CHECK_STATUS(declare_live(&it, f, "of_c", 4, BP_BLOCK, "c", NULL), BP_OK,
                 &it.error);
    CHECK_STATUS(declare_live(&it, f, "of_d", 4, BP_BLOCK, "d", NULL), BP_OK,
                 &it.error);
    CHECK_STATUS(
        declare_live(&it, f, "last", 4, BP_PERSISTENT_LOCAL, "e", "post"),
        BP_OK, &it.error);
    CHECK_STATUS(
        declare_live(&it, f, "first", 4, BP_PERSISTENT_LOCAL, "a", "b"), BP_OK,
        &it.error);
    bp_layout *layout = layout_of(&it, f);
    CHECK(layout != NULL);
    put_at(layout, "of_d", 0);
    put_at(layout, "first", 0);
    /* Loop 0 is the outer one. Per-thread memory needs nothing. */
    const expected want[] = {
        {"of_c", "of_d", 3, 4, BP_ALWAYS, BP_HAZARD_STEP, BP_BARRIER_BLOCK},
        {"first", "last", 2, 5, BP_ALWAYS, BP_HAZARD_STEP, BP_BARRIER_NONE},
        {"last", "first", 5, 1, 0, BP_HAZARD_LOOP, BP_BARRIER_NONE},
        {"of_d", "of_c", 4, 3, 0, BP_HAZARD_LOOP, BP_BARRIER_BLOCK},
        {"of_d", "of_c", 4, 3, 1, BP_HAZARD_LOOP, BP_BARRIER_BLOCK},
        {"last", "first", 6, 1, BP_ALWAYS, BP_HAZARD_CALL, BP_BARRIER_NONE},
        {"of_d", "of_c", 4, 3, BP_ALWAYS, BP_HAZARD_CALL, BP_BARRIER_BLOCK}};
    check_hazards(layout, 32, want, 7);
    CHECK_PASSED();
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

/* Against every byte of every phase: simulate who owned it last. */
static bool has_hazard(const bp_hazard *list, size_t n, uint32_t before,
                       uint32_t after, bp_hazard_when when, uint32_t loop)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i].before == before && list[i].after == after &&
            list[i].when == when && list[i].loop == loop) {
            return true;
        }
    }
    return false;
}

enum { N_BLOCKS = 7, N_PHASES = 6, N_BYTES = 12, N_KINDS = 4 };

static void mark_steps(const bp_layout *layout, size_t byte, bp_loop body,
                       bool (*is_taken)[N_BLOCKS], bool is_turn)
{
    uint32_t owner = BP_ALWAYS;
    uint32_t first = BP_ALWAYS;
    for (uint32_t p = body.first; p <= body.last; p++) {
        for (uint32_t i = 0; i < N_BLOCKS; i++) {
            const bp_placement *b = &layout->placements[i];
            if (b->first_phase > p || b->last_phase < p ||
                b->offset_bytes > byte ||
                b->offset_bytes + b->n_bytes <= byte) {
                continue;
            }
            if (!is_turn && owner != BP_ALWAYS && owner != i) {
                is_taken[owner][i] = true;
            }
            first = first == BP_ALWAYS ? i : first;
            owner = i;
        }
    }
    if (is_turn && owner != first) {
        is_taken[owner][first] = true;
    }
}

/* Random blocks that never overlap while both live. */
static void drop_blocks(bp_layout *layout, uint64_t *seed)
{
    for (size_t i = 0; i < N_BLOCKS; i++) {
        bp_placement *a = &layout->placements[i];
        a->n_bytes = 1 + random_below(seed, 5);
        for (bool is_free = false; !is_free;) {
            a->offset_bytes = random_below(seed, N_BYTES - a->n_bytes + 1);
            a->n_bytes -= a->n_bytes > 0 && random_below(seed, 9) == 0;
            is_free = true;
            for (size_t k = 0; k < i; k++) {
                const bp_placement *b = &layout->placements[k];
                is_free = is_free &&
                          (a->offset_bytes >= b->offset_bytes + b->n_bytes ||
                           b->offset_bytes >= a->offset_bytes + a->n_bytes ||
                           a->first_phase > b->last_phase ||
                           b->first_phase > a->last_phase || a->n_bytes == 0 ||
                           b->n_bytes == 0);
            }
        }
    }
}

static void check_against_bytes(const bp_layout *layout)
{
    static const bp_loop bodies[N_KINDS] = {
        {0, N_PHASES - 1}, {1, 4}, {2, 3}, {0, N_PHASES - 1}};
    static const uint32_t loops[N_KINDS] = {BP_ALWAYS, 0, 1, BP_ALWAYS};
    static const bp_hazard_when whens[N_KINDS] = {
        BP_HAZARD_STEP, BP_HAZARD_LOOP, BP_HAZARD_LOOP, BP_HAZARD_CALL};
    bp_hazard *list = NULL;
    size_t n = 0;
    CHECK_STATUS(bp_layout_hazards(layout, 4, &list, &n, NULL), BP_OK, NULL);
    size_t n_want = 0;
    bool is_right = true;
    for (size_t kind = 0; kind < N_KINDS; kind++) {
        bool is_taken[N_BLOCKS][N_BLOCKS] = {{false}};
        for (size_t byte = 0; byte < N_BYTES; byte++) {
            mark_steps(layout, byte, bodies[kind], is_taken, kind != 0);
        }
        for (uint32_t i = 0; i < N_BLOCKS; i++) {
            for (uint32_t k = 0; k < N_BLOCKS; k++) {
                n_want += is_taken[i][k];
                is_right = is_right && (!is_taken[i][k] ||
                                        has_hazard(list, n, i, k, whens[kind],
                                                   loops[kind]));
            }
        }
    }
    bp_layout_hazards_free(layout, list, n);
    CHECK(is_right);
    CHECK_U64(n, n_want);
}

static void agrees_with_every_byte(void)
{
    uint64_t seed = 4;
    for (size_t round = 0; round < 300; round++) {
        fixture it;
        CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
        bp_factory f = fixture_open(&it, "F");
        static const char *const phases[N_PHASES] = {"p0", "p1", "p2",
                                                     "p3", "p4", "p5"};
        CHECK_STATUS(
            bp_registry_phases(it.registry, f, phases, N_PHASES, &it.error),
            BP_OK, &it.error);
        CHECK_STATUS(make_loop(&it, f, "p1", "p4"), BP_OK, &it.error);
        CHECK_STATUS(make_loop(&it, f, "p2", "p3"), BP_OK, &it.error);
        for (size_t i = 0; i < N_BLOCKS; i++) {
            const char name[3] = {'b', (char)('0' + i), '\0'};
            uint64_t first = random_below(&seed, N_PHASES);
            uint64_t last = first + random_below(&seed, N_PHASES - first);
            last = random_below(&seed, 2) == 0 ? first : last;
            CHECK_STATUS(declare_live(&it, f, name, 1, BP_SHARED, phases[first],
                                      phases[last]),
                         BP_OK, &it.error);
        }
        bp_layout *layout = layout_of(&it, f);
        CHECK(layout != NULL);
        drop_blocks(layout, &seed);
        check_against_bytes(layout);
        CHECK_PASSED();
        bp_layout_unref(layout);
        CHECK_STATUS(bp_registry_invalidate(it.registry, f, &it.error), BP_OK,
                     &it.error);
        CHECK(fixture_fini(&it));
    }
}

/* ---- packs and checks -------------------------------------------------- */

static bp_status round_trip(bp_layout *layout, bool *is_equal)
{
    uint8_t *bytes;
    size_t n_bytes;
    bp_layout *back = NULL;
    bp_status status = bp_layout_pack(layout, &bytes, &n_bytes, NULL);
    if (status != BP_OK) {
        return status;
    }
    status = bp_layout_unpack(bytes, n_bytes, &layout->alloc, &back, NULL);
    bp_layout_pack_free(layout, bytes, n_bytes);
    if (status == BP_OK) {
        status = bp_layout_equal(layout, back, is_equal, NULL);
        *is_equal = *is_equal &&
                    bp_layout_n_phases(back) == bp_layout_n_phases(layout) &&
                    bp_layout_n_loops(back) == bp_layout_n_loops(layout) &&
                    strcmp(bp_layout_phase_name(back, 1), "a") == 0;
    }
    bp_layout_unref(back);
    return status;
}

static void packs_take_turns_alone(void)
{
    static const struct {
        const char *a_first, *a_last, *b_first, *b_last;
        bp_status status;
    } rows[] = {{"pre", NULL, "a", NULL, BP_OK},
                {"b", "d", "post", NULL, BP_OK},
                {"a", "b", "b", "b", BP_BAD_DATA},
                {"pre", "a", "e", NULL, BP_BAD_DATA}, /* runs into the loop */
                {NULL, NULL, "e", NULL, BP_BAD_DATA},
                {"post", NULL, NULL, NULL, BP_BAD_DATA}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fixture it;
        CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
        bp_factory f = make_step(&it);
        CHECK_STATUS(declare_live(&it, f, "x", 2, BP_SHARED, rows[i].a_first,
                                  rows[i].a_last),
                     BP_OK, &it.error);
        CHECK_STATUS(declare_live(&it, f, "y", 2, BP_SHARED, rows[i].b_first,
                                  rows[i].b_last),
                     BP_OK, &it.error);
        bp_layout *layout = layout_of(&it, f);
        CHECK(layout != NULL);
        put_at(layout, "y", 4); /* x's second half */
        bool is_equal = false;
        CHECK_STATUS(round_trip(layout, &is_equal), rows[i].status, NULL);
        CHECK(is_equal == (rows[i].status == BP_OK));
        /* The registry's own check sees the same. */
        CHECK_STATUS(bp_registry_check(it.registry, &it.error),
                     rows[i].status == BP_OK ? BP_OK : BP_INTERNAL, &it.error);
        put_at(layout, "y", 8);
        bp_layout_unref(layout);
        CHECK(fixture_fini(&it));
    }
}

/* Whatever views show of lifetimes is in the digest. */
static void digests_see_lifetimes(void)
{
    enum { N_SEEN = 8 };
    char seen[N_SEEN][BP_DIGEST_TEXT];
    for (size_t i = 0; i < N_SEEN; i++) {
        fixture it;
        CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
        bp_factory f = fixture_open(&it, "F");
        bp_factory child = fixture_open(&it, "Child");
        CHECK_STATUS(i == 1   ? PHASES(&it, f, "a", "c")
                     : i == 2 ? PHASES(&it, f, "a", "b", "c")
                     : i == 3 ? no_phases(&it, f)
                              : PHASES(&it, f, "a", "b"),
                     BP_OK, &it.error);
        if (i >= 4) {
            CHECK_STATUS(make_loop(&it, f, "a", "b"), BP_OK, &it.error);
        }
        if (i == 6) {
            CHECK_STATUS(declare_carried(&it, f, "x", 1, "a", "b"), BP_OK,
                         &it.error);
        } else {
            CHECK_STATUS(declare_live(&it, f, "x", 1, BP_SHARED,
                                      i == 3 ? NULL : "a", i >= 5 ? "b" : NULL),
                         BP_OK, &it.error);
        }
        CHECK_STATUS(add_live(&it, f, child, "kid", i == 7 ? "b" : NULL, NULL),
                     BP_OK, &it.error);
        bp_layout *layout = layout_of(&it, f);
        CHECK(layout != NULL);
        CHECK_STATUS(bp_layout_digest(layout, seen[i], &it.error), BP_OK,
                     &it.error);
        for (size_t k = 0; k < i; k++) {
            CHECK(strcmp(seen[i], seen[k]) != 0);
        }
        bp_layout_unref(layout);
        CHECK(fixture_fini(&it));
    }
}

int main(void)
{
    RUN(names_and_bad_lanes);
    RUN(finds_direct_take_overs);
    RUN(finds_turns_of_loops);
    RUN(agrees_with_every_byte);
    RUN(packs_take_turns_alone);
    RUN(digests_see_lifetimes);
    return finish();
}
