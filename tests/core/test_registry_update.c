/* test_registry_update.c - keys, their meanings, and all or nothing. */
#include "harness.h"

#include "registry_fixture.h"

typedef struct tree {
    fixture it;
    bp_factory step, newton, linear;
} tree;

static bool tree_init(tree *t)
{
    if (!fixture_init(&t->it, BP_PLAN_SEQUENTIAL)) {
        return false;
    }
    fixture *it = &t->it;
    t->step = fixture_open(it, "Step");
    t->newton = fixture_open(it, "Newton");
    t->linear = fixture_open(it, "Linear");
    bp_error *e = &it->error;
    return bp_registry_add_child(it->registry, t->step, t->newton, "newton",
                                 NULL, NULL, e) == BP_OK &&
           bp_registry_add_child(it->registry, t->newton, t->linear, "linear",
                                 NULL, NULL, e) == BP_OK &&
           declare(it, t->step, "stages", 6, BP_SHARED) == BP_OK &&
           declare(it, t->newton, "delta", 3, BP_SHARED) == BP_OK &&
           declare(it, t->newton, "saved", 2, BP_PERSISTENT_LOCAL) == BP_OK &&
           declare(it, t->linear, "jac_buffer", 9, BP_SHARED) == BP_OK &&
           declare(it, t->linear, "pivot", 3, BP_LOCAL) == BP_OK;
}

static void walks_down_the_tree(void)
{
    tree t;
    CHECK(tree_init(&t));
    fixture *it = &t.it;
    CHECK_STATUS(move(it, t.step, "newton_delta_location", "local"), BP_OK,
                 &it->error);
    CHECK_U64(region_bytes(it, t.newton, BP_LOCAL), 24);
    CHECK_STATUS(resize(it, t.step, "newton_linear_pivot_size", 5), BP_OK,
                 &it->error);
    CHECK_U64(region_bytes(it, t.step, BP_LOCAL), 32);
    /* With _buffer in between, where no longer name takes it. */
    CHECK_STATUS(resize(it, t.step, "stages_buffer_size", 7), BP_OK,
                 &it->error);
    CHECK_STATUS(move(it, t.newton, "linear_jac_buffer_location", "block"),
                 BP_OK, &it->error);
    CHECK_U64(region_bytes(it, t.step, BP_SHARED), 28);
    CHECK_U64(region_bytes(it, t.step, BP_BLOCK), 36);
    CHECK_STATUS(
        move(it, t.newton, "linear_jac_buffer_buffer_location", "shared"),
        BP_OK, &it->error);
    CHECK_U64(region_bytes(it, t.step, BP_BLOCK), 0);
    static const char *const unknown[] = {"",
                                          "_location",
                                          "location",
                                          "delta_location",
                                          "delta",
                                          "newton_delta",
                                          "newton__location",
                                          "newton_location",
                                          "stages_",
                                          "stages_Size",
                                          "_stages_size",
                                          "jac_location",
                                          "newtondelta_size",
                                          "newton_linear_size",
                                          "stages_buffer_buffer_size"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        CHECK_REFUSED(it, resize(it, t.step, unknown[i], 1), BP_UNKNOWN_KEY);
        uint64_t n = 1;
        bp_update_item item = size_item(unknown[i], &n, 1);
        item.is_taken = true;
        CHECK_STATUS(bp_registry_update(it->registry, t.step, NULL, &item, 1, 0,
                                        &it->error),
                     BP_OK, &it->error);
        CHECK(!item.is_taken);
    }
    CHECK(fixture_fini(it));
}

static void buffer_of_the_longer_name_wins(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "F");
    CHECK_STATUS(declare(&it, f, "a", 1, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(resize(&it, f, "a_buffer_size", 3), BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, f, BP_SHARED), 12);
    CHECK_STATUS(declare(&it, f, "a_buffer", 1, BP_BLOCK), BP_OK, &it.error);
    CHECK_STATUS(resize(&it, f, "a_buffer_size", 5), BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, f, BP_SHARED), 12);
    CHECK_U64(region_bytes(&it, f, BP_BLOCK), 20);
    CHECK(fixture_fini(&it));
}

static void refuses_two_meanings(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory top = fixture_open(&it, "Top");
    bp_factory a = fixture_open(&it, "A");
    bp_factory ab = fixture_open(&it, "AB");
    bp_registry *r = it.registry;
    CHECK_STATUS(bp_registry_add_child(r, top, a, "a", NULL, NULL, &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(
        bp_registry_add_child(r, top, ab, "a_b", NULL, NULL, &it.error), BP_OK,
        &it.error);
    CHECK_STATUS(declare(&it, a, "b_c", 1, BP_SHARED), BP_OK, &it.error);
    CHECK_STATUS(resize(&it, top, "a_b_c_size", 2), BP_OK, &it.error);
    CHECK_STATUS(declare(&it, ab, "c", 1, BP_SHARED), BP_OK, &it.error);
    CHECK_REFUSED(&it, resize(&it, top, "a_b_c_size", 3), BP_AMBIGUOUS_KEY);
    CHECK_TEXT(it.error.text,
               "'a_b_c_size' has two meanings: 'b_c' of A and 'c' of AB");
    bp_update_item item = text_item("a_b_c_location", "nowhere");
    CHECK_REFUSED(&it,
                  bp_registry_update(r, top, NULL, &item, 1, BP_UPDATE_DRY_RUN,
                                     &it.error),
                  BP_AMBIGUOUS_KEY);
    /* One buffer by two ways is one meaning. */
    CHECK_STATUS(bp_registry_remove_child(r, top, "a_b", &it.error), BP_OK,
                 &it.error);
    CHECK_STATUS(bp_registry_add_child(r, top, ab, "x", NULL, NULL, &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(bp_registry_add_child(r, top, a, "x_y", NULL, NULL, &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(bp_registry_add_child(r, ab, a, "y", NULL, NULL, &it.error),
                 BP_OK, &it.error);
    CHECK_STATUS(resize(&it, top, "x_y_b_c_size", 9), BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, a, BP_SHARED), 36);
    /* A buffer of one's own before a roll-up of the same words. */
    CHECK_STATUS(declare(&it, a, "shared", 1, BP_BLOCK), BP_OK, &it.error);
    CHECK_STATUS(resize(&it, top, "a_shared_size", 2), BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, a, BP_BLOCK), 8);
    CHECK(fixture_fini(&it));
}

/* Ways through a ladder of factories, each under two names, double with every
 * rung; meanings do not, and neither does the work. */
static void many_ways_are_walked_once(void)
{
    enum { RUNGS = 60 };
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory rungs[RUNGS];
    for (size_t i = 0; i < RUNGS; i++) {
        rungs[i] = fixture_open(&it, "Rung");
        CHECK_STATUS(declare(&it, rungs[i], "a", 1, BP_SHARED), BP_OK,
                     &it.error);
    }
    for (size_t i = 0; i + 1 < RUNGS; i++) {
        CHECK_STATUS(
            bp_registry_unregister(it.registry, rungs[i], "a", &it.error),
            BP_OK, &it.error);
        CHECK_STATUS(bp_registry_add_child(it.registry, rungs[i], rungs[i + 1],
                                           "a", NULL, NULL, &it.error),
                     BP_OK, &it.error);
        CHECK_STATUS(bp_registry_add_child(it.registry, rungs[i], rungs[i + 1],
                                           "a_a", NULL, NULL, &it.error),
                     BP_OK, &it.error);
    }
    char key[2 * RUNGS + 8] = "";
    for (size_t i = 0; i < RUNGS; i++) {
        memcpy(key + 2 * i, "a_", 2);
    }
    memcpy(key + 2 * (RUNGS - 1) + 1, "_size", 6);
    CHECK_STATUS(resize(&it, rungs[0], key, 4), BP_OK, &it.error);
    CHECK_U64(region_bytes(&it, rungs[RUNGS - 1], BP_SHARED), 16);
    CHECK(fixture_fini(&it));
}

static const uint64_t fifty = 50;
static const uint64_t huge = BP_MAX_BYTES;
static const uint64_t four_by_five[2] = {4, 5};

/* Three items that are fine, and room for a fourth. */
static void fill_good(bp_update_item items[4])
{
    items[0] = text_item("newton_delta_location", "block");
    items[1] = size_item("newton_linear_jac_buffer_size", four_by_five, 2);
    items[2] = size_item("stages_size", &fifty, 1);
}

typedef struct bad_item {
    bp_update_item item;
    bp_status status;
} bad_item;

static bp_update_item other_item(const char *key, const char *what)
{
    return (bp_update_item){.key = key, .kind = BP_VALUE_OTHER, .text = what};
}

static void one_bad_item_spoils_all(void)
{
    tree t;
    CHECK(tree_init(&t));
    fixture *it = &t.it;
    static const char location[] = "newton_linear_pivot_location";
    static const char size[] = "newton_linear_pivot_size";
    const bad_item bad[] = {
        {text_item("newton_saved_location", "local"), BP_KEEP_CONFLICT},
        {text_item(location, "nowhere"), BP_BAD_LOCATION},
        {text_item(location, NULL), BP_BAD_LOCATION},
        {size_item(location, &fifty, 1), BP_BAD_LOCATION},
        {other_item(location, "an int"), BP_BAD_LOCATION},
        {text_item(size, "block"), BP_BAD_SIZE},
        {size_item(size, &fifty, 0), BP_BAD_SIZE},
        {size_item(size, NULL, 1), BP_BAD_SIZE},
        {size_item(size, &fifty, BP_MAX_DIMS + 1), BP_BAD_SIZE},
        {other_item(size, "a float"), BP_BAD_SIZE},
        {size_item(size, &huge, 1), BP_TOO_LARGE},
        {size_item("newton_linear_shared_size", &fifty, 1), BP_READ_ONLY},
        {size_item("newton_nothing_size", &fifty, 1), BP_UNKNOWN_KEY},
        {text_item(NULL, "local"), BP_BAD_NAME},
        {text_item("newton_delta_location", "shared"), BP_AMBIGUOUS_KEY},
        {text_item("newton_delta_buffer_location", "shared"), BP_AMBIGUOUS_KEY},
    };
    bp_update_item items[4];
    uint64_t version = version_of(it, t.step);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fill_good(items);
        items[3] = bad[i].item;
        CHECK_REFUSED(it,
                      bp_registry_update(it->registry, t.step, &f8, items, 4,
                                         BP_UPDATE_STRICT, &it->error),
                      bad[i].status);
        CHECK(!items[0].is_taken && !items[3].is_taken);
        CHECK_U64(version_of(it, t.step), version);
    }
    bp_dtype no_type = {"", 1, 1};
    CHECK_REFUSED(it,
                  bp_registry_update(it->registry, t.step, &no_type, items, 3,
                                     0, &it->error),
                  BP_BAD_DTYPE);
    CHECK(fixture_fini(it));
}

static void good_items_are_one_edit(void)
{
    tree t;
    CHECK(tree_init(&t));
    fixture *it = &t.it;
    bp_update_item items[4];
    fill_good(items);
    items[3] = text_item("other_location", "local");
    uint64_t version = version_of(it, t.step);
    CHECK_STATUS(
        bp_registry_update(it->registry, t.step, &f8, items, 4, 0, &it->error),
        BP_OK, &it->error);
    CHECK(items[0].is_taken && items[1].is_taken && items[2].is_taken &&
          !items[3].is_taken);
    CHECK_U64(version_of(it, t.step), version + 1);
    CHECK_U64(version_of(it, t.linear), version + 1);
    CHECK_U64(region_bytes(it, t.step, BP_SHARED), 400 + 80);
    CHECK_U64(region_bytes(it, t.step, BP_BLOCK), 12);
    /* The same again says nothing new, also twice in one call. */
    items[1] = text_item("newton_delta_buffer_location", "block");
    CHECK_STATUS(bp_registry_update(it->registry, t.step, &f8, items, 3,
                                    BP_UPDATE_STRICT, &it->error),
                 BP_OK, &it->error);
    CHECK(items[1].is_taken);
    CHECK_U64(version_of(it, t.step), version + 1);
    CHECK(fixture_fini(it));
}

static void dry_run_only_names_keys(void)
{
    tree t;
    CHECK(tree_init(&t));
    fixture *it = &t.it;
    bp_update_item items[] = {
        text_item("stages_location", "nowhere"),
        {.key = "newton_delta_size", .kind = BP_VALUE_OTHER},
        text_item("newton_shared_size", NULL),
        text_item("tolerance", NULL)};
    char *before = take_dump(it);
    CHECK_STATUS(bp_registry_update(it->registry, t.step, &f8, items, 4,
                                    BP_UPDATE_DRY_RUN, &it->error),
                 BP_OK, &it->error);
    char *after = take_dump(it);
    bool is_same = strcmp(before, after) == 0;
    drop_dump(it, before);
    drop_dump(it, after);
    CHECK(is_same);
    CHECK(items[0].is_taken && items[1].is_taken && items[2].is_taken &&
          !items[3].is_taken);
    CHECK_REFUSED(it,
                  bp_registry_update(it->registry, t.step, NULL, items, 4,
                                     BP_UPDATE_DRY_RUN | BP_UPDATE_STRICT,
                                     &it->error),
                  BP_UNKNOWN_KEY);
    CHECK_STATUS(bp_registry_update(it->registry, t.step, NULL, NULL, 0,
                                    BP_UPDATE_STRICT, &it->error),
                 BP_OK, &it->error);
    CHECK(fixture_fini(it));
}

static void dead_children_answer_to_no_key(void)
{
    tree t;
    CHECK(tree_init(&t));
    fixture *it = &t.it;
    bp_factory_close(it->registry, t.newton);
    CHECK_REFUSED(it, resize(it, t.step, "newton_delta_size", 1),
                  BP_UNKNOWN_KEY);
    CHECK_REFUSED(it, resize(it, t.step, "newton_linear_pivot_size", 1),
                  BP_UNKNOWN_KEY);
    CHECK(fixture_fini(it));
}

/* Shapes of one and of more dimensions replace each other. */
static void sizes_change_their_dimensions(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "F");
    CHECK_STATUS(declare(&it, f, "x", 2, BP_SHARED), BP_OK, &it.error);
    static const uint64_t shapes[][3] = {{2, 3, 4}, {5, 0, 0}, {7, 2, 0},
                                         {3, 3, 3}, {6, 0, 0}, {1, 0, 0}};
    static const uint32_t dims[] = {3, 1, 2, 3, 1, 2};
    static const uint64_t bytes[] = {96, 20, 56, 108, 24, 0};
    for (size_t i = 0; i < 6; i++) {
        bp_update_item item = size_item("x_size", shapes[i], dims[i]);
        CHECK_STATUS(bp_registry_update(it.registry, f, NULL, &item, 1,
                                        BP_UPDATE_STRICT, &it.error),
                     BP_OK, &it.error);
        bp_layout *layout = layout_of(&it, f);
        CHECK(layout != NULL);
        const bp_placement *place = bp_layout_get_placement(layout, 0);
        CHECK_U64(place->n_dims, dims[i]);
        CHECK(memcmp(place->shape, shapes[i], dims[i] * sizeof(uint64_t)) == 0);
        CHECK_U64(place->n_bytes, bytes[i]);
        bp_layout_unref(layout);
        CHECK_STATUS(bp_registry_check(it.registry, &it.error), BP_OK,
                     &it.error);
    }
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(walks_down_the_tree);
    RUN(buffer_of_the_longer_name_wins);
    RUN(refuses_two_meanings);
    RUN(many_ways_are_walked_once);
    RUN(one_bad_item_spoils_all);
    RUN(good_items_are_one_edit);
    RUN(dry_run_only_names_keys);
    RUN(dead_children_answer_to_no_key);
    RUN(sizes_change_their_dimensions);
    return finish();
}
