/* keys.c - texts that many records share: counted references, no lock. */
#include "device/log.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <assert.h>
#include <string.h>

struct bp_key {
    bp_allocator alloc;
    atomic_size_t n_refs;
    uint32_t hash; /* bp__hash_text of it */
    size_t n_bytes;
    char text[]; /* n_bytes and a NUL */
};

static size_t bytes_of(size_t n_bytes)
{
    return offsetof(bp_key, text) + n_bytes + 1;
}

bp_key *bp__key_new(const bp_allocator *alloc, const char *text)
{
    size_t n_bytes = strlen(text);
    bp_key *key = bp__alloc_array(alloc, bytes_of(n_bytes), 1);
    if (key == NULL) {
        return NULL;
    }
    key->alloc = *alloc;
    atomic_init(&key->n_refs, 1);
    key->hash = bp__hash_text(text);
    key->n_bytes = n_bytes;
    memcpy(key->text, text, n_bytes + 1);
    return key;
}

bp_key *bp__key_ref(bp_key *key)
{
    if (key != NULL) {
        atomic_fetch_add_explicit(&key->n_refs, 1, memory_order_relaxed);
    }
    return key;
}

void bp__key_unref(bp_key *key)
{
    /* Who drops the last one has to see what the others did before. */
    if (key == NULL ||
        atomic_fetch_sub_explicit(&key->n_refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    bp_allocator alloc = key->alloc;
    bp__free_array(&alloc, key, bytes_of(key->n_bytes), 1);
}

uint32_t bp__key_hash(const bp_key *key)
{
    return key->hash;
}

const char *bp_key_text(const bp_key *key)
{
    assert(key != NULL);
    return key->text;
}
