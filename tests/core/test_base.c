/* test_base.c - status table, errors, arithmetic, allocation, hashes. */
#include "harness.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/lock.h"

/* ---- status and errors ------------------------------------------------- */

static void every_status_has_its_row(void)
{
    for (int i = 0; i < BP_N_STATUSES; i++) {
        bp_status a = (bp_status)i;
        CHECK(strlen(bp_status_name(a)) != 0);
        CHECK(strlen(bp_status_text(a)) != 0);
        CHECK(strncmp(bp_status_code(a), "BAY-", 4) == 0);
        CHECK((bp_status_family(a) == BP_FAMILY_NONE) == (a == BP_OK));
        for (int j = 0; j < i; j++) {
            bp_status b = (bp_status)j;
            CHECK(strcmp(bp_status_name(a), bp_status_name(b)) != 0);
            CHECK(strcmp(bp_status_code(a), bp_status_code(b)) != 0);
            CHECK(strcmp(bp_status_text(a), bp_status_text(b)) != 0);
        }
    }
    CHECK_U64(BP_OK, 0);
    CHECK_TEXT(bp_status_name(BP_TOO_LARGE), "TOO_LARGE");
    CHECK_TEXT(bp_status_code(BP_TOO_LARGE), "BAY-E113");
    CHECK_U64(bp_status_family(BP_NO_MEMORY), BP_FAMILY_MEMORY);
    CHECK_U64(bp_status_family(BP_UNKNOWN_KEY), BP_FAMILY_KEY);
    CHECK_U64(bp_status_family(BP_STALE), BP_FAMILY_STALE);
}

static void a_number_that_is_no_status_has_texts_too(void)
{
    const int numbers[] = {-1, BP_N_STATUSES, 1000000};
    for (size_t i = 0; i < 3; i++) {
        bp_status status = (bp_status)numbers[i];
        CHECK_TEXT(bp_status_name(status), "UNKNOWN_STATUS");
        CHECK_TEXT(bp_status_code(status), "BAY-E999");
        CHECK_TEXT(bp_status_text(status), "a number that is no status");
        CHECK_U64(bp_status_family(status), BP_FAMILY_BUG);
    }
}

static void errors_say_what_they_were_told(void)
{
    bp_error error;
    memset(&error, 0xEE, sizeof error);
    CHECK_U64(bp_fail(&error, BP_BAD_SIZE, "%s has %d", "x", -3), BP_BAD_SIZE);
    CHECK_U64(error.status, BP_BAD_SIZE);
    CHECK_TEXT(error.text, "x has -3");
    CHECK_TEXT(error.factory, "");
    CHECK_TEXT(error.buffer, "");
    CHECK(!error.has_numbers && error.value == 0 && error.limit == 0);

    bp_error_about(&error, "Newton", "delta");
    bp_error_numbers(&error, 7, 5);
    CHECK_TEXT(error.factory, "Newton");
    CHECK_TEXT(error.buffer, "delta");
    CHECK(error.has_numbers);
    CHECK_U64(error.value, 7);
    CHECK_U64(error.limit, 5);
    bp_error_about(&error, NULL, NULL);
    CHECK_TEXT(error.factory, "");
    CHECK_TEXT(error.buffer, "");

    CHECK_U64(bp_fail(NULL, BP_STALE, "nobody listens"), BP_STALE);
    bp_error_about(NULL, "a", "b");
    bp_error_numbers(NULL, 1, 2);
}

static void long_errors_end_in_dots(void)
{
    char name[400];
    memset(name, 'n', sizeof name);
    for (size_t n = 250; n < 262; n++) {
        name[n] = '\0';
        bp_error error;
        CHECK_U64(bp_fail(&error, BP_BAD_NAME, "%s", name), BP_BAD_NAME);
        name[n] = 'n';
        size_t n_text = strlen(error.text);
        CHECK_U64(n_text, n <= 255 ? n : 255);
        bool has_dots = strcmp(error.text + n_text - 3, "...") == 0;
        CHECK(has_dots == (n > 255));
    }
    name[399] = '\0';
    bp_error error = {.status = BP_OK};
    bp_error_about(&error, name, name);
    CHECK_U64(strlen(error.factory), 63);
    CHECK_TEXT(error.buffer + 60, "...");
}

/* ---- arithmetic -------------------------------------------------------- */

static void sums_are_checked_at_their_edges(void)
{
    uint64_t out = 42;
    CHECK(bp_add(UINT64_MAX, 0, &out) && out == UINT64_MAX);
    CHECK(bp_add(UINT64_MAX - 5, 5, &out) && out == UINT64_MAX);
    out = 42;
    CHECK(!bp_add(UINT64_MAX, 1, &out) && out == 42);
    CHECK(!bp_add(1, UINT64_MAX, &out) && out == 42);
    CHECK(bp_mul(0, UINT64_MAX, &out) && out == 0);
    CHECK(bp_mul(UINT64_MAX, 0, &out) && out == 0);
    CHECK(bp_mul(UINT64_MAX, 1, &out) && out == UINT64_MAX);
    CHECK(bp_mul(UINT64_C(1) << 32, UINT32_MAX, &out));
    CHECK_U64(out, UINT64_C(0xFFFFFFFF00000000));
    out = 42;
    CHECK(!bp_mul(UINT64_C(1) << 32, UINT64_C(1) << 32, &out) && out == 42);
    CHECK(!bp_mul(3, UINT64_MAX / 3 + 1, &out) && out == 42);
}

static void rounding_up_is_checked_at_its_edges(void)
{
    uint64_t out = 42;
    CHECK(bp_round_up(0, 1024, &out) && out == 0);
    CHECK(bp_round_up(1, 1024, &out) && out == 1024);
    CHECK(bp_round_up(1024, 1024, &out) && out == 1024);
    CHECK(bp_round_up(UINT64_MAX, 1, &out) && out == UINT64_MAX);
    CHECK(bp_round_up(UINT64_MAX - 7, 8, &out) && out == UINT64_MAX - 7);
    out = 42;
    CHECK(!bp_round_up(UINT64_MAX - 6, 8, &out) && out == 42);
    CHECK(!bp_is_power_of_two(0) && bp_is_power_of_two(1));
    CHECK(!bp_is_power_of_two(3) && bp_is_power_of_two(UINT64_C(1) << 63));
    CHECK(!bp_is_power_of_two(UINT64_MAX));
}

/* ---- allocation -------------------------------------------------------- */

static void arrays_are_zeroed_and_counted(void)
{
    test_heap heap;
    bp_allocator alloc = test_heap_init(&heap);
    unsigned char *bytes = bp__alloc_array(&alloc, 9, 8);
    CHECK(bytes != NULL);
    for (size_t i = 0; i < 72; i++) {
        CHECK_U64(bytes[i], 0);
    }
    void *none = bp__alloc_array(&alloc, 0, 8);
    CHECK(none != NULL);
    CHECK_U64(heap.live_bytes, 80);
    bp__free_array(&alloc, bytes, 9, 8);
    bp__free_array(&alloc, none, 0, 8);
    bp__free_array(&alloc, NULL, 5, 8);
    CHECK_U64(heap.live_bytes, 0);
    CHECK_U64(heap.live_blocks, 0);
    CHECK(bp__alloc_array(&alloc, SIZE_MAX / 4, 8) == NULL);
    CHECK(bp__alloc_array(&alloc, SIZE_MAX, 1) == NULL);
    CHECK_U64(heap.n_calls, 2);
}

static void growing_keeps_content_and_survives_failure(void)
{
    test_heap heap;
    bp_allocator alloc = test_heap_init(&heap);
    uint32_t *items = NULL;
    size_t capacity = 0;
    CHECK(bp__grow(&alloc, &items, &capacity, 0, sizeof *items));
    CHECK(items == NULL);
    for (uint32_t i = 0; i < 1000; i++) {
        CHECK(bp__grow(&alloc, &items, &capacity, i + 1, sizeof *items));
        CHECK_U64(items[i], 0);
        items[i] = i * 3;
    }
    CHECK(heap.n_calls < 20); /* amortised */
    size_t n_before = capacity;
    uint32_t *before = items;
    test_heap_fail(&heap, 1, true);
    CHECK(!bp__grow(&alloc, &items, &capacity, n_before + 1, sizeof *items));
    CHECK(!bp__grow(&alloc, &items, &capacity, SIZE_MAX, sizeof *items));
    CHECK(!bp__grow(&alloc, &items, &capacity, SIZE_MAX / 4, sizeof *items));
    CHECK_U64(heap.n_refused, 1); /* the others never got as far */
    CHECK(items == before && capacity == n_before);
    for (uint32_t i = 0; i < 1000; i++) {
        CHECK_U64(items[i], i * 3);
    }
    bp__free_array(&alloc, items, capacity, sizeof *items);
    CHECK_U64(heap.live_bytes, 0);
}

static void the_default_allocator_is_the_heap(void)
{
    bp_allocator alloc = bp__allocator_or_default(NULL);
    char *bytes = alloc.alloc(alloc.ctx, 10);
    CHECK(bytes != NULL);
    memcpy(bytes, "123456789", 10);
    bytes = alloc.realloc(alloc.ctx, bytes, 10, 10000);
    CHECK(bytes != NULL);
    CHECK_TEXT(bytes, "123456789");
    alloc.free(alloc.ctx, bytes, 10000);
    test_heap heap;
    bp_allocator mine = test_heap_init(&heap);
    CHECK(bp__allocator_or_default(&mine).ctx == &heap);
}

static void a_mutex_locks_and_unlocks(void)
{
    bp_mutex mutex;
    CHECK(bp__mutex_init(&mutex));
    bp__mutex_lock(&mutex);
    CHECK(pthread_mutex_trylock(&mutex.raw) != 0);
    bp__mutex_unlock(&mutex);
    CHECK(pthread_mutex_trylock(&mutex.raw) == 0);
    bp__mutex_unlock(&mutex);
    bp__mutex_fini(&mutex);
}

/* ---- hashes ------------------------------------------------------------ */

static void hex_digest(const void *bytes, size_t n, size_t n_step, char *out)
{
    bp_blake2b hash;
    uint8_t digest[BP__BLAKE2B_BYTES];
    bp__blake2b_init(&hash);
    for (size_t at = 0; at < n; at += n_step) {
        size_t n_left = n - at;
        bp__blake2b_update(&hash, (const char *)bytes + at,
                           n_step < n_left ? n_step : n_left);
    }
    bp__blake2b_final(&hash, digest);
    for (size_t i = 0; i < sizeof digest; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
    }
}

static void fill_pattern(uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(i * 7 + n * 13 + (i >> 3));
    }
}

/* The expected digests are those of Python's hashlib.blake2b over the same
 * bytes, with digest_size=16. */
static void blake2b_agrees_with_hashlib(void)
{
    static const struct {
        size_t n;
        const char *digest;
    } known[] = {
        {0, "cae66941d9efbd404e4d88758ea67670"},
        {1, "7c168840c10681af476dc80615c80ee3"},
        {2, "4d9127cdac7b499b5db3a778fb83f076"},
        {3, "6c0f51e46e8e50ffe98ba86e2a8775d7"},
        {7, "7c2d4f159855902ff171e612f0bc3961"},
        {8, "97068bad65ba70b220096fc76dc75c73"},
        {63, "d513046c13d5caac9cbca08e96c55fa2"},
        {64, "04c70de1c482eaab0b4011edfa95bddf"},
        {65, "e1cf3db69f836eebe46a89a15b7048cd"},
        {127, "e2d64135d052057a51d63290366f409b"},
        {128, "457ff41dc32d2cb0b5b9ff5297493df9"},
        {129, "a8211ed259650ceb9fe992c3fea6f7be"},
        {191, "cf240776935fd433b1e28c7caa4350fd"},
        {255, "bf9e75d6280a27e2d172a07374b467f0"},
        {256, "1788c45d6d4f429039966f6d27df3b60"},
        {257, "94a05866edee8e859e65ec34fc4e402b"},
        {300, "4ccfe0ea5756fcbabe2528c7cf8d5f05"},
    };
    uint8_t bytes[300];
    char got[33];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        fill_pattern(bytes, known[i].n);
        hex_digest(bytes, known[i].n, 300, got);
        CHECK_TEXT(got, known[i].digest);
    }
    hex_digest("abc", 3, 3, got);
    CHECK_TEXT(got, "cf4ab791c62b8d2b2109c90275287816");
}

/* One figure stands for all 301 lengths: the digest of their digests. */
static void blake2b_agrees_at_every_length_and_split(void)
{
    bp_blake2b all;
    bp__blake2b_init(&all);
    uint8_t bytes[300], digest[BP__BLAKE2B_BYTES];
    char whole[33], split[33];
    for (size_t n = 0; n <= 300; n++) {
        fill_pattern(bytes, n);
        bp_blake2b hash;
        bp__blake2b_init(&hash);
        bp__blake2b_update(&hash, bytes, n);
        bp__blake2b_final(&hash, digest);
        bp__blake2b_update(&all, digest, sizeof digest);
        hex_digest(bytes, n, 300, whole);
        for (size_t n_step = 1; n_step <= 257; n_step += 32) {
            hex_digest(bytes, n, n_step, split);
            CHECK_TEXT(split, whole);
        }
    }
    bp__blake2b_final(&all, digest);
    char got[33];
    for (size_t i = 0; i < sizeof digest; i++) {
        (void)snprintf(got + 2 * i, 3, "%02x", digest[i]);
    }
    CHECK_TEXT(got, "b5845e58c0e6cd0a9c3814c885c0e2f6");
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* 65536 names that differ in little. Of n random 32-bit values n^2 / 2^33 = 0.5
 * pairs collide on average; 5 or more happen once in about 10^4 seeds, and ours
 * is fixed. Low bits decide the slot, so they must spread too: in 65536 slots a
 * random hash leaves 1/e = 36.8 % free. */
static void name_hashes_spread(void)
{
    enum { N = 65536 };
    static uint32_t hashes[N];
    static uint8_t is_hit[N];
    uint32_t n_hit = 0;
    for (uint32_t i = 0; i < N; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "newton_buffer_%u", i);
        hashes[i] = bp__hash_text(name);
        CHECK_U64(bp__hash_bytes(name, strlen(name)), hashes[i]);
        n_hit += is_hit[hashes[i] % N] == 0;
        is_hit[hashes[i] % N] = 1;
    }
    qsort(hashes, N, sizeof *hashes, compare_u32);
    uint32_t n_equal = 0;
    for (uint32_t i = 1; i < N; i++) {
        n_equal += hashes[i] == hashes[i - 1];
    }
    CHECK(n_equal < 5);
    CHECK(n_hit > N * 62u / 100 && n_hit < N * 65u / 100);
    CHECK(bp__hash_bytes("a\0", 2) != bp__hash_bytes("a", 1));
}

int main(void)
{
    RUN(every_status_has_its_row);
    RUN(a_number_that_is_no_status_has_texts_too);
    RUN(errors_say_what_they_were_told);
    RUN(long_errors_end_in_dots);
    RUN(sums_are_checked_at_their_edges);
    RUN(rounding_up_is_checked_at_its_edges);
    RUN(arrays_are_zeroed_and_counted);
    RUN(growing_keeps_content_and_survives_failure);
    RUN(the_default_allocator_is_the_heap);
    RUN(a_mutex_locks_and_unlocks);
    RUN(blake2b_agrees_with_hashlib);
    RUN(blake2b_agrees_at_every_length_and_split);
    RUN(name_hashes_spread);
    return finish();
}
