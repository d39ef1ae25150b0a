/* tree.h - what a budget tree is made of: the structures that src/device
 * decides on and src/runtime carries out.
 *
 * Lock: everything here but the atomics is read and written under tree->lock.
 * Functions ending in _locked need it held.
 *
 * Three kinds of owners of bytes exist, and every byte of every field belongs
 * to exactly one of them (bp_tree_check adds them up):
 *     used      tags of the budget, and what is under none; blocks of RESIDENT
 *               slots, and of RESTORING ones without a claim
 *     reserved  reservations; claims
 *     retiring  blocks of EVICTING slots; blocks on the tree's list of retirees
 */
#ifndef BAYPLAN_DEVICE_TREE_H
#define BAYPLAN_DEVICE_TREE_H

#include "base/handles.h"
#include "base/lock.h"
#include "base/map.h"
#include "bayplan/device.h"
#include "device/log.h"

#include <stdatomic.h>

typedef struct bp__budget bp__budget;
typedef struct bp__manager bp__manager;
typedef struct bp__slot bp__slot;
typedef struct bp__block bp__block;
typedef struct bp__claim bp__claim;
typedef struct bp__watch bp__watch;

/* ---- the tree ---------------------------------------------------------- */

struct bp_deferred {
    bp_deferred *next;
    bp_deferral what;
    uint64_t handle;
};

/* What a choice of victims may have to look at for every slot lies close
 * together, apart from the slots. */
struct bp_stamp {
    atomic_uint_least64_t last_use;
    union {
        size_t heap_place;   /* SIZE_MAX: not in the heap */
        bp_stamp *next_free; /* of a stamp without a slot */
    };
};

#define BP__STAMPS_PER_CHUNK 128u
typedef struct bp__stamps bp__stamps;
struct bp__stamps {
    bp__stamps *next;
    bp_stamp stamps[BP__STAMPS_PER_CHUNK];
};

struct bp_tree {
    bp_allocator alloc;
    bp_mutex lock;
    /* Broadcast whenever bytes become available, a block retires or a slot
     * changes its state. */
    bp_condition changed;
    uint64_t epoch; /* bp_process_epoch() at birth */
    atomic_uint_least64_t clock;
    uint64_t generations; /* the last one given out */
    uint64_t orders;      /* the last order of insertion given out */
    bp_handles budgets;   /* of bp__budget */
    bp_handles reservations;
    bp_handles watches;
    bp_handles managers;
    bp_handles slots;
    bp__stamps *stamps;    /* every one ever made; freed with the tree */
    bp_stamp *free_stamps; /* of no slot, or of one that is gone */
    bp__block *retirees;   /* oldest first */
    bp__block **retirees_end;
    struct bp__piece *busy; /* the runtime's list: the device may use them */
    bp__claim *claims;      /* every claim that is open */
    bp_log log;

    /* Why a caller should settle; see bp_tree_is_unsettled. */
    _Atomic(bp_deferred *) deferred;
    atomic_uint_least32_t n_retirees;
    atomic_bool is_reclaim_due;    /* some budget reached its evict_at */
    atomic_uint_least64_t n_edges; /* of all watches, that nobody has taken */
    uint32_t n_abandoned;          /* budgets; see bp__budget_abandon_locked */
};

/* The next tick of the clock. No lock needed. */
static inline uint64_t bp__tree_tick(bp_tree *tree)
{
    return atomic_fetch_add_explicit(&tree->clock, 1, memory_order_relaxed) + 1;
}

/* Lock the tree. FORKED, and not locked, in a child process. */
BP_MUST_USE bp_status bp__tree_enter(bp_tree *tree, bp_error *error);
/* The same for functions that cannot fail: false, and not locked, in a child.
 */
BP_MUST_USE bool bp__tree_enter_if_ours(bp_tree *tree);
/* Also closes abandoned budgets that nothing holds any more. */
void bp__tree_leave(bp_tree *tree);
/* All that was handed over to bp_tree_defer, oldest first, linked by `next`;
 * the caller does each and frees it. NULL: nothing. No lock needed. */
bp_deferred *bp__tree_take_deferred(bp_tree *tree);

/* STALE, naming `what` ("budget", "slot", ...). */
bp_status bp__refuse_stale(bp_error *error, const char *what);
bp_status bp__refuse_memory_of(bp_error *error, const char *what);

/* ---- budgets ----------------------------------------------------------- */

typedef struct bp__tag {
    bp_key *name;
    uint64_t n_bytes;
} bp__tag;

typedef struct bp__history {
    bp_history_point *points; /* room for capacity of them, from birth */
    uint32_t n_points, capacity;
    uint64_t stride, n_skipped; /* every stride-th change is kept */
    bp_history_point newest;    /* shown after them if n_skipped != 0 */
} bp__history;

/* What bp_tree_check adds up; no state. */
typedef struct bp__sums {
    uint64_t used, reserved, retiring;
    uint32_t n_children, n_managers, n_reservations, n_watches;
} bp__sums;

struct bp__budget {
    bp_budget handle;
    bp__budget *parent;
    uint32_t depth; /* 0: a root */
    uint32_t n_children, n_managers, n_reservations, n_watches;
    bp_key *name; /* NULL: none */
    uint64_t limit, used, reserved, retiring, cached, peak;
    uint64_t ceiling; /* the limit; where that was lowered below what is in
                         use, what is in use since: it may not grow */
    uint64_t granularity;
    bp_levels levels;
    uint8_t release;
    uint8_t evict_at[2];
    uint64_t n_charges, n_refusals, n_evictions;
    uint64_t untagged; /* charged under no tag */
    bp__tag *tags;     /* in order of first charge; at 0 they may be dropped */
    size_t n_tags, tag_capacity;
    size_t recent_tag;  /* where the last one found was; a hint */
    bp_map tag_index;   /* name -> tags[] */
    bp__watch *watches; /* oldest first */
    bp__history history;
    bool is_reclaim_due;
    /* The first generation since that: what came with the admission that made
     * it due, and after it, is not what has to go for it. */
    uint64_t due_since;
    bool is_abandoned; /* to be closed as soon as nothing holds it */
    bp__sums sums;
};

typedef struct bp__reservation {
    bp_reservation handle;
    bp__budget *budget;
    uint64_t n_left;
} bp__reservation;

/* Untaken edges of one watch: beyond that the oldest pair is dropped. */
#define BP__MAX_EDGES 65536u

struct bp__watch {
    bp_watch handle;
    bp__budget *budget;
    bp__watch *next; /* of the budget's */
    uint64_t order;  /* from tree->orders: the oldest is served first */
    bp_pressure level;
    bool is_above;    /* as the ledger has it */
    uint32_t n_edges; /* that nobody has taken; the last one led to is_above */
};

/* ---- managers and slots ------------------------------------------------ */

struct bp__manager {
    bp_slots handle;
    bp__budget *budget;
    bp_policy policy;
    bool is_strict;
    bool is_closing;
    uint64_t granularity; /* the larger of budget's and backend's */
    void *backend;        /* the runtime's; never looked into here */
    bp__slot **slots;     /* in order of allocation */
    size_t n_slots, slot_capacity;
    bp_map names;       /* name -> position in `index_names` */
    bp__slot **by_name; /* what the map's values stand for */
    size_t n_names, name_capacity;
    /* RESIDENT slots that are not pinned, by when they would go (victims.c). */
    struct bp__heap_item *heap;
    size_t n_heap, heap_capacity; /* capacity >= number of slots, always */
    uint64_t n_corrections;       /* stale ages the heap met, so far */
    bp_slots_stats counters;      /* the fields that count, alone */
};

struct bp__slot {
    bp_slot handle;
    bp__manager *manager;
    bp_key *name;
    bp_key *kind; /* NULL: none */
    uint64_t n_bytes;
    uint64_t n_charged; /* n_bytes, rounded to the manager's granularity */
    bp_slot_state state;
    uint64_t generation;
    bp_stamp *stamp;
    uint64_t order;
    uint64_t rank;
    int32_t priority;
    uint32_t n_host_uses;
    uint32_t name_place; /* in manager->by_name; UINT32_MAX: not named */
    bool is_pinned, keeps_copy, has_loader;
    bool is_new;     /* not resident yet for the first time */
    bool is_loading; /* its owner fills it */
    /* While is_loading: who fills it, and the slot that this thread waits for
     * now, if it waits for one that another thread fills. */
    bp_thread loader;
    bp_slot awaited;
    /* While is_loading: the slot whose name it took, forgotten once this one is
     * filled; and whether that was resident. NULL: none. */
    bp__slot *replaced;
    bool was_resident;
    bool is_dirty;      /* the device may have what the host copy has not */
    bool is_busy;       /* the device may still use it: events not yet passed */
    bp__claim *claim;   /* whose victim, or whose new slot, it is */
    bp__block *block;   /* its memory, NULL if it has none */
    bp__block *leaving; /* departed with, until it is gone or retired */
    bool is_patient;    /* whoever brings it in may wait for others */
    bp__slot *next_chosen; /* choose.c's lists, within one call */
    void *copy; /* the runtime's: host copy; never looked into here */
    uint64_t n_copy_bytes; /* of it; 0: none */
    bool has_contents;     /* the copy is what a restore would bring back */
};

/* One piece of device memory: of a slot, or on its way out. The runtime makes
 * it bigger (its first member is this). */
struct bp__block {
    bp__budget *budget; /* the leaf it is charged to */
    bp__manager *manager;
    uint64_t n_charged;
    bp__slot *slot;   /* the slot whose contents are on their way out, if any */
    bp__claim *claim; /* gets the bytes when they are free, NULL: available */
    bp__block *next, **from; /* in tree->retirees; *from is this block */
    bool is_failed; /* the backend would not free it; to be tried again */
};

/* ---- claims: one transaction's hold on the ledger ----------------------- */

struct bp__claim {
    bp__budget *budget; /* the leaf */
    uint64_t need;      /* bytes to be had, rounded */
    /* What it has in `reserved` of the budget at each depth; all equal `need`
     * when it is complete. */
    uint64_t held[BP_MAX_BUDGET_DEPTH];
    uint64_t n_retiring; /* bytes of blocks that will come to it */
    /* Of those, what will come to it at each depth: a victim of a sibling
     * budget gives its bytes to the parents they share, and there alone. */
    uint64_t coming[BP_MAX_BUDGET_DEPTH];
    bp_reservation reservation; /* where the first bytes came from, or 0 */
    uint64_t from_reservation;
    bp__claim *next; /* in tree->claims */
};

#endif
