/* registry.c - birth and death of registries and factories, handles, versions.
 */
#include "registry/model.h"

#include "base/alloc.h"

#include <string.h>

/* ---- locations --------------------------------------------------------- */

static const char *const location_names[BP_N_LOCATIONS] = {
    "shared", "block", "local", "persistent_local", "auto"};

const char *bp_location_name(bp_location location)
{
    return (unsigned)location < BP_N_LOCATIONS ? location_names[location]
                                               : "no location";
}

bool bp_location_parse(const char *name, bp_location *out)
{
    for (int i = 0; name != NULL && i < BP_N_LOCATIONS; i++) {
        if (strcmp(name, location_names[i]) == 0) {
            *out = (bp_location)i;
            return true;
        }
    }
    return false;
}

/* ---- registries -------------------------------------------------------- */

bp_status bp_registry_new(const bp_registry_options *options,
                          const bp_allocator *alloc, bp_registry **out,
                          bp_error *error)
{
    bp_registry_options chosen = {BP_PLAN_AUTO, 0};
    if (options != NULL) {
        chosen = *options;
    }
    if ((unsigned)chosen.mode >= BP_N_PLAN_MODES) {
        return bp_fail(error, BP_BAD_VALUE, "%d is no planning mode",
                       (int)chosen.mode);
    }
    bp_allocator source = bp__allocator_or_default(alloc);
    bp_registry *registry = bp__alloc_array(&source, 1, sizeof *registry);
    if (registry == NULL) {
        return bp__refuse_memory(error);
    }
    registry->alloc = source;
    registry->options = chosen;
    registry->free_slot = BP__NONE;
    if (!bp__mutex_init(&registry->lock)) {
        bp__free_array(&source, registry, 1, sizeof *registry);
        return bp__refuse_memory(error);
    }
    bp__plans_init(&registry->plans, &registry->lock, &source);
    *out = registry;
    return BP_OK;
}

void bp_registry_free(bp_registry *registry)
{
    if (registry == NULL) {
        return;
    }
    bp_allocator alloc = registry->alloc;
    for (uint32_t i = 0; i < registry->n_slots; i++) {
        if (registry->slots[i].ctx != NULL) {
            bp_layout_unref(registry->slots[i].ctx->layout);
            bp__context_free(registry, registry->slots[i].ctx);
        }
    }
    bp__dtypes_fini(registry);
    bp__plans_fini(&registry->plans);
    bp__free_array(&alloc, registry->scratch, registry->scratch_capacity,
                   sizeof *registry->scratch);
    bp__free_array(&alloc, registry->slots, registry->slot_capacity,
                   sizeof *registry->slots);
    bp__mutex_fini(&registry->lock);
    bp__free_array(&alloc, registry, 1, sizeof *registry);
}

void bp_registry_get_options(const bp_registry *registry,
                             bp_registry_options *out)
{
    *out = registry->options; /* never changes: no lock */
}

size_t bp_registry_count(bp_registry *registry)
{
    bp__mutex_lock(&registry->lock);
    size_t n_alive = registry->n_alive;
    bp__mutex_unlock(&registry->lock);
    return n_alive;
}

/* ---- handles ----------------------------------------------------------- */

bp__context *bp__registry_find(const bp_registry *registry, bp_factory factory)
{
    uint32_t index = (uint32_t)factory;
    if (index >= registry->n_slots ||
        registry->slots[index].generation != (uint32_t)(factory >> 32)) {
        return NULL;
    }
    return registry->slots[index].ctx;
}

bp_status bp__registry_need(const bp_registry *registry, bp_factory factory,
                            bp__context **out, bp_error *error)
{
    *out = bp__registry_find(registry, factory);
    if (*out == NULL) {
        return bp_fail(error, BP_STALE,
                       "factory handle %u of generation %u is gone",
                       (unsigned)(uint32_t)factory, (unsigned)(factory >> 32));
    }
    return BP_OK;
}

bp_factory bp__registry_handle(const bp_registry *registry,
                               const bp__context *ctx)
{
    return (bp_factory)registry->slots[ctx->index].generation << 32 |
           ctx->index;
}

bool bp_factory_is_alive(bp_registry *registry, bp_factory factory)
{
    bp__mutex_lock(&registry->lock);
    bool is_alive = bp__registry_find(registry, factory) != NULL;
    bp__mutex_unlock(&registry->lock);
    return is_alive;
}

/* ---- factories --------------------------------------------------------- */

void bp__context_free(bp_registry *registry, bp__context *ctx)
{
    const bp_allocator *alloc = &registry->alloc;
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        bp__entry *entry = &ctx->entries[i];
        if (entry->n_dims > 1) {
            bp__free_array(alloc, entry->size.dims, entry->n_dims,
                           sizeof *entry->size.dims);
        }
    }
    bp__free_array(alloc, ctx->entries, ctx->entry_capacity,
                   sizeof *ctx->entries);
    bp__free_array(alloc, ctx->names, ctx->name_capacity, 1);
    bp__map_fini(&ctx->map, alloc);
    bp__free_array(alloc, ctx->children, ctx->child_capacity,
                   sizeof *ctx->children);
    bp__free_array(alloc, ctx->backs, ctx->back_capacity, sizeof *ctx->backs);
    bp__free_array(alloc, ctx->phases, ctx->n_phases, sizeof *ctx->phases);
    bp__free_array(alloc, ctx->loops, ctx->loop_capacity, sizeof *ctx->loops);
    bp__free_array(alloc, ctx, 1, sizeof *ctx);
}

static bp__context *context_new(bp_registry *registry, const char *type_name,
                                uint32_t precision)
{
    bp__context *ctx = bp__alloc_array(&registry->alloc, 1, sizeof *ctx);
    if (ctx == NULL) {
        return NULL;
    }
    ctx->precision = precision;
    ctx->head = ctx->tail = BP__NONE;
    ctx->free_entry = ctx->free_child = BP__NONE;
    size_t n_type = strlen(type_name);
    if (!bp__names_reserve(registry, ctx, n_type + 1)) {
        bp__context_free(registry, ctx);
        return NULL;
    }
    bp__names_add(ctx, type_name, n_type);
    return ctx;
}

/* A free slot, taken; BP__NONE: no memory or 2^32 of them. */
static uint32_t take_slot(bp_registry *registry)
{
    uint32_t at = registry->free_slot;
    if (at != BP__NONE) {
        registry->free_slot = registry->slots[at].next_free;
        return at;
    }
    if (registry->n_slots >= BP__MAX_ENTRIES ||
        !bp__grow(&registry->alloc, &registry->slots, &registry->slot_capacity,
                  (size_t)registry->n_slots + 1, sizeof *registry->slots)) {
        return BP__NONE;
    }
    at = registry->n_slots++;
    registry->slots[at] = (bp__slot){NULL, 1, BP__NONE};
    return at;
}

static bp_status open_locked(bp_registry *registry, const char *type_name,
                             const bp_dtype *precision, bp_factory *out,
                             bp_error *error)
{
    uint32_t row = 0;
    bp_status status = bp__dtype_intern(registry, precision, &row, error);
    if (status != BP_OK) {
        return status;
    }
    bp__context *ctx =
        context_new(registry, type_name == NULL ? "factory" : type_name, row);
    if (ctx == NULL) {
        return bp__refuse_memory(error);
    }
    ctx->index = take_slot(registry);
    if (ctx->index == BP__NONE) {
        bp__context_free(registry, ctx);
        return bp__refuse_memory(error);
    }
    registry->slots[ctx->index].ctx = ctx;
    registry->n_alive++;
    *out = bp__registry_handle(registry, ctx);
    return BP_OK;
}

bp_status bp_factory_open(bp_registry *registry, const char *type_name,
                          const bp_dtype *precision, bp_factory *out,
                          bp_error *error)
{
    bp__mutex_lock(&registry->lock);
    bp_status status = open_locked(registry, type_name, precision, out, error);
    bp__mutex_unlock(&registry->lock);
    return status;
}

static bp_status set_precision_locked(bp_registry *registry, bp_factory factory,
                                      const bp_dtype *precision,
                                      bp_error *error)
{
    bp__context *ctx;
    uint32_t row = 0;
    bp_status status = bp__registry_need(registry, factory, &ctx, error);
    if (status == BP_OK) {
        status = bp__dtype_intern(registry, precision, &row, error);
    }
    if (status != BP_OK || row == ctx->precision) {
        return status;
    }
    uint32_t old = ctx->precision;
    ctx->precision = row;
    uint64_t own_bytes = 0;
    status = bp__context_validate(registry, ctx, &own_bytes, error);
    if (status != BP_OK) {
        ctx->precision = old;
        return status;
    }
    ctx->own_bytes = own_bytes;
    bp__registry_touch(registry, ctx);
    return BP_OK;
}

bp_status bp_factory_set_precision(bp_registry *registry, bp_factory factory,
                                   const bp_dtype *precision, bp_error *error)
{
    bp__mutex_lock(&registry->lock);
    bp_status status =
        set_precision_locked(registry, factory, precision, error);
    bp__mutex_unlock(&registry->lock);
    return status;
}

/* ---- versions ---------------------------------------------------------- */

void bp__registry_touch_at(bp_registry *registry, bp__context *ctx)
{
    uint64_t now = registry->clock;
    if (ctx->version == now) {
        return;
    }
    ctx->version = now;
    ctx->walk_up = NULL;
    for (bp__context *next = ctx; next != NULL;) {
        ctx = next;
        next = ctx->walk_up;
        for (uint32_t i = 0; i < ctx->n_backs; i++) {
            bp__context *parent = registry->slots[ctx->backs[i].parent].ctx;
            if (parent->version != now) {
                parent->version = now;
                parent->walk_up = next;
                next = parent;
            }
        }
    }
}

void bp__registry_touch(bp_registry *registry, bp__context *ctx)
{
    registry->clock++;
    bp__registry_touch_at(registry, ctx);
}

bp_status bp_registry_version(bp_registry *registry, bp_factory factory,
                              uint64_t *out, bp_error *error)
{
    bp__context *ctx;
    bp__mutex_lock(&registry->lock);
    bp_status status = bp__registry_need(registry, factory, &ctx, error);
    if (status == BP_OK) {
        *out = ctx->version;
    }
    bp__mutex_unlock(&registry->lock);
    return status;
}

bp_status bp_registry_invalidate(bp_registry *registry, bp_factory factory,
                                 bp_error *error)
{
    bp__context *ctx;
    bp__mutex_lock(&registry->lock);
    bp_status status = bp__registry_need(registry, factory, &ctx, error);
    if (status == BP_OK) {
        ctx->is_stale = true;
    }
    bp__mutex_unlock(&registry->lock);
    return status;
}
