/* harness.h - the C tests' harness: checks that say where and what, and an
 * allocator that counts and fails on demand. One test executable includes it
 * once.
 *
 *     static void adds(void) { CHECK_U64(1 + 1, 2); }
 *     int main(void) { RUN(adds); return finish(); }
 *
 * A failed check ends its test, not the run. A test passes if no check failed
 * and at least one was made.
 */
#ifndef BAYPLAN_TESTS_HARNESS_H
#define BAYPLAN_TESTS_HARNESS_H

#include "bayplan/base.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    unsigned n_passed, n_failed, n_checks;
    bool is_failed; /* the running test */
} harness;

static inline bool harness_check(bool is_true, const char *file, int line,
                                 const char *what)
{
    harness.n_checks++;
    if (!is_true) {
        harness.is_failed = true;
        printf("%s:%d: %s\n", file, line, what);
    }
    return is_true;
}

static inline bool harness_u64(uint64_t got, uint64_t want, const char *file,
                               int line, const char *what)
{
    char text[512];
    (void)snprintf(text, sizeof text, "%s is %" PRIu64 ", not %" PRIu64, what,
                   got, want);
    return harness_check(got == want, file, line, text);
}

static inline bool harness_text(const char *got, const char *want,
                                const char *file, int line, const char *what)
{
    bool is_same = got != NULL && want != NULL && strcmp(got, want) == 0;
    if (!harness_check(is_same, file, line, what)) {
        printf("    got  \"%s\"\n    want \"%s\"\n", got ? got : "(null)",
               want ? want : "(null)");
    }
    return is_same;
}

static inline bool harness_status(bp_status got, bp_status want,
                                  const bp_error *error, const char *file,
                                  int line, const char *what)
{
    char text[768];
    (void)snprintf(text, sizeof text, "%s gave %s, not %s%s%s", what,
                   bp_status_name(got), bp_status_name(want),
                   got != BP_OK && error != NULL ? ": " : "",
                   got != BP_OK && error != NULL ? error->text : "");
    return harness_check(got == want, file, line, text);
}

/* In functions that return void: a failed check leaves the function. */
#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!harness_check((condition), __FILE__, __LINE__,                    \
                           "false: " #condition)) {                            \
            return;                                                            \
        }                                                                      \
    } while (0)
#define CHECK_U64(got, want)                                                   \
    do {                                                                       \
        if (!harness_u64((uint64_t)(got), (uint64_t)(want), __FILE__,          \
                         __LINE__, #got)) {                                    \
            return;                                                            \
        }                                                                      \
    } while (0)
#define CHECK_TEXT(got, want)                                                  \
    do {                                                                       \
        if (!harness_text((got), (want), __FILE__, __LINE__, #got)) {          \
            return;                                                            \
        }                                                                      \
    } while (0)
/* `error` is what the call filled (it may be NULL); its text is shown. */
#define CHECK_STATUS(call, want, error)                                        \
    do {                                                                       \
        bp_status harness_got = (call);                                        \
        if (!harness_status(harness_got, (want), (error), __FILE__, __LINE__,  \
                            #call)) {                                          \
            return;                                                            \
        }                                                                      \
    } while (0)
/* After calling a function that checks: leave if it failed. */
#define CHECK_PASSED()                                                         \
    do {                                                                       \
        if (harness.is_failed) {                                               \
            return;                                                            \
        }                                                                      \
    } while (0)

#define RUN(test) harness_run((test), #test)

static inline void harness_run(void (*test)(void), const char *name)
{
    unsigned n_before = harness.n_checks;
    harness.is_failed = false;
    test();
    if (!harness.is_failed && harness.n_checks == n_before) {
        harness.is_failed = true;
        printf("%s checked nothing\n", name);
    }
    if (harness.is_failed) {
        harness.n_failed++;
        printf("FAILED %s\n", name);
    } else {
        harness.n_passed++;
    }
    (void)fflush(stdout);
}

static inline int finish(void)
{
    printf("%u passed, %u failed\n", harness.n_passed, harness.n_failed);
    return harness.n_failed == 0 && harness.n_passed != 0 ? 0 : 1;
}

/* ---- seeded random numbers (splitmix64) -------------------------------- */

static inline uint64_t random_u64(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

/* 0 .. n - 1 */
static inline uint64_t random_below(uint64_t *seed, uint64_t n)
{
    return random_u64(seed) % n;
}

/* ---- an allocator that counts, fails and verifies ---------------------- */

/* Every block carries its size in front, so a wrong size told to free or
 * realloc is seen; it ends the process, because nothing after it could be
 * trusted. realloc always moves, so a kept old pointer is found by ASan. Not
 * for several threads. */
typedef struct test_heap {
    uint64_t n_calls;   /* allocations and reallocations asked for so far */
    uint64_t fail_at;   /* the number of the call that fails; 0: none */
    bool is_for_ever;   /* and every one after it */
    uint64_t n_refused; /* calls that failed */
    size_t live_bytes;
    size_t live_blocks;
} test_heap;

#define TEST_HEAP_HEAD 16u /* keeps the alignment that malloc gives */

static inline bool test_heap_refuses(test_heap *heap)
{
    heap->n_calls++;
    bool is_refused = heap->fail_at != 0 &&
                      (heap->is_for_ever ? heap->n_calls >= heap->fail_at
                                         : heap->n_calls == heap->fail_at);
    heap->n_refused += is_refused;
    return is_refused;
}

static inline void *test_heap_alloc(void *ctx, size_t n_bytes)
{
    test_heap *heap = ctx;
    if (test_heap_refuses(heap)) {
        return NULL;
    }
    char *block = malloc(TEST_HEAP_HEAD + n_bytes);
    if (block == NULL) {
        return NULL;
    }
    memcpy(block, &n_bytes, sizeof n_bytes);
    memset(block + TEST_HEAP_HEAD, 0xA5, n_bytes); /* nobody gets zeros free */
    heap->live_bytes += n_bytes;
    heap->live_blocks++;
    return block + TEST_HEAP_HEAD;
}

static inline void test_heap_free(void *ctx, void *old, size_t n_bytes)
{
    test_heap *heap = ctx;
    if (old == NULL) {
        return;
    }
    char *block = (char *)old - TEST_HEAP_HEAD;
    size_t n_real;
    memcpy(&n_real, block, sizeof n_real);
    if (n_real != n_bytes || heap->live_blocks == 0) {
        printf("a block of %zu bytes was given back as %zu\n", n_real, n_bytes);
        (void)fflush(stdout);
        abort();
    }
    heap->live_bytes -= n_bytes;
    heap->live_blocks--;
    free(block);
}

static inline void *test_heap_realloc(void *ctx, void *old, size_t n_old,
                                      size_t n_bytes)
{
    void *next = test_heap_alloc(ctx, n_bytes);
    if (next != NULL && old != NULL) {
        memcpy(next, old, n_old < n_bytes ? n_old : n_bytes);
        test_heap_free(ctx, old, n_old);
    }
    return next;
}

/* The heap must outlive the allocator. Fill fail_at and is_for_ever at will. */
static inline bp_allocator test_heap_init(test_heap *heap)
{
    memset(heap, 0, sizeof *heap);
    return (bp_allocator){test_heap_alloc, test_heap_realloc, test_heap_free,
                          heap};
}

/* From now on the n-th call fails (1 is the next one), for ever or once. */
static inline void test_heap_fail(test_heap *heap, uint64_t n, bool is_for_ever)
{
    heap->n_calls = 0;
    heap->n_refused = 0;
    heap->fail_at = n;
    heap->is_for_ever = is_for_ever;
}

#endif
