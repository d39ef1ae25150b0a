/* test_ledger_memory.c - out of memory at every single allocation, and the
 * check, which has to see what is broken. */
#include "harness.h"

#include "ledger_fixture.h"

#include "device/ledger.h"

/* ---- out of memory ----------------------------------------------------- */

typedef struct story {
    bp_budget root, leaf;
    bp_reservation reservation;
    bp_watch watch;
} story;

enum { N_STEPS = 9 };

/* One step that may need memory; later ones build on earlier ones. */
static bp_status step(fixture *it, story *s, int i)
{
    bp_budget_options options = bp_budget_defaults(100000);
    switch (i) {
    case 0:
        options.name = "root";
        return open_with(it, options, &s->root);
    case 1:
        options.parent = s->root;
        return open_with(it, options, &s->leaf);
    case 2:
        return charge(it, s->leaf, 1, "tag");
    case 3:
        return charge(it, s->leaf, 1, "another tag");
    case 4:
        return reserve(it, s->leaf, 1000, &s->reservation);
    case 5:
        return take(it, s->reservation, 10, "a third tag");
    case 6:
        return bp_watch_open(it->tree, s->root, BP_MEDIUM, &s->watch,
                             &it->error);
    case 7:
        return charge(it, s->leaf, 60000, NULL);
    default:
        return refund(it, s->leaf, 60000, NULL);
    }
}

/* All steps from `first` to before `end`. */
static bool replay(fixture *it, story *s, int first, int end)
{
    for (int i = first; i < end; i++) {
        if (!harness_status(step(it, s, i), BP_OK, &it->error, __FILE__,
                            __LINE__, "a step with memory enough")) {
            return false;
        }
    }
    return true;
}

/* Fail the k-th allocation of step i; what failed changed nothing, and works
 * when it is tried again. *has_failed: false when the step has no k-th one. */
static void fail_step(int i, uint64_t k, bool is_for_ever, bool *has_failed)
{
    fixture it;
    story s = {0};
    CHECK(fixture_init(&it));
    CHECK(replay(&it, &s, 0, i));
    char *before = take_dump(&it);
    story kept = s;
    test_heap_fail(&it.heap, k, is_for_ever);
    bp_status status = step(&it, &s, i);
    *has_failed = it.heap.n_refused != 0;
    test_heap_fail(&it.heap, 0, false);
    if (*has_failed) {
        bool is_kept = is_as_before(&it, before);
        CHECK_STATUS(status, BP_NO_MEMORY, &it.error);
        CHECK(is_kept);
        CHECK(memcmp(&kept, &s, sizeof kept) == 0); /* wrote no result */
        CHECK(replay(&it, &s, i, N_STEPS));
    } else {
        drop_dump(&it, before);
        CHECK_STATUS(status, BP_OK, &it.error);
        CHECK(replay(&it, &s, i + 1, N_STEPS));
    }
    CHECK_U64(used_of(&it, s.root), 12);
    CHECK(fixture_fini(&it));
}

static void every_allocation_fails_once(void)
{
    for (int is_for_ever = 0; is_for_ever < 2; is_for_ever++) {
        for (int i = 0; i < N_STEPS; i++) {
            bool has_failed = true;
            uint64_t k = 0;
            while (has_failed) {
                fail_step(i, ++k, is_for_ever != 0, &has_failed);
                CHECK_PASSED();
            }
            /* What needs no memory cannot run out of it. */
            CHECK(i < 7 ? k > 1 : k == 1);
        }
    }
}

static void a_tree_without_memory_is_none(void)
{
    test_heap heap;
    bp_allocator alloc = test_heap_init(&heap);
    bp_tree *tree = NULL;
    bp_error error = {0};
    uint64_t k = 1;
    for (;; k++) {
        test_heap_fail(&heap, k, false);
        bp_status status = bp_tree_new(0, &alloc, &tree, &error);
        if (status == BP_OK) {
            break;
        }
        CHECK_STATUS(status, BP_NO_MEMORY, &error);
        CHECK(tree == NULL);
        CHECK_U64(heap.live_blocks, 0);
    }
    CHECK(k > 1);
    test_heap_fail(&heap, 1, true);
    char *text = NULL;
    CHECK_STATUS(bp_tree_dump(tree, &text, &error), BP_NO_MEMORY, &error);
    CHECK(text == NULL);
    CHECK(bp_deferred_new(tree) == NULL);
    bp_tree_free(tree);
    bp_tree_free(NULL);
    CHECK_U64(heap.live_blocks, 0);
}

static void a_tree_has_a_bounded_log(void)
{
    bp_tree *tree = NULL;
    bp_error error = {0};
    CHECK_STATUS(bp_tree_new((1u << 28) + 1, NULL, &tree, &error), BP_BAD_VALUE,
                 &error);
    CHECK(tree == NULL);
    CHECK_STATUS(bp_tree_new(1u << 28, NULL, &tree, &error), BP_OK, &error);
    CHECK(bp_tree_get_log(tree) != NULL);
    bp_tree_free(tree);
}

/* ---- the check --------------------------------------------------------- */

static bool sees(fixture *it, const char *what)
{
    bp_error error = {0};
    bp_status status = bp_tree_check(it->tree, &error);
    bool is_seen = status == BP_INTERNAL && strstr(error.text, what) != NULL;
    if (!is_seen) {
        printf("    instead of \"%s\": \"%s\"\n", what, error.text);
    }
    return is_seen;
}

/* Break one thing at a time, look, mend it. */
#define CHECK_SEEN(it, place, change, what)                                    \
    do {                                                                       \
        (place) change;                                                        \
        bool is_seen = sees((it), (what));                                     \
        memcpy(budget, &kept, sizeof kept);                                    \
        CHECK(is_seen);                                                        \
    } while (0)

static void the_check_adds_up(void)
{
    fixture it;
    CHECK(fixture_init(&it));
    bp_budget_options options = bp_budget_defaults(1000);
    options.name = "models";
    bp_budget root, leaf;
    CHECK_OK(&it, open_with(&it, options, &root));
    leaf = open_under(&it, root, 500, 1);
    bp_reservation r;
    bp_watch watch;
    CHECK_OK(&it, charge(&it, leaf, 100, "x"));
    CHECK_OK(&it, charge(&it, root, 100, NULL));
    CHECK_OK(&it, reserve(&it, leaf, 10, &r));
    CHECK_OK(&it, bp_watch_open(it.tree, root, BP_MEDIUM, &watch, &it.error));
    CHECK(fixture_is_sound(&it));
    bp__budget *budget = bp__budget_get_locked(it.tree, root);
    bp__budget kept = *budget;
    CHECK_SEEN(&it, budget->used, ++,
               "'models'): used is 201 bytes, but its owners have 200");
    CHECK_SEEN(&it, budget->reserved, --, "reserved is 9 bytes");
    CHECK_SEEN(&it, budget->retiring, = 1, "retiring is 1 bytes");
    CHECK_SEEN(&it, budget->untagged, ++, "its owners have 201");
    CHECK_SEEN(&it, budget->peak, = 209, "the peak");
    CHECK_SEEN(&it, budget->limit, = 209;
               budget->ceiling = 209, "than was ever allowed");
    CHECK_SEEN(&it, budget->n_children, = 0, "miscounted");
    CHECK_SEEN(&it, budget->n_watches, = 0, "miscounted");
    CHECK_SEEN(&it, budget->depth, = 1, "hang");
    CHECK_SEEN(&it, budget->handle, = leaf, "another's");
    CHECK_SEEN(&it, budget->history.newest.used, = 3, "the present");
    CHECK_SEEN(&it, budget->limit, = 300;
               budget->history.newest.limit = 300, "missed an edge");
    CHECK(fixture_is_sound(&it));
    budget = bp__budget_get_locked(it.tree, leaf);
    kept = *budget;
    CHECK_SEEN(&it, budget->tags[0].n_bytes, = 99, "its owners have 199");
    budget->tags[0].n_bytes = 100;
    CHECK_SEEN(&it, budget->tag_index.n_used, = 0, "the index of tags");
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(every_allocation_fails_once);
    RUN(a_tree_without_memory_is_none);
    RUN(a_tree_has_a_bounded_log);
    RUN(the_check_adds_up);
    return finish();
}
