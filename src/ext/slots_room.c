/* slots_room.c - SlotManager: who would go, who goes. */
#include "ext/slots.h"

/* ---- evict --------------------------------------------------------------- */

PyObject *bpx_slots_evict(PyObject *object, PyObject *const *args,
                          Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {"evict", 1, 1, 1, {BPX_name}};
    bpx_slots *self = (bpx_slots *)object;
    bpx_state *st = bpx_slots_state(self);
    bpx_tree *tree = bpx_slots_tree(self);
    PyObject *given[1];
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    bpx_cell *cell = bpx_slots_find(self, given[0]);
    if (cell == NULL) {
        return NULL;
    }
    bp_error error = {.status = BP_OK};
    bp_status status;
    bpx_tree_before(tree);
    Py_BEGIN_ALLOW_THREADS
    status = bp_slot_evict(tree->core, cell->handle, &error);
    Py_END_ALLOW_THREADS
    Py_DECREF(cell);
    return bpx_tree_after(tree, status == BP_OK ? Py_NewRef(Py_None)
                                                : bpx_raise(st, &error));
}

/* ---- plan ---------------------------------------------------------------- */

static int to_nbytes(bpx_slots *self, PyObject *object, uint64_t *out)
{
    return bpx_to_bytes(bpx_slots_state(self), object, "nbytes", BP_BAD_SIZE,
                        out);
}

enum { N_AT_ONCE = 16 };

/* Names of the slots that would have to go; *n_room of them have room in
 * `handles`, and where there are more, it says how many and there are no names.
 */
static PyObject *plan_into(bpx_call *call, uint64_t n_bytes, bp_slot *handles,
                           size_t *n_room)
{
    size_t n = 0;
    size_t capacity = *n_room;
    bpx_slots *self = call->slots;
    if (bp_slots_plan(call->tree, call->handle, n_bytes, handles, capacity, &n,
                      &call->shortage, &call->error) != BP_OK) {
        return bpx_call_raise(call);
    }
    *n_room = n;
    return n > capacity ? NULL : bpx_slots_names(self, handles, n);
}

static PyObject *plan(bpx_call *call, uint64_t n_bytes)
{
    bp_slot few[N_AT_ONCE];
    size_t n_room = N_AT_ONCE;
    PyObject *names = plan_into(call, n_bytes, few, &n_room);
    while (names == NULL &&
           !PyErr_Occurred()) { /* other threads may add more */
        bp_slot *handles = PyMem_Malloc(n_room * sizeof *handles);
        if (handles == NULL) {
            return PyErr_NoMemory();
        }
        names = plan_into(call, n_bytes, handles, &n_room);
        PyMem_Free(handles);
    }
    return names;
}

PyObject *bpx_slots_plan(PyObject *object, PyObject *const *args,
                         Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {"plan", 1, 1, 1, {BPX_nbytes}};
    bpx_slots *self = (bpx_slots *)object;
    PyObject *given[1];
    uint64_t n_bytes;
    bpx_call call;
    if (bpx_parse(bpx_slots_state(self), &signature, args, n_args, kwnames,
                  given) < 0 ||
        bpx_slots_check(self) < 0 || to_nbytes(self, given[0], &n_bytes) < 0 ||
        bpx_call_init(&call, self, n_bytes, NULL) < 0) {
        return NULL;
    }
    return bpx_call_return(&call, plan(&call, n_bytes));
}

/* ---- make_room ----------------------------------------------------------- */

/* The record is about the last residency of a slot of ours. */
static bool is_ours(bpx_slots *self, bpx_cell *cell, const bp_record *record)
{
    bp_slot_info info;
    return record->cause == BP_CAUSE_PRESSURE &&
           bp_slot_get_info(bpx_slots_tree(self)->core, cell->handle, &info,
                            NULL) == BP_OK &&
           info.generation == record->generation;
}

static int append_name(bpx_slots *self, const bp_record *record, PyObject *list)
{
    PyObject *name = PyUnicode_FromString(bp_key_text(record->key));
    bpx_cell *cell = name == NULL ? NULL : bpx_slots_peek(self, name);
    int rc = name == NULL ? -1 : 0;
    if (cell != NULL && is_ours(self, cell, record)) {
        rc = PyList_Append(list, cell->name);
    }
    Py_XDECREF(cell);
    Py_XDECREF(name);
    return rc;
}

/* Our slots among what the cursor has seen go for the sake of room. */
static PyObject *drain_names(bpx_slots *self, bp_log *log, bp_cursor cursor)
{
    bp_record records[N_AT_ONCE];
    size_t n;
    int rc = 0;
    PyObject *list = PyList_New(0);
    while (list != NULL &&
           (n = bp_cursor_drain(log, cursor, records, N_AT_ONCE)) > 0) {
        for (size_t i = 0; i < n; i++) {
            rc = rc < 0 ? rc : append_name(self, &records[i], list);
            bp_record_fini(&records[i]);
        }
        if (rc < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *make_room(bpx_call *call, uint64_t n_bytes)
{
    bpx_slots *self = call->slots;
    bp_log *log = bp_tree_get_log(call->tree);
    bp_cursor cursor;
    if (bp_cursor_open(log, NULL, &cursor, &call->error) != BP_OK) {
        return bpx_call_raise(call);
    }
    bp_budget budget = self->budget->handle;
    bpx_call_begin(call);
    bp_status status = bp_budget_make_room(call->tree, budget, call->handle,
                                           n_bytes, &call->wait.core, NULL,
                                           &call->shortage, &call->error);
    bpx_call_end(call);
    PyObject *names =
        status == BP_OK ? drain_names(self, log, cursor) : bpx_call_raise(call);
    bp_cursor_close(log, cursor);
    return names;
}

PyObject *bpx_slots_make_room(PyObject *object, PyObject *const *args,
                              Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "make_room", 2, 2, 1, {BPX_nbytes, BPX_timeout}};
    bpx_slots *self = (bpx_slots *)object;
    PyObject *given[2];
    uint64_t n_bytes;
    bpx_call call;
    if (bpx_parse(bpx_slots_state(self), &signature, args, n_args, kwnames,
                  given) < 0 ||
        bpx_slots_check(self) < 0 || to_nbytes(self, given[0], &n_bytes) < 0 ||
        bpx_call_init(&call, self, n_bytes, given[1]) < 0) {
        return NULL;
    }
    return bpx_call_return(&call, make_room(&call, n_bytes));
}

/* ---- the first ----------------------------------------------------------- */

static PyObject *first_victim(bpx_call *call)
{
    bpx_slots *self = call->slots;
    bp_slot handle;
    bp_status status =
        bp_slots_first_victim(call->tree, call->handle, &handle, &call->error);
    if (status == BP_UNKNOWN_SLOT) {
        Py_RETURN_NONE;
    }
    PyObject *names = status == BP_OK ? bpx_slots_names(self, &handle, 1)
                                      : bpx_call_raise(call);
    PyObject *name = names == NULL ? NULL
                     : PyList_GET_SIZE(names) == 0
                         ? Py_NewRef(Py_None)
                         : Py_NewRef(PyList_GET_ITEM(names, 0));
    Py_XDECREF(names);
    return name;
}

PyObject *bpx_slots_lru_candidate(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_slots *self = (bpx_slots *)object;
    bpx_call call;
    if (bpx_slots_check(self) < 0 ||
        bpx_call_init(&call, self, BPX_WHATEVER, NULL) < 0) {
        return NULL;
    }
    return bpx_call_return(&call, first_victim(&call));
}
