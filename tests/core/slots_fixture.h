/* slots_fixture.h - a tree with slots on blocks that stand for no memory: what
 * src/device decides can be walked through without a backend.
 *
 * The tests are single threads, so the tree's lock is not taken around the
 * functions that want it held.
 */
#ifndef BAYPLAN_TESTS_SLOTS_FIXTURE_H
#define BAYPLAN_TESTS_SLOTS_FIXTURE_H

#include "harness.h"

#include "base/alloc.h"
#include "device/claim.h"
#include "device/ledger.h"
#include "device/slots.h"

typedef struct fixture {
    test_heap heap;
    bp_allocator alloc;
    bp_tree *tree;
    bp_error error;
} fixture;

static inline void fixture_init(fixture *it)
{
    memset(it, 0, sizeof *it);
    it->alloc = test_heap_init(&it->heap);
    CHECK_STATUS(bp_tree_new(0, &it->alloc, &it->tree, &it->error), BP_OK,
                 &it->error);
}

/* ---- what is read all the time ------------------------------------------ */

/* The caller gives it back with fixture_free_dump. NULL without memory. */
static inline char *fixture_dump(fixture *it)
{
    char *text = NULL;
    return bp_tree_dump(it->tree, &text, NULL) == BP_OK ? text : NULL;
}

static inline void fixture_free_dump(fixture *it, char *text)
{
    bp__free_array(&it->alloc, text, text == NULL ? 0 : strlen(text) + 1, 1);
}

/* Is the tree as this dump says? Gives the dump back. */
static inline bool fixture_is_as(fixture *it, char *before)
{
    char *now = fixture_dump(it);
    bool is_same = now != NULL && before != NULL && strcmp(now, before) == 0;
    if (!is_same) {
        printf("before: %s\nafter: %s\n", before ? before : "(null)",
               now ? now : "(null)");
    }
    fixture_free_dump(it, now);
    fixture_free_dump(it, before);
    return is_same;
}

static inline bool fixture_is_whole(fixture *it)
{
    bp_error error;
    if (bp_tree_check(it->tree, &error) != BP_OK) {
        printf("%s\n", error.text);
        return false;
    }
    return true;
}

/* ---- budgets, managers, slots ------------------------------------------- */

static inline bp__budget *fixture_budget(fixture *it, uint64_t limit,
                                         const bp__budget *parent,
                                         const char *name)
{
    bp_budget_options options = bp_budget_defaults(limit);
    options.parent = parent == NULL ? BP_NO_BUDGET : parent->handle;
    options.name = name;
    bp_budget handle;
    return bp_budget_open(it->tree, &options, &handle, &it->error) != BP_OK
               ? NULL
               : bp__budget_get_locked(it->tree, handle);
}

static inline bp__manager *fixture_manager(fixture *it, bp__budget *budget,
                                           bp_policy policy)
{
    bp__manager *manager = NULL;
    return bp__manager_new_locked(it->tree, budget, policy, false, NULL, 1,
                                  &manager, &it->error) == BP_OK
               ? manager
               : NULL;
}

static inline bp_slot_request fixture_request(const char *name,
                                              uint64_t n_bytes)
{
    return (bp_slot_request){
        .name = name, .n_bytes = n_bytes, .keeps_copy = true};
}

static inline bp__block *fixture_block(fixture *it)
{
    return bp__alloc_array(&it->alloc, 1, sizeof(bp__block));
}

/* RESTORING -> RESIDENT with what is available; false, and nothing changed,
 * where that is not enough. */
static inline bool fixture_bring(fixture *it, bp__slot *slot)
{
    bp__claim claim;
    bp__claim_begin_locked(it->tree, &claim, slot->manager->budget,
                           slot->n_charged, NULL);
    bp__block *block = fixture_block(it);
    if (block == NULL || !bp__claim_take_locked(it->tree, &claim)) {
        bp__claim_abort_locked(it->tree, &claim);
        bp__free_array(&it->alloc, block, 1, sizeof *block);
        return false;
    }
    bp__claim_commit_locked(it->tree, &claim);
    bp__slot_arrive_locked(it->tree, slot, block);
    return true;
}

/* A new slot, resident; NULL, and nothing changed, if that cannot be. */
static inline bp__slot *fixture_ask(fixture *it, bp__manager *manager,
                                    const bp_slot_request *request)
{
    bp__slot *slot;
    if (bp__slot_new_locked(it->tree, manager, request, NULL, &slot,
                            &it->error) != BP_OK) {
        return NULL;
    }
    if (!fixture_bring(it, slot)) {
        bp__slot_free_locked(it->tree, slot);
        return NULL;
    }
    return slot;
}

static inline bp__slot *fixture_slot(fixture *it, bp__manager *manager,
                                     const char *name, uint64_t n_bytes)
{
    bp_slot_request request = fixture_request(name, n_bytes);
    return fixture_ask(it, manager, &request);
}

/* The memory of a block on its way out is free. */
static inline void fixture_retire(fixture *it, bp__block *block)
{
    bp__block_retired_locked(it->tree, block);
    bp__free_array(&it->alloc, block, 1, sizeof *block);
}

/* EVICTING with its block -> EVICTED, at once. */
static inline void fixture_finish(fixture *it, bp__slot *slot, bp_cause cause)
{
    bp__block *block = slot->block;
    bp__slot_depart_locked(it->tree, slot, cause);
    fixture_retire(it, block);
    bp__slot_gone_locked(it->tree, slot, true);
}

static inline void fixture_evict(fixture *it, bp__slot *slot, bp_cause cause)
{
    bp__slot_go_locked(it->tree, slot, NULL);
    fixture_finish(it, slot, cause);
}

/* From whatever state the slot is in. */
static inline void fixture_drop(fixture *it, bp__slot *slot)
{
    if (slot->state == BP_SLOT_RESIDENT) {
        bp__slot_go_locked(it->tree, slot, NULL);
    }
    if (slot->state == BP_SLOT_EVICTING && slot->block != NULL) {
        fixture_finish(it, slot, BP_CAUSE_CLOSED);
    }
    bp__slot_free_locked(it->tree, slot);
}

/* Everything goes; true if all memory has come back. */
static inline bool fixture_fini(fixture *it)
{
    test_heap_fail(&it->heap, 0, false);
    while (it->tree->retirees != NULL) {
        fixture_retire(it, it->tree->retirees);
    }
    for (size_t i = 0;; i++) {
        bp__manager *manager = bp__handles_next(&it->tree->managers, &i);
        if (manager == NULL) {
            break;
        }
        while (manager->n_slots != 0) {
            fixture_drop(it, manager->slots[manager->n_slots - 1]);
        }
        bp__manager_free_locked(it->tree, manager);
    }
    bool is_whole = fixture_is_whole(it);
    bp_tree_free(it->tree);
    return is_whole && it->heap.live_blocks == 0;
}

#endif
