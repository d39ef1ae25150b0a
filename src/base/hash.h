/* hash.h - a fast hash for name indexes, and BLAKE2b for digests.
 *
 * Ownership: plain values. Errors: none can happen. Threads: pure.
 */
#ifndef BAYPLAN_BASE_HASH_H
#define BAYPLAN_BASE_HASH_H

#include "bayplan/base.h"

/* 32 bits for bp_map. Fixed seed; the same on every machine. Not for anything
 * stored or shown: it may change between versions. */
uint32_t bp__hash_bytes(const void *bytes, size_t n_bytes);
/* The same over a text without its NUL. */
uint32_t bp__hash_text(const char *text);

#define BP__BLAKE2B_BYTES 16 /* of the digest */
#define BP__BLAKE2B_BLOCK 128

/* BLAKE2b (RFC 7693), unkeyed, with a 16-byte digest: what Python calls
 * hashlib.blake2b(data, digest_size=16). init, any number of updates, final
 * once. */
typedef struct bp_blake2b {
    uint64_t state[8];
    uint64_t n_hashed; /* bytes compressed so far; inputs stay below 2^64 */
    size_t n_buffered;
    uint8_t buffer[BP__BLAKE2B_BLOCK];
} bp_blake2b;

void bp__blake2b_init(bp_blake2b *hash);
void bp__blake2b_update(bp_blake2b *hash, const void *bytes, size_t n_bytes);
void bp__blake2b_final(bp_blake2b *hash, uint8_t out[BP__BLAKE2B_BYTES]);

#endif
