/* test_watches.c - levels of pressure are exact, and watches see every edge. */
#include "harness.h"

#include "ledger_fixture.h"

#include "device/ledger.h"

#define TWO_63 ((uint64_t)1 << 63)

/* ---- levels ------------------------------------------------------------ */

/* ceil(limit * percent / 100), the first value at a level, in another way. */
static uint64_t begin_of(uint64_t limit, uint32_t percent)
{
    uint64_t rest = limit % 100 * percent;
    return limit / 100 * percent + rest / 100 + (rest % 100 != 0);
}

static void levels_begin_to_the_byte(void)
{
    static const uint64_t limits[] = {1,
                                      2,
                                      3,
                                      7,
                                      19,
                                      99,
                                      100,
                                      101,
                                      1000,
                                      12345678901,
                                      3145,
                                      (1u << 24) + 1,
                                      (uint64_t)8 << 30,
                                      TWO_63 - 1,
                                      UINT64_MAX};
    bp_levels levels = BP_DEFAULT_LEVELS;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        for (int level = 1; level < BP_N_PRESSURES; level++) {
            uint64_t begin = begin_of(limits[i], levels.percent[level - 1]);
            CHECK((int)bp_pressure_of(begin, limits[i], levels) >= level);
            CHECK((int)bp_pressure_of(begin - 1, limits[i], levels) < level);
        }
        CHECK(bp_pressure_of(0, limits[i], levels) == BP_LOW);
        CHECK(bp_pressure_of(limits[i], limits[i], levels) == BP_CRITICAL);
        CHECK(bp_pressure_of(UINT64_MAX, limits[i], levels) == BP_CRITICAL);
    }
    CHECK(bp_pressure_of(0, 0, levels) == BP_CRITICAL);
    CHECK(bp_pressure_of(1, 0, levels) == BP_CRITICAL);
}

static void random_levels_agree(void)
{
    uint64_t seed = 11;
    for (int i = 0; i < 100000; i++) {
        uint64_t limit = random_u64(&seed) >> random_below(&seed, 64);
        uint32_t percent = (uint32_t)random_below(&seed, 100) + 1;
        uint64_t begin = begin_of(limit, percent);
        uint64_t x = begin + random_below(&seed, 5) - 2;
        CHECK(bp__at_least(x, limit, percent) == (x >= begin));
    }
}

/* A ratio in single precision, which is how others do it, says otherwise. */
static void floats_would_misjudge(void)
{
    uint64_t limit = (uint64_t)8 << 30;
    bp_levels levels = BP_DEFAULT_LEVELS;
    unsigned n_misjudged = 0;
    for (int level = 1; level < BP_N_PRESSURES; level++) {
        uint32_t percent = levels.percent[level - 1];
        uint64_t x = begin_of(limit, percent) - 1;
        volatile float ratio = (float)x / (float)limit;
        volatile float threshold = (float)percent / 100.0f;
        n_misjudged += ratio >= threshold;
        CHECK((int)bp_pressure_of(x, limit, levels) == level - 1);
        CHECK((int)bp_pressure_of(x + 1, limit, levels) == level);
    }
    CHECK(n_misjudged >= 2);
}

static void levels_have_names(void)
{
    CHECK_TEXT(bp_pressure_name(BP_LOW), "LOW");
    CHECK_TEXT(bp_pressure_name(BP_MEDIUM), "MEDIUM");
    CHECK_TEXT(bp_pressure_name(BP_HIGH), "HIGH");
    CHECK_TEXT(bp_pressure_name(BP_CRITICAL), "CRITICAL");
    CHECK_TEXT(bp_pressure_name(BP_N_PRESSURES), "no pressure");
}

/* What counts is used, reserved and retiring together. */
static void promises_press_too(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, 100);
    bp_reservation r;
    CHECK_OK(&it, charge(&it, budget, 40, NULL));
    CHECK_OK(&it, reserve(&it, budget, 40, &r));
    CHECK(stats_of(&it, budget).pressure == BP_HIGH);
    CHECK_OK(&it, take(&it, r, 40, NULL));
    CHECK(stats_of(&it, budget).pressure == BP_HIGH);
    CHECK_OK(&it, refund(&it, budget, 1, NULL));
    CHECK(stats_of(&it, budget).pressure == BP_MEDIUM);
    CHECK(fixture_fini(&it));
}

/* ---- edges ------------------------------------------------------------- */

/* The next edge: 1 rising, 0 falling, -1 none, -2 of something else. */
static int next_edge(fixture *it, bp_watch watch)
{
    bp_edge edge = {0};
    if (!bp_tree_take_edge(it->tree, &edge)) {
        return bp_tree_has_edges(it->tree) ? -2 : -1;
    }
    return edge.watch != watch ? -2 : edge.is_rising ? 1 : 0;
}

static void edges_come_to_the_byte(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, 1000);
    bp_watch watch;
    CHECK_OK(&it, bp_watch_open(it.tree, budget, BP_HIGH, &watch, &it.error));
    CHECK(!bp_tree_has_edges(it.tree));
    CHECK_OK(&it, charge(&it, budget, 799, NULL));
    CHECK(next_edge(&it, watch) == -1);
    CHECK_OK(&it, charge(&it, budget, 1, NULL));
    CHECK(bp_tree_has_edges(it.tree));
    bp_edge edge;
    CHECK(bp_tree_take_edge(it.tree, &edge));
    CHECK(edge.watch == watch && edge.budget == budget);
    CHECK(edge.level == BP_HIGH && edge.is_rising);
    CHECK(next_edge(&it, watch) == -1);
    /* Neither further up nor back within 5 percent is an edge. */
    CHECK_OK(&it, charge(&it, budget, 200, NULL));
    CHECK_OK(&it, refund(&it, budget, 250, NULL));
    CHECK_U64(used_of(&it, budget), 750);
    CHECK(stats_of(&it, budget).pressure == BP_MEDIUM);
    CHECK(next_edge(&it, watch) == -1);
    CHECK_OK(&it, refund(&it, budget, 1, NULL));
    CHECK(next_edge(&it, watch) == 0);
    CHECK_OK(&it, charge(&it, budget, 50, NULL));
    CHECK(next_edge(&it, watch) == -1);
    CHECK_OK(&it, charge(&it, budget, 1, NULL));
    CHECK(next_edge(&it, watch) == 1);
    CHECK(fixture_fini(&it));
}

static void without_release_the_figure_and_the_edge_agree(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget_options options = bp_budget_defaults(100);
    options.release = 0;
    bp_budget budget;
    bp_watch watch;
    CHECK_OK(&it, open_with(&it, options, &budget));
    CHECK_OK(&it, bp_watch_open(it.tree, budget, BP_MEDIUM, &watch, &it.error));
    CHECK_OK(&it, charge(&it, budget, 50, NULL));
    CHECK(next_edge(&it, watch) == 1);
    CHECK_OK(&it, refund(&it, budget, 1, NULL));
    CHECK(next_edge(&it, watch) == 0);
    CHECK(fixture_fini(&it));
}

/* A release that reaches below 0 lets the watch fall at 0. */
static void a_wide_release_falls_at_nothing(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget_options options = bp_budget_defaults(1000);
    options.levels = (bp_levels){{1, 2, 3}};
    options.release = 3;
    bp_budget budget;
    bp_watch watch;
    CHECK_OK(&it, open_with(&it, options, &budget));
    CHECK_OK(&it,
             bp_watch_open(it.tree, budget, BP_CRITICAL, &watch, &it.error));
    CHECK_OK(&it, charge(&it, budget, 30, NULL));
    CHECK(next_edge(&it, watch) == 1);
    CHECK_OK(&it, refund(&it, budget, 29, NULL));
    CHECK(next_edge(&it, watch) == -1);
    CHECK_OK(&it, refund(&it, budget, 1, NULL));
    CHECK(next_edge(&it, watch) == 0);
    CHECK(fixture_fini(&it));
}

static void limits_make_edges_too(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, 1000);
    bp_watch watch;
    bool is_deferred;
    CHECK_OK(&it, charge(&it, budget, 100, NULL));
    CHECK_OK(&it,
             bp_watch_open(it.tree, budget, BP_CRITICAL, &watch, &it.error));
    CHECK_OK(&it, bp_budget_set_limit(it.tree, budget, 100, &is_deferred,
                                      &it.error));
    CHECK(next_edge(&it, watch) == 1);
    CHECK_OK(&it, bp_budget_set_limit(it.tree, budget, 111, &is_deferred,
                                      &it.error));
    CHECK(next_edge(&it, watch) == -1);
    CHECK_OK(&it, bp_budget_set_limit(it.tree, budget, 112, &is_deferred,
                                      &it.error));
    CHECK(next_edge(&it, watch) == 0);
    CHECK_OK(&it, refund(&it, budget, 100, NULL));
    CHECK_OK(&it,
             bp_budget_set_limit(it.tree, budget, 0, &is_deferred, &it.error));
    CHECK(next_edge(&it, watch) == 1); /* no room at all is CRITICAL */
    CHECK_OK(&it,
             bp_budget_set_limit(it.tree, budget, 0, &is_deferred, &it.error));
    CHECK(next_edge(&it, watch) == -1);
    CHECK_OK(&it,
             bp_budget_set_limit(it.tree, budget, 1, &is_deferred, &it.error));
    CHECK(next_edge(&it, watch) == 0);
    CHECK(fixture_fini(&it));
}

/* A budget that is there already has an edge at once. */
static void late_watches_catch_up(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, 100);
    CHECK_OK(&it, charge(&it, budget, 79, NULL));
    bp_watch medium, high;
    CHECK_OK(&it,
             bp_watch_open(it.tree, budget, BP_MEDIUM, &medium, &it.error));
    CHECK_OK(&it, bp_watch_open(it.tree, budget, BP_HIGH, &high, &it.error));
    CHECK(next_edge(&it, medium) == 1);
    CHECK(next_edge(&it, high) == -1);
    bp_watch none = 7;
    CHECK_REFUSED(&it, bp_watch_open(it.tree, budget, BP_LOW, &none, &it.error),
                  BP_BAD_VALUE);
    CHECK_REFUSED(
        &it, bp_watch_open(it.tree, budget, BP_N_PRESSURES, &none, &it.error),
        BP_BAD_VALUE);
    CHECK_U64(none, 7);
    CHECK(fixture_fini(&it));
}

/* Nobody takes them: they are counted, alternate, and come oldest watch
 * first. */
static void untaken_edges_wait(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, 100);
    bp_watch first, second, third;
    CHECK_OK(&it, bp_watch_open(it.tree, budget, BP_HIGH, &first, &it.error));
    CHECK_OK(&it,
             bp_watch_open(it.tree, budget, BP_MEDIUM, &second, &it.error));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(&it, charge(&it, budget, 80, NULL));
        CHECK_OK(&it, refund(&it, budget, 80, NULL));
    }
    CHECK_OK(&it, charge(&it, budget, 50, NULL)); /* of the second alone */
    /* A younger watch in the first one's place is still younger. */
    bp_watch_close(it.tree, first);
    CHECK_OK(&it, bp_watch_open(it.tree, budget, BP_MEDIUM, &third, &it.error));
    CHECK((first & UINT32_MAX) == (third & UINT32_MAX));
    for (int i = 0; i < 7; i++) {
        CHECK(next_edge(&it, second) == (i % 2 == 0));
    }
    CHECK(next_edge(&it, third) == 1);
    CHECK(next_edge(&it, third) == -1);
    bp_watch_close(it.tree, first);
    CHECK(fixture_fini(&it));
}

/* However many there were, the ones kept alternate and end in the present. */
static void the_oldest_pairs_go(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, 100);
    bp_watch watch;
    CHECK_OK(&it, bp_watch_open(it.tree, budget, BP_HIGH, &watch, &it.error));
    size_t live = it.heap.live_bytes;
    for (uint32_t i = 0; i < BP__MAX_EDGES; i++) {
        CHECK_OK(&it, charge(&it, budget, 80, NULL));
        CHECK_OK(&it, refund(&it, budget, 80, NULL));
    }
    CHECK_OK(&it, charge(&it, budget, 80, NULL));
    CHECK(fixture_is_sound(&it));
    uint32_t n = 0;
    int last = -1;
    for (int edge; (edge = next_edge(&it, watch)) != -1; n++) {
        CHECK(edge >= 0 && edge != last);
        last = edge;
    }
    CHECK(last == 1);
    CHECK(n == BP__MAX_EDGES - 1);
    CHECK_U64(it.heap.live_bytes, live); /* no edge needed memory */
    CHECK(fixture_fini(&it));
}

static void parents_have_edges_of_their_own(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget root = open_root(&it, 100);
    bp_budget leaf = open_under(&it, root, 1000, 1);
    bp_watch watch;
    CHECK_OK(&it, bp_watch_open(it.tree, root, BP_MEDIUM, &watch, &it.error));
    CHECK_OK(&it, charge(&it, leaf, 50, NULL));
    bp_edge edge;
    CHECK(bp_tree_take_edge(it.tree, &edge));
    CHECK(edge.budget == root && edge.is_rising);
    CHECK(!bp_tree_take_edge(it.tree, &edge));
    CHECK(fixture_fini(&it));
}

/* With its budget, a watch and its edges are gone. */
static void closing_takes_edges_along(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget a = open_root(&it, 0);
    bp_budget b = open_root(&it, 0);
    bp_watch of_a, of_b;
    CHECK_OK(&it, bp_watch_open(it.tree, a, BP_CRITICAL, &of_a, &it.error));
    CHECK_OK(&it, bp_watch_open(it.tree, b, BP_CRITICAL, &of_b, &it.error));
    CHECK_OK(&it, bp_budget_close(it.tree, a, &it.error));
    CHECK(next_edge(&it, of_b) == 1);
    bp_watch_close(it.tree, of_a);
    CHECK_OK(&it, bp_budget_close(it.tree, b, &it.error));
    CHECK(!bp_tree_has_edges(it.tree));
    CHECK(fixture_fini(&it));
}

/* ---- evict_at ---------------------------------------------------------- */

/* An admission that reaches it makes the tree want settling; nothing else
 * does. */
static void evict_at_is_due_after_an_admission(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget_options options = bp_budget_defaults(1000);
    options.evict_at[0] = 95;
    options.evict_at[1] = 90;
    bp_budget budget;
    bool is_deferred;
    CHECK_OK(&it, open_with(&it, options, &budget));
    bp_budget other = open_root(&it, 1000);
    CHECK_OK(&it, charge(&it, other, 1000, NULL)); /* has no such mark */
    CHECK_OK(&it, charge(&it, budget, 949, NULL));
    CHECK(!bp_tree_is_unsettled(it.tree));
    CHECK_OK(&it, bp_budget_set_limit(it.tree, budget, 950, &is_deferred,
                                      &it.error));
    CHECK(!bp_tree_is_unsettled(it.tree));
    CHECK_REFUSED(&it, charge(&it, budget, 2, NULL), BP_BUDGET_EXCEEDED);
    CHECK(!bp_tree_is_unsettled(it.tree));
    CHECK_OK(&it, bp_budget_set_limit(it.tree, budget, 1000, &is_deferred,
                                      &it.error));
    bp_reservation r;
    CHECK_OK(&it, reserve(&it, budget, 1, &r));
    CHECK(bp_tree_is_unsettled(it.tree));
    CHECK(bp__budget_get_locked(it.tree, budget)->is_reclaim_due);
    CHECK(!bp__budget_get_locked(it.tree, other)->is_reclaim_due);
    CHECK(fixture_fini(&it));
}

/* ---- a random walk against a plain model -------------------------------- */

static void a_random_walk_agrees(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    uint64_t limit = 997, used = 0, seed = 3;
    bp_budget budget = open_root(&it, limit);
    bp_watch watches[BP_N_PRESSURES] = {0};
    bool is_above[BP_N_PRESSURES] = {false};
    bp_levels levels = BP_DEFAULT_LEVELS;
    for (int level = 1; level < BP_N_PRESSURES; level++) {
        CHECK_OK(&it, bp_watch_open(it.tree, budget, (bp_pressure)level,
                                    &watches[level], &it.error));
    }
    for (int i = 0; i < 20000; i++) {
        uint64_t n = random_below(&seed, 300) + 1;
        if (random_below(&seed, 2) == 0) {
            used += charge(&it, budget, n, NULL) == BP_OK ? n : 0;
        } else {
            used -= refund(&it, budget, n, NULL) == BP_OK ? n : 0;
        }
        CHECK_U64(used_of(&it, budget), used);
        for (int level = 1; level < BP_N_PRESSURES; level++) {
            uint32_t percent = levels.percent[level - 1];
            bool is_due = is_above[level] ? used * 100 < limit * (percent - 5)
                                          : used * 100 >= limit * percent;
            if (is_due) {
                is_above[level] = !is_above[level];
                CHECK(next_edge(&it, watches[level]) == is_above[level]);
            }
        }
        CHECK(!bp_tree_has_edges(it.tree));
    }
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(levels_begin_to_the_byte);
    RUN(random_levels_agree);
    RUN(floats_would_misjudge);
    RUN(levels_have_names);
    RUN(promises_press_too);
    RUN(edges_come_to_the_byte);
    RUN(without_release_the_figure_and_the_edge_agree);
    RUN(a_wide_release_falls_at_nothing);
    RUN(limits_make_edges_too);
    RUN(late_watches_catch_up);
    RUN(untaken_edges_wait);
    RUN(the_oldest_pairs_go);
    RUN(parents_have_edges_of_their_own);
    RUN(closing_takes_edges_along);
    RUN(evict_at_is_due_after_an_admission);
    RUN(a_random_walk_agrees);
    return finish();
}
