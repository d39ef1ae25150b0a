/* test_registry_buffers.c - declaring buffers: what is taken, what is refused,
 * what an edit is. */
#include "harness.h"

#include "registry_fixture.h"

#include <math.h>

static void registers_and_keeps_order(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory factory = fixture_open(&it, "Solver");
    CHECK_U64(version_of(&it, factory), 0);
    uint64_t shape;
    uint32_t id = 99;
    bp_buffer_spec spec = spec_of("a", &shape, 5, BP_SHARED);
    CHECK_STATUS(
        bp_registry_register(it.registry, factory, &spec, &id, &it.error),
        BP_OK, &it.error);
    CHECK_U64(id, 0);
    spec.name = "b";
    CHECK_STATUS(
        bp_registry_register(it.registry, factory, &spec, &id, &it.error),
        BP_OK, &it.error);
    CHECK_U64(id, 1);
    CHECK_U64(version_of(&it, factory), 2);
    /* Replaced in its place, with its id. */
    spec.name = "a";
    shape = 7;
    CHECK_STATUS(
        bp_registry_register(it.registry, factory, &spec, &id, &it.error),
        BP_OK, &it.error);
    CHECK_U64(id, 0);
    CHECK_U64(version_of(&it, factory), 3);
    bp_layout *layout = layout_of(&it, factory);
    CHECK(layout != NULL);
    CHECK_U64(bp_layout_n_placements(layout), 2);
    CHECK_TEXT(bp_layout_get_placement(layout, 0)->name, "a");
    CHECK_U64(bp_layout_get_placement(layout, 0)->n_bytes, 28);
    CHECK_TEXT(bp_layout_get_placement(layout, 1)->name, "b");
    CHECK_U64(bp_layout_get_placement(layout, 1)->offset_bytes, 28);
    bp_layout_unref(layout);
    /* An id is never used twice. */
    CHECK_STATUS(bp_registry_unregister(it.registry, factory, "b", &it.error),
                 BP_OK, &it.error);
    spec.name = "b";
    CHECK_STATUS(
        bp_registry_register(it.registry, factory, &spec, &id, &it.error),
        BP_OK, &it.error);
    CHECK_U64(id, 2);
    CHECK(fixture_fini(&it));
}

/* Every field on its own makes another declaration. */
static void same_values_are_no_edit(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory factory = fixture_open(&it, "Solver");
    CHECK_STATUS(declare(&it, factory, "base", 64, BP_SHARED), BP_OK,
                 &it.error);
    uint64_t shape[2] = {2, 3};
    bp_buffer_spec base;
    bp_buffer_spec_init(&base);
    base.name = "x";
    base.shape = shape;
    base.n_dims = 2;
    base.location = BP_SHARED;
    bp_buffer_spec changed[8];
    for (size_t i = 0; i < 8; i++) {
        changed[i] = base;
    }
    uint64_t other[2] = {3, 2};
    changed[0].shape = other;
    changed[1].n_dims = 1;
    changed[2].location = BP_BLOCK;
    changed[3].dtype = &f4; /* what it follows now is not what it is */
    changed[4].align = 4;
    changed[5].keep = BP_NO;
    changed[6].zero = true;
    changed[7].uses = 2.0f;
    for (size_t i = 0; i < 8; i++) {
        const bp_buffer_spec *specs[] = {&base, &changed[i], &base};
        for (size_t k = 0; k < 3; k++) {
            uint64_t before = version_of(&it, factory);
            CHECK_STATUS(bp_registry_register(it.registry, factory, specs[k],
                                              NULL, &it.error),
                         BP_OK, &it.error);
            CHECK(version_of(&it, factory) > before || (k == 0 && i > 0));
            before = version_of(&it, factory);
            CHECK_STATUS(bp_registry_register(it.registry, factory, specs[k],
                                              NULL, &it.error),
                         BP_OK, &it.error);
            CHECK_U64(version_of(&it, factory), before);
        }
    }
    CHECK(fixture_fini(&it));
}

static bp_status with(fixture *it, bp_factory factory, bp_buffer_spec spec)
{
    return bp_registry_register(it->registry, factory, &spec, NULL, &it->error);
}

static void refuses_bad_names(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory factory = fixture_open(&it, "Solver");
    CHECK_STATUS(declare(&it, factory, "good", 1, BP_LOCAL), BP_OK, &it.error);
    static const char *const bad[] = {
        "",     "1a",   "a b",    "a-b",    "a.b",  "_a",    "__x", "views",
        "root", "bind", "region", "lambda", "None", "while", "is",  "a\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_REFUSED(&it, declare(&it, factory, bad[i], 1, BP_LOCAL),
                      BP_BAD_NAME);
        CHECK_TEXT(it.error.factory, "Solver");
    }
    CHECK_REFUSED(&it, declare(&it, factory, NULL, 1, BP_LOCAL), BP_BAD_NAME);
    char name[BP_MAX_NAME + 2];
    memset(name, 'n', sizeof name);
    name[BP_MAX_NAME + 1] = '\0';
    CHECK_REFUSED(&it, declare(&it, factory, name, 1, BP_LOCAL), BP_BAD_NAME);
    CHECK_U64(it.error.value, BP_MAX_NAME + 1);
    CHECK_U64(it.error.limit, BP_MAX_NAME);
    name[BP_MAX_NAME] = '\0';
    CHECK_STATUS(declare(&it, factory, name, 1, BP_LOCAL), BP_OK, &it.error);
    static const char *const good[] = {"a1",  "A_",       "viewsx",
                                       "is_", "\xC3\xA9", "x__y"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        CHECK_STATUS(declare(&it, factory, good[i], 1, BP_LOCAL), BP_OK,
                     &it.error);
    }
    CHECK(fixture_fini(&it));
}

/* All of Python's keywords and our own words; with one byte more or less they
 * are names like any other. */
static void refuses_every_reserved_word(void)
{
    static const char *const words[] = {
        "False",  "None",     "True",  "and",    "as",       "assert",
        "async",  "await",    "break", "class",  "continue", "def",
        "del",    "elif",     "else",  "except", "finally",  "for",
        "from",   "global",   "if",    "import", "in",       "is",
        "lambda", "nonlocal", "not",   "or",     "pass",     "raise",
        "return", "try",      "while", "with",   "yield",    "views",
        "root",   "bind",     "region"};
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory factory = fixture_open(&it, "Solver");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%sx", words[i]);
        CHECK_REFUSED(&it, declare(&it, factory, words[i], 1, BP_LOCAL),
                      BP_BAD_NAME);
        CHECK_STATUS(declare(&it, factory, name, 1, BP_LOCAL), BP_OK,
                     &it.error);
        name[strlen(words[i]) - 1] = '\0';
        CHECK_STATUS(declare(&it, factory, name, 1, BP_LOCAL), BP_OK,
                     &it.error);
    }
    for (unsigned c = 1; c < 256; c++) {
        char name[3] = {'q', (char)c, '\0'};
        bool is_good = c >= 128 || c == '_' || (c >= '0' && c <= '9') ||
                       (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        CHECK_STATUS(declare(&it, factory, name, 1, BP_LOCAL),
                     is_good ? BP_OK : BP_BAD_NAME, &it.error);
    }
    CHECK(fixture_fini(&it));
}

static void refuses_bad_fields(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory factory = fixture_open(&it, "Solver");
    CHECK_STATUS(declare(&it, factory, "x", 1, BP_SHARED), BP_OK, &it.error);
    uint64_t shape;
    for (int k = 0; k < 2; k++) { /* a new buffer, then one that is there */
        const bp_buffer_spec good =
            spec_of(k == 0 ? "new" : "x", &shape, 3, BP_SHARED);
        bp_buffer_spec spec = good;
        spec.location = (bp_location)BP_N_LOCATIONS;
        CHECK_REFUSED(&it, with(&it, factory, spec), BP_BAD_LOCATION);
        spec = good;
        spec.n_dims = 0;
        CHECK_REFUSED(&it, with(&it, factory, spec), BP_BAD_SIZE);
        spec.n_dims = BP_MAX_DIMS + 1;
        CHECK_REFUSED(&it, with(&it, factory, spec), BP_BAD_SIZE);
        spec = good;
        spec.shape = NULL;
        CHECK_REFUSED(&it, with(&it, factory, spec), BP_BAD_SIZE);
        static const uint32_t aligns[] = {3,     24,    2048,
                                          65536, 65540, UINT32_MAX};
        for (size_t i = 0; i < 6; i++) {
            spec = good;
            spec.align = aligns[i];
            CHECK_REFUSED(&it, with(&it, factory, spec), BP_BAD_ALIGN);
            CHECK_U64(it.error.value, aligns[i]);
        }
        static const float uses[] = {-1.0f, NAN, INFINITY, -INFINITY};
        for (size_t i = 0; i < 4; i++) {
            spec = good;
            spec.uses = uses[i];
            CHECK_REFUSED(&it, with(&it, factory, spec), BP_BAD_VALUE);
        }
        spec = good;
        spec.keep = (bp_choice)3;
        CHECK_REFUSED(&it, with(&it, factory, spec), BP_BAD_VALUE);
        static const bp_dtype dtypes[] = {{NULL, 4, 4}, {"", 4, 4},
                                          {"z0", 0, 1}, {"z1", 4, 0},
                                          {"z2", 4, 3}, {"z3", 4, 2048}};
        for (size_t i = 0; i < 6; i++) {
            spec = good;
            spec.dtype = &dtypes[i];
            CHECK_REFUSED(&it, with(&it, factory, spec), BP_BAD_DTYPE);
        }
    }
    CHECK(fixture_fini(&it));
}

static void knows_every_mode(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_registry *other = NULL;
    bp_registry_options options = {BP_N_PLAN_MODES, 0}, got;
    CHECK_STATUS(bp_registry_new(&options, &it.alloc, &other, &it.error),
                 BP_BAD_VALUE, NULL);
    CHECK(other == NULL);
    for (int i = 0; i < BP_N_PLAN_MODES; i++) {
        options = (bp_registry_options){(bp_plan_mode)i, 70};
        CHECK_STATUS(bp_registry_new(&options, &it.alloc, &other, &it.error),
                     BP_OK, &it.error);
        bp_registry_get_options(other, &got);
        CHECK_U64(got.mode, (uint64_t)i);
        CHECK_U64(got.node_budget, 70);
        bp_registry_free(other);
    }
    CHECK(fixture_fini(&it));
}

static void counts_bytes_below_2_to_48(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory factory = fixture_open(&it, "Solver");
    const uint64_t most = BP_MAX_BYTES / 4 - 1;
    CHECK_REFUSED(&it, declare(&it, factory, "x", most + 1, BP_LOCAL),
                  BP_TOO_LARGE);
    CHECK_U64(it.error.limit, BP_MAX_BYTES);
    CHECK_REFUSED(&it, declare(&it, factory, "x", UINT64_MAX, BP_LOCAL),
                  BP_TOO_LARGE);
    CHECK_STATUS(declare(&it, factory, "x", most, BP_LOCAL), BP_OK, &it.error);
    CHECK_REFUSED(&it, declare(&it, factory, "y", 1, BP_SHARED), BP_TOO_LARGE);
    CHECK_TEXT(it.error.buffer, "y");
    CHECK_STATUS(declare(&it, factory, "y", 0, BP_SHARED), BP_OK, &it.error);
    /* Replacing counts the new bytes instead of the old ones. */
    CHECK_STATUS(declare(&it, factory, "x", most - 1, BP_LOCAL), BP_OK,
                 &it.error);
    CHECK_STATUS(declare(&it, factory, "y", 1, BP_SHARED), BP_OK, &it.error);
    CHECK_REFUSED(&it, resize(&it, factory, "y_size", 2), BP_TOO_LARGE);
    CHECK_REFUSED(
        &it, bp_factory_set_precision(it.registry, factory, &f8, &it.error),
        BP_TOO_LARGE);
    /* An alias takes no bytes of its own. */
    CHECK_STATUS(declare_same(&it, factory, "again", most - 1, "x"), BP_OK,
                 &it.error);
    /* A product that overflows, unless a zero makes it nothing. */
    uint64_t shape[3] = {UINT64_C(1) << 40, UINT64_C(1) << 40, 0};
    bp_buffer_spec spec;
    bp_buffer_spec_init(&spec);
    spec.name = "zero";
    spec.shape = shape;
    spec.n_dims = 2;
    CHECK_REFUSED(&it, with(&it, factory, spec), BP_TOO_LARGE);
    spec.n_dims = 3;
    CHECK_STATUS(with(&it, factory, spec), BP_OK, &it.error);
    bp_update_item item = size_item("zero_size", shape, 2);
    CHECK_REFUSED(&it,
                  bp_registry_update(it.registry, factory, NULL, &item, 1,
                                     BP_UPDATE_STRICT, &it.error),
                  BP_TOO_LARGE);
    CHECK(fixture_fini(&it));
}

static void settles_keep(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory factory = fixture_open(&it, "Solver");
    uint64_t shape;
    bp_buffer_spec spec = spec_of("x", &shape, 2, BP_LOCAL);
    spec.keep = BP_YES;
    CHECK_REFUSED(&it, with(&it, factory, spec), BP_KEEP_CONFLICT);
    static const struct {
        bp_location declared;
        bp_choice keep;
        bool is_kept;
        bp_location effective;
    } rows[] = {
        {BP_SHARED, BP_UNSAID, false, BP_SHARED},
        {BP_SHARED, BP_YES, true, BP_SHARED},
        {BP_BLOCK, BP_YES, true, BP_BLOCK},
        {BP_LOCAL, BP_UNSAID, false, BP_LOCAL},
        {BP_LOCAL, BP_NO, false, BP_LOCAL},
        {BP_PERSISTENT_LOCAL, BP_UNSAID, true, BP_PERSISTENT_LOCAL},
        {BP_PERSISTENT_LOCAL, BP_NO, false, BP_PERSISTENT_LOCAL},
        {BP_AUTO, BP_UNSAID, false, BP_LOCAL},
        {BP_AUTO, BP_YES, true, BP_PERSISTENT_LOCAL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        spec.location = rows[i].declared;
        spec.keep = rows[i].keep;
        CHECK_STATUS(with(&it, factory, spec), BP_OK, &it.error);
        bp_entries entries;
        CHECK_STATUS(
            bp_registry_copy_entries(it.registry, factory, &entries, &it.error),
            BP_OK, &it.error);
        bool is_kept = entries.entries[0].is_kept;
        bp_location location = entries.entries[0].location;
        bp_entries_free(&entries);
        CHECK(is_kept == rows[i].is_kept);
        CHECK_U64(location, rows[i].effective);
        if (is_kept) {
            CHECK_REFUSED(&it, move(&it, factory, "x_location", "local"),
                          BP_KEEP_CONFLICT);
        }
    }
    CHECK(fixture_fini(&it));
}

static void override_outlives_replacement(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory factory = fixture_open(&it, "Solver");
    CHECK_STATUS(declare(&it, factory, "x", 4, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(move(&it, factory, "x_location", "local"), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, factory, "x", 8, BP_BLOCK), BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, factory, BP_LOCAL), 32);
    CHECK_U64(region_bytes(&it, factory, BP_BLOCK), 0);
    /* A declaration that would be kept cannot live under it. */
    CHECK_REFUSED(&it, declare(&it, factory, "x", 8, BP_PERSISTENT_LOCAL),
                  BP_KEEP_CONFLICT);
    CHECK_STATUS(declare(&it, factory, "y", 64, BP_SHARED), BP_OK, &it.error);
    CHECK_REFUSED(&it, declare_same(&it, factory, "x", 8, "y"), BP_BAD_SAME_AS);
    CHECK_STATUS(bp_registry_reset_overrides(it.registry, factory, &it.error),
                 BP_OK, &it.error);
    uint64_t version = version_of(&it, factory);
    CHECK_STATUS(bp_registry_reset_overrides(it.registry, factory, &it.error),
                 BP_OK, &it.error);
    CHECK_U64(version_of(&it, factory), version);
    CHECK_U64(region_bytes(&it, factory, BP_BLOCK), 32);
    /* Unregistering takes the override along. */
    CHECK_STATUS(move(&it, factory, "x_location", "local"), BP_OK, &it.error);
    CHECK_STATUS(bp_registry_unregister(it.registry, factory, "x", &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(declare(&it, factory, "x", 8, BP_BLOCK), BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, factory, BP_BLOCK), 32);
    CHECK(fixture_fini(&it));
}

static void unregisters(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory factory = fixture_open(&it, "NewtonSolver");
    CHECK_REFUSED(&it,
                  bp_registry_unregister(it.registry, factory, "a", &it.error),
                  BP_UNKNOWN_BUFFER);
    CHECK_TEXT(it.error.text, "NewtonSolver has no buffer 'a' (has: none)");
    CHECK_STATUS(declare(&it, factory, "delta", 4, BP_SHARED), BP_OK,
                 &it.error);
    CHECK_STATUS(declare(&it, factory, "residual", 4, BP_SHARED), BP_OK,
                 &it.error);
    CHECK_REFUSED(
        &it, bp_registry_unregister(it.registry, factory, "detla", &it.error),
        BP_UNKNOWN_BUFFER);
    CHECK_TEXT(it.error.text,
               "NewtonSolver has no buffer 'detla' (has: delta, residual)");
    CHECK_TEXT(it.error.factory, "NewtonSolver");
    CHECK_TEXT(it.error.buffer, "detla");
    uint64_t version = version_of(&it, factory);
    CHECK_STATUS(
        bp_registry_unregister(it.registry, factory, "delta", &it.error), BP_OK,
        &it.error);
    CHECK(version_of(&it, factory) > version);
    CHECK_STATUS(declare_same(&it, factory, "alias", 2, "residual"), BP_OK,
                 &it.error);
    CHECK_REFUSED(
        &it,
        bp_registry_unregister(it.registry, factory, "residual", &it.error),
        BP_BAD_SAME_AS);
    CHECK_STATUS(bp_registry_unregister_all(it.registry, factory, &it.error),
                 BP_OK, &it.error);
    version = version_of(&it, factory);
    CHECK_STATUS(bp_registry_unregister_all(it.registry, factory, &it.error),
                 BP_OK, &it.error);
    CHECK_U64(version_of(&it, factory), version);
    CHECK_U64(region_bytes(&it, factory, BP_SHARED), 0);
    CHECK(fixture_fini(&it));
}

static void aliases_follow_their_root(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory factory = fixture_open(&it, "Solver");
    CHECK_STATUS(declare(&it, factory, "pad", 1, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, factory, "base", 8, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(declare_same(&it, factory, "mid", 6, "base"), BP_OK,
                 &it.error);
    uint64_t shape;
    bp_buffer_spec spec = spec_of("leaf", &shape, 3, BP_LOCAL);
    spec.same_as = "mid";
    spec.dtype = &f8;
    spec.align = 32;
    CHECK_STATUS(with(&it, factory, spec), BP_OK, &it.error);
    uint64_t version = version_of(&it, factory);
    CHECK_STATUS(with(&it, factory, spec), BP_OK, &it.error);
    CHECK_U64(version_of(&it, factory), version);
    bp_layout *layout = layout_of(&it, factory);
    CHECK(layout != NULL);
    static const uint64_t offsets[] = {0, 32, 32, 32};
    static const uint32_t aligns[] = {4, 32, 32, 32};
    static const uint32_t bytes_of[] = {0, 1, 1, 1};
    for (size_t i = 0; i < 4; i++) {
        const bp_placement *place = bp_layout_get_placement(layout, i);
        CHECK_U64(place->offset_bytes, offsets[i]);
        CHECK_U64(place->align, aligns[i]);
        CHECK_U64(place->bytes_of, bytes_of[i]);
        CHECK_U64(place->location, BP_SHARED);
    }
    CHECK_U64(bp_layout_get_region(layout, BP_SHARED)->n_bytes, 64);
    bp_layout_unref(layout);
    /* Location and keep are the root's. */
    CHECK_STATUS(move(&it, factory, "base_location", "local"), BP_OK,
                 &it.error);
    CHECK_U64(region_bytes(&it, factory, BP_LOCAL), 32);
    CHECK_REFUSED(&it, move(&it, factory, "leaf_location", "shared"),
                  BP_BAD_SAME_AS);
    CHECK_STATUS(move(&it, factory, "base_location", "persistent_local"), BP_OK,
                 &it.error);
    CHECK_U64(region_bytes(&it, factory, BP_PERSISTENT_LOCAL), 32);
    CHECK(fixture_fini(&it));
}

static void refuses_bad_aliases(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory factory = fixture_open(&it, "Solver");
    bp_factory child = fixture_open(&it, "Child");
    CHECK_STATUS(bp_registry_add_child(it.registry, factory, child, "kid", NULL,
                                       NULL, &it.error),
                 BP_OK, &it.error);
    CHECK_REFUSED(&it, declare_same(&it, factory, "a", 2, "nothing"),
                  BP_UNKNOWN_BUFFER);
    CHECK_REFUSED(&it, declare_same(&it, factory, "a", 2, "a"), BP_BAD_SAME_AS);
    CHECK_REFUSED(&it, declare_same(&it, factory, "a", 0, "kid_shared"),
                  BP_BAD_SAME_AS);
    CHECK_REFUSED(&it, declare_same(&it, factory, "a", 0, "kid"),
                  BP_UNKNOWN_BUFFER);
    CHECK_STATUS(declare(&it, factory, "base", 8, BP_SHARED), BP_OK, &it.error);
    CHECK_REFUSED(&it, declare_same(&it, factory, "a", 9, "base"),
                  BP_BAD_SAME_AS);
    CHECK_U64(it.error.value, 36);
    CHECK_U64(it.error.limit, 32);
    CHECK_STATUS(declare_same(&it, factory, "a", 8, "base"), BP_OK, &it.error);
    CHECK_STATUS(declare_same(&it, factory, "b", 8, "a"), BP_OK, &it.error);
    CHECK_REFUSED(&it, declare_same(&it, factory, "base", 8, "b"),
                  BP_BAD_SAME_AS); /* a circle */
    CHECK_REFUSED(&it, declare(&it, factory, "base", 7, BP_SHARED),
                  BP_BAD_SAME_AS);
    CHECK_REFUSED(&it, resize(&it, factory, "a_size", 7), BP_BAD_SAME_AS);
    CHECK_REFUSED(&it, resize(&it, factory, "b_size", 9), BP_BAD_SAME_AS);
    /* Both at once are fine. */
    uint64_t four = 4;
    bp_update_item items[] = {size_item("base_size", &four, 1),
                              size_item("a_size", &four, 1),
                              size_item("b_size", &four, 1)};
    CHECK_STATUS(bp_registry_update(it.registry, factory, NULL, items, 3,
                                    BP_UPDATE_STRICT, &it.error),
                 BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, factory, BP_SHARED), 16);
    /* A precision that makes the alias outgrow its root. */
    uint64_t shape;
    bp_buffer_spec spec = spec_of("fixed", &shape, 4, BP_SHARED);
    spec.dtype = &f4;
    CHECK_STATUS(with(&it, factory, spec), BP_OK, &it.error);
    CHECK_STATUS(declare_same(&it, factory, "c", 4, "fixed"), BP_OK, &it.error);
    CHECK_REFUSED(
        &it, bp_factory_set_precision(it.registry, factory, &f8, &it.error),
        BP_BAD_SAME_AS);
    CHECK(fixture_fini(&it));
}

static void follows_precision(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory factory = fixture_open(&it, "Solver");
    CHECK_STATUS(declare(&it, factory, "x", 3, BP_SHARED), BP_OK, &it.error);
    uint64_t shape;
    bp_buffer_spec spec = spec_of("y", &shape, 3, BP_SHARED);
    spec.dtype = &u1;
    CHECK_STATUS(with(&it, factory, spec), BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, factory, BP_SHARED), 16);
    uint64_t version = version_of(&it, factory);
    CHECK_STATUS(bp_factory_set_precision(it.registry, factory, &f4, &it.error),
                 BP_OK, &it.error);
    CHECK_U64(version_of(&it, factory), version);
    CHECK_STATUS(bp_factory_set_precision(it.registry, factory, &f8, &it.error),
                 BP_OK, &it.error);
    CHECK(version_of(&it, factory) > version);
    CHECK_U64(region_bytes(&it, factory, BP_SHARED), 32);
    bp_dtype bad = {"", 4, 4};
    CHECK_REFUSED(
        &it, bp_factory_set_precision(it.registry, factory, &bad, &it.error),
        BP_BAD_DTYPE);
    CHECK_STATUS(bp_factory_open(it.registry, "Bad", &bad, &factory, &it.error),
                 BP_BAD_DTYPE, NULL);
    CHECK_U64(bp_registry_count(it.registry), 1);
    CHECK(fixture_fini(&it));
}

/* One text may stand for two types (say, of two alignments). */
static void tells_types_apart(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory factory = fixture_open(&it, "Solver");
    static const bp_dtype packed = {"record", 12, 1};
    static const bp_dtype aligned = {"record", 12, 4};
    uint64_t shape;
    bp_buffer_spec spec = spec_of("odd", &shape, 1, BP_SHARED);
    spec.dtype = &u1;
    CHECK_STATUS(with(&it, factory, spec), BP_OK, &it.error);
    spec.name = "a";
    spec.dtype = &packed;
    CHECK_STATUS(with(&it, factory, spec), BP_OK, &it.error);
    spec.name = "b";
    spec.dtype = &aligned;
    CHECK_STATUS(with(&it, factory, spec), BP_OK, &it.error);
    bp_layout *layout = layout_of(&it, factory);
    CHECK(layout != NULL);
    CHECK_U64(bp_layout_find(layout, "a")->offset_bytes, 1);
    CHECK_U64(bp_layout_find(layout, "b")->offset_bytes, 16);
    CHECK_U64(bp_layout_get_region(layout, BP_SHARED)->widest, 4);
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(registers_and_keeps_order);
    RUN(same_values_are_no_edit);
    RUN(refuses_bad_names);
    RUN(refuses_every_reserved_word);
    RUN(refuses_bad_fields);
    RUN(knows_every_mode);
    RUN(counts_bytes_below_2_to_48);
    RUN(settles_keep);
    RUN(override_outlives_replacement);
    RUN(unregisters);
    RUN(aliases_follow_their_root);
    RUN(refuses_bad_aliases);
    RUN(follows_precision);
    RUN(tells_types_apart);
    return finish();
}
