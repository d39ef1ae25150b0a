/* content.c - what kernels see of a layout, as canonical bytes and digest.
 *
 * Format, numbers little-endian:
 *   "BPL2"
 *   u32 n_placements, u32 n_children, u32 n_phases, u32 n_loops
 *   the precision as an element type
 *   the name of every phase
 *   for every loop u32 first, u32 last phase
 *   for every placement, in declaration order,
 *     a buffer:   u8 0, u8 location, u8 flags, u8 n_dims, u32 align,
 *                 u32 bytes_of, u64 offset, u64 dims[n_dims], name,
 *                 an element type unless flags say that it is the precision,
 *                 a life if flags say so
 *     a child (in place of its three roll-ups):
 *                 u8 1, u64 offset in shared, block, persistent_local memory,
 *                 name, digest of the child's layout, u8 flags, a life if flags
 *                 say so
 *   name: u8 n_bytes, bytes.   element type: u32 n_text, text, u32 n_bytes,
 *   u32 align.   life: u32 first, u32 last phase, as settled.
 * Bytes, alignments and accesses of regions and roll-ups follow from these. */
#include "registry/content.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "registry/model.h"

#include <string.h>

/* ---- writing ----------------------------------------------------------- */

/* bytes NULL: only count. */
typedef struct writer {
    uint8_t *bytes;
    size_t n_bytes;
} writer;

static void put(writer *out, const void *bytes, size_t n_bytes)
{
    if (out->bytes != NULL) {
        memcpy(out->bytes + out->n_bytes, bytes, n_bytes);
    }
    out->n_bytes += n_bytes;
}

static void put_number(writer *out, uint64_t value, size_t n_bytes)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < n_bytes; i++) {
        bytes[i] = (uint8_t)(value >> 8 * i);
    }
    put(out, bytes, n_bytes);
}

static void put_name(writer *out, const char *name)
{
    size_t n = strlen(name);
    put_number(out, n, 1);
    put(out, name, n);
}

static void put_dtype(writer *out, const bp_dtype *dtype)
{
    size_t n = strlen(dtype->text);
    put_number(out, n, 4);
    put(out, dtype->text, n);
    put_number(out, dtype->n_bytes, 4);
    put_number(out, dtype->align, 4);
}

static bool same_dtype(const bp_dtype *a, const bp_dtype *b)
{
    return a->n_bytes == b->n_bytes && a->align == b->align &&
           (a->text == b->text || strcmp(a->text, b->text) == 0);
}

static void put_life(writer *out, uint32_t first, uint32_t last)
{
    if (!bp__lives_always(first)) {
        put_number(out, first, 4);
        put_number(out, last, 4);
    }
}

static void put_buffer(writer *out, const bp_layout *layout,
                       const bp_placement *place)
{
    bool is_precision = same_dtype(&place->dtype, &layout->precision);
    put_number(out, BP__IS_BUFFER, 1);
    put_number(out, place->location, 1);
    put_number(out,
               (place->is_zero ? BP__SEEN_ZERO : 0u) |
                   (place->is_kept ? BP__SEEN_KEPT : 0u) |
                   (place->is_carried ? BP__SEEN_CARRIED : 0u) |
                   (bp__lives_always(place->first_phase) ? 0u : BP__SEEN_LIFE) |
                   (is_precision ? BP__SEEN_PRECISION : 0u),
               1);
    put_number(out, place->n_dims, 1);
    put_number(out, place->align, 4);
    put_number(out, place->bytes_of, 4);
    put_number(out, place->offset_bytes, 8);
    for (uint32_t i = 0; i < place->n_dims; i++) {
        put_number(out, place->shape[i], 8);
    }
    put_name(out, place->name);
    if (!is_precision) {
        put_dtype(out, &place->dtype);
    }
    put_life(out, place->first_phase, place->last_phase);
}

static void put_child(writer *out, const bp_child_region *region)
{
    const bp__content *content = atomic_load(&region->layout->content);
    put_number(out, BP__IS_CHILD, 1);
    for (uint32_t i = 0; i < BP__N_ROLLUPS; i++) {
        put_number(out, region->offset_bytes[bp__rollup_location[i]], 8);
    }
    put_name(out, region->name);
    put(out, content->digest, BP_DIGEST_BYTES);
    put_number(out, bp__lives_always(region->first_phase) ? 0 : BP__SEEN_LIFE,
               1);
    put_life(out, region->first_phase, region->last_phase);
}

static void put_phases(writer *out, const bp_layout *layout)
{
    for (size_t i = 0; i < layout->n_phases; i++) {
        put_name(out, layout->phases[i]);
    }
    for (size_t i = 0; i < layout->n_loops; i++) {
        put_number(out, layout->loops[i].first, 4);
        put_number(out, layout->loops[i].last, 4);
    }
}

/* The children's contents are there. */
static void put_layout(writer *out, const bp_layout *layout)
{
    put(out, BP__CONTENT_MAGIC, 4);
    put_number(out, layout->n_placements, 4);
    put_number(out, layout->n_children, 4);
    put_number(out, layout->n_phases, 4);
    put_number(out, layout->n_loops, 4);
    put_dtype(out, &layout->precision);
    put_phases(out, layout);
    size_t n_seen = 0;
    for (size_t i = 0; i < layout->n_placements; i++) {
        const bp_placement *place = &layout->placements[i];
        if (!place->is_rollup) {
            put_buffer(out, layout, place);
        } else if (n_seen++ % BP__N_ROLLUPS == 0) {
            put_child(out, &layout->children[n_seen / BP__N_ROLLUPS]);
        }
    }
}

/* ---- one layout -------------------------------------------------------- */

static bp__content *content_new(const bp_layout *layout)
{
    writer count = {NULL, 0};
    put_layout(&count, layout);
    const bp_allocator *alloc = &layout->alloc;
    bp__content *content =
        alloc->alloc(alloc->ctx, sizeof *content + count.n_bytes);
    if (content == NULL) {
        return NULL;
    }
    content->n_bytes = count.n_bytes;
    writer out = {content->bytes, 0};
    put_layout(&out, layout);
    bp_blake2b hash;
    bp__blake2b_init(&hash);
    bp__blake2b_update(&hash, content->bytes, content->n_bytes);
    bp__blake2b_final(&hash, content->digest);
    return content;
}

/* Published once; a second thread's work is thrown away. */
static bool publish(bp_layout *layout)
{
    bp__content *content = content_new(layout);
    if (content == NULL) {
        return false;
    }
    bp__content *other = NULL;
    if (!atomic_compare_exchange_strong(&layout->content, &other, content)) {
        layout->alloc.free(layout->alloc.ctx, content,
                           sizeof *content + content->n_bytes);
    }
    return true;
}

/* ---- the tree below ---------------------------------------------------- */

typedef struct frame {
    bp_layout *layout;
    size_t next_child;
} frame;

static bp_layout *next_unknown(frame *top)
{
    while (top->next_child < top->layout->n_children) {
        bp_layout *child = top->layout->children[top->next_child++].layout;
        if (atomic_load(&child->content) == NULL) {
            return child;
        }
    }
    return NULL;
}

bp_status bp__layout_need_content(bp_layout *layout, const bp__content **out,
                                  bp_error *error)
{
    *out = atomic_load_explicit(&layout->content, memory_order_acquire);
    if (*out != NULL) {
        return BP_OK;
    }
    const bp_allocator *alloc = &layout->alloc;
    frame *stack = NULL;
    size_t capacity = 0;
    size_t depth = 0;
    bp_layout *next = layout;
    bool is_there = true;
    do {
        if (next != NULL) {
            is_there =
                bp__grow(alloc, &stack, &capacity, depth + 1, sizeof *stack);
            if (is_there) {
                stack[depth++] = (frame){next, 0};
            }
        } else {
            is_there = publish(stack[--depth].layout);
        }
        next = is_there && depth != 0 ? next_unknown(&stack[depth - 1]) : NULL;
    } while (is_there && depth != 0);
    bp__free_array(alloc, stack, capacity, sizeof *stack);
    if (!is_there) {
        return bp__refuse_memory(error);
    }
    *out = atomic_load(&layout->content);
    return BP_OK;
}

bp_status bp_layout_get_content(bp_layout *layout, const uint8_t **bytes,
                                size_t *n_bytes, bp_error *error)
{
    const bp__content *content;
    bp_status status = bp__layout_need_content(layout, &content, error);
    if (status == BP_OK) {
        *bytes = content->bytes;
        *n_bytes = content->n_bytes;
    }
    return status;
}

bp_status bp_layout_digest(bp_layout *layout, char out[BP_DIGEST_TEXT],
                           bp_error *error)
{
    static const char digits[] = "0123456789abcdef";
    const bp__content *content;
    bp_status status = bp__layout_need_content(layout, &content, error);
    if (status != BP_OK) {
        return status;
    }
    for (size_t i = 0; i < BP_DIGEST_BYTES; i++) {
        out[2 * i] = digits[content->digest[i] >> 4];
        out[2 * i + 1] = digits[content->digest[i] & 15];
    }
    out[2 * BP_DIGEST_BYTES] = '\0';
    return BP_OK;
}

/* ---- comparing --------------------------------------------------------- */

static bool same_placement(const bp_placement *a, const bp_placement *b)
{
    return a->offset_bytes == b->offset_bytes && a->n_bytes == b->n_bytes &&
           a->location == b->location && a->n_dims == b->n_dims &&
           a->align == b->align && a->bytes_of == b->bytes_of &&
           a->is_kept == b->is_kept && a->is_zero == b->is_zero &&
           a->is_rollup == b->is_rollup && a->is_carried == b->is_carried &&
           a->first_phase == b->first_phase && a->last_phase == b->last_phase &&
           memcmp(a->shape, b->shape, a->n_dims * sizeof *a->shape) == 0 &&
           same_dtype(&a->dtype, &b->dtype) && strcmp(a->name, b->name) == 0;
}

static bool same_phases(const bp_layout *a, const bp_layout *b)
{
    if (a->n_phases != b->n_phases || a->n_loops != b->n_loops) {
        return false;
    }
    for (size_t i = 0; i < a->n_phases; i++) {
        if (strcmp(a->phases[i], b->phases[i]) != 0) {
            return false;
        }
    }
    for (size_t i = 0; i < a->n_loops; i++) {
        if (a->loops[i].first != b->loops[i].first ||
            a->loops[i].last != b->loops[i].last) {
            return false;
        }
    }
    /* A roll-up may live longer than its child is called. */
    for (size_t i = 0; i < a->n_children; i++) {
        if (a->children[i].first_phase != b->children[i].first_phase ||
            a->children[i].last_phase != b->children[i].last_phase) {
            return false;
        }
    }
    return true;
}

/* All but what the children are. */
static bool same_own(const bp_layout *a, const bp_layout *b)
{
    if (a->n_placements != b->n_placements || a->n_children != b->n_children ||
        !same_dtype(&a->precision, &b->precision) || !same_phases(a, b)) {
        return false;
    }
    for (size_t i = 0; i < a->n_placements; i++) {
        if (!same_placement(&a->placements[i], &b->placements[i])) {
            return false;
        }
    }
    return true;
}

static bp_status same_digest(bp_layout *a, bp_layout *b, bool *out,
                             bp_error *error)
{
    const bp__content *of_a;
    const bp__content *of_b;
    bp_status status = bp__layout_need_content(a, &of_a, error);
    if (status == BP_OK) {
        status = bp__layout_need_content(b, &of_b, error);
    }
    if (status == BP_OK) {
        *out = memcmp(of_a->digest, of_b->digest, BP_DIGEST_BYTES) == 0;
    }
    return status;
}

bp_status bp__layout_same(bp_layout *a, bp_layout *b, bool *out,
                          bp_error *error)
{
    *out = a == b || same_own(a, b);
    for (size_t i = 0; *out && a != b && i < a->n_children; i++) {
        bp_layout *below_a = a->children[i].layout;
        bp_layout *below_b = b->children[i].layout;
        if (below_a == below_b) {
            continue;
        }
        bp_status status = same_digest(below_a, below_b, out, error);
        if (status != BP_OK) {
            return status;
        }
    }
    return BP_OK;
}

static bool same_figures(const bp_region *a, const bp_region *b)
{
    return a->load == b->load && a->lower_bound == b->lower_bound &&
           a->flat_lower_bound == b->flat_lower_bound &&
           a->status == b->status && a->has_report == b->has_report;
}

bool bp__layout_same_report(const bp_layout *a, const bp_layout *b)
{
    for (int i = 0; i < BP_N_REGIONS; i++) {
        if (!same_figures(&a->regions[i], &b->regions[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < a->n_children; i++) {
        if (a->children[i].layout != b->children[i].layout) {
            return false;
        }
    }
    return true;
}

bp_status bp_layout_equal(bp_layout *a, bp_layout *b, bool *out,
                          bp_error *error)
{
    return bp__layout_same(a, b, out, error);
}
