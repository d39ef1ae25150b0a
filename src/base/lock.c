/* lock.c - bp_mutex on POSIX threads. */
#include "base/lock.h"

#include <assert.h>

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
