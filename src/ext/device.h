/* device.h - what the files of src/ext that speak of device memory share: the
 * tree as a Python object, what happens around every call on it, waits, and how
 * a refusal becomes an exception.
 *
 * Who holds whom (strong references): Subscription -> EvictionLog -> tree;
 * Reservation, SlotManager -> Budget -> parent Budget, tree; Budget -> its
 * PressureWatches; tree -> call-backs of its log. Nothing below holds what is
 * above it but weakly, so a tree goes as soon as nobody can reach it; only a
 * call-back that holds its own budget needs the collector. What an object needs
 * in its finaliser (module, tree, budget) survives tp_clear; call-backs do not.
 *
 * Finalisers of what moves bytes put it off (bpx_tree_defer). Those of watches
 * and subscriptions close them: that takes the tree's lock for a moment, whose
 * holder never waits for the GIL.
 *
 * Every call on a tree, after all arguments are converted:
 *     bpx_tree_before(tree);
 *     ... one core call; acting ones give up the GIL around it ...
 *     return bpx_tree_after(tree, result);
 */
#ifndef BAYPLAN_EXT_DEVICE_H
#define BAYPLAN_EXT_DEVICE_H

#include "ext/ext.h"

/* ---- subscriptions as their log knows them (feed.c) -----------------------
 */

/* One subscription as its log knows it. */
typedef struct bpx_feed {
    struct bpx_feed *next; /* in source->feeds, oldest first */
    bp_cursor cursor;
    PyObject *callback;   /* NULL: none */
    unsigned long thread; /* who subscribed */
    uint64_t round;       /* the last delivery that was for it, or the one that
                             will not be */
    uint32_t n_holders;   /* the Subscription, the source, a drain */
    bool is_linked;
    bool is_draining;
    bool has_raised; /* and was logged */
} bpx_feed;

/* A core log, and the feeds with a call-back, which stay until unsubscribed. */
typedef struct bpx_source {
    bp_log *core;
    bpx_feed *feeds;
    uint64_t round; /* deliveries begun */
} bpx_source;

/* An open feed with one holder; NULL with an exception. `callback` may be NULL.
 */
bpx_feed *bpx_feed_new(bpx_state *st, bpx_source *source,
                       const bp_cursor_options *options, PyObject *callback);
/* Out of its log's list and ended; may free it, and runs code of the user (what
 * the call-back held). */
void bpx_feed_close(bpx_source *source, bpx_feed *feed);
/* One holder less. */
void bpx_feed_drop(bpx_feed *feed);
/* At most `n_max` of the records that are there now, one after the other: the
 * call-back may end the subscription in between, and what it causes comes at
 * the next drain. `list` may be NULL. 0; -1 with an exception; 1: stop. */
int bpx_feed_drain(bpx_state *st, bpx_source *source, bpx_feed *feed,
                   uint64_t n_max, PyObject *list);

int bpx_source_traverse(bpx_source *source, visitproc visit, void *arg);
/* Close all cursors and drop all call-backs. */
void bpx_source_clear(bpx_source *source);
/* Hand out what is new to the feeds that this thread opened, once to each.
 * Call-backs that raise are logged; no exception is set on return, and none may
 * be on entry. */
void bpx_source_deliver(bpx_state *st, bpx_source *source);

/* ---- the tree (tree.c) --------------------------------------------------- */

typedef struct bpx_budget bpx_budget;
typedef struct bpx_pressure_watch bpx_pressure_watch;
typedef struct bpx_slots bpx_slots; /* the SlotManager; slots.h */

/* One thread that asks policies for ranks, on its stack (slots_rank.c). */
typedef struct bpx_asking {
    unsigned long thread;
    struct bpx_asking *next;
} bpx_asking;

/* No Python code sees it. Not subclassed, no __dict__. */
typedef struct bpx_tree {
    PyObject_HEAD
    PyObject *module; /* keeps the state alive until the very end */
    bp_tree *core;
    bpx_source source; /* of core's log */
    PyObject *log_ref; /* weak reference to its EvictionLog, or NULL */
    /* Open watches by the low half of their handles; borrowed, NULL: none. */
    bpx_pressure_watch **watches;
    size_t n_watches;
    /* Edges that were taken from the core to be delivered, and not yet were. */
    bp_edge *edges;
    size_t n_edges, edge_capacity;
    bool is_delivering;      /* edges, somewhere up the stack or on another
                                thread */
    unsigned long deliverer; /* which thread does */
    bool has_more_edges;     /* said by another thread meanwhile */
    bool has_evict_at;       /* one of its budgets evicts by itself */
    bp_cursor lines;         /* records that had no debug line yet */
    uint64_t next_seq;       /* the first of them */
    /* Managers whose policy is a function; borrowed. The list is
     * bpx_tree_rank_all's. */
    bpx_slots *ranked;
    struct bpx_asking *asking; /* threads inside such functions */
} bpx_tree;

static inline bpx_state *bpx_tree_state(const bpx_tree *tree)
{
    return bpx_state_of(tree->module);
}

int bpx_tree_add_type(PyObject *module);
bpx_tree *bpx_tree_new(PyObject *module);
static inline bool bpx_tree_is_ours(const bpx_tree *tree)
{
    return bp_tree_is_ours(tree->core);
}

/* Settle what waits (may give up the GIL; run no code of the user). */
void bpx_tree_before(bpx_tree *tree);
/* Settle, deliver edges of pressure and records to call-backs of this thread,
 * write debug lines. Hands `result` on; where it is NULL, the exception that is
 * set stays set. Runs code of the user. The caller holds the tree alive. */
PyObject *bpx_tree_after(bpx_tree *tree, PyObject *result);
/* The same after a call that has delivered the edges that there were: those
 * that call-backs caused come at the next one. */
PyObject *bpx_tree_after_drain(bpx_tree *tree, PyObject *result);
/* Settle now, without the GIL. */
void bpx_tree_settle(bpx_tree *tree);

/* slots*.c. Ask every policy that is a function for its slots' ranks, before a
 * call that may choose victims. Runs code of the user. 0, or -1 with an
 * exception. Returns at once where tree->ranked is NULL. */
int bpx_tree_rank_all(bpx_tree *tree);
/* The same, where so many more bytes do not fit into the budget or one above
 * it, for a call that itself evicts nothing: a policy that raises is logged. */
void bpx_budget_rank_for(const bpx_budget *budget, uint64_t n_bytes);
/* So many more bytes fit without an eviction. False too where nobody can say.
 */
bool bpx_budget_fits(const bpx_budget *budget, uint64_t n_bytes);
/* This thread is inside such a function: nothing may be evicted by ranks that
 * are just being found out. */
bool bpx_tree_is_asking(const bpx_tree *tree);
/* slots*.c. SlotManager, Slot and what belongs to them. */
int bpx_slots_add_types(PyObject *module);

/* Hand a finaliser's last wish to the tree; frees `deferred` where there is
 * nothing to wish for (handle 0), leaves it alone in a forked child. NULL
 * `deferred` is a no-op. */
void bpx_tree_defer(bpx_tree *tree, bp_deferred *deferred, bp_deferral what,
                    uint64_t handle);

/* The seq of the next record of the tree's log. */
uint64_t bpx_tree_seq(bpx_tree *tree);
/* Keys of the records from `seq` on that were evicted for the sake of room
 * (pressure, limit, oom), as a tuple of str; NULL with an exception. */
PyObject *bpx_tree_evicted_since(bpx_tree *tree, uint64_t seq);

/* Edges that wait for their call-backs. */
static inline bool bpx_tree_has_edges(const bpx_tree *tree)
{
    return tree->n_edges != 0 || bp_tree_has_edges(tree->core);
}
/* The edges that nobody has taken, to their call-backs; the list of those
 * (PressureEdge). What a call-back causes comes at the next call. Nested or
 * beside another thread's: none, that one delivers what other threads cause
 * too, so that edges come in order. NULL only without memory. */
PyObject *bpx_tree_deliver_edges(bpx_tree *tree);

/* Logger("bayplan").error with the exception that is set; unsets it. Ctrl-C and
 * SystemExit are not logged but raised again as soon as Python code runs, and
 * answered with true: stop calling back. `what` names it: "a callback of
 * pressure"; `callback` may be NULL. */
bool bpx_log_raised(bpx_state *st, const char *what, PyObject *callback);
/* What a call-back does when it raised: logged the first time, which
 * *has_raised remembers. True: stop calling back. */
bool bpx_callback_raised(bpx_state *st, const char *what, PyObject *callback,
                         bool *has_raised);

/* ---- waits (wait.c) ------------------------------------------------------ */

/* Usage: init, begin, core call with &wait.core, end; then, if it failed,
 * bpx_raise_refused. Between begin and end the GIL is not held. */
typedef struct bpx_wait {
    bp_wait core;
    PyThreadState *thread;
    PyObject *exception; /* what a signal handler raised */
    /* Stop waiting once it is closed, by a signal handler or another thread;
     * NULL: wait on. Borrowed. */
    const bpx_slots *slots;
} bpx_wait;

/* `timeout`: seconds from now; NULL and 0: refuse at once; None: for ever.
 * Anything else is BufferValueError. Runs no code of the user but a number's
 * __float__. */
int bpx_wait_init(bpx_state *st, bpx_wait *wait, PyObject *timeout);
void bpx_wait_begin(bpx_wait *wait);
void bpx_wait_end(bpx_wait *wait);

/* ---- refusals (refusal.c) ------------------------------------------------ */

/* So that a core call that refuses for another reason leaves it empty. */
static inline void bpx_shortage_init(bp_shortage *shortage)
{
    shortage->requested = 0;
    shortage->text[0] = '\0';
}

/* Turn a failed call's error into an exception: BudgetExceeded with its
 * figures, what a signal handler raised (wait), or what bpx_raise makes of it.
 * `shortage`, `wait` and `evicted` (a tuple of str) may be NULL. Always NULL.
 */
PyObject *bpx_raise_refused(bpx_state *st, const bp_error *error,
                            const bp_shortage *shortage, bpx_wait *wait,
                            PyObject *evicted);

/* ---- records (device_records.c) ------------------------------------------ */

int bpx_device_records_add(PyObject *module);
/* New references, NULL with an exception. */
PyObject *bpx_evicted_new(bpx_state *st, const bp_record *record);
PyObject *bpx_edge_new(bpx_state *st, PyObject *budget, bp_pressure level,
                       bool is_rising);
PyObject *bpx_budget_stats_new(bpx_state *st, const bp_budget_stats *stats);
PyObject *bpx_observation_new(bpx_state *st, const bp_observation *o);

/* ---- pressure (watch_pressure.c) ----------------------------------------- */

int bpx_pressure_watch_add_type(PyObject *module);
/* The member of MemoryPressure (an int before Python has handed it over). */
PyObject *bpx_pressure_new(bpx_state *st, bp_pressure pressure);
/* A member, its number or its name. */
int bpx_to_pressure(bpx_state *st, PyObject *object, bp_pressure *out);
/* Three numbers in a tuple or list. */
int bpx_to_levels(bpx_state *st, PyObject *object, bp_levels *out);
/* _set_classes(pressure=...): an enum with a member for every pressure. */
int bpx_set_pressures(bpx_state *st, PyObject *enumeration);
PyObject *bpx_pressure_of(PyObject *module, PyObject *const *args,
                          Py_ssize_t n_args, PyObject *kwnames);

/* Known to tree->watches exactly as long as its budget holds it. */
struct bpx_pressure_watch {
    PyObject_HEAD
    PyObject *module;
    bpx_tree *tree;
    PyObject *budget_ref; /* weak */
    PyObject *callback;   /* NULL: unsubscribed */
    bp_watch handle;
    bp_pressure level;
    bpx_pressure_watch *next; /* in budget->watches; one strong reference */
    bool has_raised;
};

PyObject *bpx_pressure_subscribe(bpx_budget *budget, bp_pressure level,
                                 PyObject *callback);
/* Budget's tp_clear and tp_dealloc. */
void bpx_pressure_unsubscribe_all(bpx_budget *budget);

/* ---- budgets (budget*.c) --------------------------------------------------
 */

struct bpx_budget {
    PyObject_HEAD
    PyObject *module; /* keeps the state alive until the very end */
    bpx_tree *tree;
    bp_budget handle;
    uint64_t granularity;
    bpx_budget *parent; /* NULL: a root */
    PyObject *name;     /* str or None */
    bp_deferred *deferred;
    bpx_pressure_watch *watches;
    PyObject *weaklist;
};

int bpx_budget_add_type(PyObject *module);
static inline bpx_state *bpx_budget_state(const bpx_budget *budget)
{
    return bpx_state_of(budget->module);
}
/* budget_ledger.c */
PyObject *bpx_budget_charge(PyObject *self, PyObject *const *args,
                            Py_ssize_t n_args, PyObject *kwnames);
PyObject *bpx_budget_refund(PyObject *self, PyObject *const *args,
                            Py_ssize_t n_args, PyObject *kwnames);
PyObject *bpx_budget_reserve(PyObject *self, PyObject *n);
PyObject *bpx_budget_set_limit(PyObject *self, PyObject *limit);
PyObject *bpx_budget_trim(PyObject *self, PyObject *unused);
PyObject *bpx_budget_make_room(PyObject *self, PyObject *const *args,
                               Py_ssize_t n_args, PyObject *kwnames);
/* n and tag of charge, refund and take. 0, or -1 with an exception. */
int bpx_parse_amount(bpx_state *st, const bpx_signature *signature,
                     PyObject *const *args, Py_ssize_t n_args,
                     PyObject *kwnames, uint64_t *n_bytes, const char **tag);
/* n as the ledger rounded it; it was admitted, so it fits. */
PyObject *bpx_rounded(const bpx_budget *budget, uint64_t n_bytes);
/* budget_read.c */
extern PyGetSetDef bpx_budget_getset[];
PyObject *bpx_budget_stats(PyObject *self, PyObject *const *args,
                           Py_ssize_t n_args, PyObject *kwnames);
PyObject *bpx_budget_tags(PyObject *self, PyObject *unused);
PyObject *bpx_budget_history(PyObject *self, PyObject *unused);
PyObject *bpx_budget_observe(PyObject *self, PyObject *unused);
PyObject *bpx_budget_check(PyObject *self, PyObject *unused);
PyObject *bpx_budget_dump(PyObject *self, PyObject *unused);
/* A bayplan Budget, borrowed; TypeError otherwise. */
int bpx_to_budget(bpx_state *st, PyObject *object, const char *what,
                  bpx_budget **out);

/* ---- reservations (reservation.c) -----------------------------------------
 */

typedef struct bpx_reservation {
    PyObject_HEAD
    PyObject *module; /* keeps the state alive until the very end */
    bpx_budget *budget;
    bp_reservation handle;
    bp_deferred *deferred; /* NULL: handed over */
    bool is_closed;
    PyObject *weaklist;
} bpx_reservation;

int bpx_reservation_add_type(PyObject *module);
PyObject *bpx_reservation_new(bpx_budget *budget, uint64_t n_bytes);
/* None and NULL: BP_NO_RESERVATION. One of another tree is a BufferValueError
 * (of another budget of this tree, the core refuses it). */
int bpx_to_reservation(bpx_state *st, PyObject *object, const bpx_tree *tree,
                       bp_reservation *out);

/* ---- logs (eviction_log.c, subscription.c) ---------------------------------
 */

/* Of a tree, or on its own. */
typedef struct bpx_log {
    PyObject_HEAD
    PyObject *module; /* keeps the state alive until the very end */
    bpx_tree *tree;   /* NULL: on its own */
    bpx_source own;   /* in use where tree is NULL */
    PyObject *weaklist;
} bpx_log;

static inline bpx_source *bpx_log_source(bpx_log *self)
{
    return self->tree != NULL ? &self->tree->source : &self->own;
}

int bpx_log_add_type(PyObject *module);
/* The log of a tree: the same object as long as one is alive. */
PyObject *bpx_log_of_tree(bpx_tree *tree);
int bpx_subscription_add_type(PyObject *module);
PyObject *bpx_log_subscribe(PyObject *self, PyObject *const *args,
                            Py_ssize_t n_args, PyObject *kwnames);
/* Around a call on a log: bpx_tree_before and bpx_tree_after, or what is left
 * of them for a log on its own. */
void bpx_log_before(bpx_log *self);
PyObject *bpx_log_after(bpx_log *self, PyObject *result);
/* NULL: explicit. */
int bpx_to_cause(bpx_state *st, PyObject *object, bp_cause *out);

/* ---- the simulator (sim_backend.c) -----------------------------------------
 */

typedef struct bpx_sim {
    PyObject_HEAD
    PyObject *module; /* keeps the state alive until the very end */
    bp_backend *core;
    uint64_t epoch; /* bp_process_epoch() at birth */
    PyObject *weaklist;
} bpx_sim;

int bpx_sim_add_types(PyObject *module);
/* A backend object -> its core, borrowed; TypeError otherwise. */
int bpx_to_backend(bpx_state *st, PyObject *object, bp_backend **out);
/* None and NULL: BP_NO_STREAM. A stream of another backend is a
 * BufferValueError, what is no stream a TypeError. */
int bpx_to_stream(bpx_state *st, PyObject *object, bp_backend *backend,
                  bp_stream *out);
PyObject *bpx_probe_driver(PyObject *module, PyObject *unused);

#endif
