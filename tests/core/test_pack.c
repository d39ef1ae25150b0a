/* test_pack.c - layouts as bytes and back; whatever is not what packing gives
 * is refused. */
#include "harness.h"

#include "registry_fixture.h"

#include "lifetimes_fixture.h"

#include "base/hash.h"

/* Phases, loops and lifetimes of all kinds. */
static bp_status make_lives(fixture *it, bp_factory f)
{
    bp_status s = PHASES(it, f, "pre", "predict", "solve", "post");
    s = s == BP_OK ? make_loop(it, f, "predict", "solve") : s;
    s = s == BP_OK ? make_loop(it, f, "solve", NULL) : s;
    s = s == BP_OK ? declare_live(it, f, "one", 3, BP_SHARED, "predict", NULL)
                   : s;
    s = s == BP_OK ? declare_live(it, f, "two", 3, BP_BLOCK, "pre", "predict")
                   : s;
    return s == BP_OK ? declare_carried(it, f, "three", 2, "solve", NULL) : s;
}

/* A tree with everything in it: dims, types, aliases, lifetimes, shared
 * children, a child that is gone. */
static bp_status make_tree(fixture *it, bp_factory *out)
{
    bp_registry *r = it->registry;
    bp_factory top = fixture_open(it, "Top");
    bp_factory mid = fixture_open(it, "Mid");
    bp_factory leaf = fixture_open(it, "Leaf");
    bp_factory gone = fixture_open(it, "Gone");
    uint64_t dims[3] = {2, 3, 4};
    bp_buffer_spec spec;
    bp_buffer_spec_init(&spec);
    spec.name = "cube";
    spec.shape = dims;
    spec.n_dims = 3;
    spec.location = BP_SHARED;
    spec.dtype = &f8;
    spec.zero = true;
    spec.align = 32;
    bp_error *e = &it->error;
    bp_status s = bp_registry_register(r, top, &spec, NULL, e);
    *out = top;
    const struct {
        bp_factory f;
        const char *name;
        uint64_t n;
        bp_location location;
    } rows[] = {{top, "a", 5, BP_BLOCK},   {top, "empty", 0, BP_SHARED},
                {mid, "b", 3, BP_SHARED},  {mid, "c", 2, BP_PERSISTENT_LOCAL},
                {leaf, "d", 7, BP_SHARED}, {leaf, "e", 1, BP_LOCAL},
                {gone, "f", 1, BP_SHARED}};
    for (size_t i = 0; i < 7 && s == BP_OK; i++) {
        s = declare(it, rows[i].f, rows[i].name, rows[i].n, rows[i].location);
    }
    s = s == BP_OK ? declare_same(it, top, "view_of_a", 4, "a") : s;
    s = s == BP_OK ? declare_same(it, leaf, "same_e", 1, "e") : s;
    s = s == BP_OK ? bp_registry_add_child(r, top, mid, "mid", NULL, NULL, e)
                   : s;
    s = s == BP_OK ? bp_registry_add_child(r, top, leaf, "leaf", NULL, NULL, e)
                   : s;
    s = s == BP_OK ? bp_registry_add_child(r, mid, leaf, "leaf", NULL, NULL, e)
                   : s;
    s = s == BP_OK ? make_lives(it, mid) : s;
    s = s == BP_OK
            ? bp_registry_add_child(r, mid, gone, "gone", "pre", "predict", e)
            : s;
    s = s == BP_OK ? declare(it, mid, "\xC3\xA9t\xC3\xA9", 1, BP_SHARED) : s;
    bp_factory_close(r, gone);
    return s;
}

typedef struct pack {
    uint8_t *bytes;
    size_t n_bytes;
} pack;

static bool pack_of(bp_layout *layout, pack *out)
{
    return bp_layout_pack(layout, &out->bytes, &out->n_bytes, NULL) == BP_OK;
}

static bool same_pack(const pack *a, const pack *b)
{
    return a->n_bytes == b->n_bytes &&
           memcmp(a->bytes, b->bytes, a->n_bytes) == 0;
}

static void check_same_placements(const bp_layout *a, const bp_layout *b)
{
    CHECK_U64(bp_layout_n_placements(a), bp_layout_n_placements(b));
    for (size_t i = 0; i < bp_layout_n_placements(a); i++) {
        const bp_placement *x = bp_layout_get_placement(a, i);
        const bp_placement *y = bp_layout_get_placement(b, i);
        CHECK_TEXT(x->name, y->name);
        CHECK_TEXT(x->dtype.text, y->dtype.text);
        CHECK_U64(x->dtype.n_bytes, y->dtype.n_bytes);
        CHECK_U64(x->dtype.align, y->dtype.align);
        CHECK_U64(x->offset_bytes, y->offset_bytes);
        CHECK_U64(x->n_bytes, y->n_bytes);
        CHECK_U64(x->n_items, y->n_items);
        CHECK_U64(x->location, y->location);
        CHECK_U64(x->align, y->align);
        CHECK_U64(x->bytes_of, y->bytes_of);
        CHECK_U64(x->n_dims, y->n_dims);
        CHECK(memcmp(x->shape, y->shape, x->n_dims * sizeof *x->shape) == 0);
        CHECK_U64(x->first_phase, y->first_phase);
        CHECK_U64(x->last_phase, y->last_phase);
        CHECK(x->is_carried == y->is_carried);
        CHECK(x->is_kept == y->is_kept && x->is_zero == y->is_zero &&
              x->is_rollup == y->is_rollup);
    }
    for (int i = 0; i < BP_N_REGIONS; i++) {
        const bp_region *x = bp_layout_get_region(a, (bp_location)i);
        const bp_region *y = bp_layout_get_region(b, (bp_location)i);
        CHECK_U64(x->n_bytes, y->n_bytes);
        CHECK_U64(x->align, y->align);
        CHECK_U64(x->widest, y->widest);
        CHECK_U64(x->kept_bytes, y->kept_bytes);
        CHECK(x->has_report && !y->has_report);
    }
    CHECK_U64(bp_layout_n_phases(a), bp_layout_n_phases(b));
    for (size_t i = 0; i < bp_layout_n_phases(a); i++) {
        CHECK_TEXT(bp_layout_phase_name(a, i), bp_layout_phase_name(b, i));
    }
    CHECK_U64(bp_layout_n_loops(a), bp_layout_n_loops(b));
    for (size_t i = 0; i < bp_layout_n_loops(a); i++) {
        CHECK_U64(bp_layout_get_loop(a, i).first,
                  bp_layout_get_loop(b, i).first);
        CHECK_U64(bp_layout_get_loop(a, i).last, bp_layout_get_loop(b, i).last);
    }
    CHECK_U64(bp_layout_n_children(a), bp_layout_n_children(b));
    for (size_t i = 0; i < bp_layout_n_children(a); i++) {
        const bp_child_region *x = bp_layout_get_child(a, i);
        const bp_child_region *y = bp_layout_get_child(b, i);
        CHECK_TEXT(x->name, y->name);
        CHECK_U64(x->first_phase, y->first_phase);
        CHECK_U64(x->last_phase, y->last_phase);
        CHECK(memcmp(x->offset_bytes, y->offset_bytes,
                     sizeof x->offset_bytes) == 0);
        check_same_placements(x->layout, y->layout); /* three levels */
        CHECK_PASSED();
    }
}

static void comes_back_as_it_was(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory top;
    CHECK_STATUS(make_tree(&it, &top), BP_OK, &it.error);
    bp_layout *layout = layout_of(&it, top);
    CHECK(layout != NULL);
    pack first;
    CHECK(pack_of(layout, &first));
    bp_layout *back;
    CHECK_STATUS(bp_layout_unpack(first.bytes, first.n_bytes, &it.alloc, &back,
                                  &it.error),
                 BP_OK, &it.error);
    check_same_placements(layout, back);
    CHECK_PASSED();
    CHECK(bp_layout_get_name(back) == NULL);
    CHECK_U64(bp_layout_version(back), 0);
    /* The leaf is there once, under both its parents. */
    CHECK(bp_layout_get_child(back, 1)->layout ==
          bp_layout_get_child(bp_layout_get_child(back, 0)->layout, 0)->layout);
    char a[BP_DIGEST_TEXT];
    char b[BP_DIGEST_TEXT];
    CHECK_STATUS(bp_layout_digest(layout, a, &it.error), BP_OK, &it.error);
    CHECK_STATUS(bp_layout_digest(back, b, &it.error), BP_OK, &it.error);
    CHECK_TEXT(a, b);
    bool is_equal = false;
    CHECK_STATUS(bp_layout_equal(layout, back, &is_equal, &it.error), BP_OK,
                 &it.error);
    CHECK(is_equal);
    pack second;
    CHECK(pack_of(back, &second));
    CHECK(same_pack(&first, &second));
    bp_layout_pack_free(layout, first.bytes, first.n_bytes);
    bp_layout_pack_free(back, second.bytes, second.n_bytes);
    bp_layout_unref(layout);
    bp_layout_unref(back);
    CHECK(fixture_fini(&it));
}

static void seal(uint8_t *bytes, size_t n_bytes)
{
    bp_blake2b hash;
    bp__blake2b_init(&hash);
    bp__blake2b_update(&hash, bytes, n_bytes - BP_DIGEST_BYTES);
    bp__blake2b_final(&hash, bytes + n_bytes - BP_DIGEST_BYTES);
}

/* BAD_DATA, or a layout that packs to these very bytes. */
static void check_verdict(fixture *it, const uint8_t *bytes, size_t n_bytes,
                          size_t *n_taken)
{
    bp_layout *layout = NULL;
    bp_status status =
        bp_layout_unpack(bytes, n_bytes, &it->alloc, &layout, &it->error);
    if (status != BP_OK) {
        CHECK_STATUS(status, BP_BAD_DATA, &it->error);
        CHECK(layout == NULL);
        return;
    }
    ++*n_taken;
    pack again;
    CHECK(pack_of(layout, &again));
    bool is_same =
        again.n_bytes == n_bytes && memcmp(again.bytes, bytes, n_bytes) == 0;
    bp_layout_pack_free(layout, again.bytes, again.n_bytes);
    bp_layout_unref(layout);
    CHECK(is_same);
}

/* Every byte in every value of one changed bit, and as 0 and 255; once with
 * the digest as it was, once with a digest that is right again, so that the
 * checks behind it are reached. */
static void every_flip_is_seen(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory top;
    CHECK_STATUS(make_tree(&it, &top), BP_OK, &it.error);
    bp_layout *layout = layout_of(&it, top);
    CHECK(layout != NULL);
    pack good;
    CHECK(pack_of(layout, &good));
    uint8_t *bad = malloc(good.n_bytes);
    CHECK(bad != NULL);
    size_t n_taken_sealed = 0;
    for (size_t i = 0; i < good.n_bytes; i++) {
        for (unsigned k = 0; k < 10; k++) {
            memcpy(bad, good.bytes, good.n_bytes);
            bad[i] = (uint8_t)(k < 8 ? bad[i] ^ 1u << k : k == 8 ? 0u : 255u);
            if (bad[i] == good.bytes[i]) {
                continue;
            }
            size_t n_taken = 0;
            check_verdict(&it, bad, good.n_bytes, &n_taken);
            CHECK_PASSED();
            CHECK_U64(n_taken, 0);
            if (i < good.n_bytes - BP_DIGEST_BYTES) {
                seal(bad, good.n_bytes);
                check_verdict(&it, bad, good.n_bytes, &n_taken_sealed);
                CHECK_PASSED();
            }
        }
    }
    CHECK(n_taken_sealed > 0); /* names and flags may be others */
    free(bad);
    bp_layout_pack_free(layout, good.bytes, good.n_bytes);
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

static void every_cut_is_seen(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory top;
    CHECK_STATUS(make_tree(&it, &top), BP_OK, &it.error);
    bp_layout *layout = layout_of(&it, top);
    CHECK(layout != NULL);
    pack good;
    CHECK(pack_of(layout, &good));
    uint8_t *bad = malloc(good.n_bytes + 1);
    CHECK(bad != NULL);
    size_t n_taken = 0;
    for (size_t n = 0; n <= good.n_bytes + 1; n++) {
        if (n == good.n_bytes) {
            continue;
        }
        memcpy(bad, good.bytes, n < good.n_bytes ? n : good.n_bytes);
        check_verdict(&it, bad, n, &n_taken);
        CHECK_PASSED();
        if (n >= BP_DIGEST_BYTES) {
            seal(bad, n);
            check_verdict(&it, bad, n, &n_taken);
            CHECK_PASSED();
        }
    }
    CHECK_U64(n_taken, 0);
    free(bad);
    bp_layout_pack_free(layout, good.bytes, good.n_bytes);
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

/* Random blocks between pieces of real ones. */
static void noise_is_refused(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory top;
    CHECK_STATUS(make_tree(&it, &top), BP_OK, &it.error);
    bp_layout *layout = layout_of(&it, top);
    CHECK(layout != NULL);
    pack good;
    CHECK(pack_of(layout, &good));
    uint8_t *bad = malloc(2 * good.n_bytes);
    CHECK(bad != NULL);
    uint64_t seed = 11;
    size_t n_taken = 0;
    for (size_t round = 0; round < 3000; round++) {
        size_t n = good.n_bytes;
        memcpy(bad, good.bytes, n);
        for (uint64_t i = 1 + random_below(&seed, 3); i > 0; i--) {
            size_t from = (size_t)random_below(&seed, n - 24);
            size_t to = (size_t)random_below(&seed, n - 24);
            size_t n_move = (size_t)random_below(&seed, 24);
            memmove(bad + to, bad + from, n_move);
        }
        seal(bad, n);
        check_verdict(&it, bad, n, &n_taken);
        CHECK_PASSED();
    }
    free(bad);
    bp_layout_pack_free(layout, good.bytes, good.n_bytes);
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

/* The same layouts in another order, or one too many, are no pack. */
static void order_is_canonical(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory top = fixture_open(&it, "Top");
    bp_factory a = fixture_open(&it, "A");
    bp_factory b = fixture_open(&it, "B");
    CHECK_STATUS(declare(&it, a, "x", 1, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, b, "y", 1, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(
        bp_registry_add_child(it.registry, top, a, "a", NULL, NULL, &it.error),
        BP_OK, &it.error);
    CHECK_STATUS(
        bp_registry_add_child(it.registry, top, b, "b", NULL, NULL, &it.error),
        BP_OK, &it.error);
    bp_layout *layout = layout_of(&it, top);
    CHECK(layout != NULL);
    pack good;
    CHECK(pack_of(layout, &good));
    const uint8_t *content;
    size_t n_content;
    CHECK_STATUS(bp_layout_get_content(bp_layout_get_child(layout, 0)->layout,
                                       &content, &n_content, &it.error),
                 BP_OK, &it.error);
    size_t n_one = 8 + n_content; /* both children are as long */
    uint8_t *bad = malloc(good.n_bytes + n_one);
    CHECK(bad != NULL);
    memcpy(bad, good.bytes, good.n_bytes);
    memcpy(bad + 12, good.bytes + 12 + n_one, n_one);
    memcpy(bad + 12 + n_one, good.bytes + 12, n_one);
    seal(bad, good.n_bytes);
    bp_layout *out = NULL;
    CHECK_STATUS(
        bp_layout_unpack(bad, good.n_bytes, &it.alloc, &out, &it.error),
        BP_BAD_DATA, NULL);
    CHECK_TEXT(it.error.text, "not a packed layout: layouts in another order");
    memcpy(bad, good.bytes, 12);
    bad[8]++;
    memcpy(bad + 12, good.bytes + 12, n_one);
    memcpy(bad + 12 + n_one, good.bytes + 12, good.n_bytes - 12);
    seal(bad, good.n_bytes + n_one);
    CHECK_STATUS(
        bp_layout_unpack(bad, good.n_bytes + n_one, &it.alloc, &out, &it.error),
        BP_BAD_DATA, NULL);
    CHECK_TEXT(it.error.text, "not a packed layout: a layout occurs twice");
    free(bad);
    bp_layout_pack_free(layout, good.bytes, good.n_bytes);
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

/* The second buffer's offset, in a pack of two buffers with names of one byte:
 * header, counts and precision, first record, fields before the offset. */
enum { SECOND_OFFSET = 12 + 8 + 35 + 30 + 12 };

static void overlaps_are_refused(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "F");
    CHECK_STATUS(declare(&it, f, "x", 2, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, f, "y", 2, BP_SHARED), BP_OK, &it.error);
    bp_layout *layout = layout_of(&it, f);
    CHECK(layout != NULL);
    pack good;
    CHECK(pack_of(layout, &good));
    CHECK_U64(good.bytes[SECOND_OFFSET], 8);
    static const struct {
        uint8_t offset;
        bp_status status;
    } rows[] = {{0, BP_BAD_DATA},
                {4, BP_BAD_DATA},
                {6, BP_BAD_DATA},
                {8, BP_OK},
                {12, BP_OK}};
    for (size_t i = 0; i < 5; i++) {
        good.bytes[SECOND_OFFSET] = rows[i].offset;
        seal(good.bytes, good.n_bytes);
        bp_layout *back = NULL;
        CHECK_STATUS(bp_layout_unpack(good.bytes, good.n_bytes, &it.alloc,
                                      &back, &it.error),
                     rows[i].status, &it.error);
        bp_layout_unref(back);
    }
    bp_layout_pack_free(layout, good.bytes, good.n_bytes);
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(comes_back_as_it_was);
    RUN(every_flip_is_seen);
    RUN(every_cut_is_seen);
    RUN(noise_is_refused);
    RUN(order_is_canonical);
    RUN(overlaps_are_refused);
    return finish();
}
