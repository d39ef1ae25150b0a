/* gaps.c - a treap of gaps. Neighbouring gaps never touch. */
#include "plan/gaps.h"

#include "base/alloc.h"

/* How many gaps that are large enough may fail by their alignment before the
 * search asks for one that cannot. */
#define N_ALIGN_TRIES 32u

static bool reserve_node(bp__gaps *gaps)
{
    if (gaps->free_node != 0) {
        return true;
    }
    return bp__grow(&gaps->alloc, &gaps->nodes, &gaps->capacity,
                    (size_t)gaps->n_nodes + 1, sizeof *gaps->nodes);
}

/* After reserve_node. */
static uint32_t new_node(bp__gaps *gaps, uint64_t begin, uint64_t end)
{
    uint32_t x = gaps->free_node;
    uint32_t priority = gaps->n_nodes * UINT32_C(2654435769);
    if (x != 0) {
        gaps->free_node = gaps->nodes[x].left;
        priority = gaps->nodes[x].priority;
    } else {
        x = gaps->n_nodes++;
        priority ^= priority >> 15;
        priority *= UINT32_C(2246822519);
        priority ^= priority >> 13;
    }
    gaps->nodes[x] = (bp__gap){.begin = begin,
                               .end = end,
                               .largest = end - begin,
                               .priority = priority};
    return x;
}

static void free_node(bp__gaps *gaps, uint32_t x)
{
    gaps->nodes[x].left = gaps->free_node;
    gaps->free_node = x;
}

static uint64_t largest_of(const bp__gap *nodes, uint32_t x)
{
    uint64_t largest = nodes[x].end - nodes[x].begin;
    uint64_t left = nodes[nodes[x].left].largest;
    uint64_t right = nodes[nodes[x].right].largest;
    largest = left > largest ? left : largest;
    return right > largest ? right : largest;
}

/* From x to the root, until nothing changes. */
static void refresh(bp__gaps *gaps, uint32_t x)
{
    bp__gap *nodes = gaps->nodes;
    while (x != 0) {
        uint64_t largest = largest_of(nodes, x);
        if (largest == nodes[x].largest) {
            return;
        }
        nodes[x].largest = largest;
        x = nodes[x].parent;
    }
}

static void replace_child(bp__gaps *gaps, uint32_t parent, uint32_t old,
                          uint32_t next)
{
    if (parent == 0) {
        gaps->root = next;
    } else if (gaps->nodes[parent].left == old) {
        gaps->nodes[parent].left = next;
    } else {
        gaps->nodes[parent].right = next;
    }
    if (next != 0) {
        gaps->nodes[next].parent = parent;
    }
}

/* x goes above its parent. */
static void rotate_up(bp__gaps *gaps, uint32_t x)
{
    bp__gap *nodes = gaps->nodes;
    uint32_t parent = nodes[x].parent;
    uint32_t *inner, *outer;
    if (nodes[parent].left == x) {
        inner = &nodes[x].right;
        outer = &nodes[parent].left;
    } else {
        inner = &nodes[x].left;
        outer = &nodes[parent].right;
    }
    replace_child(gaps, nodes[parent].parent, parent, x);
    *outer = *inner;
    if (*inner != 0) {
        nodes[*inner].parent = parent;
    }
    *inner = parent;
    nodes[parent].parent = x;
    nodes[x].largest = nodes[parent].largest;
    nodes[parent].largest = largest_of(nodes, parent);
}

/* After reserve_node; [begin, end) touches no other gap. */
static void insert(bp__gaps *gaps, uint64_t begin, uint64_t end)
{
    uint32_t x = new_node(gaps, begin, end);
    bp__gap *nodes = gaps->nodes;
    uint32_t parent = 0, at = gaps->root;
    while (at != 0) {
        parent = at;
        at = begin < nodes[at].begin ? nodes[at].left : nodes[at].right;
    }
    nodes[x].parent = parent;
    if (parent == 0) {
        gaps->root = x;
    } else if (begin < nodes[parent].begin) {
        nodes[parent].left = x;
    } else {
        nodes[parent].right = x;
    }
    refresh(gaps, parent);
    while (nodes[x].parent != 0 &&
           nodes[nodes[x].parent].priority < nodes[x].priority) {
        rotate_up(gaps, x);
    }
}

static void erase(bp__gaps *gaps, uint32_t x)
{
    bp__gap *nodes = gaps->nodes;
    while (nodes[x].left != 0 && nodes[x].right != 0) {
        uint32_t left = nodes[x].left, right = nodes[x].right;
        rotate_up(gaps,
                  nodes[left].priority > nodes[right].priority ? left : right);
    }
    uint32_t child = nodes[x].left != 0 ? nodes[x].left : nodes[x].right;
    uint32_t parent = nodes[x].parent;
    replace_child(gaps, parent, x, child);
    refresh(gaps, parent);
    free_node(gaps, x);
}

static uint32_t first_below(const bp__gap *nodes, uint32_t x, uint64_t size)
{
    while (nodes[nodes[x].left].largest >= size) {
        x = nodes[x].left;
    }
    return x;
}

/* The lowest gap of at least `size`, after gap x (0: from the start); 0: there
 * is none. */
static uint32_t next_gap(const bp__gaps *gaps, uint32_t x, uint64_t size)
{
    const bp__gap *nodes = gaps->nodes;
    uint32_t at = x == 0 ? gaps->root : nodes[x].right;
    bool is_below = nodes[at].largest >= size;
    while (!is_below) {
        if (x == 0) {
            return 0;
        }
        uint32_t from = x;
        x = nodes[x].parent;
        if (x == 0 || nodes[x].right == from) {
            continue;
        }
        if (nodes[x].end - nodes[x].begin >= size) {
            return x;
        }
        at = nodes[x].right;
        is_below = nodes[at].largest >= size;
    }
    for (;;) {
        at = first_below(nodes, at, size);
        if (nodes[at].end - nodes[at].begin >= size) {
            return at;
        }
        at = nodes[at].right;
    }
}

/* Cuts [begin, end) out of gap x. After reserve_node. */
static void cut(bp__gaps *gaps, uint32_t x, uint64_t begin, uint64_t end)
{
    bp__gap *gap = &gaps->nodes[x];
    uint64_t gap_end = gap->end;
    if (begin == gap->begin && end == gap_end) {
        erase(gaps, x);
        return;
    }
    if (begin == gap->begin) {
        gap->begin = end;
        refresh(gaps, x);
        return;
    }
    gap->end = begin;
    refresh(gaps, x);
    if (end < gap_end) {
        insert(gaps, end, gap_end);
    }
}

bool bp__gaps_take(bp__gaps *gaps, uint64_t size, uint64_t align,
                   uint64_t *out_offset)
{
    if (!reserve_node(gaps)) {
        return false;
    }
    uint64_t offset = 0;
    uint32_t x = 0;
    for (uint32_t tries = 0; tries < N_ALIGN_TRIES; tries++) {
        x = next_gap(gaps, x, size);
        if (x == 0) {
            return false; /* sums are checked; the last gap has no end */
        }
        const bp__gap *gap = &gaps->nodes[x];
        if (bp_round_up(gap->begin, align, &offset) && offset <= gap->end &&
            gap->end - offset >= size) {
            cut(gaps, x, offset, offset + size);
            *out_offset = offset;
            return true;
        }
    }
    x = next_gap(gaps, 0, size + (align - 1));
    if (x == 0 || !bp_round_up(gaps->nodes[x].begin, align, &offset)) {
        return false;
    }
    cut(gaps, x, offset, offset + size);
    *out_offset = offset;
    return true;
}

/* The last gap that begins at or below `address`, or 0; and the next one. */
static uint32_t find(const bp__gaps *gaps, uint64_t address, uint32_t *after)
{
    const bp__gap *nodes = gaps->nodes;
    uint32_t at = gaps->root, before = 0;
    *after = 0;
    while (at != 0) {
        if (nodes[at].begin <= address) {
            before = at;
            at = nodes[at].right;
        } else {
            *after = at;
            at = nodes[at].left;
        }
    }
    return before;
}

bool bp__gaps_give(bp__gaps *gaps, uint64_t begin, uint64_t end)
{
    if (!reserve_node(gaps)) {
        return false;
    }
    uint32_t after, before = find(gaps, begin, &after);
    bp__gap *nodes = gaps->nodes;
    bool is_left = before != 0 && nodes[before].end == begin;
    bool is_right = after != 0 && nodes[after].begin == end;
    if (is_left && is_right) {
        end = nodes[after].end;
        erase(gaps, after);
    }
    if (is_left) {
        nodes[before].end = end;
        refresh(gaps, before);
    } else if (is_right) {
        nodes[after].begin = begin;
        refresh(gaps, after);
    } else {
        insert(gaps, begin, end);
    }
    return true;
}

bool bp__gaps_has(const bp__gaps *gaps, uint64_t begin, uint64_t end)
{
    uint32_t after, x = find(gaps, begin, &after);
    return x != 0 && end <= gaps->nodes[x].end;
}

bool bp__gaps_reserve(bp__gaps *gaps, uint64_t begin, uint64_t end)
{
    while (begin < end) {
        if (!reserve_node(gaps)) {
            return false;
        }
        uint32_t after, x = find(gaps, begin, &after);
        if (x == 0 || gaps->nodes[x].end <= begin) {
            if (after == 0 || gaps->nodes[after].begin >= end) {
                return true;
            }
            x = after;
            begin = gaps->nodes[x].begin;
        }
        uint64_t stop = gaps->nodes[x].end < end ? gaps->nodes[x].end : end;
        cut(gaps, x, begin, stop);
        begin = stop;
    }
    return true;
}

bool bp__gaps_init(bp__gaps *gaps, const bp_allocator *alloc)
{
    *gaps = (bp__gaps){.alloc = *alloc, .n_nodes = 1};
    if (!bp__grow(alloc, &gaps->nodes, &gaps->capacity, 16,
                  sizeof *gaps->nodes)) {
        return false;
    }
    insert(gaps, 0, UINT64_MAX);
    return true;
}

void bp__gaps_fini(bp__gaps *gaps)
{
    if (gaps->capacity > 0) {
        bp__free_array(&gaps->alloc, gaps->nodes, gaps->capacity,
                       sizeof *gaps->nodes);
    }
    *gaps = (bp__gaps){.alloc = gaps->alloc};
}

static uint32_t leftmost(const bp__gap *nodes, uint32_t x)
{
    while (x != 0 && nodes[x].left != 0) {
        x = nodes[x].left;
    }
    return x;
}

bool bp__gaps_check(const bp__gaps *gaps)
{
    const bp__gap *nodes = gaps->nodes;
    uint32_t x = leftmost(nodes, gaps->root), n_seen = 0;
    bool is_first = true, is_good = nodes[0].largest == 0;
    uint64_t end_before = 0;
    while (x != 0 && n_seen < gaps->n_nodes) {
        const bp__gap *gap = &nodes[x];
        is_good =
            is_good && gap->begin < gap->end &&
            (is_first || gap->begin > end_before) &&
            gap->largest == largest_of(nodes, x) &&
            (gap->left == 0 || nodes[gap->left].parent == x) &&
            (gap->right == 0 || nodes[gap->right].parent == x) &&
            (gap->parent == 0 || nodes[gap->parent].priority >= gap->priority);
        end_before = gap->end;
        is_first = false;
        n_seen++;
        if (gap->right != 0) {
            x = leftmost(nodes, gap->right);
            continue;
        }
        uint32_t from = x;
        x = gap->parent;
        while (x != 0 && nodes[x].right == from) {
            from = x;
            x = nodes[x].parent;
        }
    }
    return is_good && x == 0 && n_seen > 0;
}
