/* neighbours.c - one sweep with the list of what is alive. */
#include "plan/neighbours.h"

#include "base/alloc.h"

/* born[s]: how many are born before section s begins. */
static uint32_t *count_born(const bp__sections *sections)
{
    size_t n_slots = (size_t)sections->n_sections + 1;
    uint32_t *born =
        bp__alloc_array(&sections->alloc, n_slots, sizeof(uint32_t));
    if (born != NULL) {
        for (uint32_t k = 0; k < sections->n; k++) {
            born[sections->first[sections->birth[k]] + 1]++;
        }
        for (size_t s = 1; s < n_slots; s++) {
            born[s] += born[s - 1];
        }
    }
    return born;
}

static void free_born(const bp__sections *sections, uint32_t *born)
{
    bp__free_array(&sections->alloc, born, (size_t)sections->n_sections + 1,
                   sizeof(uint32_t));
}

bool bp__neighbours_count(const bp__sections *sections, uint64_t *out_pairs)
{
    uint32_t *born = count_born(sections);
    if (born == NULL) {
        return false;
    }
    uint64_t n_pairs = 0;
    for (uint32_t k = 0; k < sections->n; k++) {
        n_pairs += born[sections->last[sections->birth[k]]] - k - 1;
    }
    free_born(sections, born);
    *out_pairs = n_pairs;
    return true;
}

static bool allocate(bp__neighbours *neighbours)
{
    const bp_allocator *alloc = &neighbours->sections->alloc;
    size_t n = neighbours->sections->n;
    neighbours->position = bp__alloc_array(
        alloc, neighbours->sections->n_buffers, sizeof(uint32_t));
    neighbours->until = bp__alloc_array(alloc, n, sizeof(uint32_t));
    neighbours->start = bp__alloc_array(alloc, n + 1, sizeof(uint32_t));
    neighbours->earlier =
        bp__alloc_array(alloc, (size_t)neighbours->n_pairs, sizeof(uint32_t));
    return neighbours->position != NULL && neighbours->until != NULL &&
           neighbours->start != NULL && neighbours->earlier != NULL;
}

/* `live` has room for n ids. */
static void list_earlier(bp__neighbours *neighbours, uint32_t *live)
{
    const bp__sections *sections = neighbours->sections;
    uint32_t n_live = 0, n_listed = 0;
    for (uint32_t k = 0; k < sections->n; k++) {
        uint32_t id = sections->birth[k], n = 0;
        neighbours->start[k] = n_listed;
        for (uint32_t j = 0; j < n_live; j++) {
            if (sections->last[live[j]] > sections->first[id]) {
                live[n++] = live[j];
                neighbours->earlier[n_listed++] = live[j];
            }
        }
        live[n++] = id;
        n_live = n;
    }
    neighbours->start[sections->n] = n_listed;
}

bool bp__neighbours_init(bp__neighbours *neighbours,
                         const bp__sections *sections, uint64_t n_pairs)
{
    *neighbours = (bp__neighbours){.sections = sections, .n_pairs = n_pairs};
    uint32_t *born = count_born(sections);
    uint32_t *live =
        bp__alloc_array(&sections->alloc, sections->n, sizeof(uint32_t));
    bool is_done = born != NULL && live != NULL && allocate(neighbours);
    if (is_done) {
        for (uint32_t k = 0; k < sections->n; k++) {
            uint32_t id = sections->birth[k];
            neighbours->position[id] = k;
            neighbours->until[k] = born[sections->last[id]];
        }
        list_earlier(neighbours, live);
    } else {
        bp__neighbours_fini(neighbours);
    }
    free_born(sections, born);
    bp__free_array(&sections->alloc, live, sections->n, sizeof(uint32_t));
    return is_done;
}

void bp__neighbours_fini(bp__neighbours *neighbours)
{
    const bp_allocator *alloc = &neighbours->sections->alloc;
    size_t n = neighbours->sections->n;
    bp__free_array(alloc, neighbours->position, neighbours->sections->n_buffers,
                   sizeof(uint32_t));
    bp__free_array(alloc, neighbours->until, n, sizeof(uint32_t));
    bp__free_array(alloc, neighbours->start, n + 1, sizeof(uint32_t));
    bp__free_array(alloc, neighbours->earlier, (size_t)neighbours->n_pairs,
                   sizeof(uint32_t));
    *neighbours = (bp__neighbours){.sections = neighbours->sections};
}

uint32_t bp__neighbours_gather(const bp__neighbours *neighbours, uint32_t id,
                               const uint8_t *flags, uint32_t *out)
{
    const uint32_t *birth = neighbours->sections->birth;
    uint32_t k = neighbours->position[id], n = 0;
    for (uint32_t j = neighbours->start[k]; j < neighbours->start[k + 1]; j++) {
        if (flags[neighbours->earlier[j]]) {
            out[n++] = neighbours->earlier[j];
        }
    }
    for (uint32_t j = k + 1; j < neighbours->until[k]; j++) {
        if (flags[birth[j]]) {
            out[n++] = birth[j];
        }
    }
    return n;
}
