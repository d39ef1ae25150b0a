/* ptrmap.c - addresses to numbers: linear probing, deletion by shifting back,
 * at most three quarters full. */
#include "ext/ext.h"

static size_t home_of(const bpx_ptrmap *map, const void *key)
{
    /* Knuth's multiplicative hash: 2^64 / golden ratio, high bits. */
    uint64_t mixed = (uint64_t)(uintptr_t)key * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(mixed >> 20) & (map->n_slots - 1);
}

static size_t seek(const bpx_ptrmap *map, const void *key)
{
    size_t i = home_of(map, key);
    while (map->slots[i].key != NULL && map->slots[i].key != key) {
        i = (i + 1) & (map->n_slots - 1);
    }
    return i;
}

static int resize(bpx_ptrmap *map, size_t n_slots)
{
    bpx_ptrmap bigger = {.n_slots = n_slots, .n_used = map->n_used};
    bigger.slots = PyMem_Calloc(n_slots, sizeof *bigger.slots);
    if (bigger.slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < map->n_slots; i++) {
        if (map->slots[i].key != NULL) {
            bigger.slots[seek(&bigger, map->slots[i].key)] = map->slots[i];
        }
    }
    PyMem_Free(map->slots);
    *map = bigger;
    return 0;
}

int bpx_ptrmap_reserve(bpx_ptrmap *map)
{
    if ((map->n_used + 1) * 4 <= map->n_slots * 3) {
        return 0;
    }
    return resize(map, map->n_slots == 0 ? 16 : map->n_slots * 2);
}

void bpx_ptrmap_set(bpx_ptrmap *map, const void *key, uintptr_t value)
{
    struct bpx_ptrslot *slot = &map->slots[seek(map, key)];
    if (slot->key == NULL) {
        slot->key = key;
        map->n_used++;
    }
    slot->value = value;
}

bool bpx_ptrmap_get(const bpx_ptrmap *map, const void *key, uintptr_t *out)
{
    if (map->n_slots == 0) {
        return false;
    }
    const struct bpx_ptrslot *slot = &map->slots[seek(map, key)];
    if (slot->key == NULL) {
        return false;
    }
    *out = slot->value;
    return true;
}

void bpx_ptrmap_remove(bpx_ptrmap *map, const void *key)
{
    if (map->n_slots == 0) {
        return;
    }
    size_t mask = map->n_slots - 1;
    size_t hole = seek(map, key);
    if (map->slots[hole].key == NULL) {
        return;
    }
    for (size_t i = (hole + 1) & mask; map->slots[i].key != NULL;
         i = (i + 1) & mask) {
        /* May i's key move to the hole? Not if its home lies in (hole, i]. */
        size_t from_home = (i - home_of(map, map->slots[i].key)) & mask;
        if (from_home >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole] = (struct bpx_ptrslot){NULL, 0};
    map->n_used--;
}

void bpx_ptrmap_fini(bpx_ptrmap *map)
{
    PyMem_Free(map->slots);
    *map = (bpx_ptrmap){NULL, 0, 0};
}
