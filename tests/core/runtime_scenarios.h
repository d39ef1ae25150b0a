/* runtime_scenarios.h - short stories about slots, told step by step, so that
 * something can go wrong at every point of each. Needs harness.h and
 * device_fixture.h before it.
 *
 * A step is told again when it failed; it is written so that it can be.
 */
#ifndef BAYPLAN_TESTS_RUNTIME_SCENARIOS_H
#define BAYPLAN_TESTS_RUNTIME_SCENARIOS_H

enum { N_STORY_SLOTS = 6, N_STORY_STEPS = 16 };

typedef struct story_slot {
    char name[8];
    bp_slot slot; /* BP_NO_SLOT: not there */
    uint64_t n_bytes;
    uint64_t seed; /* of its contents; 0: nobody knows */
    bool keeps_copy;
} story_slot;

typedef struct story {
    device_fixture it;
    story_slot slots[N_STORY_SLOTS];
    bp_slots other; /* a second manager, under `child` */
    bp_budget child;
    uint64_t next_seed;
    bp_wait wait;
} story;

typedef bp_status (*story_step)(story *s);

typedef struct scenario {
    const char *name;
    bp_sim_options options;
    uint64_t limit;
    story_step steps[N_STORY_STEPS]; /* ends with NULL */
} scenario;

/* ---- words ------------------------------------------------------------- */

static inline bp_status say_allocate(story *s, bp_slots slots, int i,
                                     uint64_t n_bytes, bp_slot_request request)
{
    story_slot *slot = &s->slots[i];
    bp_slot made = BP_NO_SLOT;
    (void)snprintf(slot->name, sizeof slot->name, "s%d", i);
    request.name = slot->name;
    request.n_bytes = n_bytes;
    bp_status status = bp_slots_allocate(s->it.tree, slots, &request, &s->wait,
                                         &made, &s->it.shortage, &s->it.error);
    if (status == BP_OK) {
        slot->slot = made;
        slot->n_bytes = n_bytes;
        slot->seed = 0;
        slot->keeps_copy = request.keeps_copy;
    }
    return status;
}

static inline bp_status say_new(story *s, int i, uint64_t n_bytes)
{
    bp_slot_request request = {.keeps_copy = true};
    return say_allocate(s, s->it.slots, i, n_bytes, request);
}

static inline bp_status say_replace(story *s, int i, uint64_t n_bytes)
{
    bp_slot_request request = {.keeps_copy = s->slots[i].keeps_copy,
                               .is_replacing = true};
    return say_allocate(s, s->it.slots, i, n_bytes, request);
}

static inline bp_status say_write(story *s, int i, uint64_t seed)
{
    uint8_t bytes[DEVICE_MAX_BYTES];
    story_slot *slot = &s->slots[i];
    for (uint64_t at = 0; at < slot->n_bytes; at++) {
        bytes[at] = byte_of(seed, at);
    }
    slot->seed = 0;
    bp_status status = bp_slot_copy_in(s->it.tree, slot->slot, 0, bytes,
                                       slot->n_bytes, &s->it.error);
    if (status == BP_OK) {
        slot->seed = seed;
    }
    return status;
}

static inline bp_status say_fill(story *s, int i, bp_stream stream)
{
    story_slot *slot = &s->slots[i];
    bool needs_load = false;
    bp_status status =
        bp_slot_use_begin(s->it.tree, slot->slot, BP_WRITES, &s->wait,
                          &needs_load, &s->it.shortage, &s->it.error);
    if (status == BP_OK) {
        status = say_write(s, i, ++s->next_seed);
        if (needs_load) {
            bp_status loaded = bp_slot_loaded(s->it.tree, slot->slot,
                                              status == BP_OK, &s->it.error);
            status = status == BP_OK ? loaded : status;
            if (status != BP_OK) {
                return status; /* the use is over as well */
            }
        }
        bp_slot_use_end(s->it.tree, slot->slot, stream);
    }
    return status;
}

static inline bp_status say_use(story *s, int i, bool is_writing)
{
    bool needs_load = false;
    bp_status status = bp_slot_use_begin(
        s->it.tree, s->slots[i].slot, is_writing ? BP_WRITES : BP_READS,
        &s->wait, &needs_load, &s->it.shortage, &s->it.error);
    if (status == BP_OK) {
        bp_slot_use_end(s->it.tree, s->slots[i].slot, s->it.stream);
    }
    return status;
}

static inline bp_status say_evict(story *s, int i)
{
    return bp_slot_evict(s->it.tree, s->slots[i].slot, &s->it.error);
}

static inline bp_status say_drop(story *s, int i)
{
    bp_status status =
        bp_slot_deallocate(s->it.tree, s->slots[i].slot, NULL, &s->it.error);
    if (status == BP_OK) {
        s->slots[i].slot = BP_NO_SLOT;
    }
    return status;
}

/* ---- steps ------------------------------------------------------------- */

static inline bp_status new_0(story *s)
{
    return say_new(s, 0, 100);
}
static inline bp_status new_1(story *s)
{
    return say_new(s, 1, 60);
}
static inline bp_status new_2(story *s)
{
    return say_new(s, 2, 80);
}
static inline bp_status new_3_large(story *s)
{
    return say_new(s, 3, 200);
}
static inline bp_status fill_0(story *s)
{
    return say_fill(s, 0, s->it.stream);
}
static inline bp_status fill_1(story *s)
{
    return say_fill(s, 1, s->it.stream);
}
static inline bp_status fill_2(story *s)
{
    return say_fill(s, 2, s->it.stream);
}
static inline bp_status fill_3(story *s)
{
    return say_fill(s, 3, s->it.stream);
}
static inline bp_status fill_0_unknown(story *s)
{
    return say_fill(s, 0, BP_NO_STREAM);
}
static inline bp_status fill_1_unknown(story *s)
{
    return say_fill(s, 1, BP_NO_STREAM);
}
static inline bp_status use_0(story *s)
{
    return say_use(s, 0, false);
}
static inline bp_status use_1(story *s)
{
    return say_use(s, 1, false);
}
static inline bp_status use_2(story *s)
{
    return say_use(s, 2, false);
}
static inline bp_status evict_0(story *s)
{
    return say_evict(s, 0);
}
static inline bp_status evict_1(story *s)
{
    return say_evict(s, 1);
}
static inline bp_status drop_0(story *s)
{
    return say_drop(s, 0);
}
static inline bp_status drop_3(story *s)
{
    return say_drop(s, 3);
}
static inline bp_status replace_0(story *s)
{
    return say_replace(s, 0, 180);
}
static inline bp_status replace_0_again(story *s)
{
    return say_replace(s, 0, 40);
}

static inline bp_status new_0_kept_nowhere(story *s)
{
    bp_slot_request request = {.keeps_copy = false};
    return say_allocate(s, s->it.slots, 0, 100, request);
}

/* A loader that fails takes the slot with it; one that is told again is not
 * made again. */
static inline bp_status new_0_loading(story *s)
{
    bp_slot_request request = {.has_loader = true};
    bp_status status = say_allocate(s, s->it.slots, 0, 100, request);
    if (status != BP_OK) {
        return status;
    }
    bp_slot slot = s->slots[0].slot;
    status = say_write(s, 0, ++s->next_seed);
    bp_status loaded =
        bp_slot_loaded(s->it.tree, slot, status == BP_OK, &s->it.error);
    status = status == BP_OK ? loaded : status;
    if (status != BP_OK) {
        s->slots[0].slot = BP_NO_SLOT;
    }
    return status;
}

static inline bp_status new_1_reserved(story *s)
{
    bp_reservation reservation;
    bp_status status =
        bp_budget_reserve(s->it.tree, s->it.budget, 40, &reservation,
                          &s->it.shortage, &s->it.error);
    if (status == BP_OK) {
        bp_slot_request request = {.keeps_copy = true,
                                   .reservation = reservation};
        status = say_allocate(s, s->it.slots, 1, 60, request);
        bp_reservation_close(s->it.tree, reservation);
    }
    return status;
}

static inline bp_status lower(story *s)
{
    bool is_deferred;
    return bp_budget_set_limit(s->it.tree, s->it.budget, 110, &is_deferred,
                               &s->it.error);
}

static inline bp_status trim(story *s)
{
    return bp_budget_trim(s->it.tree, s->it.budget, NULL, &s->it.error);
}

static inline bp_status make_room(story *s)
{
    return bp_budget_make_room(s->it.tree, s->it.budget, BP_NO_SLOTS, 90,
                               &s->wait, NULL, &s->it.shortage, &s->it.error);
}

static inline bp_status settle(story *s)
{
    bp_tree_settle(s->it.tree);
    return BP_OK;
}

static inline bp_status open_child(story *s)
{
    bp_status status = BP_OK;
    bp_slots_options slots = {.backend = s->it.sim};
    if (s->child == BP_NO_BUDGET) {
        bp_budget_options options = bp_budget_defaults(200);
        options.parent = s->it.budget;
        options.evict_at[0] = 90;
        options.evict_at[1] = 40;
        status = bp_budget_open(s->it.tree, &options, &s->child, &s->it.error);
    }
    if (status == BP_OK) {
        slots.budget = s->child;
        status = bp_slots_open(s->it.tree, &slots, &s->other, &s->it.error);
    }
    return status;
}

static inline bp_status new_4_of_child(story *s)
{
    bp_slot_request request = {.keeps_copy = true};
    return say_allocate(s, s->other, 4, 100, request);
}

static inline bp_status new_5_of_child(story *s)
{
    bp_slot_request request = {.keeps_copy = true};
    return say_allocate(s, s->other, 5, 90, request);
}

static inline bp_status fill_4(story *s)
{
    return say_fill(s, 4, s->it.stream);
}
static inline bp_status fill_5(story *s)
{
    return say_fill(s, 5, s->it.stream);
}

static inline bp_status close_other(story *s)
{
    bp_slots_close(s->it.tree, s->other);
    s->other = BP_NO_SLOTS;
    s->slots[4].slot = s->slots[5].slot = BP_NO_SLOT;
    return BP_OK;
}

/* ---- stories ----------------------------------------------------------- */

#define AT_ONCE {.capacity = UINT64_MAX}
#define LATE    {.capacity = UINT64_MAX, .events = BP_SIM_LATE, .late_polls = 3}

static const scenario scenarios[] = {
    {"one life",
     AT_ONCE,
     300,
     {new_0, fill_0, evict_0, use_0, evict_0, fill_0, drop_0}},
    {"shortage",
     AT_ONCE,
     300,
     {new_0, fill_0, new_1, fill_1, new_2, fill_2, use_0, new_3_large, fill_3,
      use_1, use_2}},
    {"unknown ends",
     AT_ONCE,
     300,
     {new_0, fill_0_unknown, new_1, fill_1_unknown, new_3_large, use_0, use_1,
      fill_0_unknown, drop_0, drop_3}},
    {"late events",
     LATE,
     300,
     {new_0, fill_0, new_1, fill_1, new_2, fill_2, new_3_large, fill_3, use_0,
      evict_0, use_0, drop_0}},
    {"late unknown",
     LATE,
     300,
     {new_0, fill_0, fill_0_unknown, new_1, fill_1, evict_0, evict_1, use_1,
      use_0, drop_0, settle}},
    {"replace",
     AT_ONCE,
     200,
     {new_0, fill_0, new_1, fill_1, replace_0, fill_0, use_1, replace_0_again,
      fill_0, use_1}},
    {"replace late",
     LATE,
     200,
     {new_0, fill_0, new_1, fill_1, replace_0, fill_0, replace_0_again, fill_0,
      use_1}},
    {"replace what is kept nowhere",
     AT_ONCE,
     200,
     {new_0_kept_nowhere, fill_0, replace_0, fill_0, replace_0_again, fill_0,
      evict_0}},
    {"loader",
     AT_ONCE,
     200,
     {new_0_loading, use_0, evict_0, fill_0, new_1, fill_1, evict_0, fill_0,
      use_1}},
    {"a small device",
     {.capacity = 250},
     400,
     {new_0, fill_0, new_1, fill_1, new_2, fill_2, new_3_large, fill_3, use_0,
      use_1}},
    {"a coarse device",
     {.capacity = UINT64_MAX, .granularity = 64},
     400,
     {new_0, fill_0, new_1, fill_1, new_2, fill_2, use_0, use_1, evict_0,
      use_0}},
    {"limits",
     AT_ONCE,
     300,
     {new_0, fill_0, new_1, fill_1, new_2, fill_2, lower, trim, use_0,
      make_room, use_1, settle}},
    {"lowered",
     AT_ONCE,
     300,
     {new_0, fill_0, new_1, fill_1, new_2, fill_2, lower, use_0, use_1, use_2,
      drop_0}},
    {"reserved",
     AT_ONCE,
     150,
     {new_0, fill_0, use_0, new_1_reserved, fill_1, use_0}},
    {"families",
     AT_ONCE,
     250,
     {open_child, new_0, fill_0, new_4_of_child, fill_4, new_1, fill_1,
      new_5_of_child, fill_5, settle, use_0, use_1, close_other, use_0}},
    {"families late",
     LATE,
     250,
     {open_child, new_0, fill_0, new_4_of_child, fill_4, new_1, fill_1,
      new_5_of_child, fill_5, settle, use_0, use_1, close_other}},
};
enum { N_SCENARIOS = sizeof scenarios / sizeof scenarios[0] };

/* ---- what holds at all times -------------------------------------------- */

/* Every slot that has contents has the right ones, wherever they are. Nothing
 * is asked of the device. */
static inline bool story_contents_hold(story *s)
{
    for (int i = 0; i < N_STORY_SLOTS; i++) {
        story_slot *slot = &s->slots[i];
        uint8_t bytes[DEVICE_MAX_BYTES];
        const uint8_t *view;
        bp_slot_info info;
        if (slot->slot == BP_NO_SLOT || slot->seed == 0) {
            continue;
        }
        if (bp_slot_get_info(s->it.tree, slot->slot, &info, &s->it.error) !=
            BP_OK) {
            return device_is(false, "a slot got lost");
        }
        if (info.state == BP_SLOT_RESIDENT) {
            view = bp_slot_get_host_view(s->it.tree, slot->slot);
        } else if (info.state != BP_SLOT_EVICTED) {
            continue; /* on its way behind the device's work */
        } else if (bp_slot_copy_out(s->it.tree, slot->slot, 0, bytes,
                                    slot->n_bytes, &s->it.error) == BP_OK) {
            view = bytes;
        } else if (!slot->keeps_copy) {
            slot->seed = 0;
            continue;
        } else {
            return device_is(false, "contents got lost");
        }
        if (!device_is(view != NULL &&
                           is_contents(view, slot->n_bytes, slot->seed),
                       slot->name)) {
            return false;
        }
    }
    return true;
}

/* The ledger is the sum of the slots. */
static inline bool story_adds_up(story *s)
{
    uint64_t sum = 0;
    for (int i = 0; i < N_STORY_SLOTS; i++) {
        bp_slot_info info;
        if (s->slots[i].slot != BP_NO_SLOT &&
            bp_slot_get_info(s->it.tree, s->slots[i].slot, &info,
                             &s->it.error) == BP_OK &&
            info.state == BP_SLOT_RESIDENT) {
            sum += info.n_charged;
        }
    }
    bp_budget_stats stats = device_stats(&s->it);
    return device_is(stats.used == sum, "used is not the sum of the slots") &&
           device_is(stats.reserved == 0, "something stayed reserved");
}

/* As many records as residencies that have ended, and no generation twice. */
static inline bool story_log_is_dense(story *s, bp_cursor cursor)
{
    enum { N_MOST = 128 };
    bp_record records[N_MOST];
    uint64_t n_resident = 0;
    size_t n =
        bp_cursor_drain(bp_tree_get_log(s->it.tree), cursor, records, N_MOST);
    bool is_good = true;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            is_good &= device_is(records[i].generation != records[j].generation,
                                 "two records of one residency");
        }
    }
    for (int i = 0; i < N_STORY_SLOTS; i++) {
        bp_slot_info info;
        if (s->slots[i].slot != BP_NO_SLOT &&
            bp_slot_get_info(s->it.tree, s->slots[i].slot, &info,
                             &s->it.error) == BP_OK &&
            info.state == BP_SLOT_RESIDENT) {
            n_resident++;
            for (size_t j = 0; j < n; j++) {
                is_good &= device_is(records[j].generation != info.generation,
                                     "a record of what is resident");
            }
        }
    }
    is_good &= device_is(n + n_resident == s->it.tree->generations,
                         "records do not match what was resident");
    for (size_t i = 0; i < n; i++) {
        bp_record_fini(&records[i]);
    }
    return is_good;
}

static inline bool story_holds(story *s)
{
    return device_is_sound(&s->it) && story_adds_up(s) &&
           story_contents_hold(s);
}

#endif
