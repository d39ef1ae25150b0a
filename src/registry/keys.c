/* keys.c - what an update key means in a tree of factories.
 *
 * A key is read from the left: <child>_ steps down, and what is left over in a
 * factory is <buffer>_location, <buffer>_size, or one of these with _buffer in
 * between. Names may contain underscores, so several readings are tried: every
 * pair of factory and position once, however many ways lead there. */
#include "registry/model.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <string.h>

typedef struct reading {
    bp__context *ctx;
    size_t at; /* where in the key this factory's part begins */
} reading;

typedef struct resolving {
    bp_registry *registry;
    const char *key;
    size_t n_key;
    reading *readings;
    size_t capacity;
    size_t n_readings;
    bp__key_target found;  /* ctx NULL: none yet */
    bp__key_target rollup; /* likewise; counts where nothing else is found */
    bp__key_target second; /* another meaning: the key is ambiguous */
} resolving;

/* The value of key[from, to) in the context's map, or BP__NONE. */
static uint32_t find_part(const resolving *job, const bp__context *ctx,
                          size_t from, size_t to)
{
    char name[BP_MAX_NAME + 1];
    if (to <= from || to - from > BP_MAX_NAME) {
        return BP__NONE;
    }
    memcpy(name, job->key + from, to - from);
    name[to - from] = '\0';
    return bp__context_find(ctx, bp__hash_bytes(name, to - from), name);
}

static bool same_target(const bp__key_target *a, const bp__key_target *b)
{
    return a->ctx == b->ctx && a->entry == b->entry && a->kind == b->kind;
}

/* True if that is a buffer of the context. */
static bool meet(resolving *job, bp__context *ctx, uint32_t value,
                 bp__key_kind kind)
{
    if (!bp__value_is_entry(value)) {
        return false;
    }
    bp__key_target target = {ctx, value, kind,
                             ctx->entries[value].child != BP__NONE};
    if (target.is_rollup) {
        if (job->rollup.ctx == NULL) {
            job->rollup = target;
        }
        return false;
    }
    if (job->found.ctx == NULL) {
        job->found = target;
    } else if (!same_target(&job->found, &target)) {
        job->second = target;
    }
    return true;
}

static void read_own(resolving *job, bp__context *ctx, size_t at,
                     const char *suffix, bp__key_kind kind)
{
    static const char middle[] = "_buffer";
    size_t n_suffix = strlen(suffix);
    size_t n_middle = sizeof middle - 1;
    if (job->n_key - at <= n_suffix ||
        strcmp(job->key + job->n_key - n_suffix, suffix) != 0) {
        return;
    }
    size_t end = job->n_key - n_suffix;
    if (meet(job, ctx, find_part(job, ctx, at, end), kind)) {
        return;
    }
    if (end - at > n_middle &&
        memcmp(job->key + end - n_middle, middle, n_middle) == 0) {
        meet(job, ctx, find_part(job, ctx, at, end - n_middle), kind);
    }
}

static bool add_reading(resolving *job, bp__context *ctx, size_t at)
{
    for (size_t i = 0; i < job->n_readings; i++) {
        if (job->readings[i].ctx == ctx && job->readings[i].at == at) {
            return true;
        }
    }
    if (!bp__grow(&job->registry->alloc, &job->readings, &job->capacity,
                  job->n_readings + 1, sizeof *job->readings)) {
        return false;
    }
    job->readings[job->n_readings++] = (reading){ctx, at};
    return true;
}

/* One reading for every child whose name and a '_' the rest begins with. */
static bool read_children(resolving *job, const bp__context *ctx, size_t at)
{
    if (ctx->n_children == 0) {
        return true;
    }
    for (size_t i = at + 1; i + 1 < job->n_key; i++) {
        if (job->key[i] != '_') {
            continue;
        }
        uint32_t value = find_part(job, ctx, at, i);
        if (!bp__value_is_child(value)) {
            continue;
        }
        uint32_t target = ctx->children[value & ~BP__CHILD_BIT].target;
        if (target != BP__NONE &&
            !add_reading(job, job->registry->slots[target].ctx, i + 1)) {
            return false;
        }
    }
    return true;
}

static bp_status refuse_ambiguous(bp_error *error, const resolving *job)
{
    const bp__key_target *a = &job->found;
    const bp__key_target *b = &job->second;
    const char *name_a = bp__entry_name(a->ctx, &a->ctx->entries[a->entry]);
    const char *name_b = bp__entry_name(b->ctx, &b->ctx->entries[b->entry]);
    return bp__refuse(error, a->ctx, name_a, BP_AMBIGUOUS_KEY,
                      "'%s' has two meanings: '%s' of %s and '%s' of %s",
                      job->key, name_a, bp__context_type(a->ctx), name_b,
                      bp__context_type(b->ctx));
}

bp_status bp__key_resolve(bp_registry *registry, bp__context *ctx,
                          const char *key, bp__key_target *out, bp_error *error)
{
    resolving job = {.registry = registry, .key = key, .n_key = strlen(key)};
    bool is_there = add_reading(&job, ctx, 0);
    for (size_t i = 0; is_there && i < job.n_readings; i++) {
        reading next = job.readings[i];
        read_own(&job, next.ctx, next.at, "_location", BP__KEY_LOCATION);
        read_own(&job, next.ctx, next.at, "_size", BP__KEY_SIZE);
        is_there = read_children(&job, next.ctx, next.at);
    }
    bp__free_array(&registry->alloc, job.readings, job.capacity,
                   sizeof *job.readings);
    if (!is_there) {
        return bp__refuse_memory(error);
    }
    if (job.second.ctx != NULL) {
        return refuse_ambiguous(error, &job);
    }
    *out = job.found.ctx != NULL ? job.found : job.rollup;
    return BP_OK;
}
