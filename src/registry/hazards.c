/* hazards.c - where one buffer takes over another's bytes, and what must stand
 * between.
 *
 * Every region is cut at all offsets where a block begins or ends. Of each
 * piece the owners follow each other in the order of their first phases, for no
 * two that share it live at once; so one walk over the blocks in that order
 * finds all direct take-overs, and one walk a loop the first and the last owner
 * in its body, which meet where the loop turns around. A call of the device
 * function after another one is a loop around all phases. */
#include "registry/layout.h"

#include "base/alloc.h"
#include "registry/model.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LANES 32u

static const char *const when_names[BP_N_HAZARD_WHENS] = {
    [BP_HAZARD_STEP] = "step",
    [BP_HAZARD_LOOP] = "loop",
    [BP_HAZARD_CALL] = "call",
};
static const char *const barrier_names[BP_N_BARRIERS] = {
    [BP_BARRIER_NONE] = "none",
    [BP_BARRIER_WARP] = "syncwarp",
    [BP_BARRIER_BLOCK] = "syncthreads",
};

const char *bp_hazard_when_name(bp_hazard_when when)
{
    return (unsigned)when < BP_N_HAZARD_WHENS ? when_names[when] : "unknown";
}

const char *bp_barrier_name(bp_barrier barrier)
{
    return (unsigned)barrier < BP_N_BARRIERS ? barrier_names[barrier]
                                             : "unknown";
}

/* ---- one region -------------------------------------------------------- */

typedef struct block {
    uint32_t place; /* placement */
    uint32_t first, last;
    uint64_t begin, end;
    size_t from, to; /* pieces [from, to) */
} block;

typedef struct piece {
    uint32_t first_owner; /* blocks, or BP__NONE */
    uint32_t last_owner;
} piece;

typedef struct finding {
    const bp_layout *layout;
    bp_location location;
    bp_barrier barrier;
    block *blocks; /* by first phase, then as declared */
    size_t n_blocks;
    uint64_t *cuts;
    size_t n_cuts;
    piece *pieces;   /* one less than cuts */
    uint32_t *taker; /* a block each: who took over from it last */
    bp_hazard *found;
    size_t n_found;
    size_t capacity;
} finding;

static int compare_blocks(const void *a, const void *b)
{
    const block *x = a;
    const block *y = b;
    if (x->first != y->first) {
        return x->first < y->first ? -1 : 1;
    }
    return (x->place > y->place) - (x->place < y->place);
}

static int compare_cuts(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The piece that begins at `cut`, which is one of the cuts. */
static size_t piece_at(const finding *job, uint64_t cut)
{
    size_t low = 0;
    size_t high = job->n_cuts;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (job->cuts[middle] <= cut) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* What lives always shares its bytes with nothing. */
static void collect(finding *job)
{
    const bp_layout *layout = job->layout;
    job->n_blocks = 0;
    job->n_cuts = 0;
    for (uint32_t i = 0; i < layout->n_placements; i++) {
        const bp_placement *place = &layout->placements[i];
        if (place->location != job->location || place->bytes_of != i ||
            place->n_bytes == 0 || bp__lives_always(place->first_phase)) {
            continue;
        }
        uint64_t end = place->offset_bytes + place->n_bytes;
        job->blocks[job->n_blocks++] = (block){.place = i,
                                               .first = place->first_phase,
                                               .last = place->last_phase,
                                               .begin = place->offset_bytes,
                                               .end = end};
        job->cuts[job->n_cuts++] = place->offset_bytes;
        job->cuts[job->n_cuts++] = end;
    }
    qsort(job->blocks, job->n_blocks, sizeof *job->blocks, compare_blocks);
    qsort(job->cuts, job->n_cuts, sizeof *job->cuts, compare_cuts);
    size_t n = 0;
    for (size_t i = 0; i < job->n_cuts; i++) {
        if (n == 0 || job->cuts[n - 1] != job->cuts[i]) {
            job->cuts[n++] = job->cuts[i];
        }
    }
    job->n_cuts = n;
    for (size_t i = 0; i < job->n_blocks; i++) {
        job->blocks[i].from = piece_at(job, job->blocks[i].begin);
        job->blocks[i].to = piece_at(job, job->blocks[i].end);
    }
}

static bool add_hazard(finding *job, const bp_hazard *hazard)
{
    if (!bp__grow(&job->layout->alloc, &job->found, &job->capacity,
                  job->n_found + 1, sizeof *job->found)) {
        return false;
    }
    job->found[job->n_found] = *hazard;
    job->found[job->n_found].location = job->location;
    job->found[job->n_found++].barrier = job->barrier;
    return true;
}

static void forget_owners(finding *job)
{
    for (size_t i = 0; i + 1 < job->n_cuts; i++) {
        job->pieces[i] = (piece){BP__NONE, BP__NONE};
    }
    for (size_t i = 0; i < job->n_blocks; i++) {
        job->taker[i] = BP__NONE;
    }
}

static bool find_steps(finding *job)
{
    forget_owners(job);
    for (uint32_t i = 0; i < job->n_blocks; i++) {
        const block *after = &job->blocks[i];
        for (size_t k = after->from; k < after->to; k++) {
            uint32_t owner = job->pieces[k].last_owner;
            job->pieces[k].last_owner = i;
            if (owner == BP__NONE || job->taker[owner] == i) {
                continue;
            }
            job->taker[owner] = i;
            const block *before = &job->blocks[owner];
            const bp_hazard step = {.before = before->place,
                                    .after = after->place,
                                    .leaves = before->last,
                                    .enters = after->first,
                                    .loop = BP_ALWAYS,
                                    .when = BP_HAZARD_STEP};
            if (!add_hazard(job, &step)) {
                return false;
            }
        }
    }
    return true;
}

/* From the end of the body back to its beginning. A pair may be met on several
 * pieces that do not touch: doubles go at the end. */
static bool find_turns(finding *job, bp_loop body, uint32_t loop,
                       bp_hazard_when when)
{
    forget_owners(job);
    for (uint32_t i = 0; i < job->n_blocks; i++) {
        const block *it = &job->blocks[i];
        if (it->first > body.last || it->last < body.first) {
            continue;
        }
        for (size_t k = it->from; k < it->to; k++) {
            piece *one = &job->pieces[k];
            one->last_owner = i;
            if (one->first_owner == BP__NONE) {
                one->first_owner = i;
            }
        }
    }
    for (size_t k = 0; k + 1 < job->n_cuts; k++) {
        const piece *one = &job->pieces[k];
        bool is_met = k > 0 &&
                      job->pieces[k - 1].first_owner == one->first_owner &&
                      job->pieces[k - 1].last_owner == one->last_owner;
        if (one->first_owner == one->last_owner || is_met) {
            continue;
        }
        const block *before = &job->blocks[one->last_owner];
        const block *after = &job->blocks[one->first_owner];
        const bp_hazard turn = {
            .before = before->place,
            .after = after->place,
            .leaves = before->last < body.last ? before->last : body.last,
            .enters = after->first > body.first ? after->first : body.first,
            .loop = loop,
            .when = when};
        if (!add_hazard(job, &turn)) {
            return false;
        }
    }
    return true;
}

static bool find_in_region(finding *job)
{
    const bp_layout *layout = job->layout;
    collect(job);
    if (job->n_blocks < 2) {
        return true;
    }
    bool is_there = find_steps(job);
    for (uint32_t i = 0; is_there && i < layout->n_loops; i++) {
        is_there = find_turns(job, layout->loops[i], i, BP_HAZARD_LOOP);
    }
    const bp_loop all = {0, (uint32_t)layout->n_phases - 1};
    return is_there && find_turns(job, all, BP_ALWAYS, BP_HAZARD_CALL);
}

/* ---- the list ---------------------------------------------------------- */

static int compare_numbers(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

static int compare_hazards(const void *a, const void *b)
{
    const bp_hazard *x = a;
    const bp_hazard *y = b;
    int order = compare_numbers(x->when, y->when);
    order = order != 0 ? order : compare_numbers(x->loop, y->loop);
    order = order != 0 ? order : compare_numbers(x->enters, y->enters);
    order = order != 0 ? order : compare_numbers(x->after, y->after);
    return order != 0 ? order : compare_numbers(x->before, y->before);
}

static void sort_hazards(finding *job)
{
    if (job->n_found == 0) {
        return;
    }
    qsort(job->found, job->n_found, sizeof *job->found, compare_hazards);
    size_t n = 1;
    for (size_t i = 1; i < job->n_found; i++) {
        if (compare_hazards(&job->found[n - 1], &job->found[i]) != 0) {
            job->found[n++] = job->found[i];
        }
    }
    job->n_found = n;
}

static bp_barrier barrier_of(bp_location location, uint32_t lanes_per_run)
{
    if (location == BP_BLOCK) {
        return BP_BARRIER_BLOCK;
    }
    return location == BP_SHARED && lanes_per_run > 1 ? BP_BARRIER_WARP
                                                      : BP_BARRIER_NONE;
}

static bool find_all(finding *job, uint32_t lanes_per_run)
{
    static const bp_location planned[] = {BP_SHARED, BP_BLOCK,
                                          BP_PERSISTENT_LOCAL};
    const bp_allocator *alloc = &job->layout->alloc;
    size_t n = job->layout->n_placements;
    /* Twice n cannot overflow: placements are larger than two cuts. */
    job->blocks = bp__alloc_array(alloc, n, sizeof *job->blocks);
    job->cuts = bp__alloc_array(alloc, 2 * n, sizeof *job->cuts);
    job->pieces = bp__alloc_array(alloc, 2 * n, sizeof *job->pieces);
    job->taker = bp__alloc_array(alloc, n, sizeof *job->taker);
    bool is_there = job->blocks != NULL && job->cuts != NULL &&
                    job->pieces != NULL && job->taker != NULL;
    for (size_t i = 0; is_there && i < 3; i++) {
        job->location = planned[i];
        job->barrier = barrier_of(planned[i], lanes_per_run);
        is_there = find_in_region(job);
    }
    bp__free_array(alloc, job->blocks, n, sizeof *job->blocks);
    bp__free_array(alloc, job->cuts, 2 * n, sizeof *job->cuts);
    bp__free_array(alloc, job->pieces, 2 * n, sizeof *job->pieces);
    bp__free_array(alloc, job->taker, n, sizeof *job->taker);
    return is_there;
}

bp_status bp_layout_hazards(const bp_layout *layout, uint32_t lanes_per_run,
                            bp_hazard **out, size_t *n, bp_error *error)
{
    if (!bp_is_power_of_two(lanes_per_run) || lanes_per_run > MAX_LANES) {
        bp_status status =
            bp_fail(error, BP_BAD_VALUE,
                    "%u lanes per run are not a power of two from 1 to %u",
                    (unsigned)lanes_per_run, MAX_LANES);
        bp_error_numbers(error, lanes_per_run, MAX_LANES);
        return status;
    }
    const bp_allocator *alloc = &layout->alloc;
    finding job = {.layout = layout};
    bp_hazard *list = NULL;
    bool is_there = find_all(&job, lanes_per_run);
    sort_hazards(&job);
    if (is_there && job.n_found != 0) { /* just as long as it says */
        list = bp__alloc_array(alloc, job.n_found, sizeof *list);
        is_there = list != NULL;
    }
    if (list != NULL) {
        memcpy(list, job.found, job.n_found * sizeof *list);
    }
    bp__free_array(alloc, job.found, job.capacity, sizeof *job.found);
    if (!is_there) {
        return bp__refuse_memory(error);
    }
    *out = list;
    *n = job.n_found;
    return BP_OK;
}

void bp_layout_hazards_free(const bp_layout *layout, bp_hazard *hazards,
                            size_t n)
{
    bp__free_array(&layout->alloc, hazards, n, sizeof *hazards);
}
