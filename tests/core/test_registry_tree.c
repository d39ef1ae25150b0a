/* test_registry_tree.c - children, cycles, closing, and trees of all shapes. */
#include "harness.h"

#include "registry_fixture.h"

static bp_status add(fixture *it, bp_factory parent, bp_factory child,
                     const char *name)
{
    return bp_registry_add_child(it->registry, parent, child, name, NULL, NULL,
                                 &it->error);
}

static void sizes_follow_the_child(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory loop = fixture_open(&it, "Loop");
    bp_factory step = fixture_open(&it, "Step");
    bp_factory newton = fixture_open(&it, "Newton");
    CHECK_STATUS(add(&it, loop, step, "step"), BP_OK, &it.error);
    CHECK_STATUS(add(&it, step, newton, "newton"), BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, loop, BP_SHARED), 0);
    CHECK_STATUS(declare(&it, newton, "x", 3, BP_SHARED), BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, loop, BP_SHARED), 12);
    CHECK_STATUS(declare(&it, newton, "x", 5, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, step, "y", 1, BP_BLOCK), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, newton, "z", 2, BP_LOCAL), BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, loop, BP_SHARED), 20);
    CHECK_U64(region_bytes(&it, loop, BP_BLOCK), 4);
    CHECK_U64(region_bytes(&it, loop, BP_LOCAL), 8);
    /* The parent's precision does not change the child's bytes. */
    CHECK_STATUS(bp_factory_set_precision(it.registry, loop, &f8, &it.error),
                 BP_OK, &it.error);
    bp_layout *layout = layout_of(&it, loop);
    CHECK(layout != NULL);
    const bp_placement *place = bp_layout_find(layout, "step_shared");
    CHECK(place != NULL && place->is_rollup);
    CHECK_U64(place->n_bytes, 20);
    CHECK_U64(place->n_items, 3); /* doubles, rounded up */
    CHECK_U64(place->align, 4);
    CHECK_U64(place->shape[0], 3);
    bp_layout_unref(layout);
    CHECK_STATUS(bp_registry_remove_child(it.registry, loop, "step", &it.error),
                 BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, loop, BP_SHARED), 0);
    CHECK(fixture_fini(&it));
}

static void one_child_twice_has_bytes_twice(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory parent = fixture_open(&it, "Parent");
    bp_factory child = fixture_open(&it, "Child");
    CHECK_STATUS(declare(&it, child, "x", 3, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(add(&it, parent, child, "one"), BP_OK, &it.error);
    CHECK_STATUS(add(&it, parent, child, "two"), BP_OK, &it.error);
    uint64_t version = version_of(&it, parent);
    CHECK_STATUS(add(&it, parent, child, "two"), BP_OK, &it.error);
    CHECK_U64(version_of(&it, parent), version); /* the same: no edit */
    CHECK_U64(region_bytes(&it, parent, BP_SHARED), 24);
    bp_layout *layout = layout_of(&it, parent);
    CHECK(layout != NULL);
    CHECK_U64(bp_layout_n_children(layout), 2);
    const bp_child_region *two = bp_layout_get_child(layout, 1);
    CHECK_TEXT(two->name, "two");
    CHECK_U64(two->offset_bytes[BP_SHARED], 12);
    CHECK(two->layout == bp_layout_get_child(layout, 0)->layout);
    CHECK_TEXT(bp_layout_get_name(two->layout), "Child");
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

static void replaces_a_child_in_place(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory parent = fixture_open(&it, "Parent");
    bp_factory a = fixture_open(&it, "A");
    bp_factory b = fixture_open(&it, "B");
    CHECK_STATUS(declare(&it, a, "x", 3, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, b, "x", 7, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(add(&it, parent, a, "kid"), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, parent, "after", 1, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(add(&it, parent, b, "kid"), BP_OK, &it.error);
    bp_layout *layout = layout_of(&it, parent);
    CHECK(layout != NULL);
    CHECK_TEXT(bp_layout_get_placement(layout, 0)->name, "kid_shared");
    CHECK_U64(bp_layout_find(layout, "after")->offset_bytes, 28);
    bp_layout_unref(layout);
    /* A no longer has a parent: its edits do not reach it. */
    uint64_t version = version_of(&it, parent);
    CHECK_STATUS(declare(&it, a, "x", 4, BP_SHARED), BP_OK, &it.error);
    CHECK_U64(version_of(&it, parent), version);
    CHECK(fixture_fini(&it));
}

static void refuses_taken_names(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory parent = fixture_open(&it, "Parent");
    bp_factory child = fixture_open(&it, "Child");
    static const char *const taken[] = {"kid", "kid_shared", "kid_block",
                                        "kid_persistent_local"};
    for (size_t i = 0; i < 4; i++) {
        CHECK_STATUS(declare(&it, parent, taken[i], 1, BP_SHARED), BP_OK,
                     &it.error);
        CHECK_REFUSED(&it, add(&it, parent, child, "kid"), BP_NAME_TAKEN);
        CHECK_STATUS(
            bp_registry_unregister(it.registry, parent, taken[i], &it.error),
            BP_OK, &it.error);
    }
    CHECK_STATUS(add(&it, parent, child, "kid"), BP_OK, &it.error);
    CHECK_REFUSED(&it, declare(&it, parent, "kid", 1, BP_SHARED),
                  BP_NAME_TAKEN);
    for (size_t i = 1; i < 4; i++) {
        CHECK_REFUSED(&it, declare(&it, parent, taken[i], 1, BP_SHARED),
                      BP_READ_ONLY);
        CHECK_REFUSED(
            &it,
            bp_registry_unregister(it.registry, parent, taken[i], &it.error),
            BP_READ_ONLY);
        /* A child whose name is a roll-up's. */
        CHECK_REFUSED(&it, add(&it, parent, child, taken[i]), BP_NAME_TAKEN);
    }
    CHECK_REFUSED(&it, resize(&it, parent, "kid_shared_size", 3), BP_READ_ONLY);
    CHECK_REFUSED(&it, move(&it, parent, "kid_block_location", "shared"),
                  BP_READ_ONLY);
    CHECK_REFUSED(&it, add(&it, parent, child, "2nd"), BP_BAD_NAME);
    CHECK_REFUSED(&it, add(&it, parent, child, "views"), BP_BAD_NAME);
    CHECK_REFUSED(&it, add(&it, parent, child, NULL), BP_BAD_NAME);
    char name[BP_MAX_NAME + 1];
    memset(name, 'n', sizeof name);
    name[BP_MAX_NAME - 16] = '\0'; /* fits, but its roll-ups would not */
    CHECK_REFUSED(&it, add(&it, parent, child, name), BP_BAD_NAME);
    name[BP_MAX_NAME - 17] = '\0';
    CHECK_STATUS(add(&it, parent, child, name), BP_OK, &it.error);
    CHECK_REFUSED(
        &it, bp_registry_remove_child(it.registry, parent, "bob", &it.error),
        BP_UNKNOWN_CHILD);
    CHECK(strncmp(it.error.text, "Parent has no child 'bob' (has: kid, nnn",
                  40) == 0);
    CHECK_REFUSED(
        &it,
        bp_registry_remove_child(it.registry, parent, "kid_shared", &it.error),
        BP_UNKNOWN_CHILD);
    CHECK_REFUSED(
        &it, bp_registry_remove_child(it.registry, child, "kid", &it.error),
        BP_UNKNOWN_CHILD);
    CHECK_TEXT(it.error.text, "Child has no child 'kid' (has: none)");
    CHECK(fixture_fini(&it));
}

static void refuses_cycles_with_their_path(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory a = fixture_open(&it, "A");
    bp_factory b = fixture_open(&it, "B");
    bp_factory c = fixture_open(&it, "C");
    bp_factory d = fixture_open(&it, "D");
    CHECK_REFUSED(&it, add(&it, a, a, "me"), BP_CYCLE);
    CHECK_TEXT(it.error.text, "A: child 'me' closes the circle A > A");
    CHECK_STATUS(add(&it, a, d, "aside"), BP_OK, &it.error);
    CHECK_STATUS(add(&it, a, b, "kid"), BP_OK, &it.error);
    CHECK_STATUS(add(&it, d, c, "kid"), BP_OK, &it.error);
    CHECK_STATUS(add(&it, b, c, "kid"), BP_OK, &it.error);
    CHECK_REFUSED(&it, add(&it, c, b, "up"), BP_CYCLE);
    CHECK_TEXT(it.error.text, "C: child 'up' closes the circle C > B > C");
    CHECK_REFUSED(&it, add(&it, c, a, "up"), BP_CYCLE);
    CHECK(strcmp(it.error.text,
                 "C: child 'up' closes the circle C > A > D > C") == 0 ||
          strcmp(it.error.text,
                 "C: child 'up' closes the circle C > A > B > C") == 0);
    CHECK_TEXT(it.error.factory, "C");
    CHECK_TEXT(it.error.buffer, "up");
    /* A diamond is none. */
    CHECK_STATUS(add(&it, a, c, "direct"), BP_OK, &it.error);
    CHECK(fixture_fini(&it));
}

/* Nobody has to want the message. */
static void errors_may_be_null(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_PACKED));
    bp_registry *r = it.registry;
    bp_factory a = fixture_open(&it, "A");
    CHECK_STATUS(bp_registry_add_child(r, a, a, "me", NULL, NULL, NULL),
                 BP_CYCLE, NULL);
    CHECK_STATUS(bp_registry_remove_child(r, a, "me", NULL), BP_UNKNOWN_CHILD,
                 NULL);
    CHECK_STATUS(bp_registry_unregister(r, a, "x", NULL), BP_UNKNOWN_BUFFER,
                 NULL);
    CHECK_STATUS(bp_registry_unregister(r, 0, "x", NULL), BP_STALE, NULL);
    bp_buffer_spec spec;
    bp_buffer_spec_init(&spec);
    spec.name = "_x";
    CHECK_STATUS(bp_registry_register(r, a, &spec, NULL, NULL), BP_BAD_NAME,
                 NULL);
    bp_registry_options options;
    bp_registry_get_options(r, &options);
    CHECK_U64(options.mode, BP_PLAN_PACKED);
    CHECK_U64(options.node_budget, 0);
    CHECK(fixture_fini(&it));
}

static void dumps_as_text(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory a = fixture_open(&it, "A");
    bp_factory b = fixture_open(&it, "B\"\n");
    CHECK_STATUS(add(&it, b, a, "kid"), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, a, "x", 3, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(move(&it, a, "x_location", "block"), BP_OK, &it.error);
    static const char of_a[] =
        "{\"id\": 0, \"type\": \"A\", \"precision\": \"<f4\", \"phases\": [], "
        "\"loops\": [], \"buffers\": [\n"
        "    {\"name\": \"x\", \"id\": 0, \"shape\": [3], \"dtype\": null, "
        "\"location\": \"shared\", \"override\": \"block\", \"align\": 0, "
        "\"keep\": null, \"is_kept\": false, \"zero\": false, \"same_as\": "
        "null, \"uses\": 1, \"live\": null, \"carried\": false}], "
        "\"children\": []}";
    static const char of_b[] =
        "{\"id\": 1, \"type\": \"B\\\"\\u000a\", \"precision\": \"<f4\", "
        "\"phases\": [], \"loops\": [], \"buffers\": [], \"children\": [\n"
        "    {\"name\": \"kid\", \"factory\": 0, \"position\": 0, \"live\": "
        "null}]}";
    static const char head[] =
        "{\"mode\": \"auto\", \"node_budget\": 0, \"factories\": [\n  ";
    char *text;
    CHECK_STATUS(bp_registry_dump(it.registry, b, &text, &it.error), BP_OK,
                 &it.error);
    bool is_right = harness_text(text, of_b, __FILE__, __LINE__, "dump of B");
    drop_dump(&it, text);
    CHECK(is_right);
    char all[1024];
    (void)snprintf(all, sizeof all, "%s%s,\n  %s]}", head, of_a, of_b);
    text = take_dump(&it);
    is_right = harness_text(text, all, __FILE__, __LINE__, "dump");
    drop_dump(&it, text);
    CHECK(is_right);
    /* Reading is no edit. */
    CHECK_U64(region_bytes(&it, b, BP_BLOCK), 12);
    text = take_dump(&it);
    is_right = harness_text(text, all, __FILE__, __LINE__, "dump");
    drop_dump(&it, text);
    CHECK(is_right);
    CHECK(fixture_fini(&it));
}

static void a_dead_child_counts_zero(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory top = fixture_open(&it, "Top");
    bp_factory parent = fixture_open(&it, "Parent");
    bp_factory child = fixture_open(&it, "Child");
    CHECK_STATUS(add(&it, top, parent, "kid"), BP_OK, &it.error);
    CHECK_STATUS(add(&it, parent, child, "kid"), BP_OK, &it.error);
    CHECK_STATUS(add(&it, parent, child, "twin"), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, child, "x", 6, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, parent, "y", 1, BP_SHARED), BP_OK, &it.error);
    bp_layout *held = layout_of(&it, child);
    CHECK_U64(region_bytes(&it, top, BP_SHARED), 52);
    bp_factory_close(it.registry, child);
    CHECK_STATUS(bp_registry_check(it.registry, &it.error), BP_OK, &it.error);
    CHECK(!bp_factory_is_alive(it.registry, child));
    CHECK_U64(bp_registry_count(it.registry), 2);
    CHECK_U64(region_bytes(&it, top, BP_SHARED), 4);
    /* What was handed out stays as it was. */
    CHECK_U64(bp_layout_get_region(held, BP_SHARED)->n_bytes, 24);
    bp_layout_unref(held);
    bp_entries entries;
    CHECK_STATUS(
        bp_registry_copy_entries(it.registry, parent, &entries, &it.error),
        BP_OK, &it.error);
    CHECK_U64(entries.n_children, 2);
    bool is_gone = entries.children[0].factory == BP_NO_FACTORY &&
                   entries.children[1].factory == BP_NO_FACTORY;
    CHECK_TEXT(entries.entries[0].child, "kid");
    bp_entries_free(&entries);
    CHECK(is_gone);
    bp_layout *layout = layout_of(&it, parent);
    CHECK(layout != NULL);
    CHECK_U64(bp_layout_n_children(layout), 2);
    CHECK_U64(bp_layout_n_placements(bp_layout_get_child(layout, 0)->layout),
              0);
    bp_layout_unref(layout);
    /* The slot is used again; the old handle is still no factory. */
    bp_factory next = fixture_open(&it, "Next");
    CHECK_U64((uint32_t)next, (uint32_t)child);
    CHECK(next != child);
    CHECK_REFUSED(&it, declare(&it, child, "x", 1, BP_SHARED), BP_STALE);
    bp_factory_close(it.registry, child); /* no-op */
    CHECK(bp_factory_is_alive(it.registry, next));
    CHECK_STATUS(add(&it, parent, next, "kid"), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, next, "z", 2, BP_SHARED), BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, top, BP_SHARED), 12);
    /* Closing the parent leaves its children without it. */
    bp_factory_close(it.registry, parent);
    CHECK_STATUS(declare(&it, next, "z", 3, BP_SHARED), BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, top, BP_SHARED), 0);
    CHECK(fixture_fini(&it));
}

static void stale_handles_are_refused_everywhere(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory alive = fixture_open(&it, "Alive");
    bp_factory gone = fixture_open(&it, "Gone");
    bp_factory_close(it.registry, gone);
    const bp_factory handles[] = {gone, BP_NO_FACTORY, UINT64_MAX,
                                  (uint64_t)7 << 32, ((uint64_t)1 << 32) | 9};
    for (size_t i = 0; i < 5; i++) {
        bp_factory no = handles[i];
        bp_registry *r = it.registry;
        bp_error *e = &it.error;
        uint64_t u = 0;
        bp_layout *l = NULL;
        bp_layout_job *job = NULL;
        bp_entries entries;
        char *text = NULL;
        CHECK(!bp_factory_is_alive(r, no));
        CHECK_REFUSED(&it, bp_factory_set_precision(r, no, &f8, e), BP_STALE);
        CHECK_REFUSED(&it, declare(&it, no, "x", 1, BP_LOCAL), BP_STALE);
        CHECK_REFUSED(&it, bp_registry_unregister(r, no, "x", e), BP_STALE);
        CHECK_REFUSED(&it, bp_registry_unregister_all(r, no, e), BP_STALE);
        CHECK_REFUSED(&it, add(&it, no, alive, "kid"), BP_STALE);
        CHECK_REFUSED(&it, add(&it, alive, no, "kid"), BP_STALE);
        CHECK_REFUSED(&it, bp_registry_remove_child(r, no, "x", e), BP_STALE);
        CHECK_REFUSED(&it, resize(&it, no, "x_size", 1), BP_STALE);
        CHECK_REFUSED(&it, bp_registry_reset_overrides(r, no, e), BP_STALE);
        CHECK_REFUSED(&it, bp_registry_copy_entries(r, no, &entries, e),
                      BP_STALE);
        if (no != BP_NO_FACTORY) {
            CHECK_REFUSED(&it, bp_registry_dump(r, no, &text, e), BP_STALE);
        }
        CHECK_REFUSED(&it, bp_registry_version(r, no, &u, e), BP_STALE);
        CHECK_REFUSED(&it, bp_registry_invalidate(r, no, e), BP_STALE);
        CHECK_REFUSED(&it, bp_registry_copy_current(r, no, &l, e), BP_STALE);
        CHECK_REFUSED(&it, bp_layout_job_begin(r, no, &job, e), BP_STALE);
        CHECK_REFUSED(&it, bp_registry_copy_layout(r, no, &l, e), BP_STALE);
    }
    CHECK(fixture_fini(&it));
}

static void marks_ancestors_once(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory f[4];
    static const char *const names[] = {"A", "B", "C", "D"};
    for (size_t i = 0; i < 4; i++) {
        f[i] = fixture_open(&it, names[i]);
    }
    CHECK_STATUS(add(&it, f[0], f[1], "b"), BP_OK, &it.error);
    CHECK_STATUS(add(&it, f[0], f[2], "c"), BP_OK, &it.error);
    CHECK_STATUS(add(&it, f[1], f[3], "d"), BP_OK, &it.error);
    CHECK_STATUS(add(&it, f[2], f[3], "d"), BP_OK, &it.error);
    uint64_t before = version_of(&it, f[0]);
    CHECK_STATUS(declare(&it, f[3], "x", 1, BP_SHARED), BP_OK, &it.error);
    for (size_t i = 0; i < 4; i++) {
        CHECK_U64(version_of(&it, f[i]), before + 1);
    }
    CHECK_STATUS(declare(&it, f[1], "x", 1, BP_SHARED), BP_OK, &it.error);
    CHECK_U64(version_of(&it, f[0]), before + 2);
    CHECK_U64(version_of(&it, f[1]), before + 2);
    CHECK_U64(version_of(&it, f[2]), before + 1);
    CHECK(fixture_fini(&it));
}

/* An edit reaches every ancestor, so growing a chain at its lower end takes
 * quadratic time: only a part of it is grown that way. */
enum { DEEP = 100000, GROWN_BELOW = 2000 };

static void a_deep_chain_costs_no_stack(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory *chain = calloc(DEEP, sizeof *chain);
    CHECK(chain != NULL);
    for (size_t i = 0; i < DEEP; i++) {
        chain[i] = fixture_open(&it, "Link");
        if (i > 0) { /* from the top down, then from the bottom up */
            bp_factory parent = i < GROWN_BELOW ? chain[i - 1] : chain[i];
            bp_factory child = i < GROWN_BELOW ? chain[i] : chain[i - 1];
            if (i != GROWN_BELOW) {
                CHECK_STATUS(add(&it, parent, child, "next"), BP_OK, &it.error);
            }
        }
    }
    /* 0 > 1 > ... > h-1, and n-1 > ... > h: joined to one chain. */
    bp_factory top = chain[DEEP - 1];
    bp_factory bottom = chain[GROWN_BELOW - 1];
    CHECK_STATUS(add(&it, chain[GROWN_BELOW], chain[0], "next"), BP_OK,
                 &it.error);
    CHECK_STATUS(declare(&it, bottom, "x", 3, BP_SHARED), BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, top, BP_SHARED), 12);
    CHECK_STATUS(add(&it, bottom, top, "up"), BP_CYCLE, NULL);
    CHECK_TEXT(it.error.text + strlen(it.error.text) - 3, "...");
    CHECK_STATUS(declare(&it, bottom, "x", 4, BP_SHARED), BP_OK, &it.error);
    bp_layout *layout = layout_of(&it, top);
    CHECK(layout != NULL);
    CHECK_U64(bp_layout_get_region(layout, BP_SHARED)->n_bytes, 16);
    char digest[BP_DIGEST_TEXT];
    CHECK_STATUS(bp_layout_digest(layout, digest, &it.error), BP_OK, &it.error);
    uint8_t *bytes;
    size_t n_bytes;
    CHECK_STATUS(bp_layout_pack(layout, &bytes, &n_bytes, &it.error), BP_OK,
                 &it.error);
    bp_layout *again;
    CHECK_STATUS(bp_layout_unpack(bytes, n_bytes, &it.alloc, &again, &it.error),
                 BP_OK, &it.error);
    bool is_equal = false;
    CHECK_STATUS(bp_layout_equal(layout, again, &is_equal, &it.error), BP_OK,
                 &it.error);
    CHECK(is_equal);
    bp_layout_pack_free(layout, bytes, n_bytes);
    bp_layout_unref(again);
    CHECK_STATUS(bp_registry_check(it.registry, &it.error), BP_OK, &it.error);
    free(chain);
    bp_registry_free(it.registry); /* the tree is held by this layout alone */
    CHECK(it.heap.live_blocks > DEEP);
    bp_layout_unref(layout);
    CHECK_U64(it.heap.live_blocks, 0);
}

static void a_wide_tree_closes_in_any_order(void)
{
    enum { WIDE = 10000 };
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory top = fixture_open(&it, "Top");
    bp_factory shared = fixture_open(&it, "SharedByAll");
    CHECK_STATUS(declare(&it, shared, "x", 1, BP_SHARED), BP_OK, &it.error);
    bp_factory *wide = calloc(WIDE, sizeof *wide);
    CHECK(wide != NULL);
    for (size_t i = 0; i < WIDE; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "kid%zu", i);
        wide[i] = fixture_open(&it, "Kid");
        CHECK_STATUS(add(&it, wide[i], shared, "leaf"), BP_OK, &it.error);
        CHECK_STATUS(add(&it, top, wide[i], name), BP_OK, &it.error);
    }
    CHECK_U64(region_bytes(&it, top, BP_SHARED), 4 * WIDE);
    uint64_t seed = 5;
    for (size_t i = WIDE; i-- > 1;) {
        size_t k = (size_t)random_below(&seed, i + 1);
        bp_factory swap = wide[i];
        wide[i] = wide[k];
        wide[k] = swap;
    }
    for (size_t i = 0; i < WIDE / 2; i++) {
        bp_factory_close(it.registry, wide[i]);
    }
    CHECK_STATUS(bp_registry_check(it.registry, &it.error), BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, top, BP_SHARED), 4 * (WIDE / 2));
    bp_factory_close(it.registry, shared);
    CHECK_U64(region_bytes(&it, top, BP_SHARED), 0);
    bp_factory_close(it.registry, top);
    free(wide);
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(sizes_follow_the_child);
    RUN(one_child_twice_has_bytes_twice);
    RUN(replaces_a_child_in_place);
    RUN(refuses_taken_names);
    RUN(refuses_cycles_with_their_path);
    RUN(errors_may_be_null);
    RUN(dumps_as_text);
    RUN(a_dead_child_counts_zero);
    RUN(stale_handles_are_refused_everywhere);
    RUN(marks_ancestors_once);
    RUN(a_deep_chain_costs_no_stack);
    RUN(a_wide_tree_closes_in_any_order);
    return finish();
}
