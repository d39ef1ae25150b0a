/* wait.c - timeouts, and Ctrl-C beside a core call that waits without the GIL.
 */
#include "ext/slots.h"

/* `seconds` is neither negative nor NaN. */
static uint64_t deadline_after(double seconds)
{
    uint64_t now = bp_monotonic_ns();
    double ns = seconds * 1e9;
    if (ns >= (double)(BP_FOR_EVER - now)) {
        return BP_FOR_EVER;
    }
    uint64_t deadline = now + (uint64_t)ns;
    return deadline == 0 ? 1 : deadline;
}

/* Called by the core now and then, without the GIL and without a lock. */
static bool is_interrupted(void *ctx)
{
    bpx_wait *wait = ctx;
    if (wait->exception != NULL) {
        return true;
    }
    bpx_wait_end(wait);
    if (PyErr_CheckSignals() < 0) {
        wait->exception = bpx_exception_take();
    } else if (wait->slots != NULL && wait->slots->is_closed) {
        (void)bpx_slots_check(wait->slots);
        wait->exception = bpx_exception_take();
    }
    bpx_wait_begin(wait);
    return wait->exception != NULL;
}

int bpx_wait_init(bpx_state *st, bpx_wait *wait, PyObject *timeout)
{
    *wait = (bpx_wait){.core = {.is_interrupted = is_interrupted, .ctx = wait}};
    double seconds = 0.0;
    if (timeout != NULL &&
        bpx_to_seconds(st, timeout, "timeout", &seconds) < 0) {
        return -1;
    }
    wait->core.deadline_ns = seconds > 0.0 ? deadline_after(seconds) : 0;
    return 0;
}

void bpx_wait_begin(bpx_wait *wait)
{
    wait->thread = PyEval_SaveThread();
}

void bpx_wait_end(bpx_wait *wait)
{
    PyEval_RestoreThread(wait->thread);
    wait->thread = NULL;
}
