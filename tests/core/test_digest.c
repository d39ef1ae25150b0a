/* test_digest.c - what kernels see, and nothing else, makes a layout's content
 * and digest. */
#include "harness.h"

#include "registry_fixture.h"

#include "base/hash.h"

static bool digest_of(fixture *it, bp_factory f, char out[BP_DIGEST_TEXT])
{
    bp_layout *layout = layout_of(it, f);
    bool is_done =
        layout != NULL && bp_layout_digest(layout, out, &it->error) == BP_OK;
    bp_layout_unref(layout);
    return is_done;
}

/* One factory "a", "b", "c", a child and an override, made in many ways. */
static bp_status make(fixture *it, bp_factory f, bp_factory child,
                      uint64_t seed)
{
    static const char *const names[] = {"a", "b", "c"};
    bp_registry *r = it->registry;
    bp_status status = BP_OK;
    for (uint64_t i = 0; i < 3 && status == BP_OK; i++) {
        bool has_detour = random_below(&seed, 2) == 0;
        status = declare(it, f, names[i], has_detour ? 99 : i + 1,
                         has_detour ? BP_BLOCK : BP_SHARED);
        if (status == BP_OK && random_below(&seed, 2) == 0) {
            status = declare(it, f, "passing", 7, BP_SHARED);
            if (status == BP_OK) {
                bp_layout_unref(layout_of(it, f));
                status = bp_registry_unregister(r, f, "passing", &it->error);
            }
        }
        if (status == BP_OK && i == 1) {
            status = bp_registry_add_child(r, f, child, "kid", NULL, NULL,
                                           &it->error);
        }
        if (status == BP_OK && has_detour) {
            status = declare(it, f, names[i], i + 1, BP_SHARED);
        }
    }
    if (status == BP_OK && random_below(&seed, 2) == 0) {
        status = move(it, f, "a_location", "block");
    }
    if (status == BP_OK) {
        status = move(it, f, "a_location", "persistent_local");
    }
    return status;
}

static void digest_is_blind_to_history(void)
{
    char want[BP_DIGEST_TEXT] = "";
    for (uint64_t seed = 0; seed < 64; seed++) {
        fixture it;
        CHECK(fixture_init(&it, BP_PLAN_AUTO));
        for (uint64_t i = 0; i < seed % 5;
             i++) { /* other slots, other clocks */
            CHECK_STATUS(
                declare(&it, fixture_open(&it, "Other"), "x", i, BP_LOCAL),
                BP_OK, &it.error);
        }
        bp_factory child = fixture_open(&it, seed % 2 == 0 ? "C" : "Child");
        CHECK_STATUS(declare(&it, child, "y", 5, BP_SHARED), BP_OK, &it.error);
        bp_factory f = fixture_open(&it, seed % 3 == 0 ? "F" : "Factory");
        CHECK_STATUS(make(&it, f, child, seed), BP_OK, &it.error);
        char got[BP_DIGEST_TEXT];
        CHECK(digest_of(&it, f, got));
        if (seed == 0) {
            memcpy(want, got, sizeof want);
        }
        CHECK_TEXT(got, want);
        CHECK(fixture_fini(&it));
    }
}

static bp_status put(fixture *it, bp_factory f, const bp_buffer_spec *spec)
{
    return bp_registry_register(it->registry, f, spec, NULL, &it->error);
}

/* Other from all that were seen; the base's again afterwards. */
static void check_new(fixture *it, bp_factory f, char (*seen)[BP_DIGEST_TEXT],
                      size_t n_seen)
{
    CHECK(digest_of(it, f, seen[n_seen]));
    for (size_t i = 0; i < n_seen; i++) {
        CHECK(strcmp(seen[n_seen], seen[i]) != 0);
    }
}

enum { N_VARIANTS = 7 };

static void fill_variants(bp_buffer_spec *base, bp_buffer_spec *v)
{
    static const bp_dtype i4 = {"<i4", 4, 4};
    static const uint64_t one[2] = {8, 1};
    static const uint64_t flat[2] = {4, 2};
    bp_buffer_spec_init(base);
    base->name = "x";
    base->shape = one;
    base->n_dims = 2;
    base->location = BP_SHARED;
    base->dtype = &f4;
    for (size_t i = 0; i < N_VARIANTS; i++) {
        v[i] = *base;
    }
    v[0].shape = flat;
    v[1].location = BP_BLOCK;
    v[2].dtype = &i4;
    v[3].align = 8;
    v[4].zero = true;
    v[5].keep = BP_YES;
    v[6].n_dims = 1;
}

/* Whatever kernels see makes another digest, and going back the old one. */
static void digest_sees_what_kernels_see(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "F");
    CHECK_STATUS(declare(&it, f, "other", 9, BP_SHARED), BP_OK, &it.error);
    bp_buffer_spec base;
    bp_buffer_spec v[N_VARIANTS];
    fill_variants(&base, v);
    char seen[N_VARIANTS + 2][BP_DIGEST_TEXT];
    char back[BP_DIGEST_TEXT];
    CHECK_STATUS(put(&it, f, &base), BP_OK, &it.error);
    CHECK(digest_of(&it, f, seen[0]));
    for (size_t i = 0; i < N_VARIANTS; i++) {
        CHECK_STATUS(put(&it, f, &v[i]), BP_OK, &it.error);
        check_new(&it, f, seen, i + 1);
        CHECK_PASSED();
        CHECK_STATUS(put(&it, f, &base), BP_OK, &it.error);
        CHECK(digest_of(&it, f, back));
        CHECK_TEXT(back, seen[0]);
    }
    CHECK_STATUS(bp_factory_set_precision(it.registry, f, &f8, &it.error),
                 BP_OK, &it.error);
    check_new(&it, f, seen, N_VARIANTS + 1);
    CHECK_PASSED();
    CHECK_STATUS(bp_factory_set_precision(it.registry, f, &f4, &it.error),
                 BP_OK, &it.error);
    /* The weight for the launch planner is not seen. */
    base.uses = 8.0f;
    CHECK_STATUS(put(&it, f, &base), BP_OK, &it.error);
    CHECK(digest_of(&it, f, back));
    CHECK_TEXT(back, seen[0]);
    CHECK(fixture_fini(&it));
}

/* A child's content is part of its parent's, though no place moves; sharing
 * bytes is seen, in local memory too. */
static void digest_sees_children_and_aliases(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "F");
    bp_factory child = fixture_open(&it, "Child");
    char seen[4][BP_DIGEST_TEXT];
    CHECK_STATUS(declare(&it, f, "local_x", 9, BP_LOCAL), BP_OK, &it.error);
    CHECK(digest_of(&it, f, seen[0]));
    CHECK_STATUS(bp_registry_add_child(it.registry, f, child, "kid", NULL, NULL,
                                       &it.error),
                 BP_OK, &it.error);
    check_new(&it, f, seen, 1);
    CHECK_PASSED();
    CHECK_STATUS(declare(&it, child, "deep", 0, BP_LOCAL), BP_OK, &it.error);
    check_new(&it, f, seen, 2);
    CHECK_PASSED();
    CHECK_STATUS(declare(&it, f, "local_y", 9, BP_LOCAL), BP_OK, &it.error);
    check_new(&it, f, seen, 3);
    CHECK_PASSED();
    char shared[BP_DIGEST_TEXT];
    CHECK_STATUS(declare_same(&it, f, "local_y", 9, "local_x"), BP_OK,
                 &it.error);
    CHECK(digest_of(&it, f, shared));
    CHECK(strcmp(shared, seen[3]) != 0);
    CHECK(fixture_fini(&it));
}

/* The digest is BLAKE2b of the content; the bytes of a small layout are these,
 * on every machine. */
static void content_is_canonical(void)
{
    static const uint8_t want[] = {
        'B', 'P', 'L', '2', 1,   0,   0,   0, 0, 0, 0, 0, /* counts */
        0,   0,   0,   0,   0,   0,   0,   0, /* no phases and loops */
        3,   0,   0,   0,   '<', 'f', '4', 4, 0, 0, 0, 4,
        0,   0,   0,                                      /* precision */
        0,   3,   6,   1,   4,   0,   0,   0, 0, 0, 0, 0, /* buffer */
        0,   0,   0,   0,   0,   0,   0,   0, 5, 0, 0, 0,
        0,   0,   0,   0, /* offset, dims */
        1,   'x'};
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory f = fixture_open(&it, "F");
    CHECK_STATUS(declare(&it, f, "x", 5, BP_PERSISTENT_LOCAL), BP_OK,
                 &it.error);
    bp_layout *layout = layout_of(&it, f);
    CHECK(layout != NULL);
    const uint8_t *bytes;
    size_t n_bytes;
    CHECK_STATUS(bp_layout_get_content(layout, &bytes, &n_bytes, &it.error),
                 BP_OK, &it.error);
    CHECK_U64(n_bytes, sizeof want);
    CHECK(memcmp(bytes, want, sizeof want) == 0);
    bp_blake2b hash;
    uint8_t digest[BP__BLAKE2B_BYTES];
    bp__blake2b_init(&hash);
    bp__blake2b_update(&hash, want, sizeof want);
    bp__blake2b_final(&hash, digest);
    char text[BP_DIGEST_TEXT];
    CHECK_STATUS(bp_layout_digest(layout, text, &it.error), BP_OK, &it.error);
    char expected[BP_DIGEST_TEXT];
    for (size_t i = 0; i < sizeof digest; i++) {
        (void)snprintf(expected + 2 * i, 3, "%02x", digest[i]);
    }
    CHECK_TEXT(text, expected);
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(digest_is_blind_to_history);
    RUN(digest_sees_what_kernels_see);
    RUN(digest_sees_children_and_aliases);
    RUN(content_is_canonical);
    return finish();
}
