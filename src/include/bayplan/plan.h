/* plan.h - dynamic storage allocation as a pure function: sizes, alignments
 * and lifetimes in, offsets and proven bounds out.
 *
 * Ownership: the caller owns every array on both sides.
 * Threads: no state, no lock; any number of calls may run at once.
 * Determinism: the same request gives the same bytes on every machine.
 */
#ifndef BAYPLAN_PLAN_H
#define BAYPLAN_PLAN_H

#include "bayplan/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever the same request may give other offsets. */
#define BP_PLAN_ALGORITHM 3u

typedef enum bp_plan_mode {
    BP_PLAN_AUTO,       /* declaration order if it meets the bound, else
                           optimal with a small budget; with a capacity:
                           optimal with its own */
    BP_PLAN_SEQUENTIAL, /* one after the other, in declaration order */
    BP_PLAN_PACKED,     /* one after the other, alignment descending; ties in
                           declaration order */
    BP_PLAN_FAST,       /* the best of several first fits; O(n log n) for many
                           buffers */
    BP_PLAN_OPTIMAL,    /* fast, then exact search, up to BP_PLAN_MAX_SEARCHED
                           and BP_PLAN_MAX_PAIRS */
    BP_N_PLAN_MODES
} bp_plan_mode;

/* The words Python uses: "auto", "sequential", ... Never NULL. */
BP_API const char *bp_plan_mode_name(bp_plan_mode mode);
/* False if `name` is no mode. */
BP_API bool bp_plan_mode_parse(const char *name, bp_plan_mode *out);

typedef enum bp_plan_status {
    BP_PLAN_FEASIBLE,   /* valid; maybe not the lowest. With a capacity: it
                           fits */
    BP_PLAN_IS_OPTIMAL, /* valid and the height equals a proven lower bound */
    BP_PLAN_INFEASIBLE, /* no plan fits the capacity; the offsets are the best
                           that was found */
    BP_PLAN_UNKNOWN     /* neither a plan that fits nor a proof; likewise */
} bp_plan_status;

/* "feasible", "optimal", "infeasible" or "unknown". Never NULL. */
BP_API const char *bp_plan_status_name(bp_plan_status status);

/* How far a search has come. */
typedef struct bp_plan_progress {
    uint64_t n_nodes;
    uint64_t height;      /* of the best plan so far */
    uint64_t lower_bound; /* proven so far */
} bp_plan_progress;

/* Called now and then by the searches; true: stop, and return the best plan so
 * far. A plan that was stopped so (by a clock or a key press) need not come out
 * the same again: is_interrupted says so in the result. */
typedef bool (*bp_plan_poll)(void *ctx, const bp_plan_progress *progress);

/* Zero what is not used. */
typedef struct bp_plan_request {
    size_t n;
    const uint64_t *sizes;  /* bytes, n of them; 0 is legal and never blocks */
    const uint64_t *aligns; /* powers of two, any up to 2^32; NULL: all 1 */
    const int64_t *first;   /* alive in [first, last); both NULL: always */
    const int64_t *last;
    bp_plan_mode mode;
    const int64_t *pins; /* NULL, or offsets that are fixed, -1 where free;
                            not for sequential and packed */
    bool has_capacity;   /* only decide: is there a plan of height <= capacity?
                            Not for sequential and packed */
    uint64_t capacity;
    uint64_t node_budget; /* of the searches; 0: the mode's own */
    bp_plan_poll poll;    /* nullable */
    void *poll_ctx;
} bp_plan_request;

/* The modes' own budgets; they shrink where there are more than 512 buffers,
 * because each node costs more. Auto with a capacity has that of optimal. */
#define BP_PLAN_AUTO_NODES    ((uint64_t)1 << 14)
#define BP_PLAN_OPTIMAL_NODES ((uint64_t)1 << 21)

/* Exact search (modes auto and optimal) takes a stretch of time, from a moment
 * at which nothing is alive to the next, if it has at most so many buffers and
 * so many pairs of a buffer and a section that it is alive in; a section begins
 * where something is born after something has died. A larger stretch stays
 * where first fit put it, whatever the budget and without a node; the status
 * says how good that is. */
#define BP_PLAN_MAX_SEARCHED ((uint32_t)8192)
#define BP_PLAN_MAX_PAIRS    ((uint64_t)1 << 20)

typedef struct bp_plan_result {
    uint64_t height;      /* largest offset + size, not rounded, of all buffers
                             but those of size 0, pinned or not */
    uint64_t load;        /* most bytes alive at once */
    uint64_t lower_bound; /* proven: no plan is lower */
    bp_plan_status status;
    uint64_t n_nodes;    /* search nodes used */
    bool is_interrupted; /* by poll */
} bp_plan_result;

/* Fill offsets[0..n) and *result. The two simple modes ignore lifetimes when
 * they place (load and lower_bound do not): a cursor starts at 0, is rounded up
 * to each buffer's alignment and moves on by its size. A buffer of size 0 lies
 * at the cursor rounded *down* to its alignment and does not move it, so it
 * never raises the height.
 * Errors: BAD_VALUE (first > last, only one of first and last, an alignment
 * that is no power of two or above 2^32; a pin that is misaligned, below -1 or
 * over another one), TOO_LARGE (sums of sizes and padding beyond 2^64 - 1, or
 * with pins, beyond 2^62; more than 2^31 buffers), NO_MEMORY. Nothing is
 * written to the outputs on failure. `alloc` (NULL: the default one) gives
 * scratch memory, returned before the call ends; without lifetimes, and for up
 * to 64 buffers, none is asked for. */
BP_API BP_MUST_USE bp_status bp_plan_run(const bp_plan_request *request,
                                         const bp_allocator *alloc,
                                         uint64_t *offsets,
                                         bp_plan_result *result,
                                         bp_error *error);

/* ---- live bytes, tables in files ----------------------------------------
 */

/* The bytes alive over time, as steps: live[k] from times[k] on, until
 * times[k + 1]; the last step is 0. Both arrays are the caller's, with room for
 * 2 n; *out_n steps are written, none where nothing is ever alive. For
 * drawings.
 * Errors: BAD_VALUE (first > last), TOO_LARGE (sums beyond 2^64 - 1, n above
 * 2^30), NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_plan_live(size_t n, const uint64_t *sizes,
                                          const int64_t *first,
                                          const int64_t *last,
                                          const bp_allocator *alloc,
                                          int64_t *times, uint64_t *live,
                                          size_t *out_n, bp_error *error);

/* Buffers as columns. */
typedef struct bp_plan_table {
    size_t n;
    uint64_t *sizes;
    int64_t *first;
    int64_t *last;
    uint64_t *aligns; /* NULL: no such column */
    int64_t *offsets; /* NULL: no such column; -1 where there is none */
    size_t n_slots;   /* items allocated, per column */
    bp_allocator alloc;
} bp_plan_table;

/* Read the MiniMalloc format from memory: a line of column names (id, lower,
 * upper, size, and maybe alignment and offset, in any order), then one buffer a
 * line. Ids may be any text; an offset may be empty. Lines end in LF or CRLF;
 * empty ones are skipped; quotes are not known. On success *out owns its arrays
 * until bp_plan_table_fini; on failure it is untouched.
 * Errors: BAD_VALUE with line and column (the number and name of the field),
 * TOO_LARGE (more than 2^31 buffers), NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_plan_read_csv(const char *bytes, size_t n_bytes,
                                              const bp_allocator *alloc,
                                              bp_plan_table *out,
                                              bp_error *error);
/* A zeroed table is a no-op. */
BP_API void bp_plan_table_fini(bp_plan_table *table);

/* The same format; ids are 0, 1, ...; columns that are NULL are left out. On
 * success *out_text is NUL-terminated and the caller's, who frees *out_n + 1
 * bytes with the allocator. n_slots and alloc of the table are not looked at.
 * Errors: NO_MEMORY. */
BP_API BP_MUST_USE bp_status bp_plan_write_csv(const bp_plan_table *table,
                                               const bp_allocator *alloc,
                                               char **out_text, size_t *out_n,
                                               bp_error *error);

#ifdef __cplusplus
}
#endif
#endif
