/* job.c - planning in three steps: copy what changed (lock held), plan the
 * copies (no lock), keep what is still true (lock held).
 *
 * The copies are drafts of layouts, children before parents, each factory
 * once. The registry must outlive the job. */
#include "registry/layout.h"
#include "registry/model.h"

#include "base/alloc.h"

typedef struct job_node {
    bp_factory factory;
    uint64_t version;    /* of the declarations that were copied */
    bp_layout *layout;   /* draft, then result; owned */
    bp_layout *previous; /* owned, or NULL */
    bp_layout *retired;  /* what commit put out of the registry; owned */
} job_node;

struct bp_layout_job {
    bp_registry *registry;
    bp_registry_options options;
    job_node *nodes; /* the last one is the factory that was asked for */
    size_t capacity;
    size_t n_nodes;
    size_t n_largest;  /* placements */
    size_t n_phases;   /* most of one factory */
    bp_layout *result; /* owned; set by begin where nothing is to be done */
    bool is_run;
};

size_t bp_layout_job_size(const bp_layout_job *job)
{
    return job->n_nodes;
}

/* ---- begin ------------------------------------------------------------- */

static bp_status copy_context(bp_layout_job *job, bp__context *ctx,
                              bp_error *error)
{
    bp_registry *registry = job->registry;
    if (job->n_nodes >= BP__NONE ||
        !bp__grow(&registry->alloc, &job->nodes, &job->capacity,
                  job->n_nodes + 1, sizeof *job->nodes)) {
        return bp__refuse_memory(error);
    }
    job_node *node = &job->nodes[job->n_nodes];
    bp_status status = bp__draft_new(registry, ctx, &node->layout, error);
    if (status != BP_OK) {
        node->layout = NULL;
        return status;
    }
    node->factory = bp__registry_handle(registry, ctx);
    node->version = ctx->version;
    node->previous = ctx->layout == NULL ? NULL : bp_layout_ref(ctx->layout);
    node->retired = NULL;
    ctx->walk_node = (uint32_t)job->n_nodes++;
    if (ctx->n_entries > job->n_largest) {
        job->n_largest = ctx->n_entries;
    }
    if (ctx->n_phases > job->n_phases) {
        job->n_phases = ctx->n_phases;
    }
    return BP_OK;
}

/* The next child that needs a draft and has not been met, or NULL. */
static bp__context *next_dirty(const bp_registry *registry, bp__context *ctx,
                               uint64_t epoch)
{
    while (ctx->walk_cursor < ctx->n_child_places) {
        const bp__child *child = &ctx->children[ctx->walk_cursor++];
        if (child->name == BP__NONE || child->target == BP__NONE) {
            continue;
        }
        bp__context *below = registry->slots[child->target].ctx;
        if (below->mark != epoch && !bp__context_is_current(below)) {
            return below;
        }
    }
    return NULL;
}

/* Depth first; the way back is chained through the contexts. bp__draft_new
 * takes epochs of its own for element types, never for contexts. */
static bp_status copy_dirty(bp_layout_job *job, bp__context *root,
                            bp_error *error)
{
    bp_registry *registry = job->registry;
    uint64_t epoch = ++registry->epoch;
    root->mark = epoch;
    root->walk_cursor = 0;
    root->walk_up = NULL;
    for (bp__context *at = root; at != NULL;) {
        bp__context *below = next_dirty(registry, at, epoch);
        if (below != NULL) {
            below->mark = epoch;
            below->walk_cursor = 0;
            below->walk_up = at;
            at = below;
            continue;
        }
        bp_status status = copy_context(job, at, error);
        if (status != BP_OK) {
            return status;
        }
        at = at->walk_up;
    }
    return BP_OK;
}

static bp_status begin_locked(bp_layout_job *job, bp_factory factory,
                              bp_error *error)
{
    bp__context *ctx;
    bp_status status = bp__registry_need(job->registry, factory, &ctx, error);
    if (status != BP_OK) {
        return status;
    }
    if (bp__context_is_current(ctx)) {
        job->result = bp_layout_ref(ctx->layout);
        return BP_OK;
    }
    return copy_dirty(job, ctx, error);
}

bp_status bp_layout_job_begin(bp_registry *registry, bp_factory factory,
                              bp_layout_job **out, bp_error *error)
{
    bp_layout_job *job = bp__alloc_array(&registry->alloc, 1, sizeof *job);
    if (job == NULL) {
        return bp__refuse_memory(error);
    }
    job->registry = registry;
    job->options = registry->options;
    bp__mutex_lock(&registry->lock);
    bp_status status = begin_locked(job, factory, error);
    bp__mutex_unlock(&registry->lock);
    if (status != BP_OK) {
        bp_layout_job_free(job);
        return status;
    }
    *out = job;
    return BP_OK;
}

/* ---- run --------------------------------------------------------------- */

/* The results of nodes before this one take the places of its children. */
static void adopt_children(const bp_layout_job *job, bp_layout *layout)
{
    for (size_t i = 0; i < layout->n_children; i++) {
        bp_child_region *region = &layout->children[i];
        if (region->layout == NULL) {
            uint64_t node = region->offset_bytes[BP_SHARED];
            region->layout = bp_layout_ref(job->nodes[node].layout);
            region->offset_bytes[BP_SHARED] = 0;
        }
    }
}

/* What did not change keeps its version, or its very identity. */
static bp_status compare_previous(job_node *node, bp_error *error)
{
    if (node->previous == NULL) {
        return BP_OK;
    }
    bool is_same;
    bp_status status =
        bp__layout_same(node->layout, node->previous, &is_same, error);
    if (status != BP_OK || !is_same) {
        return status;
    }
    node->layout->version = node->previous->version;
    if (bp__layout_same_report(node->layout, node->previous)) {
        bp_layout_unref(node->layout);
        node->layout = bp_layout_ref(node->previous);
    }
    return BP_OK;
}

bp_status bp_layout_job_run(bp_layout_job *job, bp_error *error)
{
    if (job->n_nodes == 0 || job->is_run) {
        return BP_OK;
    }
    bp__solve_scratch scratch;
    if (!bp__solve_scratch_init(&scratch, &job->registry->alloc, job->n_largest,
                                job->n_phases)) {
        return bp__refuse_memory(error);
    }
    scratch.plans = &job->registry->plans;
    bp_status status = BP_OK;
    for (size_t i = 0; i < job->n_nodes && status == BP_OK; i++) {
        job_node *node = &job->nodes[i];
        adopt_children(job, node->layout);
        status = bp__layout_solve(node->layout, &job->options, &scratch, error);
        if (status == BP_OK) {
            status = compare_previous(node, error);
        }
    }
    bp__solve_scratch_fini(&scratch);
    job->is_run = status == BP_OK;
    return status;
}

/* ---- commit ------------------------------------------------------------ */

/* Install a result where its factory is still as it was copied. If another
 * thread was faster, its layout stays, and this node hands that one out. */
static void commit_node(bp_registry *registry, job_node *node)
{
    bp__context *ctx = bp__registry_find(registry, node->factory);
    if (ctx == NULL || ctx->version != node->version) {
        return;
    }
    if (bp__context_is_current(ctx)) {
        node->retired = node->layout;
        node->layout = bp_layout_ref(ctx->layout);
        return;
    }
    node->retired = ctx->layout;
    ctx->layout = bp_layout_ref(node->layout);
    ctx->built_at = node->version;
    ctx->is_stale = false;
}

void bp_layout_job_commit(bp_layout_job *job, bp_layout **out)
{
    *out = NULL;
    if (job->n_nodes != 0 && job->is_run && job->result == NULL) {
        bp__mutex_lock(&job->registry->lock);
        for (size_t i = 0; i < job->n_nodes; i++) {
            commit_node(job->registry, &job->nodes[i]);
        }
        bp__mutex_unlock(&job->registry->lock);
        job->result = bp_layout_ref(job->nodes[job->n_nodes - 1].layout);
    }
    if (job->result != NULL) {
        *out = bp_layout_ref(job->result);
    }
}

void bp_layout_job_free(bp_layout_job *job)
{
    if (job == NULL) {
        return;
    }
    bp_allocator alloc = job->registry->alloc;
    for (size_t i = 0; i < job->n_nodes; i++) {
        bp_layout_unref(job->nodes[i].layout);
        bp_layout_unref(job->nodes[i].previous);
        bp_layout_unref(job->nodes[i].retired);
    }
    bp_layout_unref(job->result);
    bp__free_array(&alloc, job->nodes, job->capacity, sizeof *job->nodes);
    bp__free_array(&alloc, job, 1, sizeof *job);
}

/* ---- all of it --------------------------------------------------------- */

bp_status bp_registry_copy_current(bp_registry *registry, bp_factory factory,
                                   bp_layout **out, bp_error *error)
{
    bp__context *ctx;
    bp__mutex_lock(&registry->lock);
    bp_status status = bp__registry_need(registry, factory, &ctx, error);
    if (status == BP_OK) {
        *out = bp__context_is_current(ctx) ? bp_layout_ref(ctx->layout) : NULL;
    }
    bp__mutex_unlock(&registry->lock);
    return status;
}

bp_status bp_registry_copy_layout(bp_registry *registry, bp_factory factory,
                                  bp_layout **out, bp_error *error)
{
    bp_layout *layout = NULL;
    bp_status status =
        bp_registry_copy_current(registry, factory, &layout, error);
    if (status != BP_OK || layout != NULL) {
        *out = layout;
        return status;
    }
    bp_layout_job *job;
    status = bp_layout_job_begin(registry, factory, &job, error);
    if (status != BP_OK) {
        return status;
    }
    status = bp_layout_job_run(job, error);
    if (status == BP_OK) {
        bp_layout_job_commit(job, out);
    }
    bp_layout_job_free(job);
    return status;
}
