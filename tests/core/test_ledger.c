/* test_ledger.c - charges and limits, to the byte. */
#include "harness.h"

#include "ledger_fixture.h"

#define TWO_63 ((uint64_t)1 << 63)

/* ---- boundaries -------------------------------------------------------- */

static void charges_to_the_byte(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, 1000);
    CHECK_OK(&it, charge(&it, budget, 999, NULL));
    CHECK_REFUSED(&it, charge(&it, budget, 2, NULL), BP_BUDGET_EXCEEDED);
    CHECK_OK(&it, charge(&it, budget, 1, NULL));
    CHECK_U64(stats_of(&it, budget).available, 0);
    CHECK_REFUSED(&it, charge(&it, budget, 1, NULL), BP_BUDGET_EXCEEDED);
    CHECK_OK(&it, refund(&it, budget, 1, NULL));
    CHECK_OK(&it, charge(&it, budget, 1, NULL));
    CHECK_OK(&it, refund(&it, budget, 1000, NULL));
    CHECK_REFUSED(&it, charge(&it, budget, 1001, NULL), BP_BUDGET_EXCEEDED);
    CHECK_OK(&it, charge(&it, budget, 1000, NULL));
    bp_budget_stats stats = stats_of(&it, budget);
    CHECK_U64(stats.used, 1000);
    CHECK_U64(stats.peak, 1000);
    CHECK_U64(stats.n_charges, 4);
    CHECK_U64(stats.n_refusals, 3);
    CHECK(fixture_fini(&it));
}

static void refuses_sizes_that_are_none(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, TWO_63 - 1);
    static const uint64_t bad[] = {0, TWO_63, TWO_63 + 1, UINT64_MAX - 1,
                                   UINT64_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        bp_reservation reservation = 7;
        CHECK_REFUSED(&it, charge(&it, budget, bad[i], NULL), BP_BAD_SIZE);
        CHECK_REFUSED(&it, reserve(&it, budget, bad[i], &reservation),
                      BP_BAD_SIZE);
        CHECK_U64(reservation, 7);
        CHECK_REFUSED(&it, refund(&it, budget, bad[i], NULL),
                      bad[i] == 0 ? BP_BAD_SIZE : BP_BAD_VALUE);
        CHECK_U64(it.error.value, bad[i]);
    }
    CHECK_STATUS(charge(&it, budget, 0, NULL), BP_BAD_SIZE, &it.error);
    CHECK_TEXT(it.error.text, "0 bytes can be neither charged nor reserved nor "
                              "refunded");
    CHECK_STATUS(charge(&it, budget, TWO_63, NULL), BP_BAD_SIZE, &it.error);
    CHECK_TEXT(it.error.text,
               "9223372036854775808 bytes, rounded up, are 2^63 or more");
    CHECK(fixture_fini(&it));
}

/* Sums that would not fit in 64 bits are never made. */
static void counts_up_to_two_to_the_63(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, TWO_63 - 1);
    CHECK_OK(&it, charge(&it, budget, TWO_63 - 1, "all"));
    CHECK_REFUSED(&it, charge(&it, budget, 1, NULL), BP_BUDGET_EXCEEDED);
    CHECK_REFUSED(&it, charge(&it, budget, TWO_63 - 1, NULL),
                  BP_BUDGET_EXCEEDED);
    CHECK(stats_of(&it, budget).pressure == BP_CRITICAL);
    CHECK_OK(&it, refund(&it, budget, TWO_63 - 2, "all"));
    CHECK_U64(used_of(&it, budget), 1);
    CHECK_REFUSED(&it, charge(&it, budget, TWO_63 - 1, NULL),
                  BP_BUDGET_EXCEEDED);
    CHECK_OK(&it, charge(&it, budget, TWO_63 - 2, NULL));
    CHECK_U64(stats_of(&it, budget).available, 0);
    CHECK(fixture_fini(&it));
}

static void a_limit_of_zero_admits_nothing(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, 0);
    CHECK_REFUSED(&it, charge(&it, budget, 1, NULL), BP_BUDGET_EXCEEDED);
    bp_budget_stats stats = stats_of(&it, budget);
    CHECK(stats.pressure == BP_CRITICAL);
    CHECK_U64(stats.over, 0);
    CHECK_U64(stats.available, 0);
    CHECK(fixture_fini(&it));
}

/* ---- granularity and parents ------------------------------------------- */

static void rounds_up_once(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget root = open_root(&it, 1000);
    bp_budget leaf = open_under(&it, root, 600, 256);
    CHECK_OK(&it, charge(&it, leaf, 1, NULL));
    CHECK_U64(used_of(&it, leaf), 256);
    CHECK_U64(used_of(&it, root), 256);
    CHECK_OK(&it, charge(&it, leaf, 256, NULL));
    CHECK_U64(used_of(&it, root), 512);
    /* 88 bytes are left, which is none of 256. */
    CHECK_REFUSED(&it, charge(&it, leaf, 1, NULL), BP_BUDGET_EXCEEDED);
    CHECK_U64(it.shortage.requested, 256);
    CHECK_U64(it.shortage.available, 88);
    CHECK_OK(&it, charge(&it, root, 488, NULL));
    CHECK_OK(&it, refund(&it, leaf, 1, NULL));
    CHECK_U64(used_of(&it, leaf), 256);
    CHECK_REFUSED(&it, refund(&it, leaf, 257, NULL), BP_BAD_VALUE);
    CHECK_OK(&it, refund(&it, leaf, 255, NULL));
    CHECK_U64(used_of(&it, leaf), 0);
    CHECK_U64(used_of(&it, root), 488);
    CHECK(fixture_fini(&it));
}

/* What rounds up to 2^63 is too large, though it is below by itself. */
static void rounding_does_not_overflow(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_under(&it, BP_NO_BUDGET, TWO_63 - 1, 4096);
    CHECK_REFUSED(&it, charge(&it, budget, TWO_63 - 1, NULL), BP_BAD_SIZE);
    CHECK_OK(&it, charge(&it, budget, TWO_63 - 4096, NULL));
    CHECK_REFUSED(&it, charge(&it, budget, 1, NULL), BP_BUDGET_EXCEEDED);
    bp_budget coarse = open_under(&it, BP_NO_BUDGET, TWO_63 - 1, TWO_63);
    CHECK_REFUSED(&it, charge(&it, coarse, 1, NULL), BP_BAD_SIZE);
    CHECK(fixture_fini(&it));
}

static void the_budget_that_refuses_is_named(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget_options options = bp_budget_defaults(100);
    options.name = "the device";
    bp_budget root;
    CHECK_OK(&it, open_with(&it, options, &root));
    options = bp_budget_defaults(80);
    options.name = "models";
    options.parent = root;
    bp_budget a, b;
    CHECK_OK(&it, open_with(&it, options, &a));
    options.name = "buffers";
    CHECK_OK(&it, open_with(&it, options, &b));
    CHECK_U64(stats_of(&it, root).n_children, 2);
    CHECK_U64(stats_of(&it, a).parent, root);
    CHECK_TEXT(stats_of(&it, a).name, "models");

    CHECK_OK(&it, charge(&it, a, 60, NULL));
    CHECK_REFUSED(&it, charge(&it, a, 21, NULL), BP_BUDGET_EXCEEDED);
    CHECK_TEXT(it.shortage.budget, "models");
    CHECK_U64(it.shortage.available, 20);
    /* b has room for 80, its parent for 40. */
    CHECK_REFUSED(&it, charge(&it, b, 41, NULL), BP_BUDGET_EXCEEDED);
    CHECK_TEXT(it.shortage.budget, "the device");
    CHECK_U64(it.shortage.requested, 41);
    CHECK_U64(it.shortage.available, 40);
    CHECK_U64(it.shortage.limit, 100);
    CHECK_U64(it.shortage.used, 60);
    CHECK_OK(&it, charge(&it, b, 40, NULL));
    CHECK_U64(used_of(&it, root), 100);
    CHECK_U64(stats_of(&it, a).n_refusals, 1);
    CHECK_U64(stats_of(&it, b).n_refusals, 0);
    CHECK_U64(stats_of(&it, root).n_refusals, 1);
    CHECK_U64(stats_of(&it, root).n_charges, 2);
    CHECK(fixture_fini(&it));
}

static void sixteen_deep(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget chain[BP_MAX_BUDGET_DEPTH];
    bp_budget parent = BP_NO_BUDGET;
    for (unsigned i = 0; i < BP_MAX_BUDGET_DEPTH; i++) {
        chain[i] = parent = open_under(&it, parent, 100 + i, 1);
        CHECK(parent != BP_NO_BUDGET);
    }
    bp_budget_options options = bp_budget_defaults(1);
    options.parent = parent;
    bp_budget more = 3;
    CHECK_REFUSED(&it, open_with(&it, options, &more), BP_BAD_VALUE);
    CHECK_U64(more, 3);
    CHECK_OK(&it, charge(&it, parent, 100, NULL));
    for (unsigned i = 0; i < BP_MAX_BUDGET_DEPTH; i++) {
        CHECK_U64(used_of(&it, chain[i]), 100);
    }
    CHECK_REFUSED(&it, charge(&it, parent, 1, NULL), BP_BUDGET_EXCEEDED);
    CHECK_U64(stats_of(&it, chain[0]).n_refusals, 1);
    CHECK(fixture_fini(&it));
}

/* ---- tags -------------------------------------------------------------- */

static void tags_keep_their_own(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, 1000);
    CHECK_OK(&it, charge(&it, budget, 10, "b"));
    CHECK_OK(&it, charge(&it, budget, 20, "a"));
    CHECK_OK(&it, charge(&it, budget, 30, NULL));
    CHECK_OK(&it, charge(&it, budget, 40, ""));
    CHECK_OK(&it, charge(&it, budget, 5, "b"));
    CHECK_U64(tag_of(&it, budget, "b"), 15);
    CHECK_U64(tag_of(&it, budget, "a"), 20);
    CHECK_U64(tag_of(&it, budget, NULL), 30);
    CHECK_U64(tag_of(&it, budget, ""), 40);
    CHECK_U64(tag_of(&it, budget, "never"), 0);
    CHECK_REFUSED(&it, refund(&it, budget, 16, "b"), BP_BAD_VALUE);
    CHECK_U64(it.error.value, 16);
    CHECK_U64(it.error.limit, 15);
    CHECK_TEXT(it.error.text,
               "a refund of 16 bytes, but 15 are charged under 'b'");
    CHECK_REFUSED(&it, refund(&it, budget, 31, NULL), BP_BAD_VALUE);
    CHECK_TEXT(it.error.text,
               "a refund of 31 bytes, but 30 are charged under no tag");
    CHECK_REFUSED(&it, refund(&it, budget, 1, "never"), BP_BAD_VALUE);

    char name[BP_MAX_NAME + 1];
    uint64_t n = 0;
    CHECK_OK(&it, bp_budget_tag_at(it.tree, budget, 0, name, &n, &it.error));
    CHECK_TEXT(name, "b");
    CHECK_U64(n, 15);
    CHECK_OK(&it, refund(&it, budget, 15, "b"));
    CHECK_OK(&it, bp_budget_tag_at(it.tree, budget, 0, name, &n, &it.error));
    CHECK_TEXT(name, "a");
    CHECK_OK(&it, bp_budget_tag_at(it.tree, budget, 1, name, &n, &it.error));
    CHECK_TEXT(name, "");
    CHECK_STATUS(bp_budget_tag_at(it.tree, budget, 2, name, &n, &it.error),
                 BP_UNKNOWN_KEY, &it.error);
    CHECK(fixture_fini(&it));
}

static void tags_are_names_of_bounded_length(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, 1000);
    char tag[BP_MAX_NAME + 2];
    memset(tag, 'x', sizeof tag - 1);
    tag[sizeof tag - 1] = '\0';
    CHECK_REFUSED(&it, charge(&it, budget, 1, tag), BP_BAD_NAME);
    CHECK_U64(it.error.value, BP_MAX_NAME + 1);
    tag[BP_MAX_NAME] = '\0';
    CHECK_OK(&it, charge(&it, budget, 1, tag));
    char name[BP_MAX_NAME + 1];
    uint64_t n = 0;
    CHECK_OK(&it, bp_budget_tag_at(it.tree, budget, 0, name, &n, &it.error));
    CHECK_TEXT(name, tag);
    CHECK(fixture_fini(&it));
}

/* A new tag for every charge, all but ten refunded: no growth without end, and
 * the ones that stay are found in all that moving. */
static void tags_that_are_over_leave_no_trace(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, 100000);
    CHECK_OK(&it, charge(&it, budget, 77, "stays"));
    size_t settled = 0;
    for (unsigned i = 0; i < 3000; i++) {
        char tag[32];
        (void)snprintf(tag, sizeof tag, "request %u", i);
        CHECK_OK(&it, charge(&it, budget, i + 1, tag));
        if (i >= 10) {
            (void)snprintf(tag, sizeof tag, "request %u", i - 10);
            CHECK_OK(&it, refund(&it, budget, i - 9, tag));
            CHECK_U64(tag_of(&it, budget, tag), 0);
        }
        settled = i == 1000 ? it.heap.live_bytes : settled;
    }
    CHECK(it.heap.live_bytes < settled + 2048);
    CHECK_U64(tag_of(&it, budget, "stays"), 77);
    CHECK_U64(tag_of(&it, budget, "request 2999"), 3000);
    CHECK_U64(tag_of(&it, budget, "request 2990"), 2991);
    CHECK(fixture_fini(&it));
}

/* ---- limits that change ------------------------------------------------ */

static void a_lowered_limit_is_owed(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget root = open_root(&it, 1000);
    bp_budget leaf = open_under(&it, root, 1000, 1);
    CHECK_OK(&it, charge(&it, leaf, 800, NULL));
    bool is_deferred = true;
    CHECK_OK(&it,
             bp_budget_set_limit(it.tree, root, 800, &is_deferred, &it.error));
    CHECK(!is_deferred);
    CHECK_OK(&it,
             bp_budget_set_limit(it.tree, root, 799, &is_deferred, &it.error));
    CHECK(is_deferred);
    bp_budget_stats stats = stats_of(&it, root);
    CHECK_U64(stats.over, 1);
    CHECK_U64(stats.available, 0);
    CHECK(stats.pressure == BP_CRITICAL);
    CHECK_U64(stats_of(&it, leaf).over, 0);
    CHECK_REFUSED(&it, charge(&it, leaf, 1, NULL), BP_BUDGET_EXCEEDED);
    CHECK_OK(&it, refund(&it, leaf, 1, NULL));
    CHECK_REFUSED(&it, charge(&it, leaf, 1, NULL), BP_BUDGET_EXCEEDED);
    CHECK_OK(&it, refund(&it, leaf, 1, NULL));
    CHECK_OK(&it, charge(&it, leaf, 1, NULL));
    CHECK_U64(stats_of(&it, root).over, 0);
    CHECK_OK(&it,
             bp_budget_set_limit(it.tree, root, 0, &is_deferred, &it.error));
    CHECK(is_deferred);
    CHECK_U64(stats_of(&it, root).over, 799);
    CHECK_REFUSED(&it,
                  bp_budget_set_limit(it.tree, root, TWO_63, NULL, &it.error),
                  BP_BAD_VALUE);
    CHECK_OK(&it, bp_budget_set_limit(it.tree, root, TWO_63 - 1, &is_deferred,
                                      &it.error));
    CHECK(!is_deferred);
    CHECK_REFUSED(&it, charge(&it, leaf, 202, NULL), BP_BUDGET_EXCEEDED);
    CHECK_OK(&it, charge(&it, leaf, 201, NULL));
    CHECK(fixture_fini(&it));
}

/* ---- budgets open and close -------------------------------------------- */

static void refuses_options(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = 5;
    bp_budget_options good = bp_budget_defaults(100);
    static const uint8_t levels[][3] = {{0, 50, 90},   {50, 50, 90},
                                        {50, 90, 90},  {50, 40, 90},
                                        {50, 80, 101}, {255, 255, 255}};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        bp_budget_options bad = good;
        memcpy(bad.levels.percent, levels[i], 3);
        CHECK_REFUSED(&it, open_with(&it, bad, &budget), BP_BAD_VALUE);
    }
    static const uint8_t evict_at[][2] = {{101, 90}, {0, 1}, {90, 91}};
    for (size_t i = 0; i < sizeof evict_at / sizeof evict_at[0]; i++) {
        bp_budget_options bad = good;
        memcpy(bad.evict_at, evict_at[i], 2);
        CHECK_REFUSED(&it, open_with(&it, bad, &budget), BP_BAD_VALUE);
    }
    static const uint64_t granularities[] = {0, 3, 24, UINT64_MAX};
    for (size_t i = 0; i < 4; i++) {
        bp_budget_options bad = good;
        bad.granularity = granularities[i];
        CHECK_REFUSED(&it, open_with(&it, bad, &budget), BP_BAD_VALUE);
    }
    bp_budget_options bad = good;
    bad.release = 101;
    CHECK_REFUSED(&it, open_with(&it, bad, &budget), BP_BAD_VALUE);
    bad = good;
    bad.limit = TWO_63;
    CHECK_REFUSED(&it, open_with(&it, bad, &budget), BP_BAD_VALUE);
    bad = good;
    bad.parent = 12345;
    CHECK_REFUSED(&it, open_with(&it, bad, &budget), BP_STALE);
    CHECK_U64(budget, 5);
    good.levels = (bp_levels){{1, 2, 100}};
    good.evict_at[0] = good.evict_at[1] = 100;
    good.release = 100;
    good.granularity = TWO_63;
    CHECK_OK(&it, open_with(&it, good, &budget));
    CHECK(fixture_fini(&it));
}

static void a_held_budget_does_not_close(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget root = open_root(&it, 100);
    bp_budget leaf = open_under(&it, root, 100, 1);
    CHECK_REFUSED(&it, bp_budget_close(it.tree, root, &it.error), BP_BUSY);
    CHECK_TEXT(it.error.text,
               "the budget cannot be closed: it has 1 children, 0 slot "
               "managers, 0 reservations and 0 bytes in use");
    CHECK_OK(&it, charge(&it, leaf, 1, NULL));
    CHECK_REFUSED(&it, bp_budget_close(it.tree, leaf, &it.error), BP_BUSY);
    CHECK_OK(&it, refund(&it, leaf, 1, NULL));
    bp_reservation reservation;
    CHECK_OK(&it, reserve(&it, leaf, 1, &reservation));
    CHECK_OK(&it, take(&it, reservation, 1, NULL));
    CHECK_OK(&it, refund(&it, leaf, 1, NULL));
    /* An empty reservation still is one. */
    CHECK_REFUSED(&it, bp_budget_close(it.tree, leaf, &it.error), BP_BUSY);
    bp_reservation_close(it.tree, reservation);
    CHECK_OK(&it, bp_budget_close(it.tree, leaf, &it.error));
    CHECK_REFUSED(&it, bp_budget_close(it.tree, leaf, &it.error), BP_STALE);
    CHECK_U64(stats_of(&it, root).n_children, 0);
    CHECK_OK(&it, bp_budget_close(it.tree, root, &it.error));
    CHECK(fixture_fini(&it));
}

/* Every call on a budget that is gone, though another one lives in its place.
 */
static void stale_handles_find_nothing(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget gone = open_root(&it, 100);
    CHECK_OK(&it, bp_budget_close(it.tree, gone, &it.error));
    bp_budget next = open_root(&it, 100);
    CHECK((next & UINT32_MAX) == (gone & UINT32_MAX) && next != gone);
    uint64_t n = 9;
    bool is_deferred = false;
    char name[BP_MAX_NAME + 1];
    bp_budget_stats stats;
    bp_watch watch;
    bp_history_point point;
    CHECK_REFUSED(&it, charge(&it, gone, 1, NULL), BP_STALE);
    CHECK_REFUSED(&it, refund(&it, gone, 1, NULL), BP_STALE);
    CHECK_REFUSED(&it, reserve(&it, gone, 1, &n), BP_STALE);
    CHECK_REFUSED(&it, take(&it, 99, 1, NULL), BP_STALE);
    CHECK_REFUSED(
        &it, bp_budget_set_limit(it.tree, gone, 1, &is_deferred, &it.error),
        BP_STALE);
    CHECK_REFUSED(&it, bp_budget_get_stats(it.tree, gone, &stats, &it.error),
                  BP_STALE);
    CHECK_REFUSED(&it, bp_budget_get_tag(it.tree, gone, "x", &n, &it.error),
                  BP_STALE);
    CHECK_REFUSED(&it, bp_budget_tag_at(it.tree, gone, 0, name, &n, &it.error),
                  BP_STALE);
    CHECK_REFUSED(&it, bp_watch_open(it.tree, gone, BP_HIGH, &watch, &it.error),
                  BP_STALE);
    CHECK_U64(bp_budget_copy_history(it.tree, gone, &point, 1), 0);
    CHECK_U64(bp_reservation_left(it.tree, 99), 0);
    bp_reservation_close(it.tree, 99);
    bp_watch_close(it.tree, 99);
    CHECK_U64(n, 9);
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(charges_to_the_byte);
    RUN(refuses_sizes_that_are_none);
    RUN(counts_up_to_two_to_the_63);
    RUN(a_limit_of_zero_admits_nothing);
    RUN(rounds_up_once);
    RUN(rounding_does_not_overflow);
    RUN(the_budget_that_refuses_is_named);
    RUN(sixteen_deep);
    RUN(tags_keep_their_own);
    RUN(tags_are_names_of_bounded_length);
    RUN(tags_that_are_over_leave_no_trace);
    RUN(a_lowered_limit_is_owed);
    RUN(refuses_options);
    RUN(a_held_budget_does_not_close);
    RUN(stale_handles_find_nothing);
    return finish();
}
