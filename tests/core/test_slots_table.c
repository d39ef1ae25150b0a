/* test_slots_table.c - names, refused requests, want of memory, and many slots
 * at random against a plain table. */
#include "slots_fixture.h"

static fixture it;

#define CHECK_WHOLE() CHECK(fixture_is_whole(&it))

static bp__manager *open_manager(uint64_t limit, bp_policy policy)
{
    fixture_init(&it);
    bp__budget *budget = fixture_budget(&it, limit, NULL, NULL);
    return budget == NULL ? NULL : fixture_manager(&it, budget, policy);
}

/* ---- names --------------------------------------------------------------- */

static void names_find_slots(void)
{
    bp__manager *manager = open_manager(1000, BP_POLICY_LRU);
    bp__slot *a = fixture_slot(&it, manager, "a", 10);
    bp__slot *b = fixture_slot(&it, manager, "b", 10);
    bp__slot *c = fixture_slot(&it, manager, "c", 10);
    bp_slot found;
    CHECK_STATUS(bp_slots_find(it.tree, manager->handle, "b", &found, NULL),
                 BP_OK, NULL);
    CHECK_U64(found, b->handle);
    fixture_drop(&it, a); /* the last name moves into its place */
    CHECK(bp__slot_named_locked(manager, "a") == NULL);
    CHECK(bp__slot_named_locked(manager, "b") == b);
    CHECK(bp__slot_named_locked(manager, "c") == c);
    CHECK_WHOLE();
    CHECK_STATUS(
        bp_slots_find(it.tree, manager->handle, "a", &found, &it.error),
        BP_UNKNOWN_SLOT, &it.error);
    CHECK_TEXT(it.error.text, "no slot 'a' (has: b, c)");
    CHECK_TEXT(it.error.buffer, "a");
    fixture_evict(&it, b, BP_CAUSE_EXPLICIT); /* evicted is still there */
    CHECK(bp__slot_named_locked(manager, "b") == b);
    fixture_drop(&it, b);
    fixture_drop(&it, c);
    CHECK_STATUS(bp_slots_find(it.tree, manager->handle, "", &found, &it.error),
                 BP_UNKNOWN_SLOT, &it.error);
    CHECK_TEXT(it.error.text, "no slot '' (has: none)");
    CHECK_STATUS(bp_slots_find(it.tree, 77, "a", &found, &it.error), BP_STALE,
                 &it.error);
    CHECK_WHOLE();
    CHECK(fixture_fini(&it));
}

static void a_name_is_replaced(void)
{
    bp__manager *manager = open_manager(1000, BP_POLICY_LRU);
    bp__slot *old = fixture_slot(&it, manager, "a", 10);
    bp__slot *other = fixture_slot(&it, manager, "b", 10);
    char *before = fixture_dump(&it);
    bp_slot_request request = fixture_request("a", 20);
    bp__slot *next;
    CHECK_STATUS(
        bp__slot_new_locked(it.tree, manager, &request, NULL, &next, &it.error),
        BP_SLOT_EXISTS, &it.error);
    CHECK_TEXT(it.error.text, "slot 'a' exists (10 bytes, resident)");
    CHECK_TEXT(it.error.buffer, "a");
    CHECK_STATUS(bp__slot_new_locked(it.tree, manager, &request, other, &next,
                                     &it.error),
                 BP_SLOT_EXISTS, &it.error);
    CHECK_STATUS(
        bp__slot_new_locked(it.tree, manager, &request, old, &next, &it.error),
        BP_OK, &it.error);
    CHECK(bp__slot_named_locked(manager, "a") == next);
    CHECK(!bp__slot_is_listed(old) && bp__slot_is_listed(next));
    CHECK_WHOLE();
    bp_slot listed[4] = {0};
    CHECK_U64(bp_slots_list(it.tree, manager->handle, listed, 4), 2);
    CHECK_U64(listed[0], other->handle);
    CHECK_U64(listed[1], next->handle);
    bp__slot_give_name_back_locked(next, old);
    CHECK(bp__slot_named_locked(manager, "a") == old);
    CHECK_WHOLE();
    bp__slot_free_locked(it.tree, next);
    CHECK(fixture_is_as(&it, before));

    CHECK_STATUS(
        bp__slot_new_locked(it.tree, manager, &request, old, &next, &it.error),
        BP_OK, &it.error);
    CHECK(fixture_bring(&it, next));
    fixture_drop(&it, old);
    CHECK(bp__slot_named_locked(manager, "a") == next);
    CHECK(bp__slot_named_locked(manager, "b") == other);
    CHECK_WHOLE();
    CHECK(fixture_fini(&it));
}

static char *repeated(char *buffer, size_t n)
{
    memset(buffer, 'x', n);
    buffer[n] = '\0';
    return buffer;
}

static void refuse(bp__manager *manager, const bp_slot_request *request,
                   bp_status want, const char *text)
{
    char *before = fixture_dump(&it);
    bp__slot *slot = NULL;
    CHECK_STATUS(
        bp__slot_new_locked(it.tree, manager, request, NULL, &slot, &it.error),
        want, &it.error);
    CHECK(slot == NULL);
    CHECK_TEXT(it.error.text, text);
    CHECK(fixture_is_as(&it, before));
    CHECK_STATUS(
        bp__slot_new_locked(it.tree, manager, request, NULL, &slot, NULL), want,
        NULL);
    CHECK_WHOLE();
}

static void bad_requests(void)
{
    bp__manager *manager = open_manager(1000, BP_POLICY_LRU);
    CHECK(fixture_slot(&it, manager, "there", 10) != NULL);
    char text[300];
    bp_slot_request request = fixture_request(NULL, 10);
    refuse(manager, &request, BP_BAD_NAME, "a slot needs a name");
    request.name = "";
    refuse(manager, &request, BP_BAD_NAME, "a slot needs a name");
    request.name = repeated(text, 256);
    refuse(manager, &request, BP_BAD_NAME,
           "a name of 256 bytes is too long (at most 255)");
    request = fixture_request("a", 10);
    request.kind = repeated(text, 256);
    refuse(manager, &request, BP_BAD_NAME,
           "a kind of 256 bytes is too long (at most 255)");
    request = fixture_request("a", 0);
    refuse(manager, &request, BP_BAD_SIZE, "slot 'a' cannot have 0 bytes");
    request.n_bytes = (uint64_t)1 << 63;
    refuse(manager, &request, BP_BAD_SIZE,
           "slot 'a' cannot have 9223372036854775808 bytes");
    request.n_bytes = UINT64_MAX;
    refuse(manager, &request, BP_BAD_SIZE,
           "slot 'a' cannot have 18446744073709551615 bytes");
    request = fixture_request("there", 10);
    refuse(manager, &request, BP_SLOT_EXISTS,
           "slot 'there' exists (10 bytes, resident)");
    CHECK_PASSED();
    request = fixture_request(repeated(text, 255), 10);
    CHECK(fixture_ask(&it, manager, &request) != NULL);
    CHECK(bp__slot_named_locked(manager, text) != NULL);
    CHECK_WHOLE();
    CHECK(fixture_fini(&it));
}

/* ---- without memory ------------------------------------------------------ */

enum { N_STEPS = 24 };

/* One step of a scenario that makes every table grow; true if it succeeded. */
static bool step(size_t i, bp__budget *budget, bp__manager **manager,
                 bp__slot **slots)
{
    if (i == 0) {
        return bp__manager_new_locked(it.tree, budget, BP_POLICY_LRU, false,
                                      NULL, 1, manager, &it.error) == BP_OK;
    }
    char name[16];
    (void)snprintf(name, sizeof name, "slot %zu", i);
    bp_slot_request request = fixture_request(name, i);
    request.kind = i % 3 == 0 ? "kind" : NULL;
    bp__slot *replaced = NULL;
    if (i == N_STEPS - 2) {
        request.name = "slot 5";
        replaced = slots[5];
    }
    if (i == N_STEPS - 1) {
        return bp__slot_wake_locked(it.tree, slots[1], NULL);
    }
    return bp__slot_new_locked(it.tree, *manager, &request, replaced, &slots[i],
                               &it.error) == BP_OK;
}

/* A log that is nearly full of records makes waking ask for room. */
static void fill_log(void)
{
    bp_log *log = bp_tree_get_log(it.tree);
    while (log->next_seq - log->first_seq + it.tree->slots.n_items <
           log->capacity) {
        uint64_t seq;
        CHECK_STATUS(bp_log_publish(log, "foreign", NULL, 1, BP_CAUSE_SWEEP,
                                    &seq, &it.error),
                     BP_OK, &it.error);
    }
}

static void fail_step(size_t i, bp__budget *budget, bp__manager **manager,
                      bp__slot **slots, bool is_for_ever)
{
    uint64_t n = 1;
    for (;; n++) {
        char *before = fixture_dump(&it);
        test_heap_fail(&it.heap, n, is_for_ever);
        bool is_done = step(i, budget, manager, slots);
        uint64_t n_refused = it.heap.n_refused;
        test_heap_fail(&it.heap, 0, false);
        CHECK(is_done == (n_refused == 0));
        CHECK_WHOLE();
        if (is_done) {
            fixture_free_dump(&it, before);
            break;
        }
        CHECK(fixture_is_as(&it, before));
        if (i < N_STEPS - 1) {
            CHECK_U64(it.error.status, BP_NO_MEMORY);
        }
    }
    /* The first ones and the last cannot do without memory. */
    CHECK(n > 1 || (i > 1 && i < N_STEPS - 1));
}

static void without_memory(bool is_for_ever)
{
    fixture_init(&it);
    bp__budget *budget = fixture_budget(&it, 1000, NULL, NULL);
    bp__manager *manager = NULL;
    bp__slot *slots[N_STEPS] = {NULL};
    for (size_t i = 0; i < N_STEPS; i++) {
        fail_step(i, budget, &manager, slots, is_for_ever);
        CHECK_PASSED();
        if (i == 1) {
            CHECK(fixture_bring(&it, slots[1]));
            fixture_evict(&it, slots[1], BP_CAUSE_EXPLICIT);
        }
        if (i == N_STEPS - 2) {
            fill_log();
        }
    }
    CHECK(slots[1]->state == BP_SLOT_RESTORING);
    CHECK(fixture_fini(&it));
}

static void memory_fails_once(void)
{
    without_memory(false);
}

static void memory_fails_for_ever(void)
{
    without_memory(true);
}

/* Other owners fill the log, then memory is out: what the slots were promised
 * is still there. */
static void records_keep_the_room_of_slots(void)
{
    enum { N_SLOTS = 20 };
    bp__manager *manager = open_manager(1000, BP_POLICY_LRU);
    bp__slot *slots[N_SLOTS];
    for (size_t i = 0; i < N_SLOTS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "slot %zu", i);
        slots[i] = fixture_slot(&it, manager, name, 1);
        CHECK(slots[i] != NULL);
    }
    bp_log *log = bp_tree_get_log(it.tree);
    fill_log();
    CHECK_PASSED();
    for (size_t i = 0; i < N_SLOTS; i++) {
        uint64_t seq;
        CHECK_STATUS(bp_log_publish(log, "foreign", NULL, 1, BP_CAUSE_SWEEP,
                                    &seq, &it.error),
                     BP_OK, &it.error);
    }
    test_heap_fail(&it.heap, 1, true);
    for (size_t i = 0; i < N_SLOTS; i++) {
        fixture_evict(&it, slots[i], BP_CAUSE_EXPLICIT);
    }
    test_heap_fail(&it.heap, 0, false);
    CHECK_U64(log->first_seq, 0); /* no record had to go for another */
    CHECK_WHOLE();
    CHECK(fixture_fini(&it));
}

/* ---- many at random ------------------------------------------------------ */

enum { N_NAMES = 40, N_ROUNDS = 20000 };

/* What the table has to say, kept in the plainest way. */
typedef struct model {
    bp__slot *named[N_NAMES];
    bp__slot *order[N_NAMES]; /* as they were allocated */
    size_t n;
} model;

static void model_forget(model *m, size_t i)
{
    size_t at = 0;
    while (m->order[at] != m->named[i]) {
        at++;
    }
    memmove(m->order + at, m->order + at + 1,
            (--m->n - at) * sizeof m->order[0]);
    m->named[i] = NULL;
}

static void compare(const bp__manager *manager, const model *m)
{
    bp_slot list[N_NAMES];
    CHECK_U64(bp_slots_list(it.tree, manager->handle, list, N_NAMES), m->n);
    for (size_t i = 0; i < m->n; i++) {
        CHECK_U64(list[i], m->order[i]->handle);
    }
    for (size_t i = 0; i < N_NAMES; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "n%zu", i);
        CHECK(bp__slot_named_locked(manager, name) == m->named[i]);
    }
}

/* A new slot takes the name over; the old one goes. */
static void replace(bp__manager *manager, model *m, size_t i,
                    const bp_slot_request *request)
{
    bp__slot *old = m->named[i], *next;
    CHECK_STATUS(
        bp__slot_new_locked(it.tree, manager, request, old, &next, &it.error),
        BP_OK, &it.error);
    if (!fixture_bring(&it, next)) {
        bp__slot_give_name_back_locked(next, old);
        bp__slot_free_locked(it.tree, next);
        return;
    }
    model_forget(m, i);
    fixture_drop(&it, old);
    m->named[i] = m->order[m->n++] = next;
}

static void random_round(bp__manager *manager, model *m, uint64_t *seed)
{
    size_t i = (size_t)random_below(seed, N_NAMES);
    char name[16];
    (void)snprintf(name, sizeof name, "n%zu", i);
    bp_slot_request request =
        fixture_request(name, 1 + random_below(seed, 200));
    request.is_pinned = random_below(seed, 5) == 0;
    bp__slot *slot = m->named[i];
    if (slot == NULL) {
        slot = fixture_ask(&it, manager, &request);
        if (slot != NULL) {
            m->named[i] = m->order[m->n++] = slot;
        }
        return;
    }
    switch (random_below(seed, 4)) {
    case 0:
        model_forget(m, i);
        fixture_drop(&it, slot);
        break;
    case 1:
        replace(manager, m, i, &request);
        break;
    case 2:
        if (slot->state == BP_SLOT_RESIDENT) {
            fixture_evict(&it, slot, BP_CAUSE_EXPLICIT);
            break;
        }
        CHECK(bp__slot_wake_locked(it.tree, slot, NULL));
        if (!fixture_bring(&it, slot)) {
            bp__slot_sleep_locked(it.tree, slot);
        }
        break;
    default:
        bp_stamp_touch(it.tree, slot->stamp);
        break;
    }
}

static void random_tables(void)
{
    uint64_t seed = 7;
    bp__manager *manager = open_manager(2000, BP_POLICY_LRU);
    model m = {.n = 0};
    for (size_t round = 0; round < N_ROUNDS; round++) {
        random_round(manager, &m, &seed);
        CHECK_PASSED();
        if (round % 16 == 0) {
            CHECK_WHOLE();
            compare(manager, &m);
            CHECK_PASSED();
        }
    }
    uint64_t n_used = 0;
    for (size_t i = 0; i < m.n; i++) {
        bool is_loaded = m.order[i]->state == BP_SLOT_RESIDENT;
        n_used += is_loaded ? m.order[i]->n_charged : 0;
    }
    CHECK_U64(manager->budget->used, n_used);
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(names_find_slots);
    RUN(a_name_is_replaced);
    RUN(bad_requests);
    RUN(memory_fails_once);
    RUN(memory_fails_for_ever);
    RUN(records_keep_the_room_of_slots);
    RUN(random_tables);
    return finish();
}
