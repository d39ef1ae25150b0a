/* sim.c - the simulator's life and its memory. */
#include "backend/sim.h"

#include "base/alloc.h"

#include <assert.h>
#include <string.h>

/* What a device gives at least; a power of two that the head fits into. */
#define MEMORY_ALIGN 256u
static_assert(sizeof(bp__sim_memory) <= MEMORY_ALIGN, "the head fits");

bp_status bp__sim_enter(bp__sim *sim, bp_error *error)
{
    if (sim->base.epoch != bp_process_epoch()) {
        return bp_fail(error, BP_FORKED,
                       "this simulator belongs to the parent process");
    }
    bp__mutex_lock(&sim->lock);
    return BP_OK;
}

void bp__sim_leave(bp__sim *sim)
{
    bp__mutex_unlock(&sim->lock);
}

/* ---- memory -------------------------------------------------------------- */

static bp__sim_memory *head_of(uint64_t address)
{
    return (bp__sim_memory *)(uintptr_t)(address - MEMORY_ALIGN);
}

bp__sim_memory *bp__sim_memory_at(const bp__sim *sim, bp__memory memory)
{
    if (memory.address < MEMORY_ALIGN || memory.address % MEMORY_ALIGN != 0 ||
        memory.n_bytes > sim->used) {
        return NULL;
    }
    bp__sim_memory *head = head_of(memory.address);
    return head->address == memory.address && head->n_bytes == memory.n_bytes
               ? head
               : NULL;
}

static bp_status refuse_space(const bp__sim *sim, uint64_t n_bytes,
                              bp_error *error)
{
    uint64_t n_free = sim->capacity - sim->used;
    bp_status status =
        bp_fail(error, BP_DEVICE_MEMORY,
                "the simulated device has %llu bytes free of %llu, not %llu",
                (unsigned long long)n_free, (unsigned long long)sim->capacity,
                (unsigned long long)n_bytes);
    bp_error_numbers(error, n_bytes, n_free);
    return status;
}

/* The bytes are as the allocator gave them: a device clears nothing either, and
 * pages nobody touches cost nothing. */
static bp__sim_memory *memory_new(bp__sim *sim, uint64_t n_bytes)
{
    uint64_t n_block;
    if (!bp_add(n_bytes, (uint64_t)2 * MEMORY_ALIGN, &n_block) ||
        n_block > PTRDIFF_MAX) {
        return NULL;
    }
    void *block = sim->alloc.alloc(sim->alloc.ctx, (size_t)n_block);
    if (block == NULL) {
        return NULL;
    }
    uint64_t start = (uint64_t)(uintptr_t)block;
    uint64_t address =
        (start + 2 * MEMORY_ALIGN - 1) & ~(uint64_t)(MEMORY_ALIGN - 1);
    bp__sim_memory *head = head_of(address);
    *head = (bp__sim_memory){.address = address,
                             .n_bytes = n_bytes,
                             .block = block,
                             .n_block = (size_t)n_block,
                             .older = sim->newest_memory};
    if (sim->newest_memory != NULL) {
        sim->newest_memory->newer = head;
    }
    sim->newest_memory = head;
    sim->used += n_bytes;
    return head;
}

static void memory_free(bp__sim *sim, bp__sim_memory *head)
{
    if (head->newer != NULL) {
        head->newer->older = head->older;
    } else {
        sim->newest_memory = head->older;
    }
    if (head->older != NULL) {
        head->older->newer = head->newer;
    }
    sim->used -= head->n_bytes;
    void *block = head->block;
    size_t n_block = head->n_block;
    head->address = 0; /* freeing it twice finds nothing */
    sim->alloc.free(sim->alloc.ctx, block, n_block);
}

static bp_status alloc_locked(bp__sim *sim, uint64_t n_bytes, bp__memory *out,
                              bp_error *error)
{
    bp_status status = bp__sim_count_locked(sim, BP_ACTION_ALLOC, error);
    if (status != BP_OK) {
        return status;
    }
    uint64_t n_rounded;
    if (!bp_round_up(n_bytes, sim->base.granularity, &n_rounded) ||
        n_rounded > sim->capacity - sim->used) {
        return refuse_space(sim, n_bytes, error);
    }
    const bp__sim_memory *head = memory_new(sim, n_rounded);
    if (head == NULL) {
        return bp_fail(error, BP_NO_MEMORY,
                       "no host memory for %llu bytes of a simulated device",
                       (unsigned long long)n_rounded);
    }
    *out = (bp__memory){head->address, n_rounded};
    return BP_OK;
}

static bp_status sim_alloc(bp_backend *backend, uint64_t n_bytes,
                           bp__memory *out, bp_error *error)
{
    bp__sim *sim = bp__sim_of(backend);
    bp_status status = bp__sim_enter(sim, error);
    if (status == BP_OK) {
        status = alloc_locked(sim, n_bytes, out, error);
        bp__sim_leave(sim);
    }
    return status;
}

static bp_status free_locked(bp__sim *sim, bp__memory memory, bp_error *error)
{
    bp_status status = bp__sim_count_locked(sim, BP_ACTION_FREE, error);
    if (status != BP_OK) {
        return status;
    }
    bp__sim_memory *head = bp__sim_memory_at(sim, memory);
    if (head == NULL) {
        bp__sim_fail_locked(sim, "memory was freed that was not allocated");
    } else if (head->n_steps != 0) {
        bp__sim_fail_locked(sim, "memory was freed under a copy of it");
    } else {
        memory_free(sim, head);
    }
    return bp__sim_check_alive_locked(sim, error);
}

static bp_status sim_free(bp_backend *backend, bp__memory memory,
                          bp_error *error)
{
    bp__sim *sim = bp__sim_of(backend);
    bp_status status = bp__sim_enter(sim, error);
    if (status == BP_OK) {
        status = free_locked(sim, memory, error);
        bp__sim_leave(sim);
    }
    return status;
}

static bp_status sim_host_alloc(bp_backend *backend, uint64_t n_bytes,
                                void **out, bp_error *error)
{
    bp__sim *sim = bp__sim_of(backend);
    bp_status status = bp__sim_enter(sim, error);
    if (status != BP_OK) {
        return status;
    }
    status = bp__sim_count_locked(sim, BP_ACTION_HOST, error);
    bp__sim_leave(sim);
    if (status != BP_OK) {
        return status;
    }
    void *host = n_bytes > PTRDIFF_MAX
                     ? NULL
                     : sim->alloc.alloc(sim->alloc.ctx, (size_t)n_bytes);
    if (host == NULL) {
        return bp_fail(error, BP_NO_MEMORY,
                       "no host memory for a copy of %llu bytes",
                       (unsigned long long)n_bytes);
    }
    *out = host;
    return BP_OK;
}

static void sim_host_free(bp_backend *backend, void *host, uint64_t n_bytes)
{
    const bp__sim *sim = bp__sim_of(backend);
    if (host != NULL) {
        sim->alloc.free(sim->alloc.ctx, host, (size_t)n_bytes);
    }
}

static uint64_t sim_trim(bp_backend *backend)
{
    (void)backend; /* it keeps nothing back */
    return 0;
}

static void *sim_host_view(bp_backend *backend, bp__memory memory)
{
    (void)backend;
    return (void *)(uintptr_t)memory.address;
}

static void sim_get_info(bp_backend *backend, bp_backend_info *out)
{
    bp__sim *sim = bp__sim_of(backend);
    *out = (bp_backend_info){.name = backend->table->name,
                             .granularity = backend->granularity,
                             .total = sim->capacity,
                             .free = sim->capacity};
    if (bp__sim_enter(sim, NULL) != BP_OK) {
        return;
    }
    out->used = sim->used;
    if (sim->capacity != UINT64_MAX) {
        out->free = sim->capacity - sim->used;
    }
    out->is_failed = sim->fault != NULL;
    bp__sim_leave(sim);
}

/* ---- life ---------------------------------------------------------------- */

static void sim_destroy(bp_backend *backend)
{
    bp__sim *sim = bp__sim_of(backend);
    bp_allocator alloc = sim->alloc;
    bp__sim_streams_fini(sim);
    while (sim->newest_memory != NULL) {
        memory_free(sim, sim->newest_memory);
    }
    bp__free_array(&alloc, sim->failures, sim->failure_capacity,
                   sizeof *sim->failures);
    bp__mutex_fini(&sim->lock);
    bp__free_array(&alloc, sim, 1, sizeof *sim);
}

static const bp__backend_table sim_table = {
    .name = "sim",
    .destroy = sim_destroy,
    .alloc = sim_alloc,
    .free = sim_free,
    .copy_out = bp__sim_copy_out,
    .copy_in = bp__sim_copy_in,
    .event_record = bp__sim_event_record,
    .event_await = bp__sim_event_await,
    .event_query = bp__sim_event_query,
    .event_close = bp__sim_event_close,
    .synchronize = bp__sim_synchronize,
    .host_alloc = sim_host_alloc,
    .host_free = sim_host_free,
    .trim = sim_trim,
    .host_view = sim_host_view,
    .has_stream = bp__sim_has_stream,
    .get_info = sim_get_info,
};

static bp_status check_options(const bp_sim_options *options, bp_error *error)
{
    if ((unsigned)options->events >= BP_N_SIM_EVENTS) {
        return bp_fail(error, BP_BAD_VALUE,
                       "%u is no way for events to pass: immediate, manual or "
                       "late",
                       (unsigned)options->events);
    }
    if (options->granularity != 0 &&
        !bp_is_power_of_two(options->granularity)) {
        bp_status status =
            bp_fail(error, BP_BAD_VALUE,
                    "a granularity is a power of two, which %llu is not",
                    (unsigned long long)options->granularity);
        bp_error_numbers(error, options->granularity, 0);
        return status;
    }
    return BP_OK;
}

static void sim_init(bp__sim *sim, const bp_sim_options *options,
                     const bp_allocator *alloc)
{
    sim->base.table = &sim_table;
    atomic_init(&sim->base.n_refs, 1);
    sim->base.granularity =
        options->granularity == 0 ? 1 : options->granularity;
    sim->base.epoch = bp_process_epoch();
    sim->alloc = *alloc;
    sim->events = options->events;
    sim->late_polls = options->late_polls == 0 ? 1 : options->late_polls;
    sim->capacity = options->capacity;
    sim->steps_end = &sim->steps;
}

bp_status bp_sim_new(const bp_sim_options *options, const bp_allocator *alloc,
                     bp_backend **out, bp_error *error)
{
    static const bp_sim_options plain = {.capacity = UINT64_MAX};
    const bp_sim_options *given = options == NULL ? &plain : options;
    bp_status status = check_options(given, error);
    if (status != BP_OK) {
        return status;
    }
    bp_allocator own = bp__allocator_or_default(alloc);
    bp__sim *sim = bp__alloc_array(&own, 1, sizeof *sim);
    if (sim == NULL) {
        return bp_fail(error, BP_NO_MEMORY, "no memory for a simulator");
    }
    sim_init(sim, given, &own);
    status = bp__sim_parse_failures(sim, given->fail, error);
    if (status == BP_OK && !bp__mutex_init(&sim->lock)) {
        status = bp_fail(error, BP_NO_MEMORY, "no memory for a simulator");
    }
    if (status != BP_OK) {
        bp__free_array(&own, sim->failures, sim->failure_capacity,
                       sizeof *sim->failures);
        bp__free_array(&own, sim, 1, sizeof *sim);
        return status;
    }
    *out = &sim->base;
    return BP_OK;
}

void bp_sim_fault(bp_backend *backend)
{
    assert(backend->table == &sim_table);
    bp__sim *sim = bp__sim_of(backend);
    if (bp__sim_enter(sim, NULL) == BP_OK) {
        bp__sim_fail_locked(sim, "it was told to");
        bp__sim_leave(sim);
    }
}

uint64_t bp_sim_n_actions(bp_backend *backend, bp_action action)
{
    assert(backend->table == &sim_table);
    bp__sim *sim = bp__sim_of(backend);
    if ((unsigned)action >= BP_N_ACTIONS || bp__sim_enter(sim, NULL) != BP_OK) {
        return 0;
    }
    uint64_t n = sim->n_actions[action];
    bp__sim_leave(sim);
    return n;
}
