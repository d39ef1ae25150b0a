/* backend.h - where device memory lives: a table of actions behind one opaque
 * type, and the simulator, which is host memory that behaves like a device.
 *
 * A backend allocates, frees and copies, in the order of its own private
 * stream, and knows the streams and events of its users. It decides nothing:
 * who may allocate, and who has to go for it, is device.h's.
 *
 * Ownership: reference-counted. Everything allocated from a backend has to be
 * freed before the last reference goes; the simulator frees what is left.
 * Threads: every function may be called on any thread; a backend has a lock of
 * its own, and no other lock of bayplan is held while it is called. In a child
 * process of the one that made a backend, what can fail reports FORKED, and the
 * rest does nothing and answers 0.
 */
#ifndef BAYPLAN_BACKEND_H
#define BAYPLAN_BACKEND_H

#include "bayplan/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bp_backend bp_backend;

/* A stream of the user's on one backend. */
typedef uint64_t bp_stream;
#define BP_NO_STREAM ((bp_stream)0)
/* Where a use ends: the host alone used it, and is done. */
#define BP_HOST_ONLY ((bp_stream)UINT64_MAX)

BP_API bp_backend *bp_backend_ref(bp_backend *backend);
/* NULL is a no-op. */
BP_API void bp_backend_unref(bp_backend *backend);

typedef struct bp_backend_info {
    const char *name;     /* "sim"; static */
    uint64_t granularity; /* bytes an allocation is rounded up to, >= 1 */
    uint64_t used;        /* bytes allocated now, rounded */
    uint64_t total;       /* of the device; UINT64_MAX: no capacity */
    uint64_t free;        /* total - used of everyone; UINT64_MAX likewise */
    bool is_failed;       /* a fault was reported; nothing works any more */
} bp_backend_info;

/* What it says of itself now. Never fails. */
BP_API void bp_backend_get_info(bp_backend *backend, bp_backend_info *out);

/* ---- the simulator ----------------------------------------------------- */

/* When the events of users' streams pass. The private stream never lags. */
typedef enum bp_sim_events {
    BP_SIM_IMMEDIATE, /* as soon as they are recorded */
    BP_SIM_MANUAL,    /* when bp_sim_complete says so */
    BP_SIM_LATE,      /* at the n-th time someone asks */
    BP_N_SIM_EVENTS
} bp_sim_events;

/* "immediate", "manual", "late". Never NULL. */
BP_API const char *bp_sim_events_name(bp_sim_events events);
BP_API bool bp_sim_events_parse(const char *name, bp_sim_events *out);

/* What can be made to fail, and is counted. */
typedef enum bp_action {
    BP_ACTION_ALLOC,
    BP_ACTION_FREE,
    BP_ACTION_COPY,  /* either way */
    BP_ACTION_EVENT, /* recording one, and making a stream wait for one */
    BP_ACTION_SYNC,  /* waiting for all work */
    BP_ACTION_HOST,  /* host memory for a copy */
    BP_N_ACTIONS
} bp_action;

/* "alloc", "free", "copy", "event", "sync", "host". Never NULL. */
BP_API const char *bp_action_name(bp_action action);

typedef struct bp_sim_options {
    uint64_t capacity; /* UINT64_MAX: none */
    bp_sim_events events;
    uint32_t late_polls;  /* BP_SIM_LATE: how often to ask; 0 counts as 1 */
    uint64_t granularity; /* power of two; 0 counts as 1 */
    /* "alloc:#7,copy:#2-3": the actions that fail, counted from 1 per kind;
     * "#5-" is all from the fifth on. NULL: none. A failing alloc reports a
     * device out of memory, every other one an error of the action. */
    const char *fail;
} bp_sim_options;

/* `options` may be NULL: no capacity, immediate.
 * Errors: BAD_VALUE (the text says which part of `fail`), NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_sim_new(const bp_sim_options *options,
                                        const bp_allocator *alloc,
                                        bp_backend **out, bp_error *error);
/* Errors: FORKED. A stream lives as long as the backend. */
BP_API BP_MUST_USE bp_status bp_sim_stream_open(bp_backend *sim, bp_stream *out,
                                                bp_error *error);
BP_API bool bp_sim_has_stream(bp_backend *sim, bp_stream stream);
/* Let the `n` oldest events that are held back pass, and what waits for them
 * go on; returns how many did. UINT64_MAX: all. */
BP_API uint64_t bp_sim_complete(bp_backend *sim, uint64_t n);
/* Events held back now. */
BP_API uint64_t bp_sim_n_held(bp_backend *sim);
/* The device fails: from now on every action is DEVICE_FAULT. */
BP_API void bp_sim_fault(bp_backend *sim);
/* How many actions of a kind were asked for since the backend was made. */
BP_API uint64_t bp_sim_n_actions(bp_backend *sim, bp_action action);

/* ---- the driver -------------------------------------------------------- */

/* Is there a CUDA device? OK or NO_DEVICE, whose text names everything that was
 * tried. Opens the driver's library, retains no context. */
BP_API BP_MUST_USE bp_status bp_driver_probe(bp_error *error);

#ifdef __cplusplus
}
#endif
#endif
