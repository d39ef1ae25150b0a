/* update.c - locations and sizes by key, all or nothing over a tree.
 *
 * Every value is prepared first (nothing changes), then exchanged with what is
 * there, then the factories are validated as wholes; the same exchange again
 * undoes it. What a change holds at the end, the new shape after a failure or
 * the old one after success, is freed. */
#include "registry/model.h"

#include "base/alloc.h"

#include <string.h>

typedef struct one_change {
    bp__key_target target; /* ctx NULL: the key is not ours */
    const bp_update_item *item;
    bool is_double; /* an earlier item says the same */
    bool is_exchanged;
    bool is_first; /* of its context: own_bytes is its new sum */
    uint8_t override;
    uint8_t n_dims; /* 0: no size */
    union {
        uint64_t n_items;
        uint64_t *dims;
    } size;
    uint64_t own_bytes;
} one_change;

typedef struct updating {
    bp_registry *registry;
    bp__context *ctx; /* whose precision may change */
    uint32_t precision;
    uint64_t own_bytes; /* of ctx, if the precision changes */
    one_change *changes;
    size_t n_changes;
    bool is_changed;
} updating;

static bp__entry *entry_of(const one_change *change)
{
    return &change->target.ctx->entries[change->target.entry];
}

/* ---- prepare ----------------------------------------------------------- */

static bp_status resolve(updating *job, unsigned flags, bp_error *error)
{
    for (size_t i = 0; i < job->n_changes; i++) {
        one_change *change = &job->changes[i];
        const char *key = change->item->key;
        if (key == NULL) {
            return bp__refuse(error, job->ctx, NULL, BP_BAD_NAME,
                              "%s: a key is needed",
                              bp__context_type(job->ctx));
        }
        bp_status status = bp__key_resolve(job->registry, job->ctx, key,
                                           &change->target, error);
        if (status != BP_OK) {
            return status;
        }
        if (change->target.ctx == NULL && (flags & BP_UPDATE_STRICT) != 0) {
            return bp__refuse(error, job->ctx, key, BP_UNKNOWN_KEY,
                              "%s: no buffer in the tree answers to '%s'",
                              bp__context_type(job->ctx), key);
        }
    }
    return BP_OK;
}

static bp_status read_location(one_change *change, bp_error *error)
{
    const bp_update_item *item = change->item;
    const bp__context *ctx = change->target.ctx;
    const bp__entry *entry = entry_of(change);
    const char *type = bp__context_type(ctx);
    const char *name = bp__entry_name(ctx, entry);
    bp_location location = BP_LOCAL;
    if (item->kind != BP_VALUE_TEXT ||
        !bp_location_parse(item->text, &location)) {
        return bp__refuse(error, ctx, name, BP_BAD_LOCATION,
                          "%s: '%s' needs a location (shared, block, local, "
                          "persistent_local, auto), not '%s'",
                          type, item->key,
                          item->kind == BP_VALUE_SHAPE ? "a size"
                          : item->text == NULL         ? "nothing"
                                                       : item->text);
    }
    if (entry->same_as != BP__NONE) {
        return bp__refuse(error, ctx, name, BP_BAD_SAME_AS,
                          "%s: '%s' lies where '%s' lies and has no location "
                          "of its own",
                          type, name,
                          bp__entry_name(ctx, &ctx->entries[entry->same_as]));
    }
    if (location == BP_LOCAL && bp__entry_is_kept(entry)) {
        return bp__refuse(error, ctx, name, BP_KEEP_CONFLICT,
                          "%s: '%s' is kept between calls and cannot be local",
                          type, name);
    }
    change->override = (uint8_t)location;
    return BP_OK;
}

static bp_status read_size(updating *job, one_change *change, bp_error *error)
{
    const bp_update_item *item = change->item;
    const bp__context *ctx = change->target.ctx;
    const char *name = bp__entry_name(ctx, entry_of(change));
    if (item->kind != BP_VALUE_SHAPE || item->shape == NULL ||
        item->n_dims < 1 || item->n_dims > BP_MAX_DIMS) {
        return bp__refuse(error, ctx, name, BP_BAD_SIZE,
                          "%s: '%s' needs a size or a shape of 1 to %u "
                          "dimensions, not '%s'",
                          bp__context_type(ctx), item->key, BP_MAX_DIMS,
                          item->kind == BP_VALUE_SHAPE ? "a longer shape"
                          : item->text == NULL         ? "nothing"
                                                       : item->text);
    }
    if (item->n_dims == 1) {
        change->size.n_items = item->shape[0];
    } else {
        uint64_t *dims =
            bp__alloc_array(&job->registry->alloc, item->n_dims, sizeof *dims);
        if (dims == NULL) {
            return bp__refuse_memory(error);
        }
        memcpy(dims, item->shape, item->n_dims * sizeof *dims);
        change->size.dims = dims;
    }
    change->n_dims = (uint8_t)item->n_dims;
    return BP_OK;
}

static bool says_the_same(const one_change *a, const one_change *b)
{
    if (a->target.kind == BP__KEY_LOCATION) {
        return a->override == b->override;
    }
    return a->n_dims == b->n_dims &&
           memcmp(a->item->shape, b->item->shape,
                  a->n_dims * sizeof *a->item->shape) == 0;
}

/* Two items may name one thing if they say the same of it. The marks on the
 * entries make looking for the other one rare. */
static bp_status check_doubles(updating *job, one_change *later,
                               bp_error *error)
{
    bp__entry *entry = entry_of(later);
    uint8_t mark = (uint8_t)(1u << later->target.kind);
    if ((entry->marks & mark) == 0) {
        entry->marks = (entry->marks | mark) & 15u;
        return BP_OK;
    }
    const one_change *first = job->changes;
    while (first->target.ctx != later->target.ctx ||
           first->target.entry != later->target.entry ||
           first->target.kind != later->target.kind) {
        first++;
    }
    if (!says_the_same(first, later)) {
        return bp__refuse(error, later->target.ctx,
                          bp__entry_name(later->target.ctx, entry),
                          BP_AMBIGUOUS_KEY,
                          "'%s' and '%s' say different things of '%s' of %s",
                          first->item->key, later->item->key,
                          bp__entry_name(later->target.ctx, entry),
                          bp__context_type(later->target.ctx));
    }
    later->is_double = true;
    return BP_OK;
}

static bp_status prepare(updating *job, bp_error *error)
{
    for (size_t i = 0; i < job->n_changes; i++) {
        one_change *change = &job->changes[i];
        if (change->target.ctx == NULL) {
            continue;
        }
        const bp__context *ctx = change->target.ctx;
        if (change->target.is_rollup) {
            const bp__entry *entry = entry_of(change);
            return bp__refuse(error, ctx, bp__entry_name(ctx, entry),
                              BP_READ_ONLY, "%s: '%s' follows the child '%s'",
                              bp__context_type(ctx), bp__entry_name(ctx, entry),
                              ctx->names + ctx->children[entry->child].name);
        }
        bp_status status = change->target.kind == BP__KEY_LOCATION
                               ? read_location(change, error)
                               : read_size(job, change, error);
        if (status == BP_OK) {
            status = check_doubles(job, change, error);
        }
        if (status != BP_OK) {
            return status;
        }
    }
    return BP_OK;
}

/* ---- exchange ---------------------------------------------------------- */

static bool is_as_said(const bp__entry *entry, const one_change *change)
{
    if (change->target.kind == BP__KEY_LOCATION) {
        return entry->override == change->override;
    }
    return entry->n_dims == change->n_dims &&
           memcmp(bp__entry_shape(entry), change->item->shape,
                  entry->n_dims * sizeof *change->item->shape) == 0;
}

static void exchange(one_change *change)
{
    bp__entry *entry = entry_of(change);
    if (change->target.kind == BP__KEY_LOCATION) {
        uint8_t override = entry->override;
        entry->override = change->override & 15u;
        change->override = override;
        return;
    }
    bp__context *ctx = change->target.ctx;
    bp__entry old = *entry;
    entry->n_dims = change->n_dims;
    if (change->n_dims == 1) {
        entry->size.n_items = change->size.n_items;
    } else {
        entry->size.dims = change->size.dims;
        ctx->n_far_dims += change->n_dims;
    }
    change->n_dims = old.n_dims;
    if (old.n_dims == 1) {
        change->size.n_items = old.size.n_items;
    } else {
        change->size.dims = old.size.dims;
        ctx->n_far_dims -= old.n_dims;
    }
}

static void exchange_precision(updating *job)
{
    uint32_t old = job->ctx->precision;
    job->ctx->precision = job->precision;
    job->precision = old;
}

static bp_status validate(updating *job, bool has_precision, bp_error *error)
{
    uint64_t epoch = ++job->registry->epoch;
    bp_status status = BP_OK;
    if (has_precision) {
        job->ctx->mark = epoch;
        status = bp__context_validate(job->registry, job->ctx, &job->own_bytes,
                                      error);
    }
    for (size_t i = 0; status == BP_OK && i < job->n_changes; i++) {
        one_change *change = &job->changes[i];
        if (change->is_exchanged && change->target.ctx->mark != epoch) {
            change->target.ctx->mark = epoch;
            change->is_first = true;
            status = bp__context_validate(job->registry, change->target.ctx,
                                          &change->own_bytes, error);
        }
    }
    return status;
}

/* All is valid: new sums, one tick for everything. */
static void settle(updating *job, bool has_precision)
{
    if (!job->is_changed) {
        return;
    }
    job->registry->clock++;
    if (has_precision) {
        job->ctx->own_bytes = job->own_bytes;
        bp__registry_touch_at(job->registry, job->ctx);
    }
    for (size_t i = 0; i < job->n_changes; i++) {
        one_change *change = &job->changes[i];
        if (change->is_first) {
            change->target.ctx->own_bytes = change->own_bytes;
            bp__registry_touch_at(job->registry, change->target.ctx);
        }
    }
}

static bp_status carry_out(updating *job, bp_error *error)
{
    bool has_precision = job->precision != job->ctx->precision;
    if (has_precision) {
        exchange_precision(job);
        job->is_changed = true;
    }
    for (size_t i = 0; i < job->n_changes; i++) {
        one_change *change = &job->changes[i];
        if (change->target.ctx != NULL && !change->is_double &&
            !is_as_said(entry_of(change), change)) {
            exchange(change);
            change->is_exchanged = true;
            job->is_changed = true;
        }
    }
    bp_status status = validate(job, has_precision, error);
    if (status == BP_OK) {
        settle(job, has_precision);
        return BP_OK;
    }
    for (size_t i = job->n_changes; i-- > 0;) {
        if (job->changes[i].is_exchanged) {
            exchange(&job->changes[i]);
        }
    }
    if (has_precision) {
        exchange_precision(job);
    }
    return status;
}

/* ---- all of it --------------------------------------------------------- */

static void fini(updating *job)
{
    const bp_allocator *alloc = &job->registry->alloc;
    for (size_t i = 0; i < job->n_changes; i++) {
        one_change *change = &job->changes[i];
        if (change->target.ctx != NULL) {
            entry_of(change)->marks = 0;
        }
        if (change->n_dims > 1) {
            bp__free_array(alloc, change->size.dims, change->n_dims,
                           sizeof *change->size.dims);
        }
    }
    bp__free_array(alloc, job->changes, job->n_changes, sizeof *job->changes);
}

static bp_status update_locked(bp_registry *registry, bp__context *ctx,
                               const bp_dtype *precision, bp_update_item *items,
                               size_t n_items, unsigned flags, bp_error *error)
{
    updating job = {.registry = registry,
                    .ctx = ctx,
                    .precision = ctx->precision,
                    .n_changes = n_items};
    job.changes =
        bp__alloc_array(&registry->alloc, n_items, sizeof *job.changes);
    if (job.changes == NULL) {
        return bp__refuse_memory(error);
    }
    for (size_t i = 0; i < n_items; i++) {
        job.changes[i].item = &items[i];
    }
    bp_status status = resolve(&job, flags, error);
    if (status == BP_OK && (flags & BP_UPDATE_DRY_RUN) == 0) {
        if (precision != NULL) {
            status =
                bp__dtype_intern(registry, precision, &job.precision, error);
        }
        if (status == BP_OK) {
            status = prepare(&job, error);
        }
        if (status == BP_OK) {
            status = carry_out(&job, error);
        }
    }
    for (size_t i = 0; status == BP_OK && i < n_items; i++) {
        items[i].is_taken = job.changes[i].target.ctx != NULL;
    }
    fini(&job);
    return status;
}

bp_status bp_registry_update(bp_registry *registry, bp_factory factory,
                             const bp_dtype *precision, bp_update_item *items,
                             size_t n_items, unsigned flags, bp_error *error)
{
    bp__context *ctx;
    bp__mutex_lock(&registry->lock);
    bp_status status = bp__registry_need(registry, factory, &ctx, error);
    if (status == BP_OK) {
        status = update_locked(registry, ctx, precision, items, n_items, flags,
                               error);
    }
    bp__mutex_unlock(&registry->lock);
    return status;
}

bp_status bp_registry_reset_overrides(bp_registry *registry, bp_factory factory,
                                      bp_error *error)
{
    bp__context *ctx;
    bp__mutex_lock(&registry->lock);
    bp_status status = bp__registry_need(registry, factory, &ctx, error);
    bool is_changed = false;
    for (uint32_t i = status == BP_OK ? ctx->head : BP__NONE; i != BP__NONE;
         i = ctx->entries[i].next) {
        if (ctx->entries[i].override != BP__NO_OVERRIDE) {
            ctx->entries[i].override = BP__NO_OVERRIDE;
            is_changed = true;
        }
    }
    if (is_changed) {
        bp__registry_touch(registry, ctx);
    }
    bp__mutex_unlock(&registry->lock);
    return status;
}
