/* registry.h - factories, their named buffers and children, and the immutable
 * layouts planned from them.
 *
 * A *factory* is a context the registry knows by a handle (index and
 * generation): a stale handle is an error or a no-op, never a wrong factory.
 * A *layout* is an immutable, reference-counted snapshot of one factory.
 *
 * Ownership: the registry owns factories, buffers and cached layouts. Texts
 * passed in are copied. `_get_` functions borrow, `_copy_` give a reference.
 * Threads: every function may be called on any thread. One leaf mutex per
 * registry; no call-back runs under it. Layouts are read without a lock.
 * Strong guarantee: a call that fails leaves bp_registry_dump() byte-equal.
 */
#ifndef BAYPLAN_REGISTRY_H
#define BAYPLAN_REGISTRY_H

#include "bayplan/base.h"
#include "bayplan/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bp_registry bp_registry;
typedef struct bp_layout bp_layout;

/* (generation << 32) | index; generations start at 1, so 0 is no factory. */
typedef uint64_t bp_factory;
#define BP_NO_FACTORY ((bp_factory)0)

typedef enum bp_location {
    BP_SHARED,
    BP_BLOCK,
    BP_LOCAL,
    BP_PERSISTENT_LOCAL,
    BP_AUTO, /* declared only; effective: local, or persistent_local if kept */
    BP_N_LOCATIONS
} bp_location;
/* The memories a layout has a region of; BP_AUTO is none of them. */
#define BP_N_REGIONS 4

/* "shared", "block", "local", "persistent_local", "auto". Never NULL. */
BP_API const char *bp_location_name(bp_location location);
BP_API bool bp_location_parse(const char *name, bp_location *out);

typedef enum bp_choice { BP_UNSAID, BP_NO, BP_YES } bp_choice;

/* ---- registry ---------------------------------------------------------- */

typedef struct bp_registry_options {
    bp_plan_mode mode;
    uint64_t node_budget; /* of every region; 0: the mode's own */
} bp_registry_options;

/* Errors: NO_MEMORY, BAD_VALUE (no planning mode). */
BP_API BP_MUST_USE bp_status bp_registry_new(const bp_registry_options *options,
                                             const bp_allocator *alloc,
                                             bp_registry **out,
                                             bp_error *error);
/* Layouts that others hold stay valid. NULL is a no-op. */
BP_API void bp_registry_free(bp_registry *registry);
BP_API void bp_registry_get_options(const bp_registry *registry,
                                    bp_registry_options *out);

/* ---- factories --------------------------------------------------------- */

/* A new, empty factory. `type_name` is used in messages and dumps alone (NULL:
 * "factory"). `precision` is what elements of this factory are counted in.
 * Errors: BAD_DTYPE, NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_factory_open(bp_registry *registry,
                                             const char *type_name,
                                             const bp_dtype *precision,
                                             bp_factory *out, bp_error *error);
/* The owner died: the factory goes, parents count 0 for it from now on. A stale
 * handle is a no-op. Never fails and never allocates. */
BP_API void bp_factory_close(bp_registry *registry, bp_factory factory);
/* Restamps the factory and every buffer that follows its precision. The same
 * precision again: nothing changes.
 * Errors: STALE, BAD_DTYPE, TOO_LARGE, BAD_SAME_AS (a buffer would outgrow the
 * one it is same_as), NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_factory_set_precision(bp_registry *registry,
                                                      bp_factory factory,
                                                      const bp_dtype *precision,
                                                      bp_error *error);
BP_API bool bp_factory_is_alive(bp_registry *registry, bp_factory factory);
/* Alive factories. */
BP_API size_t bp_registry_count(bp_registry *registry);

/* ---- buffers ----------------------------------------------------------- */

typedef struct bp_buffer_spec {
    const char *name; /* UTF-8 */
    const uint64_t *shape;
    uint32_t n_dims; /* >= 1 */
    bp_location location;
    const bp_dtype *dtype; /* NULL: follows the factory's precision */
    uint32_t align;        /* 0: the element type's own */
    bp_choice keep;
    bool zero;
    const char *same_as; /* NULL: bytes of its own */
    float uses;          /* weight for the launch planner; finite, >= 0 */
    /* Alive from the first phase to the last one, both included. Both NULL:
     * always; last_phase NULL: in first_phase alone. */
    const char *first_phase;
    const char *last_phase;
    bool is_carried; /* its value goes from one turn of the innermost loop
                        around its phases to the next: it lives through all of
                        that loop */
} bp_buffer_spec;

/* All fields at their defaults: local, UNSAID, no sharing, uses 1. */
BP_API void bp_buffer_spec_init(bp_buffer_spec *spec);

/* Lifetimes as they are settled: what is kept or declared without phases lives
 * always; a carried buffer lives through its loop; one that begins before a
 * loop and ends inside lives to the loop's end, for the next turn needs it too;
 * buffers that share bytes (same_as) all live while one of them does.
 *
 * Add a buffer, or replace the one of that name in its place (its id stays). A
 * location override outlives a replacement, unless the new declaration's `keep`
 * forbids it, which is an error. The same values again: nothing changes.
 * *out_id (nullable) is unique within the factory and never reused.
 * Errors: STALE, BAD_NAME, NAME_TAKEN (a child, roll-up or phase), READ_ONLY (a
 * roll-up of this factory), BAD_SIZE, TOO_LARGE, BAD_ALIGN, BAD_DTYPE,
 * KEEP_CONFLICT (also keep with a lifetime), BAD_SAME_AS, BAD_VALUE,
 * UNKNOWN_BUFFER (same_as), UNKNOWN_PHASE, BAD_LIFE (the last phase comes
 * before the first; carried without a loop around it; zero and carried at
 * once, also by way of same_as), NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_registry_register(bp_registry *registry,
                                                  bp_factory factory,
                                                  const bp_buffer_spec *spec,
                                                  uint32_t *out_id,
                                                  bp_error *error);
/* Errors: STALE, UNKNOWN_BUFFER, READ_ONLY (a roll-up), BAD_SAME_AS (another
 * buffer is same_as it). */
BP_API BP_MUST_USE bp_status bp_registry_unregister(bp_registry *registry,
                                                    bp_factory factory,
                                                    const char *name,
                                                    bp_error *error);
/* All buffers and their overrides; children stay. */
BP_API BP_MUST_USE bp_status bp_registry_unregister_all(bp_registry *registry,
                                                        bp_factory factory,
                                                        bp_error *error);

/* ---- phases ------------------------------------------------------------ */

#define BP_MAX_PHASES 4095u
/* In place of both phases of a lifetime. */
#define BP_ALWAYS UINT32_MAX

/* The factory's phases in their order: always the whole list. Buffers, children
 * and loops keep the phases that they name, wherever these now stand. No names
 * (n 0) forget phases and loops. The same list again: nothing changes.
 * Errors: STALE, BAD_NAME, NAME_TAKEN (also twice in the list), BAD_VALUE (more
 * than BP_MAX_PHASES), UNKNOWN_PHASE (a phase that a buffer, child or loop
 * names would vanish), BAD_LIFE (the new order turns a lifetime or loop around,
 * or leaves loops that overlap in part or something carried without a loop),
 * NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_registry_phases(bp_registry *registry,
                                                bp_factory factory,
                                                const char *const *names,
                                                size_t n, bp_error *error);
/* The phases from first to last (NULL: the first alone) repeat. Loops are
 * disjoint or nested. The same loop again: nothing changes.
 * Errors: STALE, BAD_NAME (first is NULL), UNKNOWN_PHASE, BAD_LIFE, NO_MEMORY.
 */
BP_API BP_MUST_USE bp_status bp_registry_loop(bp_registry *registry,
                                              bp_factory factory,
                                              const char *first,
                                              const char *last,
                                              bp_error *error);

/* ---- children ---------------------------------------------------------- */

/* Give `child` bytes in `parent` under `name`: three read-only entries
 * {name}_shared, {name}_block, {name}_persistent_local that follow the child's
 * layout for ever. It is called in the phases from the first to the last (NULL
 * as with buffers). Its shared and block bytes live as long, but always where
 * they hold kept bytes; its persistent_local bytes live always. Same name,
 * child and phases: no-op; the same name otherwise: replaced in place.
 * Errors: STALE, BAD_NAME, NAME_TAKEN, CYCLE (with its path), UNKNOWN_PHASE,
 * BAD_LIFE, NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_registry_add_child(
    bp_registry *registry, bp_factory parent, bp_factory child,
    const char *name, const char *first_phase, const char *last_phase,
    bp_error *error);
/* Errors: STALE, UNKNOWN_CHILD. */
BP_API BP_MUST_USE bp_status bp_registry_remove_child(bp_registry *registry,
                                                      bp_factory parent,
                                                      const char *name,
                                                      bp_error *error);

/* ---- updates by key ---------------------------------------------------- */

typedef enum bp_value_kind {
    BP_VALUE_TEXT,  /* a location */
    BP_VALUE_SHAPE, /* a size */
    BP_VALUE_OTHER  /* neither: an error if the key is ours. `text` says what
                       it is, for the message */
} bp_value_kind;

typedef struct bp_update_item {
    const char *key;
    bp_value_kind kind;
    const char *text;
    const uint64_t *shape;
    uint32_t n_dims;
    bool is_taken; /* out: the key was recognised */
} bp_update_item;

enum {
    BP_UPDATE_STRICT = 1, /* an unrecognised key is UNKNOWN_KEY */
    BP_UPDATE_DRY_RUN = 2 /* only say which keys are ours: no value is looked
                             at and nothing changes */
};

/* Keys {buffer}_location and {buffer}_size (also {buffer}_buffer_location and
 * _size where no buffer of that longer name exists), on own buffers and, after
 * {child}_, down the tree. All or nothing over the whole tree, the precision
 * (nullable, of `factory` alone) included. is_taken is written on success only.
 * Errors: STALE, UNKNOWN_KEY (strict), AMBIGUOUS_KEY (names both meanings;
 * also two keys that say different things of one buffer), BAD_LOCATION,
 * BAD_SIZE, READ_ONLY (a roll-up), KEEP_CONFLICT, BAD_SAME_AS, TOO_LARGE,
 * BAD_DTYPE (precision), BAD_NAME (a key is NULL), NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_registry_update(
    bp_registry *registry, bp_factory factory, const bp_dtype *precision,
    bp_update_item *items, size_t n_items, unsigned flags, bp_error *error);
/* Drop this factory's location overrides. */
BP_API BP_MUST_USE bp_status bp_registry_reset_overrides(bp_registry *registry,
                                                         bp_factory factory,
                                                         bp_error *error);

/* ---- reading the declarations ------------------------------------------ */

/* Flat copy of a factory's declarations, in declaration order, roll-ups
 * included. Freed with bp_entries_free. Texts and shapes point into it. */
typedef struct bp_entry {
    const char *name;
    const uint64_t *shape; /* elements; of a roll-up {elements of precision} */
    uint64_t n_items;      /* product of shape */
    uint64_t n_bytes;
    bp_dtype dtype;
    const char *same_as; /* NULL: none */
    const char *child;   /* a roll-up's child name, else NULL */
    uint32_t n_dims;
    uint32_t id;
    uint32_t align;       /* effective */
    bp_location location; /* effective */
    bp_location declared_location;
    bool has_override;
    bp_location override_location;
    bool is_kept;
    bool is_zero;
    float uses;
    const char *first_phase; /* as declared; NULL: always */
    const char *last_phase;
    bool is_carried;
} bp_entry;

typedef struct bp_child {
    const char *name;
    bp_factory factory;      /* BP_NO_FACTORY where the child is gone */
    const char *first_phase; /* as declared; NULL: always */
    const char *last_phase;
} bp_child;

/* From phase `first` to phase `last`, both included. */
typedef struct bp_loop {
    uint32_t first;
    uint32_t last;
} bp_loop;

typedef struct bp_entries {
    size_t n_entries;
    bp_entry *entries;
    size_t n_children;
    bp_child *children;
    size_t n_phases;
    const char **phases;
    size_t n_loops;
    bp_loop *loops; /* by first phase, the longer one first */
    bp_allocator alloc;
    void *block;
    size_t n_block_bytes;
} bp_entries;

/* A roll-up's figures are those of the child's current layout if it is built,
 * else 0. Errors: STALE, NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_registry_copy_entries(bp_registry *registry,
                                                      bp_factory factory,
                                                      bp_entries *out,
                                                      bp_error *error);
BP_API void bp_entries_free(bp_entries *entries);

/* JSON, the same text for the same state. BP_NO_FACTORY: the whole registry.
 * The caller frees *out with bp_text_free. Reading is not an edit: building a
 * layout leaves the dump as it was. */
BP_API BP_MUST_USE bp_status bp_registry_dump(bp_registry *registry,
                                              bp_factory factory, char **out,
                                              bp_error *error);
BP_API void bp_text_free(bp_registry *registry, char *text);
/* Every invariant of the whole structure, and that no two buffers of a current
 * layout share bytes while both live. INTERNAL with the broken one; NO_MEMORY.
 */
BP_API BP_MUST_USE bp_status bp_registry_check(bp_registry *registry,
                                               bp_error *error);

/* ---- layouts ----------------------------------------------------------- */

/* Grows with every edit of the factory or of a descendant. */
BP_API BP_MUST_USE bp_status bp_registry_version(bp_registry *registry,
                                                 bp_factory factory,
                                                 uint64_t *out,
                                                 bp_error *error);
/* Forget the snapshot; the next read builds it anew. No version changes. */
BP_API BP_MUST_USE bp_status bp_registry_invalidate(bp_registry *registry,
                                                    bp_factory factory,
                                                    bp_error *error);

/* The current snapshot if nothing it depends on changed, else *out is NULL
 * (BP_OK). The caller gets a reference. O(1), never plans. */
BP_API BP_MUST_USE bp_status bp_registry_copy_current(bp_registry *registry,
                                                      bp_factory factory,
                                                      bp_layout **out,
                                                      bp_error *error);

/* Planning in three steps, so that a caller can give up its own locks (the GIL)
 * around the middle one: begin copies what changed under the registry's lock,
 * run plans without it, commit keeps what is still true and hands out the
 * layout as of begin. */
typedef struct bp_layout_job bp_layout_job;
BP_API BP_MUST_USE bp_status bp_layout_job_begin(bp_registry *registry,
                                                 bp_factory factory,
                                                 bp_layout_job **out,
                                                 bp_error *error);
BP_API BP_MUST_USE bp_status bp_layout_job_run(bp_layout_job *job,
                                               bp_error *error);
BP_API void bp_layout_job_commit(bp_layout_job *job, bp_layout **out);
/* At the end, also after a failed run. NULL is a no-op. */
BP_API void bp_layout_job_free(bp_layout_job *job);
/* The number of factories a job plans. */
BP_API size_t bp_layout_job_size(const bp_layout_job *job);

/* copy_current, or all three steps. Errors: STALE, TOO_LARGE, NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_registry_copy_layout(bp_registry *registry,
                                                     bp_factory factory,
                                                     bp_layout **out,
                                                     bp_error *error);

/* The layout of a factory that never registered anything. */
BP_API BP_MUST_USE bp_status bp_layout_new_empty(const bp_dtype *precision,
                                                 const bp_allocator *alloc,
                                                 bp_layout **out,
                                                 bp_error *error);

BP_API bp_layout *bp_layout_ref(bp_layout *layout);
/* NULL is a no-op. Depth of the tree costs no stack. */
BP_API void bp_layout_unref(bp_layout *layout);

typedef struct bp_region {
    uint64_t n_bytes;          /* height rounded up to align */
    uint64_t load;             /* most bytes alive at once */
    uint64_t lower_bound;      /* proven, of this region with children rigid */
    uint64_t flat_lower_bound; /* of the tree, children not rigid */
    uint64_t kept_bytes;       /* tree-wide, what is kept between calls */
    uint32_t align;            /* >= 1; largest of what it holds */
    uint32_t widest; /* bytes of the widest access, tree-wide, <= 16 */
    bp_plan_status status;
    bool has_report; /* false after unpacking: the bounds and status are not
                        known */
} bp_region;

typedef struct bp_placement {
    const char *name;
    const uint64_t *shape;
    uint64_t offset_bytes; /* in its region; local: 0 */
    uint64_t n_bytes;
    uint64_t n_items;
    bp_dtype dtype;
    bp_location location; /* effective: one of the four regions */
    uint32_t n_dims;
    uint32_t align;
    uint32_t bytes_of; /* whose bytes these are: a placement's number, its own
                          unless it is same_as another */
    uint32_t first_phase; /* settled, both included; both BP_ALWAYS: always */
    uint32_t last_phase;
    bool is_carried; /* it, or another one of the same bytes */
    bool is_kept;
    bool is_zero;
    bool is_rollup;
} bp_placement;

typedef struct bp_child_region {
    const char *name;
    bp_layout *layout;                   /* borrowed from the parent */
    uint64_t offset_bytes[BP_N_REGIONS]; /* local: 0 */
    uint32_t first_phase; /* settled: when it is called; or BP_ALWAYS */
    uint32_t last_phase;
} bp_child_region;

/* All borrowed from the layout. `name` is the factory's type name, NULL after
 * unpacking. */
BP_API const char *bp_layout_get_name(const bp_layout *layout);
BP_API const bp_dtype *bp_layout_get_precision(const bp_layout *layout);
BP_API const bp_region *bp_layout_get_region(const bp_layout *layout,
                                             bp_location location);
/* Declaration order, roll-ups included. */
BP_API size_t bp_layout_n_placements(const bp_layout *layout);
BP_API const bp_placement *bp_layout_get_placement(const bp_layout *layout,
                                                   size_t i);
/* NULL if there is none of that name. Hashed where it pays. */
BP_API const bp_placement *bp_layout_find(const bp_layout *layout,
                                          const char *name);
BP_API size_t bp_layout_n_children(const bp_layout *layout);
BP_API const bp_child_region *bp_layout_get_child(const bp_layout *layout,
                                                  size_t i);
BP_API size_t bp_layout_n_phases(const bp_layout *layout);
/* NULL where there is none of that number. */
BP_API const char *bp_layout_phase_name(const bp_layout *layout, size_t i);
BP_API size_t bp_layout_n_loops(const bp_layout *layout);
/* By first phase, the longer one first; BP_ALWAYS twice where there is none. */
BP_API bp_loop bp_layout_get_loop(const bp_layout *layout, size_t i);
/* When its own bytes last changed; 0 after unpacking. */
BP_API uint64_t bp_layout_version(const bp_layout *layout);

/* What kernels see, as bytes: names, offsets, shapes, element types, effective
 * locations, alignments, keep, zero, whose bytes they are, phases, loops and
 * lifetimes, precision and the children's digests. Equal layouts have equal
 * contents. Computed once, on first need; NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_layout_get_content(bp_layout *layout,
                                                   const uint8_t **bytes,
                                                   size_t *n_bytes,
                                                   bp_error *error);
#define BP_DIGEST_BYTES 16
#define BP_DIGEST_TEXT  (2 * BP_DIGEST_BYTES + 1)
/* BLAKE2b-128 (RFC 7693) of the content as 32 hex digits and a NUL. */
BP_API BP_MUST_USE bp_status bp_layout_digest(bp_layout *layout,
                                              char out[BP_DIGEST_TEXT],
                                              bp_error *error);
BP_API BP_MUST_USE bp_status bp_layout_equal(bp_layout *a, bp_layout *b,
                                             bool *out, bp_error *error);

/* The layout and its descendants (each distinct one once) as one canonical
 * block of bytes: equal layouts pack to equal bytes. Freed with
 * bp_layout_pack_free. */
BP_API BP_MUST_USE bp_status bp_layout_pack(bp_layout *layout, uint8_t **out,
                                            size_t *n_bytes, bp_error *error);
BP_API void bp_layout_pack_free(bp_layout *layout, uint8_t *bytes,
                                size_t n_bytes);
/* Every byte is checked: BAD_DATA for anything bp_layout_pack cannot give. */
BP_API BP_MUST_USE bp_status bp_layout_unpack(const uint8_t *bytes,
                                              size_t n_bytes,
                                              const bp_allocator *alloc,
                                              bp_layout **out, bp_error *error);

/* ---- hazards ----------------------------------------------------------- */

typedef enum bp_hazard_when {
    BP_HAZARD_STEP, /* from one phase to a later one */
    BP_HAZARD_LOOP, /* from the end of a loop back to its beginning */
    BP_HAZARD_CALL, /* from one call of the device function to the next */
    BP_N_HAZARD_WHENS
} bp_hazard_when;

typedef enum bp_barrier {
    BP_BARRIER_NONE, /* the same thread: program order is enough */
    BP_BARRIER_WARP, /* the lanes of the run */
    BP_BARRIER_BLOCK,
    BP_N_BARRIERS
} bp_barrier;

/* "step", "loop", "call" and "none", "syncwarp", "syncthreads". Never NULL. */
BP_API const char *bp_hazard_when_name(bp_hazard_when when);
BP_API const char *bp_barrier_name(bp_barrier barrier);

/* `after` takes over bytes that were `before`'s. Every thread that uses them
 * must have come past the barrier when `after` is entered. */
typedef struct bp_hazard {
    uint32_t before; /* placements, each the owner of its bytes */
    uint32_t after;
    uint32_t leaves; /* the last phase in which `before` lives on that way */
    uint32_t enters; /* the phase that begins behind the barrier */
    uint32_t loop;   /* BP_HAZARD_LOOP: its number; else BP_ALWAYS */
    bp_hazard_when when;
    bp_location location;
    bp_barrier barrier;
} bp_hazard;

/* Every take-over in this layout's own regions (children answer for what is
 * inside them), where at least one byte goes from one straight to the other.
 * Ordered by `when`, loop, phase entered and declaration. *out is freed with
 * bp_layout_hazards_free; NULL where there are none.
 * Errors: BAD_VALUE (lanes_per_run is not a power of two up to 32),
 * NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_layout_hazards(const bp_layout *layout,
                                               uint32_t lanes_per_run,
                                               bp_hazard **out, size_t *n,
                                               bp_error *error);
BP_API void bp_layout_hazards_free(const bp_layout *layout, bp_hazard *hazards,
                                   size_t n);

#ifdef __cplusplus
}
#endif
#endif
