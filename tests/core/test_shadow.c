/* test_shadow.c - random trees of factories are run in a shadow of their shared
 * memory: buffers are written when their declared life begins, children are
 * called in their phases, loops turn three times, and in every phase each
 * buffer that lives must find its bytes as it left them. What is checked are
 * the declarations, not the spans that were settled from them. */
#include "harness.h"

#include "registry_fixture.h"

#include "lifetimes_fixture.h"

enum {
    N_FACTORIES = 4,
    MAX_PHASES = 5,
    MAX_BUFFERS = 7,
    MAX_CHILDREN = 3,
    MAX_INSTANCES = 64,
    N_TURNS = 3
};

static const char *const phase_names[MAX_PHASES] = {"p0", "p1", "p2", "p3",
                                                    "p4"};
static const char *const buffer_names[MAX_BUFFERS] = {"b0", "b1", "b2", "b3",
                                                      "b4", "b5", "b6"};
static const char *const child_names[MAX_CHILDREN] = {"c0", "c1", "c2"};

typedef struct life {
    bool is_always, is_kept, is_carried;
    uint32_t first, last;
} life;

typedef struct program {
    bp_factory factory;
    uint32_t n_phases, n_loops;
    bp_loop loops[2]; /* the outer one first */
    size_t n_buffers, n_children;
    life buffers[MAX_BUFFERS];
    life children[MAX_CHILDREN];
    size_t targets[MAX_CHILDREN];
} program;

/* One copy of a factory in the tree. */
typedef struct instance {
    const program *code;
    const bp_layout *layout;
    uint64_t base;
    uint32_t tokens[MAX_BUFFERS]; /* 0: nothing was written */
    size_t children[MAX_CHILDREN];
} instance;

typedef struct shadow {
    program programs[N_FACTORIES];
    instance instances[MAX_INSTANCES];
    size_t n_instances;
    uint32_t *bytes;
    uint32_t n_tokens;
    size_t n_faults;
    size_t n_checked;
} shadow;

/* ---- random programs --------------------------------------------------- */

static life random_life(const program *code, uint64_t *seed)
{
    life it = {.is_always = code->n_phases == 0 || random_below(seed, 5) == 0};
    if (!it.is_always) {
        it.first = (uint32_t)random_below(seed, code->n_phases);
        it.last =
            it.first + (uint32_t)random_below(seed, code->n_phases - it.first);
        it.last = random_below(seed, 2) == 0 ? it.first : it.last;
    }
    return it;
}

/* The innermost loop around a life, or -1. */
static int loop_around(const program *code, const life *it)
{
    int found = -1;
    for (uint32_t i = 0; i < code->n_loops; i++) {
        if (code->loops[i].first <= it->first &&
            it->last <= code->loops[i].last) {
            found = (int)i;
        }
    }
    return found;
}

static void random_loops(program *code, uint64_t *seed)
{
    if (code->n_phases < 2 || random_below(seed, 4) == 0) {
        return;
    }
    uint32_t first = (uint32_t)random_below(seed, code->n_phases);
    uint32_t n = code->n_phases - first;
    uint32_t last = first + (uint32_t)random_below(seed, n);
    code->loops[code->n_loops++] = (bp_loop){first, last};
    if (last > first && random_below(seed, 2) == 0) {
        code->loops[code->n_loops++] = random_below(seed, 2) == 0
                                           ? (bp_loop){first, last - 1}
                                           : (bp_loop){first + 1, last};
    }
}

static bp_status declare_buffers(fixture *it, program *code, uint64_t *seed)
{
    bp_status status = BP_OK;
    code->n_buffers = (size_t)random_below(seed, MAX_BUFFERS + 1);
    for (size_t i = 0; i < code->n_buffers && status == BP_OK; i++) {
        life *b = &code->buffers[i];
        *b = random_life(code, seed);
        b->is_kept = b->is_always && random_below(seed, 4) == 0;
        b->is_carried = !b->is_always && loop_around(code, b) >= 0 &&
                        random_below(seed, 3) == 0;
        uint64_t shape;
        bp_buffer_spec spec =
            spec_of(buffer_names[i], &shape, random_below(seed, 6), BP_SHARED);
        spec.dtype = random_below(seed, 2) == 0 ? &f4 : &u1;
        spec.keep = b->is_kept ? BP_YES : BP_UNSAID;
        spec.is_carried = b->is_carried;
        spec.first_phase = b->is_always ? NULL : phase_names[b->first];
        spec.last_phase = b->is_always ? NULL : phase_names[b->last];
        status = bp_registry_register(it->registry, code->factory, &spec, NULL,
                                      &it->error);
    }
    return status;
}

/* Factories call factories that were made before them. */
static bp_status make_program(fixture *it, shadow *all, size_t number,
                              uint64_t *seed)
{
    program *code = &all->programs[number];
    *code = (program){.factory = fixture_open(it, "F")};
    code->n_phases = (uint32_t)random_below(seed, MAX_PHASES + 1);
    bp_status status = bp_registry_phases(
        it->registry, code->factory, phase_names, code->n_phases, &it->error);
    random_loops(code, seed);
    for (uint32_t i = 0; i < code->n_loops && status == BP_OK; i++) {
        status = make_loop(it, code->factory, phase_names[code->loops[i].first],
                           phase_names[code->loops[i].last]);
    }
    status = status == BP_OK ? declare_buffers(it, code, seed) : status;
    code->n_children =
        number == 0 ? 0 : (size_t)random_below(seed, MAX_CHILDREN + 1);
    for (size_t i = 0; i < code->n_children && status == BP_OK; i++) {
        life *c = &code->children[i];
        *c = random_life(code, seed);
        code->targets[i] = (size_t)random_below(seed, number);
        status = add_live(
            it, code->factory, all->programs[code->targets[i]].factory,
            child_names[i], c->is_always ? NULL : phase_names[c->first],
            c->is_always ? NULL : phase_names[c->last]);
    }
    return status;
}

/* ---- running ----------------------------------------------------------- */

static bool lives_in(const life *it, uint32_t phase)
{
    return it->is_always || (it->first <= phase && phase <= it->last);
}

static const bp_placement *place_of(const instance *it, size_t buffer)
{
    return bp_layout_find(it->layout, buffer_names[buffer]);
}

static void write_buffer(shadow *all, instance *it, size_t buffer)
{
    const bp_placement *place = place_of(it, buffer);
    it->tokens[buffer] = ++all->n_tokens;
    for (uint64_t i = 0; i < place->n_bytes; i++) {
        all->bytes[it->base + place->offset_bytes + i] = all->n_tokens;
    }
}

static void check_buffer(shadow *all, const instance *it, size_t buffer)
{
    const bp_placement *place = place_of(it, buffer);
    for (uint64_t i = 0; i < place->n_bytes; i++) {
        all->n_faults += all->bytes[it->base + place->offset_bytes + i] !=
                         it->tokens[buffer];
        all->n_checked++;
    }
}

static void check_live(shadow *all, const instance *it, uint32_t phase)
{
    for (size_t i = 0; i < it->code->n_buffers; i++) {
        if (lives_in(&it->code->buffers[i], phase)) {
            check_buffer(all, it, i);
        }
    }
}

static void call(shadow *all, instance *it);

static void run_phase(shadow *all, instance *it, uint32_t phase)
{
    const program *code = it->code;
    for (size_t i = 0; i < code->n_buffers; i++) {
        const life *b = &code->buffers[i];
        bool is_carried_here = b->is_carried && it->tokens[i] != 0;
        if (!b->is_always && b->first == phase && !is_carried_here) {
            write_buffer(all, it, i);
        }
    }
    check_live(all, it, phase);
    for (size_t i = 0; i < code->n_children; i++) {
        if (lives_in(&code->children[i], phase)) {
            call(all, &all->instances[it->children[i]]);
            check_live(all, it, phase);
        }
    }
}

/* Phases first..last; loops from number `depth` on have not been entered. */
static void run_range(shadow *all, instance *it, uint32_t first, uint32_t last,
                      uint32_t depth)
{
    const program *code = it->code;
    for (uint32_t p = first; p <= last; p++) {
        if (depth >= code->n_loops || code->loops[depth].first != p) {
            run_phase(all, it, p);
            continue;
        }
        for (size_t i = 0; i < code->n_buffers; i++) {
            const life *b = &code->buffers[i];
            if (b->is_carried && loop_around(code, b) == (int)depth) {
                it->tokens[i] = 0; /* nothing comes from outside */
            }
        }
        for (int turn = 0; turn < N_TURNS; turn++) {
            run_range(all, it, p, code->loops[depth].last, depth + 1);
        }
        p = code->loops[depth].last;
        depth++;
    }
}

/* Trees are at most N_FACTORIES deep. */
static void call(shadow *all, instance *it)
{
    const program *code = it->code;
    for (size_t i = 0; i < code->n_buffers; i++) {
        const life *b = &code->buffers[i];
        if (b->is_always && !(b->is_kept && it->tokens[i] != 0)) {
            write_buffer(all, it, i);
        }
    }
    if (code->n_phases != 0) {
        run_range(all, it, 0, code->n_phases - 1, 0);
        return;
    }
    check_live(all, it, 0);
    for (size_t i = 0; i < code->n_children; i++) {
        call(all, &all->instances[it->children[i]]);
        check_live(all, it, 0);
    }
}

/* False: more instances than there is room for. */
static bool unfold(shadow *all, size_t number, const bp_layout *layout,
                   uint64_t base, size_t *out)
{
    if (all->n_instances == MAX_INSTANCES) {
        return false;
    }
    *out = all->n_instances++;
    all->instances[*out] = (instance){
        .code = &all->programs[number], .layout = layout, .base = base};
    const program *code = &all->programs[number];
    for (size_t i = 0; i < code->n_children; i++) {
        const bp_child_region *child = bp_layout_get_child(layout, i);
        if (!unfold(all, code->targets[i], child->layout,
                    base + child->offset_bytes[BP_SHARED],
                    &all->instances[*out].children[i])) {
            return false;
        }
    }
    return true;
}

static void nothing_alive_is_overwritten(void)
{
    static shadow all;
    uint64_t seed = 77;
    uint64_t n_bytes = 0;
    uint64_t n_shared = 0;
    size_t n_run = 0;
    for (size_t round = 0; round < 1500; round++) {
        fixture it;
        CHECK(fixture_init(&it, BP_PLAN_AUTO));
        all = (shadow){.n_tokens = 0};
        for (size_t i = 0; i < N_FACTORIES; i++) {
            CHECK_STATUS(make_program(&it, &all, i, &seed), BP_OK, &it.error);
        }
        bp_layout *layout =
            layout_of(&it, all.programs[N_FACTORIES - 1].factory);
        CHECK(layout != NULL);
        const bp_region *region = bp_layout_get_region(layout, BP_SHARED);
        size_t root;
        if (unfold(&all, N_FACTORIES - 1, layout, 0, &root)) {
            all.bytes = calloc((size_t)region->n_bytes + 1, sizeof *all.bytes);
            CHECK(all.bytes != NULL);
            call(&all, &all.instances[root]); /* two calls in one root */
            call(&all, &all.instances[root]);
            free(all.bytes);
            CHECK_U64(all.n_faults, 0);
            n_run += all.n_checked != 0;
            n_bytes += region->n_bytes;
            n_shared += region->load;
        }
        bp_layout_unref(layout);
        CHECK(fixture_fini(&it));
    }
    printf("    %zu trees; %" PRIu64 " bytes, %" PRIu64 " alive at once\n",
           n_run, n_bytes, n_shared);
    CHECK(n_run > 1000);
}

int main(void)
{
    RUN(nothing_alive_is_overwritten);
    return finish();
}
