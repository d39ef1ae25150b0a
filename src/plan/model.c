/* model.c - is the request legal, and the sums everybody needs. */
#include "plan/model.h"

#include "plan/pins.h"

#include <inttypes.h>

#define MAX_BUFFERS    ((size_t)1 << 31)
#define MAX_PLAN_ALIGN ((uint64_t)1 << 32)

static bp_status check_mode(bp_plan_mode mode, bp_error *error)
{
    switch (mode) {
    case BP_PLAN_AUTO:
    case BP_PLAN_SEQUENTIAL:
    case BP_PLAN_PACKED:
    case BP_PLAN_FAST:
    case BP_PLAN_OPTIMAL:
        return BP_OK;
    default:
        return bp_fail(error, BP_BAD_VALUE, "%d is no plan mode", (int)mode);
    }
}

/* What only the modes that know lifetimes can do. */
static bp_status check_wishes(const bp_plan_request *request, bp_error *error)
{
    bool is_simple =
        request->mode == BP_PLAN_SEQUENTIAL || request->mode == BP_PLAN_PACKED;
    if (is_simple && (request->pins != NULL || request->has_capacity)) {
        return bp_fail(error, BP_BAD_VALUE,
                       "plan mode \"%s\" knows no %s (auto, fast and optimal "
                       "do)",
                       bp_plan_mode_name(request->mode),
                       request->pins != NULL ? "pins" : "capacity");
    }
    if (request->n > MAX_BUFFERS) {
        (void)bp_fail(error, BP_TOO_LARGE, "%zu buffers are more than 2^31",
                      request->n);
        bp_error_numbers(error, request->n, MAX_BUFFERS);
        return BP_TOO_LARGE;
    }
    return BP_OK;
}

static bp_status scan_sizes(bp_plan_model *model, bp_error *error)
{
    const bp_plan_request *request = model->request;
    uint64_t total = 0;
    for (size_t i = 0; i < request->n; i++) {
        if (!bp_add(total, request->sizes[i], &total)) {
            (void)bp_fail(
                error, BP_TOO_LARGE,
                "the sizes up to buffer %zu sum to more than 2^64 - 1", i);
            bp_error_numbers(error, request->sizes[i], UINT64_MAX - total);
            return BP_TOO_LARGE;
        }
    }
    model->total_bytes = total;
    return BP_OK;
}

static bp_status scan_aligns(bp_plan_model *model, bp_error *error)
{
    const bp_plan_request *request = model->request;
    model->align_bits = 1;
    if (request->aligns == NULL) {
        return BP_OK;
    }
    uint64_t bits = 0;
    for (size_t i = 0; i < request->n; i++) {
        uint64_t align = request->aligns[i];
        if (!bp_is_power_of_two(align) || align > MAX_PLAN_ALIGN) {
            (void)bp_fail(error, BP_BAD_VALUE,
                          "buffer %zu: alignment %" PRIu64
                          " is no power of two up to 2^32",
                          i, align);
            bp_error_numbers(error, align, MAX_PLAN_ALIGN);
            return BP_BAD_VALUE;
        }
        bits |= align;
    }
    model->align_bits = bits;
    return BP_OK;
}

static bp_status scan_lifetimes(bp_plan_model *model, bp_error *error)
{
    const bp_plan_request *request = model->request;
    model->is_together = true;
    if (request->first == NULL && request->last == NULL) {
        return BP_OK;
    }
    if (request->first == NULL || request->last == NULL) {
        return bp_fail(error, BP_BAD_VALUE,
                       "lifetimes need both first and last");
    }
    int64_t latest_first = INT64_MIN, earliest_last = INT64_MAX;
    for (size_t i = 0; i < request->n; i++) {
        int64_t first = request->first[i], last = request->last[i];
        if (first > last) {
            return bp_fail(error, BP_BAD_VALUE,
                           "buffer %zu: its lifetime ends at %" PRId64
                           ", before it begins at %" PRId64,
                           i, last, first);
        }
        if (request->sizes[i] != 0) {
            latest_first = first > latest_first ? first : latest_first;
            earliest_last = last < earliest_last ? last : earliest_last;
        }
    }
    model->is_together = latest_first < earliest_last;
    return BP_OK;
}

bp_status bp__plan_model_init(bp_plan_model *model,
                              const bp_plan_request *request, bp_error *error)
{
    *model = (bp_plan_model){.request = request};
    bp_status status = check_mode(request->mode, error);
    if (status == BP_OK) {
        status = check_wishes(request, error);
    }
    if (status == BP_OK) {
        status = scan_sizes(model, error);
    }
    if (status == BP_OK) {
        status = scan_aligns(model, error);
    }
    if (status == BP_OK) {
        status = scan_lifetimes(model, error);
    }
    if (status == BP_OK) {
        status = bp__pins_check(request, error);
    }
    return status;
}
