/* feed.c - subscriptions as their log knows them: what they let through, handed
 * out record by record.
 *
 * A feed with a callback belongs to its log as well and stays until it is
 * unsubscribed; one without goes with its Subscription.
 */
#include "ext/device.h"

/* ---- life -------------------------------------------------------------- */

void bpx_feed_drop(bpx_feed *feed)
{
    if (--feed->n_holders == 0) {
        PyMem_Free(feed); /* whoever was last has closed it */
    }
}

void bpx_feed_close(bpx_source *source, bpx_feed *feed)
{
    PyObject *callback = feed->callback;
    bp_cursor_close(source->core, feed->cursor);
    feed->callback = NULL;
    if (feed->is_linked) {
        bpx_feed **at = &source->feeds;
        while (*at != feed) {
            at = &(*at)->next;
        }
        *at = feed->next;
        feed->is_linked = false;
        bpx_feed_drop(feed);
    }
    Py_XDECREF(callback);
}

static void feed_link(bpx_source *source, bpx_feed *feed)
{
    bpx_feed **at = &source->feeds;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = feed;
    feed->is_linked = true;
    feed->n_holders++;
}

bpx_feed *bpx_feed_new(bpx_state *st, bpx_source *source,
                       const bp_cursor_options *options, PyObject *callback)
{
    bpx_feed *feed = PyMem_Calloc(1, sizeof *feed);
    if (feed == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    bp_error error;
    if (bp_cursor_open(source->core, options, &feed->cursor, &error) != BP_OK) {
        PyMem_Free(feed);
        bpx_raise(st, &error);
        return NULL;
    }
    feed->n_holders = 1;
    feed->round = source->round; /* what is being delivered is not for it */
    feed->thread = PyThread_get_thread_ident();
    if (callback != NULL) {
        feed->callback = Py_NewRef(callback);
        feed_link(source, feed);
    }
    return feed;
}

int bpx_source_traverse(bpx_source *source, visitproc visit, void *arg)
{
    for (bpx_feed *feed = source->feeds; feed != NULL; feed = feed->next) {
        Py_VISIT(feed->callback);
    }
    return 0;
}

void bpx_source_clear(bpx_source *source)
{
    while (source->feeds != NULL) {
        bpx_feed_close(source, source->feeds);
    }
}

/* ---- draining ---------------------------------------------------------- */

/* 0; -1 with an exception; 1: stop. Takes over the record. */
static int give(bpx_state *st, bpx_feed *feed, bp_record *record,
                PyObject *list)
{
    PyObject *evicted = bpx_evicted_new(st, record);
    bp_record_fini(record);
    if (evicted == NULL || (list != NULL && PyList_Append(list, evicted) < 0)) {
        Py_XDECREF(evicted);
        return -1;
    }
    bool is_over = false;
    if (feed->callback != NULL) {
        PyObject *callback = Py_NewRef(feed->callback);
        PyObject *answer = PyObject_CallOneArg(callback, evicted);
        is_over =
            answer == NULL && bpx_callback_raised(st, "a callback of evictions",
                                                  callback, &feed->has_raised);
        Py_XDECREF(answer);
        Py_DECREF(callback);
    }
    Py_DECREF(evicted);
    return is_over ? 1 : 0;
}

int bpx_feed_drain(bpx_state *st, bpx_source *source, bpx_feed *feed,
                   uint64_t n_max, PyObject *list)
{
    int rc = 0;
    bp_record record;
    bp_cursor_state state;
    if (bp_cursor_get_state(source->core, feed->cursor, &state, NULL) !=
        BP_OK) {
        return 0; /* ended, or a forked child: nothing to give */
    }
    n_max = n_max < state.n_pending ? n_max : state.n_pending;
    feed->is_draining = true;
    feed->n_holders++;
    for (uint64_t i = 0; rc == 0 && i < n_max; i++) {
        if (bp_cursor_drain(source->core, feed->cursor, &record, 1) == 0) {
            break;
        }
        rc = give(st, feed, &record, list);
    }
    feed->is_draining = false;
    bpx_feed_drop(feed);
    return rc;
}

/* The first that this thread may drain and that has something, if no delivery
 * since `round` came to it. */
static bpx_feed *find_ready(bpx_source *source, uint64_t round)
{
    unsigned long self = PyThread_get_thread_ident();
    bpx_feed *feed = source->feeds;
    for (; feed != NULL; feed = feed->next) {
        bp_cursor_state state;
        if (feed->thread == self && feed->round < round && !feed->is_draining &&
            bp_cursor_get_state(source->core, feed->cursor, &state, NULL) ==
                BP_OK &&
            state.n_pending > 0) {
            break;
        }
    }
    return feed;
}

void bpx_source_deliver(bpx_state *st, bpx_source *source)
{
    bpx_feed *feed;
    int rc = 0;
    uint64_t round = ++source->round;
    while (rc == 0 && bp_log_has_news(source->core) &&
           (feed = find_ready(source, round)) != NULL) {
        feed->round = round;
        rc = bpx_feed_drain(st, source, feed, UINT64_MAX, NULL);
    }
    if (rc < 0) {
        PyErr_WriteUnraisable(NULL); /* no memory; the rest comes later */
    }
}
