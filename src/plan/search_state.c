/* search_state.c - floors, levels, propagation and the trail. */
#include "plan/search_state.h"

#include <string.h>

enum { UNDO_FLOOR, UNDO_LEAST, UNDO_WITNESS, UNDO_PIN, UNDO_PLACE };

enum { IN_RAISED = 1, IN_DOUBTED = 2 };

static bool allocate(bp__state *state)
{
    const bp__search_model *model = state->model;
    const bp_allocator *alloc = &state->alloc;
    size_t n = model->n, n_sections = model->n_sections;
    state->floor = bp__alloc_array(alloc, n_sections, sizeof(uint64_t));
    state->total = bp__alloc_array(alloc, n_sections, sizeof(uint64_t));
    state->least = bp__alloc_array(alloc, n, sizeof(uint64_t));
    state->n_active = bp__alloc_array(alloc, n_sections, sizeof(uint32_t));
    state->list = bp__alloc_array(alloc, model->n_slots, sizeof(uint32_t));
    state->slot = bp__alloc_array(alloc, model->n_slots, sizeof(uint32_t));
    state->n_starting = bp__alloc_array(alloc, n_sections, sizeof(uint32_t));
    state->starting = bp__alloc_array(alloc, n, sizeof(uint32_t));
    state->start_slot = bp__alloc_array(alloc, n, sizeof(uint32_t));
    state->crossing = bp__alloc_array(alloc, n_sections, sizeof(uint32_t));
    state->witness = bp__alloc_array(alloc, n_sections, sizeof(uint32_t));
    state->next_pin = bp__alloc_array(alloc, n_sections, sizeof(uint32_t));
    state->need =
        bp__alloc_array(alloc, n_sections * model->n_sets, sizeof(uint64_t));
    state->is_placed = bp__alloc_array(alloc, n, 1);
    state->raised = bp__alloc_array(alloc, n_sections, sizeof(uint32_t));
    state->doubted = bp__alloc_array(alloc, n_sections, sizeof(uint32_t));
    state->is_queued = bp__alloc_array(alloc, n_sections, 1);
    bool is_there = state->floor != NULL && state->total != NULL &&
                    state->least != NULL && state->n_active != NULL &&
                    state->list != NULL && state->slot != NULL;
    bool is_rest_there = state->n_starting != NULL && state->starting != NULL &&
                         state->start_slot != NULL && state->crossing != NULL &&
                         state->witness != NULL && state->next_pin != NULL;
    return is_there && is_rest_there && state->need != NULL &&
           state->is_placed != NULL && state->raised != NULL &&
           state->doubted != NULL && state->is_queued != NULL;
}

bool bp__state_init(bp__state *state, const bp__search_model *model,
                    const bp_allocator *alloc)
{
    *state = (bp__state){.model = model, .alloc = *alloc};
    if (!allocate(state)) {
        bp__state_fini(state);
        return false;
    }
    return true;
}

void bp__state_fini(bp__state *state)
{
    const bp__search_model *model = state->model;
    const bp_allocator *alloc = &state->alloc;
    size_t n = model->n, n_sections = model->n_sections;
    bp__free_array(alloc, state->floor, n_sections, sizeof(uint64_t));
    bp__free_array(alloc, state->total, n_sections, sizeof(uint64_t));
    bp__free_array(alloc, state->least, n, sizeof(uint64_t));
    bp__free_array(alloc, state->n_active, n_sections, sizeof(uint32_t));
    bp__free_array(alloc, state->list, model->n_slots, sizeof(uint32_t));
    bp__free_array(alloc, state->slot, model->n_slots, sizeof(uint32_t));
    bp__free_array(alloc, state->n_starting, n_sections, sizeof(uint32_t));
    bp__free_array(alloc, state->starting, n, sizeof(uint32_t));
    bp__free_array(alloc, state->start_slot, n, sizeof(uint32_t));
    bp__free_array(alloc, state->crossing, n_sections, sizeof(uint32_t));
    bp__free_array(alloc, state->witness, n_sections, sizeof(uint32_t));
    bp__free_array(alloc, state->next_pin, n_sections, sizeof(uint32_t));
    bp__free_array(alloc, state->need, n_sections * model->n_sets,
                   sizeof(uint64_t));
    bp__free_array(alloc, state->is_placed, n, 1);
    bp__free_array(alloc, state->raised, n_sections, sizeof(uint32_t));
    bp__free_array(alloc, state->doubted, n_sections, sizeof(uint32_t));
    bp__free_array(alloc, state->is_queued, n_sections, 1);
    if (state->trail_capacity > 0) {
        bp__free_array(alloc, state->trail, state->trail_capacity,
                       sizeof *state->trail);
    }
    *state = (bp__state){.model = model, .alloc = state->alloc};
}

/* ---- the trail --------------------------------------------------------- */

static inline void note(bp__state *state, uint32_t kind, uint32_t index,
                        uint32_t aux, uint64_t old)
{
    if (state->n_trail == state->trail_capacity &&
        !bp__grow(&state->alloc, &state->trail, &state->trail_capacity,
                  state->n_trail + 1, sizeof *state->trail)) {
        /* The step fails; what was not noted is forgotten by the next start. */
        state->is_out_of_memory = true;
        return;
    }
    state->trail[state->n_trail++] = (bp__undo){kind << 29 | index, aux, old};
}

/* Adds (or takes away) what an item covers in one of its sections. */
static inline void add_need(bp__state *state, uint32_t item, uint32_t section)
{
    uint32_t n_sets = state->model->n_sets;
    uint64_t *need = state->need + (size_t)section * n_sets;
    const uint64_t *more = state->model->item_need + (size_t)item * n_sets;
    for (uint32_t set = 0; set < n_sets; set++) {
        need[set] += more[set];
    }
}

static inline void drop_need(bp__state *state, uint32_t item, uint32_t section)
{
    uint32_t n_sets = state->model->n_sets;
    uint64_t *need = state->need + (size_t)section * n_sets;
    const uint64_t *less = state->model->item_need + (size_t)item * n_sets;
    for (uint32_t set = 0; set < n_sets; set++) {
        need[set] -= less[set];
    }
}

static void unplace(bp__state *state, uint32_t item)
{
    const bp__item *it = &state->model->items[item];
    state->is_placed[item] = 0;
    for (uint32_t s = it->first; s < it->last; s++) {
        state->total[s] += it->size;
        state->n_active[s]++;
        state->crossing[s] += s + 1 < it->last;
        add_need(state, item, s);
    }
    state->n_starting[it->first]++;
}

static void unpin(bp__state *state, uint32_t section)
{
    const bp__search_model *model = state->model;
    uint32_t at = --state->next_pin[section];
    const bp__pin *pin = &model->pins[model->pin_list[at]];
    state->total[section] += pin->high - pin->low;
}

void bp__state_undo(bp__state *state, size_t mark)
{
    while (state->n_trail > mark) {
        bp__undo step = state->trail[--state->n_trail];
        uint32_t index = step.what & ((UINT32_C(1) << 29) - 1);
        switch (step.what >> 29) {
        case UNDO_FLOOR:
            state->floor[index] = step.old;
            break;
        case UNDO_LEAST:
            state->least[index] = step.old;
            break;
        case UNDO_WITNESS:
            state->witness[index] = step.aux;
            break;
        case UNDO_PIN:
            unpin(state, index);
            break;
        default:
            unplace(state, index);
            break;
        }
    }
}

/* ---- propagation ------------------------------------------------------- */

/* One pass is enough because pins come by their low ends. */
uint64_t bp__item_level(const bp__search_model *model, const bp__item *item,
                        uint64_t level)
{
    level = (level + item->align - 1) & ~(item->align - 1);
    for (uint32_t p = 0; p < model->n_pins; p++) {
        const bp__pin *pin = &model->pins[p];
        if (pin->first < item->last && item->first < pin->last &&
            level < pin->high && pin->low < level + item->size) {
            level = (pin->high + item->align - 1) & ~(item->align - 1);
        }
    }
    return level;
}

/* The floor of a section never stands in a pin or directly below one. */
static uint64_t hop_pins(bp__state *state, uint32_t section, uint64_t level)
{
    const bp__search_model *model = state->model;
    while (state->next_pin[section] < model->pin_start[section + 1]) {
        uint32_t at = state->next_pin[section];
        const bp__pin *pin = &model->pins[model->pin_list[at]];
        if (pin->low > level) {
            break;
        }
        note(state, UNDO_PIN, section, 0, 0);
        state->next_pin[section]++;
        state->total[section] -= pin->high - pin->low;
        if (pin->high > level) {
            level = pin->high;
        }
    }
    return level;
}

static inline void doubt(bp__state *state, uint32_t section)
{
    if (!(state->is_queued[section] & IN_DOUBTED)) {
        state->is_queued[section] |= IN_DOUBTED;
        state->doubted[state->n_doubted++] = section;
    }
}

static inline bool raise_floor(bp__state *state, uint32_t section,
                               uint64_t level)
{
    note(state, UNDO_FLOOR, section, 0, state->floor[section]);
    if (state->model->n_pins > 0) {
        level = hop_pins(state, section, level);
    }
    state->floor[section] = level;
    if (!(state->is_queued[section] & IN_RAISED)) {
        state->is_queued[section] |= IN_RAISED;
        state->raised[state->n_raised++] = section;
    }
    if (level + state->total[section] > state->limit) {
        state->dead_end = section;
        return false;
    }
    return true;
}

static inline bool raise_item(bp__state *state, uint32_t item, uint64_t level)
{
    const bp__item *it = &state->model->items[item];
    level = bp__item_level(state->model, it, level);
    note(state, UNDO_LEAST, item, 0, state->least[item]);
    state->least[item] = level;
    for (uint32_t s = it->first; s < it->last; s++) {
        if (state->witness[s] == item) {
            doubt(state, s);
        }
    }
    return level + it->size <= state->limit;
}

/* Lift the unplaced items of a section to its floor. */
static bool lift_items(bp__state *state, uint32_t section)
{
    const uint32_t *list = state->list + state->model->list_start[section];
    uint64_t floor = state->floor[section];
    uint32_t n = state->n_active[section];
    for (uint32_t k = 0; k < n; k++) {
        if (state->least[list[k]] < floor &&
            !raise_item(state, list[k], floor)) {
            state->dead_end = section;
            return false;
        }
    }
    return true;
}

/* A floor rises to the lowest level of what is still to come. */
static bool review_floor(bp__state *state, uint32_t section)
{
    const uint32_t *list = state->list + state->model->list_start[section];
    uint32_t n = state->n_active[section];
    uint64_t best = UINT64_MAX;
    uint32_t witness = BP__NONE;
    for (uint32_t k = 0; k < n; k++) {
        if (state->least[list[k]] < best) {
            best = state->least[list[k]];
            witness = list[k];
        }
    }
    if (witness != state->witness[section]) {
        note(state, UNDO_WITNESS, section, state->witness[section], 0);
        state->witness[section] = witness;
    }
    return witness == BP__NONE || best <= state->floor[section] ||
           raise_floor(state, section, best);
}

static bool propagate(bp__state *state)
{
    bool is_alive = true;
    while (is_alive && state->n_raised + state->n_doubted > 0) {
        if (state->n_raised > 0) {
            uint32_t section = state->raised[--state->n_raised];
            state->is_queued[section] &= (uint8_t)~IN_RAISED;
            is_alive = lift_items(state, section);
        } else {
            uint32_t section = state->doubted[--state->n_doubted];
            state->is_queued[section] &= (uint8_t)~IN_DOUBTED;
            is_alive = review_floor(state, section);
        }
    }
    while (state->n_raised > 0) {
        state->is_queued[state->raised[--state->n_raised]] = 0;
    }
    while (state->n_doubted > 0) {
        state->is_queued[state->doubted[--state->n_doubted]] = 0;
    }
    return is_alive && !state->is_out_of_memory;
}

bool bp__state_is_starved(const bp__state *state, uint32_t section)
{
    const bp__search_model *model = state->model;
    uint32_t n = model->n_residues;
    const uint64_t *need = state->need + (size_t)section * model->n_sets;
    uint64_t room[1u << BP__SEARCH_RESIDUES] = {0};
    for (uint32_t set = 1; set < model->n_sets; set++) {
        uint32_t rest = set & (set - 1), q = 0;
        while (!(set >> q & 1)) {
            q++;
        }
        /* Addresses of residue q below x: (x + n - 1 - q) / n. */
        uint64_t here = rest == 0 ? (state->limit + n - 1 - q) / n -
                                        (state->floor[section] + n - 1 - q) / n
                                  : room[set ^ rest];
        room[set] = here + room[rest];
        if (need[set] > room[set]) {
            return true;
        }
    }
    return false;
}

/* ---- steps ------------------------------------------------------------- */

static void reset_items(bp__state *state)
{
    const bp__search_model *model = state->model;
    for (uint32_t i = 0; i < model->n; i++) {
        const bp__item *item = &model->items[i];
        state->is_placed[i] = 0;
        state->least[i] = bp__item_level(model, item, 0);
        state->starting[i] = i;
        state->start_slot[i] = i;
        state->n_starting[item->first]++;
        for (uint32_t s = item->first; s < item->last; s++) {
            uint32_t at = model->list_start[s] + state->n_active[s]++;
            state->list[at] = i;
            state->slot[model->slot_start[i] + (s - item->first)] = at;
            state->crossing[s] += s + 1 < item->last;
            add_need(state, i, s);
        }
    }
}

bool bp__state_start(bp__state *state, uint64_t limit)
{
    const bp__search_model *model = state->model;
    size_t n_sections = model->n_sections;
    state->limit = limit;
    state->n_trail = 0;
    state->is_out_of_memory = false;
    memset(state->floor, 0, n_sections * sizeof(uint64_t));
    memcpy(state->total, model->section_total, n_sections * sizeof(uint64_t));
    memset(state->n_active, 0, n_sections * sizeof(uint32_t));
    memset(state->n_starting, 0, n_sections * sizeof(uint32_t));
    memset(state->crossing, 0, n_sections * sizeof(uint32_t));
    memset(state->need, 0, n_sections * model->n_sets * sizeof(uint64_t));
    memset(state->witness, 0xff, n_sections * sizeof(uint32_t));
    memcpy(state->next_pin, model->pin_start, n_sections * sizeof(uint32_t));
    reset_items(state);
    bool is_alive = model->pins_top <= limit;
    for (uint32_t s = 0; s < model->n_sections; s++) {
        doubt(state, s);
        is_alive = raise_floor(state, s, 0) && is_alive;
    }
    for (uint32_t i = 0; i < model->n; i++) {
        is_alive = is_alive && state->least[i] + model->items[i].size <= limit;
    }
    return propagate(state) && is_alive;
}

/* Takes an item out of the lists of the unplaced. */
static void retire(bp__state *state, uint32_t item)
{
    const bp__search_model *model = state->model;
    const bp__item *it = &model->items[item];
    uint32_t *slot = state->slot + model->slot_start[item];
    for (uint32_t s = it->first; s < it->last; s++) {
        uint32_t at = slot[s - it->first];
        uint32_t end = model->list_start[s] + --state->n_active[s];
        uint32_t other = state->list[end];
        state->list[at] = other;
        state->list[end] = item;
        state
            ->slot[model->slot_start[other] + (s - model->items[other].first)] =
            at;
        slot[s - it->first] = end;
        state->crossing[s] -= s + 1 < it->last;
        drop_need(state, item, s);
        state->total[s] -= it->size;
    }
    uint32_t end =
        model->begin_start[it->first] + --state->n_starting[it->first];
    uint32_t at = state->start_slot[item], other = state->starting[end];
    state->starting[at] = other;
    state->start_slot[other] = at;
    state->starting[end] = item;
    state->start_slot[item] = end;
}

bool bp__state_place(bp__state *state, uint32_t item)
{
    const bp__item *it = &state->model->items[item];
    uint64_t top = state->least[item] + it->size;
    bool is_alive = true;
    retire(state, item);
    state->is_placed[item] = 1;
    note(state, UNDO_PLACE, item, 0, 0);
    for (uint32_t s = it->first; s < it->last; s++) {
        is_alive = raise_floor(state, s, top) && is_alive;
        doubt(state, s);
    }
    return propagate(state) && is_alive;
}

bool bp__state_raise(bp__state *state, uint32_t section, uint64_t level)
{
    bool is_alive = true;
    if (level > state->floor[section]) {
        is_alive = raise_floor(state, section, level);
    }
    return propagate(state) && is_alive;
}

bool bp__state_lift(bp__state *state, uint32_t item, uint64_t level)
{
    bool is_alive = true;
    if (level > state->least[item]) {
        is_alive = raise_item(state, item, level);
    }
    return propagate(state) && is_alive;
}
