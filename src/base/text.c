/* text.c - bounded and growing text, and the little JSON we write. */
#include "base/text.h"

#include "base/alloc.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bp__text_init(bp_text *text, const bp_allocator *alloc)
{
    memset(text, 0, sizeof *text);
    text->alloc = *alloc;
}

void bp__text_init_bounded(bp_text *text, char *buffer, size_t capacity)
{
    assert(capacity >= 1);
    memset(text, 0, sizeof *text);
    text->bytes = buffer;
    text->capacity = capacity;
    text->is_bounded = true;
    buffer[0] = '\0';
}

void bp__text_fini(bp_text *text)
{
    if (!text->is_bounded) {
        bp__free_array(&text->alloc, text->bytes, text->capacity, 1);
        text->bytes = NULL;
        text->n_bytes = text->capacity = 0;
    }
}

/* The most of the first n bytes that does not end inside a character. */
static size_t whole_characters(const char *bytes, size_t n)
{
    size_t i = n;
    while (i > 0 && n - i < 4) {
        unsigned char c = (unsigned char)bytes[--i];
        if (c < 0x80) {
            return n; /* what follows is no UTF-8: any cut will do */
        }
        if (c >= 0xC0) {
            size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
            return i + length <= n ? n : i;
        }
    }
    return n;
}

/* Bounded and full: drop the tail, leave room for the dots. */
static void cut(bp_text *text)
{
    static const char dots[] = "...";
    size_t room = text->capacity - 1;
    size_t n_dots = room < 3 ? room : 3;
    size_t n_keep = room - n_dots;
    if (n_keep > text->n_bytes) {
        n_keep = text->n_bytes;
    }
    n_keep = whole_characters(text->bytes, n_keep);
    memcpy(text->bytes + n_keep, dots, n_dots);
    text->n_bytes = n_keep + n_dots;
    text->bytes[text->n_bytes] = '\0';
    text->is_cut = true;
}

static bool is_stuck(const bp_text *text)
{
    return text->is_cut || text->is_out_of_memory;
}

/* Growing: room for n more bytes and the NUL. */
static bool make_room(bp_text *text, size_t n_more)
{
    if (n_more > SIZE_MAX - text->n_bytes - 1 ||
        !bp__grow(&text->alloc, &text->bytes, &text->capacity,
                  text->n_bytes + n_more + 1, 1)) {
        text->is_out_of_memory = true;
        return false;
    }
    return true;
}

void bp__text_put_n(bp_text *text, const char *piece, size_t n_bytes)
{
    if (is_stuck(text)) {
        return;
    }
    size_t n_fit = n_bytes;
    if (text->is_bounded) {
        size_t room = text->capacity - 1 - text->n_bytes;
        n_fit = n_bytes < room ? n_bytes : room;
    } else if (!make_room(text, n_bytes)) {
        return;
    }
    memcpy(text->bytes + text->n_bytes, piece, n_fit);
    text->n_bytes += n_fit;
    text->bytes[text->n_bytes] = '\0';
    if (n_fit < n_bytes) {
        cut(text);
    }
}

void bp__text_put(bp_text *text, const char *piece)
{
    bp__text_put_n(text, piece, strlen(piece));
}

void bp__text_vprintf(bp_text *text, const char *format, va_list args)
{
    if (is_stuck(text)) {
        return;
    }
    va_list again;
    va_copy(again, args);
    size_t room = text->capacity - text->n_bytes;
    int n = vsnprintf(room == 0 ? NULL : text->bytes + text->n_bytes, room,
                      format, args);
    assert(n >= 0); /* only a bad format or a text beyond 2 GiB */
    size_t n_bytes = n < 0 ? 0 : (size_t)n;
    if (n_bytes < room) {
        text->n_bytes += n_bytes;
    } else if (text->is_bounded) {
        text->n_bytes = text->capacity - 1;
        cut(text);
    } else if (make_room(text, n_bytes)) {
        (void)vsnprintf(text->bytes + text->n_bytes,
                        text->capacity - text->n_bytes, format, again);
        text->n_bytes += n_bytes;
    }
    va_end(again);
}

void bp__text_printf(bp_text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bp__text_vprintf(text, format, args);
    va_end(args);
}

void bp__text_put_u64(bp_text *text, uint64_t number)
{
    char digits[20]; /* of 2^64 - 1 */
    size_t first = sizeof digits;
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    bp__text_put_n(text, digits + first, sizeof digits - first);
}

void bp__text_put_float(bp_text *text, float number)
{
    if (!isfinite(number)) {
        bp__text_put(text, "null");
        return;
    }
    char digits[48];
    for (int precision = 6; precision <= 9; precision++) {
        (void)snprintf(digits, sizeof digits, "%.*g", precision,
                       (double)number);
        if (strtof(digits, NULL) == number) {
            break;
        }
    }
    /* printf writes the locale's decimal point, of one byte or more. */
    const char *p = digits;
    while (*p != '\0') {
        size_t n = strspn(p, "0123456789+-e");
        bp__text_put_n(text, p, n);
        p += n;
        n = strcspn(p, "0123456789+-e");
        if (n != 0) {
            bp__text_put(text, ".");
            p += n;
        }
    }
}

/* Bytes of the UTF-8 character at p (RFC 3629: no overlong forms, no
 * surrogates, nothing above U+10FFFF), or 0 if there is none. */
static size_t utf8_length(const char *p)
{
    const unsigned char *s = (const unsigned char *)p;
    if (s[0] < 0x80) {
        return 1;
    }
    size_t n = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4) {
        return 0;
    }
    /* A NUL is no continuation byte, so this never reads beyond it. */
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
        (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F)) {
        return 0;
    }
    return n;
}

/* Bytes from p on that stand for themselves in a JSON string. */
static size_t plain_length(const char *p)
{
    size_t n = 0;
    while (p[n] != '\0' && (unsigned char)p[n] >= 0x20 && p[n] != '"' &&
           p[n] != '\\') {
        size_t length = utf8_length(p + n);
        if (length == 0) {
            break;
        }
        n += length;
    }
    return n;
}

void bp__text_put_json(bp_text *text, const char *string)
{
    if (string == NULL) {
        bp__text_put(text, "null");
        return;
    }
    bp__text_put(text, "\"");
    const char *p = string;
    while (*p != '\0') {
        size_t n = plain_length(p);
        bp__text_put_n(text, p, n);
        p += n;
        if (*p == '\0') {
            break;
        }
        if (n != 0) {
            continue;
        }
        if (*p == '"' || *p == '\\') {
            bp__text_printf(text, "\\%c", *p);
        } else if ((unsigned char)*p < 0x20) {
            bp__text_printf(text, "\\u%04x", (unsigned)(unsigned char)*p);
        } else {
            bp__text_put(text, "\xEF\xBF\xBD"); /* U+FFFD */
        }
        p++;
    }
    bp__text_put(text, "\"");
}

const char *bp__grouped(uint64_t number, char out[BP__GROUPED_BYTES])
{
    char digits[BP__GROUPED_BYTES];
    size_t n = 0, at = 0;
    do {
        digits[n++] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    while (n != 0) {
        out[at++] = digits[--n];
        if (n != 0 && n % 3 == 0) {
            out[at++] = ',';
        }
    }
    out[at] = '\0';
    return out;
}

bool bp__text_is_whole(const bp_text *text)
{
    return !is_stuck(text);
}

char *bp__text_take(bp_text *text)
{
    assert(!text->is_bounded);
    char *taken = NULL;
    if (!is_stuck(text) && make_room(text, 0)) {
        size_t n_exact = text->n_bytes + 1;
        text->bytes[text->n_bytes] = '\0';
        taken = text->alloc.realloc(text->alloc.ctx, text->bytes,
                                    text->capacity, n_exact);
    }
    if (taken != NULL) {
        text->bytes = NULL;
        text->n_bytes = text->capacity = 0;
    } else {
        text->is_out_of_memory = true;
        bp__text_fini(text);
    }
    return taken;
}
