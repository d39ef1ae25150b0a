/* exact.c - targets, restarts, and the schedule between them. */
#include "plan/exact.h"

#include "base/alloc.h"
#include "plan/order.h"
#include "plan/search_tree.h"

#define N_TARGETS   8u
#define N_KEYS      4u
#define RUN_NODES   4u /* nodes of the shortest run, per item */
#define NOISE       307u
#define NOISE_SCALE 1024u

/* A height that was tried, and how many runs it has had. */
typedef struct aim {
    uint64_t limit;
    uint64_t n_runs;
} aim;

typedef struct searching {
    bp__exact *exact;
    bp_allocator alloc;
    uint64_t unit; /* bytes */
    bp__item *items;
    bp__pin *pins;
    uint32_t n_items, n_pins, n_births;
    bp__search_model model;
    bp__state state;
    bp__tree tree;
    uint32_t *order, *spare;
    uint64_t *keys;
    aim targets[N_TARGETS];
    uint32_t n_targets;                /* ever; the oldest gives way */
    uint32_t weight_shift, size_shift; /* so that a product fits */
    uint64_t low, high; /* units: no plan is below low; one of high is known */
    uint64_t base;      /* units: the lowest height worth having */
} searching;

/* ---- the model --------------------------------------------------------- */

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* What divides every offset of a plan that has sunk to the bottom: the sizes'
 * common divisor, less its odd part if some alignment does not divide it. */
static uint64_t common_unit(const bp__sections *sections,
                            const bp_plan_request *request,
                            const bp__part *part)
{
    uint64_t unit = 0, max_align = 1;
    for (uint32_t k = part->first_birth; k < part->last_birth; k++) {
        uint32_t id = sections->birth[k];
        unit = common_divisor(request->sizes[id], unit);
        if (bp__plan_is_pinned(request, id)) {
            unit = common_divisor((uint64_t)request->pins[id], unit);
        } else if (bp__plan_align(request, id) > max_align) {
            max_align = bp__plan_align(request, id);
        }
    }
    uint64_t even = unit & -unit;
    return max_align > even ? even : unit;
}

static void add_pin(searching *work, uint32_t id, const bp__part *part)
{
    const bp__sections *sections = work->exact->sections;
    const bp_plan_request *request = work->exact->request;
    uint64_t low = (uint64_t)request->pins[id] / work->unit;
    uint32_t at = work->n_pins++;
    while (at > 0 && work->pins[at - 1].low > low) {
        work->pins[at] = work->pins[at - 1];
        at--;
    }
    work->pins[at] = (bp__pin){
        .low = low,
        .high = low + request->sizes[id] / work->unit,
        .first = sections->first[id] - part->first_section,
        .last = sections->last[id] - part->first_section,
    };
}

static void add_item(searching *work, uint32_t id, const bp__part *part)
{
    const bp__sections *sections = work->exact->sections;
    const bp_plan_request *request = work->exact->request;
    uint64_t align = bp__plan_align(request, id) / (work->unit & -work->unit);
    uint64_t weight = 1;
    if (request->first != NULL) {
        weight = (uint64_t)request->last[id] - (uint64_t)request->first[id];
    }
    work->items[work->n_items++] = (bp__item){
        .size = request->sizes[id] / work->unit,
        .align = align > 1 ? align : 1,
        .first = sections->first[id] - part->first_section,
        .last = sections->last[id] - part->first_section,
        .id = id,
        .weight = weight,
    };
}

/* Birth order is the order of first sections. */
static bool build_model(searching *work)
{
    const bp__exact *exact = work->exact;
    const bp__part *part = &exact->sections->parts[exact->part];
    work->unit = common_unit(exact->sections, exact->request, part);
    for (uint32_t k = part->first_birth; k < part->last_birth; k++) {
        uint32_t id = exact->sections->birth[k];
        if (bp__plan_is_pinned(exact->request, id)) {
            add_pin(work, id, part);
        } else {
            add_item(work, id, part);
        }
    }
    return bp__search_model_init(
        &work->model, work->items, work->n_items, work->pins, work->n_pins,
        part->last_section - part->first_section, &work->alloc);
}

/* ---- one run ----------------------------------------------------------- */

static uint64_t luby(uint64_t i)
{
    for (;;) {
        uint64_t power = 1;
        while (2 * power - 1 < i) {
            power *= 2;
        }
        if (2 * power - 1 == i) {
            return power;
        }
        i -= power - 1;
    }
}

static uint64_t key_of(const searching *work, const bp__item *item,
                       uint64_t which)
{
    uint64_t span = item->last - item->first;
    switch (which) {
    case 0:
        return span;
    case 1:
        return item->size;
    case 2:
        return (item->weight >> work->weight_shift) *
               (item->size >> work->size_shift);
    default:
        return item->weight;
    }
}

/* Largest key first, with noise from the second round of keys on. */
static void rank_items(searching *work, uint64_t which, uint64_t seed)
{
    uint64_t most = 0, noise = bp__mix(seed * 1234567 + 99);
    uint32_t n = work->model.n, shift = 0;
    for (uint32_t i = 0; i < n; i++) {
        most |= key_of(work, &work->model.items[i], which);
        work->order[i] = i;
    }
    while (most >> shift >= (uint64_t)1 << 50) {
        shift++;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t factor = NOISE_SCALE;
        noise = bp__mix(noise + i + 1);
        if (seed != 0) {
            factor += noise % (2 * NOISE + 1) - NOISE;
        }
        uint64_t key = key_of(work, &work->model.items[i], which) >> shift;
        work->keys[i] = ~(key * factor);
    }
    bp__order_by_key(work->order, work->keys, n, work->spare);
    for (uint32_t k = 0; k < n; k++) {
        work->tree.rank[work->order[k]] = k;
    }
}

static bp__outcome run_once(searching *work, aim *target, uint64_t n_left)
{
    static const bp__flavour flavours[BP__N_FLAVOURS] = {
        BP__BY_DEAD_ENDS, BP__BY_OFFSET, BP__BY_FIT};
    uint64_t run = target->n_runs++, round = run / BP__N_FLAVOURS;
    bp__flavour flavour = flavours[run % BP__N_FLAVOURS];
    work->tree.flavour = flavour;
    rank_items(work, round % N_KEYS, round < N_KEYS ? 0 : round + 1);
    uint64_t n_nodes = luby(round + 1) * RUN_NODES * work->model.n;
    return bp__tree_run(&work->tree,
                        flavour == BP__BY_OFFSET ? bp__expand_canonical
                                                 : bp__expand_valley,
                        target->limit, n_nodes < n_left ? n_nodes : n_left);
}

/* ---- targets ----------------------------------------------------------- */

static void keep_solution(searching *work)
{
    bp__exact *exact = work->exact;
    uint64_t high = work->model.pins_top;
    for (uint32_t i = 0; i < work->model.n; i++) {
        const bp__item *item = &work->model.items[i];
        uint64_t level = work->state.least[i];
        exact->offsets[item->id] = level * work->unit;
        high = level + item->size > high ? level + item->size : high;
    }
    work->high = high;
    exact->height = high * work->unit;
}

static aim *find_target(searching *work, uint64_t limit)
{
    uint32_t n = work->n_targets < N_TARGETS ? work->n_targets : N_TARGETS;
    for (uint32_t t = 0; t < n; t++) {
        if (work->targets[t].limit == limit) {
            return &work->targets[t];
        }
    }
    aim *target = &work->targets[work->n_targets++ % N_TARGETS];
    target->limit = limit;
    target->n_runs = 0;
    return target;
}

static uint64_t nodes_left(const searching *work)
{
    uint64_t used = work->tree.n_nodes;
    uint64_t budget = work->exact->node_budget;
    return used < budget ? budget - used : 0;
}

static bool is_settled(const searching *work)
{
    return work->high <= work->low || work->high <= work->base ||
           (work->exact->is_decision && work->low > work->base);
}

/* A limit that is refuted without a node is often one of very many, all below a
 * pin say: bisect for the lowest that is not. False: no memory. */
static bool skip_hopeless(searching *work)
{
    uint64_t open = work->high;
    while (work->low < open) {
        uint64_t limit = work->low + (open - work->low) / 2;
        if (bp__state_start(&work->state, limit)) {
            open = limit;
        } else if (work->state.is_out_of_memory) {
            return false;
        } else {
            work->low = limit + 1;
        }
    }
    return true;
}

static bp__outcome raise_low(searching *work, uint64_t limit, bool is_free)
{
    work->low = limit + 1;
    bool is_done = !is_free || is_settled(work) || skip_hopeless(work);
    work->exact->lower_bound = work->low * work->unit;
    return is_done ? BP__REFUTED : BP__FAILED;
}

/* Runs towards one target until its slice is used up. True: the bounds moved,
 * or nothing more can be done. */
static bool try_target(searching *work, uint64_t limit, uint64_t slice,
                       bp__outcome *outcome)
{
    aim *target = find_target(work, limit);
    uint64_t stop_at = work->tree.n_nodes + slice;
    while (work->tree.n_nodes < stop_at && nodes_left(work) > 0) {
        uint64_t used = work->tree.n_nodes;
        *outcome = run_once(work, target, nodes_left(work));
        if (*outcome == BP__SOLVED) {
            keep_solution(work);
            return true;
        }
        if (*outcome == BP__REFUTED) {
            *outcome = raise_low(work, limit, work->tree.n_nodes == used);
            return true;
        }
        if (*outcome == BP__FAILED || work->tree.is_interrupted) {
            return true;
        }
    }
    return false;
}

/* The lowest height of interest first, with the most nodes; then levels on the
 * way to what is known. */
static bool try_targets(searching *work, uint64_t slice, bp__outcome *outcome)
{
    static const uint32_t fractions[] = {0, 8, 4, 2, 1};
    uint64_t base = work->base > work->low ? work->base : work->low;
    uint64_t gap = work->high - base, before = UINT64_MAX;
    for (size_t k = 0; k < sizeof fractions / sizeof *fractions; k++) {
        uint64_t limit = base + (k > 0 ? gap / fractions[k] : 0);
        limit = limit < work->high ? limit : work->high - 1;
        if (limit != before &&
            try_target(work, limit, k > 0 ? slice / 4 : slice, outcome)) {
            return true;
        }
        before = limit;
        if (work->exact->is_decision) {
            break;
        }
    }
    return false;
}

static bool poll_tree(void *ctx, uint64_t n_nodes)
{
    const searching *work = ctx;
    const bp__exact *exact = work->exact;
    return exact->poll(exact->poll_ctx, exact->n_nodes + n_nodes, exact->height,
                       exact->lower_bound);
}

static bool search(searching *work)
{
    bp__exact *exact = work->exact;
    bp__outcome outcome = BP__CUT;
    work->low = exact->lower_bound / work->unit +
                (exact->lower_bound % work->unit != 0);
    exact->lower_bound = work->low * work->unit;
    work->high = exact->height / work->unit + (exact->height % work->unit != 0);
    work->base = exact->goal / work->unit;
    uint64_t slice = (uint64_t)RUN_NODES * work->model.n * 8 + 1;
    while (!is_settled(work) && nodes_left(work) > 0 &&
           !work->tree.is_interrupted) {
        if (!try_targets(work, slice, &outcome)) {
            slice *= 2;
        }
        if (outcome == BP__FAILED) {
            return false;
        }
    }
    return true;
}

static void choose_shifts(searching *work)
{
    uint64_t weights = 0, sizes = 0;
    for (uint32_t i = 0; i < work->model.n; i++) {
        weights |= work->model.items[i].weight;
        sizes |= work->model.items[i].size;
    }
    work->weight_shift = 0;
    work->size_shift = 0;
    while (weights >> work->weight_shift >> 31 != 0) {
        work->weight_shift++;
    }
    while (sizes >> work->size_shift >> 31 != 0) {
        work->size_shift++;
    }
}

static bool prepare(searching *work)
{
    const bp_allocator *alloc = &work->alloc;
    uint32_t n = work->n_births;
    work->items = bp__alloc_array(alloc, n, sizeof *work->items);
    work->pins = bp__alloc_array(alloc, n, sizeof *work->pins);
    work->order = bp__alloc_array(alloc, n, sizeof(uint32_t));
    work->spare = bp__alloc_array(alloc, n, sizeof(uint32_t));
    work->keys = bp__alloc_array(alloc, n, sizeof(uint64_t));
    if (work->items == NULL || work->pins == NULL || work->order == NULL ||
        work->spare == NULL || work->keys == NULL || !build_model(work)) {
        return false;
    }
    choose_shifts(work);
    return bp__state_init(&work->state, &work->model, alloc) &&
           bp__tree_init(&work->tree, &work->state, work->exact->node_budget,
                         alloc);
}

static void release(searching *work)
{
    const bp_allocator *alloc = &work->alloc;
    uint32_t n = work->n_births;
    if (work->tree.state != NULL) {
        bp__tree_fini(&work->tree);
    }
    if (work->state.model != NULL) {
        bp__state_fini(&work->state);
    }
    if (work->model.items != NULL) {
        bp__search_model_fini(&work->model);
    }
    bp__free_array(alloc, work->items, n, sizeof *work->items);
    bp__free_array(alloc, work->pins, n, sizeof *work->pins);
    bp__free_array(alloc, work->order, n, sizeof(uint32_t));
    bp__free_array(alloc, work->spare, n, sizeof(uint32_t));
    bp__free_array(alloc, work->keys, n, sizeof(uint64_t));
}

/* Such parts are left to the fast plans. */
static bool is_too_large(const bp__sections *sections, const bp__part *part)
{
    uint64_t n_pairs = 0;
    for (uint32_t k = part->first_birth; k < part->last_birth; k++) {
        uint32_t id = sections->birth[k];
        n_pairs += sections->last[id] - sections->first[id];
    }
    return part->last_birth - part->first_birth > BP_PLAN_MAX_SEARCHED ||
           n_pairs > BP_PLAN_MAX_PAIRS;
}

bool bp__exact_run(bp__exact *exact)
{
    const bp__part *part = &exact->sections->parts[exact->part];
    if (is_too_large(exact->sections, part)) {
        return true;
    }
    searching work = {.exact = exact,
                      .alloc = exact->sections->alloc,
                      .n_births = part->last_birth - part->first_birth};
    bool is_done = prepare(&work);
    if (is_done) {
        if (exact->poll != NULL) {
            work.tree.poll = poll_tree;
            work.tree.poll_ctx = &work;
        }
        is_done = search(&work);
        exact->n_nodes += work.tree.n_nodes;
        exact->is_interrupted = work.tree.is_interrupted;
    }
    release(&work);
    return is_done;
}
