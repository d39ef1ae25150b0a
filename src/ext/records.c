/* records.c - the immutable records (structseqs) handed to Python. */
#include "ext/ext.h"

#include <string.h>

/* ---- types ------------------------------------------------------------- */

static PyStructSequence_Field placement_fields[] = {
    {"name", "Name of the buffer."},
    {"location", "Effective location: 'shared', 'block', 'local' or "
                 "'persistent_local'."},
    {"offset", "Byte offset in its region; 0 for a local buffer."},
    {"nbytes", "Bytes."},
    {"size", "Elements of `dtype`."},
    {"shape", "Tuple of elements."},
    {"dtype", "numpy.dtype of one element."},
    {"live", "(first phase, last phase), both included, as settled, or None: "
             "always alive."},
    {"keep", "True if the contents survive between two calls."},
    {"zero", "True if the buffer starts as zeros."},
    {"align", "Bytes the offset is a multiple of."},
    {"is_rollup", "True for the bytes of a child."},
    {"bytes_of", "Number in Layout.placements of the buffer whose bytes these "
                 "are: its own unless it is same_as another."},
    {"carried", "True if the contents (or those of another buffer of the same "
                "bytes) go from one turn of a loop to the next."},
    {NULL, NULL}};

static PyStructSequence_Field region_fields[] = {
    {"nbytes", "Bytes, a multiple of `align`."},
    {"size", "Elements of the factory's precision, rounded up."},
    {"align", "Largest alignment of what the region holds, in bytes."},
    {"lower_bound", "Bytes that no plan of this region can beat; None after "
                    "unpickling."},
    {"flat_lower_bound", "The same with children taken apart; None after "
                         "unpickling."},
    {"status", "'optimal' or 'feasible'; None after unpickling."},
    {"placements", "Tuple of Placement, in declaration order."},
    {NULL, NULL}};

static PyStructSequence_Field entry_fields[] = {
    {"name", "Name of the buffer or roll-up."},
    {"size", "Elements of `dtype`."},
    {"shape", "Tuple of elements."},
    {"dtype", "numpy.dtype of one element."},
    {"location", "Effective location, or 'auto' while undecided."},
    {"declared_location", "Location as declared."},
    {"owner_id", "Number of the factory in its registry, never reused."},
    {"offset", "Byte offset in its region; None until a layout is built."},
    {"slice", "Slice in elements of the factory's precision; None until a "
              "layout is built or where bytes do not divide evenly."},
    {"live", "(first phase, last phase), both included, as declared, or None: "
             "always alive. Of a roll-up, when its child is called."},
    {"keep", "True if the contents survive between two calls."},
    {"zero", "True if the buffer starts as zeros."},
    {"align", "Effective alignment in bytes."},
    {"same_as", "Name of the buffer whose bytes it shares, or None."},
    {"child", "Name of the child a roll-up stands for, or None."},
    {"uses", "Weight for the launch planner."},
    {"carried", "True if the contents go from one turn of the innermost loop "
                "to the next."},
    {NULL, NULL}};

static PyStructSequence_Field child_region_fields[] = {
    {"name", "Name of the child in its parent."},
    {"layout", "Layout of the child."},
    {"shared", "Byte offset of its shared bytes in the parent's region."},
    {"block", "Byte offset of its block bytes in the parent's region."},
    {"persistent_local", "Byte offset of its persistent-local bytes in the "
                         "parent's region."},
    {"live", "(first phase, last phase) in which it is called, both included, "
             "or None: in any."},
    {NULL, NULL}};

static PyStructSequence_Field hazard_fields[] = {
    {"before", "Name of the buffer whose bytes are taken over."},
    {"after", "Name of the buffer that takes them over."},
    {"leaves", "Last phase in which `before` lives on this way."},
    {"enters", "Phase that begins behind the barrier."},
    {"when", "'step' (from a phase to a later one), 'loop' (from the end of a "
             "loop to its beginning) or 'call' (to the next call of the device "
             "function)."},
    {"loop", "(first phase, last phase) of the loop; None but for 'loop'."},
    {"location", "Memory of the two: 'shared', 'block' or "
                 "'persistent_local'."},
    {"barrier", "What every thread must come past before `after` is used: "
                "'none' (one thread: program order is enough), 'syncwarp' (of "
                "the run's lanes) or 'syncthreads'."},
    {NULL, NULL}};

static PyStructSequence_Field plan_fields[] = {
    {"offsets", "numpy.ndarray of int64, one byte offset per buffer."},
    {"height", "Largest offset + size in bytes, not rounded."},
    {"load", "Most bytes alive at once."},
    {"lower_bound", "Bytes that no plan can beat (proven)."},
    {"status", "'optimal', 'feasible', 'infeasible' or 'unknown'."},
    {"nodes", "Search nodes used; 0 where nothing had to be searched."},
    {"interrupted", "A clock or a key press ended the search."},
    {"sizes", "What was planned: bytes."},
    {"first", "What was planned: beginnings of lifetimes."},
    {"last", "What was planned: ends of lifetimes."},
    {NULL, NULL}};

static PyStructSequence_Desc placement_desc = {"bayplan.Placement",
                                               "Where a layout put one buffer.",
                                               placement_fields, 14};
static PyStructSequence_Desc region_desc = {
    "bayplan.Region", "One memory of a layout.", region_fields, 7};
static PyStructSequence_Desc entry_desc = {
    "bayplan.Entry", "One declaration of a factory.", entry_fields, 17};
static PyStructSequence_Desc child_region_desc = {
    "bayplan.ChildRegion", "Where a layout put one child.", child_region_fields,
    6};
static PyStructSequence_Desc hazard_desc = {
    "bayplan.Hazard", "Where one buffer takes over another's bytes.",
    hazard_fields, 8};
static PyStructSequence_Desc plan_desc = {
    "bayplan._core.Plan",
    "What plan() answers: six items, and four more attributes.", plan_fields,
    6};

int bpx_record_add(PyObject *module, PyStructSequence_Desc *desc,
                   PyTypeObject **out)
{
    *out = PyStructSequence_NewType(desc);
    if (*out == NULL) {
        return -1;
    }
    const char *name = strrchr(desc->name, '.') + 1;
    return PyModule_AddObjectRef(module, name, (PyObject *)*out);
}

int bpx_records_add(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    if (bpx_record_add(module, &placement_desc, &st->placement_type) < 0 ||
        bpx_record_add(module, &region_desc, &st->region_type) < 0 ||
        bpx_record_add(module, &entry_desc, &st->entry_type) < 0 ||
        bpx_record_add(module, &child_region_desc, &st->child_region_type) <
            0 ||
        bpx_record_add(module, &hazard_desc, &st->hazard_type) < 0 ||
        bpx_record_add(module, &plan_desc, &st->plan_type) < 0) {
        return -1;
    }
    return 0;
}

/* ---- small parts ------------------------------------------------------- */

PyObject *bpx_record_make(PyTypeObject *type, PyObject *const *values,
                          Py_ssize_t n)
{
    bool is_ok = true;
    for (Py_ssize_t i = 0; i < n; i++) {
        is_ok = is_ok && values[i] != NULL;
    }
    PyObject *record = is_ok ? PyStructSequence_New(type) : NULL;
    for (Py_ssize_t i = 0; i < n; i++) {
        if (record == NULL) {
            Py_XDECREF(values[i]);
        } else {
            PyStructSequence_SET_ITEM(record, i, values[i]);
        }
    }
    return record;
}

static PyObject *number(uint64_t value)
{
    return PyLong_FromUnsignedLongLong(value);
}

static PyObject *flag(bool value)
{
    return PyBool_FromLong(value);
}

static PyObject *none(void)
{
    return Py_NewRef(Py_None);
}

static PyObject *text_or_none(const char *text)
{
    return text == NULL ? none() : PyUnicode_FromString(text);
}

static PyObject *descr_of(bpx_state *st, const bp_dtype *dtype)
{
    const bpx_dtype *entry = bpx_dtype_of_core(st, dtype);
    return entry == NULL ? NULL : Py_NewRef((PyObject *)entry->descr);
}

/* The name of one phase; None for BP_ALWAYS. */
static PyObject *phase_or_none(PyObject *phases, uint32_t phase)
{
    return phase == BP_ALWAYS
               ? none()
               : Py_NewRef(PyTuple_GET_ITEM(phases, (Py_ssize_t)phase));
}

PyObject *bpx_live_pair(PyObject *phases, uint32_t first, uint32_t last)
{
    return first == BP_ALWAYS
               ? none()
               : Py_BuildValue("(NN)", phase_or_none(phases, first),
                               phase_or_none(phases, last));
}

/* The same from declared names. */
static PyObject *declared_pair(const char *first, const char *last)
{
    return first == NULL
               ? none()
               : Py_BuildValue("(ss)", first, last == NULL ? first : last);
}

PyObject *bpx_shape_tuple(const uint64_t *shape, uint32_t n_dims)
{
    PyObject *tuple = PyTuple_New(n_dims);
    for (uint32_t i = 0; tuple != NULL && i < n_dims; i++) {
        PyObject *item = number(shape[i]);
        if (item == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, i, item);
    }
    return tuple;
}

PyObject *bpx_slice_or_none(uint64_t offset, uint64_t n, uint32_t n_element)
{
    if (offset % n_element != 0 || n % n_element != 0) {
        return none();
    }
    PyObject *start = number(offset / n_element);
    PyObject *stop = number((offset + n) / n_element);
    PyObject *slice = start && stop ? PySlice_New(start, stop, NULL) : NULL;
    Py_XDECREF(start);
    Py_XDECREF(stop);
    return slice;
}

/* ---- records ----------------------------------------------------------- */

PyObject *bpx_placement_new(bpx_state *st, PyObject *phases,
                            const bp_placement *p)
{
    PyObject *values[14] = {
        PyUnicode_FromString(p->name),
        Py_NewRef(st->locations[p->location]),
        number(p->offset_bytes),
        number(p->n_bytes),
        number(p->n_items),
        bpx_shape_tuple(p->shape, p->n_dims),
        descr_of(st, &p->dtype),
        bpx_live_pair(phases, p->first_phase, p->last_phase),
        flag(p->is_kept),
        flag(p->is_zero),
        number(p->align),
        flag(p->is_rollup),
        number(p->bytes_of),
        flag(p->is_carried),
    };
    return bpx_record_make(st->placement_type, values, 14);
}

/* Those of all_placements (a tuple in the layout's order) that lie in one
 * memory. */
static PyObject *placements_in(const bp_layout *layout, bp_location location,
                               PyObject *all_placements)
{
    PyObject *list = PyList_New(0);
    size_t n = bp_layout_n_placements(layout);
    for (size_t i = 0; list != NULL && i < n; i++) {
        PyObject *item = PyTuple_GET_ITEM(all_placements, (Py_ssize_t)i);
        if (bp_layout_get_placement(layout, i)->location == location &&
            PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
    }
    PyObject *tuple = list == NULL ? NULL : PyList_AsTuple(list);
    Py_XDECREF(list);
    return tuple;
}

PyObject *bpx_region_new(bpx_state *st, const bp_layout *layout,
                         bp_location location, PyObject *all_placements)
{
    const bp_region *r = bp_layout_get_region(layout, location);
    uint64_t n_element = bp_layout_get_precision(layout)->n_bytes;
    uint64_t n_items = r->n_bytes / n_element + (r->n_bytes % n_element != 0);
    bool is_known = r->has_report;
    PyObject *values[7] = {
        number(r->n_bytes),
        number(n_items),
        number(r->align),
        is_known ? number(r->lower_bound) : none(),
        is_known ? number(r->flat_lower_bound) : none(),
        is_known ? Py_NewRef(st->plan_statuses[r->status]) : none(),
        placements_in(layout, location, all_placements),
    };
    return bpx_record_make(st->region_type, values, 7);
}

PyObject *bpx_entry_new(bpx_state *st, const bp_entry *e, bp_factory factory,
                        const bp_layout *layout)
{
    const bp_placement *p =
        layout == NULL ? NULL : bp_layout_find(layout, e->name);
    PyObject *slice = none();
    if (p != NULL) {
        Py_SETREF(slice,
                  bpx_slice_or_none(p->offset_bytes, p->n_bytes,
                                    bp_layout_get_precision(layout)->n_bytes));
    }
    PyObject *values[17] = {
        PyUnicode_FromString(e->name),
        number(e->n_items),
        bpx_shape_tuple(e->shape, e->n_dims),
        descr_of(st, &e->dtype),
        Py_NewRef(st->locations[e->location]),
        Py_NewRef(st->locations[e->declared_location]),
        number(factory),
        p == NULL ? none() : number(p->offset_bytes),
        slice,
        declared_pair(e->first_phase, e->last_phase),
        flag(e->is_kept),
        flag(e->is_zero),
        number(e->align),
        text_or_none(e->same_as),
        text_or_none(e->child),
        PyFloat_FromDouble((double)e->uses),
        flag(e->is_carried),
    };
    return bpx_record_make(st->entry_type, values, 17);
}

PyObject *bpx_child_region_new(bpx_state *st, PyObject *phases, PyObject *name,
                               PyObject *layout, const bp_child_region *child)
{
    PyObject *values[6] = {
        Py_NewRef(name),
        Py_NewRef(layout),
        number(child->offset_bytes[BP_SHARED]),
        number(child->offset_bytes[BP_BLOCK]),
        number(child->offset_bytes[BP_PERSISTENT_LOCAL]),
        bpx_live_pair(phases, child->first_phase, child->last_phase),
    };
    return bpx_record_make(st->child_region_type, values, 6);
}

PyObject *bpx_hazard_new(bpx_state *st, PyObject *phases,
                         const bp_layout *layout, const bp_hazard *h)
{
    PyObject *loop = none();
    if (h->when == BP_HAZARD_LOOP) {
        bp_loop around = bp_layout_get_loop(layout, h->loop);
        Py_SETREF(loop, bpx_live_pair(phases, around.first, around.last));
    }
    PyObject *values[8] = {
        PyUnicode_FromString(bp_layout_get_placement(layout, h->before)->name),
        PyUnicode_FromString(bp_layout_get_placement(layout, h->after)->name),
        phase_or_none(phases, h->leaves),
        phase_or_none(phases, h->enters),
        Py_NewRef(st->hazard_whens[h->when]),
        loop,
        Py_NewRef(st->locations[h->location]),
        Py_NewRef(st->barriers[h->barrier]),
    };
    return bpx_record_make(st->hazard_type, values, 8);
}

PyObject *bpx_plan_new(bpx_state *st, PyObject *offsets,
                       const bp_plan_result *result,
                       PyArrayObject *const inputs[3])
{
    PyObject *values[10] = {
        Py_NewRef(offsets),
        number(result->height),
        number(result->load),
        number(result->lower_bound),
        Py_NewRef(st->plan_statuses[result->status]),
        number(result->n_nodes),
        flag(result->is_interrupted),
        Py_NewRef((PyObject *)inputs[0]),
        Py_NewRef((PyObject *)inputs[1]),
        Py_NewRef((PyObject *)inputs[2]),
    };
    return bpx_record_make(st->plan_type, values, 10);
}
