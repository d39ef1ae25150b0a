/* model.h - the registry's memory: factories ("contexts"), their entries, names
 * and children. Internal to src/registry.
 *
 * Shape. A registry owns an array of slots; a slot owns at most one context and
 * counts generations, so that a handle (generation, index) of a closed factory
 * is recognised. Everything in here refers by index: contexts to contexts by
 * slot index, entries and children by their place in their context's array.
 * Places never move while something lives in them; free places are chained.
 *
 * Declaration order is a doubly linked list through the entries, so that
 * replacing keeps the position and removing costs O(1). A child is three
 * consecutive read-only entries (its roll-ups) and one bp__child.
 *
 * Ownership: a context owns its arrays; shapes of more than one dimension are
 * arrays of their own. Lock rule: everything here is called with the
 * registry's lock held. Errors: only functions that return a status or a bool
 * can fail, and they fail before they change anything.
 */
#ifndef BAYPLAN_REGISTRY_MODEL_H
#define BAYPLAN_REGISTRY_MODEL_H

#include "bayplan/registry.h"

#include "base/lock.h"
#include "base/map.h"
#include "registry/plans.h"

#define BP__NONE UINT32_MAX
/* In a context's map: the value is a child's place, not an entry's. */
#define BP__CHILD_BIT ((uint32_t)1 << 31)
/* Likewise a phase's number. */
#define BP__PHASE_BIT   ((uint32_t)1 << 30)
#define BP__MAX_ENTRIES (BP__PHASE_BIT - 8)
/* An entry's phases where it lives always. */
#define BP__ALWAYS ((uint16_t)BP_MAX_PHASES)
/* An entry's dtype that follows its factory's precision. */
#define BP__FOLLOWS     UINT32_MAX
#define BP__NO_OVERRIDE ((uint8_t)BP_N_LOCATIONS)
#define BP__N_ROLLUPS   3u
#define BP__N_HIDDEN    2u

enum {
    BP__KEPT = 1,         /* settled */
    BP__ZERO = 2,         /* as declared */
    BP__CHOICE_SHIFT = 2, /* two bits: the bp_choice that was declared */
    BP__CARRIED = 16      /* as declared */
};

/* 48 bytes; a buffer costs one of these, its name and a map slot. */
typedef struct bp__entry {
    union {
        uint64_t n_items; /* n_dims == 1 */
        uint64_t *dims;   /* n_dims > 1: owned */
    } size;
    uint32_t name; /* offset into names */
    uint32_t id;
    uint32_t dtype;   /* in the registry's table, or BP__FOLLOWS */
    uint32_t same_as; /* entry, or BP__NONE */
    uint32_t child;   /* of a roll-up, or BP__NONE */
    float uses;
    uint32_t prev;  /* in declaration order, or BP__NONE */
    uint32_t next;  /* likewise; in a free place: the next free one */
    uint8_t n_name; /* bytes, without the NUL */
    uint8_t n_dims; /* 0: the place is free */
    uint8_t flags;
    uint8_t location : 4;      /* as declared */
    uint8_t override : 4;      /* or BP__NO_OVERRIDE */
    uint32_t first_phase : 12; /* as declared, or both BP__ALWAYS */
    uint32_t last_phase : 12;
    uint32_t align_code : 4; /* as declared: 0 none, else 1 + its logarithm */
    uint32_t marks : 4; /* bp__key_kind bits while an update is under way */
} bp__entry;

typedef struct bp__phase {
    uint32_t name;   /* offset into names */
    uint32_t n_name; /* bytes, without the NUL */
} bp__phase;

typedef struct bp__child {
    uint32_t name;   /* offset into names; BP__NONE: the place is free */
    uint32_t n_name; /* bytes, without the NUL */
    uint32_t target; /* slot of the child's context; BP__NONE: it is gone */
    uint32_t back;   /* place in the target's backs */
    uint32_t rollups[BP__N_ROLLUPS];
    uint32_t next_free;
    uint16_t first_phase; /* as an entry's */
    uint16_t last_phase;
} bp__child;

/* Who counts on this context: child `child` of the context in slot `parent`. */
typedef struct bp__back {
    uint32_t parent;
    uint32_t child;
} bp__back;

typedef struct bp__context {
    uint32_t index;
    uint32_t precision; /* in the registry's dtype table */

    bp__entry *entries;
    size_t entry_capacity;
    uint32_t n_places; /* entries[0 .. n_places) have been used */
    uint32_t free_entry;
    uint32_t head, tail;
    uint32_t n_entries;  /* roll-ups included */
    uint32_t n_aliases;  /* entries with a same_as */
    uint32_t n_carried;  /* entries that are carried */
    uint32_t n_far_dims; /* dims in arrays of their own, over all entries */
    uint32_t next_id;
    uint64_t own_bytes; /* of all buffers that have bytes of their own */

    char *names; /* the type name and a NUL, then names with their NULs */
    size_t name_capacity;
    uint32_t name_bytes;
    uint32_t dead_name_bytes;
    bp_map map;

    bp__child *children;
    size_t child_capacity;
    uint32_t n_child_places;
    uint32_t free_child;
    uint32_t n_children;

    bp__back *backs;
    size_t back_capacity;
    uint32_t n_backs;

    uint32_t n_phases;
    uint32_t n_loops;
    bp__phase *phases; /* n_phases of them */
    bp_loop *loops;    /* by first phase, the longer one first: no history */
    size_t loop_capacity;

    bool is_stale; /* the snapshot was asked to be forgotten */
    uint64_t version;
    uint64_t built_at; /* the version the snapshot was built for */
    bp_layout *layout; /* owned reference, or NULL */

    /* For walks, valid where mark is the walk's epoch. */
    uint64_t mark;
    struct bp__context *walk_up;
    uint32_t walk_cursor;
    uint32_t walk_node;
} bp__context;

typedef struct bp__slot {
    bp__context *ctx; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
} bp__slot;

typedef struct bp__dtype_row {
    bp_dtype dtype;  /* the text is owned */
    uint32_t n_text; /* bytes, without the NUL */
    uint32_t next_same_text;
    uint64_t mark; /* epoch in which a draft has laid out the text */
    size_t draft_offset;
    bp_layout *empty; /* what stands for a child that is gone; or NULL */
} bp__dtype_row;

struct bp_registry {
    bp_mutex lock;
    bp_allocator alloc;
    bp_registry_options options;

    bp__slot *slots;
    size_t slot_capacity;
    uint32_t n_slots;
    uint32_t free_slot;
    size_t n_alive;

    uint64_t clock; /* of edits */
    uint64_t epoch; /* of walks */

    bp__dtype_row *dtypes; /* grows only; not part of the dump */
    size_t dtype_capacity;
    uint32_t n_dtypes;
    uint32_t last_dtype; /* the row found last */
    bp_map dtype_map;    /* by text, to the first row of that text */

    uint32_t *scratch; /* twice as many as the largest context has places */
    size_t scratch_capacity;

    bp__plans plans; /* no part of the dump */
};

/* ---- registry.c -------------------------------------------------------- */

/* NULL and STALE for a handle that stands for nothing. */
bp__context *bp__registry_find(const bp_registry *registry, bp_factory factory);
bp_status bp__registry_need(const bp_registry *registry, bp_factory factory,
                            bp__context **out, bp_error *error);
bp_factory bp__registry_handle(const bp_registry *registry,
                               const bp__context *ctx);
/* Frees everything of a context but the slot; nothing may refer to it. */
void bp__context_free(bp_registry *registry, bp__context *ctx);
/* The context and all its ancestors were edited: they get the clock's next
 * value. Allocates nothing. */
void bp__registry_touch(bp_registry *registry, bp__context *ctx);
/* The same for one of several contexts of one edit: `clock` was ticked once. */
void bp__registry_touch_at(bp_registry *registry, bp__context *ctx);
static inline bool bp__context_is_current(const bp__context *ctx)
{
    return ctx->layout != NULL && ctx->built_at == ctx->version &&
           !ctx->is_stale;
}

/* ---- refuse.c ---------------------------------------------------------- */

/* bp_fail and bp_error_about in one; `buffer` may be NULL. */
bp_status bp__refuse(bp_error *error, const bp__context *ctx,
                     const char *buffer, bp_status status, const char *format,
                     ...) BP_PRINTF(5, 6);
bp_status bp__refuse_memory(bp_error *error);
/* "X has no buffer 'y' (has: ...)" */
bp_status bp__refuse_unknown(bp_error *error, const bp__context *ctx,
                             const char *name);
bp_status bp__refuse_unknown_child(bp_error *error, const bp__context *ctx,
                                   const char *name);
/* `owner` named it: a buffer, a child or "loop". */
bp_status bp__refuse_unknown_phase(bp_error *error, const bp__context *ctx,
                                   const char *owner, const char *name);

/* ---- dtypes.c ---------------------------------------------------------- */

/* The row of an element type, added if it is new. Errors: BAD_DTYPE,
 * NO_MEMORY. Rows are never taken away: there are as many as there are
 * distinct types. */
bp_status bp__dtype_intern(bp_registry *registry, const bp_dtype *dtype,
                           uint32_t *out, bp_error *error);
bool bp__dtype_is(const bp__dtype_row *row, const bp_dtype *dtype);
void bp__dtypes_fini(bp_registry *registry);

/* ---- context.c --------------------------------------------------------- */

static inline const char *bp__context_type(const bp__context *ctx)
{
    return ctx->names;
}
static inline const char *bp__entry_name(const bp__context *ctx,
                                         const bp__entry *entry)
{
    return ctx->names + entry->name;
}
static inline const bp__dtype_row *bp__entry_dtype(const bp_registry *registry,
                                                   const bp__context *ctx,
                                                   const bp__entry *entry)
{
    return &registry->dtypes[entry->dtype == BP__FOLLOWS ? ctx->precision
                                                         : entry->dtype];
}
static inline const uint64_t *bp__entry_shape(const bp__entry *entry)
{
    return entry->n_dims == 1 ? &entry->size.n_items : entry->size.dims;
}
static inline bool bp__entry_is_kept(const bp__entry *entry)
{
    return (entry->flags & BP__KEPT) != 0;
}
/* As declared; 0: none. */
static inline uint32_t bp__entry_said_align(const bp__entry *entry)
{
    return entry->align_code == 0 ? 0 : 1u << (entry->align_code - 1);
}
static inline void bp__entry_set_life(bp__entry *entry, uint16_t first,
                                      uint16_t last)
{
    entry->first_phase = first & BP_MAX_PHASES;
    entry->last_phase = last & BP_MAX_PHASES;
}
static inline bool bp__value_is_entry(uint32_t value)
{
    return value < BP__PHASE_BIT;
}
static inline bool bp__value_is_child(uint32_t value)
{
    return value != BP__NONE && (value & BP__CHILD_BIT) != 0;
}
static inline bool bp__value_is_phase(uint32_t value)
{
    return value >= BP__PHASE_BIT && value < BP__CHILD_BIT;
}
static inline bool bp__entry_is_buffer(const bp__entry *entry)
{
    return entry->n_dims != 0 && entry->child == BP__NONE;
}
static inline bp_choice bp__entry_choice(const bp__entry *entry)
{
    return (bp_choice)(entry->flags >> BP__CHOICE_SHIFT & 3);
}

/* Product of a shape; false above 2^64. A zero among the dims makes it 0. */
bool bp__shape_items(const uint64_t *shape, uint32_t n_dims, uint64_t *out);
uint64_t bp__entry_items(const bp__entry *entry);
/* Of what is registered: cannot overflow. Aliases included. */
uint64_t bp__entry_bytes(const bp_registry *registry, const bp__context *ctx,
                         const bp__entry *entry);
uint32_t bp__entry_align(const bp_registry *registry, const bp__context *ctx,
                         const bp__entry *entry);
/* The entry whose bytes these are: the end of the same_as chain. */
const bp__entry *bp__entry_root(const bp__context *ctx, const bp__entry *entry);
/* Of this entry's own declaration, aliases not followed. */
bp_location bp__entry_location(const bp__entry *entry);
bp_location bp__location_settled(bp_location declared, bool is_kept);
/* For every place the place of its root, into registry->scratch; room was
 * made by bp__scratch_reserve. */
void bp__roots_collect(bp_registry *registry, const bp__context *ctx);
BP_MUST_USE bool bp__scratch_reserve(bp_registry *registry,
                                     const bp__context *ctx);

/* The map's name_of; `ctx` is a bp__context. */
const char *bp__context_name_of(const void *ctx, uint32_t value);
/* The value of a name in the context's map, or BP__NONE. */
uint32_t bp__context_find(const bp__context *ctx, uint32_t hash,
                          const char *name);
/* The buffer or roll-up of that name, or BP__NONE (also for a child). */
uint32_t bp__context_find_entry(const bp__context *ctx, const char *name);
uint32_t bp__context_find_child(const bp__context *ctx, const char *name);

typedef enum bp__name_verdict {
    BP__NAME_FINE,
    BP__NAME_NO_IDENTIFIER,
    BP__NAME_RESERVED,
    BP__NAME_TOO_LONG
} bp__name_verdict;

/* Whether a name with a suffix of n_suffix bytes may be used. */
bp__name_verdict bp__name_fault(const char *name, size_t n_suffix);
/* BAD_NAME unless a Python identifier that this package does not use itself.
 * `n_suffix` bytes will be appended to it. */
bp_status bp__name_check(const bp__context *ctx, const char *name,
                         size_t n_suffix, bp_error *error);
/* BAD_NAME of the name NULL. */
bp_status bp__name_need(const bp__context *ctx, const char *name,
                        bp_error *error);
/* Room for names of n_bytes in all, NULs included. Errors: NO_MEMORY. */
BP_MUST_USE bool bp__names_reserve(bp_registry *registry, bp__context *ctx,
                                   size_t n_bytes);
/* Room was reserved. */
uint32_t bp__names_add(bp__context *ctx, const char *name, size_t n_name);
void bp__names_drop(bp__context *ctx, size_t n_name);

/* Room for n more entries, their map slots and their ids. */
BP_MUST_USE bool bp__entries_reserve(bp_registry *registry, bp__context *ctx,
                                     uint32_t n, uint32_t n_map);
/* A free place, linked at the end of the declaration order; room was reserved.
 * Everything but prev and next is the caller's to fill. */
uint32_t bp__entry_take(bp__context *ctx);
/* Out of map, order and names; its dims are freed. */
void bp__entry_drop(bp_registry *registry, bp__context *ctx, uint32_t at);

/* ---- children.c -------------------------------------------------------- */

/* The suffixes of roll-up names and their memories, in declaration order. */
extern const char *const bp__rollup_suffix[BP__N_ROLLUPS];
extern const bp_location bp__rollup_location[BP__N_ROLLUPS];

/* ---- buffers.c --------------------------------------------------------- */

/* Everything that binds several entries of one context together: sums below
 * BP_MAX_BYTES, alias sizes. Recomputes *own_bytes. Errors: TOO_LARGE,
 * BAD_SAME_AS. */
bp_status bp__context_validate(const bp_registry *registry,
                               const bp__context *ctx, uint64_t *own_bytes,
                               bp_error *error);

/* ---- phases.c ---------------------------------------------------------- */

/* Two names to two numbers, both BP__ALWAYS for no names. Errors:
 * UNKNOWN_PHASE, BAD_LIFE. */
bp_status bp__phases_find(const bp__context *ctx, const char *owner,
                          const char *first, const char *last,
                          uint16_t *out_first, uint16_t *out_last,
                          bp_error *error);
/* Whether that is what bp__phases_find would find. */
bool bp__phases_are(const bp__context *ctx, uint16_t has_first,
                    uint16_t has_last, const char *first, const char *last);
/* NULL for BP__ALWAYS. */
const char *bp__phase_name(const bp__context *ctx, uint32_t phase);

/* ---- lifetimes.c ------------------------------------------------------- */

/* Both included; both BP_ALWAYS: always. */
typedef struct bp__span {
    uint32_t first;
    uint32_t last;
} bp__span;

/* The innermost loop around these phases, or NULL. */
const bp_loop *bp__loop_around(const bp_loop *loops, size_t n, uint32_t first,
                               uint32_t last);
/* What the entry's own declaration says, the carrying loop included. */
bp__span bp__span_declared(const bp__context *ctx, const bp__entry *entry);
/* The least span over both. */
bp__span bp__span_join(bp__span a, bp__span b);
/* On to the end of each loop that it runs into from before. */
bp__span bp__span_settle(const bp_loop *loops, size_t n, bp__span span);
/* Settling would leave it as it is, and what is carried has a loop inside. */
bool bp__span_is_settled(const bp_loop *loops, size_t n, bp__span span,
                         bool is_carried);
/* The life that a spec declares, into the entry's phases and flags. Errors:
 * UNKNOWN_PHASE, BAD_LIFE, KEEP_CONFLICT. */
bp_status bp__life_settle(const bp__context *ctx, const bp_buffer_spec *spec,
                          bp__entry *entry, bp_error *error);
/* What is zeroed when its first phase is entered loses what was carried there:
 * no buffer is both, alone or by way of the bytes it shares. `entry` is what
 * place `self` (BP__NONE: a new one) will hold. Errors: BAD_LIFE. */
bp_status bp__life_check(const bp__context *ctx, const char *name,
                         const bp__entry *entry, uint32_t self,
                         bp_error *error);
/* Loops in order, disjoint or nested. */
bool bp__loops_fit(const bp_loop *loops, size_t n, uint32_t n_phases);

/* ---- keys.c ------------------------------------------------------------ */

typedef enum bp__key_kind { BP__KEY_LOCATION, BP__KEY_SIZE } bp__key_kind;

typedef struct bp__key_target {
    bp__context *ctx; /* NULL: nothing answers to the key */
    uint32_t entry;
    bp__key_kind kind;
    bool is_rollup; /* read-only */
} bp__key_target;

/* What a key means in the tree below `ctx`. Errors: AMBIGUOUS_KEY,
 * NO_MEMORY. */
bp_status bp__key_resolve(bp_registry *registry, bp__context *ctx,
                          const char *key, bp__key_target *out,
                          bp_error *error);

#endif
