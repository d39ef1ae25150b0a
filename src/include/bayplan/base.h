/* base.h - what every room of bayplan's C core shares: status, errors,
 * allocators, checked byte arithmetic, element types.
 *
 * Ownership: nothing here owns anything but what a comment says it owns.
 * Threads: every function of this header is safe on any thread.
 */
#ifndef BAYPLAN_BASE_H
#define BAYPLAN_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BP_API               __attribute__((visibility("default")))
#define BP_MUST_USE          __attribute__((warn_unused_result))
#define BP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define BP_API
#define BP_MUST_USE
#define BP_PRINTF(fmt, args)
#endif

/* Families decide which exception a status becomes (src/ext/errors.c). */
typedef enum bp_family {
    BP_FAMILY_NONE,
    BP_FAMILY_MEMORY,  /* MemoryError */
    BP_FAMILY_KEY,     /* BufferKeyError */
    BP_FAMILY_VALUE,   /* BufferValueError */
    BP_FAMILY_STALE,   /* StaleHandle */
    BP_FAMILY_NOT_YET, /* NotYetError */
    BP_FAMILY_BUDGET,  /* BudgetExceeded */
    BP_FAMILY_DEVICE,  /* DeviceUnavailable */
    BP_FAMILY_FAULT,   /* DeviceFault */
    BP_FAMILY_BUSY,    /* Busy */
    BP_FAMILY_EXISTS,  /* SlotExists */
    BP_FAMILY_FORKED,  /* ForkedProcess */
    BP_FAMILY_TIMEOUT, /* TimeoutError */
    BP_FAMILY_BUG      /* BayplanError: our own mistake */
} bp_family;

/* One row per status: X(name, code, family, sentence). Codes never change. */
#define BP_STATUS_LIST(X)                                                      \
    X(OK, "BAY-000", NONE, "no error")                                         \
    X(NO_MEMORY, "BAY-E001", MEMORY, "out of host memory")                     \
    X(INTERNAL, "BAY-E002", BUG, "an invariant of bayplan is broken")          \
    X(BUDGET_EXCEEDED, "BAY-E003", BUDGET, "GPU memory budget exceeded")       \
    X(DEVICE_MEMORY, "BAY-E004", BUDGET, "the device is out of memory")        \
    X(NOT_YET, "BAY-E010", NOT_YET, "not yet supported")                       \
    X(UNKNOWN_BUFFER, "BAY-E100", KEY, "no such buffer")                       \
    X(UNKNOWN_FACTORY, "BAY-E101", KEY, "no such factory")                     \
    X(UNKNOWN_CHILD, "BAY-E102", KEY, "no such child")                         \
    X(UNKNOWN_PHASE, "BAY-E103", KEY, "no such phase")                         \
    X(UNKNOWN_KEY, "BAY-E104", KEY, "no buffer answers to this key")           \
    X(BAD_NAME, "BAY-E110", VALUE, "not usable as a name")                     \
    X(NAME_TAKEN, "BAY-E111", VALUE, "the name is taken")                      \
    X(BAD_SIZE, "BAY-E112", VALUE, "not usable as a size")                     \
    X(TOO_LARGE, "BAY-E113", VALUE, "more bytes than can be addressed")        \
    X(BAD_LOCATION, "BAY-E114", VALUE, "no such location")                     \
    X(BAD_ALIGN, "BAY-E115", VALUE, "not usable as an alignment")              \
    X(BAD_DTYPE, "BAY-E116", VALUE, "not usable as an element type")           \
    X(KEEP_CONFLICT, "BAY-E117", VALUE, "a kept buffer cannot live here")      \
    X(BAD_SAME_AS, "BAY-E118", VALUE, "cannot share these bytes")              \
    X(READ_ONLY, "BAY-E119", VALUE, "sizes of children follow the children")   \
    X(CYCLE, "BAY-E120", VALUE, "a factory cannot contain itself")             \
    X(AMBIGUOUS_KEY, "BAY-E121", VALUE, "the key has two meanings")            \
    X(BAD_VALUE, "BAY-E122", VALUE, "value out of range")                      \
    X(UNEVEN, "BAY-E123", VALUE, "bytes do not divide into elements")          \
    X(BAD_DATA, "BAY-E124", VALUE, "not a packed layout")                      \
    X(BAD_LIFE, "BAY-E125", VALUE, "not usable as a lifetime")                 \
    X(STALE, "BAY-E130", STALE, "the object behind this handle is gone")       \
    X(NO_DEVICE, "BAY-E200", DEVICE, "no device answers")                      \
    X(DEVICE_FAULT, "BAY-E201", FAULT, "the device failed")                    \
    X(FORKED, "BAY-E202", FORKED, "device objects do not survive a fork")      \
    X(BUSY, "BAY-E203", BUSY, "in use, so it cannot change now")               \
    X(SLOT_EXISTS, "BAY-E204", EXISTS, "a slot of that name exists")           \
    X(UNKNOWN_SLOT, "BAY-E205", KEY, "no such slot")                           \
    X(CONTENTS_LOST, "BAY-E206", STALE, "the contents were given up")          \
    X(CLOSED, "BAY-E207", STALE, "closed")                                     \
    X(TIMED_OUT, "BAY-E208", TIMEOUT, "the time allowed for a wait ran out")   \
    X(INTERRUPTED, "BAY-E209", BUG, "a wait was interrupted")

typedef enum bp_status {
#define BP_STATUS_ENUM(name, code, family, text) BP_##name,
    BP_STATUS_LIST(BP_STATUS_ENUM)
#undef BP_STATUS_ENUM
        BP_N_STATUSES
} bp_status;

/* Static strings; never NULL, also for a number that is no status. */
BP_API const char *bp_status_name(bp_status status);
BP_API const char *bp_status_code(bp_status status);
BP_API const char *bp_status_text(bp_status status);
BP_API bp_family bp_status_family(bp_status status);

/* What a failed call says. The caller owns it and may pass NULL; a call that
 * succeeds leaves it alone. `text` is complete English without a full stop;
 * where it had to be cut it ends in "...". `factory` and `buffer` are "" and
 * `value`, `limit` 0 where they say nothing (has_numbers tells). */
typedef struct bp_error {
    bp_status status;
    bool has_numbers;
    uint64_t value; /* the number that broke the rule */
    uint64_t limit; /* the number it broke */
    char factory[64];
    char buffer[64];
    char text[256];
} bp_error;

/* Fill `error` (nullable) and return `status`, so that a function can end in
 * `return bp_fail(...)`. */
BP_API bp_status bp_fail(bp_error *error, bp_status status, const char *format,
                         ...) BP_PRINTF(3, 4);
/* Name what a failure was about; NULL and "" leave the field empty. */
BP_API void bp_error_about(bp_error *error, const char *factory,
                           const char *buffer);
BP_API void bp_error_numbers(bp_error *error, uint64_t value, uint64_t limit);

/* Where memory comes from. Copied at birth by every object that allocates; the
 * context must outlive those objects. `realloc` and `free` are told the old
 * size. All three must be callable from any thread. */
typedef struct bp_allocator {
    void *(*alloc)(void *ctx, size_t n_bytes);
    void *(*realloc)(void *ctx, void *old, size_t n_old, size_t n_bytes);
    void (*free)(void *ctx, void *old, size_t n_bytes);
    void *ctx;
} bp_allocator;

/* The C library's heap. */
BP_API bp_allocator bp_allocator_default(void);

/* Checked arithmetic: false (and *out untouched) on overflow. */
static inline bool bp_add(uint64_t a, uint64_t b, uint64_t *out)
{
    if (b > UINT64_MAX - a) {
        return false;
    }
    *out = a + b;
    return true;
}

static inline bool bp_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    if (b != 0 && a > UINT64_MAX / b) {
        return false;
    }
    *out = a * b;
    return true;
}

static inline bool bp_is_power_of_two(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

/* `align` is a power of two. */
static inline bool bp_round_up(uint64_t x, uint64_t align, uint64_t *out)
{
    uint64_t sum;
    if (!bp_add(x, align - 1, &sum)) {
        return false;
    }
    *out = sum & ~(align - 1);
    return true;
}

/* Total bytes of a factory, and so every offset, stay below this. */
#define BP_MAX_BYTES ((uint64_t)1 << 48)
#define BP_MAX_ALIGN 1024u
#define BP_MAX_NAME  255u
#define BP_MAX_DIMS  32u

/* How long a call may wait, and who may end the wait early. A call that has to
 * wait asks `is_interrupted` (nullable) every 50 ms or sooner, with no lock
 * held, and ends with INTERRUPTED when it answers true. */
typedef struct bp_wait {
    uint64_t deadline_ns; /* on bp_monotonic_ns(); 0: refuse at once */
    bool (*is_interrupted)(void *ctx);
    void *ctx;
} bp_wait;
#define BP_FOR_EVER UINT64_MAX

/* A clock that never goes back. It bounds waits; no decision reads it. */
BP_API uint64_t bp_monotonic_ns(void);

/* How many forks lie between the process that loaded this library and this one.
 * What was made at another count belongs to a parent. */
BP_API uint64_t bp_process_epoch(void);

/* An element type as the core knows it: bytes, alignment and a canonical text
 * that tells two types apart ("<f4"). The text is borrowed. */
typedef struct bp_dtype {
    const char *text;
    uint32_t n_bytes; /* of one element, >= 1 */
    uint32_t align;   /* power of two, 1..BP_MAX_ALIGN */
} bp_dtype;

#ifdef __cplusplus
}
#endif
#endif
