/* test_registry_memory.c - what declarations cost, and that what goes comes
 * back. */
#include "harness.h"

#include "registry_fixture.h"

/* Names come and go; the arena does not grow without end. */
static void reuses_places_and_names(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory factory = fixture_open(&it, "Solver");
    CHECK_STATUS(declare(&it, factory, "stays", 1, BP_SHARED), BP_OK,
                 &it.error);
    size_t settled = 0;
    for (unsigned i = 0; i < 4000; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "buffer_number_%u", i);
        CHECK_STATUS(declare(&it, factory, name, i, BP_SHARED), BP_OK,
                     &it.error);
        if (i >= 8) {
            (void)snprintf(name, sizeof name, "buffer_number_%u", i - 8);
            CHECK_STATUS(
                bp_registry_unregister(it.registry, factory, name, &it.error),
                BP_OK, &it.error);
        }
        settled = i == 1000 ? it.heap.live_bytes : settled;
    }
    CHECK_U64(it.heap.live_bytes, settled);
    bp_layout *layout = layout_of(&it, factory);
    CHECK(layout != NULL);
    CHECK_U64(bp_layout_n_placements(layout), 9);
    CHECK_TEXT(bp_layout_get_placement(layout, 0)->name, "stays");
    CHECK_TEXT(bp_layout_get_placement(layout, 8)->name, "buffer_number_3999");
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

/* The same with children: their names and roll-ups go and come, one stays and
 * is found in all that moving. */
static void reuses_places_of_children(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_AUTO));
    bp_factory parent = fixture_open(&it, "Parent");
    bp_factory child = fixture_open(&it, "Child");
    bp_registry *r = it.registry;
    CHECK_STATUS(declare(&it, child, "x", 2, BP_SHARED), BP_OK, &it.error);
    size_t settled = 0;
    for (unsigned i = 0; i < 2000; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "child_number_%u", i);
        CHECK_STATUS(bp_registry_add_child(r, parent, child, name, NULL, NULL,
                                           &it.error),
                     BP_OK, &it.error);
        if (i == 0) {
            CHECK_STATUS(declare(&it, parent, "stays", 1, BP_SHARED), BP_OK,
                         &it.error);
        }
        if (i >= 4) {
            (void)snprintf(name, sizeof name, "child_number_%u", i - 3);
            CHECK_STATUS(bp_registry_remove_child(r, parent, name, &it.error),
                         BP_OK, &it.error);
        }
        settled = i == 500 ? it.heap.live_bytes : settled;
    }
    CHECK_U64(it.heap.live_bytes, settled);
    bp_layout *layout = layout_of(&it, parent);
    CHECK(layout != NULL);
    CHECK_U64(bp_layout_n_children(layout), 4);
    CHECK_TEXT(bp_layout_get_child(layout, 0)->name, "child_number_0");
    CHECK_TEXT(bp_layout_get_child(layout, 3)->name, "child_number_1999");
    CHECK_U64(bp_layout_get_region(layout, BP_SHARED)->n_bytes, 36);
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

static void costs_few_bytes(void)
{
    static const unsigned counts[] = {10, 100, 129, 193, 1000};
    for (size_t k = 0; k < 5; k++) {
        fixture it;
        CHECK(fixture_init(&it, BP_PLAN_AUTO));
        enum { N_FACTORIES = 50 };
        size_t before = it.heap.live_bytes;
        size_t n_name_bytes = 0;
        for (unsigned f = 0; f < N_FACTORIES; f++) {
            bp_factory factory = fixture_open(&it, "Solver");
            for (unsigned i = 0; i < counts[k]; i++) {
                char name[64];
                int n = snprintf(name, sizeof name, "buffer_%u", i);
                n_name_bytes += (size_t)n + 1;
                CHECK_STATUS(declare(&it, factory, name, i, BP_SHARED), BP_OK,
                             &it.error);
            }
        }
        size_t n_bytes = it.heap.live_bytes - before - n_name_bytes;
        size_t n_buffers = (size_t)N_FACTORIES * counts[k];
        printf("    %u buffers a factory: %.1f bytes a buffer\n", counts[k],
               (double)n_bytes / (double)n_buffers);
        CHECK(counts[k] < 100 || n_bytes <= 100 * n_buffers);
        CHECK(fixture_fini(&it));
    }
}

int main(void)
{
    RUN(reuses_places_and_names);
    RUN(reuses_places_of_children);
    RUN(costs_few_bytes);
    return finish();
}
