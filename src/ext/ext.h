/* ext.h - the CPython face of bayplan: the one file that includes <Python.h>
 * and NumPy, and what the files of src/ext share.
 *
 * Names: bpx_ is internal to src/ext (bp_ is the C core); nothing but
 * PyInit__core is exported.
 * Rule of every method: parse, convert *all* arguments, one core call, raise or
 * wrap. Between reading and writing core state no code of the user may run (no
 * hash, eq, property, __index__, and no allocation of a Python object, which
 * can start the garbage collector).
 * Threads: everything runs under the GIL, which is outside the core's locks.
 * Planning (registry_layout.c) gives it up while no core lock is held; calls
 * that move or wait for device memory (device.h) give it up around the core
 * call, and what they touch is useless in a forked child anyway.
 */
#ifndef BAYPLAN_EXT_H
#define BAYPLAN_EXT_H

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#endif

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#define NPY_NO_DEPRECATED_API  NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION     NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL bpx_numpy_api
#ifndef BPX_IMPORT_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>

#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#include "bayplan/bayplan.h"

/* ---- compat: strong-reference getters on every supported Python -------- */

/* 1 and a new reference, 0 and NULL (not there), -1 and an exception. */
int bpx_dict_get(PyObject *dict, PyObject *key, PyObject **out);
/* The referent as a new reference, or NULL without an exception (it is gone).
 * `ref` is a weak reference object. */
PyObject *bpx_weakref_get(PyObject *ref);
/* 1 and a new reference, 0 and NULL (no such attribute), -1 and an exception.
 */
int bpx_attr_get(PyObject *object, PyObject *name, PyObject **out);

/* The exception that is set, as a new reference, and unset it; NULL if none. */
PyObject *bpx_exception_take(void);
/* Set it again; takes over the reference. */
void bpx_exception_give(PyObject *exception);

/* ---- words ------------------------------------------------------------- */

/* Names of parameters and attributes, interned once per module. */
#define BPX_WORDS(X)                                                           \
    X(factory)                                                                 \
    X(name)                                                                    \
    X(size)                                                                    \
    X(location)                                                                \
    X(dtype)                                                                   \
    X(align)                                                                   \
    X(live)                                                                    \
    X(keep)                                                                    \
    X(carried)                                                                 \
    X(same_as)                                                                 \
    X(zero)                                                                    \
    X(uses)                                                                    \
    X(parent)                                                                  \
    X(child)                                                                   \
    X(mapping)                                                                 \
    X(updates_dict)                                                            \
    X(strict)                                                                  \
    X(precision)                                                               \
    X(stride)                                                                  \
    X(policy)                                                                  \
    X(lanes_per_run)                                                           \
    X(reserve_bytes)                                                           \
    X(runs_per_block)                                                          \
    X(width)                                                                   \
    X(sizes)                                                                   \
    X(first)                                                                   \
    X(last)                                                                    \
    X(pins)                                                                    \
    X(offsets)                                                                 \
    X(mode)                                                                    \
    X(budget)                                                                  \
    X(capacity)                                                                \
    X(time_limit)                                                              \
    X(progress)                                                                \
    X(launch_plan)                                                             \
    X(layout)                                                                  \
    X(bound)                                                                   \
    X(code)                                                                    \
    X(buffer)                                                                  \
    X(value)                                                                   \
    X(limit)                                                                   \
    X(data)                                                                    \
    X(tag)                                                                     \
    X(n)                                                                       \
    X(level)                                                                   \
    X(levels)                                                                  \
    X(callback)                                                                \
    X(used)                                                                    \
    X(cause)                                                                   \
    X(key)                                                                     \
    X(kind)                                                                    \
    X(nbytes)                                                                  \
    X(kinds)                                                                   \
    X(keys)                                                                    \
    X(maxlen)                                                                  \
    X(max)                                                                     \
    X(seq)                                                                     \
    X(timeout)                                                                 \
    X(pressure)                                                                \
    X(slot)                                                                    \
    X(pin)                                                                     \
    X(priority)                                                                \
    X(load)                                                                    \
    X(replace)                                                                 \
    X(reservation)                                                             \
    X(missing_ok)                                                              \
    X(stream)                                                                  \
    X(write)                                                                   \
    X(on_shortage)                                                             \
    X(backend)                                                                 \
    X(shape)                                                                   \
    X(out)                                                                     \
    X(array)                                                                   \
    X(granularity)                                                             \
    X(events)                                                                  \
    X(fail)                                                                    \
    X(polls)

typedef enum bpx_word {
#define BPX_WORD_ENUM(word) BPX_##word,
    BPX_WORDS(BPX_WORD_ENUM)
#undef BPX_WORD_ENUM
        BPX_N_WORDS
} bpx_word;

/* ---- pointer map ------------------------------------------------------- */

/* Address -> number, open addressing. Keys are compared as addresses and never
 * followed. A zeroed struct is an empty map. */
typedef struct bpx_ptrmap {
    struct bpx_ptrslot {
        const void *key; /* NULL: free */
        uintptr_t value;
    } *slots;
    size_t n_slots; /* 0 or a power of two */
    size_t n_used;
} bpx_ptrmap;

/* Make room for one more; -1 and MemoryError. */
int bpx_ptrmap_reserve(bpx_ptrmap *map);
/* After a reserve; replaces the value of a key that is there. Cannot fail. */
void bpx_ptrmap_set(bpx_ptrmap *map, const void *key, uintptr_t value);
bool bpx_ptrmap_get(const bpx_ptrmap *map, const void *key, uintptr_t *out);
void bpx_ptrmap_remove(bpx_ptrmap *map, const void *key);
void bpx_ptrmap_fini(bpx_ptrmap *map);

/* ---- module state ------------------------------------------------------ */

enum { BPX_N_PLAN_STATUSES = BP_PLAN_UNKNOWN + 1 };

/* One element type. Entries live as long as the module and never move. */
typedef struct bpx_dtype {
    PyArray_Descr *descr;
    PyObject *text; /* canonical; core.text is its UTF-8 */
    bp_dtype core;
} bpx_dtype;

typedef struct bpx_dtypes {
    bpx_dtype **items;
    size_t n_items;
    size_t capacity;
    PyObject *by_object; /* type objects and NumPy's own dtypes -> index */
    PyObject *by_text;   /* canonical text -> index */
} bpx_dtypes;

enum { BPX_N_FAMILIES = BP_FAMILY_BUG + 1 };

typedef struct bpx_registry bpx_registry;

typedef struct bpx_state {
    PyObject *words[BPX_N_WORDS];
    PyObject *locations[BP_N_LOCATIONS]; /* interned */
    PyObject *policies[BP_N_STRIDE_POLICIES];
    PyObject *plan_statuses[BPX_N_PLAN_STATUSES];
    PyObject *hazard_whens[BP_N_HAZARD_WHENS];
    PyObject *barriers[BP_N_BARRIERS];
    PyObject *base_error;
    PyObject *errors[BPX_N_FAMILIES]; /* family -> exception type */
    PyTypeObject *registry_type;
    PyTypeObject *layout_type;
    PyTypeObject *bound_type;
    PyTypeObject *layout_class; /* what layouts are made as; a subclass */
    PyTypeObject *bound_class;
    PyTypeObject *placement_type;
    PyTypeObject *region_type;
    PyTypeObject *entry_type;
    PyTypeObject *child_region_type;
    PyTypeObject *plan_type;
    PyTypeObject *hazard_type;
    PyObject *causes[BP_N_CAUSES]; /* interned, like the next two */
    PyObject *slot_states[BP_N_SLOT_STATES];
    PyObject *slot_policies[BP_N_POLICIES];
    PyObject *pressures[BP_N_PRESSURES]; /* ints, later MemoryPressure's */
    PyObject *parse_size; /* a size in words -> int; NULL: not handed over */
    PyObject *logger;     /* "bayplan"; NULL until needed */
    PyTypeObject *tree_type;
    PyTypeObject *budget_type;
    PyTypeObject *reservation_type;
    PyTypeObject *pressure_watch_type;
    PyTypeObject *log_type;
    PyTypeObject *subscription_type;
    PyTypeObject *sim_type;
    PyTypeObject *sim_stream_type;
    PyTypeObject *budget_stats_type;
    PyTypeObject *edge_type;
    PyTypeObject *evicted_type;
    PyTypeObject *observation_type;
    PyTypeObject *slots_type; /* SlotManager; src/ext/slots.h, the next too */
    PyTypeObject *slot_type;
    PyTypeObject *slot_class; /* what slots are made as; a subclass */
    PyTypeObject *slot_use_type;
    PyTypeObject *slot_view_type;
    PyTypeObject *slot_stats_type;
    PyTypeObject *slot_cell_type;
    bpx_dtypes dtypes;
    bpx_ptrmap layouts;       /* bp_layout -> weak reference to its Layout */
    bpx_registry *registries; /* all that are alive, newest first; borrowed */
} bpx_state;

extern struct PyModuleDef bpx_module_def;

static inline bpx_state *bpx_state_of(PyObject *module)
{
    return (bpx_state *)PyModule_GetState(module);
}

/* ---- errors.c ---------------------------------------------------------- */

/* Make the exception types and put them into the module. */
int bpx_errors_add(PyObject *module);
/* Turn error->status into an exception. Always NULL. */
PyObject *bpx_raise(bpx_state *st, const bp_error *error);
/* The same with a text of one's own. */
PyObject *bpx_raise_as(bpx_state *st, bp_status status, const char *format, ...)
    BP_PRINTF(3, 4);
/* Say which factory and which buffer (a str, or NULL) the BayplanError that is
 * set is about, in its text and in its fields. */
void bpx_raised_about(bpx_state *st, PyObject *factory, PyObject *buffer);
/* Say which number the BayplanError that is set is about. */
void bpx_raised_value(bpx_state *st, PyObject *value);
/* Give the bayplan exception that is set, raised by Python code, a status'
 * code.
 */
void bpx_raised_status(bpx_state *st, bp_status status);
/* "1.5 (float)": a short repr and the type of what was given, for messages. */
typedef struct bpx_given {
    char text[96];
} bpx_given;
void bpx_describe(PyObject *object, bpx_given *out);

/* Module functions for the test that walks all statuses. */
PyObject *bpx_statuses(PyObject *module, PyObject *unused);
PyObject *bpx_raise_status(PyObject *module, PyObject *number);

/* ---- dtype.c ----------------------------------------------------------- */

int bpx_dtypes_init(bpx_state *st);
void bpx_dtypes_fini(bpx_state *st);
/* Anything numpy.dtype() takes (not None) -> element type, or NULL with an
 * exception. May run code of the user. */
const bpx_dtype *bpx_dtype_convert(bpx_state *st, PyObject *object);
/* What a core text means; NULL with an exception for a text that is not
 * canonical here or whose figures differ. */
const bpx_dtype *bpx_dtype_of_core(bpx_state *st, const bp_dtype *core);
/* factory.precision, float32 where it has none. May run code of the user. */
const bpx_dtype *bpx_precision_of(bpx_state *st, PyObject *factory);

/* ---- args.c ------------------------------------------------------------ */

enum { BPX_MAX_PARAMS = 12 };

typedef struct bpx_signature {
    const char *function;
    unsigned char n_params;
    unsigned char n_positional;
    unsigned char n_required;
    unsigned char words[BPX_MAX_PARAMS]; /* bpx_word */
} bpx_signature;

/* Fill out[0..n_params) with borrowed arguments, NULL where absent. 0, or -1
 * with a TypeError. */
int bpx_parse(const bpx_state *st, const bpx_signature *signature,
              PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames,
              PyObject **out);

/* Converters: 0, or -1 with an exception. None but bpx_to_float and
 * bpx_to_seconds runs code of the user on success. `what` names the argument in
 * messages. */

/* A Python or NumPy integer in 0..UINT64_MAX; `status` is raised otherwise. */
int bpx_to_uint64(bpx_state *st, PyObject *object, const char *what,
                  bp_status status, uint64_t *out);
/* The same, or a size in words ("8GiB"): runs bayplan's own Python for that. */
int bpx_to_bytes(bpx_state *st, PyObject *object, const char *what,
                 bp_status status, uint64_t *out);
int bpx_to_bool(bpx_state *st, PyObject *object, const char *what, bool *out);
int bpx_to_float(bpx_state *st, PyObject *object, const char *what, float *out);
/* Seconds >= 0; None is INFINITY. May run code of the user (__float__). */
int bpx_to_seconds(bpx_state *st, PyObject *object, const char *what,
                   double *out);
/* UTF-8, borrowed from `object`, without NUL. */
int bpx_to_text(bpx_state *st, PyObject *object, const char *what,
                bp_status status, const char **out);
/* The same, and not empty. */
int bpx_to_label(bpx_state *st, PyObject *object, const char *what,
                 const char **out);
/* bpx_to_text, and identifier and NFKC-normal where it is not ASCII (which the
 * core checks alone). */
int bpx_to_name(bpx_state *st, PyObject *object, const char *what,
                const char **out);
int bpx_to_location(bpx_state *st, PyObject *object, bp_location *out);
/* NULL: "auto". */
int bpx_to_plan_mode(bpx_state *st, PyObject *object, bp_plan_mode *out);
/* One of the four memories. */
int bpx_to_region(bpx_state *st, PyObject *object, bp_location *out);
/* Size or shape of buffer `name` -> shape[0..*n_dims). */
int bpx_to_shape(bpx_state *st, PyObject *object, const char *name,
                 uint64_t shape[BP_MAX_DIMS], uint32_t *n_dims);
/* The same without an exception: false if `object` is no size. */
bool bpx_is_shape(PyObject *object, uint64_t shape[BP_MAX_DIMS],
                  uint32_t *n_dims);

/* ---- records.c --------------------------------------------------------- */

int bpx_records_add(PyObject *module);
/* Make the type of a structseq and put it into the module. */
int bpx_record_add(PyObject *module, PyStructSequence_Desc *desc,
                   PyTypeObject **out);
/* Takes over the n values; if one is NULL, the answer is NULL. */
PyObject *bpx_record_make(PyTypeObject *type, PyObject *const *values,
                          Py_ssize_t n);
/* New references, NULL with an exception. `phases` is the layout's tuple of
 * names. */
PyObject *bpx_placement_new(bpx_state *st, PyObject *phases,
                            const bp_placement *placement);
PyObject *bpx_region_new(bpx_state *st, const bp_layout *layout,
                         bp_location location, PyObject *all_placements);
PyObject *bpx_entry_new(bpx_state *st, const bp_entry *entry,
                        bp_factory factory, const bp_layout *layout);
PyObject *bpx_child_region_new(bpx_state *st, PyObject *phases, PyObject *name,
                               PyObject *layout, const bp_child_region *child);
PyObject *bpx_hazard_new(bpx_state *st, PyObject *phases,
                         const bp_layout *layout, const bp_hazard *hazard);
/* `inputs`: sizes, first, last, as they were planned. */
PyObject *bpx_plan_new(bpx_state *st, PyObject *offsets,
                       const bp_plan_result *result,
                       PyArrayObject *const inputs[3]);
/* The names of two phases as a pair; None for BP_ALWAYS. */
PyObject *bpx_live_pair(PyObject *phases, uint32_t first, uint32_t last);
PyObject *bpx_shape_tuple(const uint64_t *shape, uint32_t n_dims);
/* [offset, offset + n) bytes as elements of `n_element` bytes; None where they
 * do not divide. */
PyObject *bpx_slice_or_none(uint64_t offset, uint64_t n, uint32_t n_element);

/* ---- layout.c ---------------------------------------------------------- */

typedef struct bpx_layout {
    PyObject_HEAD
    PyObject *module; /* keeps the state alive until the very end */
    bp_layout *core;
    PyObject *placements; /* made at first use, like the next two */
    PyObject *regions[BP_N_REGIONS];
    PyObject *children;
    PyObject *phases;
    PyObject *weaklist;
    Py_hash_t hash; /* -1: not known yet */
    bool is_poisoned;
} bpx_layout;

int bpx_layout_add_type(PyObject *module);
/* The Layout of `core`: the same object as long as one is alive. Takes over the
 * caller's reference, also on failure. A core layout comes from one registry,
 * which says whether it is poisoned (for a new object). */
PyObject *bpx_layout_wrap(PyObject *module, bp_layout *core, bool is_poisoned);
PyObject *bpx_layout_placements(bpx_layout *self);
/* layout_phases.c; new references */
PyObject *bpx_layout_phases(bpx_layout *self);
PyObject *bpx_layout_get_phases(PyObject *self, void *closure);
PyObject *bpx_layout_get_loops(PyObject *self, void *closure);
PyObject *bpx_layout_hazards(PyObject *self, PyObject *const *args,
                             Py_ssize_t n_args, PyObject *kwnames);
PyObject *bpx_unpack_layout(PyObject *module, PyObject *data);
/* layout_table.c */
PyObject *bpx_layout_table(PyObject *self, PyObject *unused);
/* layout_slices.c; the closure is a location */
PyObject *bpx_layout_slices(PyObject *self, void *closure);
PyObject *bpx_layout_local_sizes(PyObject *self, void *closure);

/* ---- bound.c ----------------------------------------------------------- */

int bpx_bound_add_type(PyObject *module);
PyObject *bpx_layout_bind(PyObject *self, PyObject *const *args,
                          Py_ssize_t n_args, PyObject *kwnames);
PyObject *bpx_unpack_bound(PyObject *module, PyObject *data);

/* ---- registry.c -------------------------------------------------------- */

int bpx_registry_add_type(PyObject *module);

/* ---- plan.c, csv.c ----------------------------------------------------- */

PyObject *bpx_plan(PyObject *module, PyObject *const *args, Py_ssize_t n_args,
                   PyObject *kwnames);
PyObject *bpx_live_bytes(PyObject *module, PyObject *const *args,
                         Py_ssize_t n_args, PyObject *kwnames);
PyObject *bpx_read_csv(PyObject *module, PyObject *args);
PyObject *bpx_write_csv(PyObject *module, PyObject *const *args,
                        Py_ssize_t n_args, PyObject *kwnames);
PyObject *bpx_bank_conflicts(PyObject *module, PyObject *const *args,
                             Py_ssize_t n_args, PyObject *kwnames);

#endif
