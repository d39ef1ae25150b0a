/* sim.h - the simulator, inside: host memory that behaves like a device.
 *
 * One private stream and any number of users' streams. Nothing but events lies
 * in a user's stream. The private stream carries out what it is given at once,
 * unless it awaits an event that is held back: from there on it queues.
 *
 * Everything is read and written under sim->lock. Functions ending in _locked
 * need it held.
 */
#ifndef BAYPLAN_BACKEND_SIM_H
#define BAYPLAN_BACKEND_SIM_H

#include "backend/backend.h"
#include "base/handles.h"
#include "base/lock.h"

typedef struct bp__sim_event bp__sim_event;
typedef struct bp__sim_memory bp__sim_memory;

/* Where an event stands. A closed one lives on while `n_refs` steps of the
 * private stream need it. */
struct bp__sim_event {
    bp__event handle;
    bp_stream stream;
    bool has_passed;
    bool is_closed;
    uint32_t n_polls;             /* how often someone asked */
    size_t n_refs;                /* of steps */
    bp__sim_event *older, *newer; /* among those held back */
};

/* In front of the bytes it stands for. */
struct bp__sim_memory {
    uint64_t address;
    uint64_t n_bytes;
    void *block; /* what the allocator gave */
    size_t n_block;
    size_t n_steps; /* of the private stream that will touch it */
    bp__sim_memory *older, *newer;
};

typedef enum bp__sim_step_kind {
    BP__SIM_COPY,
    BP__SIM_AWAIT,
    BP__SIM_RECORD
} bp__sim_step_kind;

/* Something the private stream has still to do. */
typedef struct bp__sim_step {
    bp__sim_step_kind kind;
    bp__sim_event *event;   /* AWAIT, RECORD */
    bp__sim_memory *memory; /* COPY */
    void *to;
    const void *from;
    size_t n_bytes;
    struct bp__sim_step *next;
} bp__sim_step;

/* The actions `first` to `last` of a kind fail. */
typedef struct bp__sim_failure {
    bp_action action;
    uint64_t first, last;
} bp__sim_failure;

typedef struct bp__sim {
    bp_backend base;
    bp_allocator alloc;
    bp_mutex lock;
    bp_sim_events events;
    uint32_t late_polls;
    uint64_t capacity, used;
    uint64_t n_streams; /* their handles are 1 .. n_streams */
    bp__sim_memory *newest_memory;
    bp_handles events_of;           /* of bp__sim_event */
    bp__sim_event *oldest, *newest; /* held back, in order of recording */
    uint64_t n_held;
    bp__sim_step *steps; /* oldest first; the first one is an AWAIT */
    bp__sim_step **steps_end;
    bp__sim_failure *failures;
    size_t n_failures, failure_capacity;
    uint64_t n_actions[BP_N_ACTIONS];
    const char *fault; /* the first one, static; NULL: none */
} bp__sim;

static inline bp__sim *bp__sim_of(bp_backend *backend)
{
    return (bp__sim *)backend;
}

/* Lock. FORKED, and not locked, in a child process. */
BP_MUST_USE bp_status bp__sim_enter(bp__sim *sim, bp_error *error);
void bp__sim_leave(bp__sim *sim);
/* The piece of this address; NULL: there is none, or it has fewer bytes. */
bp__sim_memory *bp__sim_memory_at(const bp__sim *sim, bp__memory memory);

/* ---- sim_faults.c -------------------------------------------------------- */

/* Read `fail=` into sim->failures. Errors: BAD_VALUE, NO_MEMORY. */
BP_MUST_USE bp_status bp__sim_parse_failures(bp__sim *sim, const char *text,
                                             bp_error *error);
/* Count an action, and say whether it may go on. DEVICE_MEMORY for an alloc
 * that is to fail, NO_MEMORY for a host, DEVICE_FAULT for the others and for
 * everything after the device failed. */
BP_MUST_USE bp_status bp__sim_count_locked(bp__sim *sim, bp_action action,
                                           bp_error *error);
/* DEVICE_FAULT with the first fault, if there was one. */
BP_MUST_USE bp_status bp__sim_check_alive_locked(const bp__sim *sim,
                                                 bp_error *error);
/* The device fails, for this reason (static) if it is the first: nothing that
 * is queued will happen. */
void bp__sim_fail_locked(bp__sim *sim, const char *reason);

/* ---- sim_streams.c ------------------------------------------------------- */

bp_status bp__sim_copy_out(bp_backend *backend, void *host, bp__memory from,
                           uint64_t offset, uint64_t n_bytes, bp_error *error);
bp_status bp__sim_copy_in(bp_backend *backend, bp__memory to, uint64_t offset,
                          const void *host, uint64_t n_bytes, bp_error *error);
bp_status bp__sim_event_record(bp_backend *backend, bp_stream stream,
                               bp__event *out, bp_error *error);
bp_status bp__sim_event_await(bp_backend *backend, bp__event event,
                              bp_error *error);
bp_status bp__sim_event_query(bp_backend *backend, bp__event event,
                              bool *has_passed, bp_error *error);
void bp__sim_event_close(bp_backend *backend, bp__event event);
bp_status bp__sim_synchronize(bp_backend *backend, bp_error *error);
bool bp__sim_has_stream(bp_backend *backend, bp_stream stream);
/* Forget the steps and let go of what is held back. */
void bp__sim_drop_work_locked(bp__sim *sim);
/* All events and steps. */
void bp__sim_streams_fini(bp__sim *sim);

#endif
