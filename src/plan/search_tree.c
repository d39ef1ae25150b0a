/* search_tree.c - frames, ranges, memo. */
#include "plan/search_tree.h"

#include <string.h>

/* Failed states worth remembering: few for small problems, so that clearing
 * them costs nothing; at most 4 MiB. */
static size_t choose_memo_size(const bp__search_model *model,
                               uint64_t node_budget)
{
    size_t size = 256;
    while (size < (size_t)model->n * 256 && size < node_budget &&
           size < (size_t)1 << 18) {
        size *= 2;
    }
    return size;
}

bool bp__tree_init(bp__tree *tree, bp__state *state, uint64_t node_budget,
                   const bp_allocator *alloc)
{
    size_t n = state->model->n, n_sections = state->model->n_sections;
    *tree = (bp__tree){.state = state, .alloc = *alloc};
    tree->memo_size = choose_memo_size(state->model, node_budget);
    tree->memo = bp__alloc_array(alloc, tree->memo_size, sizeof(bp__key));
    tree->rank = bp__alloc_array(alloc, n, sizeof(uint32_t));
    tree->hash = bp__alloc_array(alloc, n, sizeof(uint64_t));
    tree->valley_end = bp__alloc_array(alloc, n_sections, sizeof(uint32_t));
    tree->change = bp__alloc_array(alloc, n_sections + 1, sizeof(int32_t));
    tree->weight = bp__alloc_array(alloc, n_sections, sizeof(uint32_t));
    tree->reach = bp__alloc_array(alloc, n_sections + 1, 1);
    tree->smallest = bp__alloc_array(alloc, n_sections, sizeof(uint64_t));
    if (tree->memo == NULL || tree->rank == NULL || tree->hash == NULL ||
        tree->valley_end == NULL || tree->change == NULL ||
        tree->weight == NULL || tree->reach == NULL || tree->smallest == NULL) {
        bp__tree_fini(tree);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        tree->hash[i] = bp__mix(i * 7919 + 13);
    }
    return true;
}

static void free_grown(const bp_allocator *alloc, void *array, size_t capacity,
                       size_t item)
{
    if (capacity > 0) {
        bp__free_array(alloc, array, capacity, item);
    }
}

void bp__tree_fini(bp__tree *tree)
{
    size_t n = tree->state->model->n;
    size_t n_sections = tree->state->model->n_sections;
    const bp_allocator *alloc = &tree->alloc;
    bp__free_array(alloc, tree->memo, tree->memo_size, sizeof(bp__key));
    bp__free_array(alloc, tree->rank, n, sizeof(uint32_t));
    bp__free_array(alloc, tree->hash, n, sizeof(uint64_t));
    bp__free_array(alloc, tree->valley_end, n_sections, sizeof(uint32_t));
    bp__free_array(alloc, tree->change, n_sections + 1, sizeof(int32_t));
    bp__free_array(alloc, tree->weight, n_sections, sizeof(uint32_t));
    bp__free_array(alloc, tree->reach, n_sections + 1, 1);
    bp__free_array(alloc, tree->smallest, n_sections, sizeof(uint64_t));
    free_grown(alloc, tree->frames, tree->frame_capacity, sizeof(bp__frame));
    free_grown(alloc, tree->options, tree->option_capacity, sizeof(bp__option));
    free_grown(alloc, tree->ranges, tree->range_capacity, sizeof(bp__range));
    *tree = (bp__tree){.state = tree->state, .alloc = tree->alloc};
}

void bp__tree_option(bp__tree *tree, bp__option option)
{
    if (!bp__grow(&tree->alloc, &tree->options, &tree->option_capacity,
                  tree->n_options + 1, sizeof *tree->options)) {
        tree->state->is_out_of_memory = true;
        return;
    }
    tree->options[tree->n_options++] = option;
}

/* ---- memo -------------------------------------------------------------- */

static bool is_known_failure(const bp__tree *tree, bp__key key)
{
    const bp__key *slot = &tree->memo[key.a & (tree->memo_size - 1)];
    return slot->a == key.a && slot->b == key.b;
}

static void remember_failure(bp__tree *tree, bp__key key)
{
    tree->memo[key.a & (tree->memo_size - 1)] = key;
}

/* ---- ranges ------------------------------------------------------------ */

static void push_range(bp__tree *tree, size_t first_range, bp__range range)
{
    if (!bp__grow(&tree->alloc, &tree->ranges, &tree->range_capacity,
                  tree->n_ranges + 1, sizeof *tree->ranges)) {
        tree->state->is_out_of_memory = true;
        return;
    }
    size_t at = tree->n_ranges++;
    uint32_t length = range.last - range.first;
    while (at > first_range &&
           tree->ranges[at - 1].last - tree->ranges[at - 1].first > length) {
        tree->ranges[at] = tree->ranges[at - 1];
        at--;
    }
    tree->ranges[at] = range;
}

/* The stretches of [first, last) that still have something to place, and that
 * nothing unplaced connects; short ones first. */
static uint32_t split(bp__tree *tree, bp__range range)
{
    const bp__state *state = tree->state;
    size_t first_range = tree->n_ranges;
    uint32_t s = range.first;
    while (s < range.last) {
        if (state->n_active[s] == 0) {
            s++;
            continue;
        }
        uint32_t end = s + 1;
        while (end < range.last && state->crossing[end - 1] > 0) {
            end++;
        }
        push_range(tree, first_range, (bp__range){s, end});
        s = end;
    }
    return (uint32_t)(tree->n_ranges - first_range);
}

/* ---- the machine ------------------------------------------------------- */

static bp__frame *push_frame(bp__tree *tree, bp__range range)
{
    if (!bp__grow(&tree->alloc, &tree->frames, &tree->frame_capacity,
                  tree->n_frames + 1, sizeof *tree->frames)) {
        tree->state->is_out_of_memory = true;
        return NULL;
    }
    bp__frame *frame = &tree->frames[tree->n_frames++];
    *frame = (bp__frame){.mark = tree->state->n_trail,
                         .first_option = tree->n_options,
                         .first_range = tree->n_ranges,
                         .range = range};
    return frame;
}

/* Leaves the last frame; its failure is remembered. */
static void pop_frame(bp__tree *tree, bool is_solved)
{
    bp__frame *frame = &tree->frames[--tree->n_frames];
    tree->n_options = frame->first_option;
    tree->n_ranges = frame->first_range;
    if (!is_solved) {
        bp__state_undo(tree->state, frame->mark);
        if (frame->n_options > 0) {
            remember_failure(tree, frame->key);
        }
    }
}

static bool take(bp__tree *tree, const bp__option *option)
{
    switch (option->kind) {
    case BP__PLACE:
        return bp__state_place(tree->state, option->item);
    case BP__LIFT:
        return bp__state_lift(tree->state, option->item, option->level);
    default:
        return bp__state_raise(tree->state, option->section, option->level);
    }
}

/* Applies the frame's next alternative that is no dead end at once. False:
 * none is left. */
static bool advance(bp__tree *tree)
{
    bp__frame *frame = &tree->frames[tree->n_frames - 1];
    while (frame->next_option < frame->n_options) {
        bp__state_undo(tree->state, frame->mark);
        tree->n_ranges = frame->first_range;
        size_t at = frame->first_option + frame->next_option++;
        if (take(tree, &tree->options[at])) {
            frame->n_ranges = split(tree, frame->range);
            frame->next_range = 0;
            return true;
        }
        if (tree->state->is_out_of_memory) {
            return false;
        }
        tree->weight[tree->state->dead_end]++;
    }
    return false;
}

static bool enter(bp__tree *tree, bp__expand expand, bp__range range)
{
    bp__frame *frame = push_frame(tree, range);
    tree->n_nodes++;
    if (frame == NULL) {
        return false;
    }
    bool is_open = expand(tree, frame);
    frame->n_options = (uint32_t)(tree->n_options - frame->first_option);
    if (is_open && is_known_failure(tree, frame->key)) {
        is_open = false;
    }
    if (!is_open) {
        frame->n_options = 0;
    }
    return is_open;
}

static bool is_stopped(bp__tree *tree, uint64_t stop_at)
{
    if (tree->poll != NULL && tree->n_nodes % BP__POLL_NODES == 0 &&
        tree->poll(tree->poll_ctx, tree->n_nodes)) {
        tree->is_interrupted = true;
    }
    return tree->is_interrupted || tree->n_nodes >= stop_at;
}

/* One frame below the root holds the ranges of the whole; it has a single
 * alternative, which is already applied. */
static bp__outcome walk(bp__tree *tree, bp__expand expand, uint64_t stop_at)
{
    while (!tree->state->is_out_of_memory) {
        bp__frame *frame = &tree->frames[tree->n_frames - 1];
        bool is_solved = frame->next_range == frame->n_ranges;
        if (!is_solved) {
            if (is_stopped(tree, stop_at)) {
                return BP__CUT;
            }
            size_t at = frame->first_range + frame->next_range++;
            (void)enter(tree, expand, tree->ranges[at]);
            if (tree->state->is_out_of_memory) {
                return BP__FAILED;
            }
            if (advance(tree)) {
                continue;
            }
        }
        /* Go up: past what is solved, or to the next open alternative. */
        while (!tree->state->is_out_of_memory) {
            pop_frame(tree, is_solved);
            if (tree->n_frames == 0) {
                return is_solved ? BP__SOLVED : BP__REFUTED;
            }
            if (is_solved || advance(tree)) {
                break;
            }
        }
    }
    return BP__FAILED;
}

bp__outcome bp__tree_run(bp__tree *tree, bp__expand expand, uint64_t limit,
                         uint64_t node_limit)
{
    uint64_t left = UINT64_MAX - tree->n_nodes;
    uint64_t stop_at = tree->n_nodes + (node_limit < left ? node_limit : left);
    tree->n_frames = 0;
    tree->n_options = 0;
    tree->n_ranges = 0;
    tree->salt = bp__mix(limit * 31 + 7);
    if (!bp__state_start(tree->state, limit)) {
        return tree->state->is_out_of_memory ? BP__FAILED : BP__REFUTED;
    }
    bp__frame *root =
        push_frame(tree, (bp__range){0, tree->state->model->n_sections});
    if (root == NULL) {
        return BP__FAILED;
    }
    root->n_ranges = split(tree, root->range);
    return walk(tree, expand, stop_at);
}

bool bp__tree_is_starved(bp__tree *tree, bp__range range)
{
    const bp__state *state = tree->state;
    if (state->model->n_sets == 0) {
        return false;
    }
    for (uint32_t s = range.first; s < range.last; s++) {
        if (bp__state_is_starved(state, s)) {
            tree->weight[s]++;
            return true;
        }
    }
    return false;
}
