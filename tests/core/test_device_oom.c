/* test_device_oom.c - oom.c for device memory: in every step of a scenario the
 * n-th allocation fails, once and for ever, for every n until the step passes.
 * What decides alone leaves the dump as it was; what acts may have evicted, but
 * no byte of contents is lost and no residency ends untold. The same call
 * succeeds afterwards, and so does all that follows; at the end nothing leaks.
 */
#include "harness.h"

#include "device_fixture.h"

#include "device/tree.h"

enum { LIMIT = 4096, N_A = 1000, N_B = 3000, SEED_A = 3, SEED_B = 4 };

typedef struct state {
    device_fixture it;
    bp_budget child;
    bp_slots other;
    bp_slot a, b, c, d;
    bp_reservation reservation;
    bp_watch watch;
    bp_cursor cursor;
    uint64_t n_records;
} state;

/* What a refused step may leave behind, and whether it may pass in spite of a
 * refusal. */
enum { PURE, ACTS = 1, DOES_WITHOUT = 2 };

typedef struct step {
    bp_status (*run)(state *s);
    int kind;
} step;

/* ---- the ledger and the log -------------------------------------------- */

static bp_status open_child(state *s)
{
    bp_budget_options options = bp_budget_defaults(LIMIT);
    options.name = "child";
    options.parent = s->it.budget;
    return bp_budget_open(s->it.tree, &options, &s->child, &s->it.error);
}

static bp_status watch(state *s)
{
    return bp_watch_open(s->it.tree, s->child, BP_MEDIUM, &s->watch,
                         &s->it.error);
}

static bp_status subscribe(state *s)
{
    static const char *const kinds[] = {"model", "table"};
    bp_cursor_options options = {.kinds = kinds, .n_kinds = 2};
    return bp_cursor_open(bp_tree_get_log(s->it.tree), &options, &s->cursor,
                          &s->it.error);
}

static bp_status publish(state *s)
{
    uint64_t seq;
    bp_status status =
        bp_log_publish(bp_tree_get_log(s->it.tree), "asset", "table", 5,
                       BP_CAUSE_SWEEP, &seq, &s->it.error);
    s->n_records += status == BP_OK;
    return status;
}

static bp_status charge(state *s)
{
    return bp_budget_charge(s->it.tree, s->child, 50, "tag", &s->it.shortage,
                            &s->it.error);
}

static bp_status refund(state *s)
{
    return bp_budget_refund(s->it.tree, s->child, 50, "tag", &s->it.error);
}

static bp_status reserve(state *s)
{
    return bp_budget_reserve(s->it.tree, s->it.budget, 900, &s->reservation,
                             &s->it.shortage, &s->it.error);
}

static bp_status take(state *s)
{
    return bp_reservation_take(s->it.tree, s->reservation, 90, "taken",
                               &s->it.error);
}

static bp_status refund_taken(state *s)
{
    bp_reservation_close(s->it.tree, s->reservation);
    return bp_budget_refund(s->it.tree, s->it.budget, 90, "taken",
                            &s->it.error);
}

static bp_status dump(state *s)
{
    char *text = NULL;
    bp_status status = bp_tree_dump(s->it.tree, &text, &s->it.error);
    device_drop(&s->it, text);
    return status;
}

static bp_status open_other(state *s)
{
    bp_slots_options options = {.budget = s->child,
                                .backend = s->it.sim,
                                .policy = BP_POLICY_BIG_FIRST};
    return bp_slots_open(s->it.tree, &options, &s->other, &s->it.error);
}

static bp_status plan(state *s)
{
    bp_slot victims[4];
    size_t n;
    return bp_slots_plan(s->it.tree, s->it.slots, 2000, victims, 4, &n,
                         &s->it.shortage, &s->it.error);
}

/* ---- slots ------------------------------------------------------------- */

static bp_status allocate(state *s, bp_slots slots, bp_slot_request request,
                          bp_slot *out)
{
    bp_slot made;
    request.keeps_copy = !request.has_loader;
    bp_status status = bp_slots_allocate(s->it.tree, slots, &request, NULL,
                                         &made, &s->it.shortage, &s->it.error);
    *out = status == BP_OK ? made : *out;
    return status;
}

static bp_status allocate_a(state *s)
{
    return allocate(
        s, s->it.slots,
        (bp_slot_request){.name = "a", .n_bytes = N_A, .kind = "model"}, &s->a);
}

static bp_status fill_a(state *s)
{
    return device_fill(&s->it, s->a, N_A, SEED_A, s->it.stream);
}

/* There is room for it if `a` goes. */
static bp_status allocate_b(state *s)
{
    return allocate(
        s, s->it.slots,
        (bp_slot_request){.name = "b", .n_bytes = N_B, .kind = "model"}, &s->b);
}

static bp_status fill_b(state *s)
{
    return device_fill(&s->it, s->b, N_B, SEED_B, BP_NO_STREAM);
}

static bp_status use(state *s, bp_slot slot)
{
    bp_status status = device_begin(&s->it, slot, false);
    if (status == BP_OK) {
        bp_slot_use_end(s->it.tree, slot, s->it.stream);
    }
    return status;
}

static bp_status use_a(state *s)
{
    return use(s, s->a);
}

static bp_status use_b(state *s)
{
    return use(s, s->b);
}

static bp_status replace_a(state *s)
{
    bp_status status = allocate(
        s, s->it.slots,
        (bp_slot_request){
            .name = "a", .n_bytes = N_A, .kind = "model", .is_replacing = true},
        &s->a);
    return status == BP_OK ? fill_a(s) : status;
}

/* Filled by us, now and when it comes back. */
static bp_status allocate_c(state *s)
{
    bp_status status = allocate(
        s, s->other,
        (bp_slot_request){.name = "c", .n_bytes = 400, .has_loader = true},
        &s->c);
    return status == BP_OK
               ? bp_slot_loaded(s->it.tree, s->c, true, &s->it.error)
               : status;
}

static bp_status evict_c(state *s)
{
    return bp_slot_evict(s->it.tree, s->c, &s->it.error);
}

static bp_status reload_c(state *s)
{
    bool needs_load = false;
    bp_status status =
        bp_slot_use_begin(s->it.tree, s->c, BP_WRITES, NULL, &needs_load,
                          &s->it.shortage, &s->it.error);
    if (status == BP_OK && needs_load) {
        status = bp_slot_loaded(s->it.tree, s->c, true, &s->it.error);
    }
    if (status == BP_OK) {
        bp_slot_use_end(s->it.tree, s->c, BP_HOST_ONLY);
    }
    return status;
}

static bp_status make_room(state *s)
{
    return bp_budget_make_room(s->it.tree, s->it.budget, BP_NO_SLOTS,
                               LIMIT - 50, NULL, NULL, &s->it.shortage,
                               &s->it.error);
}

static bp_status lower_and_trim(state *s)
{
    bool is_deferred;
    bp_status status = bp_budget_set_limit(s->it.tree, s->it.budget, N_B,
                                           &is_deferred, &s->it.error);
    if (status == BP_OK) {
        status = bp_budget_trim(s->it.tree, s->it.budget, NULL, &s->it.error);
    }
    bp_status raised = bp_budget_set_limit(s->it.tree, s->it.budget, LIMIT,
                                           &is_deferred, &s->it.error);
    return status == BP_OK ? raised : status;
}

static bp_status drop_c(state *s)
{
    return bp_slot_deallocate(s->it.tree, s->c, NULL, &s->it.error);
}

static bp_status use_put_off(state *s)
{
    bp_deferred *deferred = bp_deferred_new(s->it.tree);
    if (deferred == NULL) {
        return bp_fail(&s->it.error, BP_NO_MEMORY, "no memory");
    }
    bp_status status = device_begin(&s->it, s->b, false);
    if (status != BP_OK) {
        bp_deferred_free(s->it.tree, deferred);
        return status;
    }
    bp_tree_defer(s->it.tree, deferred, BP_DEFER_USE_END, s->b);
    bp_tree_settle(s->it.tree);
    return BP_OK;
}

static const step steps[] = {
    {open_child, PURE},
    {watch, PURE},
    {subscribe, PURE},
    {publish, PURE},
    {charge, PURE},
    {open_other, PURE},
    {allocate_a, ACTS},
    {fill_a, ACTS | DOES_WITHOUT},
    {reserve, PURE},
    {take, PURE},
    {refund_taken, PURE},
    {plan, PURE},
    {allocate_b, ACTS | DOES_WITHOUT},
    {fill_b, ACTS | DOES_WITHOUT},
    {use_a, ACTS | DOES_WITHOUT},
    {use_b, ACTS | DOES_WITHOUT},
    {dump, PURE},
    {use_a, ACTS | DOES_WITHOUT},
    {replace_a, ACTS | DOES_WITHOUT},
    {allocate_c, ACTS | DOES_WITHOUT},
    {evict_c, ACTS | DOES_WITHOUT},
    {reload_c, ACTS | DOES_WITHOUT},
    {use_b, ACTS | DOES_WITHOUT},
    {use_put_off, ACTS | DOES_WITHOUT},
    {lower_and_trim, ACTS | DOES_WITHOUT},
    {drop_c, ACTS | DOES_WITHOUT},
    {use_a, ACTS | DOES_WITHOUT},
    {make_room, ACTS | DOES_WITHOUT},
    {refund, PURE},
    {publish, PURE},
};
enum { N_STEPS = sizeof steps / sizeof steps[0] };

/* ---- the sweep --------------------------------------------------------- */

static void run_steps(state *s, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        CHECK_STATUS(steps[i].run(s), BP_OK, &s->it.error);
        CHECK(device_is_sound(&s->it));
    }
}

static void run_refused(state *s, size_t i, uint64_t n, bool is_for_ever,
                        bool *is_refused, bool *is_done)
{
    device_fixture *it = &s->it;
    char *before = device_dump(it);
    test_heap_fail(&it->heap, n, is_for_ever);
    it->error = (bp_error){.status = BP_OK};
    bp_status status = steps[i].run(s);
    *is_refused = it->heap.n_refused != 0;
    *is_done = status == BP_OK;
    test_heap_fail(&it->heap, 0, false);
    CHECK(device_is_sound(it));
    if (status != BP_OK) {
        CHECK_STATUS(status, BP_NO_MEMORY, &it->error);
        CHECK(*is_refused);
        CHECK_U64(it->error.status, BP_NO_MEMORY);
    } else {
        CHECK(!*is_refused || (steps[i].kind & DOES_WITHOUT) != 0);
    }
    if (status != BP_OK && (steps[i].kind & ACTS) == 0) {
        CHECK(device_is_unchanged(it, before));
    } else {
        device_drop(it, before);
    }
}

/* What was written is there, wherever it has been; every residency that began
 * has ended, and was told of. */
static void end_well(state *s)
{
    CHECK(device_holds(&s->it, s->a, N_A, SEED_A));
    CHECK(device_holds(&s->it, s->b, N_B, SEED_B));
    bp_slots_close(s->it.tree, s->other);
    bp_slots_close(s->it.tree, s->it.slots);
    bp_tree_settle(s->it.tree);
    CHECK_U64(device_n_records(&s->it), s->it.tree->generations);
    bp_cursor_state seen;
    CHECK_STATUS(bp_cursor_get_state(bp_tree_get_log(s->it.tree), s->cursor,
                                     &seen, &s->it.error),
                 BP_OK, &s->it.error);
    CHECK_U64(seen.n_missed, 0);
    CHECK(seen.n_pending >= s->n_records + 4);
    bp_watch_close(s->it.tree, s->watch);
    CHECK_STATUS(bp_budget_close(s->it.tree, s->child, &s->it.error), BP_OK,
                 &s->it.error);
}

/* From the beginning: i steps, the refused one, then all that is left. */
static void run_scenario(size_t i, uint64_t n, bool is_for_ever,
                         bool *is_refused)
{
    state s;
    bool is_done = false;
    memset(&s, 0, sizeof s);
    bp_sim_options options = {.capacity = LIMIT};
    CHECK(device_init(&s.it, LIMIT, &options));
    run_steps(&s, 0, i);
    CHECK_PASSED();
    run_refused(&s, i, n, is_for_ever, is_refused, &is_done);
    CHECK_PASSED();
    run_steps(&s, is_done ? i + 1 : i, N_STEPS);
    CHECK_PASSED();
    end_well(&s);
    CHECK_PASSED();
    CHECK(device_fini(&s.it));
}

static void sweep(bool is_for_ever)
{
    uint64_t n_refused = 0;
    for (size_t i = 0; i < N_STEPS; i++) {
        bool is_refused = true;
        for (uint64_t n = 1; is_refused; n++) {
            run_scenario(i, n, is_for_ever, &is_refused);
            if (harness.is_failed) {
                printf("    in step %zu, allocation %" PRIu64 "\n", i, n);
                return;
            }
            n_refused += is_refused;
        }
    }
    printf("    %" PRIu64 " refusals\n", n_refused);
    CHECK(n_refused > 60);
}

static void fails_once(void)
{
    sweep(false);
}

static void fails_for_ever(void)
{
    sweep(true);
}

static void births_fail_cleanly(void)
{
    for (int is_for_ever = 0; is_for_ever < 2; is_for_ever++) {
        for (uint64_t n = 1;; n++) {
            test_heap heap;
            bp_allocator alloc = test_heap_init(&heap);
            test_heap_fail(&heap, n, is_for_ever != 0);
            bp_tree *tree = NULL;
            bp_error error = {.status = BP_OK};
            bp_status status = bp_tree_new(100, &alloc, &tree, &error);
            if (status == BP_OK) {
                CHECK_U64(heap.n_refused, 0);
                bp_tree_free(tree);
                CHECK_U64(heap.live_blocks, 0);
                CHECK(n > 1);
                break;
            }
            CHECK_STATUS(status, BP_NO_MEMORY, &error);
            CHECK(tree == NULL);
            CHECK_U64(heap.live_blocks, 0);
        }
    }
    bp_tree_free(NULL);
}

int main(void)
{
    RUN(births_fail_cleanly);
    RUN(fails_once);
    RUN(fails_for_ever);
    return finish();
}
