/* phases.c - a factory's phases and loops: validation of the whole new list,
 * then a commit that cannot fail. */
#include "registry/model.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <string.h>

/* ---- names to numbers -------------------------------------------------- */

const char *bp__phase_name(const bp__context *ctx, uint32_t phase)
{
    return phase < ctx->n_phases ? ctx->names + ctx->phases[phase].name : NULL;
}

/* The number of the phase of that name, or BP__NONE. */
static uint32_t find_phase(const bp__context *ctx, const char *name)
{
    uint32_t value = bp__context_find(ctx, bp__hash_text(name), name);
    return bp__value_is_phase(value) ? value & ~BP__PHASE_BIT : BP__NONE;
}

bp_status bp__phases_find(const bp__context *ctx, const char *owner,
                          const char *first, const char *last,
                          uint16_t *out_first, uint16_t *out_last,
                          bp_error *error)
{
    *out_first = *out_last = BP__ALWAYS;
    if (first == NULL) {
        return last == NULL
                   ? BP_OK
                   : bp__refuse(error, ctx, owner, BP_BAD_LIFE,
                                "%s: '%s' has a last phase and no first one",
                                bp__context_type(ctx), owner);
    }
    uint32_t from = find_phase(ctx, first);
    if (from == BP__NONE) {
        return bp__refuse_unknown_phase(error, ctx, owner, first);
    }
    uint32_t to = last == NULL ? from : find_phase(ctx, last);
    if (to == BP__NONE) {
        return bp__refuse_unknown_phase(error, ctx, owner, last);
    }
    if (from > to) {
        return bp__refuse(error, ctx, owner, BP_BAD_LIFE,
                          "%s: '%s' names phase '%s' as its first, which comes "
                          "after its last, '%s'",
                          bp__context_type(ctx), owner, first, last);
    }
    *out_first = (uint16_t)from;
    *out_last = (uint16_t)to;
    return BP_OK;
}

static bool is_phase(const bp__context *ctx, uint32_t phase, const char *name)
{
    const char *has = bp__phase_name(ctx, phase);
    return has == NULL || name == NULL ? has == NULL && name == NULL
                                       : strcmp(has, name) == 0;
}

bool bp__phases_are(const bp__context *ctx, uint16_t has_first,
                    uint16_t has_last, const char *first, const char *last)
{
    if (first != NULL && last == NULL) {
        last = first;
    }
    return is_phase(ctx, has_first, first) && is_phase(ctx, has_last, last);
}

/* ---- a new list -------------------------------------------------------- */

typedef struct renaming {
    bp_registry *registry;
    bp__context *ctx;
    const char *const *names;
    size_t n;
    bp__phase *phases; /* the new ones; name BP__NONE: to be added */
    bp_loop *loops;    /* of the new order, sorted */
    uint16_t *number;  /* old number to new; BP__ALWAYS: vanishes */
} renaming;

static bool is_same_list(const bp__context *ctx, const char *const *names,
                         size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (names[i] == NULL || !is_phase(ctx, (uint32_t)i, names[i])) {
            return false;
        }
    }
    return n == ctx->n_phases;
}

static bp_status check_new_name(const renaming *job, size_t i, bp_error *error)
{
    const bp__context *ctx = job->ctx;
    const char *name = job->names[i];
    bp_status status = bp__name_need(ctx, name, error);
    if (status == BP_OK) {
        status = bp__name_check(ctx, name, 0, error);
    }
    if (status != BP_OK) {
        return status;
    }
    bool is_double = false;
    for (size_t k = 0; k < i && !is_double; k++) {
        is_double = strcmp(job->names[k], name) == 0;
    }
    uint32_t value = bp__context_find(ctx, bp__hash_text(name), name);
    if (is_double || (value != BP__NONE && !bp__value_is_phase(value))) {
        return bp__refuse(error, ctx, name, BP_NAME_TAKEN,
                          is_double ? "%s: phase '%s' is named twice"
                                    : "%s: the name '%s' is taken",
                          bp__context_type(ctx), name);
    }
    return BP_OK;
}

/* Which old phase becomes which new one; which names are new. */
static bp_status match(renaming *job, bp_error *error)
{
    for (uint32_t i = 0; i < job->ctx->n_phases; i++) {
        job->number[i] = BP__ALWAYS;
    }
    for (size_t i = 0; i < job->n; i++) {
        bp_status status = check_new_name(job, i, error);
        if (status != BP_OK) {
            return status;
        }
        uint32_t old = find_phase(job->ctx, job->names[i]);
        job->phases[i] = (bp__phase){BP__NONE, (uint32_t)strlen(job->names[i])};
        if (old != BP__NONE) {
            job->phases[i].name = job->ctx->phases[old].name;
            job->number[old] = (uint16_t)i;
        }
    }
    return BP_OK;
}

/* The new numbers of a lifetime. `owner` names them. */
static bp_status renumber(const renaming *job, const char *owner,
                          uint32_t *first, uint32_t *last, bp_error *error)
{
    const bp__context *ctx = job->ctx;
    const uint32_t old[2] = {*first, *last};
    *first = job->number[old[0]];
    *last = job->number[old[1]];
    for (size_t i = 0; i < 2; i++) {
        if (job->number[old[i]] == BP__ALWAYS) {
            const char *phase = bp__phase_name(ctx, old[i]);
            return bp__refuse(
                error, ctx, phase, BP_UNKNOWN_PHASE,
                "%s: phase '%s' stays while %s%s%s names it",
                bp__context_type(ctx), phase, owner == NULL ? "a loop" : "'",
                owner == NULL ? "" : owner, owner == NULL ? "" : "'");
        }
    }
    if (*first > *last) {
        return bp__refuse(error, ctx, owner, BP_BAD_LIFE,
                          "%s: in this order %s%s%s would end in '%s', before "
                          "it begins in '%s'",
                          bp__context_type(ctx), owner == NULL ? "a loop" : "'",
                          owner == NULL ? "" : owner, owner == NULL ? "" : "'",
                          bp__phase_name(ctx, old[1]),
                          bp__phase_name(ctx, old[0]));
    }
    return BP_OK;
}

/* Insertion keeps loops by first phase, the longer one first. */
static void insert_loop(bp_loop *loops, size_t n, bp_loop loop)
{
    size_t at = n;
    while (at > 0 && (loops[at - 1].first > loop.first ||
                      (loops[at - 1].first == loop.first &&
                       loops[at - 1].last < loop.last))) {
        loops[at] = loops[at - 1];
        at--;
    }
    loops[at] = loop;
}

static bp_status renumber_loops(renaming *job, bp_error *error)
{
    const bp__context *ctx = job->ctx;
    for (uint32_t i = 0; job->n != 0 && i < ctx->n_loops; i++) {
        bp_loop loop = ctx->loops[i];
        bp_status status = renumber(job, NULL, &loop.first, &loop.last, error);
        if (status != BP_OK) {
            return status;
        }
        insert_loop(job->loops, i, loop);
    }
    if (job->n != 0 &&
        !bp__loops_fit(job->loops, ctx->n_loops, (uint32_t)job->n)) {
        return bp__refuse(error, ctx, NULL, BP_BAD_LIFE,
                          "%s: in this order loops would overlap in part",
                          bp__context_type(ctx));
    }
    return BP_OK;
}

/* Whoever names phases can go on doing so. Roll-ups go with their child. */
static bp_status check_lives(const renaming *job, bp_error *error)
{
    const bp__context *ctx = job->ctx;
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        const bp__entry *entry = &ctx->entries[i];
        if (entry->first_phase == BP__ALWAYS) {
            continue;
        }
        const char *owner = entry->child == BP__NONE
                                ? bp__entry_name(ctx, entry)
                                : ctx->names + ctx->children[entry->child].name;
        uint32_t first = entry->first_phase;
        uint32_t last = entry->last_phase;
        bp_status status = renumber(job, owner, &first, &last, error);
        if (status != BP_OK) {
            return status;
        }
        if ((entry->flags & BP__CARRIED) != 0 &&
            bp__loop_around(job->loops, ctx->n_loops, first, last) == NULL) {
            return bp__refuse(error, ctx, owner, BP_BAD_LIFE,
                              "%s: in this order no loop would be around '%s', "
                              "which is carried",
                              bp__context_type(ctx), owner);
        }
    }
    return BP_OK;
}

static bool reserve_names(const renaming *job)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < job->n; i++) {
        n_bytes += job->phases[i].name == BP__NONE
                       ? (size_t)job->phases[i].n_name + 1
                       : 0;
    }
    bp__context *ctx = job->ctx;
    return bp__names_reserve(job->registry, ctx, n_bytes) &&
           bp__map_reserve(&ctx->map, &job->registry->alloc,
                           (size_t)ctx->map.n_used + job->n);
}

static void renumber_all(const renaming *job)
{
    bp__context *ctx = job->ctx;
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        bp__entry *entry = &ctx->entries[i];
        if (entry->first_phase != BP__ALWAYS) {
            bp__entry_set_life(entry, job->number[entry->first_phase],
                               job->number[entry->last_phase]);
        }
    }
    for (uint32_t i = 0; i < ctx->n_child_places; i++) {
        bp__child *child = &ctx->children[i];
        if (child->name != BP__NONE && child->first_phase != BP__ALWAYS) {
            child->first_phase = job->number[child->first_phase];
            child->last_phase = job->number[child->last_phase];
        }
    }
    if (job->n == 0) {
        ctx->n_loops = 0;
    } else if (ctx->n_loops != 0) {
        memcpy(ctx->loops, job->loops, ctx->n_loops * sizeof *ctx->loops);
    }
}

static uint32_t hash_of(const bp__context *ctx, const bp__phase *phase)
{
    return bp__hash_text(ctx->names + phase->name);
}

/* Nothing fails from here on. The old array ends up in job->phases. */
static void exchange_phases(renaming *job)
{
    bp__context *ctx = job->ctx;
    size_t n_dead = 0;
    for (uint32_t i = 0; i < ctx->n_phases; i++) {
        const bp__phase *old = &ctx->phases[i];
        bool is_there =
            bp__map_remove(&ctx->map, hash_of(ctx, old), i | BP__PHASE_BIT);
        (void)is_there;
        n_dead += job->number[i] == BP__ALWAYS ? (size_t)old->n_name + 1 : 0;
    }
    for (uint32_t i = 0; i < job->n; i++) {
        bp__phase *phase = &job->phases[i];
        if (phase->name == BP__NONE) {
            phase->name = bp__names_add(ctx, job->names[i], phase->n_name);
        }
        bp__map_insert(&ctx->map, hash_of(ctx, phase), i | BP__PHASE_BIT);
    }
    renumber_all(job);
    bp__phase *old = ctx->phases;
    ctx->phases = job->phases;
    job->phases = old;
    size_t n_old = ctx->n_phases;
    ctx->n_phases = (uint32_t)job->n;
    job->n = n_old;
    if (n_dead != 0) {
        bp__names_drop(ctx, n_dead - 1);
    }
}

static bp_status phases_locked(renaming *job, bp_error *error)
{
    bp__context *ctx = job->ctx;
    const bp_allocator *alloc = &job->registry->alloc;
    size_t n_old = ctx->n_phases;
    size_t n_loops = ctx->n_loops;
    job->phases = bp__alloc_array(alloc, job->n, sizeof *job->phases);
    job->loops = bp__alloc_array(alloc, n_loops, sizeof *job->loops);
    job->number = bp__alloc_array(alloc, n_old, sizeof *job->number);
    bp_status status = BP_OK;
    if (job->phases == NULL || job->loops == NULL || job->number == NULL) {
        status = bp__refuse_memory(error);
    } else if ((status = match(job, error)) == BP_OK &&
               (status = renumber_loops(job, error)) == BP_OK &&
               (status = check_lives(job, error)) == BP_OK) {
        if (reserve_names(job)) {
            exchange_phases(job);
            bp__registry_touch(job->registry, ctx);
        } else {
            status = bp__refuse_memory(error);
        }
    }
    bp__free_array(alloc, job->phases, job->n, sizeof *job->phases);
    bp__free_array(alloc, job->loops, n_loops, sizeof *job->loops);
    bp__free_array(alloc, job->number, n_old, sizeof *job->number);
    return status;
}

bp_status bp_registry_phases(bp_registry *registry, bp_factory factory,
                             const char *const *names, size_t n,
                             bp_error *error)
{
    renaming job = {.registry = registry, .names = names, .n = n};
    bp__mutex_lock(&registry->lock);
    bp_status status = bp__registry_need(registry, factory, &job.ctx, error);
    if (status == BP_OK && n > BP_MAX_PHASES) {
        status = bp__refuse(error, job.ctx, NULL, BP_BAD_VALUE,
                            "%s: %zu phases are more than %u",
                            bp__context_type(job.ctx), n, BP_MAX_PHASES);
        bp_error_numbers(error, n, BP_MAX_PHASES);
    } else if (status == BP_OK && !is_same_list(job.ctx, names, n)) {
        status = phases_locked(&job, error);
    }
    bp__mutex_unlock(&registry->lock);
    return status;
}

/* ---- loops ------------------------------------------------------------- */

static bp_status refuse_crossing(bp_error *error, const bp__context *ctx,
                                 bp_loop loop, bp_loop other)
{
    return bp__refuse(
        error, ctx, NULL, BP_BAD_LIFE,
        "%s: the loop from '%s' to '%s' overlaps the loop from '%s' to '%s' in "
        "part",
        bp__context_type(ctx), bp__phase_name(ctx, loop.first),
        bp__phase_name(ctx, loop.last), bp__phase_name(ctx, other.first),
        bp__phase_name(ctx, other.last));
}

/* Another loop can only tighten the one that carries something: every other
 * declaration stays valid. */
static bp_status loop_locked(bp_registry *registry, bp__context *ctx,
                             const char *first, const char *last,
                             bp_error *error)
{
    bp_status status = bp__name_need(ctx, first, error);
    uint16_t from;
    uint16_t to;
    if (status == BP_OK) {
        status = bp__phases_find(ctx, "loop", first, last, &from, &to, error);
    }
    if (status != BP_OK) {
        return status;
    }
    bp_loop loop = {from, to};
    for (uint32_t i = 0; i < ctx->n_loops; i++) {
        bp_loop other = ctx->loops[i];
        if (other.first == loop.first && other.last == loop.last) {
            return BP_OK;
        }
        bool is_apart = other.last < loop.first || loop.last < other.first;
        bool is_nested =
            (other.first <= loop.first && loop.last <= other.last) ||
            (loop.first <= other.first && other.last <= loop.last);
        if (!is_apart && !is_nested) {
            return refuse_crossing(error, ctx, loop, other);
        }
    }
    if (!bp__grow(&registry->alloc, &ctx->loops, &ctx->loop_capacity,
                  (size_t)ctx->n_loops + 1, sizeof *ctx->loops)) {
        return bp__refuse_memory(error);
    }
    insert_loop(ctx->loops, ctx->n_loops++, loop);
    bp__registry_touch(registry, ctx);
    return BP_OK;
}

bp_status bp_registry_loop(bp_registry *registry, bp_factory factory,
                           const char *first, const char *last, bp_error *error)
{
    bp__context *ctx;
    bp__mutex_lock(&registry->lock);
    bp_status status = bp__registry_need(registry, factory, &ctx, error);
    if (status == BP_OK) {
        status = loop_locked(registry, ctx, first, last, error);
    }
    bp__mutex_unlock(&registry->lock);
    return status;
}
