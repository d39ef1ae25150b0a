/* dtypes.c - the registry's table of element types. */
#include "registry/model.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <string.h>

#define MAX_TEXT_BYTES ((size_t)1 << 20)

static const char *text_of(const void *ctx, uint32_t value)
{
    const bp_registry *registry = ctx;
    return registry->dtypes[value].dtype.text;
}

bool bp__dtype_is(const bp__dtype_row *row, const bp_dtype *dtype)
{
    return row->dtype.n_bytes == dtype->n_bytes &&
           row->dtype.align == dtype->align &&
           strcmp(row->dtype.text, dtype->text) == 0;
}

static bp_status dtype_check(const bp_dtype *dtype, bp_error *error)
{
    if (dtype->text == NULL || dtype->text[0] == '\0' ||
        strlen(dtype->text) > MAX_TEXT_BYTES) {
        return bp_fail(error, BP_BAD_DTYPE,
                       "an element type needs a text of 1 to %zu bytes",
                       MAX_TEXT_BYTES);
    }
    if (dtype->n_bytes == 0) {
        return bp_fail(error, BP_BAD_DTYPE,
                       "element type '%s' has elements of 0 bytes",
                       dtype->text);
    }
    if (!bp_is_power_of_two(dtype->align) || dtype->align > BP_MAX_ALIGN) {
        bp_status status = bp_fail(
            error, BP_BAD_DTYPE,
            "element type '%s' has alignment %u; it must be a power of two, "
            "at most %u",
            dtype->text, (unsigned)dtype->align, BP_MAX_ALIGN);
        bp_error_numbers(error, dtype->align, BP_MAX_ALIGN);
        return status;
    }
    return BP_OK;
}

static bp_status add_row(bp_registry *registry, const bp_dtype *dtype,
                         uint32_t hash, uint32_t first, bp_error *error)
{
    const bp_allocator *alloc = &registry->alloc;
    size_t n_text = strlen(dtype->text);
    char *text = NULL;
    if (!bp__grow(alloc, &registry->dtypes, &registry->dtype_capacity,
                  (size_t)registry->n_dtypes + 1, sizeof *registry->dtypes) ||
        !bp__map_reserve(&registry->dtype_map, alloc,
                         (size_t)registry->n_dtypes + 1) ||
        (text = bp__alloc_array(alloc, n_text + 1, 1)) == NULL) {
        return bp__refuse_memory(error);
    }
    memcpy(text, dtype->text, n_text + 1);
    uint32_t at = registry->n_dtypes++;
    registry->dtypes[at] =
        (bp__dtype_row){.dtype = {text, dtype->n_bytes, dtype->align},
                        .n_text = (uint32_t)n_text,
                        .next_same_text = BP__NONE};
    if (first == BP_MAP_NONE) {
        bp__map_insert(&registry->dtype_map, hash, at);
    } else {
        registry->dtypes[at].next_same_text =
            registry->dtypes[first].next_same_text;
        registry->dtypes[first].next_same_text = at;
    }
    registry->last_dtype = at;
    return BP_OK;
}

bp_status bp__dtype_intern(bp_registry *registry, const bp_dtype *dtype,
                           uint32_t *out, bp_error *error)
{
    if (dtype->text != NULL && registry->n_dtypes != 0 &&
        bp__dtype_is(&registry->dtypes[registry->last_dtype], dtype)) {
        *out = registry->last_dtype;
        return BP_OK;
    }
    bp_status status = dtype_check(dtype, error);
    if (status != BP_OK) {
        return status;
    }
    uint32_t hash = bp__hash_text(dtype->text);
    uint32_t first = bp__map_find(&registry->dtype_map, hash, dtype->text,
                                  text_of, registry);
    for (uint32_t at = first; at != BP__NONE;
         at = registry->dtypes[at].next_same_text) {
        if (bp__dtype_is(&registry->dtypes[at], dtype)) {
            registry->last_dtype = at;
            *out = at;
            return BP_OK;
        }
    }
    status = add_row(registry, dtype, hash, first, error);
    if (status == BP_OK) {
        *out = registry->last_dtype;
    }
    return status;
}

void bp__dtypes_fini(bp_registry *registry)
{
    const bp_allocator *alloc = &registry->alloc;
    for (uint32_t i = 0; i < registry->n_dtypes; i++) {
        bp__dtype_row *row = &registry->dtypes[i];
        bp_layout_unref(row->empty);
        bp__free_array(alloc, (char *)(uintptr_t)row->dtype.text,
                       (size_t)row->n_text + 1, 1);
    }
    bp__free_array(alloc, registry->dtypes, registry->dtype_capacity,
                   sizeof *registry->dtypes);
    bp__map_fini(&registry->dtype_map, alloc);
}
