/* unpack.c - reading packs (pack.h) and contents (content.c), trusting nothing.
 *
 * Whatever is read is checked on its own; then the content is computed anew
 * from what was read and must be the very bytes, and the order of layouts must
 * be the one that packing gives. So no second form of anything is let in. */
#include "registry/content.h"
#include "registry/pack.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "registry/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ----------------------------------------------------------- */

/* Sticky: after the end everything reads as 0 and is_bad stays set. */
typedef struct reader {
    const uint8_t *at;
    size_t n_left;
    bool is_bad;
} reader;

static const uint8_t *take(reader *in, uint64_t n_bytes)
{
    if (in->is_bad || n_bytes > in->n_left) {
        in->is_bad = true;
        return NULL;
    }
    const uint8_t *at = in->at;
    in->at += n_bytes;
    in->n_left -= (size_t)n_bytes;
    return at;
}

static uint64_t take_number(reader *in, size_t n_bytes)
{
    const uint8_t *at = take(in, n_bytes);
    uint64_t value = 0;
    for (size_t i = 0; at != NULL && i < n_bytes; i++) {
        value |= (uint64_t)at[i] << 8 * i;
    }
    return value;
}

static bp_status bad_data(bp_error *error, const char *what)
{
    return bp_fail(error, BP_BAD_DATA, "not a packed layout: %s", what);
}

/* ---- one record -------------------------------------------------------- */

typedef struct span {
    const char *text;
    size_t n_bytes;
} span;

typedef struct dtype_record {
    span text;
    uint32_t n_bytes;
    uint32_t align;
} dtype_record;

typedef struct record {
    uint8_t kind;
    span name;
    uint64_t offsets[BP__N_ROLLUPS]; /* a buffer's is the first */
    /* a buffer's */
    uint8_t location, flags, n_dims; /* flags: a child's as well */
    uint32_t first, last; /* both BP_ALWAYS: always; a child's as well */
    uint32_t align, bytes_of;
    const uint8_t *dims;
    dtype_record dtype;
    /* a child's */
    const uint8_t *digest;
} record;

/* Well-formed UTF-8 without NULs (Unicode 15, table 3-7). */
static bool is_utf8(const span *text)
{
    const uint8_t *p = (const uint8_t *)text->text;
    const uint8_t *end = p + text->n_bytes;
    while (p < end) {
        uint8_t c = *p++;
        size_t n_more = c < 0x80 ? 0 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
        if (c == 0 || (c >= 0x80 && c < 0xC2) || c > 0xF4 ||
            (size_t)(end - p) < n_more) {
            return false;
        }
        uint8_t low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
        uint8_t high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
        for (size_t i = 0; i < n_more; i++, low = 0x80, high = 0xBF) {
            if (p[i] < low || p[i] > high) {
                return false;
            }
        }
        p += n_more;
    }
    return true;
}

static span take_text(reader *in, uint64_t n_bytes)
{
    span text = {(const char *)take(in, n_bytes), (size_t)n_bytes};
    if (in->is_bad || !is_utf8(&text)) {
        in->is_bad = true;
        text = (span){"", 0};
    }
    return text;
}

static span take_name(reader *in, size_t n_suffix)
{
    span name = take_text(in, take_number(in, 1));
    char copy[BP_MAX_NAME + 1];
    memcpy(copy, name.text, name.n_bytes);
    copy[name.n_bytes] = '\0';
    if (bp__name_fault(copy, n_suffix) != BP__NAME_FINE) {
        in->is_bad = true;
    }
    return name;
}

static dtype_record take_dtype(reader *in)
{
    dtype_record dtype;
    dtype.text = take_text(in, take_number(in, 4));
    dtype.n_bytes = (uint32_t)take_number(in, 4);
    dtype.align = (uint32_t)take_number(in, 4);
    if (dtype.text.n_bytes == 0 || dtype.n_bytes == 0 ||
        !bp_is_power_of_two(dtype.align) || dtype.align > BP_MAX_ALIGN) {
        in->is_bad = true;
    }
    return dtype;
}

typedef struct heading {
    uint32_t n_placements;
    uint32_t n_children;
    uint32_t n_phases;
    uint32_t n_loops;
    dtype_record precision;
} heading;

static void take_life(reader *in, const heading *head, record *out)
{
    out->first = out->last = BP_ALWAYS;
    if ((out->flags & BP__SEEN_LIFE) != 0) {
        out->first = (uint32_t)take_number(in, 4);
        out->last = (uint32_t)take_number(in, 4);
        in->is_bad =
            in->is_bad || out->first > out->last || out->last >= head->n_phases;
    }
}

static void take_buffer(reader *in, const heading *head, record *out)
{
    out->location = (uint8_t)take_number(in, 1);
    out->flags = (uint8_t)take_number(in, 1);
    out->n_dims = (uint8_t)take_number(in, 1);
    out->align = (uint32_t)take_number(in, 4);
    out->bytes_of = (uint32_t)take_number(in, 4);
    out->offsets[0] = take_number(in, 8);
    out->dims = take(in, 8u * (uint64_t)out->n_dims);
    out->name = take_name(in, 0);
    out->dtype = (out->flags & BP__SEEN_PRECISION) != 0 ? head->precision
                                                        : take_dtype(in);
    take_life(in, head, out);
    bool is_kept = (out->flags & BP__SEEN_KEPT) != 0;
    bool is_carried = (out->flags & BP__SEEN_CARRIED) != 0;
    bool is_phased = out->first != BP_ALWAYS;
    if (out->location >= BP_N_REGIONS || out->flags > BP__SEEN_ALL ||
        (is_kept && is_phased) ||
        (is_carried && (out->flags & BP__SEEN_ZERO) != 0) || out->n_dims < 1 ||
        out->n_dims > BP_MAX_DIMS || !bp_is_power_of_two(out->align) ||
        out->align > BP_MAX_ALIGN || out->align < out->dtype.align ||
        (out->offsets[0] & (out->align - 1u)) != 0 ||
        out->offsets[0] >= BP_MAX_BYTES ||
        (out->location == BP_LOCAL && (out->offsets[0] != 0 || is_kept))) {
        in->is_bad = true;
    }
}

static void take_child(reader *in, const heading *head, record *out)
{
    for (size_t i = 0; i < BP__N_ROLLUPS; i++) {
        out->offsets[i] = take_number(in, 8);
        in->is_bad = in->is_bad || out->offsets[i] >= BP_MAX_BYTES;
    }
    out->name = take_name(in, strlen(bp__rollup_suffix[BP__N_ROLLUPS - 1]));
    out->digest = take(in, BP_DIGEST_BYTES);
    out->flags = (uint8_t)take_number(in, 1);
    take_life(in, head, out);
    in->is_bad = in->is_bad || (out->flags & ~BP__SEEN_LIFE) != 0;
}

/* False: the data end here or say what cannot be. */
static bool take_record(reader *in, const heading *head, record *out)
{
    *out = (record){.kind = (uint8_t)take_number(in, 1)};
    if (out->kind == BP__IS_BUFFER) {
        take_buffer(in, head, out);
    } else if (out->kind == BP__IS_CHILD) {
        take_child(in, head, out);
    } else {
        in->is_bad = true;
    }
    return !in->is_bad;
}

/* ---- one layout -------------------------------------------------------- */

static bool take_heading(reader *in, heading *out)
{
    const uint8_t *magic = take(in, 4);
    if (magic == NULL || memcmp(magic, BP__CONTENT_MAGIC, 4) != 0) {
        return false;
    }
    out->n_placements = (uint32_t)take_number(in, 4);
    out->n_children = (uint32_t)take_number(in, 4);
    out->n_phases = (uint32_t)take_number(in, 4);
    out->n_loops = (uint32_t)take_number(in, 4);
    out->precision = take_dtype(in);
    return !in->is_bad && out->n_phases <= BP_MAX_PHASES;
}

/* Phases are read once to be measured and once to be kept: layout NULL, then
 * room NULL. Loops have a fixed size. */
static bool take_phases(reader *in, const heading *head, bp__layout_size *size,
                        bp_layout *layout, bp__layout_room *room)
{
    for (uint32_t i = 0; i < head->n_phases && !in->is_bad; i++) {
        span name = take_name(in, 0);
        if (layout == NULL) {
            size->n_text_bytes += name.n_bytes + 1;
        } else {
            layout->phases[i] = bp__room_text(room, name.text, name.n_bytes);
        }
    }
    const uint8_t *loops = take(in, 8 * (uint64_t)head->n_loops);
    for (uint32_t i = 0; loops != NULL && layout != NULL && i < head->n_loops;
         i++) {
        reader one = {loops + 8 * (size_t)i, 8, false};
        layout->loops[i].first = (uint32_t)take_number(&one, 4);
        layout->loops[i].last = (uint32_t)take_number(&one, 4);
    }
    return !in->is_bad;
}

/* Reads all records, so nothing is allocated that the data do not pay for. */
static bool measure(reader in, const heading *head, bp__layout_size *out)
{
    uint64_t n_placements = 0;
    *out = (bp__layout_size){.n_text_bytes = head->precision.text.n_bytes + 1,
                             .n_phases = head->n_phases,
                             .n_loops = head->n_loops};
    if (!take_phases(&in, head, out, NULL, NULL)) {
        return false;
    }
    while (n_placements < head->n_placements) {
        record one;
        if (!take_record(&in, head, &one)) {
            return false;
        }
        if (one.kind == BP__IS_CHILD) {
            n_placements += BP__N_ROLLUPS;
            out->n_children++;
            out->n_text_bytes += (BP__N_ROLLUPS + 1) * (one.name.n_bytes + 1);
            for (size_t i = 0; i < BP__N_ROLLUPS; i++) {
                out->n_text_bytes += strlen(bp__rollup_suffix[i]);
            }
            continue;
        }
        n_placements++;
        out->n_far_dims += one.n_dims > 1 ? one.n_dims : 0;
        out->n_text_bytes += one.name.n_bytes + 1;
        if ((one.flags & BP__SEEN_PRECISION) == 0) {
            out->n_text_bytes += one.dtype.text.n_bytes + 1;
        }
    }
    out->n_placements = (size_t)n_placements;
    return n_placements == head->n_placements &&
           out->n_children == head->n_children && in.n_left == 0;
}

static bool fill_buffer(bp_layout *layout, size_t at, const record *one,
                        bp__layout_room *room)
{
    bp_placement *place = &layout->placements[at];
    place->name = bp__room_text(room, one->name.text, one->name.n_bytes);
    place->location = (bp_location)one->location;
    place->n_dims = one->n_dims;
    place->align = one->align;
    place->bytes_of = one->bytes_of;
    place->offset_bytes = one->offsets[0];
    place->is_zero = (one->flags & BP__SEEN_ZERO) != 0;
    place->is_kept = (one->flags & BP__SEEN_KEPT) != 0;
    place->is_carried = (one->flags & BP__SEEN_CARRIED) != 0;
    place->first_phase = one->first;
    place->last_phase = one->last;
    place->dtype = layout->precision;
    if ((one->flags & BP__SEEN_PRECISION) == 0) {
        place->dtype = (bp_dtype){
            bp__room_text(room, one->dtype.text.text, one->dtype.text.n_bytes),
            one->dtype.n_bytes, one->dtype.align};
    }
    uint64_t *dims = &place->n_items;
    if (one->n_dims > 1) {
        dims = room->dims;
        room->dims += one->n_dims;
    }
    reader in = {one->dims, 8u * (size_t)one->n_dims, false};
    for (uint32_t i = 0; i < one->n_dims; i++) {
        dims[i] = take_number(&in, 8);
    }
    place->shape = dims;
    return bp__shape_items(dims, one->n_dims, &place->n_items) &&
           bp_mul(place->n_items, place->dtype.n_bytes, &place->n_bytes) &&
           place->n_bytes < BP_MAX_BYTES;
}

static bool fill_child(bp_layout *layout, size_t at, size_t number,
                       const record *one, bp__layout_room *room,
                       const bp__layout_list *known)
{
    bp_child_region *region = &layout->children[number];
    region->name = bp__room_text(room, one->name.text, one->name.n_bytes);
    bp_layout *child = bp__layout_list_find(known, one->digest);
    if (child == NULL) {
        return false;
    }
    region->layout = bp_layout_ref(child);
    region->first_phase = one->first;
    region->last_phase = one->last;
    for (uint32_t i = 0; i < BP__N_ROLLUPS; i++) {
        bp_placement *place = &layout->placements[at + i];
        char name[BP_MAX_NAME + 1];
        int n = snprintf(name, sizeof name, "%s%s", region->name,
                         bp__rollup_suffix[i]);
        bp_location location = bp__rollup_location[i];
        bool is_always = location == BP_PERSISTENT_LOCAL;
        *place =
            (bp_placement){.name = bp__room_text(room, name, (size_t)n),
                           .shape = &place->n_items,
                           .offset_bytes = one->offsets[i],
                           .dtype = layout->precision,
                           .location = location,
                           .n_dims = 1,
                           .bytes_of = (uint32_t)(at + i),
                           .first_phase = is_always ? BP_ALWAYS : one->first,
                           .last_phase = is_always ? BP_ALWAYS : one->last,
                           .is_rollup = true};
        region->offset_bytes[location] = one->offsets[i];
        if ((one->offsets[i] & (child->regions[location].align - 1u)) != 0) {
            return false;
        }
    }
    return true;
}

static bool is_settled(const bp_layout *layout, uint32_t first, uint32_t last,
                       bool is_carried)
{
    return bp__span_is_settled(layout->loops, layout->n_loops,
                               (bp__span){first, last}, is_carried);
}

static bool are_phases_consistent(const bp_layout *layout)
{
    for (size_t i = 0; i < layout->n_phases; i++) {
        const char *name = layout->phases[i];
        if (bp_layout_find(layout, name) != NULL) {
            return false;
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(layout->phases[k], name) == 0) {
                return false;
            }
        }
        for (size_t k = 0; k < layout->n_children; k++) {
            if (strcmp(layout->children[k].name, name) == 0) {
                return false;
            }
        }
    }
    return bp__loops_fit(layout->loops, layout->n_loops,
                         (uint32_t)layout->n_phases);
}

/* A group of aliases is consistent; no name occurs twice. */
static bool is_consistent(const bp_layout *layout)
{
    for (size_t i = 0; i < layout->n_placements; i++) {
        const bp_placement *place = &layout->placements[i];
        if (place->bytes_of >= layout->n_placements ||
            bp_layout_find(layout, place->name) != place) {
            return false;
        }
        const bp_placement *root = &layout->placements[place->bytes_of];
        if (root->bytes_of != place->bytes_of ||
            root->is_rollup != place->is_rollup ||
            root->location != place->location ||
            root->offset_bytes != place->offset_bytes ||
            root->align != place->align || root->is_kept != place->is_kept ||
            root->first_phase != place->first_phase ||
            root->last_phase != place->last_phase ||
            root->is_carried != place->is_carried ||
            !is_settled(layout, place->first_phase, place->last_phase,
                        place->is_carried) ||
            root->n_bytes < place->n_bytes) {
            return false;
        }
    }
    for (size_t i = 0; i < layout->n_children; i++) {
        const bp_child_region *child = &layout->children[i];
        if (bp_layout_find(layout, child->name) != NULL ||
            !is_settled(layout, child->first_phase, child->last_phase, false)) {
            return false;
        }
    }
    return are_phases_consistent(layout);
}

/* No two share bytes while both live. Errors: BAD_DATA, NO_MEMORY. */
static bp_status check_disjoint(const bp_layout *layout, bp_error *error)
{
    bool is_disjoint = false;
    bp_status status = bp__layout_is_disjoint(layout, &is_disjoint, error);
    return status != BP_OK || is_disjoint
               ? status
               : bad_data(error, "two buffers share bytes");
}

static bool fill(bp_layout *layout, reader in, const heading *head,
                 bp__layout_room *room, const bp__layout_list *known)
{
    layout->precision =
        (bp_dtype){bp__room_text(room, head->precision.text.text,
                                 head->precision.text.n_bytes),
                   head->precision.n_bytes, head->precision.align};
    bp__layout_hide(layout);
    if (!take_phases(&in, head, NULL, layout, room)) {
        return false;
    }
    size_t n_children = 0;
    for (size_t at = 0; at < layout->n_placements;) {
        record one;
        if (!take_record(&in, head, &one)) {
            return false;
        }
        if (one.kind == BP__IS_CHILD) {
            if (!fill_child(layout, at, n_children++, &one, room, known)) {
                return false;
            }
            at += BP__N_ROLLUPS;
        } else if (!fill_buffer(layout, at++, &one, room)) {
            return false;
        }
    }
    return true;
}

/* The layout whose content these bytes are. */
static bp_status unpack_one(const uint8_t *bytes, size_t n_bytes,
                            const bp__layout_list *known, bp_layout **out,
                            bp_error *error)
{
    reader in = {bytes, n_bytes, false};
    heading head;
    bp__layout_size size;
    if (!take_heading(&in, &head) || !measure(in, &head, &size)) {
        return bad_data(error, "a layout is malformed");
    }
    bp__layout_room room;
    bp_layout *layout = bp__layout_alloc(&known->alloc, &size, &room);
    if (layout == NULL) {
        return bp__refuse_memory(error);
    }
    const bp__content *content = NULL;
    bp_status status = BP_OK;
    if (!fill(layout, in, &head, &room, known)) {
        status = bad_data(error, "a buffer or child is malformed");
        goto fail;
    }
    bp__layout_size_rollups(layout);
    if (!is_consistent(layout) || bp__layout_measure(layout, NULL) != BP_OK) {
        status = bad_data(error, "placements contradict each other");
        goto fail;
    }
    if ((status = check_disjoint(layout, error)) != BP_OK ||
        (status = bp__layout_need_content(layout, &content, error)) != BP_OK) {
        goto fail;
    }
    if (content->n_bytes != n_bytes ||
        memcmp(content->bytes, bytes, n_bytes) != 0) {
        status = bad_data(error, "not in canonical form");
        goto fail;
    }
    for (int i = 0; i < BP_N_REGIONS; i++) {
        layout->regions[i].status = BP_PLAN_FEASIBLE;
    }
    *out = layout;
    return BP_OK;
fail:
    bp_layout_unref(layout);
    return status;
}

/* ---- the pack ---------------------------------------------------------- */

static bool has_right_digest(const uint8_t *bytes, size_t n_bytes)
{
    uint8_t digest[BP_DIGEST_BYTES];
    bp_blake2b hash;
    bp__blake2b_init(&hash);
    bp__blake2b_update(&hash, bytes, n_bytes - BP_DIGEST_BYTES);
    bp__blake2b_final(&hash, digest);
    return memcmp(digest, bytes + n_bytes - BP_DIGEST_BYTES, BP_DIGEST_BYTES) ==
           0;
}

/* All layouts, each owned by the list's holder from then on. */
static bp_status unpack_all(reader *in, uint64_t n_layouts,
                            bp__layout_list *list, bp_error *error)
{
    for (uint64_t i = 0; i < n_layouts; i++) {
        uint64_t n_bytes = take_number(in, 8);
        const uint8_t *bytes = take(in, n_bytes);
        if (bytes == NULL) {
            return bad_data(error, "it ends too early");
        }
        bp_layout *layout = NULL;
        bp_status status =
            unpack_one(bytes, (size_t)n_bytes, list, &layout, error);
        if (status != BP_OK) {
            return status;
        }
        const bp__content *content = atomic_load(&layout->content);
        bool is_double = bp__layout_list_find(list, content->digest) != NULL;
        if (is_double || !bp__layout_list_add(list, layout)) {
            bp_layout_unref(layout);
            return is_double ? bad_data(error, "a layout occurs twice")
                             : bp__refuse_memory(error);
        }
    }
    return in->n_left == 0 && n_layouts != 0 ? BP_OK
                                             : bad_data(error, "stray bytes");
}

/* The last layout is the root, and packing it gives this very order. */
static bp_status check_order(const bp__layout_list *list, bp_error *error)
{
    bp__layout_list expected;
    bp__layout_list_init(&expected, &list->alloc);
    bp_layout *root = list->layouts[list->n_layouts - 1];
    bp_status status = bp__layout_list_collect(&expected, root, error);
    bool is_same = expected.n_layouts == list->n_layouts;
    for (size_t i = 0; is_same && i < list->n_layouts; i++) {
        is_same = expected.layouts[i] == list->layouts[i];
    }
    if (status == BP_OK && !is_same) {
        status = bad_data(error, "layouts in another order");
    }
    bp__layout_list_fini(&expected);
    return status;
}

bp_status bp_layout_unpack(const uint8_t *bytes, size_t n_bytes,
                           const bp_allocator *alloc, bp_layout **out,
                           bp_error *error)
{
    if (n_bytes < BP__PACK_LEAST ||
        memcmp(bytes, BP__PACK_MAGIC, BP__PACK_N_MAGIC) != 0) {
        return bad_data(error, "it does not begin like one");
    }
    if (!has_right_digest(bytes, n_bytes)) {
        return bad_data(error, "its digest is wrong");
    }
    bp_allocator source = bp__allocator_or_default(alloc);
    bp__layout_list list;
    bp__layout_list_init(&list, &source);
    reader in = {bytes + BP__PACK_N_MAGIC,
                 n_bytes - BP__PACK_N_MAGIC - BP_DIGEST_BYTES, false};
    bp_status status = unpack_all(&in, take_number(&in, 4), &list, error);
    if (status == BP_OK) {
        status = check_order(&list, error);
    }
    if (status == BP_OK) {
        *out = bp_layout_ref(list.layouts[list.n_layouts - 1]);
    }
    /* Parents hold their children; each gives up the one the list stood for. */
    for (size_t i = 0; i < list.n_layouts; i++) {
        bp_layout_unref(list.layouts[i]);
    }
    bp__layout_list_fini(&list);
    return status;
}
