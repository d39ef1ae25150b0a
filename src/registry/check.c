/* check.c - every invariant of a registry. Reads alone (but for the marks of
 * walks); only the look for shared bytes needs memory, which it gives back. */
#include "registry/layout.h"
#include "registry/model.h"

#include "base/hash.h"

#include <string.h>

/* The first broken invariant. */
static bp_status broken(bp_error *error, const bp__context *ctx,
                        const char *what)
{
    return bp__refuse(error, ctx, NULL, BP_INTERNAL,
                      "%s (slot %u): broken invariant: %s",
                      ctx == NULL ? "registry" : bp__context_type(ctx),
                      ctx == NULL ? 0u : (unsigned)ctx->index, what);
}

/* ---- names ------------------------------------------------------------- */

static bool is_name(const bp__context *ctx, uint32_t at, size_t n_name)
{
    return at < ctx->name_bytes && n_name < ctx->name_bytes - at &&
           strlen(ctx->names + at) == n_name;
}

static const char *fault_in_names(const bp__context *ctx)
{
    if (ctx->name_bytes > ctx->name_capacity || ctx->name_bytes == 0 ||
        ctx->names[ctx->name_bytes - 1] != '\0') {
        return "the names are no texts";
    }
    uint64_t n_alive = strlen(ctx->names) + 1;
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        const bp__entry *entry = &ctx->entries[i];
        if (!is_name(ctx, entry->name, entry->n_name)) {
            return "an entry's name is not where it should be";
        }
        n_alive += entry->n_name + 1u;
    }
    for (uint32_t i = 0; i < ctx->n_child_places; i++) {
        const bp__child *child = &ctx->children[i];
        if (child->name == BP__NONE) {
            continue;
        }
        if (!is_name(ctx, child->name, child->n_name)) {
            return "a child's name is not where it should be";
        }
        n_alive += child->n_name + 1u;
    }
    for (uint32_t i = 0; i < ctx->n_phases; i++) {
        const bp__phase *phase = &ctx->phases[i];
        if (!is_name(ctx, phase->name, phase->n_name)) {
            return "a phase's name is not where it should be";
        }
        n_alive += phase->n_name + 1u;
    }
    if (n_alive + ctx->dead_name_bytes != ctx->name_bytes) {
        return "dead name bytes are miscounted";
    }
    return NULL;
}

static const char *fault_in_map(const bp__context *ctx)
{
    if (!bp__map_check(&ctx->map, BP__NONE, bp__context_name_of, ctx) ||
        ctx->map.n_used != ctx->n_entries + ctx->n_children + ctx->n_phases) {
        return "the name map is broken";
    }
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        const char *name = bp__entry_name(ctx, &ctx->entries[i]);
        if (bp__context_find_entry(ctx, name) != i) {
            return "an entry is not found by its name";
        }
    }
    for (uint32_t i = 0; i < ctx->n_child_places; i++) {
        const bp__child *child = &ctx->children[i];
        if (child->name != BP__NONE &&
            bp__context_find_child(ctx, ctx->names + child->name) != i) {
            return "a child is not found by its name";
        }
    }
    for (uint32_t i = 0; i < ctx->n_phases; i++) {
        const char *name = ctx->names + ctx->phases[i].name;
        if (bp__context_find(ctx, bp__hash_text(name), name) !=
            (i | BP__PHASE_BIT)) {
            return "a phase is not found by its name";
        }
    }
    return NULL;
}

/* ---- entries ----------------------------------------------------------- */

static const char *fault_in_order(const bp__context *ctx)
{
    uint32_t n = 0;
    uint32_t prev = BP__NONE;
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        if (i >= ctx->n_places || n++ >= ctx->n_entries ||
            ctx->entries[i].prev != prev || ctx->entries[i].n_dims == 0) {
            return "the declaration order is no list";
        }
        if (ctx->entries[i].id >= ctx->next_id ||
            (prev != BP__NONE && ctx->entries[i].id <= ctx->entries[prev].id)) {
            return "ids do not rise in declaration order";
        }
        prev = i;
    }
    uint32_t n_free = 0;
    for (uint32_t i = ctx->free_entry; i != BP__NONE;
         i = ctx->entries[i].next) {
        if (i >= ctx->n_places || n_free++ >= ctx->n_places ||
            ctx->entries[i].n_dims != 0) {
            return "the free places are no list";
        }
    }
    if (n != ctx->n_entries || prev != ctx->tail ||
        n + n_free != ctx->n_places || ctx->n_places > ctx->entry_capacity) {
        return "entries are miscounted";
    }
    return NULL;
}

/* ---- lifetimes --------------------------------------------------------- */

static bool is_life(const bp__context *ctx, uint32_t first, uint32_t last)
{
    return first == BP__ALWAYS ? last == BP__ALWAYS
                               : first <= last && last < ctx->n_phases;
}

static const char *fault_in_life(const bp__context *ctx, const bp__entry *entry)
{
    bool is_phased = entry->first_phase != BP__ALWAYS;
    bool is_carried = (entry->flags & BP__CARRIED) != 0;
    if (!is_life(ctx, entry->first_phase, entry->last_phase) ||
        (is_phased && bp__entry_is_kept(entry))) {
        return "a lifetime is out of range";
    }
    if (is_carried &&
        (!is_phased || (entry->flags & BP__ZERO) != 0 ||
         bp__loop_around(ctx->loops, ctx->n_loops, entry->first_phase,
                         entry->last_phase) == NULL)) {
        return "a buffer is carried through no loop";
    }
    return NULL;
}

static const char *fault_in_entry(const bp_registry *registry,
                                  const bp__context *ctx,
                                  const bp__entry *entry)
{
    bool is_alias = entry->same_as != BP__NONE;
    if (entry->location >= BP_N_LOCATIONS || entry->override > BP_N_LOCATIONS ||
        entry->n_dims > BP_MAX_DIMS || entry->flags > 31 ||
        bp__entry_choice(entry) > BP_YES || entry->marks != 0 ||
        bp__entry_said_align(entry) > BP_MAX_ALIGN) {
        return "an entry has a field out of range";
    }
    if (entry->dtype != BP__FOLLOWS && entry->dtype >= registry->n_dtypes) {
        return "an entry's element type is not in the table";
    }
    if (entry->child != BP__NONE &&
        (is_alias || entry->override != BP__NO_OVERRIDE || entry->n_dims != 1 ||
         entry->size.n_items != 0)) {
        return "a roll-up has what only buffers have";
    }
    if (!is_alias && bp__entry_is_kept(entry) &&
        bp__entry_location(entry) == BP_LOCAL) {
        return "a kept buffer is local";
    }
    if (is_alias && entry->override != BP__NO_OVERRIDE) {
        return "an alias has an override";
    }
    uint32_t n_steps = 0;
    for (uint32_t at = entry->same_as; at != BP__NONE;
         at = ctx->entries[at].same_as) {
        if (at >= ctx->n_places || !bp__entry_is_buffer(&ctx->entries[at]) ||
            n_steps++ > ctx->n_aliases) {
            return "a chain of aliases leads nowhere";
        }
    }
    return fault_in_life(ctx, entry);
}

static const char *fault_in_entries(const bp_registry *registry,
                                    const bp__context *ctx)
{
    uint32_t n_aliases = 0;
    uint32_t n_carried = 0;
    uint64_t n_far_dims = 0;
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        const bp__entry *entry = &ctx->entries[i];
        const char *fault = fault_in_entry(registry, ctx, entry);
        if (fault != NULL) {
            return fault;
        }
        n_aliases += entry->same_as != BP__NONE;
        n_carried += (entry->flags & BP__CARRIED) != 0;
        n_far_dims += entry->n_dims > 1 ? entry->n_dims : 0;
    }
    uint64_t own_bytes;
    if (n_aliases != ctx->n_aliases || n_far_dims != ctx->n_far_dims ||
        n_carried != ctx->n_carried) {
        return "aliases, dims or what is carried are miscounted";
    }
    if (bp__context_validate(registry, ctx, &own_bytes, NULL) != BP_OK ||
        own_bytes != ctx->own_bytes) {
        return "the bytes are miscounted or the aliases do not fit";
    }
    return NULL;
}

/* ---- children ---------------------------------------------------------- */

static const char *fault_in_child(const bp_registry *registry,
                                  const bp__context *ctx, uint32_t place)
{
    const bp__child *child = &ctx->children[place];
    if (!is_life(ctx, child->first_phase, child->last_phase)) {
        return "a child's lifetime is out of range";
    }
    for (uint32_t i = 0; i < BP__N_ROLLUPS; i++) {
        uint32_t at = child->rollups[i];
        uint16_t first = bp__rollup_location[i] == BP_PERSISTENT_LOCAL
                             ? BP__ALWAYS
                             : child->first_phase;
        if (at >= ctx->n_places || ctx->entries[at].child != place ||
            ctx->entries[at].location != bp__rollup_location[i] ||
            ctx->entries[at].first_phase != first ||
            (i > 0 && ctx->entries[at].prev != child->rollups[i - 1])) {
            return "a child's roll-ups are not three in a row";
        }
        const char *name = bp__entry_name(ctx, &ctx->entries[at]);
        if (strncmp(name, ctx->names + child->name, child->n_name) != 0 ||
            strcmp(name + child->n_name, bp__rollup_suffix[i]) != 0) {
            return "a roll-up is not named after its child";
        }
    }
    if (child->target == BP__NONE) {
        return NULL;
    }
    const bp__context *target = child->target < registry->n_slots
                                    ? registry->slots[child->target].ctx
                                    : NULL;
    if (target == NULL || child->back >= target->n_backs ||
        target->backs[child->back].parent != ctx->index ||
        target->backs[child->back].child != place) {
        return "a child does not know its parent";
    }
    return target->version > ctx->version ? "a child is newer than its parent"
                                          : NULL;
}

static const char *fault_in_children(const bp_registry *registry,
                                     const bp__context *ctx)
{
    uint32_t n = 0;
    uint32_t n_rollups = 0;
    for (uint32_t i = 0; i < ctx->n_child_places; i++) {
        if (ctx->children[i].name == BP__NONE) {
            continue;
        }
        n++;
        const char *fault = fault_in_child(registry, ctx, i);
        if (fault != NULL) {
            return fault;
        }
    }
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        n_rollups += ctx->entries[i].child != BP__NONE;
    }
    if (n != ctx->n_children || n_rollups != BP__N_ROLLUPS * n ||
        ctx->n_child_places > ctx->child_capacity) {
        return "children are miscounted";
    }
    for (uint32_t i = 0; i < ctx->n_backs; i++) {
        bp__back back = ctx->backs[i];
        const bp__context *parent = back.parent < registry->n_slots
                                        ? registry->slots[back.parent].ctx
                                        : NULL;
        if (parent == NULL || back.child >= parent->n_child_places ||
            parent->children[back.child].target != ctx->index ||
            parent->children[back.child].back != i) {
            return "a parent does not know its child";
        }
    }
    return NULL;
}

/* ---- snapshots --------------------------------------------------------- */

/* The snapshot's span covers what is declared, and where nothing else has a say
 * it is no longer than that. */
static bool shows_life(const bp__context *ctx, const bp__entry *entry,
                       const bp_placement *place)
{
    bp__span span = bp__span_settle(ctx->loops, ctx->n_loops,
                                    bp__span_declared(ctx, entry));
    bp__span shown = {place->first_phase, place->last_phase};
    bp__span both = bp__span_join(span, shown);
    bool is_covered = both.first == shown.first && both.last == shown.last;
    bool is_alone = entry->child == BP__NONE && ctx->n_aliases == 0;
    return is_covered && (!is_alone || (span.first == shown.first &&
                                        span.last == shown.last));
}

static const char *fault_in_layout(const bp_registry *registry,
                                   const bp__context *ctx)
{
    if (ctx->version > registry->clock || ctx->built_at > ctx->version) {
        return "a version is newer than the clock";
    }
    if (!bp__context_is_current(ctx)) {
        return NULL;
    }
    const bp_layout *layout = ctx->layout;
    if (layout->n_placements != ctx->n_entries ||
        layout->n_children != ctx->n_children ||
        layout->n_phases != ctx->n_phases || layout->n_loops != ctx->n_loops ||
        layout->version > ctx->built_at) {
        return "the snapshot is of another factory";
    }
    size_t n = 0;
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        const bp_placement *place = &layout->placements[n++];
        const bp__entry *entry = &ctx->entries[i];
        const bp_region *region = &layout->regions[place->location];
        if (strcmp(place->name, bp__entry_name(ctx, entry)) != 0 ||
            place->location != bp__entry_location(bp__entry_root(ctx, entry)) ||
            place->offset_bytes > region->n_bytes ||
            place->n_bytes > region->n_bytes - place->offset_bytes ||
            (place->offset_bytes & (place->align - 1u)) != 0 ||
            !shows_life(ctx, entry, place)) {
            return "the snapshot does not show the declarations";
        }
    }
    return NULL;
}

/* ---- the whole --------------------------------------------------------- */

/* Depth first from one context; `walk_node` is 1 while a context is open. */
static bool is_acyclic(bp_registry *registry, bp__context *root, uint64_t epoch)
{
    if (root->mark == epoch) {
        return true;
    }
    root->walk_up = NULL;
    for (bp__context *at = root; at != NULL;) {
        if (at->mark != epoch) {
            at->mark = epoch;
            at->walk_cursor = 0;
            at->walk_node = 1;
        }
        if (at->walk_cursor == at->n_child_places) {
            at->walk_node = 0;
            at = at->walk_up;
            continue;
        }
        const bp__child *child = &at->children[at->walk_cursor++];
        if (child->name == BP__NONE || child->target == BP__NONE) {
            continue;
        }
        bp__context *below = registry->slots[child->target].ctx;
        if (below->mark == epoch && below->walk_node == 1) {
            return false;
        }
        if (below->mark != epoch) {
            below->walk_up = at;
            at = below;
        }
    }
    return true;
}

static const char *fault_in_context(const bp_registry *registry,
                                    const bp__context *ctx)
{
    const char *fault = fault_in_order(ctx);
    if (fault == NULL) {
        fault = fault_in_names(ctx);
    }
    if (fault == NULL) {
        fault = fault_in_map(ctx);
    }
    if (fault == NULL &&
        !bp__loops_fit(ctx->loops, ctx->n_loops, ctx->n_phases)) {
        fault = "loops overlap in part or are out of order";
    }
    if (fault == NULL) {
        fault = fault_in_entries(registry, ctx);
    }
    if (fault == NULL) {
        fault = fault_in_children(registry, ctx);
    }
    if (fault == NULL) {
        fault = fault_in_layout(registry, ctx);
    }
    return fault;
}

static const char *fault_in_slots(const bp_registry *registry)
{
    size_t n_alive = 0;
    for (uint32_t i = 0; i < registry->n_slots; i++) {
        const bp__context *ctx = registry->slots[i].ctx;
        n_alive += ctx != NULL;
        if (registry->slots[i].generation == 0 ||
            (ctx != NULL &&
             (ctx->index != i || ctx->precision >= registry->n_dtypes))) {
            return "a slot holds another slot's factory";
        }
    }
    uint32_t n_free = 0;
    for (uint32_t i = registry->free_slot; i != BP__NONE;
         i = registry->slots[i].next_free) {
        if (i >= registry->n_slots || n_free++ >= registry->n_slots ||
            registry->slots[i].ctx != NULL) {
            return "the free slots are no list";
        }
    }
    return n_alive == registry->n_alive ? NULL : "factories are miscounted";
}

static bp_status check_context(bp_registry *registry, bp__context *ctx,
                               uint64_t epoch, bp_error *error)
{
    const char *fault = fault_in_context(registry, ctx);
    if (fault == NULL && !is_acyclic(registry, ctx, epoch)) {
        fault = "a factory contains itself";
    }
    bool is_disjoint = true;
    if (fault == NULL && bp__context_is_current(ctx)) {
        bp_status status =
            bp__layout_is_disjoint(ctx->layout, &is_disjoint, error);
        if (status != BP_OK) {
            return status;
        }
    }
    if (fault == NULL && !is_disjoint) {
        fault = "two buffers share bytes while both live";
    }
    return fault == NULL ? BP_OK : broken(error, ctx, fault);
}

static bp_status check_locked(bp_registry *registry, bp_error *error)
{
    const char *fault = fault_in_slots(registry);
    if (fault == NULL) {
        fault = bp__plans_check(&registry->plans);
    }
    if (fault != NULL) {
        return broken(error, NULL, fault);
    }
    uint64_t epoch = ++registry->epoch;
    for (uint32_t i = 0; i < registry->n_slots; i++) {
        bp__context *ctx = registry->slots[i].ctx;
        bp_status status =
            ctx == NULL ? BP_OK : check_context(registry, ctx, epoch, error);
        if (status != BP_OK) {
            return status;
        }
    }
    return BP_OK;
}

bp_status bp_registry_check(bp_registry *registry, bp_error *error)
{
    bp__mutex_lock(&registry->lock);
    bp_status status = check_locked(registry, error);
    bp__mutex_unlock(&registry->lock);
    return status;
}
