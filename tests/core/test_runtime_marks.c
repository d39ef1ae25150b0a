/* test_runtime_marks.c - what a mark (evict_at) takes for room and what it
 * spares, and what refusals say. */
#include "harness.h"

#include "device_fixture.h"

/* ---- marks ----------------------------------------------------------------
 */

typedef struct marked {
    device_fixture it;
    bp_budget budget;
    bp_slots slots;
} marked;

/* 1,000 bytes; from 950 in use, down to 900. */
static bool marked_init(marked *m, bp_policy policy)
{
    if (!device_init(&m->it, 5000, NULL)) {
        return false;
    }
    bp_budget_options options = bp_budget_defaults(1000);
    options.evict_at[0] = 95;
    options.evict_at[1] = 90;
    if (bp_budget_open(m->it.tree, &options, &m->budget, &m->it.error) !=
        BP_OK) {
        return false;
    }
    bp_slots_options with = {
        .budget = m->budget, .backend = m->it.sim, .policy = policy};
    return bp_slots_open(m->it.tree, &with, &m->slots, &m->it.error) == BP_OK;
}

static bool marked_fini(marked *m)
{
    bp_slots_close(m->it.tree, m->slots);
    return device_is(bp_budget_close(m->it.tree, m->budget, &m->it.error) ==
                         BP_OK,
                     "the marked budget does not close") &&
           device_fini(&m->it);
}

static bp_slot make(marked *m, const char *name, uint64_t n_bytes)
{
    bp_slot slot = BP_NO_SLOT;
    bp_slot_request request = slot_of(name, n_bytes);
    request.is_replacing = true;
    return bp_slots_allocate(m->it.tree, m->slots, &request, NULL, &slot, NULL,
                             &m->it.error) == BP_OK
               ? slot
               : BP_NO_SLOT;
}

/* Under every policy, it is never what reached the mark that goes. */
static void marks_spare_what_reached_them(void)
{
    static const bp_policy policies[] = {BP_POLICY_LRU, BP_POLICY_MRU,
                                         BP_POLICY_BIG_FIRST, BP_POLICY_RANK};
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
        marked m;
        CHECK(marked_init(&m, policies[i]));
        bp_slot a = make(&m, "a", 960);
        CHECK(a != BP_NO_SLOT);
        bp_tree_settle(m.it.tree);
        CHECK_U64(device_state(&m.it, a), BP_SLOT_RESIDENT);
        a = make(&m, "a", 970); /* also one that replaces */
        bp_tree_settle(m.it.tree);
        CHECK_U64(device_state(&m.it, a), BP_SLOT_RESIDENT);
        a = make(&m, "a", 400);
        bp_slot b = make(&m, "b", 560);
        CHECK(a != BP_NO_SLOT && b != BP_NO_SLOT);
        bp_tree_settle(m.it.tree);
        CHECK_U64(device_state(&m.it, a), BP_SLOT_EVICTED);
        CHECK_U64(device_state(&m.it, b), BP_SLOT_RESIDENT);

        /* Nor is it what came back for a use. */
        bp_slot c = make(&m, "c", 50);
        CHECK_STATUS(bp_slot_evict(m.it.tree, b, &m.it.error), BP_OK,
                     &m.it.error);
        bp_slot d = make(&m, "d", 380);
        CHECK_STATUS(device_begin(&m.it, b, false), BP_OK, &m.it.error);
        bp_slot_use_end(m.it.tree, b, BP_HOST_ONLY);
        bp_tree_settle(m.it.tree);
        CHECK_U64(device_state(&m.it, b), BP_SLOT_RESIDENT);
        CHECK(device_state(&m.it, c) == BP_SLOT_EVICTED ||
              device_state(&m.it, d) == BP_SLOT_EVICTED);
        CHECK(marked_fini(&m));
    }
}

/* Filled before anybody settled: still what reached the mark. */
static void marks_spare_what_was_just_filled(void)
{
    marked m;
    bp_slot slot;
    bp_slot_request request = {.name = "a", .n_bytes = 960, .has_loader = true};
    CHECK(marked_init(&m, BP_POLICY_MRU));
    CHECK_STATUS(bp_slots_allocate(m.it.tree, m.slots, &request, NULL, &slot,
                                   NULL, &m.it.error),
                 BP_OK, &m.it.error);
    CHECK_STATUS(bp_slot_loaded(m.it.tree, slot, true, &m.it.error), BP_OK,
                 &m.it.error);
    bp_tree_settle(m.it.tree);
    CHECK_U64(device_state(&m.it, slot), BP_SLOT_RESIDENT);
    /* A charge, later, spares nobody. */
    CHECK_STATUS(
        bp_budget_charge(m.it.tree, m.budget, 10, NULL, NULL, &m.it.error),
        BP_OK, &m.it.error);
    bp_tree_settle(m.it.tree);
    CHECK_U64(device_state(&m.it, slot), BP_SLOT_EVICTED);
    CHECK_STATUS(bp_budget_refund(m.it.tree, m.budget, 10, NULL, &m.it.error),
                 BP_OK, &m.it.error);
    CHECK(marked_fini(&m));
}

/* ---- texts -----------------------------------------------------------------
 */

static void says_whom_it_refuses(void)
{
    device_fixture it;
    bp_slot a, b;
    bp_budget other_budget;
    bp_reservation theirs;
    bp_sim_options small = {.capacity = 500};
    CHECK(device_init(&it, 10000, &small));
    CHECK_STATUS(device_allocate(&it, "a", 400, &a), BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "b", 1600, &b), BP_DEVICE_MEMORY, NULL);
    CHECK_TEXT(it.error.text,
               "slot 'b': the simulated device has 500 bytes free of 500, not "
               "1600 (400 bytes were evicted for it)");
    CHECK_TEXT(it.error.buffer, "b");
    CHECK(it.error.has_numbers);
    CHECK_U64(it.error.value, 1600);

    bp_budget_options options = bp_budget_defaults(5000);
    options.name = "theirs";
    CHECK_STATUS(bp_budget_open(it.tree, &options, &other_budget, &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(bp_budget_reserve(it.tree, other_budget, 1000, &theirs, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(bp_reservation_take(it.tree, theirs, 2000, NULL, &it.error),
                 BP_BUDGET_EXCEEDED, NULL);
    CHECK_TEXT(it.error.text, "2,000 bytes asked of a reservation of budget "
                              "'theirs' that has 1,000 left");
    bp_slot_request request = slot_of("b", 10);
    request.reservation = theirs;
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &b, NULL,
                                   &it.error),
                 BP_BAD_VALUE, NULL);
    CHECK_TEXT(it.error.text,
               "the reservation for slot 'b' is of another budget");
    bp_reservation_close(it.tree, theirs);
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &b, NULL,
                                   &it.error),
                 BP_STALE, NULL);
    CHECK_TEXT(it.error.text, "the reservation for slot 'b' is gone");
    CHECK_STATUS(bp_budget_close(it.tree, other_budget, &it.error), BP_OK,
                 &it.error);

    /* One in use by the host cannot be replaced. */
    CHECK_STATUS(device_begin(&it, a, true), BP_OK, &it.error);
    request = slot_of("a", 10);
    request.is_replacing = true;
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &b, NULL,
                                   &it.error),
                 BP_BUSY, NULL);
    CHECK_TEXT(it.error.text, "'a' is in use by the host");
    CHECK_TEXT(it.error.buffer, "a");
    bp_slot_use_end(it.tree, a, BP_HOST_ONLY);
    CHECK(device_fini(&it));
}

int main(void)
{
    RUN(marks_spare_what_reached_them);
    RUN(marks_spare_what_was_just_filled);
    RUN(says_whom_it_refuses);
    return finish();
}
