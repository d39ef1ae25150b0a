/* search_tree.h - the machine under both exact searches: depth first over
 * alternatives, with independent stretches of time solved one by one, a memo
 * of failed states and a budget of nodes. What to try at a node is the
 * search's own business (bp__expand).
 *
 * Ownership: init/fini; the state is borrowed. Nothing recurses: the frames
 * are an array, so depth is bounded by memory alone.
 */
#ifndef BAYPLAN_PLAN_SEARCH_TREE_H
#define BAYPLAN_PLAN_SEARCH_TREE_H

#include "plan/search_state.h"

typedef enum bp__outcome {
    BP__SOLVED,  /* every item is placed; offsets are in state->least */
    BP__REFUTED, /* no plan ends at or below the limit */
    BP__CUT,     /* the node limit or an interrupt came first */
    BP__FAILED   /* no memory */
} bp__outcome;

/* One alternative. */
typedef enum bp__option_kind {
    BP__PLACE, /* `item` lies at its lowest level */
    BP__LIFT,  /* `item` lies at `level` or higher */
    BP__WASTE  /* nothing lies in `section` below `level` */
} bp__option_kind;

typedef struct bp__option {
    uint64_t level;
    union {
        uint32_t item;
        uint32_t section;
    };
    bp__option_kind kind;
} bp__option;

typedef struct bp__range {
    uint32_t first, last;
} bp__range;

typedef struct bp__key {
    uint64_t a, b;
} bp__key;

typedef struct bp__frame {
    bp__key key;
    size_t mark; /* of the trail */
    size_t first_option, first_range;
    uint32_t n_options, next_option;
    uint32_t n_ranges, next_range;
    bp__range range;
} bp__frame;

/* How a run chooses what to branch on. */
typedef enum bp__flavour {
    BP__BY_DEAD_ENDS, /* valleys: few alternatives, where dead ends were met */
    BP__BY_FIT,       /* valleys: few alternatives; what meets the skyline's
                         edges is tried first */
    BP__BY_OFFSET,    /* the canonical search */
    BP__N_FLAVOURS
} bp__flavour;

typedef struct bp__tree bp__tree;

/* Push the alternatives of a node (the last frame) with bp__tree_option and
 * fill its key. False: nothing can be tried. */
typedef bool (*bp__expand)(bp__tree *tree, bp__frame *frame);

/* True: stop now. Called every BP__POLL_NODES nodes. */
typedef bool (*bp__poll)(void *ctx, uint64_t n_nodes);
#define BP__POLL_NODES 1024u

struct bp__tree {
    bp__state *state;
    bp_allocator alloc;
    bp__frame *frames;
    size_t n_frames, frame_capacity;
    bp__option *options;
    size_t n_options, option_capacity;
    bp__range *ranges;
    size_t n_ranges, range_capacity;
    bp__key *memo;
    size_t memo_size; /* a power of two */
    uint64_t salt;    /* tells the targets apart in the memo */
    uint64_t n_nodes; /* of all runs */
    bp__poll poll;
    void *poll_ctx;
    bool is_interrupted;
    /* What the searches keep between nodes. */
    uint32_t *rank;       /* item: place in this run's order */
    uint64_t *hash;       /* item: for keys */
    uint32_t *valley_end; /* section: end of its valley, or 0 */
    int32_t *change;      /* section: candidates that begin less that end */
    uint32_t *weight;     /* section: dead ends met there */
    uint8_t *reach;       /* section bounds: see search_valley.c */
    uint64_t *smallest;   /* section: smallest item of the valley from here */
    bp__flavour flavour;  /* how this run chooses where to branch */
};

/* `node_budget`: how many nodes there may be at most; the memo is no larger. */
BP_MUST_USE bool bp__tree_init(bp__tree *tree, bp__state *state,
                               uint64_t node_budget, const bp_allocator *alloc);
void bp__tree_fini(bp__tree *tree);

/* Search for a plan within `limit`, with at most `node_limit` nodes. */
bp__outcome bp__tree_run(bp__tree *tree, bp__expand expand, uint64_t limit,
                         uint64_t node_limit);

/* Append an alternative to the node being expanded. Failure is seen by the
 * machine (state->is_out_of_memory). */
void bp__tree_option(bp__tree *tree, bp__option option);

bool bp__expand_valley(bp__tree *tree, bp__frame *frame);
bool bp__expand_canonical(bp__tree *tree, bp__frame *frame);

/* Has some section of the range too few addresses of some residues left? */
bool bp__tree_is_starved(bp__tree *tree, bp__range range);

static inline uint64_t bp__mix(uint64_t x)
{
    /* The finaliser of MurmurHash3 (Austin Appleby, public domain). */
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

#endif
