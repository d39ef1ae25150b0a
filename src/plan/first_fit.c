/* first_fit.c - birth-order first fit, gap first fit, and the stack. */
#include "plan/first_fit.h"

#include "base/alloc.h"
#include "plan/gaps.h"
#include "plan/order.h"

#include <string.h>

/* ---- in the order of birth --------------------------------------------- */

static bool reserve_pins(bp__gaps *gaps, const bp__sections *sections,
                         const bp_plan_request *request, uint64_t *offsets)
{
    for (uint32_t k = 0; k < sections->n; k++) {
        uint32_t id = sections->birth[k];
        if (bp__plan_is_pinned(request, id)) {
            uint64_t offset = (uint64_t)request->pins[id];
            offsets[id] = offset;
            if (!bp__gaps_reserve(gaps, offset, offset + request->sizes[id])) {
                return false;
            }
        }
    }
    return true;
}

static bool take_in_turn(bp__gaps *gaps, const bp__sections *sections,
                         const bp_plan_request *request, uint64_t *offsets)
{
    uint32_t n_dead = 0;
    for (uint32_t k = 0; k < sections->n; k++) {
        uint32_t id = sections->birth[k];
        for (; sections->last[sections->death[n_dead]] <= sections->first[id];
             n_dead++) {
            uint32_t dead = sections->death[n_dead];
            if (!bp__plan_is_pinned(request, dead) &&
                !bp__gaps_give(gaps, offsets[dead],
                               offsets[dead] + request->sizes[dead])) {
                return false;
            }
        }
        if (!bp__plan_is_pinned(request, id) &&
            !bp__gaps_take(gaps, request->sizes[id],
                           bp__plan_align(request, id), &offsets[id])) {
            return false;
        }
    }
    return true;
}

bool bp__fit_by_birth(const bp__sections *sections,
                      const bp_plan_request *request, uint64_t *offsets)
{
    bp__gaps gaps;
    if (!bp__gaps_init(&gaps, &sections->alloc)) {
        return false;
    }
    bool is_done = (request->pins == NULL ||
                    reserve_pins(&gaps, sections, request, offsets)) &&
                   take_in_turn(&gaps, sections, request, offsets);
    bp__gaps_fini(&gaps);
    return is_done;
}

/* ---- by size, area, ... ------------------------------------------------ */

typedef struct block {
    uint64_t begin, end;
    uint32_t first, last;
} block;

typedef struct fitting {
    const bp__sections *sections;
    const bp_plan_request *request;
    uint32_t *order, *spare;
    uint64_t *keys; /* by id */
    uint32_t *born; /* by section: born before it */
    uint32_t *dead; /* by section: dead when it begins */
    block *blocks;  /* placed ones, by begin */
    uint32_t n_blocks;
} fitting;

static uint32_t bits_of(uint64_t x)
{
    uint32_t n = 0;
    for (; x != 0; x >>= 1) {
        n++;
    }
    return n;
}

static uint64_t duration_of(const bp_plan_request *request, uint32_t id)
{
    return request->first == NULL
               ? 1
               : (uint64_t)request->last[id] - (uint64_t)request->first[id];
}

static void count_lives(fitting *fit)
{
    const bp__sections *sections = fit->sections;
    for (uint32_t k = 0; k < sections->n; k++) {
        uint32_t id = sections->birth[k];
        fit->born[sections->first[id] + 1]++;
        fit->dead[sections->last[id]]++;
    }
    for (uint32_t s = 1; s <= sections->n_sections; s++) {
        fit->born[s] += fit->born[s - 1];
        fit->dead[s] += fit->dead[s - 1];
    }
}

static uint64_t factor_of(const fitting *fit, bp__fit_order order, uint32_t id)
{
    const bp__sections *sections = fit->sections;
    if (order == BP__FIT_AREA) {
        return duration_of(fit->request, id);
    }
    return fit->born[sections->last[id]] - fit->dead[sections->first[id]];
}

/* size times factor, by its leading bits where 64 do not suffice. */
static void multiply_keys(fitting *fit, bp__fit_order order)
{
    uint64_t sizes = 0, factors = 0;
    for (uint32_t k = 0; k < fit->sections->n; k++) {
        uint32_t id = fit->sections->birth[k];
        sizes |= fit->request->sizes[id];
        factors |= factor_of(fit, order, id);
    }
    uint32_t n_size = bits_of(sizes), n_factor = bits_of(factors);
    uint32_t n_over = n_size + n_factor > 64 ? n_size + n_factor - 64 : 0;
    uint32_t factor_shift = n_factor > 32 ? n_factor - 32 : 0;
    factor_shift = factor_shift < n_over ? factor_shift : n_over;
    uint32_t size_shift = n_over - factor_shift;
    for (uint32_t k = 0; k < fit->sections->n; k++) {
        uint32_t id = fit->sections->birth[k];
        fit->keys[id] = ~((fit->request->sizes[id] >> size_shift) *
                          (factor_of(fit, order, id) >> factor_shift));
    }
}

/* Ties keep the order of birth: earlier start, then declaration. */
static void sort_order(fitting *fit, bp__fit_order order)
{
    uint32_t n = fit->sections->n;
    memcpy(fit->order, fit->sections->birth, n * sizeof(uint32_t));
    if (order == BP__FIT_SIZE || order == BP__FIT_DURATION) {
        for (uint32_t k = 0; k < n; k++) {
            fit->keys[fit->order[k]] = ~fit->request->sizes[fit->order[k]];
        }
    } else {
        multiply_keys(fit, order);
    }
    bp__order_by_key(fit->order, fit->keys, n, fit->spare);
    if (order == BP__FIT_DURATION) {
        for (uint32_t k = 0; k < n; k++) {
            uint32_t id = fit->order[k];
            fit->keys[id] = ~duration_of(fit->request, id);
        }
        bp__order_by_key(fit->order, fit->keys, n, fit->spare);
    }
}

static void add_block(fitting *fit, uint32_t id, uint64_t begin)
{
    uint32_t at = fit->n_blocks++;
    while (at > 0 && fit->blocks[at - 1].begin > begin) {
        fit->blocks[at] = fit->blocks[at - 1];
        at--;
    }
    fit->blocks[at] =
        (block){begin, begin + fit->request->sizes[id],
                fit->sections->first[id], fit->sections->last[id]};
}

static uint64_t lowest_place(const fitting *fit, uint32_t id)
{
    uint64_t size = fit->request->sizes[id], place = 0;
    uint64_t mask = bp__plan_align(fit->request, id) - 1;
    uint32_t first = fit->sections->first[id], last = fit->sections->last[id];
    for (uint32_t k = 0; k < fit->n_blocks; k++) {
        const block *b = &fit->blocks[k];
        if (b->first >= last || first >= b->last || b->end <= place) {
            continue;
        }
        if (b->begin >= place + size) {
            break;
        }
        place = (b->end + mask) & ~mask;
    }
    return place;
}

static bool allocate(fitting *fit)
{
    const bp_allocator *alloc = &fit->sections->alloc;
    uint32_t n = fit->sections->n;
    size_t n_sections = (size_t)fit->sections->n_sections + 1;
    fit->order = bp__alloc_array(alloc, n, sizeof(uint32_t));
    fit->spare = bp__alloc_array(alloc, n, sizeof(uint32_t));
    fit->keys =
        bp__alloc_array(alloc, fit->sections->n_buffers, sizeof(uint64_t));
    fit->born = bp__alloc_array(alloc, n_sections, sizeof(uint32_t));
    fit->dead = bp__alloc_array(alloc, n_sections, sizeof(uint32_t));
    fit->blocks = bp__alloc_array(alloc, n, sizeof(block));
    return fit->order != NULL && fit->spare != NULL && fit->keys != NULL &&
           fit->born != NULL && fit->dead != NULL && fit->blocks != NULL;
}

static void release(fitting *fit)
{
    const bp_allocator *alloc = &fit->sections->alloc;
    uint32_t n = fit->sections->n;
    size_t n_sections = (size_t)fit->sections->n_sections + 1;
    bp__free_array(alloc, fit->order, n, sizeof(uint32_t));
    bp__free_array(alloc, fit->spare, n, sizeof(uint32_t));
    bp__free_array(alloc, fit->keys, fit->sections->n_buffers,
                   sizeof(uint64_t));
    bp__free_array(alloc, fit->born, n_sections, sizeof(uint32_t));
    bp__free_array(alloc, fit->dead, n_sections, sizeof(uint32_t));
    bp__free_array(alloc, fit->blocks, n, sizeof(block));
}

bool bp__fit_by_order(const bp__sections *sections,
                      const bp_plan_request *request, bp__fit_order order,
                      uint64_t *offsets)
{
    fitting work = {.sections = sections, .request = request};
    bool is_done = allocate(&work);
    if (is_done) {
        count_lives(&work);
        sort_order(&work, order);
        for (uint32_t k = 0; k < sections->n; k++) {
            uint32_t id = sections->birth[k];
            if (bp__plan_is_pinned(request, id)) {
                offsets[id] = (uint64_t)request->pins[id];
                add_block(&work, id, offsets[id]);
            }
        }
        for (uint32_t k = 0; k < sections->n; k++) {
            uint32_t id = work.order[k];
            if (!bp__plan_is_pinned(request, id)) {
                offsets[id] = lowest_place(&work, id);
                add_block(&work, id, offsets[id]);
            }
        }
    }
    release(&work);
    return is_done;
}

/* ---- the same from pairs ----------------------------------------------- */

/* `near` are the placed neighbours, by offset. */
static uint64_t place_among(const bp_plan_request *request, uint32_t id,
                            const uint32_t *near, uint32_t n_near,
                            const uint64_t *offsets)
{
    uint64_t size = request->sizes[id], place = 0;
    uint64_t mask = bp__plan_align(request, id) - 1;
    for (uint32_t k = 0; k < n_near; k++) {
        uint64_t begin = offsets[near[k]];
        uint64_t end = begin + request->sizes[near[k]];
        if (end <= place) {
            continue;
        }
        if (begin >= place + size) {
            break;
        }
        place = (end + mask) & ~mask;
    }
    return place;
}

static void place_by_pairs(fitting *fit, const bp__neighbours *neighbours,
                           uint32_t *near, uint8_t *is_placed,
                           uint64_t *offsets)
{
    const bp__sections *sections = fit->sections;
    for (uint32_t k = 0; k < sections->n; k++) {
        uint32_t id = sections->birth[k];
        if (bp__plan_is_pinned(fit->request, id)) {
            offsets[id] = (uint64_t)fit->request->pins[id];
            is_placed[id] = 1;
        }
    }
    for (uint32_t k = 0; k < sections->n; k++) {
        uint32_t id = fit->order[k];
        if (!is_placed[id]) {
            uint32_t n = bp__neighbours_gather(neighbours, id, is_placed, near);
            bp__order_by_key(near, offsets, n, fit->spare);
            offsets[id] = place_among(fit->request, id, near, n, offsets);
            is_placed[id] = 1;
        }
    }
}

bool bp__fit_by_pairs(const bp__neighbours *neighbours,
                      const bp_plan_request *request, bp__fit_order order,
                      uint64_t *offsets)
{
    const bp__sections *sections = neighbours->sections;
    const bp_allocator *alloc = &sections->alloc;
    fitting work = {.sections = sections, .request = request};
    uint32_t *near = bp__alloc_array(alloc, sections->n, sizeof(uint32_t));
    uint8_t *is_placed = bp__alloc_array(alloc, sections->n_buffers, 1);
    bool is_done = near != NULL && is_placed != NULL && allocate(&work);
    if (is_done) {
        count_lives(&work);
        sort_order(&work, order);
        place_by_pairs(&work, neighbours, near, is_placed, offsets);
    }
    bp__free_array(alloc, near, sections->n, sizeof(uint32_t));
    bp__free_array(alloc, is_placed, sections->n_buffers, 1);
    release(&work);
    return is_done;
}

/* ---- the stack --------------------------------------------------------- */

/* Birth order, and of those born together the ones that live longer first:
 * every buffer comes after those it lies in. */
static void sort_nested(fitting *fit)
{
    const bp__sections *sections = fit->sections;
    uint32_t n = sections->n;
    memcpy(fit->order, sections->birth, n * sizeof(uint32_t));
    for (uint32_t k = 0; k < n; k++) {
        uint32_t id = fit->order[k];
        fit->keys[id] = (uint64_t)sections->first[id] << 32 |
                        (UINT32_MAX - sections->last[id]);
    }
    bp__order_by_key(fit->order, fit->keys, n, fit->spare);
}

/* `spare` is the stack of open buffers. */
static bool stack_up(fitting *fit, uint64_t *offsets)
{
    const bp__sections *sections = fit->sections;
    const bp_plan_request *request = fit->request;
    uint32_t depth = 0;
    for (uint32_t k = 0; k < sections->n; k++) {
        uint32_t id = fit->order[k];
        while (depth > 0 &&
               sections->last[fit->spare[depth - 1]] <= sections->first[id]) {
            depth--;
        }
        uint64_t top = 0, mask = bp__plan_align(request, id) - 1;
        if (depth > 0) {
            uint32_t below = fit->spare[depth - 1];
            if (sections->last[below] < sections->last[id]) {
                return false;
            }
            top = offsets[below] + request->sizes[below];
        }
        offsets[id] = (top + mask) & ~mask;
        fit->spare[depth++] = id;
    }
    return true;
}

bool bp__fit_stack(const bp__sections *sections, const bp_plan_request *request,
                   uint64_t *offsets, bool *is_laminar)
{
    fitting work = {.sections = sections, .request = request};
    *is_laminar = false;
    bool is_done = allocate(&work);
    if (is_done) {
        sort_nested(&work);
        *is_laminar = stack_up(&work, offsets);
    }
    release(&work);
    return is_done;
}
