/* fuzz_device.c - bytes become operations on a tree of budgets with slots on
 * simulators, while actions and allocations fail; after every one of them the
 * tree's check must pass, contents must be what was written, and no residency
 * may be told of twice. A refused change of the ledger leaves the dump alone.
 * At the end every residency was told of, and no byte is left anywhere. */
#include "device_machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* ---- the ledger -------------------------------------------------------- */

static bp_status ledger(machine *m, bp_error *error)
{
    bp_tree *tree = m->tree;
    bp_shortage shortage;
    bp_reservation *place = &m->reservations[next(m) % N_RESERVATIONS];
    unsigned form = next(m);
    bp_budget budget = pick_budget(m);
    const char *tag = (form & 8) != 0 ? names[form >> 4 & 3] : NULL;
    bool is_deferred;
    switch (form & 7) {
    case 0:
    case 1:
        return bp_budget_charge(tree, budget, number(m), tag, &shortage, error);
    case 2:
        return bp_budget_refund(tree, budget, number(m), tag, error);
    case 3:
        if (*place == BP_NO_RESERVATION) {
            return bp_budget_reserve(tree, budget, number(m), place, &shortage,
                                     error);
        }
        return bp_reservation_take(tree, *place, number(m), tag, error);
    case 4:
        bp_reservation_close(tree, *place);
        *place = BP_NO_RESERVATION;
        return BP_OK;
    case 5:
        return bp_budget_close(tree, budget | (uint64_t)(form & 16) << 40,
                               error);
    default:
        return bp_budget_set_limit(tree, budget, number(m), &is_deferred,
                                   error);
    }
}

static bp_status look(machine *m, bp_error *error)
{
    bp_tree *tree = m->tree;
    bp_budget budget = pick_budget(m);
    bp_slots slots = m->managers[next(m) % N_MANAGERS];
    bp_budget_stats stats;
    bp_slots_stats counts;
    bp_history_point points[8];
    bp_slot victims[4];
    bp_stamp *stamp;
    size_t n;
    uint64_t tagged;
    unsigned form = next(m);
    const content *of =
        &m->contents[form % N_MANAGERS * N_NAMES + form / 16 % N_NAMES];
    switch (form % 8) {
    case 0:
        REQUIRE(bp_budget_copy_history(tree, budget, points, 8) <= 8);
        return bp_budget_get_stats(tree, budget, &stats, error);
    case 1:
        return bp_budget_get_tag(tree, budget, names[form / 16 % 4], &tagged,
                                 error);
    case 2:
        return bp_slots_get_stats(tree, slots, &counts, error);
    case 3:
        return bp_slots_plan(tree, slots, number(m), victims, 4, &n, NULL,
                             error);
    case 4:
        return bp_slots_first_victim(tree, slots, victims, error);
    case 5:
        bp_slot_set_rank(tree, of->slot, form);
        return BP_OK;
    default:
        if (bp_slot_get_stamp(tree, of->slot, &stamp, error) == BP_OK) {
            bp_stamp_touch(tree, stamp);
        }
        return BP_OK;
    }
}

static bp_status subscribe(machine *m, bp_error *error)
{
    bp_log *log = bp_tree_get_log(m->tree);
    unsigned form = next(m);
    bp_cursor *cursor = &m->cursors[form / 8 % N_CURSORS];
    bp_watch *watch = &m->watches[form / 8 % N_WATCHES];
    bp_cursor_options options = {.keys = (form & 64) != 0 ? names : NULL,
                                 .n_keys = form >> 5 & 3,
                                 .max_backlog = form >> 4 & 3};
    bp_cursor_state state;
    bp_edge edge;
    uint64_t seq;
    switch (form % 8) {
    case 0:
        bp_cursor_close(log, *cursor);
        *cursor = 0;
        return bp_cursor_open(log, &options, cursor, error);
    case 1:
        return bp_cursor_resync(log, *cursor, next(m), error);
    case 2:
        return bp_cursor_get_state(log, *cursor, &state, error);
    case 3:
        if (*watch != 0) {
            bp_watch_close(m->tree, *watch);
            *watch = 0;
            return BP_OK;
        }
        return bp_watch_open(m->tree, pick_budget(m),
                             (bp_pressure)(form >> 4 & 3), watch, error);
    case 4:
        while (bp_tree_take_edge(m->tree, &edge)) {
        }
        REQUIRE(!bp_tree_has_edges(m->tree));
        return BP_OK;
    default:
        return bp_log_publish(
            log, names[form / 8 % N_NAMES], (form & 64) != 0 ? names[0] : NULL,
            form, (bp_cause)(form % (BP_N_CAUSES + 1)), &seq, error);
    }
}

/* ---- slots ------------------------------------------------------------- */

static size_t manager_of(const machine *m, const content *of)
{
    return (size_t)(of - m->contents) / N_NAMES;
}

static void forget_manager(machine *m, size_t i)
{
    size_t first = i * N_NAMES;
    memset(&m->contents[first], 0, N_NAMES * sizeof m->contents[0]);
    memset(&m->replaced[first], 0, N_NAMES * sizeof m->replaced[0]);
    for (size_t k = 0; k < N_USES; k++) {
        if (m->uses[k].of != NULL && manager_of(m, m->uses[k].of) == i) {
            m->uses[k] = (use){.slot = BP_NO_SLOT};
        }
    }
}

static bp_status reopen_manager(machine *m, bp_error *error)
{
    size_t i = next(m) % N_MANAGERS;
    bp_slots_close(m->tree, m->managers[i]);
    forget_manager(m, i);
    m->managers[i] = BP_NO_SLOTS;
    return open_manager(m, i, error);
}

/* Write the slot full. */
static void fill(machine *m, content *of)
{
    uint8_t bytes[256 * UNIT];
    of->is_known = false;
    if (of->n_bytes <= sizeof bytes) {
        uint8_t value = ++m->n_values;
        memset(bytes, value, of->n_bytes);
        of->is_known = bp_slot_copy_in(m->tree, of->slot, 0, bytes, of->n_bytes,
                                       NULL) == BP_OK;
        of->value = value;
    }
}

/* A slot that was handed out is full now, or will never be: then what it was to
 * replace is back, and a use that asked for it is over. */
static bp_status end_load(machine *m, content *of, bool is_good,
                          bp_error *error)
{
    bp_slot slot = of->slot;
    const content *old = &m->replaced[of - m->contents];
    bool is_new = of->is_new;
    of->is_loading = of->is_new = false;
    fill(m, of);
    bp_status status = bp_slot_loaded(m->tree, slot, is_good, error);
    if (is_good) {
        return status;
    }
    for (size_t i = 0; i < N_USES; i++) {
        if (m->uses[i].slot == slot) {
            m->uses[i] = (use){.slot = BP_NO_SLOT};
        }
    }
    if (is_new) {
        *of = *old;
    }
    return status;
}

static bp_status allocate(machine *m, bp_error *error)
{
    unsigned form = next(m);
    unsigned more = next(m);
    size_t i = form % N_MANAGERS;
    content *of = &m->contents[i * N_NAMES + form / 4 % N_NAMES];
    bp_slot_request request = {.name = names[form / 4 % N_NAMES],
                               .n_bytes = number(m),
                               .priority = (int32_t)(form >> 6) - 1,
                               .is_pinned = (more & 7) == 7,
                               .keeps_copy = (more & 8) == 0,
                               .has_loader = (more & 48) == 48,
                               .is_replacing = (more & 64) != 0};
    if ((form & 128) != 0) {
        request.reservation = m->reservations[more % N_RESERVATIONS];
    }
    bp_wait wait;
    bp_shortage shortage;
    bp_slot slot;
    bp_status status = bp_slots_allocate(
        m->tree, m->managers[i], &request,
        pick_wait(m, (more >> 7) + (form & 2), &wait), &slot, &shortage, error);
    if (status == BP_OK) {
        m->last = (size_t)(of - m->contents);
        m->replaced[m->last] = *of;
        *of = (content){.slot = slot,
                        .n_bytes = request.n_bytes,
                        .keeps_copy = request.keeps_copy,
                        .is_new = request.has_loader,
                        .is_loading = request.has_loader};
    }
    return status;
}

/* Half of the time the one before: much takes several steps with one slot. */
static content *pick_slot(machine *m)
{
    unsigned form = next(m);
    if (form < 128) {
        m->last = form % N_MANAGERS * N_NAMES + form / 4 % N_NAMES;
    }
    return &m->contents[m->last];
}

/* What comes back is what was written, wherever it was meanwhile. */
static void require_contents(machine *m, const content *of)
{
    uint8_t bytes[256 * UNIT];
    if (!of->is_known || bp_slot_copy_out(m->tree, of->slot, 0, bytes,
                                          of->n_bytes, NULL) != BP_OK) {
        return;
    }
    for (size_t i = 0; i < of->n_bytes; i++) {
        REQUIRE(bytes[i] == of->value);
    }
}

static bp_status begin_use(machine *m, bp_error *error)
{
    content *of = pick_slot(m);
    unsigned form = next(m);
    use *place = &m->uses[form / 8 % N_USES];
    if (place->slot != BP_NO_SLOT) {
        return BP_OK;
    }
    bp_wait wait;
    bool needs_load = false;
    bool is_writing = (form & 1) != 0;
    bp_intent intent = !is_writing        ? BP_READS
                       : (form & 64) != 0 ? BP_OVERWRITES
                                          : BP_WRITES;
    bp_status status = bp_slot_use_begin(m->tree, of->slot, intent,
                                         pick_wait(m, form >> 1 & 3, &wait),
                                         &needs_load, NULL, error);
    if (status == BP_CONTENTS_LOST) {
        REQUIRE(intent != BP_OVERWRITES);
        REQUIRE(!of->keeps_copy || m->has_fault);
    }
    if (status != BP_OK) {
        return status;
    }
    *place = (use){of->slot, of, is_writing};
    if (needs_load) {
        REQUIRE(intent != BP_OVERWRITES);
        of->is_loading = true;
        of->is_known = false;
        return (form & 64) != 0 ? BP_OK
                                : end_load(m, of, (form & 128) == 0, error);
    }
    if (intent == BP_OVERWRITES) {
        of->is_known = false; /* until it is filled */
    }
    require_contents(m, of);
    if (is_writing) {
        fill(m, of);
    }
    return BP_OK;
}

/* What a finaliser does. False: no memory for it. */
static bool defer(machine *m, bp_deferral what, uint64_t handle)
{
    bp_deferred *deferred = bp_deferred_new(m->tree);
    if (deferred != NULL) {
        bp_tree_defer(m->tree, deferred, what, handle);
    }
    return deferred != NULL;
}

static bp_status end_use(machine *m, bp_error *error)
{
    unsigned form = next(m);
    const use *first = m->uses;
    use *it = &m->uses[form % N_USES];
    (void)error;
    for (size_t k = 0; k < N_USES && it->slot == BP_NO_SLOT; k++) {
        it = &m->uses[((size_t)(it - first) + 1) % N_USES];
    }
    if (it->slot == BP_NO_SLOT || it->of->is_loading) {
        return BP_OK;
    }
    size_t i = m->sim_of[manager_of(m, it->of)];
    bp_stream streams[4] = {BP_NO_STREAM, BP_HOST_ONLY, m->streams[i][0],
                            m->streams[i][1]};
    bp_stream stream = streams[form / 8 % 4];
    bool is_put_off = form >> 5 == 7;
    if (stream != BP_HOST_ONLY) {
        set_guard(m, (guard){.address = bp_slot_get_address(m->tree, it->slot),
                             .n_bytes = it->of->n_bytes,
                             .slot = it->slot,
                             .sim = i,
                             .is_writing = it->is_writing && !is_put_off});
    }
    if (!is_put_off || !defer(m,
                              stream == BP_HOST_ONLY ? BP_DEFER_HOST_USE_END
                                                     : BP_DEFER_USE_END,
                              it->slot)) {
        bp_slot_use_end(m->tree, it->slot, stream);
    }
    *it = (use){.slot = BP_NO_SLOT};
    return BP_OK;
}

static bp_status finish_load(machine *m, bp_error *error)
{
    content *of = pick_slot(m);
    bool is_good = next(m) % 4 != 0;
    return of->is_loading ? end_load(m, of, is_good, error) : BP_OK;
}

static bp_status leave(machine *m, bp_error *error)
{
    content *of = pick_slot(m);
    if (next(m) % 4 != 0) {
        return bp_slot_evict(m->tree, of->slot, error);
    }
    bp_status status = bp_slot_deallocate(m->tree, of->slot, NULL, error);
    if (status == BP_OK) {
        memset(of, 0, sizeof *of);
    }
    return status;
}

static bp_status reclaim(machine *m, bp_error *error)
{
    bp_budget budget = pick_budget(m);
    unsigned form = next(m);
    bp_slots slots =
        (form & 4) != 0 ? m->managers[form / 8 % N_MANAGERS] : BP_NO_SLOTS;
    bp_wait wait;
    bp_observation seen;
    uint64_t freed;
    switch (form >> 5) {
    case 0:
        return bp_budget_trim(m->tree, budget, &freed, error);
    case 1:
        return bp_budget_observe(m->tree, budget, &seen, error);
    case 2:
    case 3:
        bp_tree_settle(m->tree);
        return BP_OK;
    default:
        return bp_budget_make_room(m->tree, budget, slots, number(m),
                                   pick_wait(m, form & 3, &wait), &freed, NULL,
                                   error);
    }
}

static bp_status drop(machine *m, bp_error *error)
{
    unsigned form = next(m);
    size_t i = form / 8 % N_MANAGERS;
    (void)error;
    if (form % 8 == 0) {
        if (defer(m, BP_DEFER_SLOTS_CLOSE, m->managers[i])) {
            forget_manager(m, i);
        }
    } else if (form % 64 == 1) {
        (void)defer(m, BP_DEFER_BUDGET_CLOSE, pick_budget(m));
    } else {
        (void)defer(m, BP_DEFER_RESERVATION_CLOSE,
                    m->reservations[form / 8 % N_RESERVATIONS]);
    }
    return BP_OK;
}

static bp_status device(machine *m, bp_error *error)
{
    unsigned form = next(m);
    switch (form % 16) {
    case 0:
        if (form == 0x50) {
            m->has_fault = true;
            memset(m->heap.guards, 0, sizeof m->heap.guards);
            bp_sim_fault(m->sims[next(m) % N_SIMS]);
        }
        return BP_OK;
    case 1:
    case 2:
        m->heap.fail_in = 1 + form / 16; /* in the operation that comes next */
        return BP_OK;
    case 3:
        return drop(m, error);
    default:
        let_pass(m, form & 1, form / 16);
        return BP_OK;
    }
}

typedef struct operation {
    bp_status (*run)(machine *m, bp_error *error);
    bool is_pure; /* decides without acting: all or nothing */
} operation;

static const operation operations[16] = {
    {ledger, true},         {ledger, true},     {look, true},
    {subscribe, true},      {allocate, false},  {allocate, false},
    {allocate, false},      {begin_use, false}, {begin_use, false},
    {end_use, false},       {end_use, false},   {finish_load, false},
    {leave, false},         {reclaim, false},   {device, false},
    {reopen_manager, false}};

/* ---- running ----------------------------------------------------------- */

static void require_unchanged(machine *m, const char *before,
                              const bp_error *error)
{
    char *after = dump_of(m);
    if (strcmp(before, after) != 0) {
        fprintf(stderr, "%s: %s\nbefore %s\nafter %s\n",
                bp_status_name(error->status), error->text, before, after);
        abort();
    }
    drop_dump(m, after);
}

static void run_one(machine *m)
{
    const operation *op = &operations[next(m) % 16];
    bp_error error = {0};
    uint64_t fail_in = m->heap.fail_in;
    uint64_t n_refused = m->heap.n_refused;
    m->heap.fail_in = 0;
    char *before = op->is_pure ? dump_of(m) : NULL;
    m->heap.fail_in = fail_in;
    m->may_wait = false;
    uint64_t start = bp_monotonic_ns();
    bp_status status = op->run(m, &error);
    REQUIRE(bp_monotonic_ns() - start < TOO_LONG_NS);
    if (op->run != device) {
        m->heap.fail_in = 0;
    }
    uint64_t armed = m->heap.fail_in;
    m->heap.fail_in = 0;
    if (status != BP_OK) {
        require_reason(m, status, &error, m->heap.n_refused != n_refused);
    }
    if (before != NULL && status != BP_OK) {
        require_unchanged(m, before, &error);
    }
    if (before != NULL) {
        drop_dump(m, before);
    }
    require_whole(m);
    check_guards(m);
    drain_all(m);
    m->heap.fail_in = armed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    machine m = {.at = data, .end = data + n_bytes};
    begin(&m);
    for (int i = 0; i < MAX_OPERATIONS && m.at < m.end; i++) {
        run_one(&m);
    }
    end(&m);
    return 0;
}
