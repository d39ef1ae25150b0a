/* test_shortage.c - what a refusal says, letter by letter. */
#include "slots_fixture.h"

static fixture it;
static bp_shortage shortage;

#define MB 1000000u

/* A budget, plain, with a manager of this policy. */
static bp__manager *open_manager(uint64_t limit, const char *name,
                                 bp_policy policy)
{
    fixture_init(&it);
    bp__budget *budget = fixture_budget(&it, limit, NULL, name);
    return budget == NULL ? NULL : fixture_manager(&it, budget, policy);
}

static void charge(bp__budget *budget, uint64_t n_bytes)
{
    CHECK_STATUS(bp_budget_charge(it.tree, budget->handle, n_bytes, NULL, NULL,
                                  &it.error),
                 BP_OK, &it.error);
}

/* A plain charge of this many bytes is refused in these words. */
static void refused(bp__budget *budget, uint64_t n_bytes, const char *text)
{
    char *before = fixture_dump(&it);
    CHECK_STATUS(bp_budget_charge(it.tree, budget->handle, n_bytes, NULL,
                                  &shortage, &it.error),
                 BP_BUDGET_EXCEEDED, &it.error);
    CHECK(fixture_is_as(&it, before));
    CHECK(fixture_is_whole(&it));
    CHECK_TEXT(shortage.text, text);
}

/* The last line alone. */
static void suggests(bp__budget *budget, uint64_t n_bytes, const char *want)
{
    CHECK_STATUS(bp_budget_charge(it.tree, budget->handle, n_bytes, NULL,
                                  &shortage, &it.error),
                 BP_BUDGET_EXCEEDED, &it.error);
    const char *line = strstr(shortage.text, "\n  Suggestion: ");
    CHECK(line != NULL);
    CHECK_TEXT(line + strlen("\n  Suggestion: "), want);
}

static bool has_line(const char *line)
{
    const char *at = strstr(shortage.text, line);
    bool is_there = at != NULL && at[-1] == '\n' &&
                    (at[strlen(line)] == '\n' || at[strlen(line)] == '\0');
    if (!is_there) {
        printf("no line \"%s\" in\n%s\n", line, shortage.text);
    }
    return is_there;
}

/* ---- the whole report ---------------------------------------------------- */

static void thirteen_slots(void)
{
    bp__manager *manager = open_manager((uint64_t)8 << 30, NULL, BP_POLICY_LRU);
    bp__slot *gone = fixture_slot(&it, manager, "gone", 75 * MB);
    CHECK(fixture_slot(&it, manager, "graph", 100 * MB) != NULL);
    CHECK(fixture_slot(&it, manager, "entity", 50 * MB) != NULL);
    fixture_evict(&it, gone, BP_CAUSE_EXPLICIT);
    uint64_t n_left = 8489934592u - 150 * MB;
    for (unsigned i = 0; i < 10; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "model %u", i);
        uint64_t n = i == 9 ? n_left : 800 * MB;
        CHECK(fixture_slot(&it, manager, name, n) != NULL);
        n_left -= n;
    }
    refused(manager->budget, 250 * MB,
            "[BAY-E003] GPU memory budget exceeded\n"
            "  Requested: 250,000,000 bytes\n"
            "  Available: 100,000,000 bytes\n"
            "  Budget: 8,589,934,592 bytes (8.00 GiB)\n"
            "  Allocated: 8,489,934,592 bytes\n"
            "  Loaded slots: 12/13\n"
            "  Suggestion: evict 'graph' and 'entity' (150,000,000 bytes, "
            "least recently used) or raise the budget");
    CHECK_PASSED();
    CHECK_U64(shortage.requested, 250 * MB);
    CHECK_U64(shortage.available, 100 * MB);
    CHECK_U64(shortage.limit, (uint64_t)8 << 30);
    CHECK_U64(shortage.used, 8489934592u);
    CHECK_U64(shortage.reserved, 0);
    CHECK_U64(shortage.evictable, 8489934592u);
    CHECK_U64(shortage.pinned, 0);
    CHECK_U64(shortage.in_flight, 0);
    CHECK_U64(shortage.n_loaded, 12);
    CHECK_U64(shortage.n_slots, 13);
    CHECK_TEXT(shortage.budget, "");
    CHECK_TEXT(it.error.text, "250000000 bytes requested, 100000000 of "
                              "8589934592 available");
    CHECK_U64(it.error.value, 250 * MB);
    CHECK_U64(it.error.limit, 100 * MB);
    CHECK_U64(manager->budget->n_refusals, 1);
    CHECK(fixture_fini(&it));
}

static void every_line(void)
{
    bp__manager *manager = open_manager(2048, "solver", BP_POLICY_LRU);
    bp__budget *budget = manager->budget;
    bp_slot_request request = fixture_request("fixed", 300);
    request.is_pinned = true;
    CHECK(fixture_ask(&it, manager, &request) != NULL);
    bp__slot *leaving = fixture_slot(&it, manager, "leaving", 20);
    bp__slot_go_locked(it.tree, leaving, NULL);
    fixture_slot(&it, manager, "busy", 1)->is_busy = true;
    bp__slot *held = fixture_slot(&it, manager, "held", 500);
    held->n_host_uses = 1;
    bp_reservation promise;
    CHECK_STATUS(bp_budget_reserve(it.tree, budget->handle, 7, &promise, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    refused(budget, 1500,
            "[BAY-E003] GPU memory budget exceeded\n"
            "  Requested: 1,500 bytes\n"
            "  Available: 1,220 bytes\n"
            "  Budget 'solver': 2,048 bytes (2.00 KiB)\n"
            "  Allocated: 801 bytes\n"
            "  Reserved: 7 bytes\n"
            "  In flight: 21 bytes\n"
            "  Pinned: 300 bytes\n"
            "  Loaded slots: 3/4\n"
            "  Suggestion: raise the budget by 280 bytes");
    CHECK_PASSED();
    CHECK_TEXT(shortage.budget, "solver");
    CHECK_TEXT(it.error.text,
               "1500 bytes requested, 1220 of 2048 available in budget "
               "'solver'");
    CHECK_U64(shortage.evictable, 0);
    CHECK_U64(shortage.reserved, 7);
    CHECK_U64(shortage.in_flight, 21);
    CHECK_U64(shortage.pinned, 300);
    held->n_host_uses = 0;
    CHECK(fixture_fini(&it));
}

static void an_empty_budget(void)
{
    bp__manager *manager = open_manager(0, NULL, BP_POLICY_LRU);
    refused(manager->budget, 1,
            "[BAY-E003] GPU memory budget exceeded\n"
            "  Requested: 1 bytes\n"
            "  Available: 0 bytes\n"
            "  Budget: 0 bytes\n"
            "  Allocated: 0 bytes\n"
            "  Loaded slots: 0/0\n"
            "  Suggestion: raise the budget by 1 bytes");
    CHECK_PASSED();
    CHECK_STATUS(
        bp_budget_charge(it.tree, manager->budget->handle, 1, NULL, NULL, NULL),
        BP_BUDGET_EXCEEDED, NULL);
    CHECK_U64(manager->budget->n_refusals, 2);
    CHECK(fixture_fini(&it));
}

/* ---- what it suggests ---------------------------------------------------- */

static void enough_some_none(void)
{
    bp__manager *manager = open_manager(1000, NULL, BP_POLICY_LRU);
    bp__budget *budget = manager->budget;
    charge(budget, 700);
    bp__slot *entity = fixture_slot(&it, manager, "entity", 300);
    suggests(budget, 300,
             "evict 'entity' (300 bytes, least recently used) or raise the "
             "budget");
    suggests(budget, 1,
             "evict 'entity' (300 bytes, least recently used) or raise the "
             "budget");
    suggests(budget, 301,
             "evict 'entity' (300 bytes, least recently used) and raise the "
             "budget by 1 bytes");
    suggests(budget, 600,
             "evict 'entity' (300 bytes, least recently used) and raise the "
             "budget by 300 bytes");
    entity->n_host_uses = 1;
    suggests(budget, 600, "raise the budget by 600 bytes");
    entity->n_host_uses = 0;
    entity->is_busy = true;
    suggests(budget, 600, "raise the budget by 600 bytes");
    CHECK_PASSED();
    CHECK(has_line("  In flight: 300 bytes"));
    CHECK(fixture_fini(&it));
}

static void at_most_three_names(void)
{
    bp__manager *manager = open_manager(1000, NULL, BP_POLICY_LRU);
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    for (size_t i = 0; i < 5; i++) {
        CHECK(fixture_slot(&it, manager, names[i], 200) != NULL);
    }
    bp__budget *budget = manager->budget;
    suggests(budget, 200,
             "evict 'a' (200 bytes, least recently used) or raise the budget");
    suggests(budget, 400,
             "evict 'a' and 'b' (400 bytes, least recently used) or raise the "
             "budget");
    suggests(budget, 401,
             "evict 'a', 'b' and 'c' (600 bytes, least recently used) or raise "
             "the budget");
    suggests(budget, 800,
             "evict 'a', 'b', 'c' and 1 more (800 bytes, least recently used) "
             "or raise the budget");
    suggests(budget, 1234,
             "evict 'a', 'b', 'c' and 2 more (1,000 bytes, least recently "
             "used) and raise the budget by 234 bytes");
    CHECK_PASSED();
    CHECK(fixture_fini(&it));
}

static void words_of_the_policy(void)
{
    static const char *const words[BP_N_POLICIES] = {
        "least recently used", "most recently used", "largest", "by policy"};
    static const char *const first[BP_N_POLICIES] = {"small", "last", "big",
                                                     "low"};
    for (unsigned policy = 0; policy < BP_N_POLICIES; policy++) {
        bp__manager *manager = open_manager(100, NULL, (bp_policy)policy);
        bp__slot *low = NULL;
        static const char *const names[] = {"small", "big", "low", "last"};
        static const uint64_t sizes[] = {10, 50, 20, 20};
        for (size_t i = 0; i < 4; i++) {
            bp__slot *slot = fixture_slot(&it, manager, names[i], sizes[i]);
            CHECK(slot != NULL);
            bp_slot_set_rank(it.tree, slot->handle, 10 - i);
            low = i == 2 ? slot : low;
        }
        bp_slot_set_rank(it.tree, low->handle, 1);
        char want[128];
        (void)snprintf(want, sizeof want,
                       "evict '%s' (%u bytes, %s) or raise the budget",
                       first[policy],
                       policy == BP_POLICY_LRU         ? 10
                       : policy == BP_POLICY_BIG_FIRST ? 50
                                                       : 20,
                       words[policy]);
        suggests(manager->budget, 5, want);
        CHECK_PASSED();
        CHECK(fixture_fini(&it));
    }
}

/* Slots of two managers: one word where both agree, and for the asker its own
 * where that is true. */
static void managers_of_two_minds(void)
{
    bp__manager *first = open_manager(100, NULL, BP_POLICY_LRU);
    bp__budget *budget = first->budget;
    bp__manager *second = fixture_manager(&it, budget, BP_POLICY_MRU);
    bp__manager *third = fixture_manager(&it, budget, BP_POLICY_LRU);
    CHECK(fixture_slot(&it, first, "a", 40) != NULL);
    CHECK(fixture_slot(&it, third, "a", 30) != NULL);
    CHECK(fixture_slot(&it, second, "c", 30) != NULL);
    suggests(budget, 70,
             "evict 'a' and 'a' (70 bytes, least recently used) or raise the "
             "budget");
    suggests(budget, 100,
             "evict 'a', 'a' and 'c' (100 bytes, by policy) or raise the "
             "budget");
    CHECK_PASSED();
    CHECK_STATUS(bp__refuse_room_locked(it.tree, budget, third, 10, &shortage,
                                        &it.error),
                 BP_BUDGET_EXCEEDED, &it.error);
    CHECK(has_line("  Suggestion: evict 'a' (40 bytes, least recently used) or "
                   "raise the budget"));
    CHECK_STATUS(bp__refuse_room_locked(it.tree, budget, second, 10, &shortage,
                                        &it.error),
                 BP_BUDGET_EXCEEDED, &it.error);
    CHECK(has_line("  Suggestion: evict 'a' (40 bytes, by policy) or raise the "
                   "budget"));
    CHECK(fixture_fini(&it));
}

/* ---- budgets: units, names, trees, limits -------------------------------- */

static void units(void)
{
    static const struct {
        uint64_t limit;
        const char *line;
    } cases[] = {
        {1, "  Budget: 1 bytes"},
        {999, "  Budget: 999 bytes"},
        {1023, "  Budget: 1,023 bytes"},
        {1024, "  Budget: 1,024 bytes (1.00 KiB)"},
        {1536, "  Budget: 1,536 bytes (1.50 KiB)"},
        {1029, "  Budget: 1,029 bytes (1.00 KiB)"},
        {1030, "  Budget: 1,030 bytes (1.01 KiB)"},
        {1048575, "  Budget: 1,048,575 bytes (1024.00 KiB)"},
        {1048576, "  Budget: 1,048,576 bytes (1.00 MiB)"},
        {1000000, "  Budget: 1,000,000 bytes (976.56 KiB)"},
        {1073741823, "  Budget: 1,073,741,823 bytes (1024.00 MiB)"},
        {1073741824, "  Budget: 1,073,741,824 bytes (1.00 GiB)"},
        {25769803776u, "  Budget: 25,769,803,776 bytes (24.00 GiB)"},
        {INT64_MAX - 1, "  Budget: 9,223,372,036,854,775,806 bytes "
                        "(8589934592.00 GiB)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bp__manager *manager =
            open_manager(cases[i].limit, NULL, BP_POLICY_LRU);
        CHECK_STATUS(bp_budget_charge(it.tree, manager->budget->handle,
                                      cases[i].limit + 1, NULL, &shortage,
                                      &it.error),
                     BP_BUDGET_EXCEEDED, &it.error);
        CHECK(has_line(cases[i].line));
        CHECK(has_line("  Suggestion: raise the budget by 1 bytes"));
        CHECK(fixture_fini(&it));
    }
}

static void the_parent_refuses(void)
{
    fixture_init(&it);
    bp__budget *root = fixture_budget(&it, 100, NULL, "device");
    bp__budget *left = fixture_budget(&it, 90, root, "left");
    bp__budget *right = fixture_budget(&it, 90, root, "right");
    bp__manager *manager = fixture_manager(&it, right, BP_POLICY_LRU);
    CHECK(fixture_slot(&it, manager, "a", 60) != NULL);
    refused(left, 50,
            "[BAY-E003] GPU memory budget exceeded\n"
            "  Requested: 50 bytes\n"
            "  Available: 40 bytes\n"
            "  Budget 'device': 100 bytes\n"
            "  Allocated: 60 bytes\n"
            "  Loaded slots: 1/1\n"
            "  Suggestion: evict 'a' (60 bytes, least recently used) or raise "
            "the budget");
    CHECK_TEXT(shortage.budget, "device");
    refused(left, 91,
            "[BAY-E003] GPU memory budget exceeded\n"
            "  Requested: 91 bytes\n"
            "  Available: 90 bytes\n"
            "  Budget 'left': 90 bytes\n"
            "  Allocated: 0 bytes\n"
            "  Loaded slots: 0/0\n"
            "  Suggestion: raise the budget by 1 bytes");
    CHECK_PASSED();
    CHECK_U64(root->n_refusals, 1);
    CHECK_U64(left->n_refusals, 1);
    CHECK_U64(right->n_refusals, 0);
    CHECK(fixture_fini(&it));
}

static void a_limit_below_use(void)
{
    bp__manager *manager = open_manager(100, NULL, BP_POLICY_LRU);
    bp__budget *budget = manager->budget;
    charge(budget, 60);
    CHECK(fixture_slot(&it, manager, "a", 40) != NULL);
    bool is_deferred;
    CHECK_STATUS(bp_budget_set_limit(it.tree, budget->handle, 50, &is_deferred,
                                     &it.error),
                 BP_OK, &it.error);
    refused(budget, 5,
            "[BAY-E003] GPU memory budget exceeded\n"
            "  Requested: 5 bytes\n"
            "  Available: 0 bytes\n"
            "  Budget: 50 bytes\n"
            "  Allocated: 100 bytes\n"
            "  Loaded slots: 1/1\n"
            "  Suggestion: evict 'a' (40 bytes, least recently used) and raise "
            "the budget by 15 bytes");
    CHECK_PASSED();
    CHECK(fixture_fini(&it));
}

static char *repeated(char *buffer, char letter, size_t n)
{
    memset(buffer, letter, n);
    buffer[n] = '\0';
    return buffer;
}

/* The longest names there may be are cut; the report is not. */
static void long_names(void)
{
    char name[256];
    bp__manager *manager =
        open_manager(INT64_MAX, repeated(name, 'b', 255), BP_POLICY_LRU);
    bp__budget *budget = manager->budget;
    uint64_t quarter = (uint64_t)INT64_MAX / 4;
    for (char letter = 'w'; letter <= 'z'; letter++) {
        bp_slot_request request =
            fixture_request(repeated(name, letter, 255), quarter);
        CHECK(fixture_ask(&it, manager, &request) != NULL);
    }
    suggests(
        budget, INT64_MAX,
        "evict 'wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww"
        "w...', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxx...', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
        "yyy...' and 1 more (9,223,372,036,854,775,804 bytes, least "
        "recently used) or raise the budget");
    CHECK_PASSED();
    CHECK_U64(strlen(shortage.budget), 63);
    CHECK(strstr(shortage.text, "\n  Budget 'bbb") != NULL);
    CHECK(fixture_fini(&it));
}

/* ---- claims and plans ---------------------------------------------------- */

/* What the claim has already need not be found again; the slot that is asked
 * for is none of those there are. */
static void a_claim_is_refused(void)
{
    bp__manager *manager = open_manager(100, NULL, BP_POLICY_LRU);
    bp__budget *budget = manager->budget;
    bp_reservation promise;
    CHECK_STATUS(bp_budget_reserve(it.tree, budget->handle, 50, &promise, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    CHECK(fixture_slot(&it, manager, "a", 30) != NULL);
    bp_slot_request request = fixture_request("new", 90);
    bp__slot *slot;
    CHECK_STATUS(
        bp__slot_new_locked(it.tree, manager, &request, NULL, &slot, &it.error),
        BP_OK, &it.error);
    bp__claim claim;
    bp__claim_begin_locked(it.tree, &claim, budget, 90,
                           bp__handles_get(&it.tree->reservations, promise));
    CHECK_STATUS(bp__refuse_claim_locked(it.tree, &claim, NULL, manager,
                                         &shortage, &it.error),
                 BP_BUDGET_EXCEEDED, &it.error);
    CHECK_TEXT(shortage.text,
               "[BAY-E003] GPU memory budget exceeded\n"
               "  Requested: 90 bytes\n"
               "  Available: 20 bytes\n"
               "  Budget: 100 bytes\n"
               "  Allocated: 30 bytes\n"
               "  Reserved: 50 bytes\n"
               "  Loaded slots: 1/1\n"
               "  Suggestion: evict 'a' (30 bytes, least recently used) or "
               "raise the budget");
    CHECK_U64(budget->n_refusals, 1);
    bp__claim_abort_locked(it.tree, &claim);
    bp__claim_begin_locked(it.tree, &claim, budget, 20, NULL);
    CHECK_STATUS(bp__refuse_claim_locked(it.tree, &claim, NULL, manager,
                                         &shortage, NULL),
                 BP_BUDGET_EXCEEDED, NULL);
    CHECK(has_line("  Suggestion: try again: room has come free since"));
    bp__claim_abort_locked(it.tree, &claim);
    bp__slot_free_locked(it.tree, slot);
    CHECK(fixture_fini(&it));
}

static void a_plan_is_refused(void)
{
    bp__manager *manager = open_manager(100, NULL, BP_POLICY_LRU);
    bp__budget *budget = manager->budget;
    bp__manager *other = fixture_manager(&it, budget, BP_POLICY_LRU);
    CHECK(fixture_slot(&it, other, "not mine", 50) != NULL);
    CHECK(fixture_slot(&it, manager, "mine", 40) != NULL);
    bp_slot out[2] = {0, 0};
    size_t n = 99;
    CHECK_STATUS(bp_slots_plan(it.tree, manager->handle, 0, out, 2, &n,
                               &shortage, &it.error),
                 BP_OK, &it.error);
    CHECK_U64(n, 0);
    CHECK_STATUS(bp_slots_plan(it.tree, manager->handle, 50, out, 0, &n,
                               &shortage, &it.error),
                 BP_OK, &it.error);
    CHECK_U64(n, 1);
    CHECK_U64(out[0], 0);
    char *before = fixture_dump(&it);
    CHECK_STATUS(bp_slots_plan(it.tree, manager->handle, 60, out, 2, &n,
                               &shortage, &it.error),
                 BP_BUDGET_EXCEEDED, &it.error);
    CHECK(fixture_is_as(&it, before));
    /* Its own slots only; and nothing was refused to anybody. */
    CHECK(has_line("  Suggestion: evict 'mine' (40 bytes, least recently used) "
                   "and raise the budget by 10 bytes"));
    CHECK_U64(budget->n_refusals, 0);
    CHECK_STATUS(bp_slots_plan(it.tree, manager->handle, (uint64_t)1 << 63, out,
                               2, &n, &shortage, &it.error),
                 BP_BAD_SIZE, &it.error);
    CHECK_TEXT(it.error.text,
               "9223372036854775808 bytes are no size of a slot");
    CHECK(fixture_fini(&it));
}

static void no_victim_at_all(void)
{
    bp__manager *manager = open_manager(100, NULL, BP_POLICY_LRU);
    bp_slot_request request = fixture_request("fixed", 10);
    request.is_pinned = true;
    CHECK(fixture_ask(&it, manager, &request) != NULL);
    bp_slot out = 99;
    CHECK_STATUS(
        bp_slots_first_victim(it.tree, manager->handle, &out, &it.error),
        BP_UNKNOWN_SLOT, &it.error);
    CHECK_TEXT(it.error.text, "none of 1 slots can go now: each is pinned, in "
                              "use or not loaded");
    CHECK_U64(out, 99);
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(thirteen_slots);
    RUN(every_line);
    RUN(an_empty_budget);
    RUN(enough_some_none);
    RUN(at_most_three_names);
    RUN(words_of_the_policy);
    RUN(managers_of_two_minds);
    RUN(units);
    RUN(the_parent_refuses);
    RUN(a_limit_below_use);
    RUN(long_names);
    RUN(a_claim_is_refused);
    RUN(a_plan_is_refused);
    RUN(no_victim_at_all);
    return finish();
}
