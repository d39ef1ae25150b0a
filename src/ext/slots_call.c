/* slots_call.c - SlotManager: what the calls that move bytes have in common. */
#include "ext/slots.h"

/* So many more bytes fit, into the budgets and on the device. */
static bool fits(const bpx_slots *slots, uint64_t n_bytes)
{
    bp_backend_info info;
    bp_backend_get_info(slots->backend_core, &info);
    return n_bytes == 0 ||
           (bp_round_up(n_bytes, info.granularity, &n_bytes) &&
            n_bytes <= info.free && bpx_budget_fits(slots->budget, n_bytes));
}

int bpx_call_init(bpx_call *call, bpx_slots *slots, uint64_t n_bytes,
                  PyObject *timeout)
{
    bpx_tree *tree = bpx_slots_tree(slots);
    if (bpx_wait_init(bpx_slots_state(slots), &call->wait, timeout) < 0 ||
        (tree->ranked != NULL && !fits(slots, n_bytes) &&
         bpx_tree_rank_all(tree) < 0)) {
        return -1;
    }
    call->slots = slots;
    call->wait.slots = slots;
    call->tree = tree->core;
    call->error = (bp_error){.status = BP_OK};
    bpx_shortage_init(&call->shortage);
    bpx_tree_before(tree);
    call->handle = slots->handle;
    call->first_seq = bpx_tree_seq(tree);
    /* Policies and other threads may have closed it. */
    return bpx_slots_check(slots);
}

void bpx_call_begin(bpx_call *call)
{
    bpx_slots_hold(call->slots);
    bpx_wait_begin(&call->wait);
}

void bpx_call_end(bpx_call *call)
{
    bpx_wait_end(&call->wait);
    bpx_slots_unhold(call->slots);
}

PyObject *bpx_call_raise(bpx_call *call)
{
    PyObject *evicted =
        bpx_tree_evicted_since(bpx_slots_tree(call->slots), call->first_seq);
    if (evicted != NULL) {
        bpx_raise_refused(bpx_slots_state(call->slots), &call->error,
                          &call->shortage, &call->wait, evicted);
        Py_DECREF(evicted);
    }
    return NULL;
}

PyObject *bpx_call_return(bpx_call *call, PyObject *result)
{
    return bpx_tree_after(bpx_slots_tree(call->slots), result);
}
