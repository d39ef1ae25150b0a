/* draft.c - a context's declarations as a layout that has yet to be planned. */
#include "registry/layout.h"
#include "registry/model.h"

#include "base/alloc.h"

#include <string.h>

/* ---- measure ----------------------------------------------------------- */

static size_t dtype_text_bytes(bp__dtype_row *row, uint64_t epoch)
{
    if (row->mark == epoch) {
        return 0;
    }
    row->mark = epoch;
    row->draft_offset = SIZE_MAX;
    return (size_t)row->n_text + 1;
}

/* Names come as one copy of the context's; every element type's text once. */
static bp__layout_size measure(bp_registry *registry, const bp__context *ctx)
{
    uint64_t epoch = ++registry->epoch;
    bp__layout_size size = {.n_placements = ctx->n_entries,
                            .n_children = ctx->n_children,
                            .n_phases = ctx->n_phases,
                            .n_loops = ctx->n_loops,
                            .n_far_dims = ctx->n_far_dims,
                            .n_text_bytes = ctx->name_bytes};
    size.n_text_bytes +=
        dtype_text_bytes(&registry->dtypes[ctx->precision], epoch);
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        uint32_t dtype = ctx->entries[i].dtype;
        if (dtype != BP__FOLLOWS) {
            size.n_text_bytes +=
                dtype_text_bytes(&registry->dtypes[dtype], epoch);
        }
    }
    return size;
}

/* ---- fill -------------------------------------------------------------- */

typedef struct drafting {
    bp_registry *registry;
    const bp__context *ctx;
    bp_layout *layout;
    char *names;
    char *dtype_texts; /* the first of them */
    bp__layout_room room;
} drafting;

static bp_dtype place_dtype(drafting *draft, uint32_t index)
{
    bp__dtype_row *row = &draft->registry->dtypes[index];
    if (row->draft_offset == SIZE_MAX) {
        row->draft_offset = (size_t)(draft->room.texts - draft->dtype_texts);
        bp__room_text(&draft->room, row->dtype.text, row->n_text);
    }
    return (bp_dtype){draft->dtype_texts + row->draft_offset,
                      row->dtype.n_bytes, row->dtype.align};
}

/* What does not depend on other entries. */
static void fill_placement(drafting *draft, const bp__entry *entry, uint32_t at)
{
    bp_placement *place = &draft->layout->placements[at];
    place->name = draft->names + entry->name;
    place->n_dims = entry->n_dims;
    place->bytes_of = at;
    place->is_rollup = entry->child != BP__NONE;
    place->is_zero = (entry->flags & BP__ZERO) != 0;
    place->is_kept = bp__entry_is_kept(entry);
    place->location = bp__entry_location(entry);
    place->is_carried = (entry->flags & BP__CARRIED) != 0;
    bp__span span = bp__span_declared(draft->ctx, entry);
    place->first_phase = span.first;
    place->last_phase = span.last;
    place->dtype = entry->dtype == BP__FOLLOWS
                       ? draft->layout->precision
                       : place_dtype(draft, entry->dtype);
    uint32_t said = bp__entry_said_align(entry);
    place->align = place->dtype.align < said ? said : place->dtype.align;
    if (entry->n_dims == 1) {
        place->n_items = entry->size.n_items;
        place->shape = &place->n_items;
    } else {
        size_t n_dims = entry->n_dims;
        memcpy(draft->room.dims, entry->size.dims, n_dims * sizeof(uint64_t));
        place->shape = draft->room.dims;
        draft->room.dims += n_dims;
        place->n_items = bp__entry_items(entry);
    }
    place->n_bytes = place->n_items * place->dtype.n_bytes;
}

static void join_life(bp_placement *root, const bp_placement *place)
{
    bp__span span =
        bp__span_join((bp__span){root->first_phase, root->last_phase},
                      (bp__span){place->first_phase, place->last_phase});
    root->first_phase = span.first;
    root->last_phase = span.last;
    root->is_carried = root->is_carried || place->is_carried;
}

/* Aliases take location and keep of their root; all of a group take the
 * strictest alignment and the span over all their lifetimes. registry->scratch
 * has room. */
static void join_aliases(drafting *draft)
{
    const bp__context *ctx = draft->ctx;
    bp_placement *places = draft->layout->placements;
    uint32_t *roots = draft->registry->scratch;
    bp__roots_collect(draft->registry, ctx);
    /* roots: place to root's place. Then bytes_of: number to root's place,
     * while the array becomes place to number. */
    uint32_t n = 0;
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        places[n++].bytes_of = roots[i];
    }
    n = 0;
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        roots[i] = n++;
    }
    for (uint32_t i = 0; i < n; i++) {
        bp_placement *root = &places[roots[places[i].bytes_of]];
        places[i].bytes_of = (uint32_t)(root - places);
        if (places[i].align > root->align) {
            root->align = places[i].align;
        }
        join_life(root, &places[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        const bp_placement *root = &places[places[i].bytes_of];
        places[i].align = root->align;
        places[i].location = root->location;
        places[i].is_kept = root->is_kept;
        places[i].is_carried = root->is_carried;
        places[i].first_phase = root->first_phase;
        places[i].last_phase = root->last_phase;
    }
}

static void fill_child(drafting *draft, uint32_t number, const bp__child *child)
{
    bp_registry *registry = draft->registry;
    bp_child_region *region = &draft->layout->children[number];
    region->name = draft->names + child->name;
    bp__span span = {BP_ALWAYS, BP_ALWAYS};
    if (child->first_phase != BP__ALWAYS) {
        span =
            bp__span_settle(draft->ctx->loops, draft->ctx->n_loops,
                            (bp__span){child->first_phase, child->last_phase});
    }
    region->first_phase = span.first;
    region->last_phase = span.last;
    if (child->target == BP__NONE) {
        region->layout =
            bp_layout_ref(registry->dtypes[draft->ctx->precision].empty);
        return;
    }
    const bp__context *target = registry->slots[child->target].ctx;
    if (bp__context_is_current(target)) {
        region->layout = bp_layout_ref(target->layout);
    } else {
        region->offset_bytes[BP_SHARED] = target->walk_node;
    }
}

static void fill_phases(drafting *draft)
{
    const bp__context *ctx = draft->ctx;
    for (uint32_t i = 0; i < ctx->n_phases; i++) {
        draft->layout->phases[i] = draft->names + ctx->phases[i].name;
    }
    if (ctx->n_loops != 0) {
        memcpy(draft->layout->loops, ctx->loops,
               ctx->n_loops * sizeof *ctx->loops);
    }
}

static void settle_lives(bp_layout *layout)
{
    for (size_t i = 0; i < layout->n_placements && layout->n_loops != 0; i++) {
        bp_placement *place = &layout->placements[i];
        bp__span span =
            bp__span_settle(layout->loops, layout->n_loops,
                            (bp__span){place->first_phase, place->last_phase});
        place->last_phase = span.last;
    }
}

static void fill(drafting *draft)
{
    const bp__context *ctx = draft->ctx;
    fill_phases(draft);
    uint32_t n = 0;
    uint32_t n_children = 0;
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        const bp__entry *entry = &ctx->entries[i];
        fill_placement(draft, entry, n++);
        if (entry->child != BP__NONE &&
            ctx->children[entry->child].rollups[0] == i) {
            fill_child(draft, n_children++, &ctx->children[entry->child]);
        }
    }
    if (ctx->n_aliases != 0) {
        join_aliases(draft);
    }
    settle_lives(draft->layout);
}

/* ---- new --------------------------------------------------------------- */

static bool has_dead_child(const bp__context *ctx)
{
    for (uint32_t i = 0; i < ctx->n_child_places; i++) {
        if (ctx->children[i].name != BP__NONE &&
            ctx->children[i].target == BP__NONE) {
            return true;
        }
    }
    return false;
}

/* What the draft needs of the registry: an empty layout to stand for children
 * that are gone, room to resolve aliases. */
static bp_status reserve(bp_registry *registry, const bp__context *ctx,
                         bp_error *error)
{
    bp__dtype_row *row = &registry->dtypes[ctx->precision];
    if (row->empty == NULL && has_dead_child(ctx)) {
        bp_status status = bp_layout_new_empty(&row->dtype, &registry->alloc,
                                               &row->empty, error);
        if (status != BP_OK) {
            return status;
        }
    }
    if (ctx->n_aliases != 0 && !bp__scratch_reserve(registry, ctx)) {
        return bp__refuse_memory(error);
    }
    return BP_OK;
}

bp_status bp__draft_new(bp_registry *registry, const bp__context *ctx,
                        bp_layout **out, bp_error *error)
{
    bp_status status = reserve(registry, ctx, error);
    if (status != BP_OK) {
        return status;
    }
    bp__layout_size size = measure(registry, ctx);
    drafting draft = {.registry = registry, .ctx = ctx};
    draft.layout = bp__layout_alloc(&registry->alloc, &size, &draft.room);
    if (draft.layout == NULL) {
        return bp__refuse_memory(error);
    }
    draft.names = draft.room.texts;
    memcpy(draft.names, ctx->names, ctx->name_bytes);
    draft.room.texts += ctx->name_bytes;
    draft.dtype_texts = draft.room.texts;
    draft.layout->name = draft.names;
    draft.layout->origin = bp__registry_handle(registry, ctx);
    draft.layout->version = ctx->version;
    draft.layout->precision = place_dtype(&draft, ctx->precision);
    bp__layout_hide(draft.layout);
    fill(&draft);
    *out = draft.layout;
    return BP_OK;
}
