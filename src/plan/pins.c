/* pins.c - one sweep over births and deaths with the pinned bytes taken. */
#include "plan/pins.h"

#include "plan/gaps.h"

#include <inttypes.h>

static bp_status check_one(const bp_plan_request *request, size_t i,
                           bp_error *error)
{
    int64_t pin = request->pins[i];
    uint64_t align = bp__plan_align(request, i), end;
    if (pin < -1) {
        return bp_fail(error, BP_BAD_VALUE,
                       "buffer %zu: %" PRId64
                       " is no offset (-1 means that it is free)",
                       i, pin);
    }
    if (pin >= 0 && ((uint64_t)pin & (align - 1)) != 0) {
        (void)bp_fail(error, BP_BAD_VALUE,
                      "buffer %zu: its pin %" PRId64
                      " is no multiple of its alignment %" PRIu64,
                      i, pin, align);
        bp_error_numbers(error, (uint64_t)pin, align);
        return BP_BAD_VALUE;
    }
    if (pin >= 0 && !bp_add((uint64_t)pin, request->sizes[i], &end)) {
        return bp_fail(error, BP_TOO_LARGE,
                       "buffer %zu: its pin %" PRId64
                       " and its size sum to more than 2^64 - 1",
                       i, pin);
    }
    return BP_OK;
}

bp_status bp__pins_check(const bp_plan_request *request, bp_error *error)
{
    if (request->pins == NULL) {
        return BP_OK;
    }
    for (size_t i = 0; i < request->n; i++) {
        bp_status status = check_one(request, i, error);
        if (status != BP_OK) {
            return status;
        }
    }
    return BP_OK;
}

/* Buffer `id` meets a pin that was born before it: the first such. */
static bp_status name_both(const bp__sections *sections,
                           const bp_plan_request *request, uint32_t id,
                           bp_error *error)
{
    uint64_t begin = (uint64_t)request->pins[id];
    uint64_t end = begin + request->sizes[id];
    for (uint32_t k = 0; k < sections->n; k++) {
        uint32_t other = sections->birth[k];
        if (other == id || !bp__plan_is_pinned(request, other)) {
            continue;
        }
        uint64_t low = (uint64_t)request->pins[other];
        if (low < end && begin < low + request->sizes[other] &&
            sections->first[other] < sections->last[id] &&
            sections->first[id] < sections->last[other]) {
            return bp_fail(error, BP_BAD_VALUE,
                           "buffers %" PRIu32 " and %" PRIu32
                           " are alive together and pinned over each other, "
                           "at %" PRIu64 " and %" PRIu64,
                           other, id, low, begin);
        }
    }
    return bp_fail(error, BP_INTERNAL,
                   "buffer %" PRIu32 " overlaps a pin that is not there", id);
}

static bp_status sweep(bp__gaps *gaps, const bp__sections *sections,
                       const bp_plan_request *request, bp_error *error)
{
    uint32_t n_dead = 0;
    bool is_fed = true;
    for (uint32_t k = 0; k < sections->n && is_fed; k++) {
        uint32_t id = sections->birth[k];
        for (; sections->last[sections->death[n_dead]] <= sections->first[id];
             n_dead++) {
            uint32_t dead = sections->death[n_dead];
            if (bp__plan_is_pinned(request, dead)) {
                uint64_t low = (uint64_t)request->pins[dead];
                is_fed = is_fed &&
                         bp__gaps_give(gaps, low, low + request->sizes[dead]);
            }
        }
        if (!is_fed || !bp__plan_is_pinned(request, id)) {
            continue;
        }
        uint64_t begin = (uint64_t)request->pins[id];
        uint64_t end = begin + request->sizes[id];
        if (!bp__gaps_has(gaps, begin, end)) {
            return name_both(sections, request, id, error);
        }
        is_fed = bp__gaps_reserve(gaps, begin, end);
    }
    return is_fed ? BP_OK
                  : bp_fail(error, BP_NO_MEMORY, "no memory to check the pins");
}

bp_status bp__pins_check_overlap(const bp__sections *sections,
                                 const bp_plan_request *request,
                                 bp_error *error)
{
    bp__gaps gaps;
    if (request->pins == NULL) {
        return BP_OK;
    }
    if (!bp__gaps_init(&gaps, &sections->alloc)) {
        return bp_fail(error, BP_NO_MEMORY, "no memory to check the pins");
    }
    bp_status status = sweep(&gaps, sections, request, error);
    bp__gaps_fini(&gaps);
    return status;
}
