/* pack.c - a tree of layouts as one canonical block of bytes. */
#include "registry/pack.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "registry/model.h"

#include <string.h>

/* ---- the list ---------------------------------------------------------- */

void bp__layout_list_init(bp__layout_list *list, const bp_allocator *alloc)
{
    *list = (bp__layout_list){.alloc = *alloc};
}

void bp__layout_list_fini(bp__layout_list *list)
{
    bp__free_array(&list->alloc, list->layouts, list->capacity,
                   sizeof(bp_layout *));
    bp__free_array(&list->alloc, list->slots, list->n_slots,
                   sizeof *list->slots);
    bp__layout_list_init(list, &list->alloc);
}

static const uint8_t *digest_of(const bp_layout *layout)
{
    return atomic_load(&layout->content)->digest;
}

/* Digests are as good as random: the first bytes do as a hash. */
static size_t slot_of(const bp__layout_list *list, const uint8_t *digest)
{
    uint32_t hash = (uint32_t)digest[0] | (uint32_t)digest[1] << 8 |
                    (uint32_t)digest[2] << 16 | (uint32_t)digest[3] << 24;
    size_t at = hash & (list->n_slots - 1);
    while (list->slots[at] != BP__NONE &&
           memcmp(digest_of(list->layouts[list->slots[at]]), digest,
                  BP_DIGEST_BYTES) != 0) {
        at = (at + 1) & (list->n_slots - 1);
    }
    return at;
}

bp_layout *bp__layout_list_find(const bp__layout_list *list,
                                const uint8_t digest[BP_DIGEST_BYTES])
{
    if (list->n_slots == 0) {
        return NULL;
    }
    uint32_t found = list->slots[slot_of(list, digest)];
    return found == BP__NONE ? NULL : list->layouts[found];
}

static bool grow_slots(bp__layout_list *list)
{
    size_t n_slots = list->n_slots == 0 ? 16 : 2 * list->n_slots;
    uint32_t *slots =
        bp__alloc_array(&list->alloc, n_slots, sizeof *list->slots);
    if (slots == NULL) {
        return false;
    }
    memset(slots, 0xFF, n_slots * sizeof *slots);
    bp__free_array(&list->alloc, list->slots, list->n_slots,
                   sizeof *list->slots);
    list->slots = slots;
    list->n_slots = n_slots;
    for (size_t i = 0; i < list->n_layouts; i++) {
        slots[slot_of(list, digest_of(list->layouts[i]))] = (uint32_t)i;
    }
    return true;
}

bool bp__layout_list_add(bp__layout_list *list, bp_layout *layout)
{
    if (list->n_layouts >= BP__NONE ||
        !bp__grow(&list->alloc, &list->layouts, &list->capacity,
                  list->n_layouts + 1, sizeof(bp_layout *)) ||
        (2 * (list->n_layouts + 1) > list->n_slots && !grow_slots(list))) {
        return false;
    }
    list->slots[slot_of(list, digest_of(layout))] = (uint32_t)list->n_layouts;
    list->layouts[list->n_layouts++] = layout;
    return true;
}

/* ---- the order --------------------------------------------------------- */

typedef struct frame {
    bp_layout *layout;
    size_t next_child;
} frame;

static bp_layout *next_unlisted(const bp__layout_list *list, frame *top)
{
    while (top->next_child < top->layout->n_children) {
        bp_layout *child = top->layout->children[top->next_child++].layout;
        if (bp__layout_list_find(list, digest_of(child)) == NULL) {
            return child;
        }
    }
    return NULL;
}

bp_status bp__layout_list_collect(bp__layout_list *list, bp_layout *root,
                                  bp_error *error)
{
    const bp__content *content;
    bp_status status = bp__layout_need_content(root, &content, error);
    if (status != BP_OK) {
        return status;
    }
    frame *stack = NULL;
    size_t capacity = 0;
    size_t depth = 0;
    bp_layout *next = root;
    bool is_there = true;
    do {
        if (next != NULL) {
            is_there = bp__grow(&list->alloc, &stack, &capacity, depth + 1,
                                sizeof *stack);
            if (is_there) {
                stack[depth++] = (frame){next, 0};
            }
        } else {
            is_there = bp__layout_list_add(list, stack[--depth].layout);
        }
        next = is_there && depth != 0 ? next_unlisted(list, &stack[depth - 1])
                                      : NULL;
    } while (is_there && depth != 0);
    bp__free_array(&list->alloc, stack, capacity, sizeof *stack);
    return is_there ? BP_OK : bp__refuse_memory(error);
}

/* ---- pack -------------------------------------------------------------- */

static void put_number(uint8_t **at, uint64_t value, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        *(*at)++ = (uint8_t)(value >> 8 * i);
    }
}

static void write_pack(const bp__layout_list *list, uint8_t *bytes)
{
    uint8_t *at = bytes;
    memcpy(at, BP__PACK_MAGIC, BP__PACK_N_MAGIC);
    at += BP__PACK_N_MAGIC;
    put_number(&at, list->n_layouts, 4);
    for (size_t i = 0; i < list->n_layouts; i++) {
        const bp__content *content = atomic_load(&list->layouts[i]->content);
        put_number(&at, content->n_bytes, 8);
        memcpy(at, content->bytes, content->n_bytes);
        at += content->n_bytes;
    }
    bp_blake2b hash;
    bp__blake2b_init(&hash);
    bp__blake2b_update(&hash, bytes, (size_t)(at - bytes));
    bp__blake2b_final(&hash, at);
}

static bool pack_bytes(const bp__layout_list *list, uint64_t *out)
{
    *out = BP__PACK_LEAST;
    for (size_t i = 0; i < list->n_layouts; i++) {
        const bp__content *content = atomic_load(&list->layouts[i]->content);
        if (!bp_add(*out, content->n_bytes + 8, out)) {
            return false;
        }
    }
    return *out <= PTRDIFF_MAX;
}

bp_status bp_layout_pack(bp_layout *layout, uint8_t **out, size_t *n_bytes,
                         bp_error *error)
{
    bp__layout_list list;
    bp__layout_list_init(&list, &layout->alloc);
    bp_status status = bp__layout_list_collect(&list, layout, error);
    uint64_t n = 0;
    uint8_t *bytes = NULL;
    if (status == BP_OK &&
        (!pack_bytes(&list, &n) ||
         (bytes = layout->alloc.alloc(layout->alloc.ctx, (size_t)n)) == NULL)) {
        status = bp__refuse_memory(error);
    }
    if (status == BP_OK) {
        write_pack(&list, bytes);
        *out = bytes;
        *n_bytes = (size_t)n;
    }
    bp__layout_list_fini(&list);
    return status;
}

void bp_layout_pack_free(bp_layout *layout, uint8_t *bytes, size_t n_bytes)
{
    if (bytes != NULL) {
        layout->alloc.free(layout->alloc.ctx, bytes, n_bytes);
    }
}
