/* backend.c - what all backends share: references and the names of things. */
#include "backend/backend.h"

#include <assert.h>
#include <string.h>

bp_backend *bp_backend_ref(bp_backend *backend)
{
    assert(backend != NULL);
    atomic_fetch_add_explicit(&backend->n_refs, 1, memory_order_relaxed);
    return backend;
}

void bp_backend_unref(bp_backend *backend)
{
    if (backend == NULL ||
        atomic_fetch_sub_explicit(&backend->n_refs, 1, memory_order_acq_rel) !=
            1) {
        return;
    }
    /* A child process has copies of what its parent owns, locks held by threads
     * that it has not among them. */
    if (backend->epoch == bp_process_epoch()) {
        backend->table->destroy(backend);
    }
}

void bp_backend_get_info(bp_backend *backend, bp_backend_info *out)
{
    backend->table->get_info(backend, out);
}

static const char *const action_names[BP_N_ACTIONS] = {
    [BP_ACTION_ALLOC] = "alloc", [BP_ACTION_FREE] = "free",
    [BP_ACTION_COPY] = "copy",   [BP_ACTION_EVENT] = "event",
    [BP_ACTION_SYNC] = "sync",   [BP_ACTION_HOST] = "host"};

const char *bp_action_name(bp_action action)
{
    return (unsigned)action < BP_N_ACTIONS ? action_names[action] : "?";
}

static const char *const events_names[BP_N_SIM_EVENTS] = {
    [BP_SIM_IMMEDIATE] = "immediate",
    [BP_SIM_MANUAL] = "manual",
    [BP_SIM_LATE] = "late"};

const char *bp_sim_events_name(bp_sim_events events)
{
    return (unsigned)events < BP_N_SIM_EVENTS ? events_names[events] : "?";
}

bool bp_sim_events_parse(const char *name, bp_sim_events *out)
{
    for (unsigned i = 0; i < BP_N_SIM_EVENTS; i++) {
        if (strcmp(name, events_names[i]) == 0) {
            *out = (bp_sim_events)i;
            return true;
        }
    }
    return false;
}
