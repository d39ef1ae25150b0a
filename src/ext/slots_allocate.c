/* slots_allocate.c - SlotManager: slots come and go. */
#include "ext/slots.h"

#include <limits.h>

/* ---- arguments ----------------------------------------------------------- */

enum {
    ARG_NAME,
    ARG_NBYTES,
    ARG_PIN,
    ARG_PRIORITY,
    ARG_KEEP,
    ARG_LOAD,
    ARG_REPLACE,
    ARG_RESERVATION,
    ARG_KIND,
    ARG_TIMEOUT,
    N_ARGS
};

static bool is_given(PyObject *object)
{
    return object != NULL && object != Py_None;
}

static int to_priority(bpx_state *st, PyObject *object, int32_t *out)
{
    bpx_given given;
    int overflow = 0;
    bool is_integer = PyLong_Check(object) && !PyBool_Check(object);
    long value = is_integer ? PyLong_AsLongAndOverflow(object, &overflow) : 0;
    if (is_integer && overflow == 0 && value >= INT32_MIN &&
        value <= INT32_MAX) {
        *out = (int32_t)value;
        return 0;
    }
    bpx_describe(object, &given);
    bpx_raise_as(st, BP_BAD_VALUE,
                 "priority must be an integer of 32 bits, not %s", given.text);
    return -1;
}

static int to_keep(bpx_state *st, PyObject *object, bool *out)
{
    bpx_given given;
    *out = object == NULL ||
           (PyUnicode_Check(object) &&
            PyUnicode_CompareWithASCIIString(object, "host") == 0);
    if (*out || object == Py_None) {
        return 0;
    }
    bpx_describe(object, &given);
    bpx_raise_as(st, BP_BAD_VALUE, "keep must be 'host' or None, not %s",
                 given.text);
    return -1;
}

static int to_load(bpx_state *st, PyObject *object, bool *out)
{
    bpx_given given;
    *out = is_given(object);
    if (!*out || PyCallable_Check(object)) {
        return 0;
    }
    bpx_describe(object, &given);
    bpx_raise_as(st, BP_BAD_VALUE,
                 "load must be a function of a slot, or None, not %s",
                 given.text);
    return -1;
}

/* Texts are borrowed from `given`. */
static int to_request(bpx_slots *self, PyObject *const *given,
                      bp_slot_request *out)
{
    bpx_state *st = bpx_slots_state(self);
    *out = (bp_slot_request){.priority = 0};
    if (bpx_to_text(st, given[ARG_NAME], "the name of a slot", BP_BAD_NAME,
                    &out->name) < 0 ||
        bpx_to_bytes(st, given[ARG_NBYTES], "nbytes", BP_BAD_SIZE,
                     &out->n_bytes) < 0 ||
        (given[ARG_PIN] != NULL &&
         bpx_to_bool(st, given[ARG_PIN], "pin", &out->is_pinned) < 0) ||
        (given[ARG_PRIORITY] != NULL &&
         to_priority(st, given[ARG_PRIORITY], &out->priority) < 0) ||
        to_keep(st, given[ARG_KEEP], &out->keeps_copy) < 0 ||
        to_load(st, given[ARG_LOAD], &out->has_loader) < 0 ||
        (given[ARG_REPLACE] != NULL &&
         bpx_to_bool(st, given[ARG_REPLACE], "replace", &out->is_replacing) <
             0) ||
        bpx_to_reservation(st, given[ARG_RESERVATION], bpx_slots_tree(self),
                           &out->reservation) < 0 ||
        (is_given(given[ARG_KIND]) &&
         bpx_to_label(st, given[ARG_KIND], "kind", &out->kind) < 0)) {
        return -1;
    }
    return 0;
}

/* ---- allocate ------------------------------------------------------------ */

/* One allocate() from its arguments to its end. */
typedef struct allocation {
    bpx_call call;
    bp_slot_request request;
    bpx_cell *cell; /* ours */
    bpx_slot *slot; /* ours: what is returned */
    bpx_cell *old;  /* ours: who had the name, or NULL */
} allocation;

static void allocation_fini(allocation *a)
{
    Py_XDECREF(a->old);
    Py_XDECREF(a->slot);
    Py_XDECREF(a->cell);
}

/* Those that are not promised yet. */
static uint64_t bytes_needed(const bpx_slots *self,
                             const bp_slot_request *request)
{
    uint64_t promised =
        bp_reservation_left(bpx_slots_tree(self)->core, request->reservation);
    return request->n_bytes > promised ? request->n_bytes - promised : 0;
}

/* Everything that can fail and is not the core's. */
static int prepare(bpx_slots *self, PyObject *const *given, allocation *a)
{
    PyObject *load = is_given(given[ARG_LOAD]) ? given[ARG_LOAD] : NULL;
    if (bpx_slots_check(self) < 0 || to_request(self, given, &a->request) < 0) {
        return -1;
    }
    a->cell = bpx_cell_new(bpx_slots_state(self), given[ARG_NAME],
                           given[ARG_KIND], load);
    a->slot = a->cell == NULL ? NULL : bpx_slot_of(self, a->cell);
    if (a->slot == NULL ||
        bpx_call_init(&a->call, self, bytes_needed(self, &a->request),
                      given[ARG_TIMEOUT]) < 0) {
        return -1;
    }
    a->cell->n_bytes = a->request.n_bytes;
    return 0;
}

/* The core made the slot, but there is no memory to know it. */
static void give_up(allocation *a)
{
    bp_tree *tree = a->call.tree;
    bp_slot handle = a->cell->handle;
    bp_status status = a->request.has_loader
                           ? bp_slot_loaded(tree, handle, false, NULL)
                           : bp_slot_deallocate(tree, handle, NULL, NULL);
    (void)status; /* the manager was closed, and the slot is gone with it */
}

/* The new slot exists, RESIDENT or RESTORING. */
static int enter(bpx_slots *self, allocation *a)
{
    if (bpx_slots_check(self) < 0) { /* closed meanwhile */
        return -1;
    }
    bp_status status = bp_slot_get_stamp(a->call.tree, a->cell->handle,
                                         &a->cell->stamp, &a->call.error);
    if (status == BP_STALE) {
        return 0; /* replaced by another thread already: no name leads to it */
    }
    if (status != BP_OK) {
        bpx_slot_raise(a->slot, &a->call.error);
        return -1;
    }
    a->old = bpx_slots_peek(self, a->cell->name);
    if (bpx_ptrmap_reserve(&self->by_handle) < 0 ||
        bpx_slots_enter(self, a->cell) < 0) {
        give_up(a);
        return -1;
    }
    return 0;
}

/* A slot whose function failed is gone; the one it was to replace may be back.
 */
static void leave(bpx_slots *self, allocation *a)
{
    bp_slot handle;
    bool is_back = a->old != NULL && !self->is_closed &&
                   bp_slots_find(a->call.tree, a->call.handle, a->request.name,
                                 &handle, NULL) == BP_OK &&
                   handle == a->old->handle;
    PyObject *exception = bpx_exception_take();
    if (!is_back || bpx_slots_enter(self, a->old) < 0) {
        bpx_slots_forget(self, a->cell);
    }
    bpx_exception_give(exception);
}

static PyObject *allocate(bpx_slots *self, allocation *a)
{
    bpx_call *call = &a->call;
    bpx_call_begin(call);
    bp_status status = bp_slots_allocate(call->tree, call->handle, &a->request,
                                         &call->wait.core, &a->cell->handle,
                                         &call->shortage, &call->error);
    bpx_call_end(call);
    if (status != BP_OK) {
        return bpx_call_return(call, bpx_call_raise(call));
    }
    if (enter(self, a) < 0) {
        return bpx_call_return(call, NULL);
    }
    if (a->request.has_loader && bpx_slot_fill(a->slot) < 0) {
        leave(self, a);
        return bpx_call_return(call, NULL);
    }
    return bpx_call_return(call, Py_NewRef(a->slot));
}

PyObject *bpx_slots_allocate(PyObject *object, PyObject *const *args,
                             Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "allocate",
        N_ARGS,
        2,
        2,
        {BPX_name, BPX_nbytes, BPX_pin, BPX_priority, BPX_keep, BPX_load,
         BPX_replace, BPX_reservation, BPX_kind, BPX_timeout}};
    bpx_slots *self = (bpx_slots *)object;
    PyObject *given[N_ARGS];
    if (bpx_parse(bpx_slots_state(self), &signature, args, n_args, kwnames,
                  given) < 0) {
        return NULL;
    }
    allocation a = {.cell = NULL};
    PyObject *result = NULL;
    if (prepare(self, given, &a) == 0) {
        result = allocate(self, &a);
    }
    allocation_fini(&a);
    return result;
}

/* ---- deallocate ---------------------------------------------------------- */

static PyObject *deallocate(bpx_slots *self, bpx_cell *cell)
{
    bpx_tree *tree = bpx_slots_tree(self);
    bp_error error = {.status = BP_OK};
    bp_status status;
    uint64_t freed = 0;
    bpx_tree_before(tree);
    Py_BEGIN_ALLOW_THREADS
    status = bp_slot_deallocate(tree->core, cell->handle, &freed, &error);
    Py_END_ALLOW_THREADS
    if (status != BP_OK) {
        return bpx_tree_after(tree, bpx_raise(bpx_slots_state(self), &error));
    }
    bpx_slots_forget(self, cell);
    return bpx_tree_after(tree, PyLong_FromUnsignedLongLong(freed));
}

/* The same refusals as without missing_ok, but for a name that is not there. */
static PyObject *deallocate_missing(bpx_slots *self, PyObject *name)
{
    PyObject *missing =
        bpx_slots_state(self)->errors[bp_status_family(BP_UNKNOWN_SLOT)];
    bpx_cell *cell = bpx_slots_find(self, name);
    if (cell == NULL) {
        if (!PyErr_ExceptionMatches(missing)) {
            return NULL;
        }
        PyErr_Clear();
        return PyLong_FromLong(0);
    }
    PyObject *result = deallocate(self, cell);
    Py_DECREF(cell);
    return result;
}

PyObject *bpx_slots_deallocate(PyObject *object, PyObject *const *args,
                               Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "deallocate", 2, 2, 1, {BPX_name, BPX_missing_ok}};
    bpx_slots *self = (bpx_slots *)object;
    bpx_state *st = bpx_slots_state(self);
    PyObject *given[2];
    bool is_ok = false;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        (given[1] != NULL &&
         bpx_to_bool(st, given[1], "missing_ok", &is_ok) < 0)) {
        return NULL;
    }
    if (is_ok) {
        return deallocate_missing(self, given[0]);
    }
    bpx_cell *cell = bpx_slots_find(self, given[0]);
    PyObject *result = cell == NULL ? NULL : deallocate(self, cell);
    Py_XDECREF(cell);
    return result;
}
