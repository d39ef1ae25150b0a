/* test_runtime_slots.c - the life of slots on a device whose events pass at
 * once: contents go to the host and come back byte for byte, and whatever fails
 * leaves them where they were. */
#include "harness.h"

#include "device_fixture.h"

static const bp_sim_options *const plain = NULL;

/* ---- from allocate to close --------------------------------------------- */

static void lives(void)
{
    device_fixture it;
    CHECK(device_init(&it, 1000, plain));
    bp_slot a;
    CHECK_STATUS(device_allocate(&it, "a", 100, &a), BP_OK, &it.error);
    CHECK_U64(device_state(&it, a), BP_SLOT_RESIDENT);
    CHECK_U64(device_used(&it), 100);
    CHECK_U64(device_stats(&it).used, 100);
    CHECK_STATUS(device_fill(&it, a, 100, 7, BP_NO_STREAM), BP_OK, &it.error);
    CHECK(device_holds(&it, a, 100, 7));

    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_U64(device_state(&it, a), BP_SLOT_EVICTED);
    CHECK_U64(device_used(&it), 0);
    CHECK_U64(device_stats(&it).used + device_stats(&it).retiring, 0);
    CHECK_U64(device_n_records(&it), 1);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_U64(device_n_records(&it), 1);

    CHECK(device_holds(&it, a, 100, 7));
    CHECK_U64(device_state(&it, a), BP_SLOT_RESIDENT);
    uint64_t freed = 0;
    CHECK_STATUS(bp_slot_deallocate(it.tree, a, &freed, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(freed, 100);
    CHECK_U64(device_used(&it), 0);
    CHECK_U64(device_n_records(&it), 2);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_STALE, NULL);
    CHECK(device_fini(&it));
}

/* ---- host copies ------------------------------------------------------- */

static uint64_t n_actions(const device_fixture *it, bp_action action)
{
    return bp_sim_n_actions(it->sim, action);
}

static void copies_what_is_dirty_alone(void)
{
    device_fixture it;
    bp_slot a;
    CHECK(device_init(&it, 1000, plain));
    CHECK_STATUS(device_allocate(&it, "a", 100, &a), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, a, 100, 1, it.stream), BP_OK, &it.error);
    uint64_t n_copies = n_actions(&it, BP_ACTION_COPY);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_U64(n_actions(&it, BP_ACTION_COPY), n_copies + 1);
    CHECK_U64(n_actions(&it, BP_ACTION_HOST), 1);

    /* Brought back (1), read (1): nothing to bring out again. */
    CHECK(device_holds(&it, a, 100, 1));
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_U64(n_actions(&it, BP_ACTION_COPY), n_copies + 3);

    /* Brought back (1), written (1), brought out (1), to the same memory. */
    CHECK_STATUS(device_fill(&it, a, 100, 2, it.stream), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_U64(n_actions(&it, BP_ACTION_COPY), n_copies + 6);
    CHECK_U64(n_actions(&it, BP_ACTION_HOST), 1);
    CHECK(device_holds(&it, a, 100, 2));

    bp_slots_stats stats;
    CHECK_STATUS(bp_slots_get_stats(it.tree, it.slots, &stats, &it.error),
                 BP_OK, &it.error);
    CHECK_U64(stats.n_host_bytes, 100);
    CHECK_U64(stats.n_restores, 3);
    CHECK_U64(stats.moved_out_bytes, 200);
    CHECK_U64(stats.moved_in_bytes, 300);
    CHECK_U64(stats.n_evictions[BP_CAUSE_EXPLICIT], 3);
    CHECK(device_fini(&it));
}

/* A use that says it writes, and writes nothing we see, makes dirty too. */
static void believes_who_says_it_writes(void)
{
    device_fixture it;
    bp_slot a;
    CHECK(device_init(&it, 1000, plain));
    CHECK_STATUS(device_allocate(&it, "a", 64, &a), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, a, 64, 1, it.stream), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_STATUS(device_begin(&it, a, true), BP_OK, &it.error);
    uint8_t *view = bp_slot_get_host_view(it.tree, a);
    CHECK(view != NULL);
    CHECK_U64((uint64_t)(uintptr_t)view, bp_slot_get_address(it.tree, a));
    for (uint64_t i = 0; i < 64; i++) {
        view[i] = byte_of(9, i);
    }
    bp_slot_use_end(it.tree, a, it.stream);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK(bp_slot_get_host_view(it.tree, a) == NULL);
    CHECK_U64(bp_slot_get_address(it.tree, a), 0);
    CHECK(device_holds(&it, a, 64, 9));
    CHECK(device_fini(&it));
}

static void keeps_no_copy(void)
{
    device_fixture it;
    bp_slot a;
    bp_slot_request request = slot_of("a", 100);
    request.keeps_copy = false;
    CHECK(device_init(&it, 1000, plain));
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &a, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, a, 100, 1, it.stream), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_U64(n_actions(&it, BP_ACTION_HOST), 0);
    char *before = device_dump(&it);
    CHECK_STATUS(device_begin(&it, a, false), BP_CONTENTS_LOST, NULL);
    uint8_t byte;
    CHECK_STATUS(bp_slot_copy_out(it.tree, a, 0, &byte, 1, &it.error),
                 BP_CONTENTS_LOST, NULL);
    CHECK(device_is_unchanged(&it, before));
    CHECK(device_fini(&it));
}

static void copies_between_bounds(void)
{
    device_fixture it;
    bp_slot a;
    uint8_t bytes[16] = {1, 2, 3, 4};
    CHECK(device_init(&it, 1000, plain));
    CHECK_STATUS(device_allocate(&it, "a", 16, &a), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_copy_in(it.tree, a, 0, bytes, 4, &it.error), BP_BUSY,
                 NULL);
    CHECK_STATUS(bp_slot_copy_out(it.tree, a, 0, bytes, 4, &it.error), BP_BUSY,
                 NULL);
    CHECK_STATUS(device_fill(&it, a, 16, 1, BP_NO_STREAM), BP_OK, &it.error);
    CHECK_STATUS(device_begin(&it, a, false), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_copy_in(it.tree, a, 12, bytes, 5, &it.error),
                 BP_BAD_SIZE, NULL);
    CHECK_STATUS(bp_slot_copy_in(it.tree, a, 17, bytes, 0, &it.error),
                 BP_BAD_SIZE, NULL);
    CHECK_STATUS(bp_slot_copy_in(it.tree, a, 16, bytes, UINT64_MAX, &it.error),
                 BP_BAD_SIZE, NULL);
    CHECK_STATUS(bp_slot_copy_in(it.tree, a, 16, bytes, 0, &it.error), BP_OK,
                 &it.error);
    CHECK_STATUS(bp_slot_copy_in(it.tree, a, 12, bytes, 4, &it.error), BP_OK,
                 &it.error);
    bp_slot_use_end(it.tree, a, BP_NO_STREAM);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    /* What has left is read where it is, and cannot be written. */
    CHECK_STATUS(bp_slot_copy_out(it.tree, a, 10, bytes, 6, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(bytes[0], byte_of(1, 10));
    CHECK_U64(bytes[2], 1);
    CHECK_U64(bytes[5], 4);
    CHECK_STATUS(bp_slot_copy_in(it.tree, a, 0, bytes, 4, &it.error), BP_BUSY,
                 NULL);
    CHECK_U64(device_state(&it, a), BP_SLOT_EVICTED);
    CHECK(device_fini(&it));
}

/* ---- loaders ----------------------------------------------------------- */

static bp_status allocate_loading(device_fixture *it, bool keeps_copy,
                                  bp_slot *out)
{
    bp_slot_request request = slot_of("a", 100);
    request.keeps_copy = keeps_copy;
    request.has_loader = true;
    return bp_slots_allocate(it->tree, it->slots, &request, NULL, out, NULL,
                             &it->error);
}

static bp_status load(device_fixture *it, bp_slot slot, uint64_t seed)
{
    uint8_t bytes[100];
    for (uint64_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = byte_of(seed, i);
    }
    bp_status status =
        bp_slot_copy_in(it->tree, slot, 0, bytes, sizeof bytes, &it->error);
    return status == BP_OK ? bp_slot_loaded(it->tree, slot, true, &it->error)
                           : status;
}

static void loads(void)
{
    device_fixture it;
    bp_slot a;
    bool needs_load = false;
    CHECK(device_init(&it, 1000, plain));
    CHECK_STATUS(allocate_loading(&it, false, &a), BP_OK, &it.error);
    CHECK_U64(device_state(&it, a), BP_SLOT_RESTORING);
    CHECK(device_is_sound(&it));
    CHECK_STATUS(device_begin(&it, a, true), BP_BUSY, NULL);
    CHECK_STATUS(bp_slot_deallocate(it.tree, a, NULL, &it.error), BP_BUSY,
                 NULL);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_BUSY, NULL);
    CHECK_STATUS(load(&it, a, 1), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_loaded(it.tree, a, true, &it.error), BP_STALE, NULL);
    CHECK(device_holds(&it, a, 100, 1));

    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_use_begin(it.tree, a, BP_READS, NULL, &needs_load,
                                   NULL, &it.error),
                 BP_OK, &it.error);
    CHECK(needs_load);
    CHECK(device_is_sound(&it));
    CHECK_STATUS(load(&it, a, 2), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_BUSY, NULL);
    bp_slot_use_end(it.tree, a, it.stream);
    CHECK(device_holds(&it, a, 100, 2));
    CHECK_U64(n_actions(&it, BP_ACTION_HOST), 0);
    CHECK(device_fini(&it));
}

/* With a copy there is nothing to load. */
static void loads_what_has_no_copy(void)
{
    device_fixture it;
    bp_slot a;
    CHECK(device_init(&it, 1000, plain));
    CHECK_STATUS(allocate_loading(&it, true, &a), BP_OK, &it.error);
    CHECK_STATUS(load(&it, a, 1), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK(device_holds(&it, a, 100, 1));
    CHECK(device_fini(&it));
}

static void loaders_fail(void)
{
    device_fixture it;
    bp_slot a;
    bool needs_load = false;
    CHECK(device_init(&it, 1000, plain));
    char *before = device_dump(&it);
    CHECK_STATUS(allocate_loading(&it, false, &a), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_loaded(it.tree, a, false, &it.error), BP_OK,
                 &it.error);
    CHECK_STATUS(bp_slot_loaded(it.tree, a, false, &it.error), BP_STALE, NULL);
    CHECK(device_is_unchanged(&it, before));
    CHECK_U64(device_used(&it), 0);
    CHECK_U64(device_n_records(&it), 0); /* it never was resident */

    CHECK_STATUS(allocate_loading(&it, false, &a), BP_OK, &it.error);
    CHECK_STATUS(load(&it, a, 1), BP_OK, &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    before = device_dump(&it);
    CHECK_STATUS(bp_slot_use_begin(it.tree, a, BP_WRITES, NULL, &needs_load,
                                   NULL, &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(bp_slot_loaded(it.tree, a, false, &it.error), BP_OK,
                 &it.error);
    CHECK(device_is_unchanged(&it, before));
    CHECK_U64(device_used(&it), 0);
    CHECK_U64(device_n_records(&it), 1);
    CHECK(device_fini(&it));
}

/* ---- replace ----------------------------------------------------------- */

static bp_status replace(device_fixture *it, const char *name, uint64_t n_bytes,
                         bp_slot *out)
{
    bp_slot_request request = slot_of(name, n_bytes);
    request.is_replacing = true;
    return bp_slots_allocate(it->tree, it->slots, &request, NULL, out,
                             &it->shortage, &it->error);
}

/* The last record; its references are dropped. */
static bp_record last_record(bp_tree *tree, bp_cursor cursor)
{
    bp_record last = {.seq = UINT64_MAX}, next;
    while (bp_cursor_drain(bp_tree_get_log(tree), cursor, &next, 1) == 1) {
        last = next;
        bp_record_fini(&next);
    }
    last.key = last.kind = NULL;
    return last;
}

static void replaces(void)
{
    device_fixture it;
    bp_slot a, b;
    bp_cursor cursor;
    CHECK(device_init(&it, 100, plain));
    CHECK_STATUS(
        bp_cursor_open(bp_tree_get_log(it.tree), NULL, &cursor, &it.error),
        BP_OK, &it.error);
    CHECK_STATUS(replace(&it, "a", 80, &a), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, a, 80, 1, it.stream), BP_OK, &it.error);
    CHECK_STATUS(replace(&it, "a", 100, &b), BP_OK, &it.error);
    CHECK_U64(last_record(it.tree, cursor).cause, BP_CAUSE_REPLACED);
    CHECK_U64(device_n_records(&it), 1);
    CHECK_U64(device_state(&it, a), BP_N_SLOT_STATES); /* stale */
    CHECK_U64(device_used(&it), 100);
    CHECK_U64(device_stats(&it).used, 100);
    bp_slot found;
    CHECK_STATUS(bp_slots_find(it.tree, it.slots, "a", &found, &it.error),
                 BP_OK, &it.error);
    CHECK_U64(found, b);
    /* Smaller: the rest becomes available. */
    CHECK_STATUS(replace(&it, "a", 10, &a), BP_OK, &it.error);
    CHECK_U64(device_stats(&it).available, 90);
    /* One that has left makes no second record. */
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_STATUS(replace(&it, "a", 20, &b), BP_OK, &it.error);
    CHECK_U64(device_n_records(&it), 3);
    CHECK(device_fini(&it));
}

static void refuses_to_replace(void)
{
    device_fixture it;
    bp_slot a, b;
    CHECK(device_init(&it, 100, plain));
    CHECK_STATUS(device_allocate(&it, "a", 80, &a), BP_OK, &it.error);
    CHECK_STATUS(device_fill(&it, a, 80, 1, it.stream), BP_OK, &it.error);
    char *before = device_dump(&it);
    CHECK_STATUS(device_allocate(&it, "a", 10, &b), BP_SLOT_EXISTS, NULL);
    CHECK_STATUS(replace(&it, "a", 101, &b), BP_BUDGET_EXCEEDED, NULL);
    CHECK_U64(b, BP_NO_SLOT);
    CHECK_STATUS(replace(&it, "a", 0, &b), BP_BAD_SIZE, NULL);
    CHECK(device_is_unchanged(&it, before));
    CHECK_U64(device_n_records(&it), 0);
    CHECK(device_holds(&it, a, 80, 1));
    CHECK_STATUS(device_begin(&it, a, false), BP_OK, &it.error);
    before = device_dump(&it);
    CHECK_STATUS(replace(&it, "a", 10, &b), BP_BUSY, NULL);
    CHECK(device_is_unchanged(&it, before));
    bp_slot_use_end(it.tree, a, it.stream);
    CHECK(device_fini(&it));
}

/* The old one has gone when the device refuses the new one: it comes back, also
 * if it keeps no copy. */
static void restores_what_it_could_not_replace(void)
{
    for (int keeps = 0; keeps < 2; keeps++) {
        device_fixture it;
        bp_slot a, b;
        bp_sim_options options = {.capacity = 100, .fail = "alloc:#2-3"};
        bp_slot_request request = slot_of("a", 80);
        request.keeps_copy = keeps != 0;
        CHECK(device_init(&it, 100, &options));
        CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &a,
                                       NULL, &it.error),
                     BP_OK, &it.error);
        CHECK_STATUS(device_fill(&it, a, 80, 5, it.stream), BP_OK, &it.error);
        request.n_bytes = 90;
        request.is_replacing = true;
        /* Asked, trimmed and asked, evicted and asked. */
        CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &b,
                                       NULL, &it.error),
                     BP_OK, &it.error);
        CHECK_U64(n_actions(&it, BP_ACTION_ALLOC), 4);
        CHECK(device_fini(&it));

        options.fail = "alloc:#2-4";
        request = slot_of("a", 80);
        request.keeps_copy = keeps != 0;
        CHECK(device_init(&it, 100, &options));
        CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &a,
                                       NULL, &it.error),
                     BP_OK, &it.error);
        CHECK_STATUS(device_fill(&it, a, 80, 5, it.stream), BP_OK, &it.error);
        request.n_bytes = 90;
        request.is_replacing = true;
        CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &b,
                                       NULL, &it.error),
                     BP_DEVICE_MEMORY, NULL);
        CHECK_U64(device_state(&it, a), BP_SLOT_RESIDENT);
        CHECK_U64(device_n_records(&it), 1);
        CHECK(device_holds(&it, a, 80, 5));
        bp_slots_stats stats;
        CHECK_STATUS(bp_slots_get_stats(it.tree, it.slots, &stats, &it.error),
                     BP_OK, &it.error);
        CHECK_U64(stats.n_host_bytes, keeps != 0 ? 80 : 0);
        CHECK(device_fini(&it));
    }
}

/* A loader decides late: until then what it replaces can come back, and nobody
 * else gets it. */
static void restores_what_was_not_loaded(void)
{
    for (int is_good = 0; is_good < 2; is_good++) {
        device_fixture it;
        bp_slot a, b;
        bp_slot_request request = slot_of("a", 90);
        request.is_replacing = true;
        request.has_loader = true;
        CHECK(device_init(&it, 100, plain));
        CHECK_STATUS(device_allocate(&it, "a", 80, &a), BP_OK, &it.error);
        CHECK_STATUS(device_fill(&it, a, 80, 5, it.stream), BP_OK, &it.error);
        CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &b,
                                       NULL, &it.error),
                     BP_OK, &it.error);
        CHECK(device_is_sound(&it));
        CHECK_STATUS(device_begin(&it, a, false), BP_BUSY, NULL);
        CHECK_STATUS(bp_slot_deallocate(it.tree, a, NULL, &it.error), BP_BUSY,
                     NULL);
        CHECK_STATUS(bp_slot_loaded(it.tree, b, is_good != 0, &it.error), BP_OK,
                     &it.error);
        CHECK(device_is_sound(&it));
        CHECK_U64(device_state(&it, is_good != 0 ? a : b), BP_N_SLOT_STATES);
        CHECK_U64(device_stats(&it).used, is_good != 0 ? 90 : 80);
        bp_slot found;
        CHECK_STATUS(bp_slots_find(it.tree, it.slots, "a", &found, &it.error),
                     BP_OK, &it.error);
        CHECK_U64(found, is_good != 0 ? b : a);
        CHECK(is_good != 0 || device_holds(&it, a, 80, 5));
        CHECK_U64(device_n_records(&it), 1);
        /* Closing while it is being loaded. */
        request.n_bytes = 70;
        CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &b,
                                       NULL, &it.error),
                     BP_OK, &it.error);
        bp_slots_close(it.tree, it.slots);
        CHECK_STATUS(bp_slot_loaded(it.tree, b, true, &it.error), BP_STALE,
                     NULL);
        CHECK(device_fini(&it));
    }
}

/* ---- who may not go ----------------------------------------------------- */

static void pins_and_uses_hold(void)
{
    device_fixture it;
    bp_slot pinned, used, c;
    bp_slot_request request = slot_of("pinned", 50);
    request.is_pinned = true;
    CHECK(device_init(&it, 100, plain));
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &pinned,
                                   NULL, &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "used", 50, &used), BP_OK, &it.error);
    CHECK_STATUS(device_begin(&it, used, true), BP_OK, &it.error);
    char *before = device_dump(&it);
    CHECK_STATUS(bp_slot_evict(it.tree, pinned, &it.error), BP_BUSY, NULL);
    CHECK_STATUS(bp_slot_evict(it.tree, used, &it.error), BP_BUSY, NULL);
    CHECK_STATUS(bp_slot_deallocate(it.tree, used, NULL, &it.error), BP_BUSY,
                 NULL);
    CHECK_STATUS(device_allocate(&it, "c", 1, &c), BP_BUDGET_EXCEEDED, NULL);
    CHECK_U64(it.shortage.pinned, 50);
    CHECK_U64(it.shortage.evictable, 0);
    CHECK(device_is_unchanged(&it, before));
    /* A second use holds when the first one is over. */
    CHECK_STATUS(device_begin(&it, used, false), BP_OK, &it.error);
    bp_slot_use_end(it.tree, used, it.stream);
    CHECK_STATUS(bp_slot_evict(it.tree, used, &it.error), BP_BUSY, NULL);
    bp_slot_use_end(it.tree, used, BP_NO_STREAM);
    bp_slot_use_end(it.tree, used, it.stream); /* once too often: nothing */
    CHECK_STATUS(device_allocate(&it, "c", 1, &c), BP_OK, &it.error);
    CHECK_U64(device_state(&it, used), BP_SLOT_EVICTED);
    CHECK_STATUS(bp_slot_deallocate(it.tree, pinned, NULL, &it.error), BP_OK,
                 &it.error);
    CHECK(device_fini(&it));
}

/* The order in which a shortage of everything takes five slots, as a text. */
static void order_of(bp_policy policy, const char *want)
{
    static const struct {
        const char *name;
        uint64_t n_bytes;
        int32_t priority;
    } rows[] = {
        {"a", 10, 0}, {"b", 30, 0}, {"c", 20, 1}, {"d", 5, -1}, {"e", 20, 0}};
    device_fixture it;
    bp_slot slots[5];
    bp_cursor cursor;
    CHECK(device_init(&it, 85, plain));
    bp_slots_options options = {
        .budget = it.budget, .backend = it.sim, .policy = policy};
    bp_slots_close(it.tree, it.slots);
    CHECK_STATUS(bp_slots_open(it.tree, &options, &it.slots, &it.error), BP_OK,
                 &it.error);
    for (size_t i = 0; i < 5; i++) {
        bp_slot_request request = slot_of(rows[i].name, rows[i].n_bytes);
        request.priority = rows[i].priority;
        CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL,
                                       &slots[i], NULL, &it.error),
                     BP_OK, &it.error);
        bp_slot_set_rank(it.tree, slots[i], i == 4 ? 1 : 2 + i);
    }
    CHECK_STATUS(device_begin(&it, slots[0], false), BP_OK, &it.error);
    bp_slot_use_end(it.tree, slots[0], it.stream);
    CHECK_STATUS(
        bp_cursor_open(bp_tree_get_log(it.tree), NULL, &cursor, &it.error),
        BP_OK, &it.error);
    bp_slot all;
    CHECK_STATUS(device_allocate(&it, "all", 85, &all), BP_OK, &it.error);
    bp_record records[8];
    size_t n = bp_cursor_drain(bp_tree_get_log(it.tree), cursor, records, 8);
    char got[8] = "";
    for (size_t i = 0; i < n; i++) {
        got[i] = bp_key_text(records[i].key)[0];
        bp_record_fini(&records[i]);
    }
    CHECK_TEXT(got, want);
    CHECK(device_fini(&it));
}

static void goes_in_order(void)
{
    order_of(BP_POLICY_LRU, "dbeac");
    order_of(BP_POLICY_MRU, "daebc");
    order_of(BP_POLICY_BIG_FIRST, "dbeac");
    order_of(BP_POLICY_RANK, "deabc");
}

/* ---- closing ----------------------------------------------------------- */

static void closes_what_is_in_use(void)
{
    device_fixture it;
    bp_slot a, b, c;
    CHECK(device_init(&it, 1000, plain));
    CHECK_STATUS(device_allocate(&it, "a", 100, &a), BP_OK, &it.error);
    CHECK_STATUS(device_allocate(&it, "b", 100, &b), BP_OK, &it.error);
    bp_slot_request request = slot_of("c", 100);
    request.has_loader = true;
    CHECK_STATUS(bp_slots_allocate(it.tree, it.slots, &request, NULL, &c, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(bp_slot_evict(it.tree, b, &it.error), BP_OK, &it.error);
    CHECK_STATUS(device_begin(&it, a, true), BP_OK, &it.error);
    bp_slots_close(it.tree, it.slots);
    bp_slots_close(it.tree, it.slots);
    CHECK_U64(device_n_records(&it), 2); /* c never was resident */
    CHECK_U64(device_used(&it), 0);
    bp_slot_use_end(it.tree, a, it.stream);
    CHECK_STATUS(bp_slot_loaded(it.tree, c, true, &it.error), BP_STALE, NULL);
    CHECK_STATUS(device_allocate(&it, "a", 1, &a), BP_STALE, NULL);
    CHECK(device_fini(&it));
}

/* What finalisers hand over is done by the next call that settles. */
static void settles_what_was_put_off(void)
{
    device_fixture it;
    bp_slot a;
    bp_reservation reservation;
    bp_budget other;
    bp_budget_options options = bp_budget_defaults(50);
    CHECK(device_init(&it, 1000, plain));
    CHECK_STATUS(device_allocate(&it, "a", 100, &a), BP_OK, &it.error);
    CHECK_STATUS(device_begin(&it, a, true), BP_OK, &it.error);
    CHECK_STATUS(bp_budget_reserve(it.tree, it.budget, 30, &reservation, NULL,
                                   &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(bp_budget_open(it.tree, &options, &other, &it.error), BP_OK,
                 &it.error);
    CHECK_STATUS(bp_budget_charge(it.tree, other, 20, "tag", NULL, &it.error),
                 BP_OK, &it.error);
    bp_tree_settle(it.tree);
    CHECK(!bp_tree_is_unsettled(it.tree));
    struct {
        bp_deferral what;
        uint64_t handle;
    } work[] = {{BP_DEFER_USE_END, a},
                {BP_DEFER_RESERVATION_CLOSE, reservation},
                {BP_DEFER_BUDGET_CLOSE, other}};
    for (size_t i = 0; i < 3; i++) {
        bp_deferred *deferred = bp_deferred_new(it.tree);
        CHECK(deferred != NULL);
        bp_tree_defer(it.tree, deferred, work[i].what, work[i].handle);
    }
    CHECK(bp_tree_is_unsettled(it.tree));
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_BUSY, NULL);
    bp_tree_settle(it.tree);
    CHECK(!bp_tree_is_unsettled(it.tree));
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_OK, &it.error);
    CHECK_U64(device_stats(&it).reserved, 0);
    bp_budget_stats stats;
    CHECK_STATUS(bp_budget_get_stats(it.tree, other, &stats, &it.error),
                 BP_STALE, NULL);
    bp_deferred *deferred = bp_deferred_new(it.tree);
    CHECK(deferred != NULL);
    bp_tree_defer(it.tree, deferred, BP_DEFER_SLOTS_CLOSE, it.slots);
    bp_tree_settle(it.tree);
    CHECK_STATUS(bp_slot_evict(it.tree, a, &it.error), BP_STALE, NULL);
    CHECK(device_fini(&it));
}

int main(void)
{
    RUN(lives);
    RUN(copies_what_is_dirty_alone);
    RUN(believes_who_says_it_writes);
    RUN(keeps_no_copy);
    RUN(copies_between_bounds);
    RUN(loads);
    RUN(loads_what_has_no_copy);
    RUN(loaders_fail);
    RUN(replaces);
    RUN(refuses_to_replace);
    RUN(restores_what_it_could_not_replace);
    RUN(restores_what_was_not_loaded);
    RUN(pins_and_uses_hold);
    RUN(goes_in_order);
    RUN(closes_what_is_in_use);
    RUN(settles_what_was_put_off);
    return finish();
}
