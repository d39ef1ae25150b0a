/* lifetimes.c - from declared phases to the spans that are planned. Pure. */
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
