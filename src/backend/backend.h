/* backend.h - the table of actions: what every kind of device memory can do.
 *
 * A concrete backend embeds `bp_backend` first. Actions return OK,
 * DEVICE_MEMORY (alloc alone), NO_MEMORY (host_alloc, and book-keeping),
 * DEVICE_FAULT, or FORKED in a child process. A DEVICE_FAULT of an action that
 * set is_failed is the end: the first fault is kept and every later action
 * reports it. A DEVICE_FAULT without is_failed is a failure of that one action,
 * which may be tried again.
 *
 * Threads: a table's functions lock what they need; the caller holds no lock.
 */
#ifndef BAYPLAN_BACKEND_BACKEND_H
#define BAYPLAN_BACKEND_BACKEND_H

#include "bayplan/backend.h"

#include <stdatomic.h>

/* A piece of device memory. Given back as it was given out. */
typedef struct bp__memory {
    uint64_t address;
    uint64_t n_bytes; /* rounded up to the granularity */
} bp__memory;

typedef uint64_t bp__event;
#define BP__NO_EVENT ((bp__event)0)

typedef struct bp__backend_table {
    const char *name;
    void (*destroy)(bp_backend *backend);

    bp_status (*alloc)(bp_backend *backend, uint64_t n_bytes, bp__memory *out,
                       bp_error *error);
    /* On failure the memory stays, and freeing it may be tried again. */
    bp_status (*free)(bp_backend *backend, bp__memory memory, bp_error *error);

    /* Enqueue on the private stream. `host` must stay until an event recorded
     * there afterwards has passed. */
    bp_status (*copy_out)(bp_backend *backend, void *host, bp__memory from,
                          uint64_t offset, uint64_t n_bytes, bp_error *error);
    bp_status (*copy_in)(bp_backend *backend, bp__memory to, uint64_t offset,
                         const void *host, uint64_t n_bytes, bp_error *error);

    /* An event after all that is in `stream`; BP_NO_STREAM: the private one. */
    bp_status (*event_record)(bp_backend *backend, bp_stream stream,
                              bp__event *out, bp_error *error);
    /* The private stream goes on when the event has passed. */
    bp_status (*event_await)(bp_backend *backend, bp__event event,
                             bp_error *error);
    bp_status (*event_query)(bp_backend *backend, bp__event event,
                             bool *has_passed, bp_error *error);
    /* Not counted, cannot fail; BP__NO_EVENT is a no-op. */
    void (*event_close)(bp_backend *backend, bp__event event);
    /* Block until all work of all streams is done. In the simulator it lets
     * every event pass. */
    bp_status (*synchronize)(bp_backend *backend, bp_error *error);

    /* Memory for host copies. */
    bp_status (*host_alloc)(bp_backend *backend, uint64_t n_bytes, void **out,
                            bp_error *error);
    void (*host_free)(bp_backend *backend, void *host, uint64_t n_bytes);

    /* Give idle caches back to the device; returns the bytes. */
    uint64_t (*trim)(bp_backend *backend);
    /* The address as the host may follow it, NULL on a real device. */
    void *(*host_view)(bp_backend *backend, bp__memory memory);
    bool (*has_stream)(bp_backend *backend, bp_stream stream);
    void (*get_info)(bp_backend *backend, bp_backend_info *out);
} bp__backend_table;

struct bp_backend {
    const bp__backend_table *table;
    atomic_uint_least32_t n_refs;
    uint64_t granularity; /* power of two; never changes */
    uint64_t epoch;       /* bp_process_epoch() at birth */
};

#endif
