/* layout_slices.c - the views of a layout that hand-written code uses: slices
 * in elements of the precision, and sizes of local arrays. */
#include "ext/ext.h"

static PyObject *raise_uneven(bpx_state *st, const bp_layout *layout,
                              const bp_placement *placement)
{
    const bp_dtype *precision = bp_layout_get_precision(layout);
    bp_error error = {.status = BP_OK};
    bp_status status = bp_fail(
        &error, BP_UNEVEN,
        "bytes %llu to %llu of '%.80s' do not divide into elements of %u "
        "bytes; use layout['%.40s'].offset and .nbytes",
        (unsigned long long)placement->offset_bytes,
        (unsigned long long)(placement->offset_bytes + placement->n_bytes),
        placement->name, precision->n_bytes, placement->name);
    bp_error_about(&error, bp_layout_get_name(layout), placement->name);
    bp_error_numbers(&error, placement->n_bytes, precision->n_bytes);
    return status == BP_OK ? NULL : bpx_raise(st, &error);
}

static int add_slice(bpx_state *st, const bp_layout *layout,
                     const bp_placement *placement, PyObject *dict)
{
    PyObject *slice =
        bpx_slice_or_none(placement->offset_bytes, placement->n_bytes,
                          bp_layout_get_precision(layout)->n_bytes);
    if (slice == Py_None) {
        Py_SETREF(slice, raise_uneven(st, layout, placement));
    }
    int rc =
        slice == NULL ? -1 : PyDict_SetItemString(dict, placement->name, slice);
    Py_XDECREF(slice);
    return rc;
}

/* A layout without children still answers for an unnamed child. */
static const bp_placement *find_hidden(const bp_layout *layout,
                                       bp_location location)
{
    const bp_placement *p = bp_layout_find(
        layout,
        location == BP_SHARED ? "child_shared" : "child_persistent_local");
    return p != NULL && p->location == location ? p : NULL;
}

PyObject *bpx_layout_slices(PyObject *object, void *closure)
{
    bpx_layout *self = (bpx_layout *)object;
    bpx_state *st = bpx_state_of(self->module);
    bp_location location = (bp_location)(uintptr_t)closure;
    PyObject *dict = PyDict_New();
    size_t n = bp_layout_n_placements(self->core);
    for (size_t i = 0; dict != NULL && i < n; i++) {
        const bp_placement *p = bp_layout_get_placement(self->core, i);
        if (p->location == location && add_slice(st, self->core, p, dict) < 0) {
            Py_CLEAR(dict);
        }
    }
    const bp_placement *hidden = find_hidden(self->core, location);
    if (dict != NULL && hidden != NULL &&
        add_slice(st, self->core, hidden, dict) < 0) {
        Py_CLEAR(dict);
    }
    return dict;
}

PyObject *bpx_layout_local_sizes(PyObject *object, void *Py_UNUSED(closure))
{
    bpx_layout *self = (bpx_layout *)object;
    PyObject *dict = PyDict_New();
    size_t n = bp_layout_n_placements(self->core);
    for (size_t i = 0; dict != NULL && i < n; i++) {
        const bp_placement *p = bp_layout_get_placement(self->core, i);
        if (p->location != BP_LOCAL) {
            continue;
        }
        PyObject *size = PyLong_FromUnsignedLongLong(p->n_items);
        if (size == NULL || PyDict_SetItemString(dict, p->name, size) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(size);
    }
    return dict;
}
