/* device.h - who may have how many bytes of device memory: budgets, pressure,
 * reservations, and the log of evictions. It decides and never acts; what acts
 * is runtime.h.
 *
 * A *tree* holds everything that is decided together: budgets (one of them may
 * be the parent of others), reservations, watches, the log, and slots. Things
 * in a tree are known by handles (generation << 32 | index); 0 is no handle,
 * and a stale one is an error or a no-op, never a wrong thing.
 *
 * Every byte of a budget is in exactly one field:
 *     used      resident
 *     reserved  promised
 *     retiring  evicted, but the device may still use it
 * used + reserved + retiring <= limit, unless a limit was lowered below use.
 * A budget carries its children's figures, each byte as its leaf rounded it.
 *
 * Ownership: the caller owns the tree. Texts passed in are copied.
 * Threads: every function may be called on any thread. One leaf mutex per tree;
 * under it no call-back, no backend and no wait.
 * Errors: every function that can fail reports FORKED in a child process of the
 * one that made the tree. A call that fails leaves bp_tree_dump() byte-equal.
 */
#ifndef BAYPLAN_DEVICE_H
#define BAYPLAN_DEVICE_H

#include "bayplan/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- pressure ---------------------------------------------------------- */

typedef enum bp_pressure {
    BP_LOW,
    BP_MEDIUM,
    BP_HIGH,
    BP_CRITICAL,
    BP_N_PRESSURES
} bp_pressure;

/* Percents of the limit at which MEDIUM, HIGH and CRITICAL begin. */
typedef struct bp_levels {
    uint8_t percent[3];
} bp_levels;
#define BP_DEFAULT_LEVELS ((bp_levels){{50, 80, 95}})

/* "LOW", "MEDIUM", "HIGH", "CRITICAL". Never NULL. */
BP_API const char *bp_pressure_name(bp_pressure pressure);
/* Exact in integers: LEVEL begins where in_use * 100 >= limit * percent. A
 * limit of 0 is CRITICAL. */
BP_API bp_pressure bp_pressure_of(uint64_t in_use, uint64_t limit,
                                  bp_levels levels);

/* ---- trees ------------------------------------------------------------- */

typedef struct bp_tree bp_tree;

/* `n_records`: room of the log's ring, 0 for 65,536.
 * Errors: NO_MEMORY, BAD_VALUE (more than 2^28 records). */
BP_API BP_MUST_USE bp_status bp_tree_new(uint32_t n_records,
                                         const bp_allocator *alloc,
                                         bp_tree **out, bp_error *error);
/* Everything in it goes. Slot managers must have been closed (runtime.h): a
 * tree that still has one is left as it is, for ever, as at the end of a
 * process. In a forked child nothing is freed. NULL is a no-op. */
BP_API void bp_tree_free(bp_tree *tree);
/* True if the tree was made in this process. */
BP_API bool bp_tree_is_ours(const bp_tree *tree);

/* Every invariant. INTERNAL, with a text that names the broken one. */
BP_API BP_MUST_USE bp_status bp_tree_check(bp_tree *tree, bp_error *error);
/* JSON: same text for the same state; counters, clocks and the log are not
 * state. The caller frees *out with the tree's allocator, strlen + 1 bytes.
 * Errors: NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_tree_dump(bp_tree *tree, char **out,
                                          bp_error *error);
BP_API bp_allocator bp_tree_get_allocator(const bp_tree *tree);

/* ---- budgets ----------------------------------------------------------- */

typedef uint64_t bp_budget;
#define BP_NO_BUDGET         ((bp_budget)0)
#define BP_MAX_BUDGET_DEPTH  16u
#define BP_DEFAULT_RELEASE   5
#define BP_DEFAULT_N_HISTORY 1024u

typedef struct bp_budget_options {
    const char *name;     /* NULL: none; in messages and dumps alone */
    uint64_t limit;       /* bytes; 0 admits nothing */
    bp_levels levels;     /* ascending, all different, 1..100 */
    uint8_t release;      /* percent below a level at which its edge falls */
    uint8_t evict_at[2];  /* percents {at, down to}, at 1..100, down to at most
                             that; {0, 0}: never by itself. What has come to
                             the device since the first was reached, and what
                             reached it, stays */
    bp_budget parent;     /* of the same tree, or BP_NO_BUDGET */
    uint64_t granularity; /* power of two; every request is rounded up to it */
    uint32_t n_history;   /* points kept for pictures; 0: the default */
} bp_budget_options;

/* What a plain budget of this limit has. */
BP_API bp_budget_options bp_budget_defaults(uint64_t limit);

/* Errors: BAD_VALUE (levels, release, evict_at, granularity, too deep, limit of
 * 2^63 or more), STALE (parent), NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_budget_open(bp_tree *tree,
                                            const bp_budget_options *options,
                                            bp_budget *out, bp_error *error);
/* Errors: STALE; BUSY while it has children, slots, reservations or used
 * bytes. */
BP_API BP_MUST_USE bp_status bp_budget_close(bp_tree *tree, bp_budget budget,
                                             bp_error *error);

typedef struct bp_budget_stats {
    uint64_t limit;
    uint64_t used, reserved, retiring;
    uint64_t cached;    /* idle in pools; inside available */
    uint64_t available; /* max(0, limit - used - reserved - retiring) */
    uint64_t over;      /* how much the three exceed a lowered limit */
    uint64_t peak;      /* of the three together */
    bp_pressure pressure;
    bp_levels levels;
    uint64_t granularity;
    uint64_t n_charges; /* admissions that succeeded, here or in children */
    uint64_t n_refusals;
    uint64_t n_evictions; /* residencies ended under this budget */
    uint32_t n_children;
    bp_budget parent;
    char name[64]; /* "" for none; cut like an error's */
} bp_budget_stats;

/* All fields at one moment. Errors: STALE. */
BP_API BP_MUST_USE bp_status bp_budget_get_stats(bp_tree *tree,
                                                 bp_budget budget,
                                                 bp_budget_stats *out,
                                                 bp_error *error);
/* Bytes charged to this very budget under `tag` (NULL: under none); 0 for a tag
 * it never saw. Errors: STALE. */
BP_API BP_MUST_USE bp_status bp_budget_get_tag(bp_tree *tree, bp_budget budget,
                                               const char *tag, uint64_t *out,
                                               bp_error *error);
/* The i-th tag that has bytes, in order of first charge (a tag that was at 0
 * since may come later), into a buffer of BP_MAX_NAME + 1; UNKNOWN_KEY past the
 * last one. What is charged under no tag is not among them. Errors: STALE. */
BP_API BP_MUST_USE bp_status bp_budget_tag_at(bp_tree *tree, bp_budget budget,
                                              uint32_t i, char *name,
                                              uint64_t *n_bytes,
                                              bp_error *error);

/* One point of a budget's past. `when` counts the tree's admissions, releases
 * and touches; it is no time of day. */
typedef struct bp_history_point {
    uint64_t when;
    uint64_t used, reserved, retiring, limit;
} bp_history_point;

/* The newest points, oldest first; where there were more than the budget keeps,
 * every second old one has been dropped, again and again. Returns how many of
 * at most `n_max` were written; 0 for a stale handle. */
BP_API size_t bp_budget_copy_history(bp_tree *tree, bp_budget budget,
                                     bp_history_point *out, size_t n_max);

/* ---- why a request was refused ------------------------------------------ */

#define BP_SHORTAGE_TEXT 1024u

/* What a refusal reports, taken at the moment of the refusal. Plain data. */
typedef struct bp_shortage {
    uint64_t requested, available, limit, used, reserved;
    uint64_t evictable; /* bytes of slots that could go now */
    uint64_t pinned;    /* bytes of pinned slots */
    uint64_t in_flight; /* retiring, and slots the device may still use */
    uint32_t n_loaded, n_slots;
    char budget[64];             /* who refused; "" if it has no name */
    char text[BP_SHORTAGE_TEXT]; /* the report, several lines */
} bp_shortage;

/* ---- the ledger -------------------------------------------------------- */

/* used += n, rounded up, here and in all parents; all or nothing. `tag` may be
 * NULL. `shortage` (nullable) is filled when it is refused.
 * Errors: BUDGET_EXCEEDED, BAD_SIZE (n = 0 or >= 2^63), BAD_NAME (a tag of more
 * than BP_MAX_NAME bytes), STALE, NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_budget_charge(bp_tree *tree, bp_budget budget,
                                              uint64_t n_bytes, const char *tag,
                                              bp_shortage *shortage,
                                              bp_error *error);
/* The opposite. Errors: BAD_VALUE (more than is charged under the tag),
 * BAD_SIZE (0), STALE. */
BP_API BP_MUST_USE bp_status bp_budget_refund(bp_tree *tree, bp_budget budget,
                                              uint64_t n_bytes, const char *tag,
                                              bp_error *error);

/* Writes the ledger alone; *is_deferred tells that more than `limit` is in use
 * now, which the next admission or bp_budget_trim() will mend.
 * Errors: BAD_VALUE (2^63 or more), STALE. */
BP_API BP_MUST_USE bp_status bp_budget_set_limit(bp_tree *tree,
                                                 bp_budget budget,
                                                 uint64_t limit,
                                                 bool *is_deferred,
                                                 bp_error *error);

typedef uint64_t bp_reservation;
#define BP_NO_RESERVATION ((bp_reservation)0)

/* reserved += n, rounded up. Errors: as bp_budget_charge. */
BP_API BP_MUST_USE bp_status bp_budget_reserve(bp_tree *tree, bp_budget budget,
                                               uint64_t n_bytes,
                                               bp_reservation *out,
                                               bp_shortage *shortage,
                                               bp_error *error);
/* Move n bytes, rounded up, from reserved to used.
 * Errors: BUDGET_EXCEEDED (more than is left; names both), BAD_SIZE, BAD_NAME,
 * STALE, NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_reservation_take(bp_tree *tree,
                                                 bp_reservation reservation,
                                                 uint64_t n_bytes,
                                                 const char *tag,
                                                 bp_error *error);
/* Bytes left; 0 for a stale handle. */
BP_API uint64_t bp_reservation_left(bp_tree *tree, bp_reservation reservation);
/* What is left goes back. A stale handle is a no-op. Never fails. */
BP_API void bp_reservation_close(bp_tree *tree, bp_reservation reservation);

/* ---- edges of pressure ------------------------------------------------- */

typedef uint64_t bp_watch;

/* See `budget` cross into `level` or above (rising) and fall `release` percent
 * of the limit below where it begins (falling: in_use * 100 < limit * (percent
 * - release); where release is no less than percent, in_use is 0). Edges of one
 * watch alternate, and the first one rises: a budget that is there already has
 * an edge at once. Of more than 65,536 edges that nobody took, the oldest go,
 * in pairs. Closing a budget closes its watches. Errors: BAD_VALUE (LOW:
 * everything is at LOW or above), STALE, NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_watch_open(bp_tree *tree, bp_budget budget,
                                           bp_pressure level, bp_watch *out,
                                           bp_error *error);
BP_API void bp_watch_close(bp_tree *tree, bp_watch watch);

typedef struct bp_edge {
    bp_watch watch;
    bp_budget budget;
    bp_pressure level;
    bool is_rising;
} bp_edge;

/* One atomic load. */
BP_API bool bp_tree_has_edges(const bp_tree *tree);
/* The oldest watch's next edge that nobody has taken; false if there is none.
 */
BP_API bool bp_tree_take_edge(bp_tree *tree, bp_edge *out);

/* ---- the log of evictions ---------------------------------------------- */

/* Why a residency ended. */
typedef enum bp_cause {
    BP_CAUSE_EXPLICIT,
    BP_CAUSE_REPLACED,
    BP_CAUSE_PRESSURE,
    BP_CAUSE_LIMIT,
    BP_CAUSE_OOM,
    BP_CAUSE_SWEEP,
    BP_CAUSE_CLOSED,
    BP_N_CAUSES
} bp_cause;

/* "explicit", "replaced", ... Never NULL. */
BP_API const char *bp_cause_name(bp_cause cause);
BP_API bool bp_cause_parse(const char *name, bp_cause *out);

/* An immutable text with a count of references, which may be taken and dropped
 * on any thread without a lock. */
typedef struct bp_key bp_key;
BP_API const char *bp_key_text(const bp_key *key);

/* A ring of records. A tree has one; one may also stand alone and be fed by
 * other owners alone. Same lock and error rules as a tree. */
typedef struct bp_log bp_log;

/* Errors: as bp_tree_new. */
BP_API BP_MUST_USE bp_status bp_log_new(uint32_t n_records,
                                        const bp_allocator *alloc, bp_log **out,
                                        bp_error *error);
/* Only of a log made by bp_log_new. NULL is a no-op. */
BP_API void bp_log_free(bp_log *log);
/* Borrowed; lives as long as the tree. */
BP_API bp_log *bp_tree_get_log(bp_tree *tree);

typedef struct bp_record {
    bp_key *key;  /* never NULL */
    bp_key *kind; /* NULL: none */
    uint64_t generation;
    uint64_t n_bytes;
    bp_cause cause;
    uint64_t seq; /* dense, from 0 */
} bp_record;

/* Append a record about something of another owner's; its generation is new.
 * `kind` may be NULL. Errors: BAD_NAME (empty, or more than BP_MAX_NAME bytes),
 * BAD_VALUE (no cause), NO_MEMORY, FORKED. */
BP_API BP_MUST_USE bp_status bp_log_publish(bp_log *log, const char *key,
                                            const char *kind, uint64_t n_bytes,
                                            bp_cause cause, uint64_t *seq,
                                            bp_error *error);
/* The sequence number of the next record, and of the oldest one kept (equal if
 * there is none). */
BP_API void bp_log_range(bp_log *log, uint64_t *first, uint64_t *next);
/* Some subscription has records that it was not given yet. One atomic load. */
BP_API bool bp_log_has_news(const bp_log *log);

typedef uint64_t bp_cursor;

typedef struct bp_cursor_options {
    const char *const *kinds; /* NULL: all; n_kinds == 0 otherwise: none */
    size_t n_kinds;
    const char *const *keys; /* likewise */
    size_t n_keys;
    uint64_t max_backlog; /* 0: none but the ring's */
} bp_cursor_options;

/* Sees what is appended from now on. `options` may be NULL.
 * Errors: NO_MEMORY, FORKED. */
BP_API BP_MUST_USE bp_status bp_cursor_open(bp_log *log,
                                            const bp_cursor_options *options,
                                            bp_cursor *out, bp_error *error);
/* A stale handle is a no-op. */
BP_API void bp_cursor_close(bp_log *log, bp_cursor cursor);
/* Each matching record at most once, in order: at most n_max into `out`, whose
 * references the caller drops with bp_record_fini. Returns how many; 0 for a
 * stale handle. */
BP_API size_t bp_cursor_drain(bp_log *log, bp_cursor cursor, bp_record *out,
                              size_t n_max);
BP_API void bp_record_fini(bp_record *record);

typedef struct bp_cursor_state {
    uint64_t n_pending; /* matching records that a drain would give */
    uint64_t n_missed;  /* matching records that ring or backlog dropped */
    uint64_t next;      /* nothing before this will be given */
} bp_cursor_state;

/* Errors: STALE, FORKED. */
BP_API BP_MUST_USE bp_status bp_cursor_get_state(bp_log *log, bp_cursor cursor,
                                                 bp_cursor_state *out,
                                                 bp_error *error);
/* Go on from `seq` (what the ring still has of it), forgetting what was missed;
 * a seq of the future is BAD_VALUE. Errors: STALE, FORKED. */
BP_API BP_MUST_USE bp_status bp_cursor_resync(bp_log *log, bp_cursor cursor,
                                              uint64_t seq, bp_error *error);

/* ---- slots: who goes first --------------------------------------------- */

/* A manager owns slots under one budget; runtime.h opens it and moves their
 * bytes. Here is what can be said of them without moving anything. */
typedef uint64_t bp_slots;
typedef uint64_t bp_slot;
#define BP_NO_SLOTS ((bp_slots)0)
#define BP_NO_SLOT  ((bp_slot)0)

typedef enum bp_policy {
    BP_POLICY_LRU,       /* least recently used first */
    BP_POLICY_MRU,       /* most recently used first */
    BP_POLICY_BIG_FIRST, /* largest first */
    BP_POLICY_RANK,      /* smallest bp_slot_set_rank first */
    BP_N_POLICIES
} bp_policy;

/* "lru", "mru", "big_first", "rank". Never NULL. */
BP_API const char *bp_policy_name(bp_policy policy);
BP_API bool bp_policy_parse(const char *name, bp_policy *out);

typedef struct bp_slot_request {
    const char *name; /* 1..BP_MAX_NAME bytes */
    const char *kind; /* NULL: none */
    uint64_t n_bytes;
    int32_t priority; /* higher goes later */
    bool is_pinned;
    bool keeps_copy;   /* contents are copied to the host when evicted */
    bool has_loader;   /* the caller fills it, now and at every restore */
    bool is_replacing; /* a slot of that name goes first */
    bp_reservation reservation; /* of the same budget, or BP_NO_RESERVATION */
} bp_slot_request;

typedef enum bp_slot_state {
    BP_SLOT_RESIDENT,
    BP_SLOT_EVICTING,
    BP_SLOT_EVICTED,
    BP_SLOT_RESTORING,
    BP_N_SLOT_STATES
} bp_slot_state;

/* "resident", ... Never NULL. */
BP_API const char *bp_slot_state_name(bp_slot_state state);

typedef struct bp_slot_info {
    bp_slots slots;
    bp_slot_state state;
    uint64_t n_bytes;
    uint64_t n_charged;  /* on the device, as the budget and backend round it */
    uint64_t generation; /* of the residency, or of the last one */
    uint64_t last_use;   /* on the tree's clock */
    uint64_t n_host_bytes; /* of its host copy; 0: none */
    int32_t priority;
    uint32_t n_host_uses;
    bool is_pinned, is_dirty, keeps_copy, has_loader;
    bool is_busy; /* the device may still use it */
} bp_slot_info;

/* Errors: STALE. */
BP_API BP_MUST_USE bp_status bp_slot_get_info(bp_tree *tree, bp_slot slot,
                                              bp_slot_info *out,
                                              bp_error *error);

typedef struct bp_slots_stats {
    uint32_t n_slots, n_loaded, n_evicted, n_pinned, n_in_use;
    uint64_t n_allocated; /* bytes on the device, as charged */
    uint64_t n_retiring;  /* bytes of this manager on their way out */
    uint64_t n_host_bytes;
    uint64_t n_failed_frees; /* pieces the backend would not free, so far */
    uint64_t n_evictions[BP_N_CAUSES];
    uint64_t n_restores;
    uint64_t moved_out_bytes, moved_in_bytes;
} bp_slots_stats;

/* Errors: STALE. */
BP_API BP_MUST_USE bp_status bp_slots_get_stats(bp_tree *tree, bp_slots slots,
                                                bp_slots_stats *out,
                                                bp_error *error);
/* Handles in order of allocation, at most n_max; returns how many there are. */
BP_API size_t bp_slots_list(bp_tree *tree, bp_slots slots, bp_slot *out,
                            size_t n_max);

/* Errors: UNKNOWN_SLOT (its text lists the names there are), STALE (manager).
 */
BP_API BP_MUST_USE bp_status bp_slots_find(bp_tree *tree, bp_slots slots,
                                           const char *name, bp_slot *out,
                                           bp_error *error);

/* A slot's age, apart from the slot so that it can be written without a lock.
 * It lives as long as the tree; once its slot is gone it may serve another, so
 * who keeps it has to know whether the slot is there. Errors: STALE. */
typedef struct bp_stamp bp_stamp;
BP_API BP_MUST_USE bp_status bp_slot_get_stamp(bp_tree *tree, bp_slot slot,
                                               bp_stamp **out, bp_error *error);
/* Newest age: the clock's increment and one atomic store. */
BP_API void bp_stamp_touch(bp_tree *tree, bp_stamp *stamp);

/* What BP_POLICY_RANK goes by. A stale handle is a no-op. */
BP_API void bp_slot_set_rank(bp_tree *tree, bp_slot slot, uint64_t rank);

/* Slots of this manager that would have to go for n more bytes, in order, into
 * `out` (at most n_max of them); *n_out how many there are in all. Changes
 * nothing, and the same state gives the same answer. Nothing is needed: 0.
 * Errors: BUDGET_EXCEEDED (they would not suffice), BAD_SIZE (2^63 or more),
 * STALE. */
BP_API BP_MUST_USE bp_status bp_slots_plan(bp_tree *tree, bp_slots slots,
                                           uint64_t n_bytes, bp_slot *out,
                                           size_t n_max, size_t *n_out,
                                           bp_shortage *shortage,
                                           bp_error *error);
/* The slot that would go first. Errors: UNKNOWN_SLOT (none can), STALE. */
BP_API BP_MUST_USE bp_status bp_slots_first_victim(bp_tree *tree,
                                                   bp_slots slots, bp_slot *out,
                                                   bp_error *error);

/* ---- work put off ------------------------------------------------------- */

/* What a finaliser may do: it takes no lock, cannot fail and runs on any
 * thread. Made beforehand, handed over once. */
typedef enum bp_deferral {
    BP_DEFER_USE_END,      /* bp_slot_use_end(handle, BP_NO_STREAM) */
    BP_DEFER_HOST_USE_END, /* bp_slot_use_end(handle, BP_HOST_ONLY) */
    BP_DEFER_RESERVATION_CLOSE,
    BP_DEFER_SLOTS_CLOSE,
    BP_DEFER_BUDGET_CLOSE, /* with everything charged to it */
    BP_N_DEFERRALS
} bp_deferral;
typedef struct bp_deferred bp_deferred;

/* NULL without memory. Owned by the caller until it is handed over or freed. */
BP_API bp_deferred *bp_deferred_new(bp_tree *tree);
BP_API void bp_deferred_free(bp_tree *tree, bp_deferred *deferred);
/* `tree` takes `deferred` over; done by the next call that settles. */
BP_API void bp_tree_defer(bp_tree *tree, bp_deferred *deferred,
                          bp_deferral what, uint64_t handle);

/* Something waits for bp_tree_settle: deferred work, memory on its way out, or
 * an evict_at that was reached. Atomic loads alone. Callers ask before and
 * after every call on a tree. */
BP_API bool bp_tree_is_unsettled(const bp_tree *tree);

#ifdef __cplusplus
}
#endif
#endif
