/* text.h - a writer of UTF-8 text: into a caller's bounded buffer, or into
 * memory that grows. What it holds is always NUL-terminated.
 *
 * Ownership: a growing text owns its bytes until bp__text_take; a bounded one
 * owns nothing. Errors: sticky. Bounded: what does not fit is cut at a
 * character and ends in "...", and nothing is added after that. Growing: once
 * memory is out, appending does nothing and take answers NULL; so a function
 * appends without looking and asks once at the end. Threads: none of its own.
 */
#ifndef BAYPLAN_BASE_TEXT_H
#define BAYPLAN_BASE_TEXT_H

#include "bayplan/base.h"

#include <stdarg.h>

typedef struct bp_text {
    char *bytes;     /* growing: NULL until something was appended */
    size_t n_bytes;  /* without the NUL */
    size_t capacity; /* with room for the NUL */
    bp_allocator alloc;
    bool is_bounded;
    bool is_cut;           /* bounded: something did not fit */
    bool is_out_of_memory; /* growing */
} bp_text;

void bp__text_init(bp_text *text, const bp_allocator *alloc);
/* capacity >= 1, the NUL included. */
void bp__text_init_bounded(bp_text *text, char *buffer, size_t capacity);
void bp__text_fini(bp_text *text);

void bp__text_put(bp_text *text, const char *piece);
void bp__text_put_n(bp_text *text, const char *piece, size_t n_bytes);
void bp__text_printf(bp_text *text, const char *format, ...) BP_PRINTF(2, 3);
void bp__text_vprintf(bp_text *text, const char *format, va_list args)
    BP_PRINTF(2, 0);
void bp__text_put_u64(bp_text *text, uint64_t number);
/* "1,234,567" in `out`, which is returned. */
#define BP__GROUPED_BYTES 27u
const char *bp__grouped(uint64_t number, char out[BP__GROUPED_BYTES]);
/* The shortest decimal that reads back as the same float, with a point in every
 * locale. NaN and infinities, which JSON does not know, become null. */
void bp__text_put_float(bp_text *text, float number);
/* Quoted and escaped as RFC 8259 asks; bytes that are no UTF-8 become U+FFFD.
 * NULL becomes null. */
void bp__text_put_json(bp_text *text, const char *string);

/* Nothing was cut and no memory was missing. */
bool bp__text_is_whole(const bp_text *text);
/* Growing: the text, in a block of exactly strlen + 1 bytes that the caller
 * frees with the allocator; the writer is empty after it. NULL if memory was or
 * is out (all is freed then). */
BP_MUST_USE char *bp__text_take(bp_text *text);

#endif
