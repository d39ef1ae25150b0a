/* handles.h - objects known by (index, generation): a stale handle finds
 * nothing, never another object.
 *
 * A handle is (generation << 32) | index; generations start at 1, so 0 is no
 * handle. The objects are the owner's: the table holds their addresses.
 *
 * Ownership: the arrays belong to the table; fini gives them back. Errors: only
 * reserve can fail; after it, add cannot. Threads: the owner's lock.
 */
#ifndef BAYPLAN_BASE_HANDLES_H
#define BAYPLAN_BASE_HANDLES_H

#include "bayplan/base.h"

typedef struct bp_handles {
    struct bp_handle_slot {
        void *item; /* NULL: free */
        uint32_t generation;
        uint32_t next_free;
    } *slots;       /* NULL while capacity is 0 */
    size_t n_slots; /* ever used */
    size_t capacity;
    size_t n_items;
    uint32_t first_free; /* meaningful while n_items < n_slots */
} bp_handles;

/* All zeros is an empty table. */
void bp__handles_fini(bp_handles *handles, const bp_allocator *alloc);
/* Room for one more. On failure the table is as before. */
BP_MUST_USE bool bp__handles_reserve(bp_handles *handles,
                                     const bp_allocator *alloc);
/* After a reserve; `item` is not NULL. */
uint64_t bp__handles_add(bp_handles *handles, void *item);
/* NULL for a stale handle and for 0. */
void *bp__handles_get(const bp_handles *handles, uint64_t handle);
/* The item it was, NULL if the handle was stale. */
void *bp__handles_remove(bp_handles *handles, uint64_t handle);
/* Walk in order of index: the item at or after *index, whose index is left in
 * *index; NULL at the end. */
void *bp__handles_next(const bp_handles *handles, size_t *index);
/* Every invariant: counts, generations, and that the free places are a list. */
bool bp__handles_check(const bp_handles *handles);

#endif
