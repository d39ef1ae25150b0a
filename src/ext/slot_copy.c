/* slot_copy.c - Slot: bytes between arrays and the slot. */
#include "ext/slots.h"

/* ---- arrays -------------------------------------------------------------- */

/* Elements that are references to objects mean nothing on a device. */
static int refuse_references(bpx_state *st, PyArrayObject *array)
{
    if (!PyDataType_REFCHK(PyArray_DESCR(array))) {
        return 0;
    }
    bpx_given given;
    bpx_describe((PyObject *)PyArray_DESCR(array), &given);
    bpx_raise_as(st, BP_BAD_DTYPE,
                 "a slot holds plain bytes, not elements of %s", given.text);
    return -1;
}

static int refuse_size(const bpx_slot *self, uint64_t n_bytes, const char *what)
{
    uint64_t room = self->cell->n_bytes;
    if (n_bytes <= room) {
        return 0;
    }
    bp_error error = {.status = BP_OK};
    bp_status status = bp_fail(
        &error, BP_BAD_SIZE, "%s has %llu bytes, and slot '%.80s' has %llu",
        what, (unsigned long long)n_bytes, bpx_cell_text(self->cell),
        (unsigned long long)room);
    bp_error_about(&error, "", bpx_cell_text(self->cell));
    bp_error_numbers(&error, n_bytes, room);
    if (status != BP_OK) {
        bpx_raise(bpx_state_of(self->module), &error);
    }
    return -1;
}

/* What numpy.ascontiguousarray() makes of it, if it fits; an array that does
 * not is never copied. */
static PyArrayObject *to_source(bpx_slot *self, PyObject *object)
{
    PyArrayObject *array =
        (PyArrayObject *)PyArray_FromAny(object, NULL, 0, 0, 0, NULL);
    if (array == NULL) {
        return NULL;
    }
    PyArrayObject *source = NULL;
    if (refuse_references(bpx_state_of(self->module), array) == 0 &&
        refuse_size(self, (uint64_t)PyArray_NBYTES(array), "the array") == 0) {
        source = (PyArrayObject *)PyArray_FromArray(array, NULL,
                                                    NPY_ARRAY_C_CONTIGUOUS);
    }
    Py_DECREF(array);
    return source;
}

static PyArrayObject *new_target(const bpx_slot *self)
{
    npy_intp n = (npy_intp)self->cell->n_bytes;
    return (PyArrayObject *)PyArray_SimpleNew(1, &n, NPY_UINT8);
}

/* `object` itself, or a contiguous array that is copied back at the end. */
static PyArrayObject *to_target(bpx_slot *self, PyObject *object)
{
    bpx_state *st = bpx_state_of(self->module);
    bpx_given given;
    if (!PyArray_Check(object)) {
        bpx_describe(object, &given);
        PyErr_Format(PyExc_TypeError, "out must be a numpy.ndarray, not %s",
                     given.text);
        return NULL;
    }
    PyArrayObject *array = (PyArrayObject *)object;
    if (!PyArray_ISWRITEABLE(array)) {
        bpx_raise_as(st, BP_BAD_VALUE, "out is read-only");
        return NULL;
    }
    if (refuse_references(st, array) < 0 ||
        refuse_size(self, (uint64_t)PyArray_NBYTES(array), "out") < 0) {
        return NULL;
    }
    return (PyArrayObject *)PyArray_FromArray(array, NULL,
                                              NPY_ARRAY_C_CONTIGUOUS |
                                                  NPY_ARRAY_WRITEABLE |
                                                  NPY_ARRAY_WRITEBACKIFCOPY);
}

/* ---- copies -------------------------------------------------------------- */

typedef struct copy {
    bpx_slot *slot;
    void *host;
    uint64_t n_bytes;
    bool is_out;
    bp_status status;
    bp_error error;
} copy;

/* The bytes move without the GIL; the slot has to be in use, being filled, or
 * evicted with a copy (is_out). Sets status and error. */
static void move(copy *c)
{
    bp_tree *tree = bpx_slots_tree(c->slot->manager)->core;
    bp_slot handle = c->slot->cell->handle;
    c->error = (bp_error){.status = BP_OK};
    bpx_slots_hold(c->slot->manager);
    Py_BEGIN_ALLOW_THREADS
    c->status =
        c->is_out
            ? bp_slot_copy_out(tree, handle, 0, c->host, c->n_bytes, &c->error)
            : bp_slot_copy_in(tree, handle, 0, c->host, c->n_bytes, &c->error);
    Py_END_ALLOW_THREADS
    bpx_slots_unhold(c->slot->manager);
}

/* All of its bytes at once need none of the old ones. */
static int move_in_use(copy *c)
{
    bp_intent intent = c->is_out                              ? BP_READS
                       : c->n_bytes == c->slot->cell->n_bytes ? BP_OVERWRITES
                                                              : BP_WRITES;
    if (bpx_slot_begin(c->slot, intent, NULL) < 0) {
        return -1;
    }
    move(c);
    bpx_slot_end(c->slot, BP_HOST_ONLY);
    return 0;
}

/* Into a slot that is being filled, or out of one that is evicted, as it is;
 * else in a use of our own. 0, or -1 with an exception. */
static int run(copy *c)
{
    bpx_slots *manager = c->slot->manager;
    if (bpx_slots_check(manager) < 0) {
        return -1;
    }
    if (c->n_bytes == 0) {
        return 0;
    }
    bpx_tree_before(bpx_slots_tree(manager));
    bool is_direct = bpx_slot_is_filled_here(c->slot) ||
                     (c->is_out && c->slot->cell->n_loading == 0);
    if (is_direct) {
        move(c);
    }
    if (!is_direct || c->status == BP_BUSY || c->status == BP_CONTENTS_LOST) {
        if (move_in_use(c) < 0) {
            return -1;
        }
    }
    if (c->status != BP_OK) {
        bpx_slot_raise(c->slot, &c->error);
        return -1;
    }
    return 0;
}

PyObject *bpx_slot_copy_from(PyObject *object, PyObject *const *args,
                             Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {"copy_from", 1, 1, 1, {BPX_array}};
    bpx_slot *self = (bpx_slot *)object;
    PyObject *given[1];
    if (bpx_parse(bpx_state_of(self->module), &signature, args, n_args, kwnames,
                  given) < 0) {
        return NULL;
    }
    PyArrayObject *array = to_source(self, given[0]);
    if (array == NULL) {
        return NULL;
    }
    copy c = {.slot = self,
              .host = PyArray_DATA(array),
              .n_bytes = (uint64_t)PyArray_NBYTES(array)};
    PyObject *result = run(&c) < 0 ? NULL : Py_NewRef(Py_None);
    Py_DECREF(array);
    return bpx_tree_after(bpx_slots_tree(self->manager), result);
}

/* `array` is filled if rc is 0. Gives up our reference. */
static PyObject *finish_target(PyArrayObject *array, PyObject *out, int rc)
{
    if (rc < 0) {
        PyArray_DiscardWritebackIfCopy(array);
        Py_DECREF(array);
        return NULL;
    }
    if (out == NULL) {
        return (PyObject *)array;
    }
    rc = PyArray_ResolveWritebackIfCopy(array);
    Py_DECREF(array);
    return rc < 0 ? NULL : Py_NewRef(out);
}

PyObject *bpx_slot_copy_to(PyObject *object, PyObject *const *args,
                           Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {"copy_to", 1, 1, 0, {BPX_out}};
    bpx_slot *self = (bpx_slot *)object;
    PyObject *given[1];
    if (bpx_parse(bpx_state_of(self->module), &signature, args, n_args, kwnames,
                  given) < 0 ||
        bpx_slots_check(self->manager) < 0) {
        return NULL;
    }
    PyObject *out = given[0] == Py_None ? NULL : given[0];
    PyArrayObject *array =
        out == NULL ? new_target(self) : to_target(self, out);
    if (array == NULL) {
        return NULL;
    }
    copy c = {.slot = self,
              .host = PyArray_DATA(array),
              .n_bytes = (uint64_t)PyArray_NBYTES(array),
              .is_out = true};
    PyObject *result = finish_target(array, out, run(&c));
    return bpx_tree_after(bpx_slots_tree(self->manager), result);
}
