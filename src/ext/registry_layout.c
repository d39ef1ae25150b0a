/* registry_layout.c - BufferRegistry: layouts and sizes.
 *
 * The one place that gives up the GIL: while a large job plans, and then no
 * lock of ours is held. Beginning and committing a job, which take the
 * registry's lock, happen under the GIL, so a fork can never copy a held lock.
 */
#include "ext/registry.h"

/* Jobs of more factories than this run without the GIL. Below it, planning is
 * shorter than handing the GIL to another thread and back. */
enum { N_PLAN_UNDER_GIL = 8 };

static bp_layout *run_job(bpx_registry *self, bp_layout_job *job)
{
    bp_error error = {.status = BP_OK};
    bp_layout *layout = NULL;
    bp_status status;
    if (bp_layout_job_size(job) > N_PLAN_UNDER_GIL) {
        Py_BEGIN_ALLOW_THREADS
        status = bp_layout_job_run(job, &error);
        Py_END_ALLOW_THREADS
    } else {
        status = bp_layout_job_run(job, &error);
    }
    if (status == BP_OK) {
        bp_layout_job_commit(job, &layout);
    } else {
        bpx_raise(bpx_registry_state(self), &error);
    }
    bp_layout_job_free(job);
    return layout;
}

static bp_layout *copy_known(bpx_registry *self, bp_factory factory)
{
    bp_layout *layout = NULL;
    bp_layout_job *job = NULL;
    bp_error error = {.status = BP_OK};
    bp_status status =
        bp_registry_copy_current(self->core, factory, &layout, &error);
    if (status == BP_OK && layout != NULL) {
        return layout;
    }
    if (status == BP_OK) {
        status = bp_layout_job_begin(self->core, factory, &job, &error);
    }
    if (status != BP_OK) {
        bpx_raise(bpx_registry_state(self), &error);
        return NULL;
    }
    return run_job(self, job);
}

static bp_layout *new_empty(bpx_registry *self, PyObject *factory)
{
    bpx_state *st = bpx_registry_state(self);
    const bpx_dtype *precision = bpx_precision_of(st, factory);
    if (precision == NULL) {
        return NULL;
    }
    bp_layout *layout = NULL;
    bp_error error = {.status = BP_OK};
    bp_allocator alloc = bp_allocator_default();
    if (bp_layout_new_empty(&precision->core, &alloc, &layout, &error) !=
        BP_OK) {
        bpx_raise(st, &error);
    }
    return layout;
}

bp_layout *bpx_registry_copy_layout(bpx_registry *self, PyObject *factory)
{
    bpx_owner *owner = bpx_owner_find(self, factory);
    return owner == NULL ? new_empty(self, factory)
                         : copy_known(self, owner->factory);
}

/* ---- build_layout ------------------------------------------------------ */

/* Remember the Layout handed out, so that it and its caches live on. */
static void remember(bpx_registry *self, PyObject *factory, PyObject *layout)
{
    bpx_owner *owner = bpx_owner_find(self, factory);
    if (owner != NULL) {
        PyObject *old = owner->layout;
        owner->layout = Py_NewRef(layout);
        Py_XDECREF(old); /* may run code of the user: the record is done */
    }
}

PyObject *bpx_registry_build_layout(PyObject *object, PyObject *const *args,
                                    Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "build_layout", 1, 1, 1, {BPX_factory}};
    bpx_registry *self = (bpx_registry *)object;
    PyObject *given[1];
    if (bpx_parse(bpx_registry_state(self), &signature, args, n_args, kwnames,
                  given) < 0) {
        return NULL;
    }
    bp_layout *core = bpx_registry_copy_layout(self, given[0]);
    if (core == NULL) {
        return NULL;
    }
    bpx_owner *owner = bpx_owner_find(self, given[0]);
    if (owner != NULL && owner->layout != NULL &&
        ((bpx_layout *)owner->layout)->core == core) {
        PyObject *known = Py_NewRef(owner->layout);
        bp_layout_unref(core);
        return known;
    }
    PyObject *layout = bpx_layout_wrap(self->module, core, self->is_poisoned);
    if (layout != NULL) {
        remember(self, given[0], layout);
    }
    return layout;
}

PyObject *bpx_registry_invalidate_layout(PyObject *self, PyObject *const *args,
                                         Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_factory_call call = {
        {"invalidate_layout", 1, 1, 1, {BPX_factory}},
        bp_registry_invalidate,
        false};
    return bpx_registry_call(self, &call, args, n_args, kwnames);
}

/* ---- sizes ------------------------------------------------------------- */

/* Bytes of one region, or elements of the factory's precision, rounded up. */
static PyObject *region_size(bpx_registry *self, PyObject *factory,
                             bp_location location, bool in_elements)
{
    bp_layout *layout = bpx_registry_copy_layout(self, factory);
    if (layout == NULL) {
        return NULL;
    }
    uint64_t size = bp_layout_get_region(layout, location)->n_bytes;
    if (in_elements) {
        uint64_t n_element = bp_layout_get_precision(layout)->n_bytes;
        size = size / n_element + (size % n_element != 0);
    }
    bp_layout_unref(layout);
    return PyLong_FromUnsignedLongLong(size);
}

static PyObject *aggregate(PyObject *object, const bpx_signature *signature,
                           PyObject *const *args, Py_ssize_t n_args,
                           PyObject *kwnames, bool in_elements)
{
    bpx_registry *self = (bpx_registry *)object;
    bpx_state *st = bpx_registry_state(self);
    PyObject *given[2];
    bp_location location;
    if (bpx_parse(st, signature, args, n_args, kwnames, given) < 0 ||
        bpx_to_region(st, given[1], &location) < 0) {
        return NULL;
    }
    if (bpx_owner_find(self, given[0]) == NULL) {
        return PyLong_FromLong(0);
    }
    return region_size(self, given[0], location, in_elements);
}

PyObject *bpx_registry_aggregate_size(PyObject *self, PyObject *const *args,
                                      Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "get_aggregate_size", 2, 2, 2, {BPX_factory, BPX_location}};
    return aggregate(self, &signature, args, n_args, kwnames, true);
}

PyObject *bpx_registry_aggregate_bytes(PyObject *self, PyObject *const *args,
                                       Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "get_aggregate_bytes", 2, 2, 2, {BPX_factory, BPX_location}};
    return aggregate(self, &signature, args, n_args, kwnames, false);
}

PyObject *bpx_registry_child_aggregate_size(PyObject *self,
                                            PyObject *const *args,
                                            Py_ssize_t n_args,
                                            PyObject *kwnames)
{
    static const bpx_signature signature = {
        "get_child_aggregate_size", 2, 2, 2, {BPX_child, BPX_location}};
    return aggregate(self, &signature, args, n_args, kwnames, true);
}

PyObject *bpx_registry_child_aggregate_bytes(PyObject *self,
                                             PyObject *const *args,
                                             Py_ssize_t n_args,
                                             PyObject *kwnames)
{
    static const bpx_signature signature = {
        "get_child_aggregate_bytes", 2, 2, 2, {BPX_child, BPX_location}};
    return aggregate(self, &signature, args, n_args, kwnames, false);
}
