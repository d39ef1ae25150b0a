/* alloc.h - arrays from a caller's allocator.
 *
 * Ownership: what these functions return belongs to the caller, who says the
 * same count and item size when freeing. Errors: NULL or false, never a
 * message; the caller knows what it was for. Threads: as safe as the
 * allocator, which must be callable from any thread.
 */
#ifndef BAYPLAN_BASE_ALLOC_H
#define BAYPLAN_BASE_ALLOC_H

#include "bayplan/base.h"

/* *alloc, or the C library's heap for NULL. */
bp_allocator bp__allocator_or_default(const bp_allocator *alloc);

/* n zeroed items. n == 0 is served as n == 1, so NULL always means that there
 * is no memory (or that n * item overflows). */
void *bp__alloc_array(const bp_allocator *alloc, size_t n, size_t item);

/* Frees what bp__alloc_array or bp__grow gave; `n` is the count asked for, or
 * the capacity that bp__grow wrote. NULL is a no-op. */
void bp__free_array(const bp_allocator *alloc, void *array, size_t n,
                    size_t item);

/* Make room for `need` items: `array_slot` is the address of the array's
 * pointer (any object pointer type; NULL inside means capacity 0). Grows by
 * half at least, so appending costs amortised constant time; new items are
 * zeroed. On failure array and capacity are as before. */
BP_MUST_USE bool bp__grow(const bp_allocator *alloc, void *array_slot,
                          size_t *capacity, size_t need, size_t item);

#endif
