/* columns.h - buffers as arrays of integers, and what runs while a plan is
 * searched: between plan.c, columns.c, watch.c and csv.c. */
#ifndef BAYPLAN_EXT_COLUMNS_H
#define BAYPLAN_EXT_COLUMNS_H

#include "ext/ext.h"

/* ---- columns.c --------------------------------------------------------- */

/* `object` as an int64 array of our own, which no other thread can change while
 * the GIL is away. Integers of any width are taken, nothing else; negative ones
 * only where `is_signed`. A new reference, or NULL with an exception. */
PyArrayObject *bpx_to_array(bpx_state *st, PyObject *object, const char *what,
                            bool is_signed);

/* Arrays of bpx_to_array, all of one length. */
typedef struct bpx_columns {
    PyArrayObject *sizes;
    PyArrayObject *first;
    PyArrayObject *last;
    PyArrayObject *align;   /* NULL: none */
    PyArrayObject *offsets; /* likewise: pins, or where buffers are */
} bpx_columns;

/* given: sizes, first, last. align and offsets: NULL or None where there are
 * none. 0, or -1 with an exception and nothing to release. */
int bpx_columns_init(bpx_state *st, bpx_columns *columns,
                     PyObject *const *given, PyObject *align, PyObject *offsets,
                     const char *offsets_word);
void bpx_columns_fini(bpx_columns *columns);
/* The first item; NULL for no array. */
const void *bpx_items(PyArrayObject *array);

/* ---- watch.c ----------------------------------------------------------- */

/* What looks after a search: a clock, a key press, the caller's progress
 * function. Lives on the stack of the thread that plans. */
typedef struct bpx_watch {
    PyObject *progress;    /* borrowed; NULL: none */
    double time_limit;     /* seconds; infinite: none */
    PyThreadState *thread; /* while the GIL is away */
    PyObject *exception;   /* what the progress function or a signal raised */
    double deadline;
    double next_look; /* when the GIL is taken next */
    bp_plan_progress told;
    bool is_told;
    bool is_key_pressed; /* Ctrl-C: not an error, the search ends */
} bpx_watch;

/* Read time_limit and progress (NULL or None: none). 0, or -1 with an
 * exception. */
int bpx_watch_init(bpx_state *st, bpx_watch *watch, PyObject *time_limit,
                   PyObject *progress);
/* Start the clock and give the GIL away; take it back. */
void bpx_watch_begin(bpx_watch *watch);
void bpx_watch_end(bpx_watch *watch);
/* A bp_plan_poll; ctx is the watch. */
bool bpx_watch_poll(void *ctx, const bp_plan_progress *progress);
/* With the GIL, after the end: tell the final figures (NULL: there are none),
 * and raise what was kept. 0, or -1 with an exception. */
int bpx_watch_finish(bpx_watch *watch, const bp_plan_progress *progress);

#endif
