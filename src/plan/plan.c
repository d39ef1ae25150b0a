/* plan.c - bp_plan_run: choose, place, and say how good it is. */
#include "bayplan/plan.h"

#include "base/alloc.h"
#include "plan/bounds.h"
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
    return status == BP_PLAN_IS_OPTIMAL ? "optimal" : "feasible";
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

/* A mode to the plan it asks for. *bound is proven. */
static bp_status choose(const bp_plan_model *model, uint64_t load,
                        candidate *best, uint64_t *bound, bp_error *error)
{
    bp_plan_mode mode = model->request->mode;
    *best = measure(model, mode == BP_PLAN_PACKED ? bp__plan_packed
                                                  : bp__plan_sequential);
    if (best->is_possible) {
        *bound = lower_bound(model, load, best->height);
    }
    bool is_settled =
        mode != BP_PLAN_AUTO || (best->is_possible && best->height == *bound);
    if (!is_settled) {
        candidate packed = measure(model, bp__plan_packed);
        if (packed.is_possible &&
            (!best->is_possible || packed.height < best->height)) {
            *best = packed;
            *bound = lower_bound(model, load, best->height);
        }
    }
    return best->is_possible ? BP_OK : too_large(error);
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
    uint64_t load;
    if (!bp__plan_load(&model, &scratch, &load)) {
        return bp_fail(error, BP_NO_MEMORY,
                       "no memory to sort the lifetimes of %zu buffers",
                       request->n);
    }
    candidate best;
    uint64_t bound = 0;
    status = choose(&model, load, &best, &bound, error);
    if (status != BP_OK) {
        return status;
    }

    uint64_t height;
    bool is_placed = best.place(&model, offsets, &height);
    assert(is_placed && height == best.height); /* as it was measured */
    (void)is_placed;
    *result = (bp_plan_result){
        .height = best.height,
        .load = load,
        .lower_bound = bound,
        .status = best.height == bound ? BP_PLAN_IS_OPTIMAL : BP_PLAN_FEASIBLE,
    };
    return BP_OK;
}
