/* sim_streams.c - the simulator's streams: events, and the private stream's
 * steps. */
#include "backend/sim.h"

#include "base/alloc.h"

#include <assert.h>
#include <string.h>

/* ---- events -------------------------------------------------------------- */

static void hold_back(bp__sim *sim, bp__sim_event *event)
{
    event->older = sim->newest;
    event->newer = NULL;
    *(sim->newest == NULL ? &sim->oldest : &sim->newest->newer) = event;
    sim->newest = event;
    sim->n_held++;
}

static bool is_held(const bp__sim *sim, const bp__sim_event *event)
{
    return event->older != NULL || sim->oldest == event;
}

static void let_go(bp__sim *sim, bp__sim_event *event)
{
    *(event->older == NULL ? &sim->oldest : &event->older->newer) =
        event->newer;
    *(event->newer == NULL ? &sim->newest : &event->newer->older) =
        event->older;
    event->older = event->newer = NULL;
    sim->n_held--;
}

/* If nobody can name it any more and no step needs it. */
static void drop_event(bp__sim *sim, bp__sim_event *event)
{
    if (!event->is_closed || event->n_refs != 0) {
        return;
    }
    if (is_held(sim, event)) {
        let_go(sim, event);
    }
    bp__free_array(&sim->alloc, event, 1, sizeof *event);
}

/* It and all before it in its stream. */
static void pass(bp__sim *sim, const bp__sim_event *last)
{
    bp__sim_event *event = sim->oldest;
    while (event != NULL) {
        bp__sim_event *newer = event->newer;
        bool is_last = event == last;
        if (event->stream == last->stream) {
            event->has_passed = true;
            let_go(sim, event);
        }
        if (is_last) {
            break;
        }
        event = newer;
    }
}

/* Someone wants to know whether it has passed. */
static void ask(bp__sim *sim, bp__sim_event *event)
{
    if (sim->events == BP_SIM_LATE && is_held(sim, event) &&
        ++event->n_polls >= sim->late_polls) {
        pass(sim, event);
    }
}

/* ---- the private stream -------------------------------------------------- */

static void carry_out(const bp__sim_step *step)
{
    if (step->n_bytes != 0) {
        memcpy(step->to, step->from, step->n_bytes);
    }
}

static void free_step(bp__sim *sim, bp__sim_step *step)
{
    if (step->memory != NULL) {
        step->memory->n_steps--;
    }
    if (step->event != NULL) {
        step->event->n_refs--;
        drop_event(sim, step->event);
    }
    bp__free_array(&sim->alloc, step, 1, sizeof *step);
}

/* Up to an event that is held back, or the end. */
static void go_on(bp__sim *sim)
{
    while (sim->steps != NULL) {
        bp__sim_step *step = sim->steps;
        if (step->kind == BP__SIM_AWAIT && !step->event->has_passed) {
            return;
        }
        if (step->kind == BP__SIM_COPY) {
            carry_out(step);
        } else if (step->kind == BP__SIM_RECORD) {
            step->event->has_passed = true;
        }
        sim->steps = step->next;
        free_step(sim, step);
    }
    sim->steps_end = &sim->steps;
}

/* Queue a copy of `step`, behind what there is. */
static bp_status queue_step(bp__sim *sim, const bp__sim_step *step,
                            bp_error *error)
{
    bp__sim_step *last = bp__alloc_array(&sim->alloc, 1, sizeof *last);
    if (last == NULL) {
        return bp_fail(error, BP_NO_MEMORY,
                       "no memory for a step of a simulated stream");
    }
    *last = *step;
    if (last->memory != NULL) {
        last->memory->n_steps++;
    }
    if (last->event != NULL) {
        last->event->n_refs++;
    }
    *sim->steps_end = last;
    sim->steps_end = &last->next;
    return BP_OK;
}

static bp_status check_piece(const bp__sim_memory *memory, uint64_t offset,
                             uint64_t n_bytes, bp_error *error)
{
    if (memory == NULL) {
        return bp_fail(error, BP_DEVICE_FAULT,
                       "a copy of memory that the simulated device has not");
    }
    if (offset > memory->n_bytes || n_bytes > memory->n_bytes - offset) {
        return bp_fail(error, BP_DEVICE_FAULT,
                       "a copy of %llu bytes at %llu does not lie in %llu "
                       "bytes of the simulated device",
                       (unsigned long long)n_bytes, (unsigned long long)offset,
                       (unsigned long long)memory->n_bytes);
    }
    return BP_OK;
}

/* One of `to` and `from` is the host's; the other one, NULL, lies in `piece`.
 */
static bp_status copy_locked(bp__sim *sim, bp__memory piece, uint64_t offset,
                             uint64_t n_bytes, void *to, const void *from,
                             bp_error *error)
{
    bp_status status = bp__sim_count_locked(sim, BP_ACTION_COPY, error);
    if (status != BP_OK) {
        return status;
    }
    bp__sim_memory *memory = bp__sim_memory_at(sim, piece);
    status = check_piece(memory, offset, n_bytes, error);
    if (status != BP_OK) {
        return status;
    }
    char *place = (char *)(uintptr_t)memory->address + offset;
    bp__sim_step step = {.kind = BP__SIM_COPY,
                         .memory = memory,
                         .to = to == NULL ? place : to,
                         .from = from == NULL ? place : from,
                         .n_bytes = (size_t)n_bytes};
    if (sim->steps != NULL) {
        return queue_step(sim, &step, error);
    }
    carry_out(&step);
    return BP_OK;
}

bp_status bp__sim_copy_out(bp_backend *backend, void *host, bp__memory from,
                           uint64_t offset, uint64_t n_bytes, bp_error *error)
{
    bp__sim *sim = bp__sim_of(backend);
    bp_status status = bp__sim_enter(sim, error);
    if (status == BP_OK) {
        status = copy_locked(sim, from, offset, n_bytes, host, NULL, error);
        bp__sim_leave(sim);
    }
    return status;
}

bp_status bp__sim_copy_in(bp_backend *backend, bp__memory to, uint64_t offset,
                          const void *host, uint64_t n_bytes, bp_error *error)
{
    bp__sim *sim = bp__sim_of(backend);
    bp_status status = bp__sim_enter(sim, error);
    if (status == BP_OK) {
        status = copy_locked(sim, to, offset, n_bytes, NULL, host, error);
        bp__sim_leave(sim);
    }
    return status;
}

/* ---- actions on events --------------------------------------------------- */

static bp_status place_event(bp__sim *sim, bp__sim_event *event,
                             bp_error *error)
{
    if (event->stream != BP_NO_STREAM) {
        if (sim->events == BP_SIM_IMMEDIATE) {
            event->has_passed = true;
        } else {
            hold_back(sim, event);
        }
        return BP_OK;
    }
    if (sim->steps != NULL) {
        bp__sim_step step = {.kind = BP__SIM_RECORD, .event = event};
        return queue_step(sim, &step, error);
    }
    event->has_passed = true;
    return BP_OK;
}

static bp_status record_locked(bp__sim *sim, bp_stream stream, bp__event *out,
                               bp_error *error)
{
    bp_status status = bp__sim_count_locked(sim, BP_ACTION_EVENT, error);
    if (status != BP_OK) {
        return status;
    }
    if (stream > sim->n_streams) {
        return bp_fail(error, BP_DEVICE_FAULT,
                       "the simulated device has no stream %llu",
                       (unsigned long long)stream);
    }
    bp__sim_event *event = bp__alloc_array(&sim->alloc, 1, sizeof *event);
    if (event == NULL || !bp__handles_reserve(&sim->events_of, &sim->alloc)) {
        bp__free_array(&sim->alloc, event, 1, sizeof *event);
        return bp_fail(error, BP_NO_MEMORY,
                       "no memory for an event of a simulated stream");
    }
    event->stream = stream;
    status = place_event(sim, event, error);
    if (status != BP_OK) {
        bp__free_array(&sim->alloc, event, 1, sizeof *event);
        return status;
    }
    event->handle = bp__handles_add(&sim->events_of, event);
    *out = event->handle;
    return BP_OK;
}

bp_status bp__sim_event_record(bp_backend *backend, bp_stream stream,
                               bp__event *out, bp_error *error)
{
    bp__sim *sim = bp__sim_of(backend);
    bp_status status = bp__sim_enter(sim, error);
    if (status == BP_OK) {
        status = record_locked(sim, stream, out, error);
        bp__sim_leave(sim);
    }
    return status;
}

static bp_status find_event(const bp__sim *sim, bp__event handle,
                            bp__sim_event **out, bp_error *error)
{
    *out = bp__handles_get(&sim->events_of, handle);
    return *out != NULL ? BP_OK
                        : bp_fail(error, BP_DEVICE_FAULT,
                                  "the simulated device has no such event");
}

static bp_status await_locked(bp__sim *sim, bp__event handle, bp_error *error)
{
    bp__sim_event *event;
    bp_status status = bp__sim_count_locked(sim, BP_ACTION_EVENT, error);
    if (status == BP_OK) {
        status = find_event(sim, handle, &event, error);
    }
    /* What lies before it in the private stream itself has no need to wait. */
    if (status != BP_OK || event->has_passed || event->stream == BP_NO_STREAM) {
        return status;
    }
    bp__sim_step step = {.kind = BP__SIM_AWAIT, .event = event};
    return queue_step(sim, &step, error);
}

bp_status bp__sim_event_await(bp_backend *backend, bp__event event,
                              bp_error *error)
{
    bp__sim *sim = bp__sim_of(backend);
    bp_status status = bp__sim_enter(sim, error);
    if (status == BP_OK) {
        status = await_locked(sim, event, error);
        bp__sim_leave(sim);
    }
    return status;
}

static bp_status query_locked(bp__sim *sim, bp__event handle, bool *has_passed,
                              bp_error *error)
{
    bp__sim_event *event;
    bp_status status = bp__sim_check_alive_locked(sim, error);
    if (status == BP_OK) {
        status = find_event(sim, handle, &event, error);
    }
    if (status != BP_OK) {
        return status;
    }
    /* Who asks for an event of the private stream asks for what it awaits. */
    bool is_ours = event->stream == BP_NO_STREAM;
    if (is_ours && !event->has_passed) {
        ask(sim, sim->steps->event);
    } else if (!is_ours) {
        ask(sim, event);
    }
    go_on(sim);
    *has_passed = event->has_passed;
    return BP_OK;
}

bp_status bp__sim_event_query(bp_backend *backend, bp__event event,
                              bool *has_passed, bp_error *error)
{
    bp__sim *sim = bp__sim_of(backend);
    bp_status status = bp__sim_enter(sim, error);
    if (status == BP_OK) {
        status = query_locked(sim, event, has_passed, error);
        bp__sim_leave(sim);
    }
    return status;
}

void bp__sim_event_close(bp_backend *backend, bp__event handle)
{
    bp__sim *sim = bp__sim_of(backend);
    if (handle == BP__NO_EVENT || bp__sim_enter(sim, NULL) != BP_OK) {
        return;
    }
    bp__sim_event *event = bp__handles_remove(&sim->events_of, handle);
    if (event != NULL) {
        event->is_closed = true;
        drop_event(sim, event);
    }
    bp__sim_leave(sim);
}

/* ---- letting go ---------------------------------------------------------- */

static uint64_t pass_oldest(bp__sim *sim, uint64_t n)
{
    uint64_t n_passed = 0;
    while (n_passed < n && sim->oldest != NULL) {
        bp__sim_event *event = sim->oldest;
        event->has_passed = true;
        let_go(sim, event);
        n_passed++;
    }
    go_on(sim);
    return n_passed;
}

bp_status bp__sim_synchronize(bp_backend *backend, bp_error *error)
{
    bp__sim *sim = bp__sim_of(backend);
    bp_status status = bp__sim_enter(sim, error);
    if (status != BP_OK) {
        return status;
    }
    status = bp__sim_count_locked(sim, BP_ACTION_SYNC, error);
    if (status == BP_OK) {
        (void)pass_oldest(sim, UINT64_MAX);
    }
    bp__sim_leave(sim);
    return status;
}

uint64_t bp_sim_complete(bp_backend *backend, uint64_t n)
{
    bp__sim *sim = bp__sim_of(backend);
    uint64_t n_passed = 0;
    if (bp__sim_enter(sim, NULL) == BP_OK) {
        n_passed = pass_oldest(sim, n);
        bp__sim_leave(sim);
    }
    return n_passed;
}

uint64_t bp_sim_n_held(bp_backend *backend)
{
    bp__sim *sim = bp__sim_of(backend);
    uint64_t n = 0;
    if (bp__sim_enter(sim, NULL) == BP_OK) {
        n = sim->n_held;
        bp__sim_leave(sim);
    }
    return n;
}

void bp__sim_drop_work_locked(bp__sim *sim)
{
    while (sim->steps != NULL) {
        bp__sim_step *step = sim->steps;
        sim->steps = step->next;
        free_step(sim, step);
    }
    sim->steps_end = &sim->steps;
    while (sim->oldest != NULL) {
        let_go(sim, sim->oldest);
    }
}

void bp__sim_streams_fini(bp__sim *sim)
{
    bp__sim_drop_work_locked(sim);
    bp__sim_event *event;
    for (size_t i = 0; (event = bp__handles_next(&sim->events_of, &i)) != NULL;
         i++) {
        bp__free_array(&sim->alloc, event, 1, sizeof *event);
    }
    bp__handles_fini(&sim->events_of, &sim->alloc);
}

/* ---- streams ------------------------------------------------------------- */

bp_status bp_sim_stream_open(bp_backend *backend, bp_stream *out,
                             bp_error *error)
{
    bp__sim *sim = bp__sim_of(backend);
    bp_status status = bp__sim_enter(sim, error);
    if (status == BP_OK) {
        *out = ++sim->n_streams;
        bp__sim_leave(sim);
    }
    return status;
}

bool bp__sim_has_stream(bp_backend *backend, bp_stream stream)
{
    bp__sim *sim = bp__sim_of(backend);
    bool has = false;
    if (bp__sim_enter(sim, NULL) == BP_OK) {
        has = stream != BP_NO_STREAM && stream <= sim->n_streams;
        bp__sim_leave(sim);
    }
    return has;
}

bool bp_sim_has_stream(bp_backend *sim, bp_stream stream)
{
    return bp__sim_has_stream(sim, stream);
}
