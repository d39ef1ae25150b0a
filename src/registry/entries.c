/* entries.c - a flat copy of one factory's declarations. */
#include "registry/layout.h"
#include "registry/model.h"

#include "base/alloc.h"

#include <string.h>

/* Entries, children, then shapes, then texts. */
typedef struct copying {
    const bp_registry *registry;
    const bp__context *ctx;
    uint64_t *dims;
    char *names;
    char *texts;
} copying;

static size_t count_text_bytes(const bp_registry *registry,
                               const bp__context *ctx)
{
    size_t n = ctx->name_bytes;
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        n += (size_t)bp__entry_dtype(registry, ctx, &ctx->entries[i])->n_text +
             1;
    }
    return n;
}

static bool block_bytes(const bp__context *ctx, size_t n_text, size_t *out)
{
    /* Counts are below 2^31 and items below 256 bytes: no overflow in 64
     * bits. */
    uint64_t n =
        (uint64_t)ctx->n_entries * sizeof(bp_entry) +
        (uint64_t)ctx->n_children * sizeof(bp_child) +
        (uint64_t)ctx->n_phases * sizeof(const char *) +
        (uint64_t)ctx->n_loops * sizeof(bp_loop) +
        ((uint64_t)ctx->n_entries + ctx->n_far_dims) * sizeof(uint64_t) +
        n_text;
    *out = (size_t)n;
    return n <= PTRDIFF_MAX;
}

static void copy_shape(copying *copy, const bp__entry *entry, bp_entry *out)
{
    out->n_dims = entry->n_dims;
    out->shape = copy->dims;
    memcpy(copy->dims, bp__entry_shape(entry),
           entry->n_dims * sizeof *copy->dims);
    copy->dims += entry->n_dims;
    out->n_items = bp__entry_items(entry);
}

static void copy_dtype(copying *copy, const bp__entry *entry, bp_entry *out)
{
    const bp__dtype_row *row =
        bp__entry_dtype(copy->registry, copy->ctx, entry);
    out->dtype = row->dtype;
    out->dtype.text = copy->texts;
    memcpy(copy->texts, row->dtype.text, (size_t)row->n_text + 1);
    copy->texts += (size_t)row->n_text + 1;
}

/* A roll-up's bytes and alignment, where its child's layout is current. */
static void copy_rollup(copying *copy, const bp__entry *entry, bp_entry *out)
{
    const bp__child *child = &copy->ctx->children[entry->child];
    out->child = copy->names + child->name;
    out->align = 1;
    if (child->target == BP__NONE) {
        return;
    }
    const bp__context *target = copy->registry->slots[child->target].ctx;
    if (!bp__context_is_current(target)) {
        return;
    }
    const bp_region *region = &target->layout->regions[entry->location];
    uint64_t item = out->dtype.n_bytes;
    out->n_bytes = region->n_bytes;
    out->n_items = region->n_bytes / item + (region->n_bytes % item != 0);
    *(uint64_t *)(uintptr_t)out->shape = out->n_items;
    out->align = region->align;
}

static const char *phase_text(const copying *copy, uint32_t phase)
{
    return phase == BP__ALWAYS ? NULL
                               : copy->names + copy->ctx->phases[phase].name;
}

static void copy_entry(copying *copy, uint32_t place, bp_entry *out)
{
    const bp__context *ctx = copy->ctx;
    const bp__entry *entry = &ctx->entries[place];
    const bp__entry *root = ctx->n_aliases == 0
                                ? entry
                                : &ctx->entries[copy->registry->scratch[place]];
    *out = (bp_entry){.name = copy->names + entry->name,
                      .id = entry->id,
                      .declared_location = (bp_location)entry->location,
                      .location = bp__entry_location(root),
                      .has_override = entry->override != BP__NO_OVERRIDE,
                      .is_kept = bp__entry_is_kept(root),
                      .is_zero = (entry->flags & BP__ZERO) != 0,
                      .uses = entry->uses,
                      .is_carried = (entry->flags & BP__CARRIED) != 0,
                      .first_phase = phase_text(copy, entry->first_phase),
                      .last_phase = phase_text(copy, entry->last_phase)};
    out->override_location = out->has_override ? (bp_location)entry->override
                                               : (bp_location)entry->location;
    copy_shape(copy, entry, out);
    copy_dtype(copy, entry, out);
    if (entry->same_as != BP__NONE) {
        out->same_as = copy->names + ctx->entries[entry->same_as].name;
    }
    out->n_bytes = out->n_items * out->dtype.n_bytes;
    out->align = bp__entry_align(copy->registry, ctx, entry);
    if (entry->child != BP__NONE) {
        copy_rollup(copy, entry, out);
    }
}

static void copy_child(copying *copy, const bp__child *child, bp_child *out)
{
    out->name = copy->names + child->name;
    out->factory =
        child->target == BP__NONE
            ? BP_NO_FACTORY
            : bp__registry_handle(copy->registry,
                                  copy->registry->slots[child->target].ctx);
    out->first_phase = phase_text(copy, child->first_phase);
    out->last_phase = phase_text(copy, child->last_phase);
}

static void copy_phases(const copying *copy, bp_entries *out)
{
    for (uint32_t i = 0; i < copy->ctx->n_phases; i++) {
        out->phases[i] = phase_text(copy, i);
    }
    if (copy->ctx->n_loops != 0) {
        memcpy(out->loops, copy->ctx->loops,
               copy->ctx->n_loops * sizeof *out->loops);
    }
}

/* The strictest alignment of a group holds for all of it. Roots are in the
 * scratch, and there is room for as much again behind them. */
static void join_aligns(const bp_registry *registry, const bp__context *ctx,
                        bp_entry *entries)
{
    const uint32_t *roots = registry->scratch;
    uint32_t *number = registry->scratch + ctx->n_places;
    uint32_t n = 0;
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        number[i] = n++;
    }
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        bp_entry *root = &entries[number[roots[i]]];
        const bp_entry *entry = &entries[number[i]];
        root->align = entry->align > root->align ? entry->align : root->align;
    }
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        entries[number[i]].align = entries[number[roots[i]]].align;
    }
}

static bp_status copy_locked(bp_registry *registry, const bp__context *ctx,
                             bp_entries *out, bp_error *error)
{
    size_t n_text = count_text_bytes(registry, ctx);
    bp_entries made = {.n_entries = ctx->n_entries,
                       .n_children = ctx->n_children,
                       .n_phases = ctx->n_phases,
                       .n_loops = ctx->n_loops,
                       .alloc = registry->alloc};
    if ((ctx->n_aliases != 0 && !bp__scratch_reserve(registry, ctx)) ||
        !block_bytes(ctx, n_text, &made.n_block_bytes) ||
        (made.block = bp__alloc_array(&registry->alloc, made.n_block_bytes,
                                      1)) == NULL) {
        return bp__refuse_memory(error);
    }
    made.entries = made.block;
    made.children = (bp_child *)(void *)(made.entries + ctx->n_entries);
    made.phases = (const char **)(void *)(made.children + ctx->n_children);
    made.loops = (bp_loop *)(void *)(made.phases + ctx->n_phases);
    copying copy = {.registry = registry, .ctx = ctx};
    copy.dims = (uint64_t *)(void *)(made.loops + ctx->n_loops);
    copy.names = (char *)(copy.dims + (size_t)ctx->n_entries + ctx->n_far_dims);
    copy.texts = copy.names + ctx->name_bytes;
    memcpy(copy.names, ctx->names, ctx->name_bytes);
    copy_phases(&copy, &made);
    if (ctx->n_aliases != 0) {
        bp__roots_collect(registry, ctx);
    }
    size_t n = 0;
    size_t n_children = 0;
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        const bp__entry *entry = &ctx->entries[i];
        copy_entry(&copy, i, &made.entries[n++]);
        if (entry->child != BP__NONE &&
            ctx->children[entry->child].rollups[0] == i) {
            copy_child(&copy, &ctx->children[entry->child],
                       &made.children[n_children++]);
        }
    }
    if (ctx->n_aliases != 0) {
        join_aligns(registry, ctx, made.entries);
    }
    *out = made;
    return BP_OK;
}

bp_status bp_registry_copy_entries(bp_registry *registry, bp_factory factory,
                                   bp_entries *out, bp_error *error)
{
    bp__context *ctx;
    bp__mutex_lock(&registry->lock);
    bp_status status = bp__registry_need(registry, factory, &ctx, error);
    if (status == BP_OK) {
        status = copy_locked(registry, ctx, out, error);
    }
    bp__mutex_unlock(&registry->lock);
    return status;
}

void bp_entries_free(bp_entries *entries)
{
    if (entries == NULL || entries->block == NULL) {
        return;
    }
    bp__free_array(&entries->alloc, entries->block, entries->n_block_bytes, 1);
    *entries = (bp_entries){0};
}
