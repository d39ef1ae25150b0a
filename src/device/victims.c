/* victims.c - who goes first: a binary heap per manager whose keys may be
 * stale.
 *
 * A touch only stores an age. Keys grow with age under every policy but MRU, so
 * a stale key lies below the true one: if the smallest key of the heap is true,
 * it is the smallest of all. So only the slot on top is ever looked at, and
 * sinks when its age has changed. Where much was touched that costs more than
 * building the heap anew, which is then done. Under MRU what was touched has to
 * rise, so all ages are looked at before a choice.
 */
#include "device/slots.h"

#include "base/alloc.h"

#include <assert.h>

/* All that two slots are compared by, so that the heap looks at itself alone.
 */
struct bp__heap_item {
    int32_t priority;
    uint64_t key; /* the policy's; smallest goes first */
    uint64_t last_use;
    uint64_t order;
    bp_stamp *stamp;
    bp__slot *slot;
};
typedef struct bp__heap_item heap_item;

/* So many ages may be corrected one by one before all are. */
static size_t correction_limit(size_t n_heap)
{
    return 16 + n_heap / 32;
}

static uint64_t last_use_of(const bp_stamp *stamp)
{
    return atomic_load_explicit(&stamp->last_use, memory_order_relaxed);
}

static void set_age(heap_item *item, bp_policy policy, uint64_t last_use)
{
    item->last_use = last_use;
    if (policy == BP_POLICY_MRU) {
        item->key = UINT64_MAX - last_use;
    }
}

static heap_item item_of(bp__slot *slot)
{
    bp_policy policy = slot->manager->policy;
    heap_item item = {.priority = slot->priority,
                      .order = slot->order,
                      .stamp = slot->stamp,
                      .slot = slot};
    if (policy == BP_POLICY_BIG_FIRST) {
        item.key = UINT64_MAX - slot->n_charged;
    } else if (policy == BP_POLICY_RANK) {
        item.key = slot->rank;
    }
    set_age(&item, policy, last_use_of(slot->stamp));
    return item;
}

static bool goes_before(const heap_item *a, const heap_item *b)
{
    if (a->priority != b->priority) {
        return a->priority < b->priority;
    }
    if (a->key != b->key) {
        return a->key < b->key;
    }
    if (a->last_use != b->last_use) {
        return a->last_use < b->last_use;
    }
    return a->order < b->order;
}

static void put(heap_item *heap, size_t place, heap_item item)
{
    heap[place] = item;
    item.stamp->heap_place = place;
}

static void rise(bp__manager *manager, size_t place, heap_item item)
{
    heap_item *heap = manager->heap;
    while (place > 0 && goes_before(&item, &heap[(place - 1) / 2])) {
        put(heap, place, heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    put(heap, place, item);
}

/* The child of `place` that has to rise above `item`; 0: none has. */
static size_t child_above(const bp__manager *manager, size_t place,
                          const heap_item *item)
{
    const heap_item *heap = manager->heap;
    size_t child = 2 * place + 1;
    if (child + 1 < manager->n_heap &&
        goes_before(&heap[child + 1], &heap[child])) {
        child++;
    }
    return child < manager->n_heap && goes_before(&heap[child], item) ? child
                                                                      : 0;
}

static void sink(bp__manager *manager, size_t place, heap_item item)
{
    size_t child;
    while ((child = child_above(manager, place, &item)) != 0) {
        put(manager->heap, place, manager->heap[child]);
        place = child;
    }
    put(manager->heap, place, item);
}

void bp__heap_insert_locked(bp__slot *slot)
{
    bp__manager *manager = slot->manager;
    if (slot->is_pinned) {
        return;
    }
    assert(slot->stamp->heap_place == SIZE_MAX);
    assert(manager->n_heap < manager->heap_capacity);
    rise(manager, manager->n_heap++, item_of(slot));
}

void bp__heap_remove_locked(bp__slot *slot)
{
    bp__manager *manager = slot->manager;
    size_t place = slot->stamp->heap_place;
    if (place == SIZE_MAX) {
        return;
    }
    slot->stamp->heap_place = SIZE_MAX;
    heap_item last = manager->heap[--manager->n_heap];
    if (last.slot == slot) {
        return;
    }
    if (place > 0 && goes_before(&last, &manager->heap[(place - 1) / 2])) {
        rise(manager, place, last);
    } else {
        sink(manager, place, last);
    }
}

/* All ages as they are now, in order. */
static void rebuild(bp__manager *manager)
{
    heap_item *heap = manager->heap;
    for (size_t i = 0; i < manager->n_heap; i++) {
        set_age(&heap[i], manager->policy, last_use_of(heap[i].stamp));
    }
    for (size_t i = manager->n_heap / 2; i-- > 0;) {
        heap_item item = heap[i];
        size_t place = i, child;
        while ((child = child_above(manager, place, &item)) != 0) {
            heap[place] = heap[child];
            place = child;
        }
        heap[place] = item;
    }
    for (size_t i = 0; i < manager->n_heap; i++) {
        heap[i].stamp->heap_place = i;
    }
    manager->n_corrections += manager->n_heap;
}

bp__slot *bp__heap_first_locked(bp__manager *manager)
{
    size_t n_left = correction_limit(manager->n_heap);
    while (manager->n_heap != 0) {
        heap_item top = manager->heap[0];
        uint64_t last_use = last_use_of(top.stamp);
        if (top.last_use == last_use) {
            return top.slot;
        }
        if (n_left-- == 0) {
            /* What is touched while this runs is as good as touched after. */
            rebuild(manager);
            return manager->heap[0].slot;
        }
        manager->n_corrections++;
        set_age(&top, manager->policy, last_use);
        sink(manager, 0, top);
    }
    return NULL;
}

bp__slot *bp__heap_pop_locked(bp__manager *manager)
{
    bp__slot *slot = bp__heap_first_locked(manager);
    if (slot != NULL) {
        bp__heap_remove_locked(slot);
    }
    return slot;
}

void bp__heap_refresh_locked(bp__manager *manager)
{
    if (manager->policy != BP_POLICY_MRU) {
        return;
    }
    size_t n_left = correction_limit(manager->n_heap);
    for (size_t i = 0; i < manager->n_heap; i++) {
        heap_item item = manager->heap[i];
        uint64_t last_use = last_use_of(item.stamp);
        if (item.last_use == last_use) {
            continue;
        }
        if (n_left-- == 0) {
            rebuild(manager);
            return;
        }
        manager->n_corrections++;
        /* What it changes places with lies before it, and has been looked at.
         */
        set_age(&item, BP_POLICY_MRU, last_use);
        rise(manager, i, item);
    }
}

void bp__heap_reorder_locked(bp__slot *slot)
{
    if (slot->stamp->heap_place != SIZE_MAX) {
        bp__heap_remove_locked(slot);
        bp__heap_insert_locked(slot);
    }
}

uint64_t bp__heap_last_use_locked(const bp__slot *slot)
{
    assert(slot->stamp->heap_place != SIZE_MAX);
    return slot->manager->heap[slot->stamp->heap_place].last_use;
}

bool bp__heap_check_locked(const bp__manager *manager)
{
    const heap_item *heap = manager->heap;
    if (manager->n_heap > manager->heap_capacity) {
        return false;
    }
    for (size_t i = 0; i < manager->n_heap; i++) {
        const bp__slot *slot = heap[i].slot;
        if (slot->stamp->heap_place != i || slot->manager != manager ||
            slot->is_pinned || slot->state != BP_SLOT_RESIDENT ||
            (i > 0 && goes_before(&heap[i], &heap[(i - 1) / 2]))) {
            return false;
        }
    }
    return true;
}

bool bp__heap_reserve_locked(const bp_allocator *alloc, bp__manager *manager,
                             size_t n_slots)
{
    return bp__grow(alloc, &manager->heap, &manager->heap_capacity, n_slots,
                    sizeof *manager->heap);
}

void bp__heap_fini_locked(const bp_allocator *alloc, bp__manager *manager)
{
    bp__free_array(alloc, manager->heap, manager->heap_capacity,
                   sizeof *manager->heap);
}
