/* cursors.c - subscriptions: each a place in the ring and what it lets through.
 *
 * A cursor counts what it will give when the record is appended, and what it
 * missed when the ring overwrites a record it had not come to; so both figures
 * are there without a walk.
 */
#include "device/log.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <string.h>

/* ---- filters ------------------------------------------------------------- */

static const char *text_of(const void *ctx, uint32_t value)
{
    const bp__filter *filter = ctx;
    return bp_key_text(filter->texts[value]);
}

static void filter_fini(bp__filter *filter, const bp_allocator *alloc)
{
    for (size_t i = 0; i < filter->n_texts; i++) {
        bp__key_unref(filter->texts[i]);
    }
    bp__free_array(alloc, filter->texts, filter->capacity,
                   sizeof *filter->texts);
    bp__map_fini(&filter->index, alloc);
}

/* All zeros, or partly filled where there was no memory. */
static bool filter_init(bp__filter *filter, const bp_allocator *alloc,
                        const char *const *texts, size_t n_texts)
{
    filter->is_all = texts == NULL;
    if (texts == NULL || n_texts == 0) {
        return true;
    }
    if (!bp__grow(alloc, &filter->texts, &filter->capacity, n_texts,
                  sizeof *filter->texts) ||
        !bp__map_reserve(&filter->index, alloc, n_texts)) {
        return false;
    }
    for (size_t i = 0; i < n_texts; i++) {
        uint32_t hash = bp__hash_text(texts[i]);
        if (bp__map_find(&filter->index, hash, texts[i], text_of, filter) !=
            BP_MAP_NONE) {
            continue;
        }
        bp_key *key = bp__key_new(alloc, texts[i]);
        if (key == NULL) {
            return false;
        }
        filter->texts[filter->n_texts] = key;
        bp__map_insert(&filter->index, hash, (uint32_t)filter->n_texts++);
    }
    return true;
}

static bool filter_lets(const bp__filter *filter, const bp_key *text)
{
    if (filter->is_all || text == NULL) {
        return filter->is_all;
    }
    return bp__map_find(&filter->index, bp__key_hash(text), bp_key_text(text),
                        text_of, filter) != BP_MAP_NONE;
}

static bool matches(const bp__cursor *cursor, const bp_record *record)
{
    return filter_lets(&cursor->kinds, record->kind) &&
           filter_lets(&cursor->keys, record->key);
}

/* ---- what is pending ----------------------------------------------------- */

static void set_pending(bp_log *log, bp__cursor *cursor, uint64_t n)
{
    log->n_ready -= cursor->n_pending != 0;
    cursor->n_pending = n;
    log->n_ready += n != 0;
    atomic_store_explicit(&log->has_news, log->n_ready != 0,
                          memory_order_release);
}

/* How many of the pending ones the backlog has no room for. */
static uint64_t n_excess(const bp__cursor *cursor)
{
    return cursor->n_pending > cursor->max_backlog
               ? cursor->n_pending - cursor->max_backlog
               : 0;
}

void bp__cursors_see_locked(bp_log *log, const bp_record *record)
{
    bp__cursor *cursor;
    for (size_t i = 0; (cursor = bp__handles_next(&log->cursors, &i)) != NULL;
         i++) {
        if (matches(cursor, record)) {
            set_pending(log, cursor, cursor->n_pending + 1);
        }
    }
}

void bp__cursors_lose_locked(bp_log *log, const bp_record *record)
{
    bp__cursor *cursor;
    for (size_t i = 0; (cursor = bp__handles_next(&log->cursors, &i)) != NULL;
         i++) {
        if (cursor->next > record->seq) {
            continue;
        }
        cursor->next = record->seq + 1;
        if (matches(cursor, record)) {
            cursor->n_missed++;
            set_pending(log, cursor, cursor->n_pending - 1);
        }
    }
}

static uint64_t count_matching(const bp_log *log, const bp__cursor *cursor,
                               uint64_t from)
{
    uint64_t n = 0;
    for (uint64_t seq = from; seq < log->next_seq; seq++) {
        n += matches(cursor, bp__log_at_locked(log, seq));
    }
    return n;
}

/* ---- life ---------------------------------------------------------------- */

static void cursor_free(bp_log *log, bp__cursor *cursor)
{
    filter_fini(&cursor->kinds, &log->alloc);
    filter_fini(&cursor->keys, &log->alloc);
    bp__free_array(&log->alloc, cursor, 1, sizeof *cursor);
}

static bp__cursor *cursor_new(bp_log *log, const bp_cursor_options *options)
{
    bp__cursor *cursor = bp__alloc_array(&log->alloc, 1, sizeof *cursor);
    if (cursor == NULL) {
        return NULL;
    }
    cursor->max_backlog =
        options->max_backlog == 0 ? UINT64_MAX : options->max_backlog;
    if (!filter_init(&cursor->kinds, &log->alloc, options->kinds,
                     options->n_kinds) ||
        !filter_init(&cursor->keys, &log->alloc, options->keys,
                     options->n_keys)) {
        cursor_free(log, cursor);
        return NULL;
    }
    return cursor;
}

bp_status bp_cursor_open(bp_log *log, const bp_cursor_options *options,
                         bp_cursor *out, bp_error *error)
{
    static const bp_cursor_options everything = {.kinds = NULL};
    bp_status status = bp__log_enter(log, error);
    if (status != BP_OK) {
        return status;
    }
    bp__cursor *cursor =
        cursor_new(log, options == NULL ? &everything : options);
    if (cursor == NULL || !bp__handles_reserve(&log->cursors, &log->alloc)) {
        status = bp_fail(error, BP_NO_MEMORY, "no memory for a subscription");
        if (cursor != NULL) {
            cursor_free(log, cursor);
        }
    } else {
        cursor->next = log->next_seq;
        *out = bp__handles_add(&log->cursors, cursor);
    }
    bp__log_leave(log);
    return status;
}

void bp_cursor_close(bp_log *log, bp_cursor handle)
{
    if (bp__log_enter(log, NULL) != BP_OK) {
        return;
    }
    bp__cursor *cursor = bp__handles_remove(&log->cursors, handle);
    if (cursor != NULL) {
        set_pending(log, cursor, 0);
        cursor_free(log, cursor);
    }
    bp__log_leave(log);
}

void bp__cursors_fini(bp_log *log)
{
    bp__cursor *cursor;
    for (size_t i = 0; (cursor = bp__handles_next(&log->cursors, &i)) != NULL;
         i++) {
        cursor_free(log, cursor);
    }
    bp__handles_fini(&log->cursors, &log->alloc);
}

/* ---- reading ------------------------------------------------------------- */

/* The next matching record, which there is; the cursor is past it. */
static const bp_record *step(const bp_log *log, bp__cursor *cursor)
{
    const bp_record *record;
    do {
        record = bp__log_at_locked(log, cursor->next++);
    } while (!matches(cursor, record));
    return record;
}

static size_t drain_locked(bp_log *log, bp__cursor *cursor, bp_record *out,
                           size_t n_max)
{
    uint64_t n_dropped = n_excess(cursor);
    for (uint64_t i = 0; i < n_dropped; i++) {
        (void)step(log, cursor);
    }
    cursor->n_missed += n_dropped;
    uint64_t n_left = cursor->n_pending - n_dropped;
    size_t n = 0;
    for (; n < n_max && n_left != 0; n++, n_left--) {
        out[n] = *step(log, cursor);
        (void)bp__key_ref(out[n].key);
        (void)bp__key_ref(out[n].kind);
    }
    if (n_left == 0) {
        cursor->next = log->next_seq; /* nothing left there matches */
    }
    set_pending(log, cursor, n_left);
    return n;
}

size_t bp_cursor_drain(bp_log *log, bp_cursor handle, bp_record *out,
                       size_t n_max)
{
    if (n_max == 0 || bp__log_enter(log, NULL) != BP_OK) {
        return 0;
    }
    bp__cursor *cursor = bp__handles_get(&log->cursors, handle);
    size_t n = cursor == NULL ? 0 : drain_locked(log, cursor, out, n_max);
    bp__log_leave(log);
    return n;
}

static bp_status refuse_stale(bp_error *error)
{
    return bp_fail(error, BP_STALE, "this subscription was ended");
}

bp_status bp_cursor_get_state(bp_log *log, bp_cursor handle,
                              bp_cursor_state *out, bp_error *error)
{
    bp_status status = bp__log_enter(log, error);
    if (status != BP_OK) {
        return status;
    }
    const bp__cursor *cursor = bp__handles_get(&log->cursors, handle);
    if (cursor == NULL) {
        status = refuse_stale(error);
    } else {
        uint64_t n_dropped = n_excess(cursor);
        *out = (bp_cursor_state){.n_pending = cursor->n_pending - n_dropped,
                                 .n_missed = cursor->n_missed + n_dropped,
                                 .next = cursor->next};
    }
    bp__log_leave(log);
    return status;
}

static bp_status resync_locked(bp_log *log, bp__cursor *cursor, uint64_t seq,
                               bp_error *error)
{
    if (seq > log->next_seq) {
        bp_status status =
            bp_fail(error, BP_BAD_VALUE,
                    "record %llu is not there yet: the next one is %llu",
                    (unsigned long long)seq, (unsigned long long)log->next_seq);
        bp_error_numbers(error, seq, log->next_seq);
        return status;
    }
    cursor->next = seq < log->first_seq ? log->first_seq : seq;
    cursor->n_missed = 0;
    set_pending(log, cursor, count_matching(log, cursor, cursor->next));
    return BP_OK;
}

bp_status bp_cursor_resync(bp_log *log, bp_cursor handle, uint64_t seq,
                           bp_error *error)
{
    bp_status status = bp__log_enter(log, error);
    if (status != BP_OK) {
        return status;
    }
    bp__cursor *cursor = bp__handles_get(&log->cursors, handle);
    status = cursor == NULL ? refuse_stale(error)
                            : resync_locked(log, cursor, seq, error);
    bp__log_leave(log);
    return status;
}

const char *bp__cursors_check_locked(const bp_log *log)
{
    size_t n_ready = 0;
    const bp__cursor *cursor;
    for (size_t i = 0; (cursor = bp__handles_next(&log->cursors, &i)) != NULL;
         i++) {
        if (cursor->next < log->first_seq || cursor->next > log->next_seq ||
            cursor->n_pending != count_matching(log, cursor, cursor->next)) {
            return "log: what a subscription has pending";
        }
        n_ready += cursor->n_pending != 0;
    }
    if (n_ready != log->n_ready || bp_log_has_news(log) != (n_ready != 0)) {
        return "log: whether there are news";
    }
    return NULL;
}
