/* lock.h - the leaf mutex of a registry or a budget tree.
 *
 * Ownership: in place; init and fini are paired. Lock rule: it is a leaf; the
 * holder calls nothing that could wait for another lock (no call-back, no
 * Python, no input or output). Not recursive.
 */
#ifndef BAYPLAN_BASE_LOCK_H
#define BAYPLAN_BASE_LOCK_H

#include "bayplan/base.h"

#include <pthread.h>

typedef struct bp_mutex {
    pthread_mutex_t raw;
} bp_mutex;

/* False: the system has no memory for another mutex. */
BP_MUST_USE bool bp__mutex_init(bp_mutex *mutex);
/* Unlocked, and nobody will lock it again. */
void bp__mutex_fini(bp_mutex *mutex);
void bp__mutex_lock(bp_mutex *mutex);
void bp__mutex_unlock(bp_mutex *mutex);

/* Something that threads which hold a mutex wait for. */
typedef struct bp_condition {
    pthread_cond_t raw;
} bp_condition;

BP_MUST_USE bool bp__condition_init(bp_condition *condition);
void bp__condition_fini(bp_condition *condition);
/* Wake all that wait. */
void bp__condition_broadcast(bp_condition *condition);
/* Give the mutex up until a broadcast or until `deadline_ns` on
 * bp_monotonic_ns(), then hold it again. May also wake for nothing. */
void bp__condition_wait(bp_condition *condition, bp_mutex *mutex,
                        uint64_t deadline_ns);

/* Who runs: to be compared while that thread lives. */
typedef struct bp_thread {
    pthread_t raw;
} bp_thread;

bp_thread bp__thread_self(void);
bool bp__thread_is_self(bp_thread thread);

#endif
