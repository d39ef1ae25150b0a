/* test_slots.c - a slot's states, what each transition does to the ledger and
 * the log, and what can be read of it. */
#include "slots_fixture.h"

static fixture it;

#define CHECK_WHOLE() CHECK(fixture_is_whole(&it))

/* A budget of 1000 bytes and a manager of one policy. */
static bp__manager *open_manager(uint64_t limit, bp_policy policy)
{
    fixture_init(&it);
    bp__budget *budget = fixture_budget(&it, limit, NULL, NULL);
    return budget == NULL ? NULL : fixture_manager(&it, budget, policy);
}

static bool has_figures(const bp__budget *budget, uint64_t used,
                        uint64_t reserved, uint64_t retiring)
{
    bool is_so = budget->used == used && budget->reserved == reserved &&
                 budget->retiring == retiring;
    if (!is_so) {
        printf("used %" PRIu64 ", reserved %" PRIu64 ", retiring %" PRIu64 "\n",
               budget->used, budget->reserved, budget->retiring);
    }
    return is_so;
}

/* The newest record of the log is this one. */
static bool was_logged(const char *key, const char *kind, uint64_t generation,
                       uint64_t n_bytes, bp_cause cause)
{
    const bp_log *log = bp_tree_get_log(it.tree);
    const bp_record *record = bp__log_at_locked(log, log->next_seq - 1);
    const char *has_kind =
        record->kind == NULL ? "" : bp_key_text(record->kind);
    return strcmp(bp_key_text(record->key), key) == 0 &&
           strcmp(has_kind, kind) == 0 && record->generation == generation &&
           record->n_bytes == n_bytes && record->cause == cause;
}

/* ---- states -------------------------------------------------------------- */

static void it_arrives(void)
{
    bp__manager *manager = open_manager(1000, BP_POLICY_LRU);
    bp_slot_request request = fixture_request("graph", 100);
    bp__slot *slot;
    CHECK_STATUS(
        bp__slot_new_locked(it.tree, manager, &request, NULL, &slot, &it.error),
        BP_OK, &it.error);
    CHECK(slot->state == BP_SLOT_RESTORING && slot->is_new);
    CHECK_U64(slot->generation, 0);
    CHECK(bp__slot_get_locked(it.tree, slot->handle) == slot);
    CHECK(has_figures(manager->budget, 0, 0, 0));
    CHECK_WHOLE();
    uint64_t born = atomic_load(&slot->stamp->last_use);
    CHECK(fixture_bring(&it, slot));
    CHECK(slot->state == BP_SLOT_RESIDENT && !slot->is_new);
    CHECK(slot->block->manager == manager);
    CHECK(slot->block->budget == manager->budget);
    CHECK_U64(slot->block->n_charged, 100);
    CHECK(slot->generation != 0);
    CHECK(atomic_load(&slot->stamp->last_use) > born);
    CHECK(has_figures(manager->budget, 100, 0, 0));
    CHECK_U64(manager->counters.n_restores, 0);
    CHECK_WHOLE();
    CHECK(fixture_fini(&it));
}

/* What could not go is as it was. */
static void it_stays(void)
{
    bp__manager *manager = open_manager(1000, BP_POLICY_LRU);
    bp__slot *slot = fixture_slot(&it, manager, "graph", 100);
    uint64_t age = atomic_load(&slot->stamp->last_use);
    char *before = fixture_dump(&it); /* the generation is in it */
    bp__slot_go_locked(it.tree, slot, NULL);
    CHECK(slot->state == BP_SLOT_EVICTING);
    CHECK(has_figures(manager->budget, 0, 0, 100));
    CHECK_WHOLE();
    bp__slot_stay_locked(it.tree, slot);
    CHECK(slot->state == BP_SLOT_RESIDENT);
    CHECK_U64(atomic_load(&slot->stamp->last_use), age);
    CHECK_U64(bp_tree_get_log(it.tree)->next_seq, 0);
    CHECK(has_figures(manager->budget, 100, 0, 0));
    CHECK(fixture_is_as(&it, before));
    CHECK_WHOLE();
    CHECK(fixture_fini(&it));
}

static void it_leaves(void)
{
    bp__manager *manager = open_manager(1000, BP_POLICY_LRU);
    bp_slot_request request = fixture_request("graph", 100);
    request.kind = "model";
    bp__slot *slot = fixture_ask(&it, manager, &request);
    uint64_t generation = slot->generation;
    bp__block *block = slot->block;
    bp__slot_go_locked(it.tree, slot, NULL);
    bp__slot_depart_locked(it.tree, slot, BP_CAUSE_PRESSURE);
    CHECK(slot->state == BP_SLOT_EVICTING && slot->block == NULL);
    CHECK(block->slot == slot && it.tree->retirees == block);
    CHECK(was_logged("graph", "model", generation, 100, BP_CAUSE_PRESSURE));
    CHECK_U64(manager->counters.n_evictions[BP_CAUSE_PRESSURE], 1);
    CHECK_U64(manager->budget->n_evictions, 1);
    CHECK(bp_tree_is_unsettled(it.tree));
    CHECK(has_figures(manager->budget, 0, 0, 100));
    CHECK_WHOLE();
    slot->is_busy = true;
    bp__slot_gone_locked(it.tree, slot, true);
    CHECK(slot->state == BP_SLOT_EVICTED && slot->has_contents);
    CHECK(block->slot == NULL && !slot->is_busy);
    CHECK_WHOLE();
    fixture_retire(&it, block);
    CHECK(!bp_tree_is_unsettled(it.tree));
    CHECK(has_figures(manager->budget, 0, 0, 0));
    CHECK_U64(bp_tree_get_log(it.tree)->next_seq, 1);
    CHECK_WHOLE();
    CHECK(fixture_fini(&it));
}

static void it_comes_back(void)
{
    bp__manager *manager = open_manager(1000, BP_POLICY_LRU);
    bp__slot *slot = fixture_slot(&it, manager, "graph", 100);
    uint64_t first = slot->generation;
    fixture_evict(&it, slot, BP_CAUSE_EXPLICIT);
    char *before = fixture_dump(&it);
    CHECK(bp__slot_wake_locked(it.tree, slot, NULL));
    CHECK(slot->state == BP_SLOT_RESTORING && !slot->is_new);
    CHECK_WHOLE();
    bp__slot_sleep_locked(it.tree, slot);
    CHECK(fixture_is_as(&it, before));
    CHECK(bp__slot_wake_locked(it.tree, slot, NULL));
    CHECK(fixture_bring(&it, slot));
    CHECK(slot->generation > first);
    CHECK_U64(manager->counters.n_restores, 1);
    CHECK_WHOLE();
    fixture_evict(&it, slot, BP_CAUSE_LIMIT);
    CHECK(was_logged("graph", "", slot->generation, 100, BP_CAUSE_LIMIT));
    CHECK(fixture_fini(&it));
}

/* The bytes leave in every budget above. */
static void parents_count_too(void)
{
    fixture_init(&it);
    bp__budget *root = fixture_budget(&it, 500, NULL, NULL);
    bp__budget *leaf = fixture_budget(&it, 400, root, NULL);
    bp__manager *manager = fixture_manager(&it, leaf, BP_POLICY_LRU);
    bp__slot *slot = fixture_slot(&it, manager, "a", 300);
    CHECK(has_figures(root, 300, 0, 0) && has_figures(leaf, 300, 0, 0));
    bp__slot_go_locked(it.tree, slot, NULL);
    CHECK(has_figures(root, 0, 0, 300) && has_figures(leaf, 0, 0, 300));
    fixture_finish(&it, slot, BP_CAUSE_EXPLICIT);
    CHECK(has_figures(root, 0, 0, 0) && has_figures(leaf, 0, 0, 0));
    CHECK_U64(root->n_evictions, 1);
    CHECK_U64(leaf->n_evictions, 1);
    CHECK(fixture_fini(&it));
}

/* A new slot that never had its bytes goes without a trace. */
static void a_stillbirth(void)
{
    bp__manager *manager = open_manager(1000, BP_POLICY_LRU);
    CHECK(fixture_slot(&it, manager, "a", 600) != NULL);
    char *before = fixture_dump(&it);
    CHECK(fixture_slot(&it, manager, "b", 401) == NULL);
    CHECK(fixture_is_as(&it, before));
    CHECK_U64(bp_tree_get_log(it.tree)->next_seq, 0);
    CHECK(fixture_slot(&it, manager, "b", 400) != NULL);
    CHECK_WHOLE();
    CHECK(fixture_fini(&it));
}

/* Departed, freed at once, or never: gone may come before or after. */
static void blocks_outlive_slots(void)
{
    bp__manager *manager = open_manager(1000, BP_POLICY_LRU);
    bp__slot *slots[3];
    bp__block *blocks[3];
    const char *const names[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++) {
        slots[i] = fixture_slot(&it, manager, names[i], 100 + i);
        CHECK(slots[i] != NULL);
        blocks[i] = slots[i]->block;
        bp__slot_go_locked(it.tree, slots[i], NULL);
        bp__slot_depart_locked(it.tree, slots[i], BP_CAUSE_EXPLICIT);
    }
    /* The one in the middle first, then the last, then the first. */
    fixture_retire(&it, blocks[1]);
    CHECK(has_figures(manager->budget, 0, 0, 202));
    CHECK(slots[1]->state == BP_SLOT_EVICTING && slots[1]->leaving == NULL);
    bp__slot_gone_locked(it.tree, slots[1], false);
    CHECK(!slots[1]->has_contents);
    CHECK_WHOLE();
    bp__slot_gone_locked(it.tree, slots[2], true);
    bp_slot gone = slots[2]->handle;
    bp__slot_free_locked(it.tree, slots[2]);
    CHECK(bp__slot_get_locked(it.tree, gone) == NULL);
    CHECK(blocks[2]->slot == NULL);
    CHECK_WHOLE();
    fixture_retire(&it, blocks[2]);
    bp__slot_gone_locked(it.tree, slots[0], true);
    bp__block_fail_locked(it.tree, blocks[0]);
    bp__block_fail_locked(it.tree, blocks[0]);
    CHECK_U64(manager->counters.n_failed_frees, 1);
    CHECK(blocks[0]->is_failed);
    CHECK(has_figures(manager->budget, 0, 0, 100));
    CHECK_WHOLE();
    fixture_retire(&it, blocks[0]);
    CHECK(has_figures(manager->budget, 0, 0, 0));
    CHECK(fixture_fini(&it));
}

static void sizes_are_rounded(void)
{
    fixture_init(&it);
    bp_budget_options options = bp_budget_defaults(10000);
    options.granularity = 64;
    bp_budget handle;
    CHECK_STATUS(bp_budget_open(it.tree, &options, &handle, &it.error), BP_OK,
                 &it.error);
    bp__budget *budget = bp__budget_get_locked(it.tree, handle);
    bp__manager *coarse, *fine;
    CHECK_STATUS(bp__manager_new_locked(it.tree, budget, BP_POLICY_LRU, false,
                                        NULL, 512, &coarse, &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(bp__manager_new_locked(it.tree, budget, BP_POLICY_LRU, true,
                                        NULL, 8, &fine, &it.error),
                 BP_OK, &it.error);
    CHECK(fine->is_strict && !coarse->is_strict);
    CHECK_U64(fixture_slot(&it, coarse, "a", 1)->n_charged, 512);
    CHECK_U64(fixture_slot(&it, coarse, "b", 513)->n_charged, 1024);
    CHECK_U64(fixture_slot(&it, fine, "a", 65)->n_charged, 128);
    CHECK_U64(fixture_slot(&it, fine, "b", 64)->n_charged, 64);
    CHECK(has_figures(budget, 512 + 1024 + 128 + 64, 0, 0));
    CHECK_WHOLE();
    CHECK(fixture_fini(&it));
}

/* ---- what is read -------------------------------------------------------- */

static void readings(void)
{
    bp__manager *manager = open_manager(1000, BP_POLICY_RANK);
    bp_slot_request request = fixture_request("pinned", 30);
    request.is_pinned = true;
    request.has_loader = true;
    request.priority = 7;
    bp__slot *pinned = fixture_ask(&it, manager, &request);
    bp__slot *a = fixture_slot(&it, manager, "a", 100);
    bp__slot *b = fixture_slot(&it, manager, "b", 50);
    pinned->n_host_uses = 2;
    bp_slot_info info;
    CHECK_STATUS(bp_slot_get_info(it.tree, pinned->handle, &info, &it.error),
                 BP_OK, &it.error);
    CHECK(info.slots == manager->handle && info.state == BP_SLOT_RESIDENT);
    CHECK(info.is_pinned && info.has_loader && info.keeps_copy);
    CHECK(!info.is_busy && !info.is_dirty);
    CHECK(info.priority == 7);
    CHECK_U64(info.n_bytes, 30);
    CHECK_U64(info.n_charged, 30);
    CHECK_U64(info.generation, pinned->generation);
    CHECK_U64(info.n_host_uses, 2);
    CHECK_U64(info.last_use, atomic_load(&pinned->stamp->last_use));
    fixture_evict(&it, a, BP_CAUSE_EXPLICIT);
    a->n_copy_bytes = 100;
    bp__slot_go_locked(it.tree, b, NULL);
    bp_slots_stats stats;
    CHECK_STATUS(
        bp_slots_get_stats(it.tree, manager->handle, &stats, &it.error), BP_OK,
        &it.error);
    CHECK_U64(stats.n_slots, 3);
    CHECK_U64(stats.n_loaded, 1);
    CHECK_U64(stats.n_evicted, 1);
    CHECK_U64(stats.n_pinned, 1);
    CHECK_U64(stats.n_in_use, 1);
    CHECK_U64(stats.n_allocated, 30);
    CHECK_U64(stats.n_retiring, 50);
    CHECK_U64(stats.n_host_bytes, 100);
    CHECK_U64(stats.n_evictions[BP_CAUSE_EXPLICIT], 1);
    bp__slot_depart_locked(it.tree, b, BP_CAUSE_EXPLICIT);
    CHECK_STATUS(
        bp_slots_get_stats(it.tree, manager->handle, &stats, &it.error), BP_OK,
        &it.error);
    CHECK_U64(stats.n_retiring, 50);
    bp_slot list[2] = {0, 99};
    CHECK_U64(bp_slots_list(it.tree, manager->handle, list, 1), 3);
    CHECK_U64(list[0], pinned->handle);
    CHECK_U64(list[1], 99);
    pinned->n_host_uses = 0;
    fixture_retire(&it, it.tree->retirees);
    bp__slot_gone_locked(it.tree, b, true);
    CHECK(fixture_fini(&it));
}

static void stale_handles(void)
{
    bp__manager *manager = open_manager(1000, BP_POLICY_LRU);
    bp__slot *slot = fixture_slot(&it, manager, "a", 10);
    bp_slot gone = slot->handle;
    bp_stamp *stamp, *again;
    CHECK_STATUS(bp_slot_get_stamp(it.tree, gone, &stamp, &it.error), BP_OK,
                 &it.error);
    uint64_t before = atomic_load(&stamp->last_use);
    bp_stamp_touch(it.tree, stamp);
    CHECK(atomic_load(&slot->stamp->last_use) > before);
    fixture_drop(&it, slot);
    bp_stamp_touch(it.tree, stamp); /* lives as long as the tree */
    bp_slot_info info;
    CHECK_STATUS(bp_slot_get_info(it.tree, gone, &info, &it.error), BP_STALE,
                 &it.error);
    CHECK_TEXT(it.error.text, "the slot behind this handle is gone");
    CHECK_STATUS(bp_slot_get_stamp(it.tree, gone, &again, &it.error), BP_STALE,
                 &it.error);
    bp_slot_set_rank(it.tree, gone, 3); /* a no-op */
    bp__slot *next = fixture_slot(&it, manager, "b", 10);
    CHECK(next->stamp == stamp); /* it serves another now */
    CHECK(next->handle != gone);
    bp_slot_set_rank(it.tree, next->handle, 3);
    CHECK_U64(next->rank, 3);
    bp_slots stale = manager->handle;
    fixture_drop(&it, next);
    bp__manager_free_locked(it.tree, manager);
    bp_slots_stats stats;
    bp_slot out;
    size_t n;
    CHECK_STATUS(bp_slots_get_stats(it.tree, stale, &stats, &it.error),
                 BP_STALE, &it.error);
    CHECK_TEXT(it.error.text, "the slot manager behind this handle is gone");
    CHECK_STATUS(bp_slots_first_victim(it.tree, stale, &out, &it.error),
                 BP_STALE, &it.error);
    CHECK_STATUS(bp_slots_plan(it.tree, stale, 1, &out, 1, &n, NULL, &it.error),
                 BP_STALE, &it.error);
    CHECK_U64(bp_slots_list(it.tree, stale, &out, 1), 0);
    CHECK(fixture_fini(&it));
}

static void words(void)
{
    for (unsigned i = 0; i < BP_N_POLICIES; i++) {
        bp_policy policy = BP_N_POLICIES;
        CHECK(bp_policy_parse(bp_policy_name((bp_policy)i), &policy));
        CHECK_U64(policy, i);
    }
    CHECK_TEXT(bp_policy_name(BP_POLICY_BIG_FIRST), "big_first");
    CHECK_TEXT(bp_policy_name(BP_N_POLICIES), "unknown");
    bp_policy kept = BP_POLICY_MRU;
    CHECK(!bp_policy_parse("LRU", &kept) && !bp_policy_parse("", &kept));
    CHECK(!bp_policy_parse(NULL, &kept));
    CHECK(kept == BP_POLICY_MRU);
    CHECK_TEXT(bp_slot_state_name(BP_SLOT_RESIDENT), "resident");
    CHECK_TEXT(bp_slot_state_name(BP_SLOT_EVICTING), "evicting");
    CHECK_TEXT(bp_slot_state_name(BP_SLOT_EVICTED), "evicted");
    CHECK_TEXT(bp_slot_state_name(BP_SLOT_RESTORING), "restoring");
    CHECK_TEXT(bp_slot_state_name(BP_N_SLOT_STATES), "unknown");
}

int main(void)
{
    RUN(it_arrives);
    RUN(it_stays);
    RUN(it_leaves);
    RUN(it_comes_back);
    RUN(parents_count_too);
    RUN(a_stillbirth);
    RUN(blocks_outlive_slots);
    RUN(sizes_are_rounded);
    RUN(readings);
    RUN(stale_handles);
    RUN(words);
    return finish();
}
