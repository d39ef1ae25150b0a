/* log.h - the ring of evictions and its cursors, inside.
 *
 * Ownership: a tree embeds one log, which then uses the tree's lock; a log that
 * stands alone has its own. Functions ending in _locked need log->lock held.
 */
#ifndef BAYPLAN_DEVICE_LOG_H
#define BAYPLAN_DEVICE_LOG_H

#include "base/handles.h"
#include "base/lock.h"
#include "base/map.h"
#include "bayplan/device.h"

#include <stdatomic.h>

#define BP__DEFAULT_RECORDS 65536u

struct bp_log {
    bp_allocator alloc;
    bp_mutex *lock;        /* the tree's, or &own_lock */
    bp_mutex own_lock;     /* of a log that stands alone */
    uint64_t epoch;        /* bp_process_epoch() at birth */
    uint64_t *generations; /* the last one given out: the tree's, or &own */
    uint64_t own_generations;
    /* Records that others were promised room for (the tree's slots: each will
     * append one some day); NULL: none. */
    const size_t *n_promised;
    bp_record *ring; /* grows up to `limit`, then goes round */
    size_t capacity;
    uint32_t limit;
    uint64_t next_seq;    /* seq of the next record */
    uint64_t first_seq;   /* oldest kept */
    bp_handles cursors;   /* of bp__cursor */
    size_t n_ready;       /* cursors that have something to give */
    atomic_bool has_news; /* n_ready != 0 */
};

/* What one subscription sees: the records from `next` on that its filters let
 * through. The oldest of them beyond `max_backlog` count as missed at once and
 * are passed over by the next drain. */
typedef struct bp__filter {
    bp_key **texts; /* different ones */
    size_t n_texts, capacity;
    bp_map index; /* text -> texts[] */
    bool is_all;  /* let everything through */
} bp__filter;

typedef struct bp__cursor {
    bp__filter kinds;
    bp__filter keys;
    uint64_t max_backlog; /* UINT64_MAX: none but the ring's */
    uint64_t next;
    uint64_t n_pending; /* matching records the ring has from `next` on */
    uint64_t n_missed;  /* without those that max_backlog drops */
} bp__cursor;

/* In place, with somebody's lock and counter of generations, or (both NULL) its
 * own. */
BP_MUST_USE bp_status bp__log_init(bp_log *log, uint32_t n_records,
                                   const bp_allocator *alloc, bp_mutex *lock,
                                   uint64_t *generations, bp_error *error);
void bp__log_fini(bp_log *log);

/* Lock the log. FORKED, and not locked, in a child process. */
BP_MUST_USE bp_status bp__log_enter(bp_log *log, bp_error *error);
void bp__log_leave(bp_log *log);

/* Room for one more record beyond `n_promised` others. False: no memory. */
BP_MUST_USE bool bp__log_reserve_locked(bp_log *log, size_t n_promised);
/* Append; takes its own references of key and kind (nullable). Cannot fail:
 * where there is no room, because nothing was reserved or others took what was,
 * and no memory, the oldest record goes, as it does when the limit is reached.
 * Returns the seq. */
uint64_t bp__log_append_locked(bp_log *log, bp_key *key, bp_key *kind,
                               uint64_t generation, uint64_t n_bytes,
                               bp_cause cause);
/* The record of this seq, first_seq <= seq < next_seq. */
const bp_record *bp__log_at_locked(const bp_log *log, uint64_t seq);
/* Every invariant; NULL, or the name of the broken one. */
const char *bp__log_check_locked(const bp_log *log);

/* ---- cursors.c: who reads ---------------------------------------------- */

/* A record was appended; one is about to be overwritten. */
void bp__cursors_see_locked(bp_log *log, const bp_record *record);
void bp__cursors_lose_locked(bp_log *log, const bp_record *record);
const char *bp__cursors_check_locked(const bp_log *log);
/* Close all. */
void bp__cursors_fini(bp_log *log);

/* ---- keys -------------------------------------------------------------- */

/* NULL without memory. One reference. */
bp_key *bp__key_new(const bp_allocator *alloc, const char *text);
/* NULL stays NULL. */
bp_key *bp__key_ref(bp_key *key);
/* NULL is a no-op. */
void bp__key_unref(bp_key *key);
/* bp__hash_text of its text. */
uint32_t bp__key_hash(const bp_key *key);

#endif
