/* section_bounds.c - one sweep with the list of what is alive. */
#include "plan/section_bounds.h"

#include "base/alloc.h"
#include "plan/residue.h"

#include <string.h>

/* Work above this is not worth a bound. */
#define MAX_PAIRS ((uint64_t)1 << 22)

typedef struct bounding {
    const bp__sections *sections;
    const bp_plan_model *model;
    bp__residues *residues;
    uint32_t *live; /* ids */
    uint32_t n_live;
} bounding;

/* A pin's place is given, so its alignment says nothing more. */
static uint64_t align_of(const bp_plan_request *request, uint32_t id)
{
    return bp__plan_is_pinned(request, id) ? 1 : bp__plan_align(request, id);
}

/* Every buffer of alignment >= unit keeps the others of them out of its size
 * rounded up; only the topmost may do without its tail. */
static uint64_t bound_by_align(const bounding *sweep, uint64_t unit)
{
    const bp_plan_request *request = sweep->model->request;
    uint64_t bound = 0, largest_tail = 0;
    for (uint32_t k = 0; k < sweep->n_live; k++) {
        uint32_t id = sweep->live[k];
        if (align_of(request, id) >= unit) {
            uint64_t tail = -request->sizes[id] & (unit - 1);
            bound += request->sizes[id] + tail;
            largest_tail = tail > largest_tail ? tail : largest_tail;
        }
    }
    return bound - largest_tail;
}

static uint64_t bound_of_live(const bounding *sweep)
{
    const bp_plan_request *request = sweep->model->request;
    uint64_t best = 0;
    for (uint64_t rest = sweep->model->align_bits; rest != 0;
         rest &= rest - 1) {
        uint64_t bound = bound_by_align(sweep, rest & -rest);
        best = bound > best ? bound : best;
    }
    bp__residue_counts counts;
    memset(&counts, 0, sizeof counts);
    for (uint32_t k = 0; k < sweep->n_live; k++) {
        uint32_t id = sweep->live[k];
        bp__residues_count(sweep->residues, &counts, request->sizes[id],
                           align_of(request, id));
    }
    uint64_t bound = bp__residues_bound(sweep->residues, &counts);
    return bound > best ? bound : best;
}

static uint32_t move_to(bounding *sweep, uint32_t section, uint32_t n_born)
{
    const bp__sections *sections = sweep->sections;
    uint32_t n = 0;
    for (uint32_t k = 0; k < sweep->n_live; k++) {
        if (sections->last[sweep->live[k]] > section) {
            sweep->live[n++] = sweep->live[k];
        }
    }
    while (n_born < sections->n &&
           sections->first[sections->birth[n_born]] == section) {
        sweep->live[n++] = sections->birth[n_born++];
    }
    sweep->n_live = n;
    return n_born;
}

/* The largest power of two that divides all sizes and pins. */
static uint64_t common_unit(const bp__sections *sections,
                            const bp_plan_request *request)
{
    uint64_t bits = (uint64_t)1 << 62;
    for (uint32_t k = 0; k < sections->n; k++) {
        uint32_t id = sections->birth[k];
        bits |= request->sizes[id];
        if (bp__plan_is_pinned(request, id)) {
            bits |= (uint64_t)request->pins[id];
        }
    }
    return bits & -bits;
}

static uint64_t count_pairs(const bp__sections *sections)
{
    uint64_t n = 0;
    for (uint32_t k = 0; k < sections->n; k++) {
        uint32_t id = sections->birth[k];
        n += sections->last[id] - sections->first[id];
    }
    return n;
}

static uint64_t largest_align(const bp_plan_model *model)
{
    uint64_t bits = model->align_bits;
    while ((bits & (bits - 1)) != 0) {
        bits &= bits - 1;
    }
    return bits;
}

static void bound_parts(bounding *sweep, uint64_t *bounds)
{
    const bp__sections *sections = sweep->sections;
    uint32_t n_born = 0;
    for (uint32_t p = 0; p < sections->n_parts; p++) {
        const bp__part *part = &sections->parts[p];
        for (uint32_t s = part->first_section; s < part->last_section; s++) {
            n_born = move_to(sweep, s, n_born);
            uint64_t bound = bound_of_live(sweep);
            bounds[p] = bound > bounds[p] ? bound : bounds[p];
        }
    }
}

bool bp__section_bounds(const bp__sections *sections,
                        const bp_plan_model *model, uint64_t *bounds)
{
    const bp_allocator *alloc = &sections->alloc;
    for (uint32_t p = 0; p < sections->n_parts; p++) {
        const bp__part *part = &sections->parts[p];
        bounds[p] = bp__sections_load(sections, part->first_section,
                                      part->last_section);
    }
    uint64_t unit = common_unit(sections, model->request);
    uint64_t align = largest_align(model);
    if (align <= unit || count_pairs(sections) > MAX_PAIRS) {
        return true; /* alignment costs nothing, or too much to ask */
    }
    bounding sweep = {.sections = sections, .model = model};
    sweep.residues = bp__alloc_array(alloc, 1, sizeof *sweep.residues);
    sweep.live = bp__alloc_array(alloc, sections->n, sizeof(uint32_t));
    bool is_done = sweep.residues != NULL && sweep.live != NULL;
    if (is_done) {
        bp__residues_init(sweep.residues, unit, align);
        bound_parts(&sweep, bounds);
    }
    bp__free_array(alloc, sweep.residues, 1, sizeof *sweep.residues);
    bp__free_array(alloc, sweep.live, sections->n, sizeof(uint32_t));
    return is_done;
}
