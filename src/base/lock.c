/* lock.c - bp_mutex, bp_condition and bp_thread on POSIX threads. */
#include "base/lock.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

bool bp__mutex_init(bp_mutex *mutex)
{
    return pthread_mutex_init(&mutex->raw, NULL) == 0;
}

/* The other three can only fail for misuse, which is our bug. */
void bp__mutex_fini(bp_mutex *mutex)
{
    int rc = pthread_mutex_destroy(&mutex->raw);
    assert(rc == 0);
    (void)rc;
}

void bp__mutex_lock(bp_mutex *mutex)
{
    int rc = pthread_mutex_lock(&mutex->raw);
    assert(rc == 0);
    (void)rc;
}

void bp__mutex_unlock(bp_mutex *mutex)
{
    int rc = pthread_mutex_unlock(&mutex->raw);
    assert(rc == 0);
    (void)rc;
}

bool bp__condition_init(bp_condition *condition)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0) {
        return false;
    }
    bool is_ok = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                 pthread_cond_init(&condition->raw, &attributes) == 0;
    (void)pthread_condattr_destroy(&attributes);
    return is_ok;
}

void bp__condition_fini(bp_condition *condition)
{
    int rc = pthread_cond_destroy(&condition->raw);
    assert(rc == 0);
    (void)rc;
}

void bp__condition_broadcast(bp_condition *condition)
{
    int rc = pthread_cond_broadcast(&condition->raw);
    assert(rc == 0);
    (void)rc;
}

void bp__condition_wait(bp_condition *condition, bp_mutex *mutex,
                        uint64_t deadline_ns)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                             .tv_nsec = (long)(deadline_ns % 1000000000u)};
    int rc = pthread_cond_timedwait(&condition->raw, &mutex->raw, &until);
    assert(rc == 0 || rc == ETIMEDOUT);
    (void)rc;
}

bp_thread bp__thread_self(void)
{
    return (bp_thread){.raw = pthread_self()};
}

bool bp__thread_is_self(bp_thread thread)
{
    return pthread_equal(thread.raw, pthread_self()) != 0;
}
