/* slots_use.c - SlotManager: touch, use, prefetch. */
#include "ext/slots.h"

/* Beside the look-up, the clock's increment and one store: nothing here settles
 * and nothing locks. */
PyObject *bpx_slots_touch(PyObject *object, PyObject *name)
{
    bpx_slots *self = (bpx_slots *)object;
    bpx_cell *cell = bpx_slots_find(self, name);
    if (cell == NULL) {
        return NULL;
    }
    bp_stamp_touch(bpx_slots_tree(self)->core, cell->stamp);
    Py_DECREF(cell);
    Py_RETURN_NONE;
}

enum { ARG_NAME, ARG_STREAM, ARG_WRITE, ARG_TIMEOUT, N_ARGS };

/* The Slot of a name, a new reference, or NULL with an exception. */
static bpx_slot *slot_named(bpx_slots *self, PyObject *name)
{
    bpx_cell *cell = bpx_slots_find(self, name);
    bpx_slot *slot = cell == NULL ? NULL : bpx_slot_of(self, cell);
    Py_XDECREF(cell);
    return slot;
}

PyObject *bpx_slots_use(PyObject *object, PyObject *const *args,
                        Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "use", N_ARGS, 3, 1, {BPX_name, BPX_stream, BPX_write, BPX_timeout}};
    bpx_slots *self = (bpx_slots *)object;
    bpx_state *st = bpx_slots_state(self);
    PyObject *given[N_ARGS];
    bp_stream stream;
    bool is_writing = true;
    bpx_wait wait; /* only to be told now that a timeout is none */
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        bpx_to_stream(st, given[ARG_STREAM], self->backend_core, &stream) < 0 ||
        (given[ARG_WRITE] != NULL &&
         bpx_to_bool(st, given[ARG_WRITE], "write", &is_writing) < 0) ||
        bpx_wait_init(st, &wait, given[ARG_TIMEOUT]) < 0) {
        return NULL;
    }
    bpx_slot *slot = slot_named(self, given[ARG_NAME]);
    PyObject *use = slot == NULL ? NULL
                                 : bpx_slot_use_new(slot, stream, is_writing,
                                                    given[ARG_TIMEOUT]);
    Py_XDECREF(slot);
    return use;
}

/* A use that is over at once. */
PyObject *bpx_slots_prefetch(PyObject *object, PyObject *const *args,
                             Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "prefetch", 2, 2, 1, {BPX_name, BPX_stream}};
    bpx_slots *self = (bpx_slots *)object;
    PyObject *given[2];
    bp_stream stream;
    if (bpx_parse(bpx_slots_state(self), &signature, args, n_args, kwnames,
                  given) < 0 ||
        bpx_to_stream(bpx_slots_state(self), given[ARG_STREAM],
                      self->backend_core, &stream) < 0) {
        return NULL;
    }
    bpx_slot *slot = slot_named(self, given[ARG_NAME]);
    if (slot == NULL) {
        return NULL;
    }
    PyObject *result = NULL;
    if (bpx_slot_begin(slot, BP_READS, NULL) == 0) {
        bpx_slot_end(slot, stream == BP_NO_STREAM ? BP_HOST_ONLY : stream);
        result = Py_NewRef(Py_None);
    }
    Py_DECREF(slot);
    return bpx_tree_after(bpx_slots_tree(self), result);
}
