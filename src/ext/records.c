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
    {"live", "(first phase, last phase), or None: always alive."},
    {"keep", "True if the contents survive between two calls."},
    {"zero", "True if the buffer starts as zeros."},
    {"align", "Bytes the offset is a multiple of."},
    {"is_rollup", "True for the bytes of a child."},
    {"bytes_of", "Number in Layout.placements of the buffer whose bytes these "
                 "are: its own unless it is same_as another."},
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
    {"live", "(first phase, last phase), or None: always alive."},
    {"keep", "True if the contents survive between two calls."},
    {"zero", "True if the buffer starts as zeros."},
    {"align", "Effective alignment in bytes."},
    {"same_as", "Name of the buffer whose bytes it shares, or None."},
    {"child", "Name of the child a roll-up stands for, or None."},
    {"uses", "Weight for the launch planner."},
    {NULL, NULL}};

static PyStructSequence_Field child_region_fields[] = {
    {"name", "Name of the child in its parent."},
    {"layout", "Layout of the child."},
    {"shared", "Byte offset of its shared bytes in the parent's region."},
    {"block", "Byte offset of its block bytes in the parent's region."},
    {"persistent_local", "Byte offset of its persistent-local bytes in the "
                         "parent's region."},
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
                                               placement_fields, 13};
static PyStructSequence_Desc region_desc = {
    "bayplan.Region", "One memory of a layout.", region_fields, 7};
static PyStructSequence_Desc entry_desc = {
    "bayplan.Entry", "One declaration of a factory.", entry_fields, 16};
static PyStructSequence_Desc child_region_desc = {
    "bayplan.ChildRegion", "Where a layout put one child.", child_region_fields,
    5};
static PyStructSequence_Desc plan_desc = {
    "bayplan._core.Plan",
    "What plan() answers: six items, and four more attributes.", plan_fields,
    6};

static int add_record(PyObject *module, PyStructSequence_Desc *desc,
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
    if (add_record(module, &placement_desc, &st->placement_type) < 0 ||
        add_record(module, &region_desc, &st->region_type) < 0 ||
        add_record(module, &entry_desc, &st->entry_type) < 0 ||
        add_record(module, &child_region_desc, &st->child_region_type) < 0 ||
        add_record(module, &plan_desc, &st->plan_type) < 0) {
        return -1;
    }
    return 0;
}

/* ---- small parts ------------------------------------------------------- */

/* Take over the n values; if one is NULL, the answer is NULL. */
static PyObject *make_record(PyTypeObject *type, PyObject *const *values,
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

PyObject *bpx_placement_new(bpx_state *st, const bp_placement *p)
{
    PyObject *values[13] = {
        PyUnicode_FromString(p->name),
        Py_NewRef(st->locations[p->location]),
        number(p->offset_bytes),
        number(p->n_bytes),
        number(p->n_items),
        bpx_shape_tuple(p->shape, p->n_dims),
        descr_of(st, &p->dtype),
        none(),
        flag(p->is_kept),
        flag(p->is_zero),
        number(p->align),
        flag(p->is_rollup),
        number(p->bytes_of),
    };
    return make_record(st->placement_type, values, 13);
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
    return make_record(st->region_type, values, 7);
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
    PyObject *values[16] = {
        PyUnicode_FromString(e->name),
        number(e->n_items),
        bpx_shape_tuple(e->shape, e->n_dims),
        descr_of(st, &e->dtype),
        Py_NewRef(st->locations[e->location]),
        Py_NewRef(st->locations[e->declared_location]),
        number(factory),
        p == NULL ? none() : number(p->offset_bytes),
        slice,
        none(),
        flag(e->is_kept),
        flag(e->is_zero),
        number(e->align),
        text_or_none(e->same_as),
        text_or_none(e->child),
        PyFloat_FromDouble((double)e->uses),
    };
    return make_record(st->entry_type, values, 16);
}

PyObject *bpx_child_region_new(bpx_state *st, PyObject *name, PyObject *layout,
                               const bp_child_region *child)
{
    PyObject *values[5] = {
        Py_NewRef(name),
        Py_NewRef(layout),
        number(child->offset_bytes[BP_SHARED]),
        number(child->offset_bytes[BP_BLOCK]),
        number(child->offset_bytes[BP_PERSISTENT_LOCAL]),
    };
    return make_record(st->child_region_type, values, 5);
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
    return make_record(st->plan_type, values, 10);
}
