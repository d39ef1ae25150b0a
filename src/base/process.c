/* process.c - what a process knows of itself: its clock and its forks. */
#include "bayplan/base.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

uint64_t bp_monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The one thing a fork changes that memory does not show by itself. */
static atomic_uint_least64_t n_forks;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void count_fork(void)
{
    atomic_fetch_add_explicit(&n_forks, 1, memory_order_relaxed);
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, count_fork);
}

uint64_t bp_process_epoch(void)
{
    (void)pthread_once(&once, watch_forks);
    return atomic_load_explicit(&n_forks, memory_order_relaxed);
}
