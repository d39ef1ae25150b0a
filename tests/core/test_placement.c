/* test_placement.c - binding a layout: strides, offsets, bytes and digests. */
#include "harness.h"

#include "bayplan/placement.h"

static const bp_dtype float32 = {"<f4", 4, 4}, float64 = {"<f8", 8, 8};
static const bp_dtype int8 = {"|i1", 1, 1}, float16 = {"<f2", 2, 2};

typedef struct buffer_row {
    const char *name;
    bp_location location;
    const bp_dtype *dtype;
    uint64_t n_items;
    uint32_t align;
} buffer_row;

/* The layout of one factory "Tested" with these buffers; NULL after a failed
 * check. */
static bp_layout *layout_of(const buffer_row *rows, size_t n_rows)
{
    bp_registry_options options = {.mode = BP_PLAN_SEQUENTIAL};
    bp_allocator alloc = bp_allocator_default();
    bp_registry *registry = NULL;
    bp_layout *layout = NULL;
    bp_error error = {.text = ""};
    bp_factory factory;
    bp_status status = bp_registry_new(&options, &alloc, &registry, &error);
    if (status == BP_OK) {
        status =
            bp_factory_open(registry, "Tested", &float32, &factory, &error);
    }
    for (size_t i = 0; status == BP_OK && i < n_rows; i++) {
        bp_buffer_spec spec;
        bp_buffer_spec_init(&spec);
        spec.name = rows[i].name;
        spec.location = rows[i].location;
        spec.dtype = rows[i].dtype;
        spec.shape = &rows[i].n_items;
        spec.n_dims = 1;
        spec.align = rows[i].align;
        status = bp_registry_register(registry, factory, &spec, NULL, &error);
    }
    if (status == BP_OK) {
        status = bp_registry_copy_layout(registry, factory, &layout, &error);
    }
    bp_registry_free(registry);
    (void)harness_status(status, BP_OK, &error, __FILE__, __LINE__, "layout");
    return layout;
}

/* Bind with defaults, but these; and the bytes of 1 and 7 runs. */
static void check_bound(bp_layout *layout, const bp_bind_request *request,
                        bp_bound want)
{
    bp_bound got;
    bp_error error;
    CHECK_STATUS(bp_bound_init(&got, layout, request, &error), BP_OK, &error);
    CHECK_U64(got.stride_bytes, want.stride_bytes);
    CHECK_U64(got.block_offset, want.block_offset);
    CHECK_U64(got.slices_offset, want.slices_offset);
    CHECK_U64(got.arena_align, want.arena_align);
    CHECK_U64(got.lanes_per_run, request->lanes_per_run);
    CHECK_U64(got.reserve_bytes, request->reserve_bytes);
    CHECK_U64(got.policy, request->policy);
    for (uint64_t n_runs = 0; n_runs <= 7; n_runs++) {
        uint64_t n_bytes = 0;
        CHECK_STATUS(bp_bound_shared_bytes(&got, n_runs, &n_bytes, &error),
                     BP_OK, &error);
        CHECK_U64(n_bytes, want.slices_offset + n_runs * want.stride_bytes);
    }
}

static void arenas_follow_the_layout(void)
{
    /* shared: 12 + 8 bytes at 4; block: 5 float64. */
    const buffer_row rows[] = {
        {"a", BP_SHARED, &float32, 3, 0},
        {"b", BP_SHARED, &float32, 2, 0},
        {"c", BP_BLOCK, &float64, 5, 0},
        {"d", BP_LOCAL, &float32, 100, 0},
        {"e", BP_PERSISTENT_LOCAL, &float32, 100, 0},
    };
    bp_layout *layout = layout_of(rows, 5);
    CHECK(layout != NULL);
    bp_bind_request request = {.policy = BP_STRIDE_NONE, .lanes_per_run = 1};
    check_bound(layout, &request, (bp_bound){20, 0, 48, 16, 1, 0, 0});
    request.policy = BP_STRIDE_PAD; /* 20 is five words: odd already */
    check_bound(layout, &request, (bp_bound){20, 0, 48, 16, 1, 0, 0});
    request.reserve_bytes = 17;
    request.lanes_per_run = 8;
    check_bound(layout, &request, (bp_bound){20, 32, 80, 16, 8, 17, 0});
    request.has_stride = true;
    request.stride_bytes = 24;
    check_bound(layout, &request, (bp_bound){24, 32, 80, 16, 8, 17, 0});
    bp_layout_unref(layout);
}

static void padding_is_odd_in_the_widest_unit(void)
{
    static const struct {
        buffer_row row;
        uint64_t none, pad;
        uint32_t arena_align;
    } cases[] = {
        {{"x", BP_SHARED, &float32, 32, 0}, 128, 132, 16},
        {{"x", BP_SHARED, &float64, 16, 0}, 128, 136, 16},
        {{"x", BP_SHARED, &int8, 3, 0}, 3, 4, 16},
        {{"x", BP_SHARED, &float16, 5, 0}, 10, 12, 16},
        {{"x", BP_SHARED, &float32, 4, 16}, 16, 16, 16},
        {{"x", BP_SHARED, &float32, 5, 16}, 32, 48, 16},
        {{"x", BP_SHARED, &float32, 65, 256}, 512, 768, 256},
        {{"x", BP_SHARED, &float32, 0, 0}, 0, 0, 16},
        {{"x", BP_BLOCK, &float32, 0, 128}, 0, 0, 128},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bp_layout *layout = layout_of(&cases[i].row, 1);
        CHECK(layout != NULL);
        bp_bind_request request = {.policy = BP_STRIDE_NONE,
                                   .lanes_per_run = 1};
        bp_bound want = {.stride_bytes = cases[i].none,
                         .arena_align = cases[i].arena_align};
        check_bound(layout, &request, want);
        request.policy = BP_STRIDE_PAD;
        want.stride_bytes = cases[i].pad;
        check_bound(layout, &request, want);
        bp_layout_unref(layout);
        CHECK_PASSED();
    }
}

static void check_refused(const bp_layout *layout, bp_bind_request request,
                          bp_status want, const char *text)
{
    bp_bound bound, before;
    memset(&bound, 0xCD, sizeof bound);
    before = bound;
    bp_error error;
    CHECK_STATUS(bp_bound_init(&bound, layout, &request, &error), want, &error);
    CHECK_TEXT(error.text, text);
    CHECK_TEXT(error.factory, "Tested");
    CHECK(memcmp(&bound, &before, sizeof bound) == 0);
    CHECK_U64(bp_bound_init(&bound, layout, &request, NULL), want);
}

static void bad_lanes_and_reserves_are_refused(void)
{
    bp_layout *layout = layout_of(NULL, 0);
    CHECK(layout != NULL);
    bp_bind_request request = {.policy = BP_STRIDE_PAD, .lanes_per_run = 0};
    check_refused(layout, request, BP_BAD_VALUE,
                  "lanes_per_run 0 is no power of two from 1 to 32");
    request.lanes_per_run = 6;
    check_refused(layout, request, BP_BAD_VALUE,
                  "lanes_per_run 6 is no power of two from 1 to 32");
    request.lanes_per_run = 64;
    check_refused(layout, request, BP_BAD_VALUE,
                  "lanes_per_run 64 is no power of two from 1 to 32");
    /* 32 bits would take it for 1. */
    request.lanes_per_run = (UINT64_C(1) << 32) + 1;
    check_refused(layout, request, BP_BAD_VALUE,
                  "lanes_per_run 4294967297 is no power of two from 1 to 32");
    request.lanes_per_run = 32;
    request.reserve_bytes = BP_MAX_BYTES;
    check_refused(layout, request, BP_BAD_VALUE,
                  "reserve_bytes 281474976710656 is not below 2^48");
    request.reserve_bytes = BP_MAX_BYTES - 1;
    check_bound(layout, &request,
                (bp_bound){0, BP_MAX_BYTES, BP_MAX_BYTES, 16, 32, 0, 0});
    request.policy = BP_STRIDE_INTERLEAVE;
    check_refused(layout, request, BP_NOT_YET,
                  "stride policy \"interleave\" is not yet supported (there "
                  "are none, pad)");
    request.policy = BP_N_STRIDE_POLICIES;
    check_refused(layout, request, BP_BAD_VALUE, "3 is no stride policy");
    bp_layout_unref(layout);
}

static void bad_strides_are_refused(void)
{
    const buffer_row rows[] = {{"a", BP_SHARED, &float64, 3, 0}};
    bp_layout *layout = layout_of(rows, 1);
    CHECK(layout != NULL);
    bp_bind_request request = {
        .policy = BP_STRIDE_PAD, .lanes_per_run = 1, .has_stride = true};
    request.stride_bytes = 16;
    check_refused(layout, request, BP_BAD_VALUE,
                  "a stride of 16 bytes is less than the 24 shared bytes of a "
                  "run");
    request.stride_bytes = 28;
    check_refused(layout, request, BP_BAD_VALUE,
                  "a stride of 28 bytes is no multiple of the shared "
                  "alignment 8");
    request.stride_bytes = BP_MAX_BYTES;
    check_refused(layout, request, BP_TOO_LARGE,
                  "a stride of 281474976710656 bytes is not below 2^48");
    request.stride_bytes = 24;
    check_bound(layout, &request, (bp_bound){24, 0, 0, 16, 1, 0, 0});

    bp_bound bound;
    bp_error error;
    request.stride_bytes = BP_MAX_BYTES - 8;
    CHECK_STATUS(bp_bound_init(&bound, layout, &request, &error), BP_OK,
                 &error);
    uint64_t n_bytes = 77;
    CHECK_STATUS(bp_bound_shared_bytes(&bound, 65536, &n_bytes, &error), BP_OK,
                 &error);
    CHECK_U64(n_bytes, 65536 * (BP_MAX_BYTES - 8));
    CHECK_STATUS(bp_bound_shared_bytes(&bound, 65537, &n_bytes, &error),
                 BP_TOO_LARGE, &error);
    CHECK_U64(error.value, 65537);
    CHECK_U64(n_bytes, 65536 * (BP_MAX_BYTES - 8));
    bp_layout_unref(layout);
}

/* Every field and the layout count, and nothing else does. */
static void digests_tell_bounds_apart(void)
{
    const buffer_row rows[] = {{"a", BP_SHARED, &float32, 3, 0}};
    const buffer_row other[] = {{"b", BP_SHARED, &float32, 3, 0}};
    bp_layout *layout = layout_of(rows, 1), *renamed = layout_of(other, 1);
    CHECK(layout != NULL && renamed != NULL);
    const bp_bound base = {12, 0, 0, 16, 1, 0, BP_STRIDE_PAD};
    bp_bound variants[8];
    for (size_t i = 0; i < 8; i++) {
        variants[i] = base;
    }
    variants[1].stride_bytes = 16;
    variants[2].block_offset = 16;
    variants[3].slices_offset = 16;
    variants[4].arena_align = 32;
    variants[5].lanes_per_run = 2;
    variants[6].reserve_bytes = 1;
    variants[7].policy = BP_STRIDE_NONE;
    char digests[9][BP_DIGEST_TEXT], again[BP_DIGEST_TEXT];
    bp_error error;
    for (size_t i = 0; i < 9; i++) {
        const bp_bound *bound = i < 8 ? &variants[i] : &base;
        CHECK_STATUS(bp_bound_digest(bound, i < 8 ? layout : renamed,
                                     digests[i], &error),
                     BP_OK, &error);
        CHECK_U64(strlen(digests[i]), 32);
        CHECK_U64(strspn(digests[i], "0123456789abcdef"), 32);
        for (size_t j = 0; j < i; j++) {
            CHECK(strcmp(digests[i], digests[j]) != 0);
        }
    }
    bp_layout *twin = layout_of(rows, 1);
    CHECK_STATUS(bp_bound_digest(&base, twin, again, &error), BP_OK, &error);
    CHECK_TEXT(again, digests[0]);
    bp_layout_unref(twin);
    bp_layout_unref(renamed);
    bp_layout_unref(layout);
}

static void policies_have_names(void)
{
    const char *const names[] = {"none", "pad", "interleave"};
    bp_stride_policy policy = BP_N_STRIDE_POLICIES;
    for (int i = 0; i < BP_N_STRIDE_POLICIES; i++) {
        CHECK_TEXT(bp_stride_policy_name((bp_stride_policy)i), names[i]);
        CHECK(bp_stride_policy_parse(names[i], &policy));
        CHECK_U64(policy, i);
    }
    CHECK(!bp_stride_policy_parse("PAD", &policy));
    CHECK(!bp_stride_policy_parse("unknown", &policy));
    CHECK_U64(policy, BP_STRIDE_INTERLEAVE);
    CHECK_TEXT(bp_stride_policy_name((bp_stride_policy)9), "unknown");
}

int main(void)
{
    RUN(policies_have_names);
    RUN(arenas_follow_the_layout);
    RUN(padding_is_odd_in_the_widest_unit);
    RUN(bad_lanes_and_reserves_are_refused);
    RUN(bad_strides_are_refused);
    RUN(digests_tell_bounds_apart);
    return finish();
}
