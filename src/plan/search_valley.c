/* search_valley.c - branch on what lies on the bottom of a valley of the
 * skyline: each item that fits there at its floor, or nothing (waste). */
#include "plan/search_tree.h"

enum { BRANCH_SCALE = 1000, LEVEL_SCALE = 900 };

/* Marks the valleys of the range: plateaus with a higher floor, or the range's
 * end, on both sides. valley_end[s] is the plateau's end for each of its
 * sections, 0 outside valleys. Returns the sections' part of the key. */
static uint64_t find_valleys(bp__tree *tree, bp__range range)
{
    const uint64_t *floor = tree->state->floor;
    uint64_t key = 0;
    uint32_t s = range.first;
    while (s < range.last) {
        uint32_t end = s;
        do {
            key = (key ^ floor[s]) * UINT64_C(0x9E3779B97F4A7C15);
            key ^= key >> 29;
            end++;
        } while (end < range.last && floor[end] == floor[s]);
        key += end; /* where plateaus end tells equal runs apart */
        bool is_valley = (s == range.first || floor[s - 1] > floor[s]) &&
                         (end == range.last || floor[end] > floor[s]);
        tree->smallest[s] = UINT64_MAX;
        for (uint32_t q = s; q < end; q++) {
            tree->valley_end[q] = is_valley ? end : 0;
            tree->change[q] = 0;
        }
        s = end;
    }
    tree->change[range.last] = 0;
    return key;
}

/* Can `item` lie at the floor of the valley it begins in? Of twins only the
 * first unplaced one is tried. */
static inline bool is_candidate(const bp__state *state, uint32_t item)
{
    const bp__item *it = &state->model->items[item];
    return state->least[item] == state->floor[it->first] &&
           (it->twin == BP__NONE || state->is_placed[it->twin]);
}

/* Notes for each valley how far above its floor anything new can begin at
 * least (on an item inside, or because an alignment skips the floor), and
 * returns the items' part of the key. */
static uint64_t scan_items(bp__tree *tree, bp__range range)
{
    const bp__state *state = tree->state;
    const bp__item *items = state->model->items;
    uint64_t key = 0;
    uint32_t valley = range.first; /* first section of the current plateau */
    for (uint32_t s = range.first; s < range.last; s++) {
        if (state->floor[s] != state->floor[valley]) {
            valley = s;
        }
        const uint32_t *list = state->starting + state->model->begin_start[s];
        for (uint32_t k = 0; k < state->n_starting[s]; k++) {
            uint32_t i = list[k];
            key += tree->hash[i];
            if (items[i].last > tree->valley_end[s]) {
                continue;
            }
            uint64_t rise = state->least[i] - state->floor[s];
            rise = rise > 0 ? rise : items[i].size;
            if (rise < tree->smallest[valley]) {
                tree->smallest[valley] = rise;
            }
        }
    }
    return key;
}

/* What a section of the valley goes on with if its bottom stays empty: this
 * level or a higher one. */
static uint64_t next_level(const bp__tree *tree, bp__range range,
                           uint32_t valley, uint32_t end)
{
    const bp__state *state = tree->state;
    uint64_t floor = state->floor[valley], next = UINT64_MAX;
    if (state->model->n_pins > 0) {
        return floor + 1;
    }
    if (valley > range.first) {
        next = state->floor[valley - 1];
    }
    if (end < range.last && state->floor[end] < next) {
        next = state->floor[end];
    }
    if (tree->smallest[valley] < UINT64_MAX &&
        floor + tree->smallest[valley] < next) {
        next = floor + tree->smallest[valley];
    }
    return next;
}

/* Bits of tree->reach. The bottom of a valley, from left to right, is a row of
 * items and of sections left empty; so only what is part of some complete row
 * can lie there. */
enum {
    FROM_LEFT = 1,  /* some row goes from the valley's left end to here */
    FROM_RIGHT = 2, /* and one from here to its right end */
    MAY_BE_EMPTY = 4
};

static bool reach_from_left(bp__tree *tree, uint32_t valley, uint32_t end,
                            uint64_t next)
{
    const bp__state *state = tree->state;
    uint8_t *reach = tree->reach;
    uint32_t farthest = valley;
    for (uint32_t s = valley; s <= end; s++) {
        reach[s] = 0;
    }
    reach[valley] = FROM_LEFT;
    for (uint32_t s = valley; s < end; s++) {
        if (!(reach[s] & FROM_LEFT)) {
            continue;
        }
        farthest = s;
        const uint32_t *list = state->starting + state->model->begin_start[s];
        for (uint32_t k = 0; k < state->n_starting[s]; k++) {
            uint32_t last = state->model->items[list[k]].last;
            if (last <= end && is_candidate(state, list[k])) {
                reach[last] |= FROM_LEFT;
            }
        }
        if (next != UINT64_MAX && next + state->total[s] <= state->limit) {
            reach[s] |= MAY_BE_EMPTY;
            reach[s + 1] |= FROM_LEFT;
        }
    }
    if (!(reach[end] & FROM_LEFT)) {
        tree->weight[farthest]++;
    }
    return reach[end] & FROM_LEFT;
}

/* Also counts, as changes, the candidates over each section. */
static void reach_from_right(bp__tree *tree, uint32_t valley, uint32_t end)
{
    const bp__state *state = tree->state;
    uint8_t *reach = tree->reach;
    reach[end] |= FROM_RIGHT;
    for (uint32_t s = end; s-- > valley;) {
        if (!(reach[s] & FROM_LEFT)) {
            continue;
        }
        const uint32_t *list = state->starting + state->model->begin_start[s];
        for (uint32_t k = 0; k < state->n_starting[s]; k++) {
            uint32_t last = state->model->items[list[k]].last;
            if (last <= end && (reach[last] & FROM_RIGHT) &&
                is_candidate(state, list[k])) {
                reach[s] |= FROM_RIGHT;
                tree->change[s]++;
                tree->change[last]--;
            }
        }
        if (!(reach[s + 1] & FROM_RIGHT)) {
            reach[s] &= (uint8_t)~MAY_BE_EMPTY;
        } else if (reach[s] & MAY_BE_EMPTY) {
            reach[s] |= FROM_RIGHT;
        }
    }
}

/* False: some valley's bottom cannot be laid. */
static bool cover_valleys(bp__tree *tree, bp__range range)
{
    uint32_t s = range.first;
    while (s < range.last) {
        uint32_t end = tree->valley_end[s];
        if (end == 0) {
            s++;
            continue;
        }
        uint64_t next = next_level(tree, range, s, end);
        if (!reach_from_left(tree, s, end, next)) {
            return false;
        }
        reach_from_right(tree, s, end);
        s = end;
    }
    return true;
}

/* Fewest alternatives first, lower levels before higher ones; where dead ends
 * were met before, a section counts for less (the weighted degree of Boussemart
 * et al., "Boosting systematic search by weighting constraints", ECAI 2004). */
static uint64_t cost_of(const bp__tree *tree, uint32_t section, uint64_t n,
                        uint64_t level, uint64_t scale)
{
    uint64_t inertia = tree->flavour == BP__BY_FIT ? 1024 : 16;
    uint64_t cost = n * BRANCH_SCALE + level * LEVEL_SCALE / scale;
    return (cost << 20) / (inertia + tree->weight[section]);
}

typedef struct choice {
    uint32_t section, valley;
    uint64_t cost;
    uint32_t n_branches;
} choice;

static choice choose_section(const bp__tree *tree, bp__range range)
{
    const bp__state *state = tree->state;
    choice best = {BP__NONE, 0, UINT64_MAX, 0};
    /* Levels by their leading bits, so that nothing overflows. */
    uint32_t shift = 0;
    while (state->limit >> shift >= ((uint64_t)1 << 40)) {
        shift++;
    }
    uint64_t scale = (state->limit >> shift) + 1;
    uint32_t valley = range.first;
    uint64_t n_here = 0;
    for (uint32_t s = range.first; s < range.last; s++) {
        if (state->floor[s] != state->floor[valley]) {
            valley = s;
        }
        n_here += (uint64_t)(int64_t)tree->change[s];
        if (tree->valley_end[s] == 0) {
            continue;
        }
        uint64_t n = n_here + (tree->reach[s] & MAY_BE_EMPTY ? 1 : 0);
        uint64_t cost = cost_of(tree, s, n, state->floor[s] >> shift, scale);
        if (cost < best.cost) {
            best = (choice){s, valley, cost, (uint32_t)n};
        }
    }
    return best;
}

/* How well an item's edges meet the skyline around it: a step less for each
 * wall it touches on a side, and for each plateau its top goes on with. */
static uint64_t looseness(const bp__tree *tree, bp__range range, uint32_t item)
{
    const bp__state *state = tree->state;
    const bp__item *it = &state->model->items[item];
    uint64_t floor = state->floor[it->first],
             top = state->least[item] + it->size;
    uint64_t left = it->first > range.first ? state->floor[it->first - 1] : top;
    uint64_t right = it->last < range.last ? state->floor[it->last] : top;
    uint64_t n_loose = 4;
    n_loose -= (uint64_t)(left > floor) + (right > floor) + (left == top) +
               (right == top);
    return n_loose * state->model->n;
}

static void push_by_rank(bp__tree *tree, const bp__frame *frame, uint32_t item)
{
    bp__option option = {.kind = BP__PLACE, .item = item};
    option.level = tree->rank[item];
    if (tree->flavour == BP__BY_FIT) {
        option.level += looseness(tree, frame->range, item);
    }
    bp__tree_option(tree, option);
    if (tree->state->is_out_of_memory) {
        return;
    }
    size_t at = tree->n_options - 1;
    while (at > frame->first_option &&
           tree->options[at - 1].level > option.level) {
        tree->options[at] = tree->options[at - 1];
        at--;
    }
    tree->options[at] = option;
}

/* The lowest top of anything that may lie in the valley beside the section:
 * only on such a top can rest what was refused the valley's bottom. */
static uint64_t lowest_top(const bp__tree *tree, bp__range range,
                           uint32_t section, uint32_t valley)
{
    const bp__state *state = tree->state;
    const bp__search_model *model = state->model;
    uint32_t end = tree->valley_end[section];
    uint64_t top = UINT64_MAX;
    for (uint32_t s = range.first; s < end; s++) {
        const uint32_t *list = state->starting + model->begin_start[s];
        for (uint32_t k = 0; k < state->n_starting[s]; k++) {
            const bp__item *it = &model->items[list[k]];
            bool is_beside =
                it->last > valley && (s > section || it->last <= section);
            if (is_beside && state->least[list[k]] + it->size < top) {
                top = state->least[list[k]] + it->size;
            }
        }
    }
    for (uint32_t p = 0; p < model->n_pins; p++) {
        const bp__pin *pin = &model->pins[p];
        if (pin->first < end && valley < pin->last &&
            pin->high > state->floor[section] && pin->high < top) {
            top = pin->high;
        }
    }
    return top;
}

/* Candidates over the section, by rank; and the level at which the section
 * goes on if none of them is taken. */
static uint64_t push_candidates(bp__tree *tree, const bp__frame *frame,
                                const choice *at)
{
    const bp__state *state = tree->state;
    const bp__search_model *model = state->model;
    uint64_t floor = state->floor[at->section], next = UINT64_MAX;
    uint64_t top = lowest_top(tree, frame->range, at->section, at->valley);
    const uint32_t *list = state->list + model->list_start[at->section];
    for (uint32_t k = 0; k < state->n_active[at->section]; k++) {
        uint32_t i = list[k];
        uint64_t level = state->least[i];
        if (level == floor) {
            if (is_candidate(state, i) &&
                (tree->reach[model->items[i].first] & FROM_LEFT) &&
                (tree->reach[model->items[i].last] & FROM_RIGHT)) {
                push_by_rank(tree, frame, i);
            }
            if (top == UINT64_MAX) {
                continue;
            }
            level = bp__item_level(model, &model->items[i], top);
        }
        if (level < next) {
            next = level;
        }
    }
    return next;
}

bool bp__expand_valley(bp__tree *tree, bp__frame *frame)
{
    const bp__state *state = tree->state;
    uint64_t sections = find_valleys(tree, frame->range);
    uint64_t items = scan_items(tree, frame->range);
    uint64_t place = (uint64_t)frame->range.first << 32 | frame->range.last;
    frame->key.a = bp__mix(sections ^ bp__mix(items ^ tree->salt)) ^ place;
    frame->key.b = bp__mix(frame->key.a + sections * 3 + items * 5) | 1;
    if (bp__tree_is_starved(tree, frame->range) ||
        !cover_valleys(tree, frame->range)) {
        return false;
    }
    choice at = choose_section(tree, frame->range);
    if (at.section == BP__NONE || at.n_branches == 0) {
        if (at.section != BP__NONE) {
            tree->weight[at.section]++;
        }
        return false;
    }
    uint64_t next = push_candidates(tree, frame, &at);
    /* A raised floor may leave pins behind, which no longer count; the step
     * itself will see whether the rest fits. */
    bool may_fit = state->model->n_pins > 0 ||
                   next + state->total[at.section] <= state->limit;
    if ((tree->reach[at.section] & MAY_BE_EMPTY) && next != UINT64_MAX &&
        may_fit) {
        bp__option waste = {
            .kind = BP__WASTE, .section = at.section, .level = next};
        bp__tree_option(tree, waste);
    }
    return true;
}
