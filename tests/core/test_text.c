/* test_text.c - the text writer: cutting, growing, JSON. */
#include "harness.h"

#include "base/text.h"

#include <math.h>

static void bounded_text_is_cut_with_dots(void)
{
    char buffer[16];
    for (size_t capacity = 1; capacity <= sizeof buffer; capacity++) {
        for (size_t n = 0; n <= 20; n++) {
            bp_text text;
            memset(buffer, '#', sizeof buffer);
            bp__text_init_bounded(&text, buffer, capacity);
            for (size_t i = 0; i < n; i++) {
                bp__text_put(&text, "x");
            }
            bool is_whole = n < capacity;
            CHECK(bp__text_is_whole(&text) == is_whole);
            CHECK_U64(strlen(buffer), is_whole ? n : capacity - 1);
            CHECK_U64(text.n_bytes, strlen(buffer));
            CHECK(is_whole || capacity < 4 ||
                  strcmp(buffer + capacity - 4, "...") == 0);
            for (size_t i = capacity; i < sizeof buffer; i++) {
                CHECK(buffer[i] == '#'); /* nothing beyond the capacity */
            }
        }
    }
    bp_text text;
    bp__text_init_bounded(&text, buffer, 9);
    bp__text_printf(&text, "%s", "12345678");
    CHECK(bp__text_is_whole(&text));
    bp__text_printf(&text, "%d", 9);
    CHECK_TEXT(buffer, "12345...");
    bp__text_put(&text, "more"); /* sticky */
    CHECK_TEXT(buffer, "12345...");
}

static void text_is_cut_between_characters(void)
{
    /* e acute (2 bytes), euro (3), a G clef (4): 9 bytes, then the same. */
    const char *word = "\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E\xC3\xA9";
    const size_t n_kept[] = {0, 0, 2, 2, 2, 5, 5, 5, 5};
    for (size_t room = 3; room < 11; room++) {
        char buffer[16];
        bp_text text;
        bp__text_init_bounded(&text, buffer, room + 1);
        bp__text_put(&text, word);
        char want[16];
        size_t n = n_kept[room - 3];
        memcpy(want, word, n);
        memcpy(want + n, "...", 4);
        CHECK_TEXT(buffer, want);
        bp__text_init_bounded(&text, buffer, room + 1);
        bp__text_printf(&text, "%s", word);
        CHECK_TEXT(buffer, want);
    }
    char buffer[12];
    bp_text text;
    bp__text_init_bounded(&text, buffer, sizeof buffer);
    bp__text_put(&text, word);
    CHECK_TEXT(buffer, word);
}

static void growing_text_gives_an_exact_block(void)
{
    test_heap heap;
    bp_allocator alloc = test_heap_init(&heap);
    bp_text text;
    bp__text_init(&text, &alloc);
    for (int i = 0; i < 200; i++) {
        bp__text_printf(&text, "%03d,", i);
        bp__text_put_u64(&text, UINT64_MAX);
        bp__text_put_n(&text, ";;;", 1);
    }
    CHECK(bp__text_is_whole(&text));
    char *taken = bp__text_take(&text);
    CHECK(taken != NULL);
    CHECK_U64(strlen(taken), 200 * 25);
    CHECK(strncmp(taken, "000,18446744073709551615;001,", 29) == 0);
    CHECK_U64(heap.live_bytes, 200 * 25 + 1);
    alloc.free(alloc.ctx, taken, strlen(taken) + 1);

    bp__text_init(&text, &alloc);
    taken = bp__text_take(&text);
    CHECK_TEXT(taken, "");
    alloc.free(alloc.ctx, taken, 1);
    bp__text_init(&text, &alloc);
    bp__text_put_u64(&text, 0);
    CHECK_TEXT(text.bytes, "0");
    bp__text_fini(&text);
    bp__text_fini(&text);
    CHECK_U64(heap.live_blocks, 0);
}

static char *write_some(const bp_allocator *alloc)
{
    bp_text text;
    bp__text_init(&text, alloc);
    bp__text_put_json(&text, "name");
    for (int i = 0; i < 50; i++) {
        bp__text_printf(&text, "%d%s", i, "........");
    }
    return bp__text_take(&text);
}

static void growing_text_out_of_memory_sticks(void)
{
    for (int is_for_ever = 0; is_for_ever < 2; is_for_ever++) {
        uint64_t n_failed = 0;
        for (uint64_t n = 1;; n++) {
            test_heap heap;
            bp_allocator alloc = test_heap_init(&heap);
            test_heap_fail(&heap, n, is_for_ever != 0);
            char *taken = write_some(&alloc);
            CHECK((taken == NULL) == (heap.n_refused != 0));
            if (taken != NULL) {
                alloc.free(alloc.ctx, taken, strlen(taken) + 1);
                CHECK_U64(heap.live_bytes, 0);
                break;
            }
            n_failed++;
            CHECK_U64(heap.n_refused, 1); /* it stopped asking */
            CHECK_U64(heap.live_bytes, 0);
        }
        CHECK(n_failed > 5);
    }
}

static void json_of(char *out, size_t n_out, const char *string)
{
    bp_text text;
    bp__text_init_bounded(&text, out, n_out);
    bp__text_put_json(&text, string);
}

static void json_strings_are_escaped(void)
{
    static const struct {
        const char *string, *json;
    } cases[] = {
        {"", "\"\""},
        {"plain_9", "\"plain_9\""},
        {"a\"b\\c/", "\"a\\\"b\\\\c/\""},
        {"\n\t\x01\x1F\x7F", "\"\\u000a\\u0009\\u0001\\u001f\x7F\""},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E",
         "\"\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E\""},
        {NULL, "null"},
#define REPLACED "\xEF\xBF\xBD"
        {"\x80x", "\"" REPLACED "x\""},
        {"\xC3", "\"" REPLACED "\""},
        {"\xC0\xAF", "\"" REPLACED REPLACED "\""}, /* overlong */
        {"\xE0\x9F\xBF", "\"" REPLACED REPLACED REPLACED "\""},
        {"\xED\xA0\x80", "\"" REPLACED REPLACED REPLACED "\""}, /* surrogate */
        {"\xF0\x8F\xBF\xBF", "\"" REPLACED REPLACED REPLACED REPLACED "\""},
        {"\xF4\x90\x80\x80", "\"" REPLACED REPLACED REPLACED REPLACED "\""},
        {"\xF4\x8F\xBF\xBF", "\"\xF4\x8F\xBF\xBF\""}, /* U+10FFFF */
        {"\xFF", "\"" REPLACED "\""},
        {"\xE2\x82", "\"" REPLACED REPLACED "\""},
    };
    char got[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_of(got, sizeof got, cases[i].string);
        CHECK_TEXT(got, cases[i].json);
    }
}

static void floats_are_short_and_exact(void)
{
    static const struct {
        float number;
        const char *text;
    } cases[] = {
        {1.0f, "1"},
        {0.0f, "0"},
        {0.5f, "0.5"},
        {0.1f, "0.1"},
        {1e6f, "1e+06"},
        {3.4028234663852886e38f, "3.4028235e+38"},
        {1.1754943508222875e-38f, "1.1754944e-38"},
        {16777217.0f, "16777216"},
        {INFINITY, "null"},
        {NAN, "null"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char got[64];
        bp_text text;
        bp__text_init_bounded(&text, got, sizeof got);
        bp__text_put_float(&text, cases[i].number);
        CHECK_TEXT(got, cases[i].text);
    }
    uint64_t seed = 5;
    for (int i = 0; i < 2000; i++) {
        uint32_t bits = (uint32_t)random_u64(&seed) & 0x7FFFFFFFu;
        float number;
        memcpy(&number, &bits, sizeof number);
        char got[64];
        bp_text text;
        bp__text_init_bounded(&text, got, sizeof got);
        bp__text_put_float(&text, number);
        CHECK(!isfinite(number) || strtof(got, NULL) == number);
    }
}

int main(void)
{
    RUN(bounded_text_is_cut_with_dots);
    RUN(text_is_cut_between_characters);
    RUN(growing_text_gives_an_exact_block);
    RUN(growing_text_out_of_memory_sticks);
    RUN(json_strings_are_escaped);
    RUN(floats_are_short_and_exact);
    return finish();
}
