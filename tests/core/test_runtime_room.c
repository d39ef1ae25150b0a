/* test_runtime_room.c - room: boundaries to the byte, reservations, families of
 * budgets, limits, trimming, marks, a device smaller than its budget, and what
 * is left when the process forks or ends. */
#include "harness.h"

#include "device_fixture.h"

#include <sys/wait.h>
#include <unistd.h>

/* ---- boundaries -------------------------------------------------------- */

static void fits_to_the_byte(void)
{
    device_fixture it;
    bp_slot a, b, c;
    CHECK(device_init(&it, 100, NULL));
    CHECK_STATUS(device_allocate(&it, "a", 60, &a), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, a, 60, 1, it.stream), BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "b", 40, &b), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, b, 40, 2, it.stream), BP_OK, &it.error);
    CHECK_U64(device_n_records(&it), 0);
    CHECK_U64(device_stats(&it).available, 0);
    CHECK_STATUS(device_allocate(&it, "c", 1, &c), BP_OK, &it.error);
    CHECK_U64(device_state(&it, a), BP_SLOT_EVICTED);
    CHECK_U64(device_state(&it, b), BP_SLOT_RESIDENT);
    CHECK_U64(device_stats(&it).available, 59);
    char *before = device_dump(&it);
    bp_slot none;
    CHECK_STATUS(device_allocate(&it, "d", 101, &none), BP_BUDGET_EXCEEDED,
                 NULL);
    CHECK_U64(it.shortage.requested, 101);
    CHECK_STATUS(device_allocate(&it, "d", 0, &none), BP_BAD_SIZE, NULL);
    CHECK_STATUS(device_allocate(&it, "d", (uint64_t)1 << 63, &none),
                 BP_BAD_SIZE, NULL);
    CHECK_STATUS(device_allocate(&it, "d", INT64_MAX, &none),
                 BP_BUDGET_EXCEEDED, NULL);
    CHECK_STATUS(device_allocate(&it, "", 1, &none), BP_BAD_NAME, NULL);
    CHECK(device_is_unchanged(&it, before));
    CHECK_STATUS(device_allocate(&it, "d", 100, &none), BP_OK, &it.error);
    CHECK(device_holds(&it, a, 60, 1));
    CHECK(device_holds(&it, b, 40, 2));
    CHECK(device_fini(&it));
}

static void rounds_as_the_device_does(void)
{
    device_fixture it;
    bp_slot a, b;
    bp_slot_info info;
    bp_sim_options options = {.capacity = UINT64_MAX, .granularity = 64};
    CHECK(device_init(&it, 192, &options));
    CHECK_STATUS(device_allocate(&it, "a", 65, &a), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_get_info(it.tree, a, &info, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(info.n_bytes, 65);
    CHECK_U64(info.n_charged, 128);
    CHECK_U64(device_used(&it), 128);
    CHECK_STATUS(device_allocate(&it, "b", 64, &b), BP_OK, &it.error);
    CHECK_U64(device_stats(&it).used, 192);
    uint64_t freed = 0;
    CHECK_STATUS(bp_slot_deallocate(it.tree, a, &freed, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(freed, 128);
    CHECK(device_fini(&it));
}

static void refuses_instead_of_evicting(void)
{
    device_fixture it;
    bp_slots strict;
    bp_slot a, b;
    CHECK(device_init(&it, 100, NULL));
    bp_slots_options options = {
        .budget = it.budget, .backend = it.sim, .is_strict = true};
    CHECK_STATUS(bp_slots_open(it.tree, &options, &strict, &it.error), BP_OK,
                 &it.error);
    CHECK_STATUS(device_allocate(&it, "a", 60, &a), BP_OK, &it.error);
    bp_slot_request request = slot_of("b", 41);
    bp_wait wait = {.deadline_ns = BP_FOR_EVER};
    char *before = device_dump(&it);
    CHECK_STATUS(bp_slots_allocate(it.tree, strict, &request, &wait, &b, NULL,
                                   &it.error),
                 BP_BUDGET_EXCEEDED, NULL);
    CHECK(device_is_unchanged(&it, before));
    request.n_bytes = 40;
    CHECK_STATUS(
        bp_slots_allocate(it.tree, strict, &request, NULL, &b, NULL, &it.error),
        BP_OK, &it.error);
    bp_slots_close(it.tree, strict);
    CHECK(device_fini(&it));
}

/* ---- reservations ------------------------------------------------------ */

static void takes_what_was_reserved(void)
{
    device_fixture it;
    bp_slot a, b;
    bp_reservation reservation;
    CHECK(device_init(&it, 100, NULL));
    CHECK_STATUS(device_allocate(&it, "a", 60, &a), BP_OK, &it.error);
    CHECK_STATUS(bp_budget_reserve(it.tree, it.budget, 40, &reservation, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    bp_slot_request request = slot_of("b", 101);
    request.reservation = reservation;
    char *before = device_dump(&it);
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &b,
                                   &it.shortage, &it.error),
                 BP_BUDGET_EXCEEDED, NULL);
    CHECK(device_is_unchanged(&it, before));
    CHECK_U64(bp_reservation_left(it.tree, reservation), 40);
    /* All of it, and nobody has to go. */
    request.n_bytes = 40;
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &b, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    CHECK_U64(device_n_records(&it), 0);
    CHECK_U64(bp_reservation_left(it.tree, reservation), 0);
    CHECK_U64(device_stats(&it).used, 100);
    bp_reservation_close(it.tree, reservation);
    request.name = "c";
    before = device_dump(&it);
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &b, NULL,
                                   &it.error),
                 BP_STALE, NULL);
    bp_budget other;
    bp_budget_options options = bp_budget_defaults(50);
    CHECK(device_is_unchanged(&it, before));
    CHECK_STATUS(bp_budget_open(it.tree, &options, &other, &it.error), BP_OK,
                 &it.error);
    CHECK_STATUS(bp_budget_reserve(it.tree, other, 40, &request.reservation,
                                   NULL, &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &b, NULL,
                                   &it.error),
                 BP_BAD_VALUE, NULL);
    bp_reservation_close(it.tree, request.reservation);
    CHECK(device_fini(&it));
}

/* ---- families ---------------------------------------------------------- */

/* A parent smaller than its two children together. */
typedef struct family {
    device_fixture it;
    bp_budget budgets[2];
    bp_slots slots[2];
} family;

static bool family_init(family *f, uint64_t parent, uint64_t child)
{
    bool is_good = device_init(&f->it, parent, NULL);
    for (int i = 0; is_good && i < 2; i++) {
        bp_budget_options options = bp_budget_defaults(child);
        options.parent = f->it.budget;
        is_good = bp_budget_open(f->it.tree, &options, &f->budgets[i],
                                 &f->it.error) == BP_OK;
        bp_slots_options slots = {.budget = f->budgets[i],
                                  .backend = f->it.sim};
        is_good = is_good && bp_slots_open(f->it.tree, &slots, &f->slots[i],
                                           &f->it.error) == BP_OK;
    }
    return is_good;
}

static bool family_fini(family *f)
{
    bool is_good = true;
    for (int i = 0; i < 2; i++) {
        bp_slots_close(f->it.tree, f->slots[i]);
        is_good &=
            bp_budget_close(f->it.tree, f->budgets[i], &f->it.error) == BP_OK;
    }
    return device_fini(&f->it) && is_good;
}

static bp_status family_allocate(family *f, int i, const char *name,
                                 uint64_t n_bytes, bp_slot *out)
{
    bp_slot_request request = slot_of(name, n_bytes);
    return bp_slots_allocate(f->it.tree, f->slots[i], &request, NULL, out,
                             &f->it.shortage, &f->it.error);
}

static void siblings_make_room(void)
{
    family f;
    bp_slot a, b, c;
    CHECK(family_init(&f, 100, 80));
    CHECK_STATUS(family_allocate(&f, 0, "a", 70, &a), BP_OK, &f.it.error);
    CHECK_STATUS(device_fill(&f.it, a, 70, 4, f.it.stream), BP_OK, &f.it.error);
    /* Its own budget has room, the parent has not: the sibling goes. */
    CHECK_STATUS(family_allocate(&f, 1, "b", 60, &b), BP_OK, &f.it.error);
    CHECK_U64(device_state(&f.it, a), BP_SLOT_EVICTED);
    CHECK_U64(device_stats(&f.it).used, 60);
    /* Larger than its own budget: nobody's going would help. */
    char *before = device_dump(&f.it);
    CHECK_STATUS(family_allocate(&f, 1, "c", 81, &c), BP_BUDGET_EXCEEDED, NULL);
    CHECK_U64(f.it.shortage.limit, 80);
    CHECK(device_is_unchanged(&f.it, before));
    CHECK(device_holds(&f.it, a, 70, 4));
    CHECK_U64(device_state(&f.it, b), BP_SLOT_EVICTED);
    bp_budget_stats stats;
    CHECK_STATUS(
        bp_budget_get_stats(f.it.tree, f.budgets[0], &stats, &f.it.error),
        BP_OK, &f.it.error);
    CHECK_U64(stats.used, 70);
    CHECK(family_fini(&f));
}

/* ---- make_room --------------------------------------------------------- */

static void makes_room(void)
{
    family f;
    bp_slot a, b, c;
    uint64_t freed = 7;
    CHECK(family_init(&f, 100, 100));
    CHECK_STATUS(family_allocate(&f, 0, "a", 30, &a), BP_OK, &f.it.error);
    CHECK_STATUS(family_allocate(&f, 1, "b", 40, &b), BP_OK, &f.it.error);
    CHECK_STATUS(family_allocate(&f, 0, "c", 30, &c), BP_OK, &f.it.error);
    CHECK_STATUS(bp_budget_make_room(f.it.tree, f.it.budget, BP_NO_SLOTS, 0,
                                     NULL, &freed, NULL, &f.it.error),
                 BP_OK, &f.it.error);
    CHECK_U64(freed, 0);
    /* One manager's slots alone. */
    CHECK_STATUS(bp_budget_make_room(f.it.tree, f.budgets[1], f.slots[1], 10,
                                     NULL, &freed, NULL, &f.it.error),
                 BP_OK, &f.it.error);
    CHECK_U64(freed, 40);
    CHECK_U64(device_state(&f.it, a), BP_SLOT_RESIDENT);
    CHECK_U64(device_state(&f.it, b), BP_SLOT_EVICTED);
    char *before = device_dump(&f.it);
    CHECK_STATUS(bp_budget_make_room(f.it.tree, f.budgets[1], f.slots[1], 41,
                                     NULL, &freed, &f.it.shortage, &f.it.error),
                 BP_BUDGET_EXCEEDED, NULL);
    CHECK(device_is_unchanged(&f.it, before));
    /* There is room already. */
    CHECK_STATUS(bp_budget_make_room(f.it.tree, f.it.budget, BP_NO_SLOTS, 40,
                                     NULL, &freed, NULL, &f.it.error),
                 BP_OK, &f.it.error);
    CHECK_U64(freed, 0);
    CHECK_STATUS(bp_budget_make_room(f.it.tree, f.it.budget, BP_NO_SLOTS, 41,
                                     NULL, &freed, NULL, &f.it.error),
                 BP_OK, &f.it.error);
    CHECK_U64(freed, 30);
    CHECK_U64(device_state(&f.it, a), BP_SLOT_EVICTED);
    CHECK_U64(device_state(&f.it, c), BP_SLOT_RESIDENT);
    CHECK_U64(device_stats(&f.it).reserved, 0);
    CHECK(family_fini(&f));
}

/* ---- limits ------------------------------------------------------------ */

/* The causes of all records so far, by their first letters. */
static void causes(device_fixture *it, bp_cursor cursor, char *out,
                   size_t n_max)
{
    bp_record record;
    size_t n = 0;
    while (n + 1 < n_max && bp_cursor_drain(bp_tree_get_log(it->tree), cursor,
                                            &record, 1) == 1) {
        out[n++] = bp_cause_name(record.cause)[0];
        bp_record_fini(&record);
    }
    out[n] = '\0';
}

static void mends_a_lowered_limit(void)
{
    for (int by_trim = 0; by_trim < 2; by_trim++) {
        device_fixture it;
        bp_slot a, b, c, d;
        bp_cursor cursor;
        bool is_deferred = false;
        char got[8];
        CHECK(device_init(&it, 100, NULL));
        CHECK_STATUS(
            bp_cursor_open(bp_tree_get_log(it.tree), NULL, &cursor, &it.error),
            BP_OK, &it.error);
        CHECK_STATUS(device_allocate(&it, "a", 30, &a), BP_OK, &it.error);
        CHECK_STATUS(device_allocate(&it, "b", 30, &b), BP_OK, &it.error);
        CHECK_STATUS(device_allocate(&it, "c", 40, &c), BP_OK, &it.error);
        CHECK_STATUS(bp_budget_set_limit(it.tree, it.budget, 50, &is_deferred,
                                         &it.error),
                     BP_OK, &it.error);
        CHECK(is_deferred);
        CHECK_U64(device_stats(&it).over, 50);
        uint64_t freed = 0;
        if (by_trim != 0) {
            CHECK_STATUS(bp_budget_trim(it.tree, it.budget, &freed, &it.error),
                         BP_OK, &it.error);
            CHECK_U64(freed, 60);
        } else {
            CHECK_STATUS(device_allocate(&it, "d", 10, &d), BP_OK, &it.error);
        }
        causes(&it, cursor, got, sizeof got);
        CHECK_TEXT(got, "ll");
        CHECK_U64(device_state(&it, c), BP_SLOT_RESIDENT);
        CHECK_U64(device_stats(&it).over, 0);
        CHECK(device_fini(&it));
    }
}

static void trims_what_can_go(void)
{
    device_fixture it;
    bp_slot a, b;
    bool is_deferred;
    uint64_t freed = 9;
    CHECK(device_init(&it, 100, NULL));
    CHECK_STATUS(device_allocate(&it, "a", 50, &a), BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "b", 50, &b), BP_OK, &it.error);
    CHECK_STATUS(bp_budget_trim(it.tree, it.budget, &freed, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(freed, 0);
    CHECK_STATUS(device_begin(&it, b, false), BP_OK, &it.error);
    CHECK_STATUS(
        bp_budget_set_limit(it.tree, it.budget, 20, &is_deferred, &it.error),
        BP_OK, &it.error);
    CHECK_STATUS(bp_budget_trim(it.tree, it.budget, &freed, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(freed, 50);
    CHECK_U64(device_stats(&it).over, 30);
    bp_slot_use_end(it.tree, b, it.stream);
    CHECK(device_fini(&it));
}

/* A free that failed is tried again. */
static void trims_what_would_not_go(void)
{
    device_fixture it;
    bp_slot a;
    uint64_t freed = 9;
    bp_sim_options options = {.capacity = UINT64_MAX, .fail = "free:#1"};
    CHECK(device_init(&it, 100, &options));
    CHECK_STATUS(device_allocate(&it, "a", 50, &a), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_deallocate(it.tree, a, NULL, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(device_stats(&it).retiring, 50);
    CHECK(bp_tree_is_unsettled(it.tree));
    CHECK_STATUS(bp_budget_trim(it.tree, it.budget, &freed, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(freed, 50);
    CHECK_U64(device_stats(&it).retiring, 0);
    CHECK(device_fini(&it));
}

static void evicts_at_its_mark(void)
{
    device_fixture it;
    bp_budget marked;
    bp_slots slots;
    bp_slot rows[4];
    static const char *const names[] = {"a", "b", "c", "d"};
    CHECK(device_init(&it, 1000, NULL));
    bp_budget_options options = bp_budget_defaults(100);
    options.evict_at[0] = 95;
    options.evict_at[1] = 60;
    CHECK_STATUS(bp_budget_open(it.tree, &options, &marked, &it.error), BP_OK,
                 &it.error);
    bp_slots_options with = {.budget = marked, .backend = it.sim};
    CHECK_STATUS(bp_slots_open(it.tree, &with, &slots, &it.error), BP_OK,
                 &it.error);
    for (size_t i = 0; i < 4; i++) {
        bp_slot_request request = slot_of(names[i], i == 3 ? 5 : 30);
        CHECK(!bp_tree_is_unsettled(it.tree));
        CHECK_STATUS(bp_slots_allocate(it.tree, slots, &request, NULL, &rows[i],
                                       NULL, &it.error),
                     BP_OK, &it.error);
    }
    CHECK(bp_tree_is_unsettled(it.tree));
    bp_tree_settle(it.tree);
    CHECK(!bp_tree_is_unsettled(it.tree));
    CHECK_U64(device_state(&it, rows[0]), BP_SLOT_EVICTED);
    CHECK_U64(device_state(&it, rows[1]), BP_SLOT_EVICTED);
    CHECK_U64(device_state(&it, rows[2]), BP_SLOT_RESIDENT);
    CHECK_U64(device_n_records(&it), 2);
    bp_slots_close(it.tree, slots);
    CHECK(device_fini(&it));
}

/* ---- the device -------------------------------------------------------- */

static void evicts_for_a_small_device(void)
{
    device_fixture it;
    bp_slot a, b, c;
    bp_cursor cursor;
    char got[8];
    bp_sim_options options = {.capacity = 100};
    CHECK(device_init(&it, 1000, &options));
    CHECK_STATUS(
        bp_cursor_open(bp_tree_get_log(it.tree), NULL, &cursor, &it.error),
        BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "a", 60, &a), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, a, 60, 1, it.stream), BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "b", 40, &b), BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "c", 50, &c), BP_OK, &it.error);
    causes(&it, cursor, got, sizeof got);
    CHECK_TEXT(got, "o");
    CHECK_U64(device_state(&it, a), BP_SLOT_EVICTED);
    /* Everything goes once, and then that is all. */
    uint64_t n_allocs = bp_sim_n_actions(it.sim, BP_ACTION_ALLOC);
    CHECK_STATUS(device_allocate(&it, "d", 101, &a), BP_DEVICE_MEMORY, NULL);
    CHECK_U64(bp_sim_n_actions(it.sim, BP_ACTION_ALLOC), n_allocs + 3);
    CHECK_U64(device_stats(&it).reserved, 0);
    CHECK(device_is_sound(&it));
    CHECK(device_fini(&it));
}

static void observes(void)
{
    device_fixture it;
    bp_slot a;
    bp_observation seen;
    bp_sim_options options = {.capacity = 1000};
    CHECK(device_init(&it, 500, &options));
    CHECK_STATUS(device_allocate(&it, "a", 60, &a), BP_OK, &it.error);
    CHECK_STATUS(bp_budget_observe(it.tree, it.budget, &seen, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(seen.total, 1000);
    CHECK_U64(seen.free, 940);
    CHECK_U64(seen.tracked, 60);
    CHECK_U64(seen.untracked, 0);
    bp_budget alone;
    bp_budget_options budget = bp_budget_defaults(10);
    CHECK_STATUS(bp_budget_open(it.tree, &budget, &alone, &it.error), BP_OK,
                 &it.error);
    CHECK_STATUS(bp_budget_observe(it.tree, alone, &seen, &it.error),
                 BP_NO_DEVICE, NULL);
    /* Somebody else's slots on the same device. */
    bp_slots other;
    bp_slots_options slots = {.budget = alone, .backend = it.sim};
    CHECK_STATUS(bp_slots_open(it.tree, &slots, &other, &it.error), BP_OK,
                 &it.error);
    CHECK_STATUS(bp_budget_observe(it.tree, alone, &seen, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(seen.untracked, 60);
    bp_sim_fault(it.sim);
    CHECK_STATUS(bp_budget_observe(it.tree, alone, &seen, &it.error),
                 BP_DEVICE_FAULT, NULL);
    bp_slots_close(it.tree, other);
    CHECK(device_fini(&it));
}

/* ---- forks and the end --------------------------------------------------- */

/* In the child: everything is FORKED or does nothing. */
static bool is_refused(device_fixture *it, bp_slot slot)
{
    bool needs_load;
    uint8_t byte;
    bp_slot made;
    bp_slots opened;
    bp_observation seen;
    bp_slots_options options = {.budget = it->budget, .backend = it->sim};
    bp_tree *tree = it->tree;
    bp_error *error = &it->error;
    bp_slot_use_end(tree, slot, it->stream);
    bp_slots_close(tree, it->slots);
    bp_tree_settle(tree);
    return bp_slots_open(tree, &options, &opened, error) == BP_FORKED &&
           device_allocate(it, "x", 1, &made) == BP_FORKED &&
           bp_slot_deallocate(tree, slot, NULL, error) == BP_FORKED &&
           bp_slot_use_begin(tree, slot, BP_WRITES, NULL, &needs_load, NULL,
                             error) == BP_FORKED &&
           bp_slot_loaded(tree, slot, true, error) == BP_FORKED &&
           bp_slot_evict(tree, slot, error) == BP_FORKED &&
           bp_slot_copy_in(tree, slot, 0, &byte, 1, error) == BP_FORKED &&
           bp_slot_copy_out(tree, slot, 0, &byte, 1, error) == BP_FORKED &&
           bp_budget_make_room(tree, it->budget, BP_NO_SLOTS, 1, NULL, NULL,
                               NULL, error) == BP_FORKED &&
           bp_budget_trim(tree, it->budget, NULL, error) == BP_FORKED &&
           bp_budget_observe(tree, it->budget, &seen, error) == BP_FORKED &&
           bp_slot_get_address(tree, slot) == 0 &&
           bp_slot_get_host_view(tree, slot) == NULL;
}

static void survives_a_fork(void)
{
    device_fixture it;
    bp_slot a;
    CHECK(device_init(&it, 100, NULL));
    CHECK_STATUS(device_allocate(&it, "a", 60, &a), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, a, 60, 1, it.stream), BP_OK, &it.error);
    CHECK_STATUS(device_begin(&it, a, false), BP_OK, &it.error);
    (void)fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        _exit(is_refused(&it, a) ? 0 : 1);
    }
    int answer = -1;
    CHECK_U64(waitpid(child, &answer, 0), (uint64_t)child);
    CHECK(WIFEXITED(answer));
    CHECK_U64(WEXITSTATUS(answer), 0);
    bp_slot_use_end(it.tree, a, it.stream);
    CHECK(device_holds(&it, a, 60, 1));
    CHECK(device_fini(&it));
}

/* The last test: nothing can be done in this process afterwards. */
static void ends(void)
{
    static device_fixture it; /* what is left is reachable, and no leak */
    bp_slot a;
    uint64_t n[BP_N_ACTIONS];
    CHECK(device_init(&it, 100, NULL));
    CHECK_STATUS(device_allocate(&it, "a", 60, &a), BP_OK, &it.error);
    CHECK_STATUS(device_begin(&it, a, true), BP_OK, &it.error);
    for (int i = 0; i < BP_N_ACTIONS; i++) {
        n[i] = bp_sim_n_actions(it.sim, (bp_action)i);
    }
    bp_runtime_exit();
    bp_slot_use_end(it.tree, a, it.stream);
    CHECK_STATUS(device_allocate(&it, "b", 60, &a), BP_CLOSED, NULL);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_CLOSED, NULL);
    CHECK_STATUS(bp_budget_trim(it.tree, it.budget, NULL, &it.error), BP_CLOSED,
                 NULL);
    bp_slots_close(it.tree, it.slots);
    bp_tree_settle(it.tree);
    for (int i = 0; i < BP_N_ACTIONS; i++) {
        CHECK_U64(bp_sim_n_actions(it.sim, (bp_action)i), n[i]);
    }
}

int main(void)
{
    RUN(fits_to_the_byte);
    RUN(rounds_as_the_device_does);
    RUN(refuses_instead_of_evicting);
    RUN(takes_what_was_reserved);
    RUN(siblings_make_room);
    RUN(makes_room);
    RUN(mends_a_lowered_limit);
    RUN(trims_what_can_go);
    RUN(trims_what_would_not_go);
    RUN(evicts_at_its_mark);
    RUN(evicts_for_a_small_device);
    RUN(observes);
    RUN(survives_a_fork);
    RUN(ends);
    return finish();
}
