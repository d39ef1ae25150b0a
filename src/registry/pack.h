/* pack.h - distinct layouts of a tree in canonical order, for packing and
 * unpacking. Internal to src/registry. */
#ifndef BAYPLAN_REGISTRY_PACK_H
#define BAYPLAN_REGISTRY_PACK_H

#include "registry/layout.h"

/* Format of a pack: magic, u32 number of layouts, every layout as u64 n_bytes
 * and content (children first, depth first from the root, each distinct one
 * once, the root last), BLAKE2b-128 of all that. Numbers little-endian. */
#define BP__PACK_MAGIC   "BAYPLAN2"
#define BP__PACK_N_MAGIC 8u
#define BP__PACK_LEAST   (BP__PACK_N_MAGIC + 4 + BP_DIGEST_BYTES)

/* Layouts by digest, in the order they were added. Holds no references: the
 * layouts and their contents (computed before adding) must outlive it. */
typedef struct bp__layout_list {
    bp_layout **layouts;
    size_t capacity;
    size_t n_layouts;
    uint32_t *slots; /* open addressing; BP__NONE: free */
    size_t n_slots;  /* 0 or a power of two */
    bp_allocator alloc;
} bp__layout_list;

void bp__layout_list_init(bp__layout_list *list, const bp_allocator *alloc);
void bp__layout_list_fini(bp__layout_list *list);
/* NULL: no layout of that digest is in the list. */
bp_layout *bp__layout_list_find(const bp__layout_list *list,
                                const uint8_t digest[BP_DIGEST_BYTES]);
/* False: no memory; the list is as before. */
BP_MUST_USE bool bp__layout_list_add(bp__layout_list *list, bp_layout *layout);
/* Everything under `root` and the root itself in the order of a pack. Errors:
 * NO_MEMORY. */
bp_status bp__layout_list_collect(bp__layout_list *list, bp_layout *root,
                                  bp_error *error);

#endif
