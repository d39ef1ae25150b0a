/* map.c - linear probing; removal shifts back, so there are no tombstones and
 * the slots depend on what is in the map and in which order it came alone. */
#include "base/map.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <assert.h>
#include <string.h>

#define MIN_SLOTS 8u
#define MAX_SLOTS ((uint32_t)1 << 31)

/* At most three slots in four are used: a free one ends every probe. */
static uint64_t slots_for(uint64_t n_values)
{
    uint64_t n_slots = MIN_SLOTS;
    while (n_values > n_slots / 4 * 3) {
        n_slots *= 2;
    }
    return n_slots;
}

static void free_all_slots(bp_map_slot *slots, uint32_t n_slots)
{
    for (uint32_t i = 0; i < n_slots; i++) {
        slots[i] = (bp_map_slot){0, BP_MAP_NONE};
    }
}

void bp__map_init(bp_map *map)
{
    memset(map, 0, sizeof *map);
}

void bp__map_fini(bp_map *map, const bp_allocator *alloc)
{
    bp__free_array(alloc, map->slots, map->n_slots, sizeof *map->slots);
    bp__map_init(map);
}

bool bp__map_reserve(bp_map *map, const bp_allocator *alloc, size_t n_values)
{
    if (n_values <= map->n_slots / 4 * 3) {
        return true;
    }
    if (n_values > MAX_SLOTS / 4 * 3) {
        return false;
    }
    bp_map next = {NULL, (uint32_t)slots_for(n_values), 0};
    next.slots = bp__alloc_array(alloc, next.n_slots, sizeof *next.slots);
    if (next.slots == NULL) {
        return false;
    }
    free_all_slots(next.slots, next.n_slots);
    for (uint32_t i = 0; i < map->n_slots; i++) {
        if (map->slots[i].value != BP_MAP_NONE) {
            bp__map_insert(&next, map->slots[i].hash, map->slots[i].value);
        }
    }
    bp__map_fini(map, alloc);
    *map = next;
    return true;
}

void bp__map_insert(bp_map *map, uint32_t hash, uint32_t value)
{
    assert(value != BP_MAP_NONE);
    assert(map->n_used < map->n_slots / 4 * 3);
    uint32_t mask = map->n_slots - 1;
    uint32_t at = hash & mask;
    while (map->slots[at].value != BP_MAP_NONE) {
        at = (at + 1) & mask;
    }
    map->slots[at] = (bp_map_slot){hash, value};
    map->n_used++;
}

uint32_t bp__map_find(const bp_map *map, uint32_t hash, const char *name,
                      bp_map_name_of name_of, const void *ctx)
{
    if (map->n_used == 0) {
        return BP_MAP_NONE;
    }
    uint32_t mask = map->n_slots - 1;
    uint32_t at = hash & mask;
    for (; map->slots[at].value != BP_MAP_NONE; at = (at + 1) & mask) {
        if (map->slots[at].hash == hash &&
            strcmp(name_of(ctx, map->slots[at].value), name) == 0) {
            return map->slots[at].value;
        }
    }
    return BP_MAP_NONE;
}

/* The slot of a value, or n_slots. */
static uint32_t slot_of(const bp_map *map, uint32_t hash, uint32_t value)
{
    if (map->n_used == 0) {
        return map->n_slots;
    }
    uint32_t mask = map->n_slots - 1;
    uint32_t at = hash & mask;
    while (map->slots[at].value != BP_MAP_NONE) {
        if (map->slots[at].value == value && map->slots[at].hash == hash) {
            return at;
        }
        at = (at + 1) & mask;
    }
    return map->n_slots;
}

bool bp__map_remove(bp_map *map, uint32_t hash, uint32_t value)
{
    uint32_t hole = slot_of(map, hash, value);
    if (hole == map->n_slots) {
        return false;
    }
    uint32_t mask = map->n_slots - 1;
    uint32_t at = (hole + 1) & mask;
    for (; map->slots[at].value != BP_MAP_NONE; at = (at + 1) & mask) {
        /* It may move back if the hole is not before its home slot. */
        uint32_t from_home = (at - map->slots[at].hash) & mask;
        if (from_home >= ((at - hole) & mask)) {
            map->slots[hole] = map->slots[at];
            hole = at;
        }
    }
    map->slots[hole] = (bp_map_slot){0, BP_MAP_NONE};
    map->n_used--;
    return true;
}

bool bp__map_renumber(bp_map *map, uint32_t hash, uint32_t value, uint32_t next)
{
    assert(next != BP_MAP_NONE);
    uint32_t at = slot_of(map, hash, value);
    if (at == map->n_slots) {
        return false;
    }
    map->slots[at].value = next;
    return true;
}

void bp__map_close_gap(bp_map *map, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < map->n_slots; i++) {
        uint32_t value = map->slots[i].value;
        if (value != BP_MAP_NONE && value >= first) {
            assert(value - first >= n);
            map->slots[i].value = value - n;
        }
    }
}

void bp__map_clear(bp_map *map)
{
    free_all_slots(map->slots, map->n_slots);
    map->n_used = 0;
}

bool bp__map_check(const bp_map *map, uint32_t n_values, bp_map_name_of name_of,
                   const void *ctx)
{
    if ((map->n_slots == 0) != (map->slots == NULL) ||
        (map->n_slots != 0 && !bp_is_power_of_two(map->n_slots)) ||
        map->n_used > map->n_slots / 4 * 3) {
        return false;
    }
    uint32_t n_used = 0;
    for (uint32_t i = 0; i < map->n_slots; i++) {
        bp_map_slot slot = map->slots[i];
        if (slot.value == BP_MAP_NONE) {
            continue;
        }
        n_used++;
        if (slot.value >= n_values) {
            return false;
        }
        /* Its name leads to this value, and this value to this slot: so no
         * value and no name is there twice. */
        const char *name = name_of(ctx, slot.value);
        if (bp__hash_text(name) != slot.hash ||
            bp__map_find(map, slot.hash, name, name_of, ctx) != slot.value ||
            slot_of(map, slot.hash, slot.value) != i) {
            return false;
        }
    }
    return n_used == map->n_used;
}
