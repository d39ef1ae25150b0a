/* budget_read.c - Budget: what it tells. */
#include "ext/device.h"

#include <string.h>

/* ---- figures ----------------------------------------------------------- */

typedef enum figure {
    LIMIT,
    USED,
    RESERVED,
    RETIRING,
    CACHED,
    AVAILABLE,
    OVER,
    PEAK
} figure;

static uint64_t figure_of(const bp_budget_stats *s, figure which)
{
    switch (which) {
    case LIMIT:
        return s->limit;
    case USED:
        return s->used;
    case RESERVED:
        return s->reserved;
    case RETIRING:
        return s->retiring;
    case CACHED:
        return s->cached;
    case AVAILABLE:
        return s->available;
    case OVER:
        return s->over;
    case PEAK:
        break;
    }
    return s->peak;
}

/* Settled and coherent; false with an exception. */
static bool read_stats(bpx_budget *self, bp_budget_stats *out)
{
    bp_error error;
    bpx_tree_before(self->tree);
    if (bp_budget_get_stats(self->tree->core, self->handle, out, &error) !=
        BP_OK) {
        bpx_raise(bpx_budget_state(self), &error);
        return false;
    }
    return true;
}

static PyObject *get_figure(PyObject *object, void *closure)
{
    bpx_budget *self = (bpx_budget *)object;
    bp_budget_stats stats;
    PyObject *result = NULL;
    if (read_stats(self, &stats)) {
        figure which = (figure)(intptr_t)closure;
        result = PyLong_FromUnsignedLongLong(figure_of(&stats, which));
    }
    return bpx_tree_after(self->tree, result);
}

static PyObject *get_pressure(PyObject *object, void *Py_UNUSED(closure))
{
    bpx_budget *self = (bpx_budget *)object;
    bp_budget_stats stats;
    PyObject *result =
        read_stats(self, &stats)
            ? bpx_pressure_new(bpx_budget_state(self), stats.pressure)
            : NULL;
    return bpx_tree_after(self->tree, result);
}

static PyObject *get_levels(PyObject *object, void *Py_UNUSED(closure))
{
    bpx_budget *self = (bpx_budget *)object;
    bp_budget_stats stats;
    PyObject *result = NULL;
    if (read_stats(self, &stats)) {
        const uint8_t *p = stats.levels.percent;
        result = Py_BuildValue("(iii)", p[0], p[1], p[2]);
    }
    return bpx_tree_after(self->tree, result);
}

static PyObject *get_name(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((bpx_budget *)self)->name);
}

static PyObject *get_parent(PyObject *self, void *Py_UNUSED(closure))
{
    bpx_budget *parent = ((bpx_budget *)self)->parent;
    return Py_NewRef(parent == NULL ? Py_None : (PyObject *)parent);
}

static PyObject *get_granularity(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(((bpx_budget *)self)->granularity);
}

static PyObject *get_evictions(PyObject *self, void *Py_UNUSED(closure))
{
    return bpx_log_of_tree(((bpx_budget *)self)->tree);
}

#define FIGURE(name, which, doc)                                               \
    {name, get_figure, NULL, doc, (void *)(intptr_t)(which)}

PyGetSetDef bpx_budget_getset[] = {
    FIGURE("limit", LIMIT, "Bytes the budget may grant."),
    FIGURE("used", USED, "Bytes resident."),
    FIGURE("reserved", RESERVED, "Bytes promised."),
    FIGURE("retiring", RETIRING,
           "Bytes evicted which the device may still use."),
    FIGURE("cached", CACHED, "Bytes idle in pools; inside `available`."),
    FIGURE("available", AVAILABLE,
           "max(0, limit - used - reserved - retiring), in bytes."),
    FIGURE("over", OVER, "Bytes in use beyond a limit that was lowered."),
    FIGURE("peak", PEAK, "Most bytes ever in use."),
    {"pressure", get_pressure, NULL, "MemoryPressure of the bytes in use.",
     NULL},
    {"levels", get_levels, NULL,
     "Percents at which MEDIUM, HIGH and CRITICAL begin.", NULL},
    {"name", get_name, NULL, "Its name, or None.", NULL},
    {"parent", get_parent, NULL, "Budget whose bytes these are too, or None.",
     NULL},
    {"granularity", get_granularity, NULL,
     "Every request is rounded up to a multiple of it, in bytes.", NULL},
    {"evictions", get_evictions, NULL,
     "EvictionLog of the budget, its parents and its children.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

/* ---- records ----------------------------------------------------------- */

static PyObject *tag_bytes(bpx_budget *self, const char *tag)
{
    uint64_t n_bytes;
    bp_error error;
    if (bp_budget_get_tag(self->tree->core, self->handle, tag, &n_bytes,
                          &error) != BP_OK) {
        return bpx_raise(bpx_budget_state(self), &error);
    }
    return PyLong_FromUnsignedLongLong(n_bytes);
}

PyObject *bpx_budget_stats(PyObject *object, PyObject *const *args,
                           Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {"stats", 1, 1, 0, {BPX_tag}};
    bpx_budget *self = (bpx_budget *)object;
    bpx_state *st = bpx_budget_state(self);
    PyObject *given[1];
    const char *tag = NULL;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    if (given[0] != NULL && given[0] != Py_None &&
        bpx_to_text(st, given[0], "a tag", BP_BAD_NAME, &tag) < 0) {
        return NULL;
    }
    bp_budget_stats stats;
    PyObject *result = NULL;
    if (read_stats(self, &stats)) {
        result = tag != NULL ? tag_bytes(self, tag)
                             : bpx_budget_stats_new(st, &stats);
    }
    return bpx_tree_after(self->tree, result);
}

/* 1: the i-th tag is in the dict; 0: there is none; -1 with an exception. */
static int add_tag(bpx_budget *self, uint32_t i, PyObject *dict)
{
    char name[BP_MAX_NAME + 1];
    uint64_t n_bytes;
    bp_error error;
    bp_status status = bp_budget_tag_at(self->tree->core, self->handle, i, name,
                                        &n_bytes, &error);
    if (status == BP_UNKNOWN_KEY) {
        return 0;
    }
    if (status != BP_OK) {
        bpx_raise(bpx_budget_state(self), &error);
        return -1;
    }
    PyObject *value = PyLong_FromUnsignedLongLong(n_bytes);
    int rc = value == NULL ? -1 : PyDict_SetItemString(dict, name, value);
    Py_XDECREF(value);
    return rc < 0 ? -1 : 1;
}

PyObject *bpx_budget_tags(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_budget *self = (bpx_budget *)object;
    bpx_tree_before(self->tree);
    PyObject *dict = PyDict_New();
    int rc = dict == NULL ? -1 : 1;
    for (uint32_t i = 0; rc > 0; i++) {
        rc = add_tag(self, i, dict);
    }
    if (rc < 0) {
        Py_CLEAR(dict);
    }
    return bpx_tree_after(self->tree, dict);
}

/* ---- history ----------------------------------------------------------- */

static PyArray_Descr *history_descr(void)
{
    static const char *const names[] = {"when", "used", "reserved", "retiring",
                                        "limit"};
    PyObject *spec = PyList_New(0);
    for (size_t i = 0; spec != NULL && i < sizeof names / sizeof *names; i++) {
        PyObject *field = Py_BuildValue("(ss)", names[i], "u8");
        if (field == NULL || PyList_Append(spec, field) < 0) {
            Py_CLEAR(spec);
        }
        Py_XDECREF(field);
    }
    PyArray_Descr *descr = NULL;
    if (spec != NULL && PyArray_DescrConverter(spec, &descr) != NPY_SUCCEED) {
        descr = NULL;
    }
    Py_XDECREF(spec);
    return descr;
}

_Static_assert(sizeof(bp_history_point) == 5 * sizeof(uint64_t),
               "a point is a row of the array");

/* Takes over `descr` (nullable). */
static PyObject *history_array(PyArray_Descr *descr,
                               const bp_history_point *points, size_t n)
{
    npy_intp n_rows = (npy_intp)n;
    PyObject *array =
        descr == NULL ? NULL : PyArray_Zeros(1, &n_rows, descr, 0);
    if (array != NULL && n > 0) {
        memcpy(PyArray_DATA((PyArrayObject *)array), points,
               n * sizeof *points);
    }
    return array;
}

PyObject *bpx_budget_history(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_budget *self = (bpx_budget *)object;
    bp_budget_stats stats;
    bp_history_point *points =
        PyMem_Calloc(BP_DEFAULT_N_HISTORY, sizeof *points);
    if (points == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *result = NULL;
    if (read_stats(self, &stats)) { /* a forked child raises */
        size_t n = bp_budget_copy_history(self->tree->core, self->handle,
                                          points, BP_DEFAULT_N_HISTORY);
        result = history_array(history_descr(), points, n);
    }
    PyMem_Free(points);
    return bpx_tree_after(self->tree, result);
}

/* ---- the device, and the whole tree -------------------------------------- */

PyObject *bpx_budget_observe(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_budget *self = (bpx_budget *)object;
    bp_observation seen;
    bp_error error;
    bp_status status;
    bpx_tree_before(self->tree);
    Py_BEGIN_ALLOW_THREADS
    status = bp_budget_observe(self->tree->core, self->handle, &seen, &error);
    Py_END_ALLOW_THREADS
    bpx_state *st = bpx_budget_state(self);
    PyObject *result = status == BP_OK ? bpx_observation_new(st, &seen)
                                       : bpx_raise(st, &error);
    return bpx_tree_after(self->tree, result);
}

PyObject *bpx_budget_check(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_budget *self = (bpx_budget *)object;
    bp_error error;
    bpx_tree_before(self->tree);
    PyObject *result = bp_tree_check(self->tree->core, &error) == BP_OK
                           ? Py_NewRef(Py_None)
                           : bpx_raise(bpx_budget_state(self), &error);
    return bpx_tree_after(self->tree, result);
}

PyObject *bpx_budget_dump(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_budget *self = (bpx_budget *)object;
    bp_tree *core = self->tree->core;
    char *text;
    bp_error error;
    bpx_tree_before(self->tree);
    if (bp_tree_dump(core, &text, &error) != BP_OK) {
        return bpx_tree_after(self->tree,
                              bpx_raise(bpx_budget_state(self), &error));
    }
    size_t n = strlen(text);
    PyObject *result = PyUnicode_DecodeUTF8(text, (Py_ssize_t)n, "replace");
    bp_allocator alloc = bp_tree_get_allocator(core);
    alloc.free(alloc.ctx, text, n + 1);
    return bpx_tree_after(self->tree, result);
}
