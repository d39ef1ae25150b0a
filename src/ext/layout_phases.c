/* layout_phases.c - Layout: phases, loops, and the hazards between buffers. */
#include "ext/ext.h"

/* ---- phases and loops -------------------------------------------------- */

PyObject *bpx_layout_phases(bpx_layout *self)
{
    if (self->phases != NULL) {
        return Py_NewRef(self->phases);
    }
    size_t n = bp_layout_n_phases(self->core);
    PyObject *tuple = PyTuple_New((Py_ssize_t)n);
    for (size_t i = 0; tuple != NULL && i < n; i++) {
        PyObject *name =
            PyUnicode_FromString(bp_layout_phase_name(self->core, i));
        if (name == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, name);
    }
    if (tuple != NULL && self->phases == NULL) {
        self->phases = Py_NewRef(tuple);
    }
    return tuple;
}

PyObject *bpx_layout_get_phases(PyObject *self, void *Py_UNUSED(closure))
{
    return bpx_layout_phases((bpx_layout *)self);
}

PyObject *bpx_layout_get_loops(PyObject *object, void *Py_UNUSED(closure))
{
    bpx_layout *self = (bpx_layout *)object;
    PyObject *phases = bpx_layout_phases(self);
    size_t n = bp_layout_n_loops(self->core);
    PyObject *tuple = phases == NULL ? NULL : PyTuple_New((Py_ssize_t)n);
    for (size_t i = 0; tuple != NULL && i < n; i++) {
        bp_loop loop = bp_layout_get_loop(self->core, i);
        PyObject *pair = bpx_live_pair(phases, loop.first, loop.last);
        if (pair == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, pair);
    }
    Py_XDECREF(phases);
    return tuple;
}

/* ---- hazards ----------------------------------------------------------- */

static PyObject *hazards_tuple(bpx_layout *self, const bp_hazard *hazards,
                               size_t n)
{
    bpx_state *st = bpx_state_of(self->module);
    PyObject *phases = bpx_layout_phases(self);
    PyObject *tuple = phases == NULL ? NULL : PyTuple_New((Py_ssize_t)n);
    for (size_t i = 0; tuple != NULL && i < n; i++) {
        PyObject *hazard = bpx_hazard_new(st, phases, self->core, &hazards[i]);
        if (hazard == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, hazard);
    }
    Py_XDECREF(phases);
    return tuple;
}

PyObject *bpx_layout_hazards(PyObject *object, PyObject *const *args,
                             Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "hazards", 1, 1, 0, {BPX_lanes_per_run}};
    bpx_layout *self = (bpx_layout *)object;
    bpx_state *st = bpx_state_of(self->module);
    PyObject *given[1];
    uint64_t lanes = 1;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        (given[0] != NULL && bpx_to_uint64(st, given[0], "lanes_per_run",
                                           BP_BAD_VALUE, &lanes) < 0)) {
        return NULL;
    }
    if (!bp_is_power_of_two(lanes) || lanes > BP_WARP_LANES) {
        return bpx_raise_as(st, BP_BAD_VALUE,
                            "lanes_per_run must be a power of two up to %u, "
                            "not %llu",
                            BP_WARP_LANES, (unsigned long long)lanes);
    }
    bp_hazard *hazards = NULL;
    size_t n = 0;
    bp_error error = {.status = BP_OK};
    if (bp_layout_hazards(self->core, (uint32_t)lanes, &hazards, &n, &error) !=
        BP_OK) {
        return bpx_raise(st, &error);
    }
    PyObject *tuple = hazards_tuple(self, hazards, n);
    bp_layout_hazards_free(self->core, hazards, n);
    return tuple;
}
