/* alloc.c - the only file that calls the C library's heap. */
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

static void *heap_alloc(void *ctx, size_t n_bytes)
{
    (void)ctx;
    return malloc(n_bytes);
}

static void *heap_realloc(void *ctx, void *old, size_t n_old, size_t n_bytes)
{
    (void)ctx;
    (void)n_old;
    return realloc(old, n_bytes);
}

static void heap_free(void *ctx, void *old, size_t n_bytes)
{
    (void)ctx;
    (void)n_bytes;
    free(old);
}

bp_allocator bp_allocator_default(void)
{
    return (bp_allocator){heap_alloc, heap_realloc, heap_free, NULL};
}

bp_allocator bp__allocator_or_default(const bp_allocator *alloc)
{
    return alloc == NULL ? bp_allocator_default() : *alloc;
}

/* False where n * item cannot be addressed. */
static bool array_bytes(size_t n, size_t item, size_t *out)
{
    size_t count = n == 0 ? 1 : n;
    if (item != 0 && count > (size_t)PTRDIFF_MAX / item) {
        return false;
    }
    *out = count * item;
    return true;
}

void *bp__alloc_array(const bp_allocator *alloc, size_t n, size_t item)
{
    size_t n_bytes;
    if (!array_bytes(n, item, &n_bytes)) {
        return NULL;
    }
    void *array = alloc->alloc(alloc->ctx, n_bytes);
    if (array != NULL) {
        memset(array, 0, n_bytes);
    }
    return array;
}

void bp__free_array(const bp_allocator *alloc, void *array, size_t n,
                    size_t item)
{
    size_t n_bytes;
    if (array != NULL && array_bytes(n, item, &n_bytes)) {
        alloc->free(alloc->ctx, array, n_bytes);
    }
}

static size_t next_capacity(size_t capacity, size_t need)
{
    size_t more = capacity / 2 + 4;
    size_t next = capacity > SIZE_MAX - more ? need : capacity + more;
    return next < need ? need : next;
}

bool bp__grow(const bp_allocator *alloc, void *array_slot, size_t *capacity,
              size_t need, size_t item)
{
    if (need <= *capacity) {
        return true;
    }
    size_t n_next = next_capacity(*capacity, need);
    size_t next_bytes;
    if (!array_bytes(n_next, item, &next_bytes)) {
        n_next = need; /* the headroom may be what does not fit */
        if (!array_bytes(n_next, item, &next_bytes)) {
            return false;
        }
    }
    /* Copied as bytes: the slot's own type is T *, which void * may not
     * alias. */
    void *array;
    memcpy(&array, array_slot, sizeof array);
    size_t old_bytes = *capacity * item;
    void *next = array == NULL
                     ? alloc->alloc(alloc->ctx, next_bytes)
                     : alloc->realloc(alloc->ctx, array, old_bytes, next_bytes);
    if (next == NULL) {
        return false;
    }
    memset((char *)next + old_bytes, 0, next_bytes - old_bytes);
    memcpy(array_slot, &next, sizeof next);
    *capacity = n_next;
    return true;
}
