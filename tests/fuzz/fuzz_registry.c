/* fuzz_registry.c - bytes become operations on a registry; after every one of
 * them its check must pass, a refused one must leave the dump alone, and what
 * layouts say must hold. What is packed must come back; the input itself is
 * also offered to unpack. */
#include "bayplan/registry.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

#define REQUIRE(condition)                                                     \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: false: %s\n", __FILE__, __LINE__,          \
                    #condition);                                               \
            abort();                                                           \
        }                                                                      \
    } while (0)

enum { N_FACTORIES = 6, N_NAMES = 16, N_PHASES = 8, MAX_OPERATIONS = 200 };

/* Names that collide with roll-ups and with each other as keys; the last ones
 * are refused. */
static const char *const names[N_NAMES] = {
    "a",         "b",        "a_b", "c",     "kid",    "kid_shared",
    "kid_block", "a_buffer", "x",   "b_a",   "a_size", "child_shared",
    "root",      "_a",       "1x",  "lambda"};

/* The last two collide with a buffer and are refused. */
static const char *const phases[N_PHASES] = {"p", "q", "r", "s",
                                             "t", "u", "x", "views"};

static const char *const suffixes[4] = {"_size", "_location", "_buffer_size",
                                        "_buffer_location"};

static const bp_dtype dtypes[6] = {{"<f4", 4, 4},     {"<f8", 8, 8},
                                   {"|u1", 1, 1},     {"record", 12, 4},
                                   {"record", 12, 1}, {"", 4, 3}};

typedef struct machine {
    const uint8_t *at;
    const uint8_t *end;
    bp_registry *registry;
    bp_factory factories[N_FACTORIES];
    bp_layout *held;
} machine;

static unsigned next(machine *m)
{
    return m->at < m->end ? *m->at++ : 0;
}

static bp_factory pick(machine *m)
{
    return m->factories[next(m) % N_FACTORIES];
}

/* Mostly small; sometimes at the edges of what can be said. */
static uint64_t number(machine *m)
{
    unsigned n = next(m);
    switch (n >> 4) {
    case 15:
        return UINT64_C(1) << (n & 15) * 4;
    case 14:
        return UINT64_MAX >> (n & 15);
    case 13:
        return BP_MAX_BYTES / 4 - (n & 15);
    default:
        return n;
    }
}

/* ---- operations -------------------------------------------------------- */

static bp_status register_buffer(machine *m, bp_error *error)
{
    bp_factory f = pick(m);
    uint64_t shape[3];
    bp_buffer_spec spec;
    bp_buffer_spec_init(&spec);
    spec.name = names[next(m) % N_NAMES];
    unsigned form = next(m);
    spec.n_dims = form % 16 == 0 ? 3 : form % 8 == 0 ? 2 : 1;
    spec.shape = shape;
    for (uint32_t i = 0; i < spec.n_dims; i++) {
        shape[i] = number(m);
    }
    spec.location = (bp_location)(next(m) % (BP_N_LOCATIONS + 1));
    unsigned more = next(m);
    spec.keep = (bp_choice)(more % 3);
    spec.zero = (more & 4) != 0;
    if ((more & 8) != 0) {
        spec.dtype = &dtypes[next(m) % 6];
    }
    if ((more & 16) != 0) {
        spec.align = 1u << (next(m) % 12);
    }
    if ((more & 32) != 0) {
        spec.same_as = names[next(m) % N_NAMES];
    }
    if ((more & 192) == 192) {
        spec.uses = (float)next(m) - 8.0f;
    }
    if ((form & 64) != 0) {
        unsigned life = next(m);
        spec.first_phase = phases[life % N_PHASES];
        spec.last_phase = (life & 8) != 0 ? NULL : phases[life / 16 % N_PHASES];
        spec.is_carried = (form & 128) != 0;
    }
    return bp_registry_register(m->registry, f, &spec, NULL, error);
}

/* Some of the names, in an order that turns around. */
static bp_status declare_phases(machine *m, bp_error *error)
{
    bp_factory f = pick(m);
    unsigned which = next(m);
    unsigned turn = next(m);
    const char *list[N_PHASES];
    size_t n = 0;
    for (unsigned i = 0; i < N_PHASES; i++) {
        unsigned k = (i + turn / 16) % N_PHASES;
        if ((which >> k & 1) != 0) {
            list[n++] = phases[(turn & 1) != 0 ? k : i];
        }
    }
    return bp_registry_phases(m->registry, f, list, n, error);
}

static bp_status update(machine *m, bp_error *error)
{
    bp_factory f = pick(m);
    char keys[3][64];
    uint64_t shapes[3][2];
    bp_update_item items[3];
    size_t n = 1 + next(m) % 3;
    for (size_t i = 0; i < n; i++) {
        unsigned form = next(m);
        (void)snprintf(keys[i], sizeof keys[i], "%s%s%s%s",
                       (form & 4) != 0 ? names[next(m) % N_NAMES] : "",
                       (form & 4) != 0 ? "_" : "", names[next(m) % N_NAMES],
                       suffixes[form % 4]);
        shapes[i][0] = number(m);
        shapes[i][1] = 2;
        items[i] = (bp_update_item){
            .key = keys[i],
            .kind = (form & 1) != 0 ? BP_VALUE_TEXT : BP_VALUE_SHAPE,
            .text = bp_location_name((bp_location)(next(m) % 6)),
            .shape = shapes[i],
            .n_dims = 1 + (form >> 3) % 2};
    }
    unsigned flags = next(m);
    return bp_registry_update(
        m->registry, f, (flags & 12) == 4 ? &dtypes[flags >> 4 & 3] : NULL,
        items, n, flags & 3, error);
}

static bp_status reopen(machine *m, bp_error *error)
{
    size_t i = next(m) % N_FACTORIES;
    bp_factory next_one;
    bp_status status = bp_factory_open(m->registry, "Factory",
                                       &dtypes[next(m) % 6], &next_one, error);
    if (status == BP_OK) {
        bp_factory_close(m->registry, m->factories[i]);
        m->factories[i] = next_one;
    }
    return status;
}

static bool are_apart_in_time(const bp_placement *a, const bp_placement *b)
{
    return a->first_phase != BP_ALWAYS && b->first_phase != BP_ALWAYS &&
           (a->last_phase < b->first_phase || b->last_phase < a->first_phase);
}

static void require_lives(const bp_layout *layout)
{
    size_t n_phases = bp_layout_n_phases(layout);
    for (size_t i = 0; i < bp_layout_n_placements(layout); i++) {
        const bp_placement *place = bp_layout_get_placement(layout, i);
        bool is_always = place->first_phase == BP_ALWAYS;
        REQUIRE(is_always == (place->last_phase == BP_ALWAYS));
        REQUIRE(is_always || (place->first_phase <= place->last_phase &&
                              place->last_phase < n_phases));
        REQUIRE(is_always || !place->is_kept);
        for (size_t k = 0; k < bp_layout_n_loops(layout) && !is_always; k++) {
            bp_loop loop = bp_layout_get_loop(layout, k);
            REQUIRE(place->first_phase >= loop.first ||
                    place->last_phase < loop.first ||
                    place->last_phase >= loop.last);
        }
    }
    bp_hazard *hazards;
    size_t n;
    REQUIRE(bp_layout_hazards(layout, 2, &hazards, &n, NULL) == BP_OK);
    for (size_t i = 0; i < n; i++) {
        const bp_placement *a =
            bp_layout_get_placement(layout, hazards[i].before);
        const bp_placement *b =
            bp_layout_get_placement(layout, hazards[i].after);
        REQUIRE(are_apart_in_time(a, b));
        REQUIRE(a->offset_bytes < b->offset_bytes + b->n_bytes &&
                b->offset_bytes < a->offset_bytes + a->n_bytes);
    }
    bp_layout_hazards_free(layout, hazards, n);
}

static void require_sound(const bp_layout *layout)
{
    for (size_t i = 0; i < bp_layout_n_placements(layout); i++) {
        const bp_placement *place = bp_layout_get_placement(layout, i);
        const bp_region *region = bp_layout_get_region(layout, place->location);
        REQUIRE(place->offset_bytes % place->align == 0);
        REQUIRE(place->offset_bytes + place->n_bytes <= region->n_bytes);
        REQUIRE(region->align % place->align == 0);
        REQUIRE(bp_layout_find(layout, place->name) == place);
        for (size_t k = 0; k < i; k++) {
            const bp_placement *other = bp_layout_get_placement(layout, k);
            REQUIRE(
                place->location != other->location ||
                place->location == BP_LOCAL ||
                place->bytes_of == other->bytes_of ||
                place->offset_bytes + place->n_bytes <= other->offset_bytes ||
                other->offset_bytes + other->n_bytes <= place->offset_bytes ||
                are_apart_in_time(place, other) || place->n_bytes == 0 ||
                other->n_bytes == 0);
        }
    }
    for (int i = 0; i < BP_N_REGIONS; i++) {
        const bp_region *region = bp_layout_get_region(layout, (bp_location)i);
        REQUIRE(region->load <= region->lower_bound);
        REQUIRE(region->lower_bound <= region->n_bytes);
        REQUIRE(region->flat_lower_bound <= region->lower_bound);
    }
}

static void require_round_trip(bp_layout *layout)
{
    uint8_t *bytes;
    size_t n_bytes;
    uint8_t *again;
    size_t n_again;
    bp_layout *back;
    bool is_equal = false;
    REQUIRE(bp_layout_pack(layout, &bytes, &n_bytes, NULL) == BP_OK);
    REQUIRE(bp_layout_unpack(bytes, n_bytes, NULL, &back, NULL) == BP_OK);
    REQUIRE(bp_layout_equal(layout, back, &is_equal, NULL) == BP_OK);
    REQUIRE(is_equal);
    REQUIRE(bp_layout_pack(back, &again, &n_again, NULL) == BP_OK);
    REQUIRE(n_again == n_bytes && memcmp(again, bytes, n_bytes) == 0);
    bp_layout_pack_free(layout, bytes, n_bytes);
    bp_layout_pack_free(back, again, n_again);
    bp_layout_unref(back);
}

static bp_status build(machine *m, bp_error *error)
{
    bp_factory f = pick(m);
    bp_layout *layout = NULL;
    bp_status status = bp_registry_copy_layout(m->registry, f, &layout, error);
    if (status != BP_OK) {
        return status;
    }
    require_sound(layout);
    require_lives(layout);
    require_round_trip(layout);
    bp_layout_unref(m->held);
    m->held = layout;
    /* Forgetting and planning afresh gives the very same. */
    bp_layout *again = NULL;
    REQUIRE(bp_registry_invalidate(m->registry, f, error) == BP_OK);
    REQUIRE(bp_registry_copy_layout(m->registry, f, &again, error) == BP_OK);
    REQUIRE(again == layout);
    bp_layout_unref(again);
    return BP_OK;
}

static bp_status read_entries(machine *m, bp_error *error)
{
    bp_entries entries;
    bp_status status =
        bp_registry_copy_entries(m->registry, pick(m), &entries, error);
    if (status == BP_OK) {
        for (size_t i = 0; i < entries.n_entries; i++) {
            REQUIRE(strlen(entries.entries[i].name) != 0);
        }
        bp_entries_free(&entries);
    }
    return status;
}

static bp_status operate(machine *m, bp_error *error)
{
    bp_registry *r = m->registry;
    bp_factory f;
    bp_factory child;
    unsigned first;
    unsigned last;
    switch (next(m) % 20) {
    case 0:
        return bp_registry_unregister(r, pick(m), names[next(m) % N_NAMES],
                                      error);
    case 1:
        return bp_registry_unregister_all(r, pick(m), error);
    case 2:
    case 3:
        f = pick(m);
        child = pick(m);
        return bp_registry_add_child(r, f, child, names[next(m) % N_NAMES],
                                     NULL, NULL, error);
    case 4:
        return bp_registry_remove_child(r, pick(m), names[next(m) % N_NAMES],
                                        error);
    case 5:
    case 6:
        return update(m, error);
    case 7:
        return reopen(m, error);
    case 8:
    case 9:
        return build(m, error);
    case 10:
        return bp_registry_reset_overrides(r, pick(m), error);
    case 11:
        f = pick(m);
        return bp_factory_set_precision(r, f, &dtypes[next(m) % 6], error);
    case 12:
        return read_entries(m, error);
    case 16:
        return declare_phases(m, error);
    case 17:
        f = pick(m);
        first = next(m);
        return bp_registry_loop(r, f, phases[first % N_PHASES],
                                phases[first / 16 % N_PHASES], error);
    case 18:
        f = pick(m);
        child = pick(m);
        last = next(m);
        first = next(m);
        return bp_registry_add_child(
            r, f, child, names[first % N_NAMES], phases[last % N_PHASES],
            (last & 8) != 0 ? NULL : phases[last / 16 % N_PHASES], error);
    default:
        return register_buffer(m, error);
    }
}

/* ---- running ----------------------------------------------------------- */

static char *dump_of(bp_registry *registry)
{
    char *text;
    REQUIRE(bp_registry_dump(registry, BP_NO_FACTORY, &text, NULL) == BP_OK);
    return text;
}

static void run(machine *m)
{
    for (int i = 0; i < MAX_OPERATIONS && m->at < m->end; i++) {
        bp_error error = {0};
        char *before = dump_of(m->registry);
        bp_status status = operate(m, &error);
        REQUIRE(status != BP_INTERNAL && status != BP_NO_MEMORY);
        if (status != BP_OK) {
            char *after = dump_of(m->registry);
            REQUIRE(strcmp(before, after) == 0);
            REQUIRE(error.status == status && error.text[0] != '\0');
            bp_text_free(m->registry, after);
        }
        bp_text_free(m->registry, before);
        if (bp_registry_check(m->registry, &error) != BP_OK) {
            fprintf(stderr, "%s\n", error.text);
            abort();
        }
    }
}

static void offer_to_unpack(const uint8_t *data, size_t n_bytes)
{
    bp_layout *layout = NULL;
    bp_status status = bp_layout_unpack(data, n_bytes, NULL, &layout, NULL);
    if (status == BP_OK) {
        uint8_t *bytes;
        size_t n;
        REQUIRE(bp_layout_pack(layout, &bytes, &n, NULL) == BP_OK);
        REQUIRE(n == n_bytes && memcmp(bytes, data, n) == 0);
        bp_layout_pack_free(layout, bytes, n);
        bp_layout_unref(layout);
    } else {
        REQUIRE(status == BP_BAD_DATA);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    offer_to_unpack(data, n_bytes);
    machine m = {.at = data, .end = data + n_bytes};
    bp_registry_options options = {(bp_plan_mode)(next(&m) % 3), 0};
    REQUIRE(bp_registry_new(&options, NULL, &m.registry, NULL) == BP_OK);
    for (size_t i = 0; i < N_FACTORIES; i++) {
        char type[2] = {(char)('A' + i), '\0'};
        REQUIRE(bp_factory_open(m.registry, type, &dtypes[i % 2],
                                &m.factories[i], NULL) == BP_OK);
    }
    run(&m);
    bp_registry_free(m.registry);
    bp_layout_unref(m.held); /* outlives the registry */
    return 0;
}
