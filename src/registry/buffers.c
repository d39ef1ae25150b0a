/* buffers.c - declaring buffers: validation, then a commit that cannot fail. */
#include "registry/model.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <math.h>
#include <string.h>

void bp_buffer_spec_init(bp_buffer_spec *spec)
{
    *spec = (bp_buffer_spec){
        .location = BP_LOCAL, .keep = BP_UNSAID, .uses = 1.0f, .n_dims = 1};
}

/* ---- unchanged? -------------------------------------------------------- */

static bool has_dtype(const bp_registry *registry, const bp__entry *entry,
                      const bp_dtype *dtype)
{
    if (dtype == NULL || entry->dtype == BP__FOLLOWS) {
        return dtype == NULL && entry->dtype == BP__FOLLOWS;
    }
    return dtype->text != NULL &&
           bp__dtype_is(&registry->dtypes[entry->dtype], dtype);
}

static bool has_same_as(const bp__context *ctx, const bp__entry *entry,
                        const char *same_as)
{
    if (same_as == NULL || entry->same_as == BP__NONE) {
        return same_as == NULL && entry->same_as == BP__NONE;
    }
    return strcmp(bp__entry_name(ctx, &ctx->entries[entry->same_as]),
                  same_as) == 0;
}

/* The declaration that is there is the one that is made: nothing to check. */
static bool is_declared_so(const bp_registry *registry, const bp__context *ctx,
                           const bp__entry *entry, const bp_buffer_spec *spec)
{
    return spec->n_dims == entry->n_dims &&
           memcmp(bp__entry_shape(entry), spec->shape,
                  spec->n_dims * sizeof *spec->shape) == 0 &&
           (bp_location)entry->location == spec->location &&
           bp__entry_said_align(entry) == spec->align &&
           bp__entry_choice(entry) == spec->keep &&
           ((entry->flags & BP__ZERO) != 0) == spec->zero &&
           entry->uses == spec->uses &&
           ((entry->flags & BP__CARRIED) != 0) == spec->is_carried &&
           bp__phases_are(ctx, entry->first_phase, entry->last_phase,
                          spec->first_phase, spec->last_phase) &&
           has_dtype(registry, entry, spec->dtype) &&
           has_same_as(ctx, entry, spec->same_as);
}

/* ---- one declaration on its own ---------------------------------------- */

static bp_status check_plain_fields(const bp__context *ctx,
                                    const bp_buffer_spec *spec, bp_error *error)
{
    const char *type = bp__context_type(ctx);
    if ((unsigned)spec->location >= BP_N_LOCATIONS) {
        return bp__refuse(error, ctx, spec->name, BP_BAD_LOCATION,
                          "%s: %d is no location ('%s')", type,
                          (int)spec->location, spec->name);
    }
    if (spec->shape == NULL || spec->n_dims < 1 || spec->n_dims > BP_MAX_DIMS) {
        bp_status status =
            bp__refuse(error, ctx, spec->name, BP_BAD_SIZE,
                       "%s: a shape has 1 to %u dimensions, not %u ('%s')",
                       type, BP_MAX_DIMS, (unsigned)spec->n_dims, spec->name);
        bp_error_numbers(error, spec->n_dims, BP_MAX_DIMS);
        return status;
    }
    if (spec->align != 0 &&
        (!bp_is_power_of_two(spec->align) || spec->align > BP_MAX_ALIGN)) {
        bp_status status = bp__refuse(
            error, ctx, spec->name, BP_BAD_ALIGN,
            "%s: alignment %u is no power of two from 1 to %u ('%s')", type,
            (unsigned)spec->align, BP_MAX_ALIGN, spec->name);
        bp_error_numbers(error, spec->align, BP_MAX_ALIGN);
        return status;
    }
    if (!isfinite(spec->uses) || spec->uses < 0) {
        return bp__refuse(error, ctx, spec->name, BP_BAD_VALUE,
                          "%s: uses must be finite and not negative ('%s')",
                          type, spec->name);
    }
    if ((unsigned)spec->keep > BP_YES) {
        return bp__refuse(error, ctx, spec->name, BP_BAD_VALUE,
                          "%s: %d is no choice for keep ('%s')", type,
                          (int)spec->keep, spec->name);
    }
    return BP_OK;
}

/* `old` is what the name stands for now, or NULL. A location override outlives
 * the declaration, so both must suit `keep`. */
static bp_status settle_keep(const bp__context *ctx, const bp_buffer_spec *spec,
                             const bp__entry *old, bp__entry *entry,
                             bp_error *error)
{
    const char *type = bp__context_type(ctx);
    bool is_alias = entry->same_as != BP__NONE;
    bool is_kept =
        spec->keep == BP_YES ||
        (spec->keep == BP_UNSAID && spec->location == BP_PERSISTENT_LOCAL &&
         entry->first_phase == BP__ALWAYS);
    entry->override = old == NULL ? BP__NO_OVERRIDE : old->override;
    if (is_alias && entry->override != BP__NO_OVERRIDE) {
        return bp__refuse(error, ctx, spec->name, BP_BAD_SAME_AS,
                          "%s: '%s' has a location override; reset it before "
                          "it takes the bytes of '%s'",
                          type, spec->name, spec->same_as);
    }
    if (!is_alias && is_kept && spec->location == BP_LOCAL) {
        return bp__refuse(error, ctx, spec->name, BP_KEEP_CONFLICT,
                          "%s: '%s' is kept between calls and cannot be local",
                          type, spec->name);
    }
    if (is_kept && entry->override == BP_LOCAL) {
        return bp__refuse(error, ctx, spec->name, BP_KEEP_CONFLICT,
                          "%s: '%s' is overridden to local and cannot be kept "
                          "between calls",
                          type, spec->name);
    }
    entry->location = (unsigned)spec->location & 15u;
    entry->flags |=
        (uint8_t)((is_kept ? BP__KEPT : 0) | (spec->zero ? BP__ZERO : 0) |
                  (unsigned)spec->keep << BP__CHOICE_SHIFT);
    return BP_OK;
}

static bp_status too_large(bp_error *error, const bp__context *ctx,
                           const char *name, uint64_t n_bytes)
{
    bp_status status =
        bp__refuse(error, ctx, name, BP_TOO_LARGE,
                   "%s: with '%s' the buffers have %s bytes or more",
                   bp__context_type(ctx), name, "2^48");
    bp_error_numbers(error, n_bytes, BP_MAX_BYTES);
    return status;
}

/* ---- a declaration among the others ------------------------------------ */

/* The entry that `same_as` names. */
static bp_status find_target(const bp__context *ctx, const bp_buffer_spec *spec,
                             uint32_t self, uint32_t *out, bp_error *error)
{
    *out = BP__NONE;
    if (spec->same_as == NULL) {
        return BP_OK;
    }
    const char *type = bp__context_type(ctx);
    if (strcmp(spec->same_as, spec->name) == 0) {
        return bp__refuse(error, ctx, spec->name, BP_BAD_SAME_AS,
                          "%s: '%s' is same_as itself", type, spec->name);
    }
    uint32_t target = bp__context_find_entry(ctx, spec->same_as);
    if (target == BP__NONE) {
        return bp__refuse_unknown(error, ctx, spec->same_as);
    }
    if (ctx->entries[target].child != BP__NONE) {
        return bp__refuse(error, ctx, spec->name, BP_BAD_SAME_AS,
                          "%s: '%s' cannot be same_as '%s', the bytes of a "
                          "child",
                          type, spec->name, spec->same_as);
    }
    for (uint32_t at = target; at != BP__NONE && self != BP__NONE;
         at = ctx->entries[at].same_as) {
        if (at == self) {
            return bp__refuse(error, ctx, spec->name, BP_BAD_SAME_AS,
                              "%s: '%s' is same_as '%s', which leads back to "
                              "'%s'",
                              type, spec->name, spec->same_as, spec->name);
        }
    }
    *out = target;
    return BP_OK;
}

static bp_status refuse_alias_size(bp_error *error, const bp__context *ctx,
                                   const char *alias, uint64_t alias_bytes,
                                   const char *target, uint64_t target_bytes)
{
    bp_status status = bp__refuse(
        error, ctx, alias, BP_BAD_SAME_AS,
        "%s: '%s' (%llu bytes) does not fit into '%s' (%llu bytes), which it "
        "is same_as",
        bp__context_type(ctx), alias, (unsigned long long)alias_bytes, target,
        (unsigned long long)target_bytes);
    bp_error_numbers(error, alias_bytes, target_bytes);
    return status;
}

/* `entry` of n_bytes is what place `self` (BP__NONE: a new one) will hold. */
static bp_status check_aliases(const bp_registry *registry,
                               const bp__context *ctx, const char *name,
                               const bp__entry *entry, uint32_t self,
                               uint64_t n_bytes, bp_error *error)
{
    if (entry->same_as != BP__NONE) {
        const bp__entry *target = &ctx->entries[entry->same_as];
        uint64_t target_bytes = bp__entry_bytes(registry, ctx, target);
        if (n_bytes > target_bytes) {
            return refuse_alias_size(error, ctx, name, n_bytes,
                                     bp__entry_name(ctx, target), target_bytes);
        }
    }
    if (self == BP__NONE || ctx->n_aliases == 0) {
        return BP_OK;
    }
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        const bp__entry *alias = &ctx->entries[i];
        uint64_t alias_bytes;
        if (alias->same_as == self &&
            (alias_bytes = bp__entry_bytes(registry, ctx, alias)) > n_bytes) {
            return refuse_alias_size(error, ctx, bp__entry_name(ctx, alias),
                                     alias_bytes, name, n_bytes);
        }
    }
    return BP_OK;
}

bp_status bp__context_validate(const bp_registry *registry,
                               const bp__context *ctx, uint64_t *own_bytes,
                               bp_error *error)
{
    uint64_t sum = 0;
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        const bp__entry *entry = &ctx->entries[i];
        if (entry->child != BP__NONE) {
            continue;
        }
        const char *name = bp__entry_name(ctx, entry);
        uint64_t n_items;
        uint64_t n_bytes = UINT64_MAX;
        if (!bp__shape_items(bp__entry_shape(entry), entry->n_dims, &n_items) ||
            !bp_mul(n_items,
                    bp__entry_dtype(registry, ctx, entry)->dtype.n_bytes,
                    &n_bytes) ||
            n_bytes >= BP_MAX_BYTES) {
            return too_large(error, ctx, name, n_bytes);
        }
        if (entry->same_as == BP__NONE) {
            sum += n_bytes;
        }
        if (sum >= BP_MAX_BYTES) {
            return too_large(error, ctx, name, sum);
        }
    }
    for (uint32_t i = ctx->n_aliases == 0 ? BP__NONE : ctx->head; i != BP__NONE;
         i = ctx->entries[i].next) {
        const bp__entry *entry = &ctx->entries[i];
        if (entry->same_as != BP__NONE) {
            bp_status status = check_aliases(
                registry, ctx, bp__entry_name(ctx, entry), entry, BP__NONE,
                bp__entry_bytes(registry, ctx, entry), error);
            if (status != BP_OK) {
                return status;
            }
        }
    }
    *own_bytes = sum;
    return BP_OK;
}

/* ---- register ---------------------------------------------------------- */

/* Everything but id, name and links of the entry that the spec declares, as
 * far as it can be said without allocating; *own_bytes is the factory's sum
 * with it. */
static bp_status draft_entry(bp_registry *registry, const bp__context *ctx,
                             const bp_buffer_spec *spec, uint32_t self,
                             bp__entry *entry, uint64_t *own_bytes,
                             bp_error *error)
{
    const bp__entry *old = self == BP__NONE ? NULL : &ctx->entries[self];
    *entry = (bp__entry){.child = BP__NONE, .dtype = BP__FOLLOWS};
    bp_status status = check_plain_fields(ctx, spec, error);
    if (status != BP_OK ||
        (status = bp__life_settle(ctx, spec, entry, error)) != BP_OK ||
        (status = find_target(ctx, spec, self, &entry->same_as, error)) !=
            BP_OK ||
        (status = settle_keep(ctx, spec, old, entry, error)) != BP_OK) {
        return status;
    }
    if (spec->dtype != NULL &&
        (status = bp__dtype_intern(registry, spec->dtype, &entry->dtype,
                                   error)) != BP_OK) {
        bp_error_about(error, bp__context_type(ctx), spec->name);
        return status;
    }
    for (uint32_t align = spec->align; align != 0; align >>= 1) {
        entry->align_code = (entry->align_code + 1u) & 15u;
    }
    entry->uses = spec->uses;
    entry->n_dims = (uint8_t)spec->n_dims;
    uint64_t n_bytes = UINT64_MAX;
    if (!bp__shape_items(spec->shape, spec->n_dims, &entry->size.n_items) ||
        !bp_mul(entry->size.n_items,
                bp__entry_dtype(registry, ctx, entry)->dtype.n_bytes,
                &n_bytes) ||
        n_bytes >= BP_MAX_BYTES) {
        return too_large(error, ctx, spec->name, n_bytes);
    }
    uint64_t others = ctx->own_bytes;
    if (old != NULL && old->same_as == BP__NONE) {
        others -= bp__entry_bytes(registry, ctx, old);
    }
    *own_bytes = others + (entry->same_as == BP__NONE ? n_bytes : 0);
    if (*own_bytes >= BP_MAX_BYTES) {
        return too_large(error, ctx, spec->name, *own_bytes);
    }
    status =
        check_aliases(registry, ctx, spec->name, entry, self, n_bytes, error);
    return status == BP_OK ? bp__life_check(ctx, spec->name, entry, self, error)
                           : status;
}

/* Give the drafted entry its dims where it has more than one. */
static bool draft_dims(bp_registry *registry, const bp_buffer_spec *spec,
                       bp__entry *entry)
{
    if (spec->n_dims == 1) {
        return true;
    }
    size_t n_dims = spec->n_dims;
    uint64_t *dims =
        bp__alloc_array(&registry->alloc, n_dims, sizeof *spec->shape);
    if (dims == NULL) {
        return false;
    }
    memcpy(dims, spec->shape, n_dims * sizeof *dims);
    entry->size.dims = dims;
    return true;
}

static void replace_entry(bp_registry *registry, bp__context *ctx,
                          uint32_t self, bp__entry *entry)
{
    bp__entry *old = &ctx->entries[self];
    if (old->n_dims > 1) {
        ctx->n_far_dims -= old->n_dims;
        bp__free_array(&registry->alloc, old->size.dims, old->n_dims,
                       sizeof *old->size.dims);
    }
    ctx->n_aliases -= old->same_as != BP__NONE;
    ctx->n_carried -= (old->flags & BP__CARRIED) != 0;
    entry->id = old->id;
    entry->name = old->name;
    entry->n_name = old->n_name;
    entry->prev = old->prev;
    entry->next = old->next;
    *old = *entry;
}

/* `self` is what the name stands for: nothing or a buffer is fine. */
static bp_status check_name(const bp__context *ctx, const char *name,
                            uint32_t self, bp_error *error)
{
    if (self == BP__NONE) {
        return bp__name_check(ctx, name, 0, error);
    }
    if (!bp__value_is_entry(self)) {
        return bp__refuse(error, ctx, name, BP_NAME_TAKEN,
                          "%s: '%s' is the name of a %s", bp__context_type(ctx),
                          name, bp__value_is_phase(self) ? "phase" : "child");
    }
    uint32_t child = ctx->entries[self].child;
    if (child != BP__NONE) {
        return bp__refuse(error, ctx, name, BP_READ_ONLY,
                          "%s: '%s' follows the child '%s'",
                          bp__context_type(ctx), name,
                          ctx->names + ctx->children[child].name);
    }
    return BP_OK;
}

/* Room was reserved. */
static uint32_t insert_entry(bp__context *ctx, const char *name, size_t n_name,
                             uint32_t hash, bp__entry *entry)
{
    entry->name = bp__names_add(ctx, name, n_name);
    entry->n_name = (uint8_t)n_name;
    entry->id = ctx->next_id++;
    uint32_t at = bp__entry_take(ctx);
    entry->prev = ctx->entries[at].prev;
    entry->next = ctx->entries[at].next;
    ctx->entries[at] = *entry;
    bp__map_insert(&ctx->map, hash, at);
    return at;
}

/* A declaration that is new or differs from what place `self` holds. */
static bp_status declare(bp_registry *registry, bp__context *ctx,
                         const bp_buffer_spec *spec, uint32_t hash,
                         uint32_t self, uint32_t *out_id, bp_error *error)
{
    bp_status status;
    bp__entry entry;
    uint64_t own_bytes = 0;
    status = draft_entry(registry, ctx, spec, self, &entry, &own_bytes, error);
    if (status != BP_OK) {
        return status;
    }
    size_t n_name = strlen(spec->name);
    if (self == BP__NONE && (!bp__names_reserve(registry, ctx, n_name + 1) ||
                             !bp__entries_reserve(registry, ctx, 1, 1))) {
        return bp__refuse_memory(error);
    }
    if (!draft_dims(registry, spec, &entry)) {
        return bp__refuse_memory(error);
    }
    if (self == BP__NONE) { /* from here on nothing can fail */
        self = insert_entry(ctx, spec->name, n_name, hash, &entry);
    } else {
        replace_entry(registry, ctx, self, &entry);
    }
    ctx->n_far_dims += entry.n_dims > 1 ? entry.n_dims : 0;
    ctx->n_aliases += entry.same_as != BP__NONE;
    ctx->n_carried += (entry.flags & BP__CARRIED) != 0;
    ctx->own_bytes = own_bytes;
    bp__registry_touch(registry, ctx);
    *out_id = ctx->entries[self].id;
    return BP_OK;
}

static bp_status register_locked(bp_registry *registry, bp__context *ctx,
                                 const bp_buffer_spec *spec, uint32_t *out_id,
                                 bp_error *error)
{
    bp_status status = bp__name_need(ctx, spec->name, error);
    if (status != BP_OK) {
        return status;
    }
    uint32_t hash = bp__hash_text(spec->name);
    uint32_t self = bp__context_find(ctx, hash, spec->name);
    status = check_name(ctx, spec->name, self, error);
    if (status != BP_OK) {
        return status;
    }
    if (self != BP__NONE && spec->shape != NULL &&
        is_declared_so(registry, ctx, &ctx->entries[self], spec)) {
        *out_id = ctx->entries[self].id;
        return BP_OK;
    }
    return declare(registry, ctx, spec, hash, self, out_id, error);
}

bp_status bp_registry_register(bp_registry *registry, bp_factory factory,
                               const bp_buffer_spec *spec, uint32_t *out_id,
                               bp_error *error)
{
    bp__context *ctx;
    uint32_t id = 0;
    bp__mutex_lock(&registry->lock);
    bp_status status = bp__registry_need(registry, factory, &ctx, error);
    if (status == BP_OK) {
        status = register_locked(registry, ctx, spec, &id, error);
    }
    bp__mutex_unlock(&registry->lock);
    if (status == BP_OK && out_id != NULL) {
        *out_id = id;
    }
    return status;
}

/* ---- unregister -------------------------------------------------------- */

static bp_status unregister_locked(bp_registry *registry, bp__context *ctx,
                                   const char *name, bp_error *error)
{
    bp_status status = bp__name_need(ctx, name, error);
    if (status != BP_OK) {
        return status;
    }
    uint32_t at = bp__context_find_entry(ctx, name);
    if (at == BP__NONE) {
        return bp__refuse_unknown(error, ctx, name);
    }
    bp__entry *entry = &ctx->entries[at];
    if (entry->child != BP__NONE) {
        return bp__refuse(error, ctx, name, BP_READ_ONLY,
                          "%s: '%s' goes with the child '%s' alone",
                          bp__context_type(ctx), name,
                          ctx->names + ctx->children[entry->child].name);
    }
    for (uint32_t i = ctx->n_aliases == 0 ? BP__NONE : ctx->head; i != BP__NONE;
         i = ctx->entries[i].next) {
        if (ctx->entries[i].same_as == at) {
            return bp__refuse(error, ctx, name, BP_BAD_SAME_AS,
                              "%s: '%s' stays while '%s' is same_as it",
                              bp__context_type(ctx), name,
                              bp__entry_name(ctx, &ctx->entries[i]));
        }
    }
    if (entry->same_as == BP__NONE) {
        ctx->own_bytes -= bp__entry_bytes(registry, ctx, entry);
    }
    bp__entry_drop(registry, ctx, at);
    bp__registry_touch(registry, ctx);
    return BP_OK;
}

bp_status bp_registry_unregister(bp_registry *registry, bp_factory factory,
                                 const char *name, bp_error *error)
{
    bp__context *ctx;
    bp__mutex_lock(&registry->lock);
    bp_status status = bp__registry_need(registry, factory, &ctx, error);
    if (status == BP_OK) {
        status = unregister_locked(registry, ctx, name, error);
    }
    bp__mutex_unlock(&registry->lock);
    return status;
}

bp_status bp_registry_unregister_all(bp_registry *registry, bp_factory factory,
                                     bp_error *error)
{
    bp__context *ctx;
    bp__mutex_lock(&registry->lock);
    bp_status status = bp__registry_need(registry, factory, &ctx, error);
    if (status == BP_OK) {
        bool is_changed = false;
        uint32_t next;
        for (uint32_t i = ctx->head; i != BP__NONE; i = next) {
            next = ctx->entries[i].next;
            if (ctx->entries[i].child == BP__NONE) {
                bp__entry_drop(registry, ctx, i);
                is_changed = true;
            }
        }
        ctx->own_bytes = 0;
        if (is_changed) {
            bp__registry_touch(registry, ctx);
        }
    }
    bp__mutex_unlock(&registry->lock);
    return status;
}
