/* search_canonical.c - place in the order of offsets: of what is unplaced, the
 * item that can lie lowest either lies there, or is lifted to the next level
 * at which it could rest. (Canonical solutions and dominance: Moffitt,
 * "MiniMalloc", ASPLOS 2023; postponing an item: the set-times branching of
 * Le Pape et al., 1994.) */
#include "plan/search_tree.h"

/* The unplaced item with the lowest level, by rank among equals; of twins only
 * the first. Also the key: floors, and the levels of all that is unplaced. */
static uint32_t find_lowest(const bp__tree *tree, bp__frame *frame)
{
    const bp__state *state = tree->state;
    const bp__search_model *model = state->model;
    uint64_t floors = 0, levels = 0;
    uint32_t lowest = BP__NONE;
    for (uint32_t s = frame->range.first; s < frame->range.last; s++) {
        floors = (floors ^ state->floor[s]) * UINT64_C(0x9E3779B97F4A7C15);
        floors ^= floors >> 29;
        const uint32_t *list = state->starting + model->begin_start[s];
        for (uint32_t k = 0; k < state->n_starting[s]; k++) {
            uint32_t i = list[k], twin = model->items[i].twin;
            levels += bp__mix(tree->hash[i] + state->least[i]);
            if (twin != BP__NONE && !state->is_placed[twin]) {
                continue;
            }
            if (lowest == BP__NONE || state->least[i] < state->least[lowest] ||
                (state->least[i] == state->least[lowest] &&
                 tree->rank[i] < tree->rank[lowest])) {
                lowest = i;
            }
        }
    }
    uint64_t place =
        (uint64_t)frame->range.first << 32 | frame->range.last | 1u << 31;
    frame->key.a = bp__mix(floors ^ bp__mix(levels ^ tree->salt)) ^ place;
    frame->key.b = bp__mix(frame->key.a + floors * 3 + levels * 5) | 1;
    return lowest;
}

/* What the other unplaced items alive together with one can do: how low they
 * begin and end at best. */
typedef struct company {
    uint64_t begin, end;
} company;

static company look_around(const bp__state *state, uint32_t item)
{
    const bp__search_model *model = state->model;
    const bp__item *it = &model->items[item];
    company around = {UINT64_MAX, UINT64_MAX};
    for (uint32_t s = it->first; s < it->last; s++) {
        const uint32_t *list = state->list + model->list_start[s];
        for (uint32_t k = 0; k < state->n_active[s]; k++) {
            uint32_t i = list[k];
            if (i == item) {
                continue;
            }
            uint64_t begin = state->least[i];
            uint64_t end = begin + model->items[i].size;
            around.begin = begin < around.begin ? begin : around.begin;
            around.end = end < around.end ? end : around.end;
        }
    }
    for (uint32_t p = 0; p < model->n_pins; p++) {
        const bp__pin *pin = &model->pins[p];
        if (pin->first < it->last && it->first < pin->last &&
            pin->high > state->least[item] && pin->high < around.end) {
            around.end = pin->high;
        }
    }
    return around;
}

bool bp__expand_canonical(bp__tree *tree, bp__frame *frame)
{
    const bp__state *state = tree->state;
    const bp__search_model *model = state->model;
    uint32_t item = find_lowest(tree, frame);
    if (bp__tree_is_starved(tree, frame->range)) {
        return false;
    }
    const bp__item *it = &model->items[item];
    bp__tree_option(tree, (bp__option){.kind = BP__PLACE, .item = item});
    company around = look_around(state, item);
    uint64_t top = state->least[item] + it->size;
    if (around.end == UINT64_MAX || around.begin >= top) {
        return true; /* nothing can come in its way here, or carry it */
    }
    bp__option lift = {.kind = BP__LIFT, .item = item};
    /* Above where it is: a skipped twin may end below. */
    uint64_t above = state->least[item] + 1;
    lift.level =
        bp__item_level(model, it, around.end > above ? around.end : above);
    if (lift.level + it->size <= state->limit) {
        bp__tree_option(tree, lift);
    }
    return true;
}
