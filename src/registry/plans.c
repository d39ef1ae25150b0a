/* plans.c - plans kept by the content of their requests. */
#include "registry/plans.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <string.h>

/* One block: this, then sizes, alignments (if any), first and last (if any) and
 * offsets, 8 bytes each. */
struct bp__plan {
    bp__plan *newer;
    bp__plan *older;
    bp__plan *next; /* of the same bucket, or of those to be freed */
    size_t n_bytes; /* of the block */
    uint32_t hash;
    uint32_t algorithm;
    bp_plan_request request; /* its arrays lie in the block */
    bp_plan_result result;
    const uint64_t *offsets;
    uint64_t words[];
};

/* ---- requests ---------------------------------------------------------- */

/* All that an answer depends on, but for what is never kept. */
static uint32_t hash_request(const bp_plan_request *request)
{
    size_t n_bytes = request->n * sizeof(uint64_t);
    const uint64_t head[] = {BP_PLAN_ALGORITHM, (uint64_t)request->mode,
                             request->node_budget, request->n};
    const void *const arrays[] = {request->sizes, request->aligns,
                                  request->first, request->last};
    uint32_t parts[5] = {bp__hash_bytes(head, sizeof head)};
    for (size_t i = 0; i < 4; i++) {
        parts[i + 1] =
            arrays[i] == NULL ? 0 : bp__hash_bytes(arrays[i], n_bytes);
    }
    return bp__hash_bytes(parts, sizeof parts);
}

static bool is_same_array(const void *a, const void *b, size_t n)
{
    return a == NULL || b == NULL ? a == b
                                  : memcmp(a, b, n * sizeof(uint64_t)) == 0;
}

static bool is_of(const bp__plan *plan, const bp_plan_request *request)
{
    const bp_plan_request *kept = &plan->request;
    return plan->algorithm == BP_PLAN_ALGORITHM &&
           kept->mode == request->mode &&
           kept->node_budget == request->node_budget && kept->n == request->n &&
           is_same_array(kept->sizes, request->sizes, kept->n) &&
           is_same_array(kept->aligns, request->aligns, kept->n) &&
           is_same_array(kept->first, request->first, kept->n) &&
           is_same_array(kept->last, request->last, kept->n);
}

static bool is_worth_keeping(const bp_plan_request *request)
{
    return request->n != 0 && request->pins == NULL && !request->has_capacity &&
           request->mode != BP_PLAN_SEQUENTIAL &&
           request->mode != BP_PLAN_PACKED;
}

/* ---- lists ------------------------------------------------------------- */

static void unlink_use(bp__plans *plans, bp__plan *plan)
{
    *(plan->newer == NULL ? &plans->newest : &plan->newer->older) = plan->older;
    *(plan->older == NULL ? &plans->oldest : &plan->older->newer) = plan->newer;
}

static void link_newest(bp__plans *plans, bp__plan *plan)
{
    plan->newer = NULL;
    plan->older = plans->newest;
    *(plans->newest == NULL ? &plans->oldest : &plans->newest->newer) = plan;
    plans->newest = plan;
}

static bp__plan **bucket_of(bp__plans *plans, uint32_t hash)
{
    return &plans->buckets[hash % BP__PLANS_BUCKETS];
}

static bp__plan *find_locked(bp__plans *plans, const bp_plan_request *request,
                             uint32_t hash)
{
    bp__plan *plan = *bucket_of(plans, hash);
    while (plan != NULL && (plan->hash != hash || !is_of(plan, request))) {
        plan = plan->next;
    }
    return plan;
}

static void drop_oldest_locked(bp__plans *plans, bp__plan **dead)
{
    bp__plan *plan = plans->oldest;
    bp__plan **at = bucket_of(plans, plan->hash);
    while (*at != plan) {
        at = &(*at)->next;
    }
    *at = plan->next;
    unlink_use(plans, plan);
    plans->n_bytes -= plan->n_bytes;
    plans->n_plans--;
    plan->next = *dead;
    *dead = plan;
}

static void free_chain(const bp_allocator *alloc, bp__plan *plan)
{
    while (plan != NULL) {
        bp__plan *next = plan->next;
        bp__free_array(alloc, plan, plan->n_bytes, 1);
        plan = next;
    }
}

/* ---- life -------------------------------------------------------------- */

void bp__plans_init(bp__plans *plans, bp_mutex *lock, const bp_allocator *alloc)
{
    *plans = (bp__plans){.lock = lock,
                         .alloc = *alloc,
                         .n_most_bytes = BP__PLANS_BYTES,
                         .hash = hash_request};
}

void bp__plans_fini(bp__plans *plans)
{
    bp__plan *dead = NULL;
    while (plans->oldest != NULL) {
        drop_oldest_locked(plans, &dead);
    }
    free_chain(&plans->alloc, dead);
}

/* ---- keeping ----------------------------------------------------------- */

/* 0: too large to be kept. */
static size_t block_bytes(const bp__plans *plans,
                          const bp_plan_request *request)
{
    size_t n_arrays =
        2u + (request->aligns != NULL) + (request->first != NULL ? 2u : 0u);
    if (request->n > plans->n_most_bytes / (n_arrays * sizeof(uint64_t))) {
        return 0;
    }
    size_t n_bytes =
        sizeof(bp__plan) + n_arrays * request->n * sizeof(uint64_t);
    return n_bytes <= plans->n_most_bytes ? n_bytes : 0;
}

/* Copies n words and steps over them; NULL stays NULL. */
static void *put(uint64_t **at, const void *words, size_t n)
{
    if (words == NULL) {
        return NULL;
    }
    void *here = *at;
    memcpy(here, words, n * sizeof(uint64_t));
    *at += n;
    return here;
}

static bp__plan *copy_plan(const bp__plans *plans, size_t n_bytes,
                           const bp_plan_request *request,
                           const uint64_t *offsets,
                           const bp_plan_result *result)
{
    bp__plan *plan = bp__alloc_array(&plans->alloc, n_bytes, 1);
    if (plan == NULL) {
        return NULL;
    }
    uint64_t *at = plan->words;
    plan->n_bytes = n_bytes;
    plan->algorithm = BP_PLAN_ALGORITHM;
    plan->request = (bp_plan_request){
        .n = request->n,
        .sizes = put(&at, request->sizes, request->n),
        .mode = request->mode,
        .node_budget = request->node_budget,
    };
    plan->request.aligns = put(&at, request->aligns, request->n);
    plan->request.first = put(&at, request->first, request->n);
    plan->request.last = put(&at, request->last, request->n);
    plan->offsets = put(&at, offsets, request->n);
    plan->result = *result;
    return plan;
}

/* Its place among the others; or, if another thread has kept the same one
 * meanwhile, among the dead. */
static void enter_locked(bp__plans *plans, bp__plan *plan, bp__plan **dead)
{
    if (find_locked(plans, &plan->request, plan->hash) != NULL) {
        *dead = plan;
        return;
    }
    while (plans->n_bytes > plans->n_most_bytes - plan->n_bytes) {
        drop_oldest_locked(plans, dead);
        plans->n_dropped++;
    }
    bp__plan **bucket = bucket_of(plans, plan->hash);
    plan->next = *bucket;
    *bucket = plan;
    link_newest(plans, plan);
    plans->n_bytes += plan->n_bytes;
    plans->n_plans++;
}

static void keep(bp__plans *plans, const bp_plan_request *request,
                 uint32_t hash, const uint64_t *offsets,
                 const bp_plan_result *result)
{
    size_t n_bytes = block_bytes(plans, request);
    if (n_bytes == 0 || result->is_interrupted) {
        return;
    }
    bp__plan *plan = copy_plan(plans, n_bytes, request, offsets, result);
    bp__plan *dead = NULL;
    bp__mutex_lock(plans->lock);
    if (plan == NULL) {
        plans->n_refused++;
    } else {
        plan->hash = hash;
        enter_locked(plans, plan, &dead);
    }
    bp__mutex_unlock(plans->lock);
    free_chain(&plans->alloc, dead);
}

/* ---- finding ----------------------------------------------------------- */

static bool find(bp__plans *plans, const bp_plan_request *request,
                 uint32_t hash, uint64_t *offsets, bp_plan_result *result)
{
    bp__mutex_lock(plans->lock);
    bp__plan *plan = find_locked(plans, request, hash);
    if (plan != NULL) {
        unlink_use(plans, plan);
        link_newest(plans, plan);
        memcpy(offsets, plan->offsets, request->n * sizeof *offsets);
        *result = plan->result;
        plans->n_found++;
    } else {
        plans->n_searched++;
    }
    bp__mutex_unlock(plans->lock);
    return plan != NULL;
}

/* Auto takes declaration order where that is proven best: then it is the very
 * answer of mode sequential. */
static bp_status try_declaration_order(const bp_plan_request *request,
                                       const bp_allocator *alloc,
                                       uint64_t *offsets,
                                       bp_plan_result *result, bool *is_best,
                                       bp_error *error)
{
    *is_best = false;
    if (request->mode != BP_PLAN_AUTO) {
        return BP_OK;
    }
    bp_plan_request simple = *request;
    simple.mode = BP_PLAN_SEQUENTIAL;
    bp_error refusal;
    bp_status status = bp_plan_run(&simple, alloc, offsets, result, &refusal);
    if (status == BP_TOO_LARGE) {
        return BP_OK; /* another order may need less */
    }
    if (status != BP_OK && error != NULL) {
        *error = refusal;
    }
    *is_best = status == BP_OK && result->status == BP_PLAN_IS_OPTIMAL;
    return status;
}

bp_status bp__plans_run(bp__plans *plans, const bp_plan_request *request,
                        const bp_allocator *alloc, uint64_t *offsets,
                        bp_plan_result *result, bp_error *error)
{
    if (plans == NULL || !is_worth_keeping(request)) {
        return bp_plan_run(request, alloc, offsets, result, error);
    }
    bool is_best;
    bp_status status =
        try_declaration_order(request, alloc, offsets, result, &is_best, error);
    if (status != BP_OK || is_best) {
        return status;
    }
    uint32_t hash = plans->hash(request);
    if (find(plans, request, hash, offsets, result)) {
        return BP_OK;
    }
    status = bp_plan_run(request, alloc, offsets, result, error);
    if (status == BP_OK) {
        keep(plans, request, hash, offsets, result);
    }
    return status;
}

/* ---- check ------------------------------------------------------------- */

/* The offsets are aligned, and their ends make the height. */
static bool is_sound(const bp__plan *plan)
{
    const bp_plan_request *request = &plan->request;
    const bp_plan_result *result = &plan->result;
    uint64_t height = 0;
    for (size_t i = 0; i < request->n; i++) {
        uint64_t align = request->aligns == NULL ? 1 : request->aligns[i];
        uint64_t end = plan->offsets[i];
        if ((end & (align - 1)) != 0 || !bp_add(end, request->sizes[i], &end)) {
            return false;
        }
        height = end > height ? end : height;
    }
    bool is_proven = result->height == result->lower_bound;
    return height == result->height && result->load <= result->lower_bound &&
           result->lower_bound <= height && !result->is_interrupted &&
           result->status ==
               (is_proven ? BP_PLAN_IS_OPTIMAL : BP_PLAN_FEASIBLE);
}

/* More than n_plans where a bucket is no list. */
static size_t count_buckets(const bp__plans *plans)
{
    size_t n = 0;
    for (size_t i = 0; i < BP__PLANS_BUCKETS; i++) {
        for (const bp__plan *at = plans->buckets[i];
             at != NULL && n <= plans->n_plans; at = at->next) {
            n++;
        }
    }
    return n;
}

const char *bp__plans_check(const bp__plans *plans)
{
    if (count_buckets(plans) != plans->n_plans) {
        return "the kept plans are not those in the buckets";
    }
    size_t n = 0;
    size_t n_bytes = 0;
    const bp__plan *newer = NULL;
    for (const bp__plan *plan = plans->newest; plan != NULL;
         plan = plan->older) {
        if (n++ == plans->n_plans || plan->newer != newer) {
            return "the kept plans are no list";
        }
        if (plan->hash != plans->hash(&plan->request) || !is_sound(plan)) {
            return "a kept plan is no plan of its request";
        }
        const bp__plan *at = plans->buckets[plan->hash % BP__PLANS_BUCKETS];
        while (at != NULL && !is_of(at, &plan->request)) {
            at = at->next;
        }
        if (at != plan) {
            return "a kept plan is not found by its request";
        }
        n_bytes += plan->n_bytes;
        newer = plan;
    }
    if (n != plans->n_plans || newer != plans->oldest ||
        n_bytes != plans->n_bytes || n_bytes > plans->n_most_bytes) {
        return "the kept plans are miscounted";
    }
    return NULL;
}
