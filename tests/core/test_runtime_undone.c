/* test_runtime_undone.c - calls that fail take nothing with them: a reservation
 * gets its bytes back, a refusal leaves no trace in figures and edges, a device
 * without room takes slots from no other device, and what one call replaces
 * goes for no other. A hook in the backend does something else in the middle of
 * a call. */
#include "harness.h"

#include "device_fixture.h"

#include "backend/backend.h"
#include "device/slots.h"

#include <pthread.h>

/* ---- hooks ------------------------------------------------------------- */

/* Only one test at a time has hooks; each is called once. */
static struct hooks {
    const bp__backend_table *real;
    bp__backend_table table;
    device_fixture *it;
    void (*after_alloc)(device_fixture *it);
    void (*before_query)(device_fixture *it);
} hooks;

static bp_status alloc_hooked(bp_backend *backend, uint64_t n_bytes,
                              bp__memory *out, bp_error *error)
{
    bp_status status = hooks.real->alloc(backend, n_bytes, out, error);
    void (*hook)(device_fixture *) = hooks.after_alloc;
    hooks.after_alloc = NULL;
    if (hook != NULL) {
        hook(hooks.it);
    }
    return status;
}

static bp_status query_hooked(bp_backend *backend, bp__event event,
                              bool *has_passed, bp_error *error)
{
    void (*hook)(device_fixture *) = hooks.before_query;
    hooks.before_query = NULL;
    if (hook != NULL) {
        hook(hooks.it);
    }
    return hooks.real->event_query(backend, event, has_passed, error);
}

static void hook_into(device_fixture *it)
{
    memset(&hooks, 0, sizeof hooks);
    hooks.it = it;
    hooks.real = it->sim->table;
    hooks.table = *it->sim->table;
    hooks.table.alloc = alloc_hooked;
    hooks.table.event_query = query_hooked;
    it->sim->table = &hooks.table;
}

/* ---- reservations ------------------------------------------------------ */

static bp_slot_request loaded_from(bp_reservation reservation, uint64_t n_bytes)
{
    return (bp_slot_request){.name = "new",
                             .n_bytes = n_bytes,
                             .has_loader = true,
                             .reservation = reservation};
}

static bp_status reserve(device_fixture *it, uint64_t n_bytes,
                         bp_reservation *out)
{
    return bp_budget_reserve(it->tree, it->budget, n_bytes, out, NULL,
                             &it->error);
}

static bp_status allocate(device_fixture *it, const bp_slot_request *request,
                          bp_slot *out)
{
    return bp_slots_allocate(it->tree, it->slots, request, NULL, out,
                             &it->shortage, &it->error);
}

static void a_failed_load_pays_back(void)
{
    static const uint64_t sizes[] = {40, 60, 61, 100, 200};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        device_fixture it;
        bp_reservation reservation;
        bp_slot slot;
        CHECK(device_init(&it, 200, NULL));
        CHECK_STATUS(reserve(&it, 60, &reservation), BP_OK, &it.error);
        char *before = device_dump(&it);
        bp_slot_request request = loaded_from(reservation, sizes[i]);
        CHECK_STATUS(allocate(&it, &request, &slot), BP_OK, &it.error);
        uint64_t n = sizes[i] < 60 ? sizes[i] : 60;
        CHECK_U64(bp_reservation_left(it.tree, reservation), 60 - n);
        CHECK_STATUS(bp_slot_loaded(it.tree, slot, false, &it.error), BP_OK,
                     &it.error);
        CHECK_U64(bp_reservation_left(it.tree, reservation), 60);
        CHECK(device_is_unchanged(&it, before));
        CHECK(device_is_sound(&it));
        bp_reservation_close(it.tree, reservation);
        CHECK_U64(device_stats(&it).available, 200);
        CHECK(device_fini(&it));
    }
}

static void pays_back_in_all_parents(void)
{
    device_fixture it;
    bp_budget child;
    bp_slots slots;
    bp_reservation reservation;
    bp_slot slot;
    CHECK(device_init(&it, 300, NULL));
    bp_budget_options options = bp_budget_defaults(200);
    options.parent = it.budget;
    CHECK_STATUS(bp_budget_open(it.tree, &options, &child, &it.error), BP_OK,
                 &it.error);
    bp_slots_options under = {.budget = child, .backend = it.sim};
    CHECK_STATUS(bp_slots_open(it.tree, &under, &slots, &it.error), BP_OK,
                 &it.error);
    CHECK_STATUS(
        bp_budget_reserve(it.tree, child, 60, &reservation, NULL, &it.error),
        BP_OK, &it.error);
    char *before = device_dump(&it);
    bp_slot_request request = loaded_from(reservation, 100);
    CHECK_STATUS(bp_slots_allocate(it.tree, slots, &request, NULL, &slot, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(bp_slot_loaded(it.tree, slot, false, &it.error), BP_OK,
                 &it.error);
    CHECK(device_is_unchanged(&it, before));
    bp_reservation_close(it.tree, reservation);
    bp_slots_close(it.tree, slots);
    CHECK_STATUS(bp_budget_close(it.tree, child, &it.error), BP_OK, &it.error);
    CHECK(device_fini(&it));
}

/* Its owner has closed it meanwhile: nobody is owed anything. */
static void a_closed_reservation_gets_nothing(void)
{
    device_fixture it;
    bp_reservation reservation, other;
    bp_slot slot;
    CHECK(device_init(&it, 200, NULL));
    CHECK_STATUS(reserve(&it, 60, &reservation), BP_OK, &it.error);
    bp_slot_request request = loaded_from(reservation, 100);
    CHECK_STATUS(allocate(&it, &request, &slot), BP_OK, &it.error);
    bp_reservation_close(it.tree, reservation);
    CHECK_STATUS(reserve(&it, 10, &other), BP_OK, &it.error); /* its place */
    CHECK_STATUS(bp_slot_loaded(it.tree, slot, false, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(device_stats(&it).available, 190);
    CHECK_U64(bp_reservation_left(it.tree, other), 10);
    bp_reservation_close(it.tree, other);
    CHECK(device_fini(&it));
}

/* As long as the memory is there its bytes are nobody's. */
static void pays_back_once_the_memory_is_free(void)
{
    device_fixture it;
    bp_reservation reservation;
    bp_slot slot;
    bp_sim_options options = {.capacity = UINT64_MAX, .fail = "free:#1"};
    CHECK(device_init(&it, 200, &options));
    CHECK_STATUS(reserve(&it, 60, &reservation), BP_OK, &it.error);
    char *before = device_dump(&it);
    bp_slot_request request = loaded_from(reservation, 100);
    CHECK_STATUS(allocate(&it, &request, &slot), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_loaded(it.tree, slot, false, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(device_stats(&it).retiring, 100);
    CHECK_U64(bp_reservation_left(it.tree, reservation), 0);
    bp_tree_settle(it.tree);
    CHECK_U64(bp_reservation_left(it.tree, reservation), 60);
    CHECK(device_is_unchanged(&it, before));
    bp_reservation_close(it.tree, reservation);
    CHECK(device_fini(&it));
}

static void a_good_load_keeps_what_it_took(void)
{
    device_fixture it;
    bp_reservation reservation;
    bp_slot slot;
    CHECK(device_init(&it, 200, NULL));
    CHECK_STATUS(reserve(&it, 60, &reservation), BP_OK, &it.error);
    bp_slot_request request = loaded_from(reservation, 50);
    CHECK_STATUS(allocate(&it, &request, &slot), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_loaded(it.tree, slot, true, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(bp_reservation_left(it.tree, reservation), 10);
    /* Neither does the end of its life, nor another load that fails. */
    CHECK_STATUS(bp_slot_evict(it.tree, slot, &it.error), BP_OK, &it.error);
    CHECK_U64(bp_reservation_left(it.tree, reservation), 10);
    bool needs_load;
    CHECK_STATUS(bp_slot_use_begin(it.tree, slot, BP_READS, NULL, &needs_load,
                                   NULL, &it.error),
                 BP_OK, &it.error);
    CHECK(needs_load);
    CHECK_STATUS(bp_slot_loaded(it.tree, slot, false, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(bp_reservation_left(it.tree, reservation), 10);
    bp_reservation_close(it.tree, reservation);
    CHECK(device_fini(&it));
}

/* Closed while it is filled: the slot is not made either. */
static void closing_pays_back(void)
{
    device_fixture it;
    bp_reservation reservation;
    bp_slot slot;
    CHECK(device_init(&it, 200, NULL));
    CHECK_STATUS(reserve(&it, 60, &reservation), BP_OK, &it.error);
    bp_slot_request request = loaded_from(reservation, 100);
    CHECK_STATUS(allocate(&it, &request, &slot), BP_OK, &it.error);
    bp_slots_close(it.tree, it.slots);
    CHECK_STATUS(bp_slot_loaded(it.tree, slot, true, &it.error), BP_STALE,
                 NULL);
    CHECK_U64(bp_reservation_left(it.tree, reservation), 60);
    bp_reservation_close(it.tree, reservation);
    CHECK(device_fini(&it));
}

static pthread_t closer;

static void *close_slots(void *ctx)
{
    device_fixture *it = ctx;
    bp_slots_close(it->tree, it->slots);
    return NULL;
}

/* Until the other thread has begun to close. */
static void close_meanwhile(device_fixture *it)
{
    bool is_closing = false;
    CHECK_U64(pthread_create(&closer, NULL, close_slots, it), 0);
    while (!is_closing) {
        bp__mutex_lock(&it->tree->lock);
        is_closing = bp__manager_get_locked(it->tree, it->slots)->is_closing;
        bp__mutex_unlock(&it->tree->lock);
    }
}

/* Memory was had, and is given back: so is what its bytes came from, and no
 * admission has taken place. */
static void an_allocation_undone_pays_back(void)
{
    device_fixture it;
    bp_reservation reservation;
    bp_slot slot;
    memset(&it, 0, sizeof it);
    CHECK(device_init_with(&it, 200, NULL, NULL));
    CHECK_STATUS(reserve(&it, 60, &reservation), BP_OK, &it.error);
    uint64_t n_charges = device_stats(&it).n_charges;
    hook_into(&it);
    hooks.after_alloc = close_meanwhile;
    bp_slot_request request = loaded_from(reservation, 100);
    CHECK_STATUS(allocate(&it, &request, &slot), BP_CLOSED, NULL);
    CHECK_U64(pthread_join(closer, NULL), 0);
    CHECK_U64(bp_reservation_left(it.tree, reservation), 60);
    CHECK_U64(device_stats(&it).available, 140);
    CHECK_U64(device_stats(&it).n_charges, n_charges);
    bp_reservation_close(it.tree, reservation);
    CHECK(device_fini(&it));
}

/* ---- refusals ---------------------------------------------------------- */

/* A copy of 'b' waits for the user's stream; 'a' is resident. */
static bool hold_stream(device_fixture *it, bp_slot *resident)
{
    bp_slot gone;
    return device_allocate(it, "a", 100, resident) == BP_OK &&
           device_fill(it, *resident, 100, 1, BP_HOST_ONLY) == BP_OK &&
           device_allocate(it, "b", 100, &gone) == BP_OK &&
           device_fill(it, gone, 100, 2, it->stream) == BP_OK &&
           bp_slot_evict(it->tree, gone, &it->error) == BP_OK;
}

/* There is a slot that could go, but its copy would lie behind somebody's
 * work: refused, and nobody could tell but by the count. */
static void a_refusal_leaves_no_trace(void)
{
    device_fixture it;
    bp_slot a, none;
    bp_watch watch;
    bp_edge edge;
    bp_history_point points[64];
    bp_sim_options options = {.capacity = UINT64_MAX, .events = BP_SIM_MANUAL};
    CHECK(device_init(&it, 300, &options));
    CHECK(hold_stream(&it, &a));
    CHECK_STATUS(bp_watch_open(it.tree, it.budget, BP_HIGH, &watch, &it.error),
                 BP_OK, &it.error);
    CHECK(!bp_tree_take_edge(it.tree, &edge));
    bp_budget_stats before = device_stats(&it);
    size_t n_points = bp_budget_copy_history(it.tree, it.budget, points, 64);
    char *dump = device_dump(&it);
    CHECK_U64(before.peak, 200);
    CHECK_STATUS(device_allocate(&it, "c", 150, &none), BP_BUDGET_EXCEEDED,
                 NULL);
    CHECK(device_is_unchanged(&it, dump));
    bp_budget_stats after = device_stats(&it);
    CHECK_U64(after.n_refusals, before.n_refusals + 1);
    CHECK_U64(after.peak, before.peak);
    CHECK_U64(bp_budget_copy_history(it.tree, it.budget, points, 64), n_points);
    CHECK(!bp_tree_has_edges(it.tree));
    CHECK_U64(device_state(&it, a), BP_SLOT_RESIDENT);
    /* With leave to wait it goes. */
    bp_wait wait = device_wait_ms(5);
    bp_slot_request request = slot_of("c", 150);
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, &wait, &none,
                                   NULL, &it.error),
                 BP_BUDGET_EXCEEDED, NULL);
    CHECK(device_state(&it, a) != BP_SLOT_RESIDENT);
    (void)bp_sim_complete(it.sim, UINT64_MAX);
    CHECK(device_holds(&it, a, 100, 1));
    CHECK(device_fini(&it));
}

/* ---- two devices ------------------------------------------------------- */

static size_t count_causes(device_fixture *it, bp_cursor cursor, bp_cause cause,
                           size_t *n_all)
{
    bp_record records[16];
    size_t n = 0;
    *n_all = bp_cursor_drain(bp_tree_get_log(it->tree), cursor, records, 16);
    for (size_t i = 0; i < *n_all; i++) {
        n += records[i].cause == cause;
        bp_record_fini(&records[i]);
    }
    return n;
}

/* A device is full though the budget is not: what lies on another one stays,
 * however old. */
static void only_the_full_device_gives(void)
{
    device_fixture it;
    bp_slots far_away;
    bp_backend *other;
    bp_slot x, y, z, b;
    bp_cursor cursor;
    size_t n_all;
    bp_sim_options options = {.capacity = 250};
    CHECK(device_init(&it, 1000, &options));
    CHECK_STATUS(bp_sim_new(NULL, &it.alloc, &other, &it.error), BP_OK,
                 &it.error);
    bp_slots_options there = {.budget = it.budget, .backend = other};
    CHECK_STATUS(bp_slots_open(it.tree, &there, &far_away, &it.error), BP_OK,
                 &it.error);
    bp_slot_request request = slot_of("b", 100);
    CHECK_STATUS(bp_slots_allocate(it.tree, far_away, &request, NULL, &b, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "x", 100, &x), BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "y", 100, &y), BP_OK, &it.error);
    CHECK_STATUS(
        bp_cursor_open(bp_tree_get_log(it.tree), NULL, &cursor, &it.error),
        BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "z", 100, &z), BP_OK, &it.error);
    CHECK_U64(device_state(&it, b), BP_SLOT_RESIDENT);
    CHECK_U64(device_state(&it, x), BP_SLOT_EVICTED);
    CHECK_U64(device_state(&it, y), BP_SLOT_RESIDENT);
    CHECK_U64(count_causes(&it, cursor, BP_CAUSE_OOM, &n_all), 1);
    CHECK_U64(n_all, 1);
    /* Nothing there can go, and nothing anywhere else does. */
    bool needs_load;
    CHECK_STATUS(device_begin(&it, y, false), BP_OK, &it.error);
    CHECK_STATUS(device_begin(&it, z, false), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_use_begin(it.tree, x, BP_READS, NULL, &needs_load,
                                   NULL, &it.error),
                 BP_DEVICE_MEMORY, NULL);
    CHECK_U64(device_state(&it, b), BP_SLOT_RESIDENT);
    CHECK_U64(count_causes(&it, cursor, BP_CAUSE_OOM, &n_all), 0);
    bp_slot_use_end(it.tree, y, BP_HOST_ONLY);
    bp_slot_use_end(it.tree, z, BP_HOST_ONLY);
    bp_slots_close(it.tree, far_away);
    bp_backend_unref(other);
    CHECK(device_fini(&it));
}

/* What leaves another device does not make this one less full. */
static void what_leaves_elsewhere_does_not_count(void)
{
    device_fixture it;
    bp_slots far_away;
    bp_backend *other;
    bp_slot x, z, b;
    bp_sim_options late = {.capacity = UINT64_MAX, .events = BP_SIM_MANUAL};
    bp_sim_options options = {.capacity = 150};
    bp_stream stream;
    CHECK(device_init(&it, 1000, &options));
    CHECK_STATUS(bp_sim_new(&late, &it.alloc, &other, &it.error), BP_OK,
                 &it.error);
    CHECK_STATUS(bp_sim_stream_open(other, &stream, &it.error), BP_OK,
                 &it.error);
    bp_slots_options there = {.budget = it.budget, .backend = other};
    CHECK_STATUS(bp_slots_open(it.tree, &there, &far_away, &it.error), BP_OK,
                 &it.error);
    bp_slot_request request = slot_of("b", 100);
    CHECK_STATUS(bp_slots_allocate(it.tree, far_away, &request, NULL, &b, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, b, 100, 1, stream), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_deallocate(it.tree, b, NULL, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(device_stats(&it).retiring, 100);
    CHECK_STATUS(device_allocate(&it, "x", 100, &x), BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "z", 100, &z), BP_OK, &it.error);
    CHECK_U64(device_state(&it, x), BP_SLOT_EVICTED);
    bp_slots_close(it.tree, far_away);
    bp_backend_unref(other);
    CHECK(device_fini(&it));
}

/* ---- what is being replaced -------------------------------------------- */

static bp_status meanwhile;

/* Another call wants room while the first one looks at events. */
static void want_room(device_fixture *it)
{
    bp_slot slot;
    meanwhile = device_allocate(it, "d", 100, &slot);
}

/* A slot that is being replaced goes for no other call: its contents may have
 * to come back, whether it keeps a copy or not. */
static void goes_for_nobody_else(void)
{
    device_fixture it;
    bp_slot old, held, busy, none;
    bp_sim_options options = {.capacity = UINT64_MAX, .events = BP_SIM_MANUAL};
    CHECK(device_init(&it, 300, &options));
    bp_slot_request request = {.name = "a", .n_bytes = 100};
    CHECK_STATUS(allocate(&it, &request, &old), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, old, 100, 7, BP_HOST_ONLY), BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "b", 100, &held), BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "c", 100, &busy), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, busy, 100, 8, it.stream), BP_OK, &it.error);
    CHECK_STATUS(device_begin(&it, held, false), BP_OK, &it.error);
    char *before = device_dump(&it);
    hook_into(&it);
    hooks.before_query = want_room;
    meanwhile = BP_OK;
    request =
        (bp_slot_request){.name = "a", .n_bytes = 250, .is_replacing = true};
    CHECK_STATUS(allocate(&it, &request, &none), BP_BUDGET_EXCEEDED, NULL);
    CHECK(hooks.before_query == NULL);
    CHECK_STATUS(meanwhile, BP_BUDGET_EXCEEDED, NULL);
    CHECK(device_is_unchanged(&it, before));
    CHECK_U64(device_n_records(&it), 0);
    CHECK(device_holds(&it, old, 100, 7));
    bp_slot_use_end(it.tree, held, BP_HOST_ONLY);
    CHECK(device_fini(&it));
}

/* The limit was lowered: the old one may go for that, and comes back all the
 * same. */
static void may_go_for_its_own_call(void)
{
    device_fixture it;
    bp_slot old, none;
    bool is_deferred;
    CHECK(device_init(&it, 300, NULL));
    bp_slot_request request = {.name = "a", .n_bytes = 100};
    CHECK_STATUS(allocate(&it, &request, &old), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, old, 100, 7, BP_HOST_ONLY), BP_OK, &it.error);
    CHECK_STATUS(
        bp_budget_set_limit(it.tree, it.budget, 90, &is_deferred, &it.error),
        BP_OK, &it.error);
    request =
        (bp_slot_request){.name = "a", .n_bytes = 250, .is_replacing = true};
    CHECK_STATUS(allocate(&it, &request, &none), BP_BUDGET_EXCEEDED, NULL);
    CHECK_STATUS(
        bp_budget_set_limit(it.tree, it.budget, 300, &is_deferred, &it.error),
        BP_OK, &it.error);
    CHECK(device_holds(&it, old, 100, 7));
    CHECK(device_fini(&it));
}

int main(void)
{
    RUN(a_failed_load_pays_back);
    RUN(pays_back_in_all_parents);
    RUN(a_closed_reservation_gets_nothing);
    RUN(pays_back_once_the_memory_is_free);
    RUN(a_good_load_keeps_what_it_took);
    RUN(closing_pays_back);
    RUN(an_allocation_undone_pays_back);
    RUN(a_refusal_leaves_no_trace);
    RUN(only_the_full_device_gives);
    RUN(what_leaves_elsewhere_does_not_count);
    RUN(goes_for_nobody_else);
    RUN(may_go_for_its_own_call);
    return finish();
}
