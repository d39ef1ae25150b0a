/* log.c - the ring of records: it grows to its limit, then goes round. */
#include "device/log.h"

#include "base/alloc.h"

#include <assert.h>
#include <string.h>

#define FIRST_CAPACITY 16u
#define MAX_RECORDS    ((uint32_t)1 << 28)

static const char *const cause_names[BP_N_CAUSES] = {
    [BP_CAUSE_EXPLICIT] = "explicit", [BP_CAUSE_REPLACED] = "replaced",
    [BP_CAUSE_PRESSURE] = "pressure", [BP_CAUSE_LIMIT] = "limit",
    [BP_CAUSE_OOM] = "oom",           [BP_CAUSE_SWEEP] = "sweep",
    [BP_CAUSE_CLOSED] = "closed"};

static bool is_cause(bp_cause cause)
{
    return (unsigned)cause < BP_N_CAUSES;
}

const char *bp_cause_name(bp_cause cause)
{
    return is_cause(cause) ? cause_names[cause] : "?";
}

bool bp_cause_parse(const char *name, bp_cause *out)
{
    for (unsigned i = 0; i < BP_N_CAUSES; i++) {
        if (strcmp(name, cause_names[i]) == 0) {
            *out = (bp_cause)i;
            return true;
        }
    }
    return false;
}

/* ---- life ---------------------------------------------------------------- */

static bp_status refuse_memory(bp_error *error)
{
    return bp_fail(error, BP_NO_MEMORY, "no memory for the log of evictions");
}

bp_status bp__log_init(bp_log *log, uint32_t n_records,
                       const bp_allocator *alloc, bp_mutex *lock,
                       uint64_t *generations, bp_error *error)
{
    assert((lock == NULL) == (generations == NULL));
    if (n_records > MAX_RECORDS) {
        bp_status status =
            bp_fail(error, BP_BAD_VALUE,
                    "a log keeps at most %u records, and %u were asked for",
                    (unsigned)MAX_RECORDS, (unsigned)n_records);
        bp_error_numbers(error, n_records, MAX_RECORDS);
        return status;
    }
    memset(log, 0, sizeof *log);
    atomic_init(&log->has_news, false);
    log->alloc = *alloc;
    log->limit = n_records == 0 ? BP__DEFAULT_RECORDS : n_records;
    log->epoch = bp_process_epoch();
    size_t capacity = log->limit < FIRST_CAPACITY ? log->limit : FIRST_CAPACITY;
    log->ring = bp__alloc_array(alloc, capacity, sizeof *log->ring);
    if (log->ring == NULL) {
        return refuse_memory(error);
    }
    log->capacity = capacity;
    log->lock = lock == NULL ? &log->own_lock : lock;
    log->generations =
        generations == NULL ? &log->own_generations : generations;
    if (lock == NULL && !bp__mutex_init(&log->own_lock)) {
        bp__free_array(alloc, log->ring, capacity, sizeof *log->ring);
        return refuse_memory(error);
    }
    return BP_OK;
}

static bp_record *place_of(const bp_log *log, uint64_t seq)
{
    return &log->ring[seq % log->capacity];
}

void bp__log_fini(bp_log *log)
{
    bp__cursors_fini(log);
    for (uint64_t seq = log->first_seq; seq < log->next_seq; seq++) {
        bp_record_fini(place_of(log, seq));
    }
    bp__free_array(&log->alloc, log->ring, log->capacity, sizeof *log->ring);
    log->ring = NULL;
    if (log->lock == &log->own_lock) {
        bp__mutex_fini(&log->own_lock);
    }
}

bp_status bp_log_new(uint32_t n_records, const bp_allocator *alloc,
                     bp_log **out, bp_error *error)
{
    bp_allocator own = bp__allocator_or_default(alloc);
    bp_log *log = bp__alloc_array(&own, 1, sizeof *log);
    if (log == NULL) {
        return refuse_memory(error);
    }
    bp_status status = bp__log_init(log, n_records, &own, NULL, NULL, error);
    if (status != BP_OK) {
        bp__free_array(&own, log, 1, sizeof *log);
        return status;
    }
    *out = log;
    return BP_OK;
}

void bp_log_free(bp_log *log)
{
    if (log == NULL || log->epoch != bp_process_epoch()) {
        return;
    }
    bp_allocator alloc = log->alloc;
    bp__log_fini(log);
    bp__free_array(&alloc, log, 1, sizeof *log);
}

bp_status bp__log_enter(bp_log *log, bp_error *error)
{
    if (log->epoch != bp_process_epoch()) {
        return bp_fail(error, BP_FORKED,
                       "this log of evictions belongs to the parent process");
    }
    bp__mutex_lock(log->lock);
    return BP_OK;
}

void bp__log_leave(bp_log *log)
{
    bp__mutex_unlock(log->lock);
}

/* ---- the ring ------------------------------------------------------------ */

static size_t n_kept(const bp_log *log)
{
    return (size_t)(log->next_seq - log->first_seq);
}

/* Bigger, but not beyond the limit: then the oldest ones go. */
static bool make_room(bp_log *log, size_t n_wanted)
{
    size_t need = n_wanted < log->limit ? n_wanted : log->limit;
    if (need <= log->capacity) {
        return true;
    }
    size_t capacity = log->capacity + log->capacity / 2 + FIRST_CAPACITY;
    capacity = capacity < need ? need : capacity;
    capacity = capacity > log->limit ? log->limit : capacity;
    bp_record *ring = bp__alloc_array(&log->alloc, capacity, sizeof *ring);
    if (ring == NULL) {
        return false;
    }
    for (uint64_t seq = log->first_seq; seq < log->next_seq; seq++) {
        ring[seq % capacity] = *place_of(log, seq);
    }
    bp__free_array(&log->alloc, log->ring, log->capacity, sizeof *log->ring);
    log->ring = ring;
    log->capacity = capacity;
    return true;
}

bool bp__log_reserve_locked(bp_log *log, size_t n_promised)
{
    size_t n_more = n_promised < log->limit ? n_promised + 1 : log->limit;
    return make_room(log, n_kept(log) + n_more);
}

const bp_record *bp__log_at_locked(const bp_log *log, uint64_t seq)
{
    assert(seq >= log->first_seq && seq < log->next_seq);
    return place_of(log, seq);
}

static void drop_oldest(bp_log *log)
{
    bp_record *oldest = place_of(log, log->first_seq);
    bp__cursors_lose_locked(log, oldest);
    bp_record_fini(oldest);
    log->first_seq++;
}

uint64_t bp__log_append_locked(bp_log *log, bp_key *key, bp_key *kind,
                               uint64_t generation, uint64_t n_bytes,
                               bp_cause cause)
{
    assert(key != NULL && is_cause(cause));
    if (!make_room(log, n_kept(log) + 1) || n_kept(log) == log->capacity) {
        drop_oldest(log);
    }
    uint64_t seq = log->next_seq++;
    bp_record *record = place_of(log, seq);
    *record = (bp_record){.key = bp__key_ref(key),
                          .kind = bp__key_ref(kind),
                          .generation = generation,
                          .n_bytes = n_bytes,
                          .cause = cause,
                          .seq = seq};
    bp__cursors_see_locked(log, record);
    return seq;
}

void bp_record_fini(bp_record *record)
{
    bp__key_unref(record->key);
    bp__key_unref(record->kind);
    record->key = NULL;
    record->kind = NULL;
}

/* ---- other owners -------------------------------------------------------- */

static bp_status check_text(const char *what, const char *text, bp_error *error)
{
    size_t n_bytes = text == NULL ? 0 : strlen(text);
    if (n_bytes == 0) {
        return bp_fail(error, BP_BAD_NAME, "a record needs a %s", what);
    }
    if (n_bytes > BP_MAX_NAME) {
        bp_status status =
            bp_fail(error, BP_BAD_NAME, "a %s has at most %u bytes, not %zu",
                    what, (unsigned)BP_MAX_NAME, n_bytes);
        bp_error_numbers(error, n_bytes, BP_MAX_NAME);
        return status;
    }
    return BP_OK;
}

static bp_status check_record(const char *key, const char *kind, bp_cause cause,
                              bp_error *error)
{
    bp_status status = check_text("key", key, error);
    if (status == BP_OK && kind != NULL) {
        status = check_text("kind", kind, error);
    }
    if (status == BP_OK && !is_cause(cause)) {
        status = bp_fail(error, BP_BAD_VALUE, "%u is no cause of an eviction",
                         (unsigned)cause);
    }
    return status;
}

bp_status bp_log_publish(bp_log *log, const char *key, const char *kind,
                         uint64_t n_bytes, bp_cause cause, uint64_t *seq,
                         bp_error *error)
{
    bp_key *key_of = NULL;
    bp_key *kind_of = NULL;
    bp_status status = check_record(key, kind, cause, error);
    if (status != BP_OK) {
        return status;
    }
    status = bp__log_enter(log, error);
    if (status != BP_OK) {
        return status;
    }
    key_of = bp__key_new(&log->alloc, key);
    kind_of = kind == NULL ? NULL : bp__key_new(&log->alloc, kind);
    if (key_of == NULL || (kind != NULL && kind_of == NULL) ||
        !bp__log_reserve_locked(
            log, log->n_promised == NULL ? 0 : *log->n_promised)) {
        status = refuse_memory(error);
    } else {
        *seq = bp__log_append_locked(log, key_of, kind_of, ++*log->generations,
                                     n_bytes, cause);
    }
    bp__key_unref(key_of);
    bp__key_unref(kind_of);
    bp__log_leave(log);
    return status;
}

void bp_log_range(bp_log *log, uint64_t *first, uint64_t *next)
{
    *first = *next = 0;
    if (bp__log_enter(log, NULL) == BP_OK) {
        *first = log->first_seq;
        *next = log->next_seq;
        bp__log_leave(log);
    }
}

bool bp_log_has_news(const bp_log *log)
{
    return atomic_load_explicit(&log->has_news, memory_order_acquire);
}

/* ---- check --------------------------------------------------------------- */

const char *bp__log_check_locked(const bp_log *log)
{
    if (log->ring == NULL || log->capacity == 0 || log->capacity > log->limit) {
        return "log: capacity of the ring";
    }
    if (log->first_seq > log->next_seq || n_kept(log) > log->capacity) {
        return "log: range of the ring";
    }
    for (uint64_t seq = log->first_seq; seq < log->next_seq; seq++) {
        const bp_record *record = place_of(log, seq);
        if (record->seq != seq || record->key == NULL ||
            !is_cause(record->cause) ||
            record->generation > *log->generations) {
            return "log: a record";
        }
    }
    return bp__cursors_check_locked(log);
}
