/* hash.c - the name hash and BLAKE2b.
 *
 * Source of the constants and of the compression function: RFC 7693, "The
 * BLAKE2 Cryptographic Hash and Message Authentication Code (MAC)", sections
 * 2.6, 2.7 and 3.1 to 3.3.
 */
#include "base/hash.h"

#include <string.h>

/* Byte by byte, so that the machine's byte order does not matter; compilers
 * make one load of it. */
static uint64_t load_le64(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 |
           (uint64_t)p[3] << 24 | (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 |
           (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

/* ---- name hash --------------------------------------------------------- */

/* Odd, from the fractional part of the golden ratio. */
#define NAME_FACTOR UINT64_C(0x9E3779B97F4A7C15)

static uint64_t mix_word(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * NAME_FACTOR;
    return hash ^ hash >> 32;
}

uint32_t bp__hash_bytes(const void *bytes, size_t n_bytes)
{
    const uint8_t *p = bytes;
    uint64_t hash = mix_word(NAME_FACTOR, n_bytes);
    size_t n_left = n_bytes;
    for (; n_left >= 8; n_left -= 8, p += 8) {
        hash = mix_word(hash, load_le64(p));
    }
    uint64_t tail = 0;
    for (size_t i = 0; i < n_left; i++) {
        tail |= (uint64_t)p[i] << (8 * i);
    }
    hash = mix_word(hash, tail);
    return (uint32_t)(mix_word(hash, 0) >> 16);
}

uint32_t bp__hash_text(const char *text)
{
    return bp__hash_bytes(text, strlen(text));
}

/* ---- BLAKE2b ----------------------------------------------------------- */

static const uint64_t blake2b_iv[8] = {
    UINT64_C(0x6A09E667F3BCC908), UINT64_C(0xBB67AE8584CAA73B),
    UINT64_C(0x3C6EF372FE94F82B), UINT64_C(0xA54FF53A5F1D36F1),
    UINT64_C(0x510E527FADE682D1), UINT64_C(0x9B05688C2B3E6C1F),
    UINT64_C(0x1F83D9ABFB41BD6B), UINT64_C(0x5BE0CD19137E2179)};

/* Rounds 10 and 11 use the first two rows again. */
static const uint8_t blake2b_sigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

static uint64_t rotate_right(uint64_t x, unsigned n)
{
    return x >> n | x << (64 - n);
}

/* The mixing function G of RFC 7693, section 3.1. */
static void mix(uint64_t *v, size_t a, size_t b, size_t c, size_t d, uint64_t x,
                uint64_t y)
{
    v[a] += v[b] + x;
    v[d] = rotate_right(v[d] ^ v[a], 32);
    v[c] += v[d];
    v[b] = rotate_right(v[b] ^ v[c], 24);
    v[a] += v[b] + y;
    v[d] = rotate_right(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotate_right(v[b] ^ v[c], 63);
}

static void compress(bp_blake2b *hash, const uint8_t *block, bool is_last)
{
    uint64_t v[16], m[16];
    memcpy(v, hash->state, sizeof hash->state);
    memcpy(v + 8, blake2b_iv, sizeof blake2b_iv);
    v[12] ^= hash->n_hashed;
    if (is_last) {
        v[14] = ~v[14];
    }
    for (size_t i = 0; i < 16; i++) {
        m[i] = load_le64(block + 8 * i);
    }
    for (size_t round = 0; round < 12; round++) {
        const uint8_t *s = blake2b_sigma[round % 10];
        for (size_t i = 0; i < 4; i++) { /* the columns */
            mix(v, i, i + 4, i + 8, i + 12, m[s[2 * i]], m[s[2 * i + 1]]);
        }
        for (size_t i = 0; i < 4; i++) { /* the diagonals */
            mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4,
                m[s[8 + 2 * i]], m[s[9 + 2 * i]]);
        }
    }
    for (size_t i = 0; i < 8; i++) {
        hash->state[i] ^= v[i] ^ v[i + 8];
    }
}

void bp__blake2b_init(bp_blake2b *hash)
{
    memset(hash, 0, sizeof *hash);
    memcpy(hash->state, blake2b_iv, sizeof blake2b_iv);
    /* The parameter block: digest length, no key, fan-out 1, depth 1. */
    hash->state[0] ^= UINT64_C(0x01010000) ^ BP__BLAKE2B_BYTES;
}

void bp__blake2b_update(bp_blake2b *hash, const void *bytes, size_t n_bytes)
{
    const uint8_t *p = bytes;
    size_t n_left = n_bytes;
    while (n_left != 0) {
        /* A full block waits for more input: the last one is compressed in
         * final, with its flag. */
        if (hash->n_buffered == BP__BLAKE2B_BLOCK) {
            hash->n_hashed += BP__BLAKE2B_BLOCK;
            compress(hash, hash->buffer, false);
            hash->n_buffered = 0;
        }
        size_t n_room = BP__BLAKE2B_BLOCK - hash->n_buffered;
        size_t n = n_left < n_room ? n_left : n_room;
        memcpy(hash->buffer + hash->n_buffered, p, n);
        hash->n_buffered += n;
        p += n;
        n_left -= n;
    }
}

void bp__blake2b_final(bp_blake2b *hash, uint8_t out[BP__BLAKE2B_BYTES])
{
    hash->n_hashed += hash->n_buffered;
    memset(hash->buffer + hash->n_buffered, 0,
           BP__BLAKE2B_BLOCK - hash->n_buffered);
    compress(hash, hash->buffer, true);
    for (size_t i = 0; i < BP__BLAKE2B_BYTES; i++) {
        out[i] = (uint8_t)(hash->state[i / 8] >> (8 * (i % 8)));
    }
}
