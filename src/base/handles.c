/* handles.c - a table of (index, generation). */
#include "base/handles.h"

#include "base/alloc.h"

#include <assert.h>

void bp__handles_fini(bp_handles *handles, const bp_allocator *alloc)
{
    bp__free_array(alloc, handles->slots, handles->capacity,
                   sizeof *handles->slots);
    *handles = (bp_handles){.slots = NULL};
}

bool bp__handles_reserve(bp_handles *handles, const bp_allocator *alloc)
{
    if (handles->n_items < handles->n_slots) {
        return true;
    }
    if (handles->n_slots >= UINT32_MAX) {
        return false;
    }
    return bp__grow(alloc, &handles->slots, &handles->capacity,
                    handles->n_slots + 1, sizeof *handles->slots);
}

uint64_t bp__handles_add(bp_handles *handles, void *item)
{
    assert(item != NULL);
    uint32_t index;
    if (handles->n_items < handles->n_slots) {
        index = handles->first_free;
        handles->first_free = handles->slots[index].next_free;
    } else {
        assert(handles->n_slots < handles->capacity);
        index = (uint32_t)handles->n_slots++;
        handles->slots[index].generation = 1;
    }
    handles->n_items++;
    handles->slots[index].item = item;
    return (uint64_t)handles->slots[index].generation << 32 | index;
}

void *bp__handles_get(const bp_handles *handles, uint64_t handle)
{
    size_t index = (size_t)(handle & UINT32_MAX);
    if (index >= handles->n_slots ||
        handles->slots[index].generation != handle >> 32) {
        return NULL;
    }
    return handles->slots[index].item;
}

void *bp__handles_remove(bp_handles *handles, uint64_t handle)
{
    void *item = bp__handles_get(handles, handle);
    if (item == NULL) {
        return NULL;
    }
    uint32_t index = (uint32_t)(handle & UINT32_MAX);
    struct bp_handle_slot *slot = &handles->slots[index];
    slot->item = NULL;
    /* After 2^32 lives a place starts again, at 1: 0 is no handle. */
    slot->generation =
        slot->generation == UINT32_MAX ? 1 : slot->generation + 1;
    slot->next_free = handles->first_free;
    handles->first_free = index;
    handles->n_items--;
    return item;
}

void *bp__handles_next(const bp_handles *handles, size_t *index)
{
    while (*index < handles->n_slots) {
        if (handles->slots[*index].item != NULL) {
            return handles->slots[*index].item;
        }
        ++*index;
    }
    return NULL;
}

bool bp__handles_check(const bp_handles *handles)
{
    size_t n_items = 0;
    for (size_t i = 0; i < handles->n_slots; i++) {
        n_items += handles->slots[i].item != NULL;
        if (handles->slots[i].generation == 0) {
            return false;
        }
    }
    if (handles->n_slots > handles->capacity || n_items != handles->n_items) {
        return false;
    }
    uint32_t next = handles->first_free;
    for (size_t n_free = handles->n_slots - n_items; n_free > 0; n_free--) {
        if (next >= handles->n_slots || handles->slots[next].item != NULL) {
            return false;
        }
        next = handles->slots[next].next_free;
    }
    return true;
}
