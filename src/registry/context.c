/* context.c - one factory's entries: places, declaration order, names. */
#include "registry/model.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <string.h>

/* ---- one entry --------------------------------------------------------- */

bool bp__shape_items(const uint64_t *shape, uint32_t n_dims, uint64_t *out)
{
    uint64_t product = 1;
    bool is_large = false;
    for (uint32_t i = 0; i < n_dims; i++) {
        if (shape[i] == 0) {
            *out = 0;
            return true;
        }
        is_large = is_large || !bp_mul(product, shape[i], &product);
    }
    if (is_large) {
        return false;
    }
    *out = product;
    return true;
}

uint64_t bp__entry_items(const bp__entry *entry)
{
    if (entry->n_dims == 1) {
        return entry->size.n_items;
    }
    uint64_t n_items = 0;
    bool is_small = bp__shape_items(entry->size.dims, entry->n_dims, &n_items);
    (void)is_small; /* it was checked when it was registered */
    return n_items;
}

uint64_t bp__entry_bytes(const bp_registry *registry, const bp__context *ctx,
                         const bp__entry *entry)
{
    return bp__entry_items(entry) *
           bp__entry_dtype(registry, ctx, entry)->dtype.n_bytes;
}

uint32_t bp__entry_align(const bp_registry *registry, const bp__context *ctx,
                         const bp__entry *entry)
{
    uint32_t align = bp__entry_dtype(registry, ctx, entry)->dtype.align;
    uint32_t said = bp__entry_said_align(entry);
    return said > align ? said : align;
}

bp_location bp__location_settled(bp_location declared, bool is_kept)
{
    if (declared != BP_AUTO) {
        return declared;
    }
    return is_kept ? BP_PERSISTENT_LOCAL : BP_LOCAL;
}

bp_location bp__entry_location(const bp__entry *entry)
{
    uint8_t location =
        entry->override != BP__NO_OVERRIDE ? entry->override : entry->location;
    return bp__location_settled((bp_location)location,
                                bp__entry_is_kept(entry));
}

const bp__entry *bp__entry_root(const bp__context *ctx, const bp__entry *entry)
{
    while (entry->same_as != BP__NONE) {
        entry = &ctx->entries[entry->same_as];
    }
    return entry;
}

bool bp__scratch_reserve(bp_registry *registry, const bp__context *ctx)
{
    return bp__grow(&registry->alloc, &registry->scratch,
                    &registry->scratch_capacity, 2 * (size_t)ctx->n_places,
                    sizeof *registry->scratch);
}

/* Each chain is walked once up to an entry that is known, and once more to
 * write the root down, so all chains together cost O(n). */
void bp__roots_collect(bp_registry *registry, const bp__context *ctx)
{
    uint32_t *roots = registry->scratch;
    for (uint32_t i = 0; i < ctx->n_places; i++) {
        roots[i] = BP__NONE;
    }
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        uint32_t at = i;
        while (roots[at] == BP__NONE && ctx->entries[at].same_as != BP__NONE) {
            at = ctx->entries[at].same_as;
        }
        uint32_t root = roots[at] == BP__NONE ? at : roots[at];
        roots[at] = root;
        for (at = i; roots[at] == BP__NONE; at = ctx->entries[at].same_as) {
            roots[at] = root;
        }
    }
}

/* ---- names to values --------------------------------------------------- */

const char *bp__context_name_of(const void *context, uint32_t value)
{
    const bp__context *ctx = context;
    if (bp__value_is_phase(value)) {
        return ctx->names + ctx->phases[value & ~BP__PHASE_BIT].name;
    }
    return ctx->names + (bp__value_is_child(value)
                             ? ctx->children[value & ~BP__CHILD_BIT].name
                             : ctx->entries[value].name);
}

uint32_t bp__context_find(const bp__context *ctx, uint32_t hash,
                          const char *name)
{
    return bp__map_find(&ctx->map, hash, name, bp__context_name_of, ctx);
}

uint32_t bp__context_find_entry(const bp__context *ctx, const char *name)
{
    uint32_t value = bp__context_find(ctx, bp__hash_text(name), name);
    return bp__value_is_entry(value) ? value : BP__NONE;
}

uint32_t bp__context_find_child(const bp__context *ctx, const char *name)
{
    uint32_t value = bp__context_find(ctx, bp__hash_text(name), name);
    return bp__value_is_child(value) ? value & ~BP__CHILD_BIT : BP__NONE;
}

/* ---- places ------------------------------------------------------------ */

bool bp__entries_reserve(bp_registry *registry, bp__context *ctx, uint32_t n,
                         uint32_t n_map)
{
    const bp_allocator *alloc = &registry->alloc;
    /* Free places are used before new ones: n_entries + n is enough. */
    size_t need = (size_t)ctx->n_entries + n;
    if (need > BP__MAX_ENTRIES || ctx->next_id > BP__NONE - n) {
        return false;
    }
    return (need <= ctx->entry_capacity ||
            bp__grow(alloc, &ctx->entries, &ctx->entry_capacity, need,
                     sizeof *ctx->entries)) &&
           bp__map_reserve(&ctx->map, alloc, (size_t)ctx->map.n_used + n_map);
}

uint32_t bp__entry_take(bp__context *ctx)
{
    uint32_t at = ctx->free_entry;
    if (at != BP__NONE) {
        ctx->free_entry = ctx->entries[at].next;
    } else {
        at = ctx->n_places++;
    }
    ctx->entries[at].prev = ctx->tail;
    ctx->entries[at].next = BP__NONE;
    if (ctx->tail == BP__NONE) {
        ctx->head = at;
    } else {
        ctx->entries[ctx->tail].next = at;
    }
    ctx->tail = at;
    ctx->n_entries++;
    return at;
}

void bp__entry_drop(bp_registry *registry, bp__context *ctx, uint32_t at)
{
    bp__entry *entry = &ctx->entries[at];
    uint32_t hash = bp__hash_text(bp__entry_name(ctx, entry));
    bool is_there = bp__map_remove(&ctx->map, hash, at);
    (void)is_there;
    if (entry->prev == BP__NONE) {
        ctx->head = entry->next;
    } else {
        ctx->entries[entry->prev].next = entry->next;
    }
    if (entry->next == BP__NONE) {
        ctx->tail = entry->prev;
    } else {
        ctx->entries[entry->next].prev = entry->prev;
    }
    if (entry->n_dims > 1) {
        ctx->n_far_dims -= entry->n_dims;
        bp__free_array(&registry->alloc, entry->size.dims, entry->n_dims,
                       sizeof *entry->size.dims);
    }
    if (entry->same_as != BP__NONE) {
        ctx->n_aliases--;
    }
    ctx->n_carried -= (entry->flags & BP__CARRIED) != 0;
    size_t n_name = entry->n_name;
    *entry = (bp__entry){.next = ctx->free_entry, .name = BP__NONE};
    ctx->free_entry = at;
    ctx->n_entries--;
    bp__names_drop(ctx, n_name);
}
