/* registry_update.c - BufferRegistry: updates by key, and overrides.
 *
 * All keys and values are turned into the core's items first; then one core
 * call takes all of them or none.
 */
#include "ext/registry.h"

#include <string.h>

/* One key and value. Texts are borrowed from `key` and the value, which the
 * list of pairs keeps alive. */
typedef struct update_value {
    PyObject *key;
    bpx_given given;
    uint64_t shape[BP_MAX_DIMS];
} update_value;

typedef struct update_list {
    PyObject *pairs; /* list of (key, value) */
    bp_update_item *items;
    update_value *values;
    size_t n_items;
    PyObject *unusable; /* the first key that cannot be ours (borrowed) */
} update_list;

static void update_list_fini(update_list *list)
{
    Py_CLEAR(list->pairs);
    PyMem_Free(list->items);
    PyMem_Free(list->values);
}

/* A key the core can read: a str that has a UTF-8 form without NUL. */
static const char *key_text(PyObject *key)
{
    if (!PyUnicode_Check(key)) {
        return NULL;
    }
    Py_ssize_t n = 0;
    const char *text = PyUnicode_AsUTF8AndSize(key, &n);
    if (text == NULL) {
        PyErr_Clear();
        return NULL;
    }
    return strlen(text) == (size_t)n ? text : NULL;
}

/* The value in the core's terms. What is neither a location nor a size is
 * refused by the core, and only if the key turns out to be a buffer's. */
static void convert_value(PyObject *object, update_value *value,
                          bp_update_item *item)
{
    item->text = key_text(object);
    if (item->text != NULL) {
        item->kind = BP_VALUE_TEXT;
    } else if (bpx_is_shape(object, value->shape, &item->n_dims)) {
        item->kind = BP_VALUE_SHAPE;
        item->shape = value->shape;
    } else {
        item->kind = BP_VALUE_OTHER;
        bpx_describe(object, &value->given);
        item->text = value->given.text;
    }
}

static int convert_pairs(update_list *list, bool with_values)
{
    size_t n = (size_t)PyList_GET_SIZE(list->pairs);
    list->items = PyMem_Calloc(n + 1, sizeof *list->items);
    list->values = PyMem_Calloc(n + 1, sizeof *list->values);
    if (list->items == NULL || list->values == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        PyObject *pair = PyList_GET_ITEM(list->pairs, (Py_ssize_t)i);
        PyObject *key = PyTuple_GET_ITEM(pair, 0);
        const char *text = key_text(key);
        if (text == NULL) {
            list->unusable = list->unusable == NULL ? key : list->unusable;
            continue;
        }
        update_value *value = &list->values[list->n_items];
        bp_update_item *item = &list->items[list->n_items++];
        value->key = key;
        item->key = text;
        item->kind = BP_VALUE_OTHER;
        item->text = "";
        if (with_values) {
            convert_value(PyTuple_GET_ITEM(pair, 1), value, item);
        }
    }
    return 0;
}

static PyObject *refuse_mapping(bpx_state *st, PyObject *mapping)
{
    bpx_given given;
    bpx_describe(mapping, &given);
    return bpx_raise_as(st, BP_BAD_VALUE,
                        "updates come as a mapping of str to value, not %s",
                        given.text);
}

/* A list of (key, value) tuples; a mapping of the user's may answer anything.
 */
static PyObject *items_of(bpx_state *st, PyObject *mapping)
{
    if (PyDict_CheckExact(mapping)) {
        return PyDict_Items(mapping);
    }
    if (!PyMapping_Check(mapping) ||
        !PyObject_HasAttrString(mapping, "items")) {
        return refuse_mapping(st, mapping);
    }
    PyObject *items = PyMapping_Items(mapping);
    for (Py_ssize_t i = 0; items != NULL && i < PyList_GET_SIZE(items); i++) {
        PyObject *pair = PyList_GET_ITEM(items, i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
            Py_CLEAR(items);
            refuse_mapping(st, mapping);
        }
    }
    return items;
}

static int append_pairs(bpx_state *st, PyObject *pairs, PyObject *mapping)
{
    PyObject *more = items_of(st, mapping);
    if (more == NULL) {
        return -1;
    }
    Py_ssize_t end = PyList_GET_SIZE(pairs);
    int rc = PyList_SetSlice(pairs, end, end, more);
    Py_DECREF(more);
    return rc;
}

static int update_list_init(update_list *list, bpx_state *st,
                            PyObject *const *mappings, int n_mappings,
                            bool with_values)
{
    *list = (update_list){.pairs = PyList_New(0)};
    int rc = list->pairs == NULL ? -1 : 0;
    for (int i = 0; rc == 0 && i < n_mappings; i++) {
        if (mappings[i] != NULL && mappings[i] != Py_None) {
            rc = append_pairs(st, list->pairs, mappings[i]);
        }
    }
    if (rc == 0) {
        rc = convert_pairs(list, with_values);
    }
    if (rc < 0) {
        update_list_fini(list);
    }
    return rc;
}

static PyObject *taken_keys(const update_list *list)
{
    PyObject *set = PySet_New(NULL);
    for (size_t i = 0; set != NULL && i < list->n_items; i++) {
        if (list->items[i].is_taken &&
            PySet_Add(set, list->values[i].key) < 0) {
            Py_CLEAR(set);
        }
    }
    return set;
}

/* BufferKeyError for a key that no buffer answers to. Always NULL. */
static PyObject *raise_unknown_key(bpx_registry *self, PyObject *factory,
                                   PyObject *key)
{
    bpx_given given;
    bpx_describe(key, &given);
    bp_error error = {.status = BP_OK};
    const char *name = Py_TYPE(factory)->tp_name;
    bp_status status =
        bp_fail(&error, BP_UNKNOWN_KEY,
                "no buffer of %.80s answers to the key %s", name, given.text);
    bp_error_about(&error, name, NULL);
    return status == BP_OK ? NULL : bpx_raise(bpx_registry_state(self), &error);
}

static PyObject *first_key(const update_list *list)
{
    return list->unusable != NULL ? list->unusable
           : list->n_items > 0    ? list->values[0].key
                                  : NULL;
}

/* The keys that were taken, as a set. */
static PyObject *run_update(bpx_registry *self, PyObject *factory,
                            const bpx_dtype *precision, update_list *list,
                            unsigned flags)
{
    bpx_owner *owner = bpx_owner_find(self, factory);
    bool is_strict = (flags & BP_UPDATE_STRICT) != 0;
    if (owner == NULL && is_strict && first_key(list) != NULL) {
        return raise_unknown_key(self, factory, first_key(list));
    }
    if (is_strict && list->unusable != NULL) {
        return raise_unknown_key(self, factory, list->unusable);
    }
    if (owner == NULL) {
        return PySet_New(NULL);
    }
    bp_error error = {.status = BP_OK};
    if (bp_registry_update(self->core, owner->factory,
                           precision == NULL ? NULL : &precision->core,
                           list->items, list->n_items, flags,
                           &error) != BP_OK) {
        return bpx_raise(bpx_registry_state(self), &error);
    }
    if (precision != NULL) {
        owner->precision = precision;
    }
    return taken_keys(list);
}

/* ---- update ------------------------------------------------------------ */

/* update(factory, updates_dict=None, *, strict=False, **kw): what is left of
 * kwargs after `strict` (and the two positional ones by name) are updates. */
static int split_update(bpx_state *st, PyObject *args, PyObject *kwargs,
                        PyObject **factory, PyObject **updates, bool *strict)
{
    static const bpx_word words[] = {BPX_factory, BPX_updates_dict};
    PyObject *values[2] = {NULL, NULL};
    PyObject *flag = NULL;
    Py_ssize_t n_args = PyTuple_GET_SIZE(args);
    if (n_args > 2) {
        PyErr_Format(PyExc_TypeError,
                     "update() takes at most 2 positional arguments (%zd "
                     "given)",
                     n_args);
        return -1;
    }
    for (Py_ssize_t i = 0; i < 2; i++) {
        PyObject *word = st->words[words[i]];
        if (i < n_args) {
            values[i] = Py_NewRef(PyTuple_GET_ITEM(args, i));
        } else if (bpx_dict_get(kwargs, word, &values[i]) > 0 &&
                   PyDict_DelItem(kwargs, word) < 0) {
            goto fail;
        }
    }
    if (bpx_dict_get(kwargs, st->words[BPX_strict], &flag) > 0 &&
        (bpx_to_bool(st, flag, "strict", strict) < 0 ||
         PyDict_DelItem(kwargs, st->words[BPX_strict]) < 0)) {
        goto fail;
    }
    if (values[0] == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "update() misses the argument 'factory'");
        goto fail;
    }
    Py_XDECREF(flag);
    *factory = values[0];
    *updates = values[1];
    return 0;
fail:
    Py_XDECREF(flag);
    Py_XDECREF(values[0]);
    Py_XDECREF(values[1]);
    return -1;
}

PyObject *bpx_registry_update(PyObject *object, PyObject *args,
                              PyObject *kwargs)
{
    bpx_registry *self = (bpx_registry *)object;
    bpx_state *st = bpx_registry_state(self);
    PyObject *more = kwargs == NULL ? PyDict_New() : PyDict_Copy(kwargs);
    PyObject *factory = NULL;
    PyObject *updates = NULL;
    PyObject *taken = NULL;
    bool strict = false;
    if (more != NULL &&
        split_update(st, args, more, &factory, &updates, &strict) == 0) {
        PyObject *const mappings[2] = {updates, more};
        update_list list;
        if (update_list_init(&list, st, mappings, 2, true) == 0) {
            taken = run_update(self, factory, NULL, &list,
                               strict ? BP_UPDATE_STRICT : 0u);
            update_list_fini(&list);
        }
    }
    Py_XDECREF(factory);
    Py_XDECREF(updates);
    Py_XDECREF(more);
    return taken;
}

PyObject *bpx_registry_update_with(PyObject *object, PyObject *const *args,
                                   Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "_update",
        4,
        2,
        2,
        {BPX_factory, BPX_mapping, BPX_strict, BPX_precision}};
    bpx_registry *self = (bpx_registry *)object;
    bpx_state *st = bpx_registry_state(self);
    PyObject *given[4];
    bool strict = false;
    const bpx_dtype *precision = NULL;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        (given[2] != NULL &&
         bpx_to_bool(st, given[2], "strict", &strict) < 0)) {
        return NULL;
    }
    if (given[3] != NULL && given[3] != Py_None) {
        precision = bpx_dtype_convert(st, given[3]);
        if (precision == NULL) {
            return NULL;
        }
    }
    update_list list;
    if (update_list_init(&list, st, &given[1], 1, true) < 0) {
        return NULL;
    }
    PyObject *taken = run_update(self, given[0], precision, &list,
                                 strict ? BP_UPDATE_STRICT : 0u);
    update_list_fini(&list);
    return taken;
}

PyObject *bpx_registry_probe(PyObject *object, PyObject *const *args,
                             Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "_probe", 2, 2, 2, {BPX_factory, BPX_mapping}};
    bpx_registry *self = (bpx_registry *)object;
    bpx_state *st = bpx_registry_state(self);
    PyObject *given[2];
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    update_list list;
    if (update_list_init(&list, st, &given[1], 1, false) < 0) {
        return NULL;
    }
    PyObject *taken =
        run_update(self, given[0], NULL, &list, BP_UPDATE_DRY_RUN);
    update_list_fini(&list);
    return taken;
}

/* ---- overrides --------------------------------------------------------- */

static PyObject *overrides_dict(const bpx_registry *self,
                                const bp_entries *entries)
{
    bpx_state *st = bpx_registry_state(self);
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict != NULL && i < entries->n_entries; i++) {
        const bp_entry *entry = &entries->entries[i];
        if (!entry->has_override) {
            continue;
        }
        PyObject *key = PyUnicode_FromFormat("%s_location", entry->name);
        if (key == NULL ||
            PyDict_SetItem(dict, key, st->locations[entry->override_location]) <
                0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(key);
    }
    return dict;
}

PyObject *bpx_registry_overrides(PyObject *self, PyObject *const *args,
                                 Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "overrides", 1, 1, 1, {BPX_factory}};
    return bpx_registry_read(self, &signature, overrides_dict, args, n_args,
                             kwnames);
}

PyObject *bpx_registry_reset_overrides(PyObject *self, PyObject *const *args,
                                       Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_factory_call call = {
        {"reset_overrides", 1, 1, 1, {BPX_factory}},
        bp_registry_reset_overrides,
        false};
    return bpx_registry_call(self, &call, args, n_args, kwnames);
}
