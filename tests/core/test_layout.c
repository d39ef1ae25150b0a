/* test_layout.c - snapshots: places, figures, identity, versions. */
#include "harness.h"

#include "registry_fixture.h"

static bp_status put(fixture *it, bp_factory factory, const char *name,
                     uint64_t n, bp_location location, const bp_dtype *dtype,
                     uint32_t align)
{
    uint64_t shape;
    bp_buffer_spec spec = spec_of(name, &shape, n, location);
    spec.dtype = dtype;
    spec.align = align;
    return bp_registry_register(it->registry, factory, &spec, NULL, &it->error);
}

typedef struct row {
    const char *name;
    bp_location location;
    uint64_t offset, n_bytes, n_items;
    uint32_t align;
} row;

static void check_rows(const bp_layout *layout, const row *rows, size_t n)
{
    CHECK_U64(bp_layout_n_placements(layout), n);
    for (size_t i = 0; i < n; i++) {
        const bp_placement *place = bp_layout_get_placement(layout, i);
        CHECK_TEXT(place->name, rows[i].name);
        CHECK_U64(place->location, rows[i].location);
        CHECK_U64(place->offset_bytes, rows[i].offset);
        CHECK_U64(place->n_bytes, rows[i].n_bytes);
        CHECK_U64(place->n_items, rows[i].n_items);
        CHECK_U64(place->align, rows[i].align);
        CHECK_U64(place->bytes_of, i);
        CHECK(bp_layout_find(layout, rows[i].name) == place);
    }
    CHECK(bp_layout_get_placement(layout, n) == NULL);
}

/* n_bytes, load, least lower bound, flat bound, align, widest */
typedef const uint64_t figures_of_regions[BP_N_REGIONS][6];

static void check_figures(const bp_layout *layout, figures_of_regions figures)
{
    for (int i = 0; i < BP_N_REGIONS; i++) {
        const bp_region *region = bp_layout_get_region(layout, (bp_location)i);
        CHECK_U64(region->n_bytes, figures[i][0]);
        CHECK_U64(region->load, figures[i][1]);
        CHECK(region->lower_bound >= figures[i][2] &&
              region->lower_bound <= figures[i][0]);
        CHECK_U64(region->flat_lower_bound, figures[i][3]);
        CHECK_U64(region->align, figures[i][4]);
        CHECK_U64(region->widest, figures[i][5]);
        CHECK(region->has_report);
    }
}

typedef struct declaration {
    const char *name;
    uint64_t n;
    bp_location location;
    const bp_dtype *dtype;
    uint32_t align;
} declaration;

static bp_status put_all(fixture *it, bp_factory f, const declaration *rows,
                         size_t n)
{
    bp_status status = BP_OK;
    for (size_t i = 0; i < n && status == BP_OK; i++) {
        status = put(it, f, rows[i].name, rows[i].n, rows[i].location,
                     rows[i].dtype, rows[i].align);
    }
    return status;
}

/* The child is declared between the parent's buffers. */
static bp_status make_family(fixture *it, bp_factory parent, bp_factory child)
{
    const declaration of_child[] = {{"h", 3, BP_SHARED, NULL, 0},
                                    {"flags", 3, BP_SHARED, &u1, 0},
                                    {"table", 2, BP_BLOCK, NULL, 32},
                                    {"state", 1, BP_PERSISTENT_LOCAL, &f4, 0},
                                    {"tmp", 5, BP_LOCAL, NULL, 0}};
    const declaration of_parent[] = {{"a", 3, BP_SHARED, NULL, 0},
                                     {"bytes", 5, BP_BLOCK, &u1, 0},
                                     {"vec", 4, BP_SHARED, NULL, 16},
                                     {"none", 0, BP_SHARED, NULL, 64},
                                     {"keep", 2, BP_PERSISTENT_LOCAL, NULL, 0},
                                     {"loc", 3, BP_LOCAL, &u1, 0}};
    bp_status status = put_all(it, child, of_child, 5);
    if (status == BP_OK) {
        status = put_all(it, parent, of_parent, 2);
    }
    if (status == BP_OK) {
        status = bp_registry_add_child(it->registry, parent, child, "kid", NULL,
                                       NULL, &it->error);
    }
    return status == BP_OK ? put_all(it, parent, of_parent + 2, 4) : status;
}

/* The tables are made by hand: a parent of single precision, a child of
 * double precision in the middle of its buffers. */
static void places_by_hand(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory parent = fixture_open(&it, "Parent");
    bp_factory child;
    CHECK_STATUS(bp_factory_open(it.registry, "Child", &f8, &child, &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(make_family(&it, parent, child), BP_OK, &it.error);
    static const row of_child[] = {
        {"h", BP_SHARED, 0, 24, 3, 8},
        {"flags", BP_SHARED, 24, 3, 3, 1},
        {"table", BP_BLOCK, 0, 16, 2, 32},
        {"state", BP_PERSISTENT_LOCAL, 0, 4, 1, 4},
        {"tmp", BP_LOCAL, 0, 40, 5, 8},
    };
    static const row of_parent[] = {
        {"a", BP_SHARED, 0, 12, 3, 4},
        {"bytes", BP_BLOCK, 0, 5, 5, 1},
        {"kid_shared", BP_SHARED, 16, 32, 8, 8},
        {"kid_block", BP_BLOCK, 32, 32, 8, 32},
        {"kid_persistent_local", BP_PERSISTENT_LOCAL, 0, 4, 1, 4},
        {"vec", BP_SHARED, 48, 16, 4, 16},
        {"none", BP_SHARED, 64, 0, 0, 64},
        {"keep", BP_PERSISTENT_LOCAL, 4, 8, 2, 4},
        {"loc", BP_LOCAL, 0, 3, 3, 1},
    };
    static const uint64_t figures[BP_N_REGIONS][6] = {
        [BP_SHARED] = {64, 60, 60, 55, 64, 8},
        [BP_BLOCK] = {64, 37, 37, 21, 32, 8},
        [BP_LOCAL] = {43, 43, 43, 43, 8, 8},
        [BP_PERSISTENT_LOCAL] = {12, 12, 12, 12, 4, 4}};
    bp_layout *layout = layout_of(&it, parent);
    CHECK(layout != NULL);
    check_rows(layout, of_parent, 9);
    CHECK_PASSED();
    check_rows(bp_layout_get_child(layout, 0)->layout, of_child, 5);
    CHECK_PASSED();
    check_figures(layout, figures);
    CHECK_PASSED();
    CHECK(bp_layout_get_region(layout, BP_AUTO) == NULL);
    CHECK_TEXT(bp_layout_get_name(layout), "Parent");
    CHECK_TEXT(bp_layout_get_precision(layout)->text, "<f4");
    CHECK(bp_layout_find(layout, "child_shared") == NULL);
    CHECK(bp_layout_find(layout, "kid") == NULL);
    CHECK(bp_layout_get_child(layout, 1) == NULL);
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

static void packs_by_alignment(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_PACKED));
    bp_factory f = fixture_open(&it, "F");
    CHECK_STATUS(put(&it, f, "b", 1, BP_SHARED, &u1, 0), BP_OK, &it.error);
    CHECK_STATUS(put(&it, f, "d", 1, BP_SHARED, &f8, 0), BP_OK, &it.error);
    CHECK_STATUS(put(&it, f, "s", 1, BP_SHARED, &f4, 0), BP_OK, &it.error);
    CHECK_STATUS(put(&it, f, "e", 1, BP_SHARED, &f8, 0), BP_OK, &it.error);
    static const row rows[] = {{"b", BP_SHARED, 20, 1, 1, 1},
                               {"d", BP_SHARED, 0, 8, 1, 8},
                               {"s", BP_SHARED, 16, 4, 1, 4},
                               {"e", BP_SHARED, 8, 8, 1, 8}};
    bp_layout *layout = layout_of(&it, f);
    CHECK(layout != NULL);
    check_rows(layout, rows, 4);
    CHECK_U64(bp_layout_get_region(layout, BP_SHARED)->n_bytes, 24);
    CHECK_U64(bp_layout_get_region(layout, BP_SHARED)->status,
              BP_PLAN_IS_OPTIMAL);
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

static void answers_for_no_children(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_layout *layout;
    CHECK_STATUS(bp_layout_new_empty(&f8, &it.alloc, &layout, &it.error), BP_OK,
                 &it.error);
    for (int k = 0; k < 2; k++) {
        CHECK_U64(bp_layout_n_placements(layout), 0);
        const bp_placement *place = bp_layout_find(layout, "child_shared");
        CHECK(place != NULL && place->location == BP_SHARED);
        CHECK_U64(place->n_bytes, 0);
        CHECK_U64(place->shape[0], 0);
        CHECK_U64(place->dtype.n_bytes, 8);
        place = bp_layout_find(layout, "child_persistent_local");
        CHECK(place != NULL && place->location == BP_PERSISTENT_LOCAL);
        CHECK(bp_layout_find(layout, "child_block") == NULL);
        CHECK_U64(bp_layout_get_region(layout, BP_SHARED)->n_bytes, 0);
        CHECK_U64(bp_layout_get_region(layout, BP_SHARED)->align, 1);
        bp_layout_unref(layout);
        bp_factory f;
        CHECK_STATUS(bp_factory_open(it.registry, "F", &f8, &f, &it.error),
                     BP_OK, &it.error);
        layout = layout_of(&it, f); /* an empty factory is no different */
        CHECK(layout != NULL);
        CHECK_U64(bp_layout_version(layout), 0);
    }
    bp_layout_unref(layout);
    /* A buffer of that name is a buffer. */
    bp_factory f = fixture_open(&it, "G");
    CHECK_STATUS(put(&it, f, "child_shared", 3, BP_LOCAL, NULL, 0), BP_OK,
                 &it.error);
    layout = layout_of(&it, f);
    CHECK(layout != NULL);
    CHECK_U64(bp_layout_find(layout, "child_shared")->n_bytes, 12);
    CHECK_U64(bp_layout_find(layout, "child_shared")->location, BP_LOCAL);
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

static void finds_every_name(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    static const unsigned counts[] = {1, 11, 12, 13, 1000};
    for (size_t k = 0; k < 5; k++) {
        bp_factory f = fixture_open(&it, "F");
        char name[32];
        for (unsigned i = 0; i < counts[k]; i++) {
            (void)snprintf(name, sizeof name, "b%u", i * 7);
            CHECK_STATUS(declare(&it, f, name, i, BP_SHARED), BP_OK, &it.error);
        }
        bp_layout *layout = layout_of(&it, f);
        CHECK(layout != NULL);
        for (unsigned i = 0; i < counts[k] * 7; i++) {
            (void)snprintf(name, sizeof name, "b%u", i);
            const bp_placement *want =
                i % 7 == 0 ? bp_layout_get_placement(layout, i / 7) : NULL;
            CHECK(bp_layout_find(layout, name) == want);
        }
        /* Without memory for an index the answers are the same. */
        bp_layout_unref(layout);
        CHECK_STATUS(bp_registry_invalidate(it.registry, f, &it.error), BP_OK,
                     &it.error);
        CHECK_STATUS(declare(&it, f, "last", 1, BP_SHARED), BP_OK, &it.error);
        layout = layout_of(&it, f);
        CHECK(layout != NULL);
        test_heap_fail(&it.heap, 1, true);
        const bp_placement *found = bp_layout_find(layout, "last");
        test_heap_fail(&it.heap, 0, false);
        CHECK(found == bp_layout_get_placement(layout, counts[k]));
        bp_layout_unref(layout);
    }
    CHECK(fixture_fini(&it));
}

typedef struct family {
    fixture it;
    bp_factory parent, child;
} family;

static bool family_init(family *pair)
{
    if (!fixture_init(&pair->it, BP_PLAN_SEQUENTIAL)) {
        return false;
    }
    pair->parent = fixture_open(&pair->it, "Parent");
    pair->child = fixture_open(&pair->it, "Child");
    return declare(&pair->it, pair->child, "x", 4, BP_SHARED) == BP_OK &&
           bp_registry_add_child(pair->it.registry, pair->parent, pair->child,
                                 "kid", NULL, NULL, &pair->it.error) == BP_OK;
}

/* Borrowed: the registry holds it. */
static bp_layout *peek(fixture *it, bp_factory f)
{
    bp_layout *layout = layout_of(it, f);
    bp_layout_unref(layout);
    return layout;
}

static void keeps_identity(void)
{
    family pair;
    CHECK(family_init(&pair));
    fixture *it = &pair.it;
    bp_layout *now = NULL;
    CHECK_STATUS(
        bp_registry_copy_current(it->registry, pair.parent, &now, &it->error),
        BP_OK, &it->error);
    CHECK(now == NULL);
    bp_layout *first = layout_of(it, pair.parent);
    CHECK(first != NULL && first == peek(it, pair.parent));
    CHECK_STATUS(
        bp_registry_copy_current(it->registry, pair.parent, &now, &it->error),
        BP_OK, &it->error);
    CHECK(first == now);
    bp_layout_unref(now);
    /* Forgetting gives the same bytes, and so the same object. */
    CHECK_STATUS(bp_registry_invalidate(it->registry, pair.parent, &it->error),
                 BP_OK, &it->error);
    CHECK_STATUS(
        bp_registry_copy_current(it->registry, pair.parent, &now, &it->error),
        BP_OK, &it->error);
    CHECK(now == NULL);
    CHECK(first == peek(it, pair.parent));
    /* There and back without a look in between: likewise. */
    CHECK_STATUS(resize(it, pair.parent, "kid_x_size", 5), BP_OK, &it->error);
    CHECK_STATUS(resize(it, pair.parent, "kid_x_size", 4), BP_OK, &it->error);
    CHECK(version_of(it, pair.parent) > bp_layout_version(first));
    CHECK(first == peek(it, pair.parent));
    bp_layout_unref(first);
    CHECK(fixture_fini(it));
}

static void keeps_the_version_of_equal_bytes(void)
{
    family pair;
    CHECK(family_init(&pair));
    fixture *it = &pair.it;
    bp_layout *first = layout_of(it, pair.parent);
    CHECK(first != NULL);
    uint64_t version = bp_layout_version(first);
    CHECK_U64(version, version_of(it, pair.parent));
    /* The child was built in between: another object, the same bytes. */
    CHECK_STATUS(resize(it, pair.child, "x_size", 5), BP_OK, &it->error);
    CHECK(peek(it, pair.child) != NULL);
    CHECK_STATUS(resize(it, pair.child, "x_size", 4), BP_OK, &it->error);
    bp_layout *again = peek(it, pair.parent);
    CHECK(again != NULL && again != first);
    CHECK_U64(bp_layout_version(again), version);
    bool is_equal = false;
    CHECK_STATUS(bp_layout_equal(first, again, &is_equal, &it->error), BP_OK,
                 &it->error);
    CHECK(is_equal);
    /* What does not reach the bytes keeps their version. */
    CHECK_STATUS(move(it, pair.parent, "kid_x_location", "shared"), BP_OK,
                 &it->error);
    CHECK_U64(bp_layout_version(peek(it, pair.parent)), version);
    /* A change deep below shows above, though no place moves. */
    CHECK_STATUS(declare(it, pair.child, "y", 0, BP_SHARED), BP_OK, &it->error);
    again = peek(it, pair.parent);
    CHECK_U64(bp_layout_version(again), version_of(it, pair.parent));
    CHECK_STATUS(bp_layout_equal(first, again, &is_equal, &it->error), BP_OK,
                 &it->error);
    CHECK(!is_equal);
    bp_layout_unref(first);
    CHECK(fixture_fini(it));
}

/* Borrowed, or NULL where there is none. */
static bp_layout *peek_current(fixture *it, bp_factory f)
{
    bp_layout *layout = NULL;
    bp_status status =
        bp_registry_copy_current(it->registry, f, &layout, &it->error);
    bp_layout_unref(layout);
    return status == BP_OK ? layout : NULL;
}

/* Run, commit and free: the bytes of the shared region. */
static uint64_t finish_job(fixture *it, bp_layout_job *job)
{
    bp_layout *layout = NULL;
    if (bp_layout_job_run(job, &it->error) == BP_OK) {
        bp_layout_job_commit(job, &layout);
    }
    bp_layout_job_free(job);
    uint64_t n_bytes = layout == NULL
                           ? UINT64_MAX
                           : bp_layout_get_region(layout, BP_SHARED)->n_bytes;
    bp_layout_unref(layout);
    return n_bytes;
}

/* A job sees the state of its beginning and installs what is still true. */
static void jobs_commit_what_is_true(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory parent = fixture_open(&it, "Parent");
    bp_factory a = fixture_open(&it, "A");
    bp_factory b = fixture_open(&it, "B");
    bp_registry *r = it.registry;
    CHECK_STATUS(declare(&it, a, "x", 1, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, b, "x", 2, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(
        bp_registry_add_child(r, parent, a, "a", NULL, NULL, &it.error), BP_OK,
        &it.error);
    CHECK_STATUS(
        bp_registry_add_child(r, parent, b, "b", NULL, NULL, &it.error), BP_OK,
        &it.error);
    bp_layout_job *job;
    CHECK_STATUS(bp_layout_job_begin(r, parent, &job, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(bp_layout_job_size(job), 3);
    CHECK_STATUS(resize(&it, a, "x_size", 10), BP_OK, &it.error);
    CHECK_U64(finish_job(&it, job), 12);
    /* B was not touched: its layout was kept, the others' were not. */
    CHECK(peek_current(&it, b) != NULL);
    CHECK(peek_current(&it, a) == NULL);
    CHECK(peek_current(&it, parent) == NULL);
    CHECK_STATUS(bp_layout_job_begin(r, parent, &job, &it.error), BP_OK,
                 &it.error);
    CHECK_U64(bp_layout_job_size(job), 2);
    /* Another thread is faster with A, and the parent dies. */
    CHECK_U64(region_bytes(&it, a, BP_SHARED), 40);
    bp_layout *faster = peek_current(&it, a);
    bp_factory_close(r, parent);
    CHECK_U64(finish_job(&it, job), 48);
    CHECK(faster != NULL && peek_current(&it, a) == faster);
    /* Nothing to do: a job without nodes. */
    CHECK_STATUS(bp_layout_job_begin(r, a, &job, &it.error), BP_OK, &it.error);
    CHECK_U64(bp_layout_job_size(job), 0);
    CHECK_U64(finish_job(&it, job), 40);
    bp_layout_job_free(NULL);
    bp_layout_unref(NULL);
    CHECK(fixture_fini(&it));
}

/* Sums of the tree are refused where they are planned; the tree stays as it
 * was. */
static void refuses_trees_too_large(void)
{
    static const char *const names[] = {"a", "b", "c"};
    static const bp_location locations[] = {BP_SHARED, BP_BLOCK, BP_LOCAL};
    for (size_t k = 0; k < 3; k++) {
        fixture it;
        CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
        bp_factory parent = fixture_open(&it, "Parent");
        bp_factory child = fixture_open(&it, "Child");
        CHECK_STATUS(declare(&it, child, "x", BP_MAX_BYTES / 8, locations[k]),
                     BP_OK, &it.error);
        CHECK_STATUS(bp_registry_add_child(it.registry, parent, child, names[0],
                                           NULL, NULL, &it.error),
                     BP_OK, &it.error);
        CHECK_U64(region_bytes(&it, parent, locations[k]), BP_MAX_BYTES / 2);
        CHECK_STATUS(bp_registry_add_child(it.registry, parent, child, names[1],
                                           NULL, NULL, &it.error),
                     BP_OK, &it.error);
        bp_layout *layout = NULL;
        CHECK_REFUSED(
            &it,
            bp_registry_copy_layout(it.registry, parent, &layout, &it.error),
            BP_TOO_LARGE);
        CHECK_TEXT(it.error.factory, "Parent");
        CHECK(layout == NULL);
        CHECK_STATUS(
            bp_registry_remove_child(it.registry, parent, names[1], &it.error),
            BP_OK, &it.error);
        CHECK_U64(region_bytes(&it, parent, locations[k]), BP_MAX_BYTES / 2);
        CHECK(fixture_fini(&it));
    }
}

int main(void)
{
    RUN(places_by_hand);
    RUN(packs_by_alignment);
    RUN(answers_for_no_children);
    RUN(finds_every_name);
    RUN(keeps_identity);
    RUN(keeps_the_version_of_equal_bytes);
    RUN(jobs_commit_what_is_true);
    RUN(refuses_trees_too_large);
    return finish();
}
