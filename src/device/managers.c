/* managers.c - the tables of slots: managers, names, ages, and the room a slot
 * needs for its whole life. */
#include "device/slots.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/text.h"
#include "device/ledger.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define NOT_NAMED UINT32_MAX /* see bp__slot_is_listed */

/* ---- managers ------------------------------------------------------------ */

bp__manager *bp__manager_get_locked(bp_tree *tree, bp_slots handle)
{
    return bp__handles_get(&tree->managers, handle);
}

bp_status bp__manager_new_locked(bp_tree *tree, bp__budget *budget,
                                 bp_policy policy, bool is_strict,
                                 void *backend, uint64_t granularity,
                                 bp__manager **out, bp_error *error)
{
    bp__manager *manager = NULL;
    if (bp__handles_reserve(&tree->managers, &tree->alloc)) {
        manager = bp__alloc_array(&tree->alloc, 1, sizeof *manager);
    }
    if (manager == NULL) {
        return bp__refuse_memory_of(error, "a slot manager");
    }
    manager->budget = budget;
    manager->policy = policy;
    manager->is_strict = is_strict;
    manager->granularity =
        granularity > budget->granularity ? granularity : budget->granularity;
    manager->backend = backend;
    manager->handle = bp__handles_add(&tree->managers, manager);
    budget->n_managers++;
    *out = manager;
    return BP_OK;
}

void bp__manager_free_locked(bp_tree *tree, bp__manager *manager)
{
    assert(manager->n_slots == 0);
    (void)bp__handles_remove(&tree->managers, manager->handle);
    manager->budget->n_managers--;
    const bp_allocator *alloc = &tree->alloc;
    bp__free_array(alloc, manager->slots, manager->slot_capacity,
                   sizeof *manager->slots);
    bp__map_fini(&manager->names, alloc);
    bp__free_array(alloc, manager->by_name, manager->name_capacity,
                   sizeof *manager->by_name);
    bp__heap_fini_locked(alloc, manager);
    bp__free_array(alloc, manager, 1, sizeof *manager);
}

/* ---- names --------------------------------------------------------------- */

static const char *name_of(const void *ctx, uint32_t value)
{
    const bp__manager *manager = ctx;
    return bp_key_text(manager->by_name[value]->name);
}

bp__slot *bp__slot_get_locked(bp_tree *tree, bp_slot handle)
{
    return bp__handles_get(&tree->slots, handle);
}

bp__slot *bp__slot_named_locked(const bp__manager *manager, const char *name)
{
    uint32_t value = bp__map_find(&manager->names, bp__hash_text(name), name,
                                  name_of, manager);
    return value == BP_MAP_NONE ? NULL : manager->by_name[value];
}

static uint32_t hash_of(const bp__slot *slot)
{
    return bp__hash_text(bp_key_text(slot->name));
}

static void add_name(bp__manager *manager, bp__slot *slot)
{
    slot->name_place = (uint32_t)manager->n_names++;
    manager->by_name[slot->name_place] = slot;
    bp__map_insert(&manager->names, hash_of(slot), slot->name_place);
}

/* The last name takes the place that falls free. */
static void remove_name(bp__manager *manager, bp__slot *slot)
{
    uint32_t place = slot->name_place;
    if (place == NOT_NAMED) {
        return;
    }
    bool is_there = bp__map_remove(&manager->names, hash_of(slot), place);
    uint32_t last = (uint32_t)--manager->n_names;
    if (place != last) {
        bp__slot *moved = manager->by_name[last];
        is_there &=
            bp__map_renumber(&manager->names, hash_of(moved), last, place);
        manager->by_name[place] = moved;
        moved->name_place = place;
    }
    assert(is_there);
    (void)is_there;
    slot->name_place = NOT_NAMED;
}

/* Both have the same text, so the map need not know. */
static void pass_name(bp__slot *from, bp__slot *to)
{
    to->name_place = from->name_place;
    to->manager->by_name[to->name_place] = to;
    from->name_place = NOT_NAMED;
}

void bp__slot_give_name_back_locked(bp__slot *slot, bp__slot *replaced)
{
    assert(slot->manager == replaced->manager);
    assert(replaced->name_place == NOT_NAMED);
    pass_name(slot, replaced);
}

/* ---- ages ---------------------------------------------------------------- */

static void give_stamp(bp_tree *tree, bp_stamp *stamp)
{
    if (stamp != NULL) {
        stamp->next_free = tree->free_stamps;
        tree->free_stamps = stamp;
    }
}

static void make_stamps(bp_tree *tree)
{
    bp__stamps *stamps = bp__alloc_array(&tree->alloc, 1, sizeof *stamps);
    if (stamps == NULL) {
        return;
    }
    stamps->next = tree->stamps;
    tree->stamps = stamps;
    for (size_t i = BP__STAMPS_PER_CHUNK; i-- > 0;) {
        give_stamp(tree, &stamps->stamps[i]);
    }
}

/* NULL without memory. */
static bp_stamp *take_stamp(bp_tree *tree)
{
    if (tree->free_stamps == NULL) {
        make_stamps(tree);
    }
    bp_stamp *stamp = tree->free_stamps;
    if (stamp != NULL) {
        tree->free_stamps = stamp->next_free;
    }
    return stamp;
}

/* ---- slots --------------------------------------------------------------- */

static bool is_usable_name(const char *name)
{
    return name != NULL && name[0] != '\0' && strlen(name) <= BP_MAX_NAME;
}

static bp_status refuse_name(bp_error *error, const char *what,
                             const char *name)
{
    if (name == NULL || name[0] == '\0') {
        return bp_fail(error, BP_BAD_NAME, "a slot needs a name");
    }
    bp_status status = bp_fail(error, BP_BAD_NAME,
                               "a %s of %zu bytes is too long (at most %u)",
                               what, strlen(name), BP_MAX_NAME);
    bp_error_numbers(error, strlen(name), BP_MAX_NAME);
    return status;
}

bp_status bp__refuse_slot_size(bp_error *error, const char *name,
                               uint64_t n_bytes)
{
    bp_status status =
        name == NULL
            ? bp_fail(error, BP_BAD_SIZE,
                      "%" PRIu64 " bytes are no size of a slot", n_bytes)
            : bp_fail(error, BP_BAD_SIZE,
                      "slot '%s' cannot have %" PRIu64 " bytes", name, n_bytes);
    bp_error_about(error, NULL, name);
    bp_error_numbers(error, n_bytes, INT64_MAX);
    return status;
}

static bp_status refuse_exists(bp_error *error, const bp__slot *there)
{
    bp_status status = bp_fail(error, BP_SLOT_EXISTS,
                               "slot '%s' exists (%" PRIu64 " bytes, %s)",
                               bp_key_text(there->name), there->n_bytes,
                               bp_slot_state_name(there->state));
    bp_error_about(error, NULL, bp_key_text(there->name));
    return status;
}

static bp_status check_request(const bp__manager *manager,
                               const bp_slot_request *request,
                               const bp__slot *replaced, bp_error *error)
{
    if (!is_usable_name(request->name)) {
        return refuse_name(error, "name", request->name);
    }
    if (request->kind != NULL && strlen(request->kind) > BP_MAX_NAME) {
        return refuse_name(error, "kind", request->kind);
    }
    uint64_t n_charged;
    if (!bp__round(request->n_bytes, manager->granularity, &n_charged)) {
        return bp__refuse_slot_size(error, request->name, request->n_bytes);
    }
    const bp__slot *there = bp__slot_named_locked(manager, request->name);
    if (there != NULL && there != replaced) {
        return refuse_exists(error, there);
    }
    return BP_OK;
}

/* Room in every table for one more. */
static bool make_room(bp_tree *tree, bp__manager *manager)
{
    const bp_allocator *alloc = &tree->alloc;
    size_t n_slots = manager->n_slots + 1;
    size_t n_names = manager->n_names + 1;
    return n_slots < NOT_NAMED && bp__handles_reserve(&tree->slots, alloc) &&
           bp__grow(alloc, &manager->slots, &manager->slot_capacity, n_slots,
                    sizeof *manager->slots) &&
           bp__heap_reserve_locked(alloc, manager, n_slots) &&
           bp__grow(alloc, &manager->by_name, &manager->name_capacity, n_names,
                    sizeof *manager->by_name) &&
           bp__map_reserve(&manager->names, alloc, n_names) &&
           bp__log_reserve_locked(&tree->log, tree->slots.n_items);
}

/* What belongs to the slot alone. */
static void free_slot(bp_tree *tree, bp__slot *slot)
{
    give_stamp(tree, slot->stamp);
    bp__key_unref(slot->name);
    bp__key_unref(slot->kind);
    bp__free_array(&tree->alloc, slot, 1, sizeof *slot);
}

static bp__slot *make_slot(bp_tree *tree, bp__manager *manager,
                           const bp_slot_request *request)
{
    bp__slot *slot = bp__alloc_array(&tree->alloc, 1, sizeof *slot);
    if (slot == NULL) {
        return NULL;
    }
    slot->manager = manager;
    slot->name = bp__key_new(&tree->alloc, request->name);
    if (request->kind != NULL) {
        slot->kind = bp__key_new(&tree->alloc, request->kind);
    }
    slot->stamp = take_stamp(tree);
    if (slot->name == NULL || slot->stamp == NULL ||
        (request->kind != NULL && slot->kind == NULL)) {
        free_slot(tree, slot);
        return NULL;
    }
    slot->n_bytes = request->n_bytes;
    slot->priority = request->priority;
    slot->is_pinned = request->is_pinned;
    slot->keeps_copy = request->keeps_copy;
    slot->has_loader = request->has_loader;
    slot->state = BP_SLOT_RESTORING;
    slot->is_new = true;
    slot->stamp->heap_place = SIZE_MAX;
    slot->name_place = NOT_NAMED;
    return slot;
}

bp_status bp__slot_new_locked(bp_tree *tree, bp__manager *manager,
                              const bp_slot_request *request,
                              bp__slot *replaced, bp__slot **out,
                              bp_error *error)
{
    bp_status status = check_request(manager, request, replaced, error);
    if (status != BP_OK) {
        return status;
    }
    bp__slot *slot = NULL;
    if (make_room(tree, manager)) {
        slot = make_slot(tree, manager, request);
    }
    if (slot == NULL) {
        return bp__refuse_memory_of(error, "a slot");
    }
    bool is_round =
        bp__round(slot->n_bytes, manager->granularity, &slot->n_charged);
    assert(is_round);
    (void)is_round;
    slot->order = ++tree->orders;
    atomic_store_explicit(&slot->stamp->last_use, bp__tree_tick(tree),
                          memory_order_relaxed);
    slot->handle = bp__handles_add(&tree->slots, slot);
    manager->slots[manager->n_slots++] = slot;
    if (replaced != NULL) {
        assert(replaced == bp__slot_named_locked(manager, request->name));
        pass_name(replaced, slot);
    } else {
        add_name(manager, slot);
    }
    *out = slot;
    return BP_OK;
}

/* Slots lie in order of their `order`. */
static size_t position_of(const bp__manager *manager, const bp__slot *slot)
{
    size_t first = 0, end = manager->n_slots;
    while (end - first > 1) {
        size_t middle = first + (end - first) / 2;
        if (manager->slots[middle]->order <= slot->order) {
            first = middle;
        } else {
            end = middle;
        }
    }
    assert(manager->slots[first] == slot);
    return first;
}

void bp__slot_free_locked(bp_tree *tree, bp__slot *slot)
{
    bp__manager *manager = slot->manager;
    assert(slot->block == NULL && slot->stamp->heap_place == SIZE_MAX);
    if (slot->leaving != NULL) {
        slot->leaving->slot = NULL;
    }
    remove_name(manager, slot);
    size_t position = position_of(manager, slot);
    memmove(manager->slots + position, manager->slots + position + 1,
            (manager->n_slots - position - 1) * sizeof *manager->slots);
    manager->n_slots--;
    (void)bp__handles_remove(&tree->slots, slot->handle);
    free_slot(tree, slot);
    bp__condition_broadcast(&tree->changed);
}

/* ---- the check ----------------------------------------------------------- */

static bool is_state_whole(const bp__slot *slot)
{
    bool is_in_heap = slot->stamp->heap_place != SIZE_MAX;
    bool is_resident = slot->state == BP_SLOT_RESIDENT;
    if (is_in_heap != (is_resident && !slot->is_pinned)) {
        return false;
    }
    if (slot->leaving != NULL &&
        (slot->state != BP_SLOT_EVICTING || slot->leaving->slot != slot)) {
        return false;
    }
    if (is_resident) {
        return slot->block != NULL && slot->claim == NULL &&
               slot->generation != 0 && !slot->is_new;
    }
    return slot->state != BP_SLOT_EVICTED ||
           (slot->block == NULL && slot->claim == NULL && !slot->is_new);
}

static const char *check_slot(const bp_tree *tree, const bp__manager *manager,
                              const bp__slot *slot)
{
    uint64_t n_charged;
    if (slot->manager != manager ||
        bp__handles_get(&tree->slots, slot->handle) != slot) {
        return "a slot and its handle";
    }
    if (!bp__round(slot->n_bytes, manager->granularity, &n_charged) ||
        n_charged != slot->n_charged ||
        (slot->block != NULL && slot->block->n_charged != n_charged)) {
        return "the size of a slot";
    }
    if (slot->name_place != NOT_NAMED &&
        (slot->name_place >= manager->n_names ||
         manager->by_name[slot->name_place] != slot)) {
        return "the name of a slot";
    }
    return is_state_whole(slot) ? NULL : "the state of a slot";
}

const char *bp__manager_check_locked(const bp_tree *tree,
                                     const bp__manager *manager)
{
    size_t n_in_heap = 0, n_named = 0;
    for (size_t i = 0; i < manager->n_slots; i++) {
        const bp__slot *slot = manager->slots[i];
        const char *broken = check_slot(tree, manager, slot);
        if (broken != NULL) {
            return broken;
        }
        if (i > 0 && manager->slots[i - 1]->order >= slot->order) {
            return "the order of slots";
        }
        n_in_heap += slot->stamp->heap_place != SIZE_MAX;
        n_named += slot->name_place != NOT_NAMED;
    }
    if (n_in_heap != manager->n_heap || !bp__heap_check_locked(manager) ||
        manager->heap_capacity < manager->n_slots) {
        return "the heap of victims";
    }
    if (n_named != manager->n_names ||
        !bp__map_check(&manager->names, (uint32_t)manager->n_names, name_of,
                       manager)) {
        return "the names of slots";
    }
    return NULL;
}
