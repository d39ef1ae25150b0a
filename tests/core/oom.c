/* oom.c - in every step of a scenario the n-th allocation fails, once and for
 * ever, for every n until the step passes. A call that fails for want of memory
 * leaves the dump as it was and every invariant whole; the same call succeeds
 * afterwards, and so does all that follows; at the end nothing leaks. A call
 * passes in spite of a refusal only where it can do without: every refused
 * allocation was for a plan to be kept, and that plan is not kept. */
#include "harness.h"

#include "registry_fixture.h"

#include "registry/model.h"

enum { N_FACTORIES = 4 };

typedef struct state {
    fixture it;
    bp_factory f[N_FACTORIES];
    bp_layout *layout;
    bp_layout *other;
    uint8_t *bytes;
    size_t n_bytes;
    bp_layout_job *job;
    uint64_t n_unkept; /* plans, for want of memory */
} state;

typedef bp_status (*step)(state *s);

static const bp_dtype i2 = {"<i2", 2, 2};

/* ---- steps ------------------------------------------------------------- */

static bp_status open_one(state *s, size_t i, const bp_dtype *precision)
{
    return bp_factory_open(s->it.registry, "Factory", precision, &s->f[i],
                           &s->it.error);
}

static bp_status open_0(state *s)
{
    return open_one(s, 0, &f4);
}

static bp_status open_1(state *s)
{
    return open_one(s, 1, &f8);
}

static bp_status open_2(state *s)
{
    return open_one(s, 2, &f4);
}

static bp_status open_3(state *s)
{
    return open_one(s, 3, &f4);
}

static bp_status shaped(state *s, size_t i, const char *name, uint64_t n,
                        uint64_t m, const bp_dtype *dtype)
{
    uint64_t shape[2] = {n, m};
    bp_buffer_spec spec;
    bp_buffer_spec_init(&spec);
    spec.name = name;
    spec.shape = shape;
    spec.n_dims = 2;
    spec.location = BP_SHARED;
    spec.dtype = dtype;
    return bp_registry_register(s->it.registry, s->f[i], &spec, NULL,
                                &s->it.error);
}

static bp_status register_plain(state *s)
{
    return declare(&s->it, s->f[0], "plain", 3, BP_SHARED);
}

static bp_status register_shaped(state *s)
{
    return shaped(s, 0, "shaped", 3, 4, &i2);
}

static bp_status replace_shaped(state *s)
{
    return shaped(s, 0, "shaped", 7, 4, &f8);
}

static bp_status replace_plain_by_shaped(state *s)
{
    return shaped(s, 0, "plain", 2, 5, NULL);
}

/* One of many: arrays and map have to grow on the way. */
static bp_status register_next(state *s)
{
    static const char *const names[] = {"b0", "b1", "b2", "b3", "b4",
                                        "b5", "b6", "b7", "b8"};
    bp_entries entries;
    bp_status status = bp_registry_copy_entries(s->it.registry, s->f[2],
                                                &entries, &s->it.error);
    if (status != BP_OK) {
        return status;
    }
    size_t n = entries.n_entries;
    bp_entries_free(&entries);
    return declare(&s->it, s->f[2], names[n % 9], n, BP_BLOCK);
}

static bp_status register_alias(state *s)
{
    return declare_same(&s->it, s->f[0], "alias", 2, "plain");
}

static bp_status register_extra(state *s)
{
    return declare(&s->it, s->f[0], "extra", 1, BP_LOCAL);
}

static bp_status unregister_plain(state *s)
{
    return bp_registry_unregister(s->it.registry, s->f[0], "plain",
                                  &s->it.error);
}

static bp_status unregister_all(state *s)
{
    return bp_registry_unregister_all(s->it.registry, s->f[0], &s->it.error);
}

static bp_status declare_phases(state *s)
{
    static const char *const names[] = {"predict", "solve", "commit"};
    return bp_registry_phases(s->it.registry, s->f[0], names, 3, &s->it.error);
}

static bp_status change_phases(state *s)
{
    static const char *const names[] = {
        "before_all", "predict", "a_phase_with_a_long_name_to_make_room_for",
        "solve", "commit"};
    return bp_registry_phases(s->it.registry, s->f[0], names, 5, &s->it.error);
}

static bp_status declare_loop(state *s)
{
    return bp_registry_loop(s->it.registry, s->f[0], "solve", "commit",
                            &s->it.error);
}

static bp_status register_live(state *s)
{
    uint64_t shape;
    bp_buffer_spec spec = spec_of("work", &shape, 5, BP_SHARED);
    spec.first_phase = "solve";
    spec.is_carried = true;
    return bp_registry_register(s->it.registry, s->f[0], &spec, NULL,
                                &s->it.error);
}

static bp_status call_child_3(state *s)
{
    return bp_registry_add_child(s->it.registry, s->f[0], s->f[3], "other",
                                 "predict", NULL, &s->it.error);
}

static bp_status hazards(state *s)
{
    bp_hazard *list = NULL;
    size_t n = 0;
    bp_status status = bp_layout_hazards(s->layout, 2, &list, &n, &s->it.error);
    if (status == BP_OK) {
        bp_layout_hazards_free(s->layout, list, n);
    }
    return status;
}

static bp_status add_child_1(state *s)
{
    return bp_registry_add_child(s->it.registry, s->f[0], s->f[1], "kid", NULL,
                                 NULL, &s->it.error);
}

static bp_status add_child_2(state *s)
{
    return bp_registry_add_child(s->it.registry, s->f[1], s->f[2], "kid", NULL,
                                 NULL, &s->it.error);
}

static bp_status add_child_3(state *s)
{
    return bp_registry_add_child(s->it.registry, s->f[0], s->f[3], "other",
                                 NULL, NULL, &s->it.error);
}

static bp_status replace_child(state *s)
{
    return bp_registry_add_child(s->it.registry, s->f[0], s->f[2], "other",
                                 NULL, NULL, &s->it.error);
}

static bp_status remove_child(state *s)
{
    return bp_registry_remove_child(s->it.registry, s->f[0], "kid",
                                    &s->it.error);
}

static bp_status set_precision(state *s)
{
    static const bp_dtype half = {"<f2", 2, 2};
    return bp_factory_set_precision(s->it.registry, s->f[0], &half,
                                    &s->it.error);
}

static bp_status update_tree(state *s)
{
    static const bp_dtype wide = {"<f16", 16, 16};
    uint64_t dims[3] = {2, 2, 2};
    uint64_t n = 9;
    bp_update_item items[] = {size_item("shaped_size", dims, 3),
                              text_item("plain_location", "block"),
                              size_item("kid_kid_b0_size", dims, 2),
                              size_item("kid_kid_b1_size", &n, 1)};
    return bp_registry_update(s->it.registry, s->f[0], &wide, items, 4,
                              BP_UPDATE_STRICT, &s->it.error);
}

static bp_status dry_run(state *s)
{
    bp_update_item items[] = {text_item("plain_location", "block"),
                              text_item("what_location", "block")};
    return bp_registry_update(s->it.registry, s->f[0], NULL, items, 2,
                              BP_UPDATE_DRY_RUN, &s->it.error);
}

static bp_status reset(state *s)
{
    return bp_registry_reset_overrides(s->it.registry, s->f[0], &s->it.error);
}

static bp_status close_2(state *s)
{
    bp_factory_close(s->it.registry, s->f[2]);
    return BP_OK;
}

static bp_status copy_entries(state *s)
{
    bp_entries entries;
    bp_status status = bp_registry_copy_entries(s->it.registry, s->f[0],
                                                &entries, &s->it.error);
    if (status == BP_OK) {
        bp_entries_free(&entries);
    }
    return status;
}

static bp_status dump(state *s)
{
    char *text;
    bp_status status =
        bp_registry_dump(s->it.registry, BP_NO_FACTORY, &text, &s->it.error);
    if (status == BP_OK) {
        bp_text_free(s->it.registry, text);
    }
    return status;
}

static bp_status copy_layout(state *s)
{
    bp_layout *layout = NULL;
    bp_status status =
        bp_registry_copy_layout(s->it.registry, s->f[0], &layout, &s->it.error);
    if (status == BP_OK) {
        bp_layout_unref(s->layout);
        s->layout = layout;
    }
    return status;
}

/* Builds the child alone, so that the parent's next look needs digests. */
static bp_status rebuild_child(state *s)
{
    bp_layout *layout = NULL;
    bp_status status = declare(&s->it, s->f[1], "flip", 5, BP_LOCAL);
    if (status == BP_OK) {
        status = bp_registry_copy_layout(s->it.registry, s->f[1], &layout,
                                         &s->it.error);
        bp_layout_unref(layout);
    }
    layout = NULL;
    if (status == BP_OK) {
        status = bp_registry_unregister(s->it.registry, s->f[1], "flip",
                                        &s->it.error);
    }
    if (status == BP_OK) {
        status = bp_registry_copy_layout(s->it.registry, s->f[1], &layout,
                                         &s->it.error);
        bp_layout_unref(layout);
    }
    return status;
}

static bp_status job_begin(state *s)
{
    return bp_layout_job_begin(s->it.registry, s->f[0], &s->job, &s->it.error);
}

/* A failed run ends the job; the step begins a new one next time. */
static bp_status job_run(state *s)
{
    if (s->job == NULL) {
        bp_status status = job_begin(s);
        if (status != BP_OK) {
            return status;
        }
    }
    bp_status status = bp_layout_job_run(s->job, &s->it.error);
    if (status == BP_OK) {
        bp_layout_unref(s->layout);
        bp_layout_job_commit(s->job, &s->layout);
    }
    bp_layout_job_free(s->job);
    s->job = NULL;
    return status;
}

static bp_status new_empty(state *s)
{
    bp_layout *layout = NULL;
    bp_status status =
        bp_layout_new_empty(&f8, &s->it.alloc, &layout, &s->it.error);
    bp_layout_unref(layout);
    return status;
}

static bp_status invalidate(state *s)
{
    return bp_registry_invalidate(s->it.registry, s->f[0], &s->it.error);
}

static bp_status digest(state *s)
{
    char text[BP_DIGEST_TEXT];
    return bp_layout_digest(s->layout, text, &s->it.error);
}

static bp_status pack(state *s)
{
    uint8_t *bytes;
    size_t n_bytes;
    bp_status status =
        bp_layout_pack(s->layout, &bytes, &n_bytes, &s->it.error);
    if (status == BP_OK) {
        bp_layout_pack_free(s->layout, s->bytes, s->n_bytes);
        s->bytes = bytes;
        s->n_bytes = n_bytes;
    }
    return status;
}

static bp_status unpack(state *s)
{
    bp_layout *layout = NULL;
    bp_status status = bp_layout_unpack(s->bytes, s->n_bytes, &s->it.alloc,
                                        &layout, &s->it.error);
    if (status == BP_OK) {
        bp_layout_unref(s->other);
        s->other = layout;
    }
    return status;
}

static bp_status compare(state *s)
{
    bool is_equal = false;
    bp_status status =
        bp_layout_equal(s->layout, s->other, &is_equal, &s->it.error);
    return status != BP_OK || is_equal ? status : BP_INTERNAL;
}

/* Finding needs no memory, only likes it. */
static bp_status find(state *s)
{
    return bp_layout_find(s->layout, "kid_block") != NULL ? BP_OK : BP_INTERNAL;
}

static const step steps[] = {
    open_0,
    open_1,
    open_2,
    open_3,
    register_plain,
    register_shaped,
    register_next,
    register_next,
    register_next,
    register_next,
    register_next,
    register_next,
    register_next,
    replace_shaped,
    register_alias,
    add_child_1,
    add_child_2,
    add_child_3,
    copy_entries,
    register_extra,
    dump,
    copy_layout,
    declare_phases,
    declare_loop,
    register_live,
    call_child_3,
    copy_layout, /* a search */
    invalidate,
    copy_layout, /* found; or, where it was not kept, kept now */
    invalidate,
    copy_layout, /* found */
    change_phases,
    copy_entries,
    dump,
    copy_layout,
    hazards,
    digest,
    find,
    set_precision,
    dry_run,
    update_tree,
    copy_layout,
    invalidate,
    copy_layout,
    rebuild_child,
    copy_layout,
    pack,
    unpack,
    compare,
    reset,
    job_begin,
    job_run,
    replace_child,
    copy_layout,
    close_2,
    copy_layout,
    digest,
    pack,
    unpack,
    compare,
    new_empty,
    remove_child,
    unregister_all,
    register_plain,
    replace_plain_by_shaped,
    unregister_plain,
    copy_layout,
};
enum { N_STEPS = sizeof steps / sizeof steps[0] };

/* ---- the sweep --------------------------------------------------------- */

static void fini(state *s)
{
    bp_layout_job_free(s->job);
    bp_layout_pack_free(s->layout, s->bytes, s->n_bytes);
    bp_layout_unref(s->layout);
    bp_layout_unref(s->other);
}

/* Steps from `first` up to `end`, with a generous heap. */
static void run_steps(state *s, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        CHECK_STATUS(steps[i](s), BP_OK, &s->it.error);
    }
}

/* Step i while the n-th allocation fails. rebuild_child is made of several
 * calls, so what it did before it failed may stay. */
static void run_refused(state *s, size_t i, uint64_t n, bool is_for_ever,
                        bool *is_refused)
{
    fixture *it = &s->it;
    const bp__plans *plans = &it->registry->plans;
    uint64_t n_unkept = plans->n_searched - plans->n_plans;
    uint64_t n_refused = plans->n_refused;
    char *before = take_dump(it);
    test_heap_fail(&it->heap, n, is_for_ever);
    bp_status status = steps[i](s);
    uint64_t n_all_refused = it->heap.n_refused;
    *is_refused = n_all_refused != 0;
    test_heap_fail(&it->heap, 0, false);
    char *after = take_dump(it);
    bool is_same = strcmp(before, after) == 0;
    drop_dump(it, before);
    drop_dump(it, after);
    bp_error error;
    CHECK_STATUS(bp_registry_check(it->registry, &error), BP_OK, &error);
    n_unkept = plans->n_searched - plans->n_plans - n_unkept;
    n_refused = plans->n_refused - n_refused;
    s->n_unkept += n_refused;
    if (status == BP_OK) {
        /* Only finding and keeping plans can do without. */
        CHECK_U64(n_unkept, n_refused);
        CHECK(n_all_refused == n_refused || steps[i] == find);
        return;
    }
    CHECK_STATUS(status, BP_NO_MEMORY, &it->error);
    CHECK(*is_refused);
    CHECK_U64(it->error.status, BP_NO_MEMORY);
    CHECK(is_same || steps[i] == rebuild_child);
}

/* From the beginning: i steps, the refused one, then all that is left, so that
 * what a failure leaves behind has to bear the rest. */
static void run_scenario(size_t i, uint64_t n, bool is_for_ever,
                         bool *is_refused, uint64_t *n_unkept)
{
    state s;
    memset(&s, 0, sizeof s);
    CHECK(fixture_init(&s.it, BP_PLAN_AUTO));
    run_steps(&s, 0, i);
    CHECK_PASSED();
    run_refused(&s, i, n, is_for_ever, is_refused);
    CHECK_PASSED();
    bool is_done = s.it.error.status != BP_NO_MEMORY;
    run_steps(&s, i + (is_done ? 1 : 0), N_STEPS);
    CHECK_PASSED();
    CHECK(s.it.registry->plans.n_found > 0);
    *n_unkept += s.n_unkept;
    fini(&s);
    CHECK(fixture_fini(&s.it));
}

static void sweep(bool is_for_ever)
{
    uint64_t n_refused = 0;
    uint64_t n_unkept = 0;
    for (size_t i = 0; i < N_STEPS; i++) {
        bool is_refused = true;
        for (uint64_t n = 1; is_refused; n++) {
            run_scenario(i, n, is_for_ever, &is_refused, &n_unkept);
            if (harness.is_failed) {
                printf("    in step %zu, allocation %" PRIu64 "\n", i, n);
                return;
            }
            n_refused += is_refused;
        }
    }
    printf("    %" PRIu64 " refusals, %" PRIu64 " of them for a plan\n",
           n_refused, n_unkept);
    CHECK(n_refused > 200);
    CHECK(n_unkept > 0);
}

static void fails_once(void)
{
    sweep(false);
}

static void fails_for_ever(void)
{
    sweep(true);
}

static void births_fail_cleanly(void)
{
    for (int is_for_ever = 0; is_for_ever < 2; is_for_ever++) {
        for (uint64_t n = 1;; n++) {
            test_heap heap;
            bp_allocator alloc = test_heap_init(&heap);
            test_heap_fail(&heap, n, is_for_ever != 0);
            bp_registry *registry = NULL;
            bp_error error = {0};
            bp_status status = bp_registry_new(NULL, &alloc, &registry, &error);
            if (status == BP_OK) {
                CHECK_U64(heap.n_refused, 0);
                bp_registry_free(registry);
                CHECK_U64(heap.live_blocks, 0);
                CHECK(n > 1);
                break;
            }
            CHECK_STATUS(status, BP_NO_MEMORY, &error);
            CHECK(registry == NULL);
            CHECK_U64(heap.live_blocks, 0);
        }
    }
    bp_registry_free(NULL);
}

int main(void)
{
    RUN(births_fail_cleanly);
    RUN(fails_once);
    RUN(fails_for_ever);
    return finish();
}
