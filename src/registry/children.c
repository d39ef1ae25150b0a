/* children.c - edges between factories, and the death of a factory. */
#include "registry/model.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

const char *const bp__rollup_suffix[BP__N_ROLLUPS] = {"_shared", "_block",
                                                      "_persistent_local"};
const bp_location bp__rollup_location[BP__N_ROLLUPS] = {BP_SHARED, BP_BLOCK,
                                                        BP_PERSISTENT_LOCAL};
#define LONGEST_SUFFIX 17 /* "_persistent_local" */

/* ---- back references --------------------------------------------------- */

static void add_back(bp__context *parent, uint32_t child_place,
                     bp__context *target)
{
    bp__child *child = &parent->children[child_place];
    child->target = target->index;
    child->back = target->n_backs;
    target->backs[target->n_backs++] = (bp__back){parent->index, child_place};
}

/* The last back reference takes the place of the one that goes. */
static void drop_back(bp_registry *registry, bp__child *child)
{
    if (child->target == BP__NONE) {
        return;
    }
    bp__context *target = registry->slots[child->target].ctx;
    bp__back moved = target->backs[--target->n_backs];
    target->backs[child->back] = moved;
    registry->slots[moved.parent].ctx->children[moved.child].back = child->back;
    child->target = BP__NONE;
}

static bool reserve_back(bp_registry *registry, bp__context *target)
{
    return bp__grow(&registry->alloc, &target->backs, &target->back_capacity,
                    (size_t)target->n_backs + 1, sizeof *target->backs);
}

/* ---- cycles ------------------------------------------------------------ */

/* Whether `child` is `parent` or an ancestor of it. After true, walk_up leads
 * from `child` down to `parent` (NULL at the end). */
static bool is_ancestor(bp_registry *registry, bp__context *parent,
                        const bp__context *child)
{
    parent->walk_up = NULL;
    if (parent == child) {
        return true;
    }
    if (parent->n_backs == 0 || child->n_children == 0) {
        return false;
    }
    uint64_t epoch = ++registry->epoch;
    parent->mark = epoch;
    parent->walk_cursor = 0;
    /* Depth first: walk_up is both the way back and the path. */
    for (bp__context *at = parent; at != NULL;) {
        if (at->walk_cursor == at->n_backs) {
            at = at->walk_up;
            continue;
        }
        uint32_t index = at->backs[at->walk_cursor++].parent;
        bp__context *above = registry->slots[index].ctx;
        if (above->mark == epoch) {
            continue;
        }
        above->mark = epoch;
        above->walk_cursor = 0;
        above->walk_up = at;
        if (above == child) {
            return true;
        }
        at = above;
    }
    return false;
}

/* "A: child 'x' closes the circle A > B > C > A"; walk_up is is_ancestor's. */
static bp_status refuse_cycle(bp_error *error, const bp__context *parent,
                              const bp__context *child, const char *name)
{
    if (error == NULL) {
        return BP_CYCLE;
    }
    char message[sizeof error->text];
    bp_text text;
    bp__text_init_bounded(&text, message, sizeof message);
    bp__text_printf(&text, "%s: child '%s' closes the circle %s",
                    bp__context_type(parent), name, bp__context_type(parent));
    for (const bp__context *at = child; at != NULL && !text.is_cut;
         at = at->walk_up) {
        bp__text_printf(&text, " > %s", bp__context_type(at));
    }
    return bp__refuse(error, parent, name, BP_CYCLE, "%s", message);
}

/* ---- add --------------------------------------------------------------- */

static bp_status refuse_taken(bp_error *error, const bp__context *ctx,
                              const char *name)
{
    return bp__refuse(error, ctx, name, BP_NAME_TAKEN,
                      "%s: the name '%s' is taken", bp__context_type(ctx),
                      name);
}

/* The name of a new child and of its roll-ups. */
static bp_status check_names(const bp__context *ctx, const char *name,
                             bp_error *error)
{
    bp_status status = bp__name_check(ctx, name, LONGEST_SUFFIX, error);
    if (status != BP_OK) {
        return status;
    }
    if (bp__context_find(ctx, bp__hash_text(name), name) != BP__NONE) {
        return refuse_taken(error, ctx, name);
    }
    for (uint32_t i = 0; i < BP__N_ROLLUPS; i++) {
        char full[BP_MAX_NAME + 1];
        snprintf(full, sizeof full, "%s%s", name, bp__rollup_suffix[i]);
        if (bp__context_find(ctx, bp__hash_text(full), full) != BP__NONE) {
            return refuse_taken(error, ctx, full);
        }
    }
    return BP_OK;
}

static bool reserve_child(bp_registry *registry, bp__context *ctx,
                          size_t n_name)
{
    /* Four names with their NULs; the suffixes are at most LONGEST_SUFFIX. */
    size_t n_bytes = 4 * (n_name + 1 + LONGEST_SUFFIX);
    return ctx->n_children < BP__MAX_ENTRIES &&
           bp__names_reserve(registry, ctx, n_bytes) &&
           bp__entries_reserve(registry, ctx, BP__N_ROLLUPS,
                               BP__N_ROLLUPS + 1) &&
           bp__grow(&registry->alloc, &ctx->children, &ctx->child_capacity,
                    (size_t)ctx->n_children + 1, sizeof *ctx->children);
}

static uint32_t take_child(bp__context *ctx)
{
    uint32_t at = ctx->free_child;
    if (at != BP__NONE) {
        ctx->free_child = ctx->children[at].next_free;
    } else {
        at = ctx->n_child_places++;
    }
    ctx->n_children++;
    return at;
}

/* Room was reserved. */
static uint32_t insert_child(bp__context *ctx, bp__context *target,
                             const char *name)
{
    size_t n_name = strlen(name);
    uint32_t place = take_child(ctx);
    bp__child *child = &ctx->children[place];
    *child = (bp__child){.next_free = BP__NONE,
                         .n_name = (uint32_t)n_name,
                         .first_phase = BP__ALWAYS,
                         .last_phase = BP__ALWAYS};
    child->name = bp__names_add(ctx, name, n_name);
    bp__map_insert(&ctx->map, bp__hash_text(name), place | BP__CHILD_BIT);
    for (uint32_t i = 0; i < BP__N_ROLLUPS; i++) {
        char full[BP_MAX_NAME + 1];
        snprintf(full, sizeof full, "%s%s", name, bp__rollup_suffix[i]);
        size_t n_full = strlen(full);
        uint32_t at = bp__entry_take(ctx);
        bp__entry *entry = &ctx->entries[at];
        *entry = (bp__entry){.size = {0},
                             .name = bp__names_add(ctx, full, n_full),
                             .id = ctx->next_id++,
                             .dtype = BP__FOLLOWS,
                             .same_as = BP__NONE,
                             .child = place,
                             .uses = 1.0f,
                             .prev = entry->prev,
                             .next = entry->next,
                             .n_name = (uint8_t)n_full,
                             .n_dims = 1,
                             .first_phase = BP__ALWAYS,
                             .last_phase = BP__ALWAYS,
                             .location = (unsigned)bp__rollup_location[i] & 15u,
                             .override = BP__NO_OVERRIDE};
        bp__map_insert(&ctx->map, bp__hash_text(full), at);
        child->rollups[i] = at;
    }
    add_back(ctx, place, target);
    return place;
}

/* Its persistent bytes are its own from call to call. */
static void set_life(bp__context *ctx, bp__child *child, uint16_t first,
                     uint16_t last)
{
    child->first_phase = first;
    child->last_phase = last;
    for (uint32_t i = 0; i < BP__N_ROLLUPS; i++) {
        if (bp__rollup_location[i] != BP_PERSISTENT_LOCAL) {
            bp__entry_set_life(&ctx->entries[child->rollups[i]], first, last);
        }
    }
}

typedef struct child_spec {
    const char *name;
    const char *first_phase;
    const char *last_phase;
} child_spec;

/* The child of that name gets another target: it may take itself again. */
static void replace_target(bp_registry *registry, bp__context *parent,
                           uint32_t place, bp__context *target)
{
    if (parent->children[place].target != target->index) {
        drop_back(registry, &parent->children[place]);
        add_back(parent, place, target);
    }
}

static bp_status add_child_locked(bp_registry *registry, bp__context *parent,
                                  bp__context *target, const child_spec *spec,
                                  bp_error *error)
{
    const char *name = spec->name;
    uint16_t first = BP__ALWAYS;
    uint16_t last = BP__ALWAYS;
    bp_status status = bp__name_need(parent, name, error);
    if (status != BP_OK) {
        return status;
    }
    uint32_t place = bp__context_find_child(parent, name);
    if (place == BP__NONE) {
        status = check_names(parent, name, error);
    }
    if (status == BP_OK) {
        status = bp__phases_find(parent, name, spec->first_phase,
                                 spec->last_phase, &first, &last, error);
    }
    if (status != BP_OK) {
        return status;
    }
    if (place != BP__NONE && parent->children[place].target == target->index &&
        parent->children[place].first_phase == first &&
        parent->children[place].last_phase == last) {
        return BP_OK;
    }
    if (is_ancestor(registry, parent, target)) {
        return refuse_cycle(error, parent, target, name);
    }
    if (!reserve_back(registry, target) ||
        (place == BP__NONE && !reserve_child(registry, parent, strlen(name)))) {
        return bp__refuse_memory(error);
    }
    if (place == BP__NONE) { /* from here on nothing can fail */
        place = insert_child(parent, target, name);
    } else {
        replace_target(registry, parent, place, target);
    }
    set_life(parent, &parent->children[place], first, last);
    bp__registry_touch(registry, parent);
    return BP_OK;
}

bp_status bp_registry_add_child(bp_registry *registry, bp_factory parent,
                                bp_factory child, const char *name,
                                const char *first_phase, const char *last_phase,
                                bp_error *error)
{
    const child_spec spec = {name, first_phase, last_phase};
    bp__context *above;
    bp__context *below;
    bp__mutex_lock(&registry->lock);
    bp_status status = bp__registry_need(registry, parent, &above, error);
    if (status == BP_OK) {
        status = bp__registry_need(registry, child, &below, error);
    }
    if (status == BP_OK) {
        status = add_child_locked(registry, above, below, &spec, error);
    }
    bp__mutex_unlock(&registry->lock);
    return status;
}

/* ---- remove ------------------------------------------------------------ */

static bp_status remove_child_locked(bp_registry *registry, bp__context *ctx,
                                     const char *name, bp_error *error)
{
    bp_status status = bp__name_need(ctx, name, error);
    if (status != BP_OK) {
        return status;
    }
    uint32_t place = bp__context_find_child(ctx, name);
    if (place == BP__NONE) {
        return bp__refuse_unknown_child(error, ctx, name);
    }
    bp__child *child = &ctx->children[place];
    drop_back(registry, child);
    for (uint32_t i = 0; i < BP__N_ROLLUPS; i++) {
        bp__entry_drop(registry, ctx, child->rollups[i]);
    }
    bool is_there =
        bp__map_remove(&ctx->map, bp__hash_text(name), place | BP__CHILD_BIT);
    (void)is_there;
    size_t n_name = child->n_name;
    *child = (bp__child){
        .name = BP__NONE, .target = BP__NONE, .next_free = ctx->free_child};
    ctx->free_child = place;
    ctx->n_children--;
    bp__names_drop(ctx, n_name);
    bp__registry_touch(registry, ctx);
    return BP_OK;
}

bp_status bp_registry_remove_child(bp_registry *registry, bp_factory parent,
                                   const char *name, bp_error *error)
{
    bp__context *ctx;
    bp__mutex_lock(&registry->lock);
    bp_status status = bp__registry_need(registry, parent, &ctx, error);
    if (status == BP_OK) {
        status = remove_child_locked(registry, ctx, name, error);
    }
    bp__mutex_unlock(&registry->lock);
    return status;
}

/* ---- close ------------------------------------------------------------- */

/* One tick for all parents: together they lost one child. */
static void leave_parents(bp_registry *registry, bp__context *ctx)
{
    if (ctx->n_backs == 0) {
        return;
    }
    registry->clock++;
    for (uint32_t i = 0; i < ctx->n_backs; i++) {
        bp__context *parent = registry->slots[ctx->backs[i].parent].ctx;
        parent->children[ctx->backs[i].child].target = BP__NONE;
        bp__registry_touch_at(registry, parent);
    }
    ctx->n_backs = 0;
}

static bp_layout *close_locked(bp_registry *registry, bp__context *ctx)
{
    leave_parents(registry, ctx);
    for (uint32_t i = 0; i < ctx->n_child_places; i++) {
        if (ctx->children[i].name != BP__NONE) {
            drop_back(registry, &ctx->children[i]);
        }
    }
    bp__slot *slot = &registry->slots[ctx->index];
    slot->ctx = NULL;
    registry->n_alive--;
    if (slot->generation !=
        UINT32_MAX) { /* else the slot has served its time */
        slot->generation++;
        slot->next_free = registry->free_slot;
        registry->free_slot = ctx->index;
    }
    bp_layout *layout = ctx->layout;
    bp__context_free(registry, ctx);
    return layout;
}

void bp_factory_close(bp_registry *registry, bp_factory factory)
{
    bp_layout *layout = NULL;
    bp__mutex_lock(&registry->lock);
    bp__context *ctx = bp__registry_find(registry, factory);
    if (ctx != NULL) {
        layout = close_locked(registry, ctx);
    }
    bp__mutex_unlock(&registry->lock);
    bp_layout_unref(layout); /* may free a whole tree: not under the lock */
}
