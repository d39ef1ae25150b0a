/* sections.c - sort births and deaths, then one sweep. */
#include "plan/sections.h"

#include "base/alloc.h"
#include "plan/order.h"

static int64_t first_of(const bp_plan_request *request, uint32_t id)
{
    return request->first == NULL ? 0 : request->first[id];
}

static int64_t last_of(const bp_plan_request *request, uint32_t id)
{
    return request->last == NULL ? 1 : request->last[id];
}

static bool allocate(bp__sections *sections)
{
    const bp_allocator *alloc = &sections->alloc;
    size_t n = sections->n_buffers;
    sections->birth = bp__alloc_array(alloc, n, sizeof(uint32_t));
    sections->death = bp__alloc_array(alloc, n, sizeof(uint32_t));
    sections->first = bp__alloc_array(alloc, n, sizeof(uint32_t));
    sections->last = bp__alloc_array(alloc, n, sizeof(uint32_t));
    return sections->birth != NULL && sections->death != NULL &&
           sections->first != NULL && sections->last != NULL;
}

/* Fills birth and death. Uses first and last as the sort's spare room. */
static bool sort_lifetimes(bp__sections *sections,
                           const bp_plan_request *request)
{
    size_t n = sections->n_buffers;
    uint64_t *keys = bp__alloc_array(&sections->alloc, n, sizeof *keys);
    if (keys == NULL) {
        return false;
    }
    uint32_t n_live = 0;
    for (uint32_t id = 0; id < n; id++) {
        if (bp__plan_is_ever_live(request, id)) {
            sections->birth[n_live] = id;
            sections->death[n_live++] = id;
            keys[id] = bp__key_of_time(first_of(request, id));
        }
    }
    bp__order_by_key(sections->birth, keys, n_live, sections->first);
    for (uint32_t k = 0; k < n_live; k++) {
        uint32_t id = sections->death[k];
        keys[id] = bp__key_of_time(last_of(request, id));
    }
    bp__order_by_key(sections->death, keys, n_live, sections->first);
    bp__free_array(&sections->alloc, keys, n, sizeof *keys);
    sections->n = n_live;
    return true;
}

static bool open_part(bp__sections *sections, uint32_t birth)
{
    if (!bp__grow(&sections->alloc, &sections->parts, &sections->part_capacity,
                  (size_t)sections->n_parts + 1, sizeof *sections->parts)) {
        return false;
    }
    if (sections->n_parts > 0) {
        bp__part *before = &sections->parts[sections->n_parts - 1];
        before->last_section = sections->n_sections;
        before->last_birth = birth;
    }
    sections->parts[sections->n_parts++] =
        (bp__part){.first_section = sections->n_sections, .first_birth = birth};
    return true;
}

/* A new section begins where something is born after something died; a new
 * part where all had died. */
static bool sweep(bp__sections *sections, const bp_plan_request *request)
{
    uint32_t n_dead = 0;
    bool is_closed = true;
    for (uint32_t k = 0; k < sections->n; k++) {
        uint32_t id = sections->birth[k];
        int64_t now = first_of(request, id);
        while (last_of(request, sections->death[n_dead]) <= now) {
            sections->last[sections->death[n_dead++]] = sections->n_sections;
            is_closed = true;
        }
        if (n_dead == k && !open_part(sections, k)) {
            return false;
        }
        sections->n_sections += is_closed;
        is_closed = false;
        sections->first[id] = sections->n_sections - 1;
    }
    for (; n_dead < sections->n; n_dead++) {
        sections->last[sections->death[n_dead]] = sections->n_sections;
    }
    if (sections->n_parts > 0) {
        bp__part *end = &sections->parts[sections->n_parts - 1];
        end->last_section = sections->n_sections;
        end->last_birth = sections->n;
    }
    return true;
}

static bool sum_loads(bp__sections *sections, const bp_plan_request *request)
{
    sections->n_section_slots = (size_t)sections->n_sections + 1;
    sections->load = bp__alloc_array(
        &sections->alloc, sections->n_section_slots, sizeof(uint64_t));
    if (sections->load == NULL) {
        return false;
    }
    for (uint32_t k = 0; k < sections->n; k++) {
        uint32_t id = sections->birth[k];
        sections->load[sections->first[id]] += request->sizes[id];
        sections->load[sections->last[id]] -= request->sizes[id];
    }
    for (uint32_t s = 1; s < sections->n_sections; s++) {
        sections->load[s] += sections->load[s - 1];
    }
    return true;
}

bool bp__sections_init(bp__sections *sections, const bp_plan_request *request,
                       const bp_allocator *alloc)
{
    *sections = (bp__sections){.alloc = *alloc, .n_buffers = request->n};
    if (!allocate(sections) || !sort_lifetimes(sections, request) ||
        !sweep(sections, request) || !sum_loads(sections, request)) {
        bp__sections_fini(sections);
        return false;
    }
    return true;
}

void bp__sections_fini(bp__sections *sections)
{
    const bp_allocator *alloc = &sections->alloc;
    size_t n = sections->n_buffers;
    bp__free_array(alloc, sections->birth, n, sizeof(uint32_t));
    bp__free_array(alloc, sections->death, n, sizeof(uint32_t));
    bp__free_array(alloc, sections->first, n, sizeof(uint32_t));
    bp__free_array(alloc, sections->last, n, sizeof(uint32_t));
    bp__free_array(alloc, sections->load, sections->n_section_slots,
                   sizeof(uint64_t));
    if (sections->part_capacity > 0) {
        bp__free_array(alloc, sections->parts, sections->part_capacity,
                       sizeof *sections->parts);
    }
    *sections = (bp__sections){.alloc = sections->alloc};
}

uint64_t bp__sections_load(const bp__sections *sections, uint32_t first,
                           uint32_t last)
{
    uint64_t most = 0;
    for (uint32_t s = first; s < last; s++) {
        most = sections->load[s] > most ? sections->load[s] : most;
    }
    return most;
}
