/* bounds.c - LOAD by a sweep over births and deaths, and the alignment bound.
 */
#include "plan/bounds.h"

#include "base/alloc.h"

#include <assert.h>
#include <string.h>

#define N_ON_STACK 64u

typedef struct edge {
    int64_t time;
    uint64_t n_bytes;
} edge;

static bool is_sorted(const edge *edges, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (edges[i].time < edges[i - 1].time) {
            return false;
        }
    }
    return true;
}

/* Merge the sorted runs [from, middle) and [middle, end) into `out`. */
static void merge(const edge *edges, size_t from, size_t middle, size_t end,
                  edge *out)
{
    size_t a = from, b = middle;
    for (size_t i = from; i < end; i++) {
        bool is_left =
            a < middle && (b == end || edges[a].time <= edges[b].time);
        out[i] = is_left ? edges[a++] : edges[b++];
    }
}

/* By time, bottom-up; `spare` has room for n as well. Not qsort, which may
 * allocate behind our back. */
static void sort_edges(edge *edges, size_t n, edge *spare)
{
    if (is_sorted(edges, n)) {
        return;
    }
    edge *from = edges, *to = spare;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t at = 0; at < n; at += 2 * width) {
            size_t middle = at + width < n ? at + width : n;
            size_t end = at + 2 * width < n ? at + 2 * width : n;
            merge(from, at, middle, end, to);
        }
        edge *swap = from;
        from = to;
        to = swap;
    }
    if (from != edges) {
        memcpy(edges, from, n * sizeof *edges);
    }
}

/* Ends come before starts: lifetimes are half-open. The inner loop stops at the
 * death of the buffer just born at the latest. */
static uint64_t sweep(const edge *births, const edge *deaths, size_t n)
{
    uint64_t live = 0, most = 0;
    for (size_t born = 0, dead = 0; born < n; born++) {
        while (deaths[dead].time <= births[born].time) {
            live -= deaths[dead++].n_bytes;
        }
        live += births[born].n_bytes;
        most = live > most ? live : most;
    }
    return most;
}

static uint64_t load_by_sweep(const bp_plan_request *request, edge *scratch)
{
    edge *births = scratch, *deaths = births + request->n;
    edge *spare = deaths + request->n;
    size_t n = 0;
    for (size_t i = 0; i < request->n; i++) {
        if (bp__plan_is_ever_live(request, i)) {
            births[n] = (edge){request->first[i], request->sizes[i]};
            deaths[n++] = (edge){request->last[i], request->sizes[i]};
        }
    }
    sort_edges(births, n, spare);
    sort_edges(deaths, n, spare);
    return sweep(births, deaths, n);
}

bool bp__plan_load(const bp_plan_model *model, const bp_allocator *alloc,
                   uint64_t *out_load)
{
    const bp_plan_request *request = model->request;
    if (model->is_together) {
        *out_load = model->total_bytes;
        return true;
    }
    if (request->n <= N_ON_STACK) {
        edge scratch[3 * N_ON_STACK];
        *out_load = load_by_sweep(request, scratch);
        return true;
    }
    if (request->n > SIZE_MAX / 3) {
        return false;
    }
    edge *scratch = bp__alloc_array(alloc, 3 * request->n, sizeof *scratch);
    if (scratch == NULL) {
        return false;
    }
    *out_load = load_by_sweep(request, scratch);
    bp__free_array(alloc, scratch, 3 * request->n, sizeof *scratch);
    return true;
}

/* No sum here can wrap: each is a bound that the known plan's height obeys. */
static uint64_t bound_at(const bp_plan_request *request, uint64_t unit)
{
    uint64_t bound = 0, largest_tail = 0;
    for (size_t i = 0; i < request->n; i++) {
        if (request->sizes[i] == 0 || bp__plan_align(request, i) < unit) {
            continue;
        }
        uint64_t tail = -request->sizes[i] & (unit - 1);
        uint64_t small = tail < largest_tail ? tail : largest_tail;
        largest_tail = tail < largest_tail ? largest_tail : tail;
        bound += request->sizes[i] + small; /* the largest tail is left out */
    }
    return bound;
}

uint64_t bp__plan_align_bound(const bp_plan_model *model)
{
    assert(model->is_together);
    uint64_t best = model->total_bytes;
    for (uint64_t rest = model->align_bits; rest != 0; rest &= rest - 1) {
        uint64_t bound = bound_at(model->request, rest & -rest);
        best = bound > best ? bound : best;
    }
    return best;
}
