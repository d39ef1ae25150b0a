/* test_flat_bound.c - no flattened plan of a tree is lower than its
 * flat_lower_bound: against the true optimum of the flattened problem, found by
 * trying every order in which its buffers can be dropped. */
#include "harness.h"

#include "registry_fixture.h"

#include "lifetimes_fixture.h"

/* ---- the flattened problem --------------------------------------------- */

enum { MAX_FLAT = 6, N_PHASES = 3 };

typedef struct flat {
    size_t n; /* MAX_FLAT + 1: too many */
    uint64_t sizes[MAX_FLAT];
    uint64_t aligns[MAX_FLAT];
    bool is_kept[MAX_FLAT];
    bool conflicts[MAX_FLAT][MAX_FLAT];
} flat;

typedef struct span {
    uint32_t first, last;
} span;

static bool live_together(span a, span b)
{
    return a.first == BP_ALWAYS || b.first == BP_ALWAYS ||
           (a.first <= b.last && b.first <= a.last);
}

static bool add_item(flat *out, uint64_t size, uint64_t align, bool is_kept)
{
    if (out->n >= MAX_FLAT) {
        out->n = MAX_FLAT + 1;
        return false;
    }
    out->sizes[out->n] = size;
    out->aligns[out->n] = align;
    out->is_kept[out->n++] = is_kept;
    return true;
}

/* Items of different origins conflict where both live; items of one child as
 * its own flattening says. Trees here are three deep. */
static void flatten(const bp_layout *layout, bp_location location, flat *out)
{
    span spans[MAX_FLAT];
    size_t origin[MAX_FLAT];
    *out = (flat){0};
    for (size_t i = 0; i < bp_layout_n_placements(layout); i++) {
        const bp_placement *it = bp_layout_get_placement(layout, i);
        if (it->location != location || it->is_rollup || it->n_bytes == 0) {
            continue;
        }
        if (!add_item(out, it->n_bytes, it->align, it->is_kept)) {
            return;
        }
        spans[out->n - 1] = (span){it->first_phase, it->last_phase};
        origin[out->n - 1] = SIZE_MAX;
    }
    for (size_t c = 0; c < bp_layout_n_children(layout); c++) {
        const bp_child_region *child = bp_layout_get_child(layout, c);
        flat below;
        flatten(child->layout, location, &below);
        size_t base = out->n;
        for (size_t i = 0; i < below.n; i++) {
            if (below.n > MAX_FLAT ||
                !add_item(out, below.sizes[i], below.aligns[i],
                          below.is_kept[i])) {
                out->n = MAX_FLAT + 1;
                return;
            }
            spans[base + i] = below.is_kept[i] ? (span){BP_ALWAYS, BP_ALWAYS}
                                               : (span){child->first_phase,
                                                        child->last_phase};
            origin[base + i] = c;
            for (size_t k = 0; k < i; k++) {
                out->conflicts[base + i][base + k] =
                    out->conflicts[base + k][base + i] = below.conflicts[i][k];
            }
        }
    }
    for (size_t i = 0; i < out->n; i++) {
        for (size_t k = 0; k < out->n; k++) {
            if (i != k && (origin[i] != origin[k] || origin[i] == SIZE_MAX)) {
                out->conflicts[i][k] = live_together(spans[i], spans[k]);
            }
        }
    }
}

/* The lowest place for item i among those that were placed. */
static uint64_t drop(const flat *it, const uint64_t *offsets, unsigned placed,
                     size_t i)
{
    uint64_t at = 0;
    for (bool is_free = false; !is_free;) {
        is_free = true;
        for (size_t k = 0; k < it->n; k++) {
            if ((placed >> k & 1) != 0 && it->conflicts[i][k] &&
                at < offsets[k] + it->sizes[k] &&
                offsets[k] < at + it->sizes[i]) {
                at = (offsets[k] + it->sizes[k] + it->aligns[i] - 1) /
                     it->aligns[i] * it->aligns[i];
                is_free = false;
            }
        }
    }
    return at;
}

/* Some order of dropping gives a lowest plan: that of its own offsets. */
static uint64_t least_height(const flat *it, uint64_t *offsets, unsigned placed,
                             uint64_t height, uint64_t best)
{
    if (height >= best) {
        return best;
    }
    if (placed == (1u << it->n) - 1) {
        return height;
    }
    for (size_t i = 0; i < it->n; i++) {
        if ((placed >> i & 1) == 0) {
            offsets[i] = drop(it, offsets, placed, i);
            uint64_t end = offsets[i] + it->sizes[i];
            best = least_height(it, offsets, placed | 1u << i,
                                end > height ? end : height, best);
        }
    }
    return best;
}

/* ---- random trees ------------------------------------------------------ */

static const char *const phases[N_PHASES] = {"p", "q", "r"};

static const char *some_phase(uint64_t *seed)
{
    uint64_t i = random_below(seed, N_PHASES + 1);
    return i == N_PHASES ? NULL : phases[i];
}

static bp_status fill(fixture *it, bp_factory f, uint64_t n, bp_location where,
                      uint64_t *seed)
{
    static const char *const names[] = {"a", "b", "c"};
    bp_status status =
        bp_registry_phases(it->registry, f, phases, N_PHASES, &it->error);
    if (status == BP_OK && random_below(seed, 3) == 0) {
        status = make_loop(it, f, "q", "r");
    }
    for (size_t i = 0; i < n && status == BP_OK; i++) {
        uint64_t shape;
        bp_buffer_spec spec =
            spec_of(names[i], &shape, 1 + random_below(seed, 9), where);
        spec.dtype = &u1;
        spec.align = 1u << random_below(seed, 4);
        spec.first_phase = some_phase(seed);
        bool is_kept = spec.first_phase == NULL && random_below(seed, 3) == 0;
        spec.keep = is_kept ? BP_YES : BP_NO;
        status = bp_registry_register(it->registry, f, &spec, NULL, &it->error);
    }
    return status;
}

static bp_status make_tree(fixture *it, bp_location where, uint64_t *seed,
                           bp_factory *out)
{
    bp_factory f[3];
    bp_status status = BP_OK;
    for (size_t i = 0; i < 3 && status == BP_OK; i++) {
        f[i] = fixture_open(it, "F");
        status = fill(it, f[i], 1 + random_below(seed, 2), where, seed);
    }
    if (status == BP_OK) {
        status = add_live(it, f[0], f[1], "one", some_phase(seed), NULL);
    }
    if (status == BP_OK) {
        status = add_live(it, f[0], f[2], "two", some_phase(seed), NULL);
    }
    if (status == BP_OK && random_below(seed, 2) == 0) {
        status = add_live(it, f[1], f[2], "deep", some_phase(seed), NULL);
    }
    *out = f[0];
    return status;
}

static void is_below_every_flattened_plan(void)
{
    static const bp_location where[] = {BP_SHARED, BP_PERSISTENT_LOCAL};
    uint64_t seed = 1;
    size_t n_checked = 0;
    size_t n_met = 0;
    size_t n_below_rigid = 0;
    for (size_t round = 0; round < 3000; round++) {
        fixture it;
        CHECK(fixture_init(&it, BP_PLAN_AUTO));
        bp_factory top;
        CHECK_STATUS(make_tree(&it, where[round % 2], &seed, &top), BP_OK,
                     &it.error);
        bp_layout *layout = layout_of(&it, top);
        CHECK(layout != NULL);
        flat problem;
        flatten(layout, where[round % 2], &problem);
        if (problem.n <= MAX_FLAT) {
            uint64_t offsets[MAX_FLAT];
            uint64_t least = least_height(&problem, offsets, 0, 0, UINT64_MAX);
            const bp_region *region =
                bp_layout_get_region(layout, where[round % 2]);
            CHECK(region->flat_lower_bound <= least);
            CHECK(region->flat_lower_bound <= region->lower_bound);
            n_checked++;
            n_met += region->flat_lower_bound == least;
            n_below_rigid += least < region->load;
        }
        bp_layout_unref(layout);
        CHECK(fixture_fini(&it));
    }
    printf("    %zu trees, the bound is the optimum in %zu, below what rigid "
           "blocks need in %zu\n",
           n_checked, n_met, n_below_rigid);
    CHECK(n_checked > 2000);
    CHECK(n_met > n_checked / 4);
    CHECK(n_below_rigid > 50);
}

/* Two of 3 bytes at alignment 4 need 7; the parent's byte fits between. */
static void leaves_padding_to_others(void)
{
    fixture it;
    CHECK(fixture_init(&it, BP_PLAN_SEQUENTIAL));
    bp_factory f = fixture_open(&it, "F");
    bp_factory child = fixture_open(&it, "Child");
    uint64_t shape;
    bp_buffer_spec spec = spec_of("a", &shape, 3, BP_SHARED);
    spec.dtype = &u1;
    spec.align = 4;
    CHECK_STATUS(
        bp_registry_register(it.registry, child, &spec, NULL, &it.error), BP_OK,
        &it.error);
    spec.name = "b";
    CHECK_STATUS(
        bp_registry_register(it.registry, child, &spec, NULL, &it.error), BP_OK,
        &it.error);
    CHECK_STATUS(add_live(&it, f, child, "kid", NULL, NULL), BP_OK, &it.error);
    shape = 1;
    spec.align = 0;
    CHECK_STATUS(bp_registry_register(it.registry, f, &spec, NULL, &it.error),
                 BP_OK, &it.error);
    bp_layout *layout = layout_of(&it, f);
    CHECK(layout != NULL);
    CHECK_U64(bp_layout_get_region(layout, BP_SHARED)->flat_lower_bound, 7);
    CHECK_U64(bp_layout_get_region(layout, BP_SHARED)->load, 9);
    bp_layout_unref(layout);
    CHECK(fixture_fini(&it));
}

int main(void)
{
    RUN(is_below_every_flattened_plan);
    RUN(leaves_padding_to_others);
    return finish();
}
