/* test_map.c - the name index against a plain array. */
#include "harness.h"

#include "base/hash.h"
#include "base/map.h"

enum { MAP_NAMES = 400 };

typedef struct map_model {
    char names[MAP_NAMES][12];
    uint32_t hashes[MAP_NAMES];
    uint32_t value_of[MAP_NAMES]; /* by name; BP_MAP_NONE: not there */
    uint32_t name_at[MAP_NAMES];  /* by value */
    uint32_t n;                   /* values are 0 .. n - 1 */
} map_model;

static const char *model_name(const void *ctx, uint32_t value)
{
    const map_model *model = ctx;
    return model->names[model->name_at[value]];
}

/* The map takes the hash it is told, so collisions can be had at will. */
static void model_init(map_model *model, uint32_t hash_mask)
{
    model->n = 0;
    for (uint32_t i = 0; i < MAP_NAMES; i++) {
        (void)snprintf(model->names[i], sizeof model->names[i], "name%u", i);
        model->hashes[i] = bp__hash_text(model->names[i]) & hash_mask;
        model->value_of[i] = BP_MAP_NONE;
    }
}

/* What an owner with an ordered array does: the ones behind move down. */
static void model_remove(map_model *model, bp_map *map, uint32_t name)
{
    uint32_t value = model->value_of[name];
    CHECK(bp__map_remove(map, model->hashes[name], value));
    CHECK(!bp__map_remove(map, model->hashes[name], value));
    bp__map_close_gap(map, value, 1);
    model->n--;
    for (uint32_t i = value; i < model->n; i++) {
        model->name_at[i] = model->name_at[i + 1];
        model->value_of[model->name_at[i]] = i;
    }
    model->value_of[name] = BP_MAP_NONE;
}

static void model_swap(map_model *model, bp_map *map, uint32_t a, uint32_t b)
{
    uint32_t at_a = model->value_of[a], at_b = model->value_of[b];
    const uint32_t spare = MAP_NAMES + 1;
    CHECK(bp__map_renumber(map, model->hashes[a], at_a, spare));
    CHECK(!bp__map_renumber(map, model->hashes[a], at_a, spare));
    CHECK(bp__map_renumber(map, model->hashes[b], at_b, at_a));
    CHECK(bp__map_renumber(map, model->hashes[a], spare, at_b));
    model->value_of[a] = at_b;
    model->value_of[b] = at_a;
    model->name_at[at_a] = b;
    model->name_at[at_b] = a;
}

static void model_compare(const map_model *model, const bp_map *map)
{
    CHECK_U64(map->n_used, model->n);
    for (uint32_t i = 0; i < MAP_NAMES; i++) {
        CHECK_U64(bp__map_find(map, model->hashes[i], model->names[i],
                               model_name, model),
                  model->value_of[i]);
    }
}

static void model_step(map_model *model, bp_map *map, const bp_allocator *alloc,
                       uint64_t *seed)
{
    uint32_t name = (uint32_t)random_below(seed, MAP_NAMES);
    uint32_t other = (uint32_t)random_below(seed, MAP_NAMES);
    /* Phases of growth and of shrinking. */
    bool is_growing = random_below(seed, 100) < 45 + 20 * (*seed >> 63);
    if (model->value_of[name] == BP_MAP_NONE) {
        if (is_growing) {
            CHECK(bp__map_reserve(map, alloc, model->n + 1));
            bp__map_insert(map, model->hashes[name], model->n);
            model->name_at[model->n] = name;
            model->value_of[name] = model->n++;
        }
    } else if (!is_growing) {
        model_remove(model, map, name);
    } else if (model->value_of[other] != BP_MAP_NONE && name != other) {
        model_swap(model, map, name, other);
    }
}

static void map_agrees_with_an_array(void)
{
    /* All hashes real, many equal, all equal; and near the end of the slots,
     * where probes wrap. */
    const uint32_t masks[] = {UINT32_MAX, 0x3F, 0, 0xFFFFFFF0u};
    static map_model model;
    uint64_t seed = 1;
    for (size_t m = 0; m < 4; m++) {
        test_heap heap;
        bp_allocator alloc = test_heap_init(&heap);
        bp_map map;
        bp__map_init(&map);
        model_init(&model, masks[m]);
        for (int step = 0; step < 6000; step++) {
            model_step(&model, &map, &alloc, &seed);
            CHECK_PASSED();
            if (step % 50 == 0) {
                model_compare(&model, &map);
                CHECK_PASSED();
                CHECK(masks[m] != UINT32_MAX ||
                      bp__map_check(&map, model.n, model_name, &model));
            }
        }
        CHECK(model.n > 20);
        bp__map_clear(&map);
        CHECK_U64(bp__map_find(&map, model.hashes[0], model.names[0],
                               model_name, &model),
                  BP_MAP_NONE);
        CHECK(bp__map_check(&map, 0, model_name, &model));
        bp__map_fini(&map, &alloc);
        CHECK_U64(heap.live_bytes, 0);
    }
}

static void map_survives_out_of_memory(void)
{
    static map_model model;
    model_init(&model, UINT32_MAX);
    test_heap heap;
    bp_allocator alloc = test_heap_init(&heap);
    bp_map map = {0};
    for (uint32_t i = 0; i < MAP_NAMES; i++) {
        if (map.n_used == map.n_slots / 4 * 3) {
            test_heap_fail(&heap, 1, false);
            CHECK(!bp__map_reserve(&map, &alloc, i + 1));
            CHECK(bp__map_check(&map, i, model_name, &model));
        }
        CHECK(bp__map_reserve(&map, &alloc, i + 1));
        model.name_at[i] = i;
        model.value_of[i] = i;
        bp__map_insert(&map, model.hashes[i], i);
        model.n++;
    }
    model_compare(&model, &map);
    CHECK_PASSED();
    CHECK(!bp__map_reserve(&map, &alloc, SIZE_MAX));
    CHECK(!bp__map_reserve(&map, &alloc, UINT32_MAX));
    CHECK(map.n_slots <= 2 * MAP_NAMES * 4 / 3);
    bp__map_fini(&map, &alloc);
    CHECK_U64(heap.live_bytes, 0);
}

/* The check must see each kind of damage. */
static void map_check_sees_damage(void)
{
    static map_model model;
    model_init(&model, UINT32_MAX);
    bp_allocator alloc = bp_allocator_default();
    bp_map map = {0};
    CHECK(bp__map_reserve(&map, &alloc, 8));
    for (uint32_t i = 0; i < 8; i++) {
        model.name_at[i] = i;
        bp__map_insert(&map, model.hashes[i], i);
    }
    CHECK(bp__map_check(&map, 8, model_name, &model));
    CHECK(!bp__map_check(&map, 7, model_name, &model));
    map.n_used--;
    CHECK(!bp__map_check(&map, 8, model_name, &model));
    map.n_used++;
    uint32_t at = 0;
    while (map.slots[at].value == BP_MAP_NONE) {
        at++;
    }
    map.slots[at].hash ^= 1u << 31;
    CHECK(!bp__map_check(&map, 8, model_name, &model));
    map.slots[at].hash ^= 1u << 31;
    uint32_t value = map.slots[at].value;
    map.slots[at].value = (value + 1) % 8; /* there twice */
    CHECK(!bp__map_check(&map, 8, model_name, &model));
    map.slots[at].value = value;
    uint32_t beside = at; /* the same slot twice, and counted */
    while (map.slots[beside].value != BP_MAP_NONE) {
        beside = (beside + 1) % map.n_slots;
    }
    map.slots[beside] = map.slots[at];
    map.n_used++;
    CHECK(!bp__map_check(&map, 8, model_name, &model));
    map.n_used--;
    map.slots[beside].value = BP_MAP_NONE;
    CHECK(bp__map_check(&map, 8, model_name, &model));
    uint32_t lost = (map.slots[at].hash + map.n_slots / 2) % map.n_slots;
    bp_map_slot kept = map.slots[lost];
    map.slots[lost] = map.slots[at]; /* not where probing looks */
    map.slots[at] = kept;
    CHECK(!bp__map_check(&map, 8, model_name, &model));
    bp__map_fini(&map, &alloc);
}

int main(void)
{
    RUN(map_agrees_with_an_array);
    RUN(map_survives_out_of_memory);
    RUN(map_check_sees_damage);
    return finish();
}
