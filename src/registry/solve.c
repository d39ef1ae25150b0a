/* solve.c - a draft becomes a layout: roll-ups take their sizes, every region
 * is planned, bounds are added up along the tree. Pure: no lock. */
#include "registry/layout.h"

#include "base/alloc.h"
#include "registry/model.h"

#include <string.h>

#define MAX_WIDEST 16u

/* ---- scratch ----------------------------------------------------------- */

bool bp__solve_scratch_init(bp__solve_scratch *scratch,
                            const bp_allocator *alloc, size_t n,
                            size_t n_phases)
{
    *scratch =
        (bp__solve_scratch){.n = n, .n_live = n_phases + 2, .alloc = *alloc};
    scratch->first = bp__alloc_array(alloc, n, sizeof *scratch->first);
    scratch->last = bp__alloc_array(alloc, n, sizeof *scratch->last);
    scratch->live =
        bp__alloc_array(alloc, scratch->n_live, sizeof *scratch->live);
    scratch->sizes = bp__alloc_array(alloc, n, sizeof *scratch->sizes);
    scratch->aligns = bp__alloc_array(alloc, n, sizeof *scratch->aligns);
    scratch->offsets = bp__alloc_array(alloc, n, sizeof *scratch->offsets);
    scratch->which = bp__alloc_array(alloc, n, sizeof *scratch->which);
    if (scratch->sizes == NULL || scratch->aligns == NULL ||
        scratch->offsets == NULL || scratch->which == NULL ||
        scratch->first == NULL || scratch->last == NULL ||
        scratch->live == NULL) {
        bp__solve_scratch_fini(scratch);
        return false;
    }
    return true;
}

void bp__solve_scratch_fini(bp__solve_scratch *scratch)
{
    const bp_allocator *alloc = &scratch->alloc;
    bp__free_array(alloc, scratch->sizes, scratch->n, sizeof *scratch->sizes);
    bp__free_array(alloc, scratch->aligns, scratch->n, sizeof *scratch->aligns);
    bp__free_array(alloc, scratch->offsets, scratch->n,
                   sizeof *scratch->offsets);
    bp__free_array(alloc, scratch->which, scratch->n, sizeof *scratch->which);
    bp__free_array(alloc, scratch->first, scratch->n, sizeof *scratch->first);
    bp__free_array(alloc, scratch->last, scratch->n, sizeof *scratch->last);
    bp__free_array(alloc, scratch->live, scratch->n_live,
                   sizeof *scratch->live);
    *scratch = (bp__solve_scratch){0};
}

/* ---- figures ----------------------------------------------------------- */

static bp_status region_too_large(const bp_layout *layout, int region,
                                  uint64_t n_bytes, bp_error *error)
{
    const char *type = layout->name == NULL ? "layout" : layout->name;
    bp_status status = bp_fail(
        error, BP_TOO_LARGE, "%s: %s memory of the tree has 2^48 bytes or more",
        type, bp_location_name((bp_location)region));
    bp_error_about(error, type, NULL);
    bp_error_numbers(error, n_bytes, BP_MAX_BYTES);
    return status;
}

void bp__layout_size_rollups(bp_layout *layout)
{
    uint64_t item = layout->precision.n_bytes;
    size_t n_seen = 0;
    for (size_t i = 0; i < layout->n_placements; i++) {
        bp_placement *place = &layout->placements[i];
        if (!place->is_rollup) {
            continue;
        }
        const bp_layout *child =
            layout->children[n_seen++ / BP__N_ROLLUPS].layout;
        const bp_region *region = &child->regions[place->location];
        place->n_bytes = region->n_bytes;
        place->align = region->align;
        place->n_items = region->n_bytes / item + (region->n_bytes % item != 0);
        if (region->kept_bytes != 0) {
            place->first_phase = place->last_phase = BP_ALWAYS;
        }
    }
}

static uint32_t widest_of(const bp_placement *place)
{
    uint32_t power = place->dtype.n_bytes & (~place->dtype.n_bytes + 1);
    return power < MAX_WIDEST ? power : MAX_WIDEST;
}

/* Add one placement's bytes, alignment and widest access to its region. */
static bool add_placement(bp_layout *layout, size_t i, const bp_layout *child)
{
    const bp_placement *place = &layout->placements[i];
    bp_region *region = &layout->regions[place->location];
    if (place->align > region->align) {
        region->align = place->align;
    }
    if (place->n_bytes == 0) {
        return true;
    }
    uint32_t widest = child == NULL ? widest_of(place)
                                    : child->regions[place->location].widest;
    if (widest > region->widest) {
        region->widest = widest;
    }
    region->kept_bytes +=
        child != NULL ? child->regions[place->location].kept_bytes
        : place->is_kept && place->bytes_of == i ? place->n_bytes
                                                 : 0;
    uint64_t end;
    if (place->location == BP_LOCAL) {
        end = region->n_bytes;
        if (place->bytes_of == i && !bp_add(end, place->n_bytes, &end)) {
            return false;
        }
    } else if (!bp_add(place->offset_bytes, place->n_bytes, &end)) {
        return false;
    }
    if (end > region->n_bytes) {
        region->n_bytes = end;
    }
    return true;
}

/* Local arrays of a child are the compiler's, but they count in the sum. */
static bool add_child_locals(bp_layout *layout)
{
    bp_region *region = &layout->regions[BP_LOCAL];
    for (size_t i = 0; i < layout->n_children; i++) {
        const bp_region *below = &layout->children[i].layout->regions[BP_LOCAL];
        if (!bp_add(region->n_bytes, below->n_bytes, &region->n_bytes) ||
            region->n_bytes >= BP_MAX_BYTES) {
            return false;
        }
        if (below->align > region->align) {
            region->align = below->align;
        }
        if (below->widest > region->widest) {
            region->widest = below->widest;
        }
    }
    return true;
}

bp_status bp__layout_measure(bp_layout *layout, bp_error *error)
{
    size_t n_rollups = 0;
    for (size_t i = 0; i < layout->n_placements; i++) {
        const bp_placement *place = &layout->placements[i];
        const bp_layout *child = NULL;
        if (place->is_rollup) {
            child = layout->children[n_rollups++ / BP__N_ROLLUPS].layout;
        }
        if (!add_placement(layout, i, child)) {
            return region_too_large(layout, (int)place->location, UINT64_MAX,
                                    error);
        }
    }
    if (!add_child_locals(layout)) {
        return region_too_large(layout, BP_LOCAL,
                                layout->regions[BP_LOCAL].n_bytes, error);
    }
    for (int i = 0; i < BP_N_REGIONS; i++) {
        bp_region *region = &layout->regions[i];
        if (i != BP_LOCAL &&
            !bp_round_up(region->n_bytes, region->align, &region->n_bytes)) {
            return region_too_large(layout, i, UINT64_MAX, error);
        }
        if (region->n_bytes >= BP_MAX_BYTES) {
            return region_too_large(layout, i, region->n_bytes, error);
        }
    }
    return BP_OK;
}

/* ---- planning ---------------------------------------------------------- */

/* The blocks of one region: what has bytes of its own there. *is_phased: not
 * all of them live always. */
static size_t gather(const bp_layout *layout, bp_location location,
                     bp__solve_scratch *scratch, bool *is_phased)
{
    size_t n = 0;
    *is_phased = false;
    for (size_t i = 0; i < layout->n_placements; i++) {
        const bp_placement *place = &layout->placements[i];
        if (place->location != location || place->bytes_of != i) {
            continue;
        }
        scratch->sizes[n] = place->n_bytes;
        scratch->aligns[n] = place->align;
        bool is_always = bp__lives_always(place->first_phase);
        scratch->first[n] = is_always ? 0 : (int64_t)place->first_phase;
        scratch->last[n] = is_always ? (int64_t)layout->n_phases
                                     : (int64_t)place->last_phase + 1;
        scratch->which[n++] = (uint32_t)i;
        *is_phased = *is_phased || !is_always;
    }
    return n;
}

/* Bytes that live from phase to phase, as differences: sums below the height
 * of a plan come out right even where a difference has wrapped. */
static void add_life(const bp_layout *layout, uint64_t *live, uint32_t first,
                     uint32_t last, uint64_t n_bytes)
{
    bool is_always = bp__lives_always(first);
    live[is_always ? 0 : first] += n_bytes;
    live[is_always ? layout->n_phases + 1 : last + 1] -= n_bytes;
}

/* What a child has alive at once while it is called; outside, what it keeps. */
static void add_child_life(const bp_layout *layout, uint64_t *live,
                           const bp_child_region *child, bp_location location)
{
    const bp_region *below = &child->layout->regions[location];
    add_life(layout, live, BP_ALWAYS, BP_ALWAYS, below->kept_bytes);
    add_life(layout, live, child->first_phase, child->last_phase,
             below->flat_lower_bound - below->kept_bytes);
}

/* What the tree needs at least if the children's blocks could be mixed with
 * ours: in each phase all that lives in it conflicts with each other, and of a
 * child at least as much as its own such bound. Bytes alone: the holes of one
 * factory may hold buffers of another. */
static uint64_t flat_bound(const bp_layout *layout, bp_location location,
                           bp__solve_scratch *scratch)
{
    uint64_t *live = scratch->live;
    memset(live, 0, (layout->n_phases + 2) * sizeof *live);
    for (size_t i = 0; i < layout->n_placements; i++) {
        const bp_placement *place = &layout->placements[i];
        if (place->location == location && place->bytes_of == i &&
            !place->is_rollup) {
            add_life(layout, live, place->first_phase, place->last_phase,
                     place->n_bytes);
        }
    }
    for (size_t i = 0; i < layout->n_children; i++) {
        add_child_life(layout, live, &layout->children[i], location);
    }
    uint64_t now = 0;
    uint64_t most = 0;
    /* Without phases there is one moment. */
    for (size_t i = 0; i < layout->n_phases + (layout->n_phases == 0); i++) {
        now += live[i];
        most = now > most ? now : most;
    }
    return most;
}

static bp_status plan_region(bp_layout *layout, bp_location location,
                             const bp_registry_options *options,
                             bp__solve_scratch *scratch, bp_error *error)
{
    bool is_phased;
    size_t n = gather(layout, location, scratch, &is_phased);
    bp_region *region = &layout->regions[location];
    if (n == 0) {
        return BP_OK; /* optimal as it is: nothing */
    }
    bp_plan_request request = {.n = n,
                               .sizes = scratch->sizes,
                               .aligns = scratch->aligns,
                               .first = is_phased ? scratch->first : NULL,
                               .last = is_phased ? scratch->last : NULL,
                               .mode = options->mode,
                               .node_budget = options->node_budget};
    bp_plan_result result;
    bp_status status = bp__plans_run(scratch->plans, &request, &scratch->alloc,
                                     scratch->offsets, &result, error);
    if (status != BP_OK) {
        bp_error_about(error, layout->name, NULL);
        return status;
    }
    for (size_t i = 0; i < n; i++) {
        layout->placements[scratch->which[i]].offset_bytes =
            scratch->offsets[i];
    }
    region->load = result.load;
    region->lower_bound = result.lower_bound;
    region->flat_lower_bound = layout->n_children == 0
                                   ? result.load
                                   : flat_bound(layout, location, scratch);
    region->status = result.status;
    return BP_OK;
}

/* Aliases go where their roots went; child regions where their roll-ups are. */
static void spread_offsets(bp_layout *layout)
{
    size_t n_rollups = 0;
    for (size_t i = 0; i < layout->n_placements; i++) {
        bp_placement *place = &layout->placements[i];
        if (place->bytes_of != i) {
            place->offset_bytes =
                layout->placements[place->bytes_of].offset_bytes;
        }
        if (place->is_rollup) {
            layout->children[n_rollups++ / BP__N_ROLLUPS]
                .offset_bytes[place->location] = place->offset_bytes;
        }
    }
}

bp_status bp__layout_solve(bp_layout *layout,
                           const bp_registry_options *options,
                           bp__solve_scratch *scratch, bp_error *error)
{
    static const bp_location planned[] = {BP_SHARED, BP_BLOCK,
                                          BP_PERSISTENT_LOCAL};
    bp__layout_size_rollups(layout);
    bp_status status = BP_OK;
    for (size_t i = 0; status == BP_OK && i < 3; i++) {
        status = plan_region(layout, planned[i], options, scratch, error);
    }
    if (status != BP_OK) {
        return status;
    }
    spread_offsets(layout);
    status = bp__layout_measure(layout, error);
    if (status != BP_OK) {
        return status;
    }
    bp_region *local = &layout->regions[BP_LOCAL];
    local->load = local->lower_bound = local->flat_lower_bound = local->n_bytes;
    for (int i = 0; i < BP_N_REGIONS; i++) {
        layout->regions[i].has_report = true;
    }
    return BP_OK;
}
