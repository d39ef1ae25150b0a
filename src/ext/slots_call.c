/* slots_call.c - SlotManager: what the calls that move bytes have in common. */
#include "ext/slots.h"

int bpx_call_init(bpx_call *call, bpx_slots *slots, PyObject *timeout)
{
    bpx_tree *tree = bpx_slots_tree(slots);
    if (bpx_wait_init(bpx_slots_state(slots), &call->wait, timeout) < 0 ||
        bpx_tree_rank_all(tree) < 0) {
        return -1;
    }
    call->slots = slots;
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
    bpx_wait_begin(&call->wait);
}

void bpx_call_end(bpx_call *call)
{
    bpx_wait_end(&call->wait);
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
