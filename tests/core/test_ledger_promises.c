/* test_ledger_promises.c - reservations, budgets given up by finalisers, the
 * past, the dump and forks. */
#include "harness.h"

#include "ledger_fixture.h"

#include "device/claim.h"
#include "device/ledger.h"

#include <sys/wait.h>
#include <unistd.h>

/* ---- reservations ------------------------------------------------------ */

static void a_promise_is_kept(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget root = open_root(&it, 1000);
    bp_budget leaf = open_under(&it, root, 1000, 16);
    bp_reservation r;
    CHECK_OK(&it, reserve(&it, leaf, 601, &r));
    CHECK_U64(bp_reservation_left(it.tree, r), 608);
    CHECK_U64(stats_of(&it, root).reserved, 608);
    /* Nobody else gets these bytes. */
    CHECK_REFUSED(&it, charge(&it, root, 393, NULL), BP_BUDGET_EXCEEDED);
    CHECK_OK(&it, charge(&it, root, 392, NULL));
    CHECK_OK(&it, take(&it, r, 1, "x"));
    CHECK_U64(bp_reservation_left(it.tree, r), 592);
    CHECK_U64(tag_of(&it, leaf, "x"), 16);
    bp_budget_stats stats = stats_of(&it, leaf);
    CHECK_U64(stats.used, 16);
    CHECK_U64(stats.reserved, 592);
    CHECK_U64(stats.peak, 608);
    CHECK_U64(stats.n_charges, 1);
    CHECK_REFUSED(&it, take(&it, r, 593, NULL), BP_BUDGET_EXCEEDED);
    CHECK_U64(it.error.value, 608);
    CHECK_U64(it.error.limit, 592);
    CHECK_REFUSED(&it, take(&it, r, 0, NULL), BP_BAD_SIZE);
    CHECK_REFUSED(&it, take(&it, r, UINT64_MAX, NULL), BP_BAD_SIZE);
    CHECK_OK(&it, take(&it, r, 592, "x"));
    CHECK_U64(bp_reservation_left(it.tree, r), 0);
    CHECK_REFUSED(&it, take(&it, r, 1, NULL), BP_BUDGET_EXCEEDED);
    bp_reservation_close(it.tree, r);
    CHECK_U64(stats_of(&it, root).used, 1000);
    CHECK_REFUSED(&it, take(&it, r, 1, NULL), BP_STALE);
    CHECK(fixture_fini(&it));
}

static void what_is_left_goes_back_once(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, 100);
    bp_reservation a, b;
    CHECK_OK(&it, reserve(&it, budget, 60, &a));
    CHECK_REFUSED(&it, reserve(&it, budget, 41, &b), BP_BUDGET_EXCEEDED);
    CHECK_OK(&it, reserve(&it, budget, 40, &b));
    CHECK_OK(&it, take(&it, a, 10, NULL));
    bp_reservation_close(it.tree, a);
    bp_reservation_close(it.tree, a);
    CHECK_U64(stats_of(&it, budget).available, 50);
    CHECK_U64(stats_of(&it, budget).n_charges, 2); /* an end is no admission */
    CHECK_U64(bp_reservation_left(it.tree, a), 0);
    CHECK_U64(bp_reservation_left(it.tree, b), 40);
    /* Another in the same place is not the first one. */
    bp_reservation c;
    CHECK_OK(&it, reserve(&it, budget, 5, &c));
    CHECK((a & UINT32_MAX) == (c & UINT32_MAX) && a != c);
    bp_reservation_close(it.tree, a);
    CHECK_U64(bp_reservation_left(it.tree, c), 5);
    CHECK(fixture_fini(&it)); /* with two of them open */
}

/* ---- work put off ------------------------------------------------------ */

static void deferred_work_comes_in_order(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    CHECK(!bp_tree_is_unsettled(it.tree));
    CHECK(bp__tree_take_deferred(it.tree) == NULL);
    for (uint64_t i = 1; i <= 5; i++) {
        bp_deferred *node = bp_deferred_new(it.tree);
        CHECK(node != NULL);
        bp_tree_defer(it.tree, node, BP_DEFER_USE_END, i);
        CHECK(bp_tree_is_unsettled(it.tree));
    }
    bp_deferred *taken = bp__tree_take_deferred(it.tree);
    CHECK(!bp_tree_is_unsettled(it.tree));
    for (uint64_t i = 1; i <= 5; i++) {
        CHECK(taken != NULL);
        CHECK_U64(taken->handle, i);
        CHECK(taken->what == BP_DEFER_USE_END);
        bp_deferred *next = taken->next;
        bp_deferred_free(it.tree, taken);
        taken = next;
    }
    CHECK(taken == NULL);
    bp_deferred_free(it.tree, NULL);
    /* What nobody settles goes with the tree. */
    bp_deferred *node = bp_deferred_new(it.tree);
    CHECK(node != NULL);
    bp_tree_defer(it.tree, node, BP_DEFER_BUDGET_CLOSE, 1);
    CHECK(fixture_fini(&it));
}

static void abandon(fixture *it, bp_budget budget)
{
    if (bp__tree_enter_if_ours(it->tree)) {
        bp__budget_abandon_locked(it->tree, budget);
        bp__tree_leave(it->tree);
    }
}

/* Finalisers come in any order: a parent before its child, a budget before its
 * reservation. */
static void abandoned_budgets_go_when_nothing_holds_them(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget root = open_root(&it, 1000);
    bp_budget middle = open_under(&it, root, 1000, 1);
    bp_budget leaf = open_under(&it, middle, 1000, 1);
    bp_reservation r;
    bp_watch watch;
    CHECK_OK(&it, charge(&it, leaf, 100, "x"));
    CHECK_OK(&it, charge(&it, leaf, 10, NULL));
    CHECK_OK(&it, charge(&it, middle, 500, NULL));
    CHECK_OK(&it, reserve(&it, leaf, 300, &r));
    CHECK_OK(&it, bp_watch_open(it.tree, leaf, BP_HIGH, &watch, &it.error));
    abandon(&it, middle);
    CHECK_U64(used_of(&it, middle), 110);
    CHECK_U64(stats_of(&it, root).n_charges, 4); /* an end is no admission */
    CHECK(fixture_is_sound(&it));
    abandon(&it, leaf);
    abandon(&it, leaf);
    CHECK_U64(stats_of(&it, root).used, 0);
    CHECK_U64(stats_of(&it, root).reserved, 300);
    CHECK(fixture_is_sound(&it));
    CHECK_OK(&it, take(&it, r, 1, NULL)); /* its owner does not know yet */
    CHECK_U64(stats_of(&it, root).n_children, 1);
    CHECK_OK(&it, refund(&it, leaf, 1, NULL));
    bp_reservation_close(it.tree, r);
    CHECK_REFUSED(&it, charge(&it, leaf, 1, NULL), BP_STALE);
    CHECK_REFUSED(&it, charge(&it, middle, 1, NULL), BP_STALE);
    CHECK_U64(stats_of(&it, root).n_children, 0);
    CHECK_U64(stats_of(&it, root).available, 1000);
    abandon(&it, middle);
    abandon(&it, root);
    CHECK_REFUSED(&it, charge(&it, root, 1, NULL), BP_STALE);
    CHECK(fixture_fini(&it));
}

/* What somebody is about to allocate under it is reason enough to stay. */
static void a_claim_holds_its_budget(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget_options options = bp_budget_defaults(100);
    options.name = "models";
    bp_budget held, other;
    CHECK_OK(&it, open_with(&it, options, &held));
    other = open_root(&it, 100);
    bp__claim claim;
    CHECK_OK(&it, bp__tree_enter(it.tree, &it.error));
    bp__claim_begin_locked(it.tree, &claim,
                           bp__budget_get_locked(it.tree, held), 10, NULL);
    bp__tree_leave(it.tree);
    CHECK_REFUSED(&it, bp_budget_close(it.tree, held, &it.error), BP_BUSY);
    CHECK(strstr(it.error.text, "budget 'models' cannot be closed") != NULL);
    CHECK_OK(&it, bp_budget_close(it.tree, other, &it.error));
    abandon(&it, held);
    CHECK_U64(stats_of(&it, held).limit, 100);
    CHECK_OK(&it, bp__tree_enter(it.tree, &it.error));
    bp__claim_abort_locked(it.tree, &claim);
    bp__tree_leave(it.tree);
    CHECK_REFUSED(&it, bp_budget_close(it.tree, held, &it.error), BP_STALE);
    CHECK(fixture_fini(&it));
}

/* ---- the past ---------------------------------------------------------- */

enum { N_HISTORY = 64 };

static void the_past_is_bounded(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget_options options = bp_budget_defaults(100000);
    options.n_history = N_HISTORY;
    bp_budget budget;
    CHECK_OK(&it, open_with(&it, options, &budget));
    bp_history_point points[2 * N_HISTORY];
    for (uint64_t i = 1; i <= 10000; i++) {
        CHECK_OK(&it, charge(&it, budget, 1, NULL));
        size_t n =
            bp_budget_copy_history(it.tree, budget, points, 2 * N_HISTORY);
        CHECK(n <= N_HISTORY);
        CHECK(n > i || n >= N_HISTORY / 2 - 1);
        CHECK_U64(points[0].used, 0); /* the whole past, thinner and thinner */
        CHECK_U64(points[n - 1].used, i);
    }
    size_t n = bp_budget_copy_history(it.tree, budget, points, 2 * N_HISTORY);
    uint64_t step = points[1].used - points[0].used;
    CHECK(bp_is_power_of_two(step));
    for (size_t i = 1; i + 1 < n; i++) {
        CHECK_U64(points[i].used - points[i - 1].used, step);
        CHECK(points[i].when > points[i - 1].when);
        CHECK_U64(points[i].limit, 100000);
    }
    /* The newest ones, where there is room for few. */
    bp_history_point few[3];
    CHECK_U64(bp_budget_copy_history(it.tree, budget, few, 3), 3);
    CHECK(memcmp(few, points + n - 3, sizeof few) == 0);
    CHECK_U64(bp_budget_copy_history(it.tree, budget, few, 0), 0);
    CHECK(fixture_fini(&it));
}

static void the_past_shows_every_field(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, 100);
    bp_reservation r;
    bool is_deferred;
    CHECK_OK(&it, reserve(&it, budget, 40, &r));
    CHECK_OK(&it, take(&it, r, 30, NULL));
    CHECK_OK(&it,
             bp_budget_set_limit(it.tree, budget, 50, &is_deferred, &it.error));
    CHECK_OK(&it,
             bp_budget_set_limit(it.tree, budget, 50, &is_deferred, &it.error));
    CHECK_REFUSED(&it, charge(&it, budget, 11, NULL), BP_BUDGET_EXCEEDED);
    bp_history_point p[8];
    CHECK_U64(bp_budget_copy_history(it.tree, budget, p, 8), 4);
    CHECK_U64(p[1].reserved, 40);
    CHECK_U64(p[2].reserved, 10);
    CHECK_U64(p[2].used, 30);
    CHECK_U64(p[2].limit, 100);
    CHECK_U64(p[3].limit, 50);
    CHECK(fixture_fini(&it));
}

/* Whatever room is asked for, the bound and the ends hold. */
static void the_past_fits_any_room(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    for (uint32_t n_history = 1; n_history < 12; n_history++) {
        bp_budget_options options = bp_budget_defaults(1000);
        options.n_history = n_history;
        bp_budget budget;
        CHECK_OK(&it, open_with(&it, options, &budget));
        for (uint64_t i = 1; i <= 100; i++) {
            CHECK_OK(&it, charge(&it, budget, 1, NULL));
            bp_history_point points[16];
            size_t n = bp_budget_copy_history(it.tree, budget, points, 16);
            CHECK(n <= (n_history < 3 ? 3 : n_history));
            CHECK_U64(points[0].used, 0);
            CHECK_U64(points[n - 1].used, i);
            CHECK(fixture_is_sound(&it));
        }
    }
    CHECK(fixture_fini(&it));
}

/* ---- dump -------------------------------------------------------------- */

static char *dump_of_one_story(fixture *it, bool has_detour)
{
    bp_budget_options options = bp_budget_defaults(1000);
    options.name = "a \"name\"";
    bp_budget root, leaf;
    bp_reservation r;
    bool is_fine = open_with(it, options, &root) == BP_OK;
    leaf = open_under(it, root, 500, 8);
    if (has_detour) {
        bp_watch watch;
        bp_edge edge;
        is_fine &= charge(it, leaf, 480, "z") == BP_OK;
        is_fine &= bp_watch_open(it->tree, leaf, BP_CRITICAL, &watch,
                                 &it->error) == BP_OK;
        is_fine &= bp_tree_take_edge(it->tree, &edge);
        bp_watch_close(it->tree, watch);
        is_fine &= refund(it, leaf, 480, "z") == BP_OK;
        is_fine &= charge(it, leaf, 501, "z") == BP_BUDGET_EXCEEDED;
    }
    is_fine &= charge(it, leaf, 10, "x") == BP_OK;
    is_fine &= charge(it, root, 20, NULL) == BP_OK;
    is_fine &= reserve(it, leaf, 30, &r) == BP_OK;
    return is_fine ? take_dump(it) : NULL;
}

/* Same state, same text, whatever happened before. */
static void the_dump_shows_the_state_alone(void)
{
    fixture a, b;
    CHECK(fixture_init(&a) && fixture_init(&b));
    char *plain = dump_of_one_story(&a, false);
    char *detour = dump_of_one_story(&b, true);
    CHECK(plain != NULL && detour != NULL);
    CHECK_TEXT(detour, plain);
    CHECK(strstr(plain, "\"a \\\"name\\\"\"") != NULL);
    CHECK(strstr(plain, "\"tags\": {\"x\": 16}") != NULL);
    CHECK(strstr(plain, "\"left\": 32") != NULL);
    drop_dump(&a, plain);
    drop_dump(&b, detour);
    CHECK(fixture_fini(&a) && fixture_fini(&b));
}

/* ---- forks ------------------------------------------------------------- */

/* In the child: 0, or the number of the first call that was wrong. */
static int use_in_child(fixture *it, bp_budget budget, bp_reservation r,
                        bp_deferred *node)
{
    bp_budget_stats stats;
    bp_budget_options options = bp_budget_defaults(1);
    bp_edge edge;
    bp_history_point point;
    uint64_t n;
    bool is_deferred;
    char *text;
    bp_error *error = &it->error;
    const bp_status got[] = {
        charge(it, budget, 1, NULL),
        refund(it, budget, 1, NULL),
        reserve(it, budget, 1, &n),
        take(it, r, 1, NULL),
        bp_budget_set_limit(it->tree, budget, 1, &is_deferred, error),
        bp_budget_get_stats(it->tree, budget, &stats, error),
        bp_budget_get_tag(it->tree, budget, NULL, &n, error),
        bp_watch_open(it->tree, budget, BP_HIGH, &n, error),
        bp_budget_open(it->tree, &options, &n, error),
        bp_budget_close(it->tree, budget, error),
        bp_tree_check(it->tree, error),
        bp_tree_dump(it->tree, &text, error),
    };
    for (int i = 0; i < (int)(sizeof got / sizeof got[0]); i++) {
        if (got[i] != BP_FORKED) {
            return i + 1;
        }
    }
    bp_reservation_close(it->tree, r);
    bp_tree_defer(it->tree, node, BP_DEFER_BUDGET_CLOSE, budget);
    bool is_fine = !bp_tree_is_ours(it->tree) &&
                   !bp_tree_is_unsettled(it->tree) &&
                   !bp_tree_take_edge(it->tree, &edge) &&
                   bp_reservation_left(it->tree, r) == 0 &&
                   bp_budget_copy_history(it->tree, budget, &point, 1) == 0;
    size_t n_blocks = it->heap.live_blocks;
    bp_tree_free(it->tree);
    return is_fine && it->heap.live_blocks == n_blocks ? 0 : 100;
}

/* Even with the lock held by a thread that the child does not have. */
static void a_child_may_not_use_it(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget budget = open_root(&it, 100);
    bp_reservation r;
    bp_watch watch;
    CHECK_OK(&it, reserve(&it, budget, 99, &r));
    CHECK_OK(&it, bp_watch_open(it.tree, budget, BP_HIGH, &watch, &it.error));
    bp_deferred *node = bp_deferred_new(it.tree);
    CHECK(node != NULL && bp_tree_is_ours(it.tree));
    (void)fflush(stdout);
    CHECK_OK(&it, bp__tree_enter(it.tree, &it.error));
    pid_t child = fork();
    if (child == 0) {
        _exit(use_in_child(&it, budget, r, node));
    }
    bp__tree_leave(it.tree);
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK_U64(WEXITSTATUS(status), 0);
    CHECK_U64(bp_reservation_left(it.tree, r), 99);
    bp_deferred_free(it.tree, node);
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(a_promise_is_kept);
    RUN(what_is_left_goes_back_once);
    RUN(deferred_work_comes_in_order);
    RUN(abandoned_budgets_go_when_nothing_holds_them);
    RUN(a_claim_holds_its_budget);
    RUN(the_past_is_bounded);
    RUN(the_past_shows_every_field);
    RUN(the_past_fits_any_room);
    RUN(the_dump_shows_the_state_alone);
    RUN(a_child_may_not_use_it);
    return finish();
}
