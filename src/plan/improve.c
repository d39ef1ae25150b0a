/* improve.c - candidates, cheapest first, until one meets the bound. */
#include "plan/improve.h"

#include "base/alloc.h"
#include "plan/exact.h"
#include "plan/first_fit.h"
#include "plan/order.h"
#include "plan/pins.h"
#include "plan/section_bounds.h"
#include "plan/sections.h"
#include "plan/simple.h"

#include <string.h>

/* Up to so many buffers gap first fit looks at all pairs; beyond, only at those
 * that are alive together, if there are few enough for all orders, or for that
 * by size. */
#define MAX_FOR_ORDERS 1500u
#define FEW_PAIRS      ((uint64_t)1 << 19)
#define MANY_PAIRS     ((uint64_t)1 << 21)
/* Above this the modes search less by themselves: nodes cost more. */
#define FULL_BUDGET_BUFFERS 512u
/* Below this no sum of an offset, a size and an alignment can wrap. */
#define MAX_PADDED ((uint64_t)1 << 62)

typedef struct racing {
    const bp_plan_model *model;
    const bp_plan_request *request;
    bp_allocator alloc;
    bp__sections sections;
    uint64_t *best, *trial; /* offsets */
    uint64_t *bounds;       /* by part */
    uint64_t floor;         /* height that pins and buffers never alive make */
    bool has_plan;
    bp_plan_result result;
} racing;

/* ---- heights and bounds ------------------------------------------------ */

static uint64_t height_of(const racing *race, const uint64_t *offsets)
{
    const bp_plan_request *request = race->request;
    uint64_t height = 0;
    for (size_t i = 0; i < request->n; i++) {
        uint64_t end = offsets[i] + request->sizes[i];
        height = request->sizes[i] != 0 && end > height ? end : height;
    }
    return height;
}

static uint64_t part_height(const racing *race, uint32_t p)
{
    const bp__part *part = &race->sections.parts[p];
    uint64_t height = 0;
    for (uint32_t k = part->first_birth; k < part->last_birth; k++) {
        uint32_t id = race->sections.birth[k];
        uint64_t end = race->best[id] + race->request->sizes[id];
        height = end > height ? end : height;
    }
    return height;
}

static void gather_bounds(racing *race)
{
    uint64_t bound = race->floor;
    for (uint32_t p = 0; p < race->sections.n_parts; p++) {
        bound = race->bounds[p] > bound ? race->bounds[p] : bound;
    }
    race->result.lower_bound = bound;
}

/* Good enough: proven, or the capacity is kept. */
static bool is_settled(const racing *race)
{
    const bp_plan_request *request = race->request;
    if (!race->has_plan) {
        return false;
    }
    if (request->has_capacity &&
        (race->result.height <= request->capacity ||
         race->result.lower_bound > request->capacity)) {
        return true;
    }
    return race->result.height <= race->result.lower_bound;
}

/* Buffers that are never alive lie at 0 or at their pin. */
static void place_idle(racing *race)
{
    const bp_plan_request *request = race->request;
    for (size_t i = 0; i < request->n; i++) {
        bool is_pinned = bp__plan_is_pinned(request, i);
        uint64_t offset = is_pinned ? (uint64_t)request->pins[i] : 0;
        race->best[i] = offset;
        race->trial[i] = offset;
        if (request->sizes[i] != 0 &&
            (is_pinned || !bp__plan_is_ever_live(request, i))) {
            uint64_t end = offset + request->sizes[i];
            race->floor = end > race->floor ? end : race->floor;
        }
    }
}

/* ---- candidates -------------------------------------------------------- */

/* The trial becomes the best plan if it is lower. */
static void enter(racing *race)
{
    uint64_t height = height_of(race, race->trial);
    if (!race->has_plan || height < race->result.height) {
        uint64_t *swap = race->best;
        race->best = race->trial;
        race->trial = swap;
        race->result.height = height;
        race->has_plan = true;
    }
}

/* The simple plans also place what is never alive, anywhere; put it back. */
static void enter_simple(racing *race,
                         bool (*place)(const bp_plan_model *model,
                                       uint64_t *offsets, uint64_t *height))
{
    uint64_t height;
    if (!place(race->model, NULL, &height) ||
        !place(race->model, race->trial, &height)) {
        return; /* beyond 64 bits */
    }
    for (size_t i = 0; i < race->request->n; i++) {
        if (!bp__plan_is_ever_live(race->request, i)) {
            race->trial[i] = 0;
        }
    }
    enter(race);
}

static void race_simple(racing *race)
{
    if (race->request->pins == NULL) {
        enter_simple(race, bp__plan_sequential);
        if (!is_settled(race)) {
            enter_simple(race, bp__plan_packed);
        }
    }
}

/* Gap first fit in as many orders as the number of pairs allows. */
static bool race_pairs(racing *race)
{
    uint64_t n_pairs;
    if (!bp__neighbours_count(&race->sections, &n_pairs)) {
        return false;
    }
    int n_orders = n_pairs <= FEW_PAIRS    ? (int)BP__N_FIT_ORDERS
                   : n_pairs <= MANY_PAIRS ? 1
                                           : 0;
    bp__neighbours neighbours;
    if (n_orders == 0) {
        return true;
    }
    if (!bp__neighbours_init(&neighbours, &race->sections, n_pairs)) {
        return false;
    }
    bool is_done = true;
    for (int order = 0; order < n_orders && is_done; order++) {
        is_done = bp__fit_by_pairs(&neighbours, race->request,
                                   (bp__fit_order)order, race->trial);
        if (is_done) {
            enter(race);
        }
        if (is_settled(race)) {
            break;
        }
    }
    bp__neighbours_fini(&neighbours);
    return is_done;
}

static bool race_orders(racing *race)
{
    if (race->sections.n > MAX_FOR_ORDERS) {
        return race_pairs(race);
    }
    for (int order = 0; order < (int)BP__N_FIT_ORDERS; order++) {
        if (!bp__fit_by_order(&race->sections, race->request,
                              (bp__fit_order)order, race->trial)) {
            return false;
        }
        enter(race);
        if (is_settled(race)) {
            break;
        }
    }
    return true;
}

static bool race_fits(racing *race)
{
    const bp_plan_request *request = race->request;
    if (!is_settled(race)) {
        if (!bp__fit_by_birth(&race->sections, request, race->trial)) {
            return false;
        }
        enter(race);
    }
    if (!is_settled(race) && request->pins == NULL) {
        bool is_laminar;
        if (!bp__fit_stack(&race->sections, request, race->trial,
                           &is_laminar)) {
            return false;
        }
        if (is_laminar) {
            enter(race);
        }
    }
    return is_settled(race) || race_orders(race);
}

/* ---- the searches ------------------------------------------------------ */

static bool poll_caller(void *ctx, uint64_t n_nodes, uint64_t height,
                        uint64_t lower_bound)
{
    const racing *race = ctx;
    bp_plan_progress progress = {n_nodes, race->result.height,
                                 race->result.lower_bound};
    if (race->sections.n_parts == 1) { /* a part is not the whole */
        progress.height = height > race->floor ? height : race->floor;
    }
    if (lower_bound > progress.lower_bound) {
        progress.lower_bound = lower_bound;
    }
    return race->request->poll(race->request->poll_ctx, &progress);
}

static uint64_t budget_of(const racing *race)
{
    const bp_plan_request *request = race->request;
    if (request->node_budget != 0) {
        return request->node_budget;
    }
    /* Who asks for a decision waits for it. */
    bool is_small = request->mode == BP_PLAN_AUTO && !request->has_capacity;
    uint64_t n_nodes = is_small ? BP_PLAN_AUTO_NODES : BP_PLAN_OPTIMAL_NODES;
    uint32_t n = race->sections.n;
    return n <= FULL_BUDGET_BUFFERS ? n_nodes
                                    : n_nodes * FULL_BUDGET_BUFFERS / n;
}

static bool search_part(racing *race, uint32_t p, uint64_t budget)
{
    const bp_plan_request *request = race->request;
    bp__exact exact = {.sections = &race->sections,
                       .request = request,
                       .part = p,
                       .goal = request->has_capacity ? request->capacity
                                                     : race->result.lower_bound,
                       .is_decision = request->has_capacity,
                       .height = part_height(race, p),
                       .lower_bound = race->bounds[p],
                       .node_budget = budget,
                       .n_nodes = race->result.n_nodes,
                       .offsets = race->best,
                       .poll = request->poll == NULL ? NULL : poll_caller,
                       .poll_ctx = race};
    if (!bp__exact_run(&exact)) {
        return false;
    }
    race->result.n_nodes = exact.n_nodes;
    race->result.is_interrupted = exact.is_interrupted;
    race->bounds[p] = exact.lower_bound;
    gather_bounds(race);
    race->result.height = height_of(race, race->best);
    return true;
}

static uint64_t goal_of(const racing *race)
{
    return race->request->has_capacity ? race->request->capacity
                                       : race->result.lower_bound;
}

/* The parts that stand above the goal, those with the fewest buffers first:
 * what they leave of their share is for the others. */
static uint32_t list_parts(const racing *race, uint32_t *parts, uint32_t *spare,
                           uint64_t *keys)
{
    uint32_t n = 0;
    for (uint32_t p = 0; p < race->sections.n_parts; p++) {
        const bp__part *part = &race->sections.parts[p];
        keys[p] = part->last_birth - part->first_birth;
        if (part_height(race, p) > goal_of(race)) {
            parts[n++] = p;
        }
    }
    bp__order_by_key(parts, keys, n, spare);
    return n;
}

static bool search_listed(racing *race, const uint32_t *parts, uint32_t n)
{
    uint64_t budget = budget_of(race);
    for (uint32_t k = 0; k < n; k++) {
        if (is_settled(race) || race->result.is_interrupted) {
            break;
        }
        uint64_t used = race->result.n_nodes;
        uint64_t left = used < budget ? budget - used : 0;
        if (part_height(race, parts[k]) > goal_of(race) &&
            !search_part(race, parts[k], (left + n - k - 1) / (n - k))) {
            return false;
        }
    }
    return true;
}

static bool search_parts(racing *race)
{
    uint32_t n = race->sections.n_parts;
    if (is_settled(race)) {
        return true;
    }
    uint32_t *parts = bp__alloc_array(&race->alloc, n, sizeof *parts);
    uint32_t *spare = bp__alloc_array(&race->alloc, n, sizeof *spare);
    uint64_t *keys = bp__alloc_array(&race->alloc, n, sizeof *keys);
    bool is_done = parts != NULL && spare != NULL && keys != NULL;
    if (is_done) {
        uint32_t n_listed = list_parts(race, parts, spare, keys);
        is_done = search_listed(race, parts, n_listed);
    }
    bp__free_array(&race->alloc, parts, n, sizeof *parts);
    bp__free_array(&race->alloc, spare, n, sizeof *spare);
    bp__free_array(&race->alloc, keys, n, sizeof *keys);
    return is_done;
}

/* ---- all together ------------------------------------------------------ */

static bool is_padded_sum_small(const bp_plan_request *request)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < request->n; i++) {
        uint64_t padded = request->sizes[i];
        if (padded == 0) {
            continue; /* lies where it lies */
        }
        if (bp__plan_is_pinned(request, i)) {
            padded += (uint64_t)request->pins[i]; /* checked with the pins */
        }
        if (!bp_add(padded, bp__plan_align(request, i) - 1, &padded) ||
            !bp_add(sum, padded, &sum) || sum > MAX_PADDED) {
            return false;
        }
    }
    return true;
}

static bp_plan_status judge(const racing *race)
{
    const bp_plan_request *request = race->request;
    if (request->has_capacity) {
        return race->result.height <= request->capacity ? BP_PLAN_FEASIBLE
               : race->result.lower_bound > request->capacity
                   ? BP_PLAN_INFEASIBLE
                   : BP_PLAN_UNKNOWN;
    }
    return race->result.height <= race->result.lower_bound ? BP_PLAN_IS_OPTIMAL
                                                           : BP_PLAN_FEASIBLE;
}

static bp_status too_large(const bp_plan_request *request, bp_error *error)
{
    if (request->pins != NULL) {
        return bp_fail(error, BP_TOO_LARGE,
                       "the sizes with their pins and alignments sum to more "
                       "than 2^62 bytes");
    }
    return bp_fail(error, BP_TOO_LARGE,
                   "the sizes with their alignments need more than 2^64 - 1 "
                   "bytes");
}

static bp_status no_memory(const racing *race, bp_error *error)
{
    return bp_fail(error, BP_NO_MEMORY,
                   "no memory to plan the lifetimes of %zu buffers",
                   race->request->n);
}

static bool prepare(racing *race)
{
    size_t n = race->request->n;
    race->best = bp__alloc_array(&race->alloc, n, sizeof(uint64_t));
    race->trial = bp__alloc_array(&race->alloc, n, sizeof(uint64_t));
    if (race->best == NULL || race->trial == NULL) {
        return false;
    }
    place_idle(race);
    if (!bp__sections_init(&race->sections, race->request, &race->alloc)) {
        return false;
    }
    race->bounds =
        bp__alloc_array(&race->alloc, race->sections.n_parts, sizeof(uint64_t));
    if (race->bounds == NULL) {
        return false;
    }
    for (uint32_t p = 0; p < race->sections.n_parts; p++) {
        const bp__part *part = &race->sections.parts[p];
        race->bounds[p] = bp__sections_load(
            &race->sections, part->first_section, part->last_section);
        race->result.load = race->bounds[p] > race->result.load
                                ? race->bounds[p]
                                : race->result.load;
    }
    gather_bounds(race);
    return true;
}

static bp_status run(racing *race, bp_error *error)
{
    if (!prepare(race)) {
        return no_memory(race, error);
    }
    bp_status status =
        bp__pins_check_overlap(&race->sections, race->request, error);
    if (status != BP_OK) {
        return status;
    }
    race_simple(race);
    if (!is_padded_sum_small(race->request)) {
        return race->has_plan ? BP_OK : too_large(race->request, error);
    }
    if (!is_settled(race)) {
        if (!bp__section_bounds(&race->sections, race->model, race->bounds)) {
            return no_memory(race, error);
        }
        gather_bounds(race);
    }
    if (!race_fits(race)) {
        return no_memory(race, error);
    }
    if (race->request->mode != BP_PLAN_FAST && !search_parts(race)) {
        return no_memory(race, error);
    }
    return BP_OK;
}

bp_status bp__improve(bp__improved *improved, const bp_plan_model *model,
                      const bp_allocator *alloc, bp_error *error)
{
    racing race = {.model = model, .request = model->request, .alloc = *alloc};
    size_t n = model->request->n;
    bp_status status = run(&race, error);
    if (status == BP_OK) {
        race.result.status = judge(&race);
        *improved = (bp__improved){.alloc = *alloc,
                                   .n = n,
                                   .offsets = race.best,
                                   .result = race.result};
        race.best = NULL;
    }
    bp__free_array(alloc, race.best, n, sizeof(uint64_t));
    bp__free_array(alloc, race.trial, n, sizeof(uint64_t));
    bp__free_array(alloc, race.bounds, race.sections.n_parts, sizeof(uint64_t));
    bp__sections_fini(&race.sections);
    return status;
}

void bp__improved_fini(bp__improved *improved)
{
    bp__free_array(&improved->alloc, improved->offsets, improved->n,
                   sizeof(uint64_t));
    improved->offsets = NULL;
}
