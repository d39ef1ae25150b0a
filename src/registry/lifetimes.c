/* lifetimes.c - what may be declared of lifetimes, and from declared phases to
 * the spans that are planned. Nothing here changes a registry. */
#include "registry/model.h"

const bp_loop *bp__loop_around(const bp_loop *loops, size_t n, uint32_t first,
                               uint32_t last)
{
    const bp_loop *found = NULL;
    for (size_t i = 0; i < n && loops[i].first <= first; i++) {
        if (loops[i].last >= last) {
            found = &loops[i]; /* an outer one comes before its inner ones */
        }
    }
    return found;
}

bool bp__loops_fit(const bp_loop *loops, size_t n, uint32_t n_phases)
{
    for (size_t i = 0; i < n; i++) {
        if (loops[i].first > loops[i].last || loops[i].last >= n_phases) {
            return false;
        }
        for (size_t k = 0; k < i; k++) {
            bool is_inside = loops[k].last >= loops[i].last &&
                             (loops[k].first < loops[i].first ||
                              (loops[k].first == loops[i].first &&
                               loops[k].last > loops[i].last));
            bool is_behind = loops[k].last < loops[i].first;
            if (!is_inside && !is_behind) {
                return false;
            }
        }
    }
    return true;
}

bp__span bp__span_declared(const bp__context *ctx, const bp__entry *entry)
{
    if (entry->first_phase == BP__ALWAYS) {
        return (bp__span){BP_ALWAYS, BP_ALWAYS};
    }
    bp__span span = {entry->first_phase, entry->last_phase};
    if ((entry->flags & BP__CARRIED) != 0) {
        const bp_loop *loop =
            bp__loop_around(ctx->loops, ctx->n_loops, span.first, span.last);
        span = (bp__span){loop->first, loop->last};
    }
    return span;
}

bp__span bp__span_join(bp__span a, bp__span b)
{
    if (a.first == BP_ALWAYS || b.first == BP_ALWAYS) {
        return (bp__span){BP_ALWAYS, BP_ALWAYS};
    }
    return (bp__span){a.first < b.first ? a.first : b.first,
                      a.last > b.last ? a.last : b.last};
}

bp__span bp__span_settle(const bp_loop *loops, size_t n, bp__span span)
{
    /* An outer loop comes before its inner ones, and its end is not inside
     * any of them: once over all is enough. */
    for (size_t i = 0; i < n && span.first != BP_ALWAYS; i++) {
        if (span.first < loops[i].first && loops[i].first <= span.last &&
            span.last < loops[i].last) {
            span.last = loops[i].last;
        }
    }
    return span;
}

bool bp__span_is_settled(const bp_loop *loops, size_t n, bp__span span,
                         bool is_carried)
{
    bool has_loop = false;
    for (size_t i = 0; i < n; i++) {
        has_loop = has_loop || span.first == BP_ALWAYS ||
                   (span.first <= loops[i].first && loops[i].last <= span.last);
    }
    return (has_loop || !is_carried) &&
           bp__span_settle(loops, n, span).last == span.last;
}

/* ---- declarations ------------------------------------------------------ */

bp_status bp__life_settle(const bp__context *ctx, const bp_buffer_spec *spec,
                          bp__entry *entry, bp_error *error)
{
    const char *type = bp__context_type(ctx);
    uint16_t first;
    uint16_t last;
    bp_status status = bp__phases_find(ctx, spec->name, spec->first_phase,
                                       spec->last_phase, &first, &last, error);
    if (status != BP_OK) {
        return status;
    }
    bp__entry_set_life(entry, first, last);
    if (entry->first_phase != BP__ALWAYS && spec->keep == BP_YES) {
        return bp__refuse(error, ctx, spec->name, BP_KEEP_CONFLICT,
                          "%s: '%s' is kept between calls and cannot live in "
                          "some phases alone",
                          type, spec->name);
    }
    if (spec->is_carried &&
        (entry->first_phase == BP__ALWAYS ||
         bp__loop_around(ctx->loops, ctx->n_loops, entry->first_phase,
                         entry->last_phase) == NULL)) {
        return bp__refuse(error, ctx, spec->name, BP_BAD_LIFE,
                          "%s: '%s' is carried, and no loop is around the "
                          "phases it lives in",
                          type, spec->name);
    }
    entry->flags |= spec->is_carried ? BP__CARRIED : 0;
    return BP_OK;
}

/* The end of the chain from place `at`, if place `self` held `entry`. */
static uint32_t root_with(const bp__context *ctx, const bp__entry *entry,
                          uint32_t self, uint32_t at)
{
    for (;;) {
        uint32_t next = at == self ? entry->same_as : ctx->entries[at].same_as;
        if (next == BP__NONE) {
            return at;
        }
        at = next;
    }
}

bp_status bp__life_check(const bp__context *ctx, const char *name,
                         const bp__entry *entry, uint32_t self, bp_error *error)
{
    bool is_carried = (entry->flags & BP__CARRIED) != 0;
    bool is_zero = (entry->flags & BP__ZERO) != 0;
    bool has_group =
        entry->same_as != BP__NONE || (self != BP__NONE && ctx->n_aliases != 0);
    if (has_group && (is_carried || ctx->n_carried != 0)) {
        uint32_t root = entry->same_as == BP__NONE
                            ? self
                            : root_with(ctx, entry, self, entry->same_as);
        for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
            if (i != self && root_with(ctx, entry, self, i) == root) {
                unsigned flags = ctx->entries[i].flags;
                is_carried = is_carried || (flags & BP__CARRIED) != 0;
                is_zero = is_zero || (flags & BP__ZERO) != 0;
            }
        }
    }
    return is_carried && is_zero
               ? bp__refuse(error, ctx, name, BP_BAD_LIFE,
                            "%s: '%s' cannot be zeroed in each turn of a loop "
                            "and be carried to the next; begin its life in a "
                            "phase before the loop",
                            bp__context_type(ctx), name)
               : BP_OK;
}
