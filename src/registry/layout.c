/* layout.c - the snapshot: its block, references and reads. */
#include "registry/layout.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "registry/model.h"

#include <string.h>

/* Below this many placements a straight look is faster than hashing. */
#define INDEX_FROM 12

static const char *const hidden_names[BP__N_HIDDEN] = {
    "child_shared", "child_persistent_local"};
static const bp_location hidden_locations[BP__N_HIDDEN] = {BP_SHARED,
                                                           BP_PERSISTENT_LOCAL};

/* ---- the block --------------------------------------------------------- */

/* Bytes up to the texts; the total may not overflow. */
static bool block_bytes(const bp__layout_size *size, size_t n_hidden,
                        uint64_t *n_fixed, uint64_t *n_total)
{
    uint64_t placements;
    uint64_t children;
    uint64_t dims;
    uint64_t phases;
    uint64_t loops;
    return bp_mul((uint64_t)size->n_placements + n_hidden, sizeof(bp_placement),
                  &placements) &&
           bp_mul(size->n_children, sizeof(bp_child_region), &children) &&
           bp_mul(size->n_far_dims, sizeof(uint64_t), &dims) &&
           bp_mul(size->n_phases, sizeof(const char *), &phases) &&
           bp_mul(size->n_loops, sizeof(bp_loop), &loops) &&
           bp_add(sizeof(bp_layout), placements, n_fixed) &&
           bp_add(*n_fixed, children, n_fixed) &&
           bp_add(*n_fixed, dims, n_fixed) &&
           bp_add(*n_fixed, phases, n_fixed) &&
           bp_add(*n_fixed, loops, n_fixed) &&
           bp_add(*n_fixed, size->n_text_bytes, n_total) &&
           *n_total <= PTRDIFF_MAX;
}

bp_layout *bp__layout_alloc(const bp_allocator *alloc,
                            const bp__layout_size *size, bp__layout_room *room)
{
    size_t n_hidden = size->n_children == 0 ? BP__N_HIDDEN : 0;
    uint64_t n_fixed;
    uint64_t n_total;
    if (!block_bytes(size, n_hidden, &n_fixed, &n_total)) {
        return NULL;
    }
    /* Texts are written before they are read: only the rest is zeroed. */
    bp_layout *layout = alloc->alloc(alloc->ctx, (size_t)n_total);
    if (layout == NULL) {
        return NULL;
    }
    memset(layout, 0, (size_t)n_fixed);
    atomic_init(&layout->n_refs, 1);
    atomic_init(&layout->content, NULL);
    atomic_init(&layout->index, NULL);
    layout->alloc = *alloc;
    layout->n_block_bytes = (size_t)n_total;
    layout->n_placements = size->n_placements;
    layout->n_hidden = n_hidden;
    layout->n_children = size->n_children;
    layout->n_phases = size->n_phases;
    layout->n_loops = size->n_loops;
    char *at = (char *)(layout + 1);
    layout->placements = (bp_placement *)(void *)at;
    at += (size->n_placements + n_hidden) * sizeof(bp_placement);
    layout->children = (bp_child_region *)(void *)at;
    at += size->n_children * sizeof(bp_child_region);
    layout->phases = (const char **)(void *)at;
    at += size->n_phases * sizeof(const char *);
    layout->loops = (bp_loop *)(void *)at;
    at += size->n_loops * sizeof(bp_loop);
    room->dims = (uint64_t *)(void *)at;
    room->texts = at + size->n_far_dims * sizeof(uint64_t);
    for (int i = 0; i < BP_N_REGIONS; i++) {
        layout->regions[i] =
            (bp_region){.align = 1, .widest = 1, .status = BP_PLAN_IS_OPTIMAL};
    }
    return layout;
}

void bp__layout_hide(bp_layout *layout)
{
    for (size_t i = 0; i < layout->n_hidden; i++) {
        bp_placement *place = &layout->placements[layout->n_placements + i];
        *place =
            (bp_placement){.name = hidden_names[i],
                           .shape = &place->n_items,
                           .dtype = layout->precision,
                           .location = hidden_locations[i],
                           .n_dims = 1,
                           .align = layout->precision.align,
                           .bytes_of = (uint32_t)(layout->n_placements + i),
                           .first_phase = BP_ALWAYS,
                           .last_phase = BP_ALWAYS,
                           .is_rollup = true};
    }
}

const char *bp__room_text(bp__layout_room *room, const char *text,
                          size_t n_text)
{
    char *at = room->texts;
    memcpy(at, text, n_text);
    at[n_text] = '\0';
    room->texts += n_text + 1;
    return at;
}

bp_status bp_layout_new_empty(const bp_dtype *precision,
                              const bp_allocator *alloc, bp_layout **out,
                              bp_error *error)
{
    bp_allocator source = bp__allocator_or_default(alloc);
    size_t n_text = strlen(precision->text);
    bp__layout_size size = {.n_text_bytes = n_text + 1};
    bp__layout_room room;
    bp_layout *layout = bp__layout_alloc(&source, &size, &room);
    if (layout == NULL) {
        return bp__refuse_memory(error);
    }
    layout->precision = *precision;
    layout->precision.text = bp__room_text(&room, precision->text, n_text);
    bp__layout_hide(layout);
    for (int i = 0; i < BP_N_REGIONS; i++) {
        layout->regions[i].has_report = true;
    }
    *out = layout;
    return BP_OK;
}

/* ---- references -------------------------------------------------------- */

bp_layout *bp_layout_ref(bp_layout *layout)
{
    atomic_fetch_add_explicit(&layout->n_refs, 1, memory_order_relaxed);
    return layout;
}

static void free_caches(bp_layout *layout)
{
    const bp_allocator *alloc = &layout->alloc;
    bp__content *content = atomic_load(&layout->content);
    if (content != NULL) {
        alloc->free(alloc->ctx, content, sizeof *content + content->n_bytes);
    }
    bp__name_index *index = atomic_load(&layout->index);
    if (index != NULL) {
        alloc->free(alloc->ctx, index,
                    sizeof *index + index->n_slots * sizeof index->slots[0]);
    }
}

/* True if that was the last reference. */
static bool drop_ref(bp_layout *layout)
{
    return atomic_fetch_sub_explicit(&layout->n_refs, 1,
                                     memory_order_acq_rel) == 1;
}

void bp_layout_unref(bp_layout *layout)
{
    if (layout == NULL || !drop_ref(layout)) {
        return;
    }
    layout->next_dead = NULL;
    for (bp_layout *dead = layout; dead != NULL; dead = layout) {
        layout = dead->next_dead;
        for (size_t i = 0; i < dead->n_children; i++) {
            bp_layout *child = dead->children[i].layout;
            if (child != NULL && drop_ref(child)) {
                child->next_dead = layout;
                layout = child;
            }
        }
        free_caches(dead);
        bp_allocator alloc = dead->alloc;
        alloc.free(alloc.ctx, dead, dead->n_block_bytes);
    }
}

/* ---- reads ------------------------------------------------------------- */

const char *bp_layout_get_name(const bp_layout *layout)
{
    return layout->name;
}

const bp_dtype *bp_layout_get_precision(const bp_layout *layout)
{
    return &layout->precision;
}

const bp_region *bp_layout_get_region(const bp_layout *layout,
                                      bp_location location)
{
    return (unsigned)location < BP_N_REGIONS ? &layout->regions[location]
                                             : NULL;
}

size_t bp_layout_n_placements(const bp_layout *layout)
{
    return layout->n_placements;
}

const bp_placement *bp_layout_get_placement(const bp_layout *layout, size_t i)
{
    return i < layout->n_placements ? &layout->placements[i] : NULL;
}

size_t bp_layout_n_children(const bp_layout *layout)
{
    return layout->n_children;
}

const bp_child_region *bp_layout_get_child(const bp_layout *layout, size_t i)
{
    return i < layout->n_children ? &layout->children[i] : NULL;
}

size_t bp_layout_n_phases(const bp_layout *layout)
{
    return layout->n_phases;
}

const char *bp_layout_phase_name(const bp_layout *layout, size_t i)
{
    return i < layout->n_phases ? layout->phases[i] : NULL;
}

size_t bp_layout_n_loops(const bp_layout *layout)
{
    return layout->n_loops;
}

bp_loop bp_layout_get_loop(const bp_layout *layout, size_t i)
{
    return i < layout->n_loops ? layout->loops[i]
                               : (bp_loop){BP_ALWAYS, BP_ALWAYS};
}

uint64_t bp_layout_version(const bp_layout *layout)
{
    return layout->version;
}

/* ---- find -------------------------------------------------------------- */

/* Published once; a second thread's work is thrown away. NULL: no memory, which
 * costs a straight look and nothing else. */
static const bp__name_index *need_index(bp_layout *layout)
{
    bp__name_index *index =
        atomic_load_explicit(&layout->index, memory_order_acquire);
    if (index != NULL || layout->n_placements > UINT32_MAX / 4) {
        return index;
    }
    uint32_t n_slots = 16;
    while (n_slots < 2 * layout->n_placements) {
        n_slots *= 2;
    }
    const bp_allocator *alloc = &layout->alloc;
    size_t n_bytes = sizeof *index + n_slots * sizeof index->slots[0];
    index = alloc->alloc(alloc->ctx, n_bytes);
    if (index == NULL) {
        return NULL;
    }
    index->n_slots = n_slots;
    memset(index->slots, 0xFF, n_slots * sizeof index->slots[0]);
    for (uint32_t i = 0; i < layout->n_placements; i++) {
        uint32_t at = bp__hash_text(layout->placements[i].name) & (n_slots - 1);
        while (index->slots[at] != BP__NONE) {
            at = (at + 1) & (n_slots - 1);
        }
        index->slots[at] = i;
    }
    bp__name_index *other = NULL;
    if (!atomic_compare_exchange_strong(&layout->index, &other, index)) {
        alloc->free(alloc->ctx, index, n_bytes);
        return other;
    }
    return index;
}

static const bp_placement *look(const bp_layout *layout, size_t from, size_t to,
                                const char *name)
{
    for (size_t i = from; i < to; i++) {
        if (strcmp(layout->placements[i].name, name) == 0) {
            return &layout->placements[i];
        }
    }
    return NULL;
}

const bp_placement *bp_layout_find(const bp_layout *layout, const char *name)
{
    size_t n = layout->n_placements;
    const bp_placement *found = NULL;
    /* The index is a cache: filling it leaves what is read unchanged. */
    const bp__name_index *index =
        n < INDEX_FROM ? NULL : need_index((bp_layout *)(uintptr_t)layout);
    if (index == NULL) {
        found = look(layout, 0, n, name);
    } else {
        uint32_t mask = index->n_slots - 1;
        uint32_t at = bp__hash_text(name) & mask;
        while (index->slots[at] != BP__NONE && found == NULL) {
            const bp_placement *place = &layout->placements[index->slots[at]];
            if (strcmp(place->name, name) == 0) {
                found = place;
            }
            at = (at + 1) & mask;
        }
    }
    return found != NULL ? found : look(layout, n, n + layout->n_hidden, name);
}
