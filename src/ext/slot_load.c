/* slot_load.c - Slot: uses, and the functions that fill slots.
 *
 * The core hands a slot with such a function out RESTORING; the function runs
 * without a lock and says by raising that it could not.
 */
#include "ext/slots.h"

/* Its manager was collected together with the function. Always NULL. */
static PyObject *raise_no_function(const bpx_slot *self)
{
    return bpx_raise_as(bpx_state_of(self->module), BP_CONTENTS_LOST,
                        "slot '%.80s' has lost the function that fills it",
                        bpx_cell_text(self->cell));
}

bool bpx_slot_is_filled_here(const bpx_slot *self)
{
    return self->cell->n_loading > 0 &&
           self->cell->loader == PyThread_get_thread_ident();
}

PyObject *bpx_slot_raise(const bpx_slot *self, const bp_error *error)
{
    bpx_state *st = bpx_state_of(self->module);
    if (error->status != BP_STALE) {
        return bpx_raise(st, error);
    }
    const char *name = bpx_cell_text(self->cell);
    bp_error stale = {.status = BP_OK};
    bp_status status =
        bp_fail(&stale, BP_STALE, "slot '%.80s' is gone: %s", name,
                self->manager->is_closed ? "its manager is closed"
                                         : "deallocated, or replaced");
    bp_error_about(&stale, "", name);
    return status == BP_OK ? NULL : bpx_raise(st, &stale);
}

/* `answer` is what the function returned. */
static int end_filling(bpx_slot *self, PyObject *answer)
{
    bp_tree *tree = bpx_slots_tree(self->manager)->core;
    PyObject *exception = answer == NULL ? bpx_exception_take() : NULL;
    bp_error error = {.status = BP_OK};
    bp_status status;
    Py_BEGIN_ALLOW_THREADS
    status = bp_slot_loaded(tree, self->cell->handle, answer != NULL, &error);
    Py_END_ALLOW_THREADS
    if (exception != NULL) {
        bpx_exception_give(exception);
        return -1;
    }
    if (status != BP_OK) {
        bpx_slot_raise(self, &error);
        return -1;
    }
    return 0;
}

int bpx_slot_fill(bpx_slot *self)
{
    bpx_cell *cell = self->cell;
    PyObject *load = Py_XNewRef(cell->load);
    unsigned long loader = cell->loader;
    cell->loader = PyThread_get_thread_ident();
    cell->n_loading++;
    PyObject *answer = load == NULL
                           ? raise_no_function(self)
                           : PyObject_CallOneArg(load, (PyObject *)self);
    cell->n_loading--;
    cell->loader = loader;
    int rc = end_filling(self, answer);
    Py_XDECREF(answer);
    Py_XDECREF(load);
    return rc;
}

/* Bytes it needs to be on the device: none where it is there already. */
static uint64_t bytes_needed(const bpx_slot *self)
{
    bp_slot_info info;
    const bpx_tree *tree = bpx_slots_tree(self->manager);
    return tree->ranked == NULL || /* nobody will ask */
                   bp_slot_get_info(tree->core, self->cell->handle, &info,
                                    NULL) != BP_OK ||
                   info.state == BP_SLOT_RESIDENT
               ? 0
               : info.n_charged;
}

int bpx_slot_begin(bpx_slot *self, bp_intent intent, PyObject *timeout)
{
    bpx_call call;
    bool needs_load = false;
    if (bpx_call_init(&call, self->manager, bytes_needed(self), timeout) < 0) {
        return -1;
    }
    bpx_slots_hold(self->manager);
    bpx_call_begin(&call);
    bp_status status = bp_slot_use_begin(call.tree, self->cell->handle, intent,
                                         &call.wait.core, &needs_load,
                                         &call.shortage, &call.error);
    bpx_call_end(&call);
    if (status == BP_STALE) {
        bpx_slot_raise(self, &call.error);
    } else if (status != BP_OK) {
        bpx_call_raise(&call);
    } else if (!needs_load || bpx_slot_fill(self) == 0) {
        return 0;
    }
    bpx_slots_unhold(self->manager);
    return -1;
}

void bpx_slot_end(bpx_slot *self, bp_stream stream)
{
    bp_tree *tree = bpx_slots_tree(self->manager)->core;
    bp_slot handle = self->cell->handle;
    Py_BEGIN_ALLOW_THREADS
    bp_slot_use_end(tree, handle, stream);
    Py_END_ALLOW_THREADS
    bpx_slots_unhold(self->manager);
}
