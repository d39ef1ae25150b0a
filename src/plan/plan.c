/* plan.c - bp_plan_run: choose, place, and say how good it is. */
#include "bayplan/plan.h"

#include "base/alloc.h"
#include "plan/bounds.h"
#include "plan/improve.h"
#include "plan/model.h"
#include "plan/simple.h"

#include <assert.h>
#include <string.h>

static const char *const mode_names[BP_N_PLAN_MODES] = {
    [BP_PLAN_AUTO] = "auto",       [BP_PLAN_SEQUENTIAL] = "sequential",
    [BP_PLAN_PACKED] = "packed",   [BP_PLAN_FAST] = "fast",
    [BP_PLAN_OPTIMAL] = "optimal",
};

const char *bp_plan_mode_name(bp_plan_mode mode)
{
    size_t i = (size_t)mode;
    return i < (size_t)BP_N_PLAN_MODES ? mode_names[i] : "unknown";
}

bool bp_plan_mode_parse(const char *name, bp_plan_mode *out)
{
    for (size_t i = 0; i < (size_t)BP_N_PLAN_MODES; i++) {
        if (strcmp(mode_names[i], name) == 0) {
            *out = (bp_plan_mode)i;
            return true;
        }
    }
    return false;
}

const char *bp_plan_status_name(bp_plan_status status)
{
    switch (status) {
    case BP_PLAN_IS_OPTIMAL:
        return "optimal";
    case BP_PLAN_INFEASIBLE:
        return "infeasible";
    case BP_PLAN_UNKNOWN:
        return "unknown";
    default:
        return "feasible";
    }
}

typedef bool (*place_function)(const bp_plan_model *model, uint64_t *offsets,
                               uint64_t *out_height);

typedef struct candidate {
    place_function place;
    bool is_possible; /* its height fits 64 bits */
    uint64_t height;
} candidate;

static candidate measure(const bp_plan_model *model, place_function place)
{
    candidate it = {place, false, UINT64_MAX};
    it.is_possible = place(model, NULL, &it.height);
    return it;
}

static bp_status too_large(bp_error *error)
{
    return bp_fail(error, BP_TOO_LARGE,
                   "the sizes with their alignments need more than 2^64 - 1 "
                   "bytes");
}

/* LOAD, or the alignment bound where it applies and could say more: a height
 * that equals LOAD needs no second bound. */
static uint64_t lower_bound(const bp_plan_model *model, uint64_t load,
                            uint64_t height)
{
    if (!model->is_together || height == load) {
        return load;
    }
    return bp__plan_align_bound(model);
}

/* The modes that ignore lifetimes, and auto if declaration order is as good as
 * any: no memory is asked for but to sort lifetimes. False in *is_settled:
 * nothing was written. */
static bp_status run_simple(const bp_plan_model *model,
                            const bp_allocator *alloc, uint64_t *offsets,
                            bp_plan_result *result, bool *is_settled,
                            bp_error *error)
{
    const bp_plan_request *request = model->request;
    bool is_auto = request->mode == BP_PLAN_AUTO;
    uint64_t load;
    if (!bp__plan_load(model, alloc, &load)) {
        return bp_fail(error, BP_NO_MEMORY,
                       "no memory to sort the lifetimes of %zu buffers",
                       request->n);
    }
    candidate best =
        measure(model, request->mode == BP_PLAN_PACKED ? bp__plan_packed
                                                       : bp__plan_sequential);
    *is_settled = !is_auto;
    if (!best.is_possible) {
        return is_auto ? BP_OK : too_large(error);
    }
    uint64_t bound = lower_bound(model, load, best.height);
    if (is_auto && best.height != bound) {
        return BP_OK;
    }
    uint64_t height;
    bool is_placed = best.place(model, offsets, &height);
    assert(is_placed && height == best.height); /* as it was measured */
    (void)is_placed;
    *is_settled = true;
    *result = (bp_plan_result){
        .height = best.height,
        .load = load,
        .lower_bound = bound,
        .status = best.height == bound ? BP_PLAN_IS_OPTIMAL : BP_PLAN_FEASIBLE,
    };
    return BP_OK;
}

static bool is_simple(const bp_plan_request *request)
{
    return request->mode == BP_PLAN_SEQUENTIAL ||
           request->mode == BP_PLAN_PACKED ||
           (request->mode == BP_PLAN_AUTO && request->pins == NULL &&
            !request->has_capacity);
}

bp_status bp_plan_run(const bp_plan_request *request, const bp_allocator *alloc,
                      uint64_t *offsets, bp_plan_result *result,
                      bp_error *error)
{
    bp_plan_model model;
    bp_status status = bp__plan_model_init(&model, request, error);
    if (status != BP_OK) {
        return status;
    }
    bp_allocator scratch = bp__allocator_or_default(alloc);
    if (is_simple(request)) {
        bool is_settled = false;
        status =
            run_simple(&model, &scratch, offsets, result, &is_settled, error);
        if (status != BP_OK || is_settled) {
            return status;
        }
    }
    bp__improved improved;
    status = bp__improve(&improved, &model, &scratch, error);
    if (status == BP_OK) {
        if (request->n > 0) {
            memcpy(offsets, improved.offsets, request->n * sizeof *offsets);
        }
        *result = improved.result;
        bp__improved_fini(&improved);
    }
    return status;
}
