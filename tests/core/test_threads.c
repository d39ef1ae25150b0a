/* test_threads.c - eight threads on one registry: edits, reads, layouts and
 * closing at once. Made for the thread sanitizer; without it, it still checks
 * what each thread sees and what is left at the end. */
#include "harness.h"

#include "bayplan/registry.h"

#include <pthread.h>
#include <stdatomic.h>

enum { N_THREADS = 8, N_FACTORIES = 12, N_ROUNDS = 400 };

static const bp_dtype f4 = {"<f4", 4, 4};
static const bp_dtype f8 = {"<f8", 8, 8};

typedef struct shared {
    bp_registry *registry;
    _Atomic(bp_factory) factories[N_FACTORIES];
    _Atomic(bp_layout *) parcel; /* a layout on its way to another thread */
    atomic_uint n_faults;
} shared;

typedef struct worker {
    shared *all;
    pthread_t thread;
    uint64_t seed;
} worker;

static void fault(shared *all, const char *what, const bp_error *error)
{
    if (atomic_fetch_add(&all->n_faults, 1) < 5) {
        printf("%s: %s\n", what, error->text);
    }
}

/* Another thread may have closed the factory, taken the name away or made a
 * circle of what we want: those answers are as right as BP_OK. */
static bool is_expected(bp_status status)
{
    return status == BP_OK || status == BP_STALE ||
           status == BP_UNKNOWN_BUFFER || status == BP_UNKNOWN_CHILD ||
           status == BP_CYCLE || status == BP_BAD_SAME_AS ||
           status == BP_NAME_TAKEN || status == BP_UNKNOWN_PHASE ||
           status == BP_BAD_LIFE;
}

/* Phases come and go under buffers and children that name them. */
static bp_status edit_lives(worker *me, bp_factory f, bp_error *error)
{
    static const char *const phases[] = {"p", "q", "r", "p"};
    bp_registry *r = me->all->registry;
    size_t first = (size_t)random_below(&me->seed, 3);
    uint64_t shape = 3;
    bp_buffer_spec spec;
    bp_buffer_spec_init(&spec);
    spec.name = "f";
    spec.shape = &shape;
    spec.location = BP_SHARED;
    spec.first_phase = phases[first];
    uint64_t i = random_below(&me->seed, N_FACTORIES);
    switch (random_below(&me->seed, 6)) {
    case 0:
        return bp_registry_loop(r, f, phases[first], phases[first + 1], error);
    case 1:
        return bp_registry_unregister(r, f, "f", error);
    case 2:
        return bp_registry_add_child(r, f, atomic_load(&me->all->factories[i]),
                                     "kid", phases[first], NULL, error);
    case 3:
        return bp_registry_register(r, f, &spec, NULL, error);
    default:
        return bp_registry_phases(r, f, phases + first,
                                  (size_t)random_below(&me->seed, 4 - first),
                                  error);
    }
}

static bp_status edit(worker *me, bp_factory f, bp_error *error)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    bp_registry *r = me->all->registry;
    uint64_t shape[2] = {random_below(&me->seed, 50), 2};
    bp_buffer_spec spec;
    bp_buffer_spec_init(&spec);
    spec.name = names[random_below(&me->seed, 5)];
    spec.shape = shape;
    spec.n_dims = 1 + (uint32_t)random_below(&me->seed, 2);
    spec.location = (bp_location)random_below(&me->seed, BP_N_LOCATIONS);
    bp_update_item item = {.key = "kid_a_size",
                           .kind = BP_VALUE_SHAPE,
                           .shape = shape,
                           .n_dims = spec.n_dims};
    uint64_t i = random_below(&me->seed, N_FACTORIES);
    switch (random_below(&me->seed, 7)) {
    case 0:
        return bp_registry_unregister(r, f, spec.name, error);
    case 1:
        return bp_registry_update(r, f, NULL, &item, 1, 0, error);
    case 2:
        return bp_registry_add_child(r, f, atomic_load(&me->all->factories[i]),
                                     "kid", NULL, NULL, error);
    case 3:
        return bp_registry_remove_child(r, f, "kid", error);
    case 4:
        return bp_factory_set_precision(
            r, f, random_below(&me->seed, 2) == 0 ? &f4 : &f8, error);
    default:
        return bp_registry_register(r, f, &spec, NULL, error);
    }
}

static bp_status read_all(worker *me, bp_factory f, bp_error *error)
{
    bp_registry *r = me->all->registry;
    bp_entries entries;
    char *text;
    uint64_t version;
    bp_status status;
    switch (random_below(&me->seed, 4)) {
    case 0:
        status = bp_registry_copy_entries(r, f, &entries, error);
        if (status == BP_OK) {
            bp_entries_free(&entries);
        }
        return status;
    case 1:
        status = bp_registry_dump(r, BP_NO_FACTORY, &text, error);
        if (status == BP_OK) {
            bp_text_free(r, text);
        }
        return status;
    case 2:
        return bp_registry_check(r, error);
    default:
        return bp_registry_version(r, f, &version, error);
    }
}

/* A layout is whole whoever built it, and stays so. */
static bp_status use_layout(worker *me, bp_factory f, bp_error *error)
{
    bp_layout *layout = NULL;
    bp_status status =
        bp_registry_copy_layout(me->all->registry, f, &layout, error);
    if (status != BP_OK) {
        return status;
    }
    for (size_t i = 0; i < bp_layout_n_placements(layout); i++) {
        const bp_placement *place = bp_layout_get_placement(layout, i);
        const bp_region *region = bp_layout_get_region(layout, place->location);
        if (place->offset_bytes + place->n_bytes > region->n_bytes ||
            bp_layout_find(layout, place->name) != place) {
            bp_layout_unref(layout);
            return bp_fail(error, BP_INTERNAL, "a placement is out of bounds");
        }
    }
    char digest[BP_DIGEST_TEXT];
    status = bp_layout_digest(layout, digest, error);
    bp_hazard *hazards = NULL;
    size_t n_hazards = 0;
    if (status == BP_OK) {
        status = bp_layout_hazards(layout, 8, &hazards, &n_hazards, error);
        bp_layout_hazards_free(layout, hazards, n_hazards);
    }
    /* Give ours away, and take what another one left. */
    bp_layout_unref(atomic_exchange(&me->all->parcel, layout));
    return status;
}

/* One thread in a while: a factory dies, another is born in its place. */
static bp_status replace_factory(worker *me, size_t i, bp_error *error)
{
    shared *all = me->all;
    bp_factory next;
    bp_status status =
        bp_factory_open(all->registry, "Next", &f4, &next, error);
    if (status == BP_OK) {
        bp_factory_close(all->registry,
                         atomic_exchange(&all->factories[i], next));
    }
    return status;
}

static void *work(void *argument)
{
    worker *me = argument;
    for (size_t round = 0; round < N_ROUNDS; round++) {
        size_t i = (size_t)random_below(&me->seed, N_FACTORIES);
        bp_factory f = atomic_load(&me->all->factories[i]);
        bp_error error = {0};
        bp_status status;
        uint64_t what = random_below(&me->seed, 20);
        if (what < 7) {
            status = edit(me, f, &error);
        } else if (what < 10) {
            status = edit_lives(me, f, &error);
        } else if (what < 13) {
            status = read_all(me, f, &error);
        } else if (what < 19) {
            status = use_layout(me, f, &error);
        } else {
            status = replace_factory(me, i, &error);
        }
        if (!is_expected(status)) {
            fault(me->all, bp_status_name(status), &error);
        }
    }
    return NULL;
}

static void eight_threads_at_once(void)
{
    shared all;
    memset(&all, 0, sizeof all);
    bp_error error = {0};
    CHECK_STATUS(bp_registry_new(NULL, NULL, &all.registry, &error), BP_OK,
                 &error);
    for (size_t i = 0; i < N_FACTORIES; i++) {
        bp_factory f;
        CHECK_STATUS(bp_factory_open(all.registry, "First", &f4, &f, &error),
                     BP_OK, &error);
        atomic_store(&all.factories[i], f);
    }
    worker workers[N_THREADS];
    for (size_t i = 0; i < N_THREADS; i++) {
        workers[i] = (worker){.all = &all, .seed = i + 1};
        CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
    }
    for (size_t i = 0; i < N_THREADS; i++) {
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
    }
    CHECK_U64(atomic_load(&all.n_faults), 0);
    CHECK_STATUS(bp_registry_check(all.registry, &error), BP_OK, &error);
    CHECK_U64(bp_registry_count(all.registry), N_FACTORIES);
    bp_registry_free(all.registry);
    bp_layout_unref(atomic_load(&all.parcel)); /* outlives the registry */
}

/* All threads want the same layout for the first time: one is handed out. */
typedef struct racer {
    bp_registry *registry;
    bp_factory factory;
    pthread_t thread;
    bp_layout *layout;
    bp_status status;
    char digest[BP_DIGEST_TEXT];
} racer;

static void *race(void *argument)
{
    racer *me = argument;
    me->status =
        bp_registry_copy_layout(me->registry, me->factory, &me->layout, NULL);
    if (me->status == BP_OK) {
        me->status = bp_layout_digest(me->layout, me->digest, NULL);
    }
    return NULL;
}

static void one_layout_for_all(void)
{
    bp_registry *registry;
    bp_error error = {0};
    CHECK_STATUS(bp_registry_new(NULL, NULL, &registry, &error), BP_OK, &error);
    bp_factory f;
    CHECK_STATUS(bp_factory_open(registry, "F", &f4, &f, &error), BP_OK,
                 &error);
    for (uint64_t round = 1; round <= 50; round++) {
        bp_buffer_spec spec;
        bp_buffer_spec_init(&spec);
        spec.name = "x";
        spec.shape = &round;
        CHECK_STATUS(bp_registry_register(registry, f, &spec, NULL, &error),
                     BP_OK, &error);
        racer racers[N_THREADS];
        for (size_t i = 0; i < N_THREADS; i++) {
            racers[i] = (racer){.registry = registry, .factory = f};
            CHECK(pthread_create(&racers[i].thread, NULL, race, &racers[i]) ==
                  0);
        }
        for (size_t i = 0; i < N_THREADS; i++) {
            CHECK(pthread_join(racers[i].thread, NULL) == 0);
        }
        for (size_t i = 0; i < N_THREADS; i++) {
            CHECK_STATUS(racers[i].status, BP_OK, NULL);
            CHECK(racers[i].layout == racers[0].layout);
            CHECK_TEXT(racers[i].digest, racers[0].digest);
        }
        for (size_t i = 0; i < N_THREADS; i++) {
            bp_layout_unref(racers[i].layout);
        }
    }
    bp_registry_free(registry);
}

int main(void)
{
    RUN(eight_threads_at_once);
    RUN(one_layout_for_all);
    return finish();
}
