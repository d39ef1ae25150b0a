/* watch.c - a clock, Ctrl-C and a progress function beside a search that runs
 * without the GIL.
 *
 * The GIL is taken back only every so often: when there is news for the
 * progress function, or LOOK_SECONDS after the last time.
 */
#include "ext/columns.h"

#include <time.h>

#define LOOK_SECONDS 0.05

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int bpx_watch_init(bpx_state *st, bpx_watch *watch, PyObject *time_limit,
                   PyObject *progress)
{
    *watch = (bpx_watch){.progress = progress == Py_None ? NULL : progress};
    if (watch->progress != NULL && !PyCallable_Check(progress)) {
        bpx_given text;
        bpx_describe(progress, &text);
        bpx_raise_as(st, BP_BAD_VALUE,
                     "progress must be a function of (nodes, height, "
                     "lower_bound), not %s",
                     text.text);
        return -1;
    }
    return bpx_to_seconds(st, time_limit == NULL ? Py_None : time_limit,
                          "time_limit", &watch->time_limit);
}

void bpx_watch_begin(bpx_watch *watch)
{
    double now = seconds_now();
    watch->deadline = now + watch->time_limit;
    watch->next_look = now + LOOK_SECONDS;
    watch->thread = PyEval_SaveThread();
}

void bpx_watch_end(bpx_watch *watch)
{
    PyEval_RestoreThread(watch->thread);
    watch->thread = NULL;
}

static bool is_news(const bpx_watch *watch, const bp_plan_progress *progress)
{
    return watch->progress != NULL &&
           (!watch->is_told || progress->height != watch->told.height ||
            progress->lower_bound != watch->told.lower_bound);
}

/* False: an exception is set. */
static bool tell(bpx_watch *watch, const bp_plan_progress *progress)
{
    if (watch->progress == NULL) {
        return true;
    }
    PyObject *answer = PyObject_CallFunction(
        watch->progress, "KKK", (unsigned long long)progress->n_nodes,
        (unsigned long long)progress->height,
        (unsigned long long)progress->lower_bound);
    watch->told = *progress;
    watch->is_told = true;
    Py_XDECREF(answer);
    return answer != NULL;
}

/* An exception is set: Ctrl-C is a wish, anything else is kept. */
static void keep_exception(bpx_watch *watch)
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyErr_Clear();
        watch->is_key_pressed = true;
    } else {
        watch->exception = bpx_exception_take();
    }
}

bool bpx_watch_poll(void *ctx, const bp_plan_progress *progress)
{
    bpx_watch *watch = ctx;
    if (watch->exception != NULL || watch->is_key_pressed) {
        return true;
    }
    double now = seconds_now();
    if (now >= watch->deadline) {
        return true;
    }
    if (now < watch->next_look && !is_news(watch, progress)) {
        return false;
    }
    bpx_watch_end(watch);
    if (PyErr_CheckSignals() < 0 || !tell(watch, progress)) {
        keep_exception(watch);
    }
    watch->thread = PyEval_SaveThread();
    watch->next_look = seconds_now() + LOOK_SECONDS;
    return watch->exception != NULL || watch->is_key_pressed;
}

int bpx_watch_finish(bpx_watch *watch, const bp_plan_progress *progress)
{
    bool has_more =
        watch->exception == NULL && progress != NULL &&
        (is_news(watch, progress) || progress->n_nodes != watch->told.n_nodes);
    if (has_more && !tell(watch, progress)) {
        keep_exception(watch);
    }
    if (watch->exception == NULL) {
        return 0;
    }
    bpx_exception_give(watch->exception);
    watch->exception = NULL;
    return -1;
}
