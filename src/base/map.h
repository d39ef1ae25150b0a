/* map.h - an index from names to numbers that does not own the names.
 *
 * Open addressing over {hash, value} slots of 8 bytes. The owner keeps the
 * names (say, in an array of entries whose positions are the values) and says,
 * when asked, which name a value stands for. Nothing here walks in hash order,
 * so no decision can depend on it.
 *
 * Ownership: the slots belong to the map; fini gives them back to the allocator
 * that reserve was given. Errors: only reserve can fail; after it has made
 * room, insert cannot. Threads: the owner's lock.
 */
#ifndef BAYPLAN_BASE_MAP_H
#define BAYPLAN_BASE_MAP_H

#include "bayplan/base.h"

#define BP_MAP_NONE UINT32_MAX /* no value; never inserted */

typedef struct bp_map_slot {
    uint32_t hash;
    uint32_t value; /* BP_MAP_NONE: the slot is free */
} bp_map_slot;

typedef struct bp_map {
    bp_map_slot *slots; /* NULL while n_slots is 0 */
    uint32_t n_slots;   /* 0 or a power of two */
    uint32_t n_used;
} bp_map;

/* The name a value stands for, NUL-terminated. Called for values in the map
 * alone. */
typedef const char *(*bp_map_name_of)(const void *ctx, uint32_t value);

/* An empty map; all zeros is one too. */
void bp__map_init(bp_map *map);
void bp__map_fini(bp_map *map, const bp_allocator *alloc);

/* Room for n_values in all. On failure the map is as before. */
BP_MUST_USE bool bp__map_reserve(bp_map *map, const bp_allocator *alloc,
                                 size_t n_values);
/* Room was reserved, and no value of this name is in the map. `hash` is
 * bp__hash_text of the name, here and below. */
void bp__map_insert(bp_map *map, uint32_t hash, uint32_t value);
/* BP_MAP_NONE if there is none of that name. */
uint32_t bp__map_find(const bp_map *map, uint32_t hash, const char *name,
                      bp_map_name_of name_of, const void *ctx);
/* False if the value is not there under this hash. */
bool bp__map_remove(bp_map *map, uint32_t hash, uint32_t value);
/* The same name stands for `next` from now on. False as in remove. */
bool bp__map_renumber(bp_map *map, uint32_t hash, uint32_t value,
                      uint32_t next);
/* The owner took the values first .. first + n - 1 out of its array, and they
 * were removed here: every value above them moves down by n. Walks all slots.
 */
void bp__map_close_gap(bp_map *map, uint32_t first, uint32_t n);
/* Empty, with its room kept. */
void bp__map_clear(bp_map *map);

/* Every invariant: counts, hashes that match the names, every value reachable
 * and below n_values, none twice. */
bool bp__map_check(const bp_map *map, uint32_t n_values, bp_map_name_of name_of,
                   const void *ctx);

#endif
