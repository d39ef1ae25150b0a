/* slots_read.c - SlotManager: what it tells. */
#include "ext/slots.h"

/* ---- statistics ---------------------------------------------------------- */

static PyStructSequence_Field stats_fields[] = {
    {"loaded", "Slots on the device."},
    {"total", "Slots there are, evicted ones too."},
    {"evicted", "Slots whose contents, if any, are on the host."},
    {"pinned", "Slots that are never evicted for others."},
    {"in_use", "Slots in use by the host."},
    {"allocated", "Bytes on the device, as charged."},
    {"retiring", "Bytes evicted which the device may still use."},
    {"host_bytes", "Bytes of copies on the host."},
    {"failed_frees", "Pieces of memory that the backend would not free, so "
                     "far; they are tried again."},
    {"restores", "Times that an evicted slot came back."},
    {"moved_out_bytes", "Bytes copied from the device by evictions."},
    {"moved_in_bytes", "Bytes copied back by restores."},
    {"evictions", "Residencies that ended, as a dict from their cause to how "
                  "many."},
    {NULL, NULL}};

enum { N_STATS = 13 };

static PyStructSequence_Desc stats_desc = {
    "bayplan.SlotStats", "Figures of a SlotManager, all of one moment.",
    stats_fields, N_STATS};

int bpx_slots_add_records(PyObject *module)
{
    return bpx_record_add(module, &stats_desc,
                          &bpx_state_of(module)->slot_stats_type);
}

static PyObject *evictions_dict(const bpx_state *st, const bp_slots_stats *s)
{
    PyObject *dict = PyDict_New();
    for (int i = 0; dict != NULL && i < BP_N_CAUSES; i++) {
        PyObject *n = PyLong_FromUnsignedLongLong(s->n_evictions[i]);
        if (n == NULL || PyDict_SetItem(dict, st->causes[i], n) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(n);
    }
    return dict;
}

static PyObject *number(uint64_t value)
{
    return PyLong_FromUnsignedLongLong(value);
}

static PyObject *stats_record(const bpx_state *st, const bp_slots_stats *s)
{
    PyObject *values[N_STATS] = {
        number(s->n_loaded),        number(s->n_slots),
        number(s->n_evicted),       number(s->n_pinned),
        number(s->n_in_use),        number(s->n_allocated),
        number(s->n_retiring),      number(s->n_host_bytes),
        number(s->n_failed_frees),  number(s->n_restores),
        number(s->moved_out_bytes), number(s->moved_in_bytes),
        evictions_dict(st, s)};
    return bpx_record_make(st->slot_stats_type, values, N_STATS);
}

/* Settled and coherent; -1 with an exception. */
static int read_stats(bpx_slots *self, bp_slots_stats *out)
{
    bpx_tree *tree = bpx_slots_tree(self);
    bp_error error = {.status = BP_OK};
    if (bpx_slots_check(self) < 0) {
        return -1;
    }
    bpx_tree_before(tree);
    if (bp_slots_get_stats(tree->core, self->handle, out, &error) != BP_OK) {
        bpx_raise(bpx_slots_state(self), &error);
        return -1;
    }
    return 0;
}

PyObject *bpx_slots_stats(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_slots *self = (bpx_slots *)object;
    bp_slots_stats stats;
    PyObject *record = read_stats(self, &stats) < 0
                           ? NULL
                           : stats_record(bpx_slots_state(self), &stats);
    return bpx_tree_after(bpx_slots_tree(self), record);
}

/* ---- properties ---------------------------------------------------------- */

static PyObject *get_allocated(PyObject *object, void *Py_UNUSED(closure))
{
    bpx_slots *self = (bpx_slots *)object;
    bp_slots_stats stats;
    PyObject *n =
        read_stats(self, &stats) < 0 ? NULL : number(stats.n_allocated);
    return bpx_tree_after(bpx_slots_tree(self), n);
}

static PyObject *get_loaded_count(PyObject *object, void *Py_UNUSED(closure))
{
    bpx_slots *self = (bpx_slots *)object;
    bp_slots_stats stats;
    PyObject *n = read_stats(self, &stats) < 0 ? NULL : number(stats.n_loaded);
    return bpx_tree_after(bpx_slots_tree(self), n);
}

/* What the budget says. */
static PyObject *get_pressure(PyObject *self, void *Py_UNUSED(closure))
{
    return PyObject_GetAttrString((PyObject *)((bpx_slots *)self)->budget,
                                  "pressure");
}

static PyObject *get_available(PyObject *self, void *Py_UNUSED(closure))
{
    return PyObject_GetAttrString((PyObject *)((bpx_slots *)self)->budget,
                                  "available");
}

static PyObject *get_budget(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((bpx_slots *)self)->budget);
}

static PyObject *get_backend(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((bpx_slots *)self)->backend);
}

static PyObject *get_policy(PyObject *object, void *Py_UNUSED(closure))
{
    bpx_slots *self = (bpx_slots *)object;
    return Py_NewRef(self->policy == NULL ? Py_None : self->policy);
}

static PyObject *get_closed(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((bpx_slots *)self)->is_closed);
}

PyDoc_STRVAR(pressure_doc, "MemoryPressure of the budget.");
PyDoc_STRVAR(available_doc, "Bytes the budget still has.");
PyDoc_STRVAR(allocated_doc, "Bytes of slots on the device, as charged.");
PyDoc_STRVAR(loaded_count_doc, "Slots on the device.");
PyDoc_STRVAR(budget_doc, "The Budget.");
PyDoc_STRVAR(backend_doc, "What holds the memory.");
PyDoc_STRVAR(policy_doc, "'lru', 'mru', 'big_first', or the function.");
PyDoc_STRVAR(closed_doc, "True after close().");

PyGetSetDef bpx_slots_getset[] = {
    {"pressure", get_pressure, NULL, pressure_doc, NULL},
    {"available", get_available, NULL, available_doc, NULL},
    {"allocated", get_allocated, NULL, allocated_doc, NULL},
    {"loaded_count", get_loaded_count, NULL, loaded_count_doc, NULL},
    {"budget", get_budget, NULL, budget_doc, NULL},
    {"backend", get_backend, NULL, backend_doc, NULL},
    {"policy", get_policy, NULL, policy_doc, NULL},
    {"closed", get_closed, NULL, closed_doc, NULL},
    {NULL, NULL, NULL, NULL, NULL}};

/* ---- as a mapping -------------------------------------------------------- */

/* After close() there are none. */
Py_ssize_t bpx_slots_length(PyObject *object)
{
    bpx_slots *self = (bpx_slots *)object;
    if (!self->is_closed && bpx_slots_check(self) < 0) {
        return -1;
    }
    return PyDict_Size(self->by_name);
}

int bpx_slots_contains(PyObject *object, PyObject *name)
{
    bpx_slots *self = (bpx_slots *)object;
    if (!self->is_closed && bpx_slots_check(self) < 0) {
        return -1;
    }
    bpx_cell *cell = bpx_slots_peek(self, name);
    Py_XDECREF(cell);
    return cell != NULL;
}

/* Names in order of allocation, as they are now. */
PyObject *bpx_slots_iter(PyObject *object)
{
    bpx_slots *self = (bpx_slots *)object;
    size_t n = 0;
    bp_slot *handles = NULL;
    if (!self->is_closed) {
        if (bpx_slots_check(self) < 0) {
            return NULL;
        }
        handles = bpx_slots_list(self, &n);
        if (handles == NULL) {
            return NULL;
        }
    }
    PyObject *names = bpx_slots_names(self, handles, n);
    PyMem_Free(handles);
    PyObject *iter = names == NULL ? NULL : PyObject_GetIter(names);
    Py_XDECREF(names);
    return iter;
}

PyObject *bpx_slots_subscript(PyObject *object, PyObject *name)
{
    bpx_slots *self = (bpx_slots *)object;
    bpx_cell *cell = bpx_slots_find(self, name);
    PyObject *slot = cell == NULL ? NULL : (PyObject *)bpx_slot_of(self, cell);
    Py_XDECREF(cell);
    return slot;
}

PyObject *bpx_slots_repr(PyObject *object)
{
    bpx_slots *self = (bpx_slots *)object;
    bp_slots_stats s;
    if (!bpx_tree_is_ours(bpx_slots_tree(self))) {
        return PyUnicode_FromFormat("<%s of another process>",
                                    Py_TYPE(object)->tp_name);
    }
    if (self->is_closed ||
        bp_slots_get_stats(bpx_slots_tree(self)->core, self->handle, &s,
                           NULL) != BP_OK) {
        return PyUnicode_FromFormat("<%s, closed>", Py_TYPE(object)->tp_name);
    }
    return PyUnicode_FromFormat("<%s: %u of %u slots loaded, %llu bytes>",
                                Py_TYPE(object)->tp_name, s.n_loaded, s.n_slots,
                                (unsigned long long)s.n_allocated);
}
