/* test_lifetimes.c - phases, loops, and how lifetimes are settled. */
#include "harness.h"

#include "registry_fixture.h"

#include "lifetimes_fixture.h"

static void declares_phases(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "Step");
    uint64_t version = version_of(&it, f);
    CHECK_STATUS(no_phases(&it, f), BP_OK, &it.error);
    CHECK_U64(version_of(&it, f), version); /* none as before */
    CHECK_STATUS(PHASES(&it, f, "predict", "solve", "commit"), BP_OK,
                 &it.error);
    CHECK(version_of(&it, f) > version);
    version = version_of(&it, f);
    CHECK_STATUS(PHASES(&it, f, "predict", "solve", "commit"), BP_OK,
                 &it.error);
    CHECK_U64(version_of(&it, f), version);
    bp_layout *layout = layout_of(&it, f);
    CHECK(layout != NULL);
    CHECK_U64(bp_layout_n_phases(layout), 3);
    CHECK_TEXT(bp_layout_phase_name(layout, 0), "predict");
    CHECK_TEXT(bp_layout_phase_name(layout, 2), "commit");
    CHECK(bp_layout_phase_name(layout, 3) == NULL);
    CHECK_U64(bp_layout_n_loops(layout), 0);
    CHECK_U64(bp_layout_get_loop(layout, 0).first, BP_ALWAYS);
    bp_layout_unref(layout);
    CHECK_STATUS(PHASES(&it, f, "solve", "predict"), BP_OK, &it.error);
    CHECK(version_of(&it, f) > version);
    CHECK_STATUS(no_phases(&it, f), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, f, "solve", 1, BP_SHARED), BP_OK, &it.error);
    CHECK(fixture_fini(&it));
}

static void refuses_bad_phases(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "Step");
    bp_factory child = fixture_open(&it, "Child");
    CHECK_STATUS(declare(&it, f, "x", 1, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(add_live(&it, f, child, "kid", NULL, NULL), BP_OK, &it.error);
    CHECK_STATUS(PHASES(&it, f, "a", "b"), BP_OK, &it.error);
    CHECK_REFUSED(&it, PHASES(&it, f, "a", "x"), BP_NAME_TAKEN);
    CHECK_REFUSED(&it, PHASES(&it, f, "a", "kid"), BP_NAME_TAKEN);
    CHECK_REFUSED(&it, PHASES(&it, f, "a", "kid_block"), BP_NAME_TAKEN);
    CHECK_REFUSED(&it, PHASES(&it, f, "c", "b", "c"), BP_NAME_TAKEN);
    CHECK_TEXT(it.error.text, "Step: phase 'c' is named twice");
    CHECK_REFUSED(&it, PHASES(&it, f, "a", "lambda"), BP_BAD_NAME);
    CHECK_REFUSED(&it, PHASES(&it, f, "a", "_b"), BP_BAD_NAME);
    CHECK_REFUSED(&it, PHASES(&it, f, "root"), BP_BAD_NAME);
    CHECK_REFUSED(&it, PHASES(&it, f, "a", NULL), BP_BAD_NAME);
    CHECK_REFUSED(&it, declare(&it, f, "a", 1, BP_SHARED), BP_NAME_TAKEN);
    CHECK_TEXT(it.error.text, "Step: 'a' is the name of a phase");
    CHECK_REFUSED(&it, add_live(&it, f, child, "a", NULL, NULL), BP_NAME_TAKEN);
    bp_status status =
        bp_registry_phases(it.registry, f, NULL, BP_MAX_PHASES + 1, &it.error);
    CHECK_STATUS(status, BP_BAD_VALUE, NULL);
    CHECK_U64(it.error.limit, BP_MAX_PHASES);
    bp_factory_close(it.registry, child);
    CHECK_REFUSED(&it, PHASES(&it, child, "a"), BP_STALE);
    CHECK_REFUSED(&it, make_loop(&it, child, "a", "a"), BP_STALE);
    CHECK(fixture_fini(&it));
}

static void keeps_phases_that_are_named(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "Step");
    bp_factory child = fixture_open(&it, "Child");
    CHECK_STATUS(PHASES(&it, f, "a", "b", "c", "d"), BP_OK, &it.error);
    CHECK_STATUS(declare_live(&it, f, "x", 3, BP_SHARED, "b", "c"), BP_OK,
                 &it.error);
    CHECK_REFUSED(&it, PHASES(&it, f, "a", "b", "d"), BP_UNKNOWN_PHASE);
    CHECK_TEXT(it.error.text, "Step: phase 'c' stays while 'x' names it");
    CHECK_REFUSED(&it, no_phases(&it, f), BP_UNKNOWN_PHASE);
    CHECK_REFUSED(&it, PHASES(&it, f, "a", "c", "b", "d"), BP_BAD_LIFE);
    CHECK_STATUS(add_live(&it, f, child, "kid", "a", NULL), BP_OK, &it.error);
    CHECK_REFUSED(&it, PHASES(&it, f, "b", "c"), BP_UNKNOWN_PHASE);
    CHECK_TEXT(it.error.text, "Step: phase 'a' stays while 'kid' names it");
    CHECK_STATUS(make_loop(&it, f, "b", "d"), BP_OK, &it.error);
    CHECK_REFUSED(&it, PHASES(&it, f, "a", "b", "c"), BP_UNKNOWN_PHASE);
    CHECK_TEXT(it.error.text, "Step: phase 'd' stays while a loop names it");
    /* They may move, and others may come between. */
    CHECK_STATUS(PHASES(&it, f, "b", "new", "c", "d", "a"), BP_OK, &it.error);
    bp_layout *layout = layout_of(&it, f);
    CHECK(layout != NULL);
    CHECK(lives(layout, "x", 0, 2));
    CHECK(lives(layout, "kid_shared", 4, 4));
    CHECK_U64(bp_layout_n_loops(layout), 1);
    CHECK_U64(bp_layout_get_loop(layout, 0).first, 0);
    CHECK_U64(bp_layout_get_loop(layout, 0).last, 3);
    bp_layout_unref(layout);
    /* Nobody names them: phases and loops go together. */
    CHECK_STATUS(bp_registry_unregister(it.registry, f, "x", &it.error), BP_OK,
                 &it.error);
    CHECK_STATUS(bp_registry_remove_child(it.registry, f, "kid", &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(no_phases(&it, f), BP_OK, &it.error);
    CHECK_STATUS(PHASES(&it, f, "a", "b", "c", "d"), BP_OK, &it.error);
    CHECK_REFUSED(&it, declare_carried(&it, f, "x", 1, "b", "c"), BP_BAD_LIFE);
    CHECK(fixture_fini(&it));
}

static void nests_loops(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "Step");
    CHECK_REFUSED(&it, make_loop(&it, f, "a", "b"), BP_UNKNOWN_PHASE);
    CHECK_TEXT(it.error.text,
               "Step has no phase 'a', which 'loop' names (has: none)");
    CHECK_STATUS(PHASES(&it, f, "a", "b", "c", "d", "e"), BP_OK, &it.error);
    CHECK_STATUS(make_loop(&it, f, "b", "c"), BP_OK, &it.error);
    CHECK_STATUS(make_loop(&it, f, "a", "d"), BP_OK, &it.error);
    CHECK_STATUS(make_loop(&it, f, "b", NULL), BP_OK, &it.error);
    CHECK_STATUS(make_loop(&it, f, "e", "e"), BP_OK, &it.error);
    uint64_t version = version_of(&it, f);
    CHECK_STATUS(make_loop(&it, f, "b", "c"), BP_OK, &it.error);
    CHECK_U64(version_of(&it, f), version);
    CHECK_REFUSED(&it, make_loop(&it, f, "c", "d"), BP_BAD_LIFE);
    CHECK_TEXT(it.error.text, "Step: the loop from 'c' to 'd' overlaps the "
                              "loop from 'b' to 'c' in part");
    CHECK_REFUSED(&it, make_loop(&it, f, "d", "e"), BP_BAD_LIFE);
    CHECK_REFUSED(&it, make_loop(&it, f, "d", "a"), BP_BAD_LIFE);
    CHECK_REFUSED(&it, make_loop(&it, f, NULL, NULL), BP_BAD_NAME);
    CHECK_REFUSED(&it, make_loop(&it, f, "a", "z"), BP_UNKNOWN_PHASE);
    bp_layout *layout = layout_of(&it, f);
    CHECK(layout != NULL);
    static const bp_loop want[] = {{0, 3}, {1, 2}, {1, 1}, {4, 4}};
    CHECK_U64(bp_layout_n_loops(layout), 4);
    for (size_t i = 0; i < 4; i++) {
        CHECK_U64(bp_layout_get_loop(layout, i).first, want[i].first);
        CHECK_U64(bp_layout_get_loop(layout, i).last, want[i].last);
    }
    bp_layout_unref(layout);
    /* a, d around b, c: in this order the loops would cross. */
    CHECK_REFUSED(&it, PHASES(&it, f, "b", "a", "c", "d", "e"), BP_BAD_LIFE);
    CHECK(fixture_fini(&it));
}

static void refuses_bad_lifetimes(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "Step");
    bp_factory child = fixture_open(&it, "Child");
    CHECK_STATUS(PHASES(&it, f, "a", "b", "c"), BP_OK, &it.error);
    CHECK_REFUSED(&it, declare_live(&it, f, "x", 1, BP_SHARED, "z", NULL),
                  BP_UNKNOWN_PHASE);
    CHECK_TEXT(it.error.text,
               "Step has no phase 'z', which 'x' names (has: a, b, c)");
    CHECK_REFUSED(&it, declare_live(&it, f, "x", 1, BP_SHARED, "b", "a"),
                  BP_BAD_LIFE);
    CHECK_REFUSED(&it, declare_live(&it, f, "x", 1, BP_SHARED, NULL, "a"),
                  BP_BAD_LIFE);
    CHECK_REFUSED(&it, add_live(&it, f, child, "kid", "c", "b"), BP_BAD_LIFE);
    CHECK_REFUSED(&it, add_live(&it, f, child, "kid", "kid", NULL),
                  BP_UNKNOWN_PHASE);
    uint64_t shape;
    bp_buffer_spec spec = spec_of("x", &shape, 1, BP_SHARED);
    spec.first_phase = "a";
    spec.keep = BP_YES;
    CHECK_REFUSED(&it,
                  bp_registry_register(it.registry, f, &spec, NULL, &it.error),
                  BP_KEEP_CONFLICT);
    spec.keep = BP_UNSAID;
    spec.is_carried = true;
    CHECK_REFUSED(&it,
                  bp_registry_register(it.registry, f, &spec, NULL, &it.error),
                  BP_BAD_LIFE);
    CHECK_STATUS(make_loop(&it, f, "a", "b"), BP_OK, &it.error);
    spec.zero = true;
    CHECK_REFUSED(&it,
                  bp_registry_register(it.registry, f, &spec, NULL, &it.error),
                  BP_BAD_LIFE);
    spec.zero = false;
    spec.last_phase = "c"; /* runs out of the loop */
    CHECK_REFUSED(&it,
                  bp_registry_register(it.registry, f, &spec, NULL, &it.error),
                  BP_BAD_LIFE);
    spec.first_phase = spec.last_phase = NULL; /* always alive */
    CHECK_REFUSED(&it,
                  bp_registry_register(it.registry, f, &spec, NULL, &it.error),
                  BP_BAD_LIFE);
    CHECK(fixture_fini(&it));
}

/* What shares the bytes of something carried is not zeroed in each turn. */
static void aliases_do_not_clear_what_is_carried(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "Step");
    CHECK_STATUS(PHASES(&it, f, "a", "b"), BP_OK, &it.error);
    CHECK_STATUS(make_loop(&it, f, "a", "b"), BP_OK, &it.error);
    CHECK_STATUS(declare_carried(&it, f, "x", 4, "a", "a"), BP_OK, &it.error);
    uint64_t shape;
    bp_buffer_spec spec = spec_of("y", &shape, 2, BP_SHARED);
    spec.first_phase = "b";
    spec.zero = true;
    CHECK_STATUS(bp_registry_register(it.registry, f, &spec, NULL, &it.error),
                 BP_OK, &it.error);
    spec.same_as = "x";
    CHECK_REFUSED(&it,
                  bp_registry_register(it.registry, f, &spec, NULL, &it.error),
                  BP_BAD_LIFE);
    /* Nor through an alias in between, whichever comes last. */
    CHECK_STATUS(declare_same(&it, f, "z", 2, "y"), BP_OK, &it.error);
    shape = 2;
    bp_buffer_spec carried = spec_of("z", &shape, 2, BP_SHARED);
    carried.first_phase = "a";
    carried.is_carried = true;
    carried.same_as = "y";
    CHECK_REFUSED(
        &it, bp_registry_register(it.registry, f, &carried, NULL, &it.error),
        BP_BAD_LIFE);
    CHECK(fixture_fini(&it));
}

/* Phases: pre, a, b, c, d, post; loops a..d and, inside it, b..c. */
static const struct {
    const char *name, *first, *last;
    bool is_carried;
    uint32_t from, to;
} settled_rows[] = {
    {"always", NULL, NULL, false, BP_ALWAYS, BP_ALWAYS},
    {"one", "b", NULL, false, 2, 2},
    {"inside", "b", "c", false, 2, 3},
    {"into_outer", "pre", "a", false, 0, 4},
    {"into_inner", "pre", "b", false, 0, 4},
    {"outer_into_inner", "a", "b", false, 1, 3},
    {"out_of_inner", "c", "d", false, 3, 4},
    {"out_of_all", "c", "post", false, 3, 5},
    {"carried_inner", "c", "c", true, 2, 3},
    {"carried_outer", "d", "d", true, 1, 4},
    {"carried_across", "a", "b", true, 1, 4},
};
enum { N_SETTLED = sizeof settled_rows / sizeof settled_rows[0] };

/* LOAD of the table above, four bytes a row. */
static uint64_t most_settled_alive(void)
{
    uint64_t most = 0;
    for (uint32_t p = 0; p < 6; p++) {
        uint64_t live = 0;
        for (size_t i = 0; i < N_SETTLED; i++) {
            bool is_live =
                settled_rows[i].from == BP_ALWAYS ||
                (settled_rows[i].from <= p && p <= settled_rows[i].to);
            live += is_live ? 4 : 0;
        }
        most = live > most ? live : most;
    }
    return most;
}

static void settles_lifetimes(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "Step");
    CHECK_STATUS(PHASES(&it, f, "pre", "a", "b", "c", "d", "post"), BP_OK,
                 &it.error);
    CHECK_STATUS(make_loop(&it, f, "a", "d"), BP_OK, &it.error);
    CHECK_STATUS(make_loop(&it, f, "b", "c"), BP_OK, &it.error);
    for (size_t i = 0; i < N_SETTLED; i++) {
        bp_status status =
            settled_rows[i].is_carried
                ? declare_carried(&it, f, settled_rows[i].name, 1,
                                  settled_rows[i].first, settled_rows[i].last)
                : declare_live(&it, f, settled_rows[i].name, 1, BP_SHARED,
                               settled_rows[i].first, settled_rows[i].last);
        CHECK_STATUS(status, BP_OK, &it.error);
    }
    bp_layout *layout = layout_of(&it, f);
    CHECK(layout != NULL);
    for (size_t i = 0; i < N_SETTLED; i++) {
        CHECK(lives(layout, settled_rows[i].name, settled_rows[i].from,
                    settled_rows[i].to));
        CHECK(bp_layout_find(layout, settled_rows[i].name)->is_carried ==
              settled_rows[i].is_carried);
    }
    uint64_t most = most_settled_alive();
    const bp_region *region = bp_layout_get_region(layout, BP_SHARED);
    CHECK_U64(region->load, most);
    CHECK(region->lower_bound >= most);
    CHECK(region->lower_bound <= region->n_bytes);
    CHECK_U64(region->flat_lower_bound, most);
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

static void persistent_scratch_is_not_kept(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "Step");
    CHECK_STATUS(PHASES(&it, f, "a", "b"), BP_OK, &it.error);
    CHECK_STATUS(
        declare_live(&it, f, "scratch", 3, BP_PERSISTENT_LOCAL, "a", NULL),
        BP_OK, &it.error);
    CHECK_STATUS(declare(&it, f, "state", 2, BP_PERSISTENT_LOCAL), BP_OK,
                 &it.error);
    bp_layout *layout = layout_of(&it, f);
    CHECK(layout != NULL);
    CHECK(!bp_layout_find(layout, "scratch")->is_kept);
    CHECK(bp_layout_find(layout, "state")->is_kept);
    CHECK_U64(bp_layout_get_region(layout, BP_PERSISTENT_LOCAL)->kept_bytes, 8);
    bp_layout_unref(layout);
    /* Declared anew without a life it is kept. */
    CHECK_STATUS(declare(&it, f, "scratch", 3, BP_PERSISTENT_LOCAL), BP_OK,
                 &it.error);
    layout = layout_of(&it, f);
    CHECK(layout != NULL);
    CHECK(bp_layout_find(layout, "scratch")->is_kept);
    CHECK(lives(layout, "scratch", BP_ALWAYS, BP_ALWAYS));
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

static void aliases_live_together(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "Step");
    CHECK_STATUS(PHASES(&it, f, "a", "b", "c", "d"), BP_OK, &it.error);
    CHECK_STATUS(make_loop(&it, f, "c", "d"), BP_OK, &it.error);
    CHECK_STATUS(declare_live(&it, f, "x", 4, BP_SHARED, "b", NULL), BP_OK,
                 &it.error);
    uint64_t shape;
    bp_buffer_spec spec = spec_of("y", &shape, 2, BP_LOCAL);
    spec.same_as = "x";
    spec.first_phase = "c";
    CHECK_STATUS(bp_registry_register(it.registry, f, &spec, NULL, &it.error),
                 BP_OK, &it.error);
    bp_layout *layout = layout_of(&it, f);
    CHECK(layout != NULL);
    CHECK(lives(layout, "x", 1, 3)); /* together they run into the loop */
    CHECK(lives(layout, "y", 1, 3));
    bp_layout_unref(layout);
    CHECK_STATUS(declare_same(&it, f, "y", 2, "x"), BP_OK, &it.error);
    layout = layout_of(&it, f);
    CHECK(layout != NULL);
    CHECK(lives(layout, "x", BP_ALWAYS, BP_ALWAYS));
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

static void the_same_again_is_no_edit(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "Step");
    bp_factory child = fixture_open(&it, "Child");
    CHECK_STATUS(PHASES(&it, f, "a", "b"), BP_OK, &it.error);
    CHECK_STATUS(make_loop(&it, f, "a", "b"), BP_OK, &it.error);
    CHECK_STATUS(declare_live(&it, f, "x", 4, BP_SHARED, "b", NULL), BP_OK,
                 &it.error);
    CHECK_STATUS(add_live(&it, f, child, "kid", "a", "b"), BP_OK, &it.error);
    uint64_t version = version_of(&it, f);
    CHECK_STATUS(declare_live(&it, f, "x", 4, BP_SHARED, "b", "b"), BP_OK,
                 &it.error);
    CHECK_STATUS(add_live(&it, f, child, "kid", "a", "b"), BP_OK, &it.error);
    CHECK_U64(version_of(&it, f), version);
    CHECK_STATUS(add_live(&it, f, child, "kid", "a", NULL), BP_OK, &it.error);
    CHECK(version_of(&it, f) > version);
    version = version_of(&it, f);
    CHECK_STATUS(declare_carried(&it, f, "x", 4, "b", NULL), BP_OK, &it.error);
    CHECK(version_of(&it, f) > version);
    version = version_of(&it, f);
    CHECK_STATUS(declare(&it, f, "x", 4, BP_SHARED), BP_OK, &it.error);
    CHECK(version_of(&it, f) > version);
    CHECK(fixture_fini(&it));
}

static void children_live_when_called(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "Step");
    bp_factory child = fixture_open(&it, "Child");
    bp_factory leaf = fixture_open(&it, "Leaf");
    CHECK_STATUS(PHASES(&it, f, "pre", "a", "b"), BP_OK, &it.error);
    CHECK_STATUS(make_loop(&it, f, "a", "b"), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, child, "x", 3, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, child, "y", 3, BP_BLOCK), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, child, "z", 3, BP_PERSISTENT_LOCAL), BP_OK,
                 &it.error);
    CHECK_STATUS(add_live(&it, f, child, "kid", "a", NULL), BP_OK, &it.error);
    CHECK_STATUS(add_live(&it, f, child, "early", "pre", "a"), BP_OK,
                 &it.error);
    bp_layout *layout = layout_of(&it, f);
    CHECK(layout != NULL);
    CHECK(lives(layout, "kid_shared", 1, 1));
    CHECK(lives(layout, "kid_block", 1, 1));
    CHECK(lives(layout, "kid_persistent_local", BP_ALWAYS, BP_ALWAYS));
    CHECK(lives(layout, "early_shared", 0, 2));
    CHECK_U64(bp_layout_get_child(layout, 0)->first_phase, 1);
    CHECK_U64(bp_layout_get_child(layout, 0)->last_phase, 1);
    CHECK_U64(bp_layout_get_child(layout, 1)->last_phase, 2);
    bp_layout_unref(layout);
    /* Something kept, however deep, in that memory alone. */
    CHECK_STATUS(add_live(&it, child, leaf, "leaf", NULL, NULL), BP_OK,
                 &it.error);
    uint64_t shape;
    bp_buffer_spec spec = spec_of("state", &shape, 1, BP_SHARED);
    spec.keep = BP_YES;
    CHECK_STATUS(
        bp_registry_register(it.registry, leaf, &spec, NULL, &it.error), BP_OK,
        &it.error);
    layout = layout_of(&it, f);
    CHECK(layout != NULL);
    CHECK(lives(layout, "kid_shared", BP_ALWAYS, BP_ALWAYS));
    CHECK(lives(layout, "kid_block", 1, 1));
    CHECK_U64(bp_layout_get_child(layout, 0)->first_phase, 1);
    CHECK_U64(bp_layout_get_region(layout, BP_SHARED)->kept_bytes, 8);
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

static void reads_and_dumps_lifetimes(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "Step");
    bp_factory child = fixture_open(&it, "Child");
    CHECK_STATUS(PHASES(&it, f, "a", "b"), BP_OK, &it.error);
    CHECK_STATUS(make_loop(&it, f, "a", "b"), BP_OK, &it.error);
    CHECK_STATUS(declare_carried(&it, f, "x", 1, "b", NULL), BP_OK, &it.error);
    CHECK_STATUS(add_live(&it, f, child, "kid", "a", NULL), BP_OK, &it.error);
    bp_entries entries;
    CHECK_STATUS(bp_registry_copy_entries(it.registry, f, &entries, &it.error),
                 BP_OK, &it.error);
    CHECK_TEXT(entries.entries[0].first_phase, "b");
    CHECK_TEXT(entries.entries[0].last_phase, "b");
    CHECK(entries.entries[0].is_carried);
    CHECK_TEXT(entries.entries[1].first_phase, "a");
    CHECK(entries.entries[3].first_phase == NULL); /* persistent_local */
    CHECK_TEXT(entries.children[0].first_phase, "a");
    CHECK_U64(entries.n_phases, 2);
    CHECK_TEXT(entries.phases[1], "b");
    CHECK_U64(entries.n_loops, 1);
    CHECK_U64(entries.loops[0].last, 1);
    bp_entries_free(&entries);
    static const char want[] =
        "{\"id\": 0, \"type\": \"Step\", \"precision\": \"<f4\", \"phases\": "
        "[\"a\", \"b\"], \"loops\": [[\"a\", \"b\"]], \"buffers\": [\n"
        "    {\"name\": \"x\", \"id\": 0, \"shape\": [1], \"dtype\": null, "
        "\"location\": \"shared\", \"override\": null, \"align\": 0, \"keep\": "
        "null, \"is_kept\": false, \"zero\": false, \"same_as\": null, "
        "\"uses\": 1, \"live\": [\"b\", \"b\"], \"carried\": true}], "
        "\"children\": [\n"
        "    {\"name\": \"kid\", \"factory\": 1, \"position\": 1, \"live\": "
        "[\"a\", \"a\"]}]}";
    char *text;
    CHECK_STATUS(bp_registry_dump(it.registry, f, &text, &it.error), BP_OK,
                 &it.error);
    bool is_right = harness_text(text, want, __FILE__, __LINE__, "dump");
    drop_dump(&it, text);
    CHECK(is_right);
    CHECK(fixture_fini(&it));
}

/* Phases come and go; names and map do not grow without end. */
static void reuses_names_of_phases(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "Step");
    CHECK_STATUS(PHASES(&it, f, "stays"), BP_OK, &it.error);
    CHECK_STATUS(declare_live(&it, f, "x", 1, BP_SHARED, "stays", NULL), BP_OK,
                 &it.error);
    size_t settled = 0;
    for (unsigned i = 0; i < 2000; i++) {
        char a[32];
        char b[32];
        (void)snprintf(a, sizeof a, "phase_number_%u", i);
        (void)snprintf(b, sizeof b, "another_phase_%u", i);
        const char *names[3] = {a, b, b};
        names[i % 3] = "stays";
        names[1] = i % 3 == 0 ? a : names[1];
        CHECK_STATUS(bp_registry_phases(it.registry, f, names, 3, &it.error),
                     BP_OK, &it.error);
        if (i % 100 == 0) {
            CHECK_STATUS(bp_registry_check(it.registry, &it.error), BP_OK,
                         &it.error);
        }
        settled = i == 1000 ? it.heap.live_bytes : settled;
    }
    CHECK_U64(it.heap.live_bytes, settled);
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(declares_phases);
    RUN(refuses_bad_phases);
    RUN(keeps_phases_that_are_named);
    RUN(nests_loops);
    RUN(refuses_bad_lifetimes);
    RUN(aliases_do_not_clear_what_is_carried);
    RUN(settles_lifetimes);
    RUN(persistent_scratch_is_not_kept);
    RUN(aliases_live_together);
    RUN(the_same_again_is_no_edit);
    RUN(children_live_when_called);
    RUN(reads_and_dumps_lifetimes);
    RUN(reuses_names_of_phases);
    return finish();
}
