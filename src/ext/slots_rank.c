/* slots_rank.c - policies that are functions: ask them for every slot that
 * could go, before a call that may choose victims.
 *
 * All functions of a tree are asked before the first rank is set, so one that
 * raises changes nothing. They run without a lock and may do anything; a call
 * on the same tree from inside one goes by the ranks that are there.
 */
#include "ext/slots.h"

/* ---- who is asked ------------------------------------------------------- */

void bpx_slots_rank_join(bpx_slots *self)
{
    bpx_tree *tree = bpx_slots_tree(self);
    self->next_ranked = tree->ranked;
    tree->ranked = self;
    self->is_ranked = true;
}

void bpx_slots_rank_leave(bpx_slots *self)
{
    bpx_slots **link = &bpx_slots_tree(self)->ranked;
    while (*link != NULL && *link != self) {
        link = &(*link)->next_ranked;
    }
    if (*link != NULL) {
        *link = self->next_ranked;
    }
    self->is_ranked = false;
}

/* The managers to ask, as a list: those of the tree may come and go while
 * functions run. One without references is on its way out; weak references to
 * it are just being called. */
static PyObject *list_managers(const bpx_tree *tree)
{
    PyObject *list = PyList_New(0);
    for (bpx_slots *slots = tree->ranked; list != NULL && slots != NULL;
         slots = slots->next_ranked) {
        if (Py_REFCNT(slots) > 0 &&
            PyList_Append(list, (PyObject *)slots) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* ---- asking ------------------------------------------------------------- */

typedef struct ranking {
    bp_slot *handles;
    uint64_t *ranks;
    size_t n, capacity;
} ranking;

static void ranking_fini(ranking *r)
{
    PyMem_Free(r->handles);
    PyMem_Free(r->ranks);
}

static int ranking_add(ranking *r, bp_slot handle, uint64_t rank)
{
    if (r->n == r->capacity) {
        size_t capacity = r->capacity == 0 ? 32 : 2 * r->capacity;
        bp_slot *handles =
            PyMem_Realloc(r->handles, capacity * sizeof *handles);
        r->handles = handles == NULL ? r->handles : handles;
        uint64_t *ranks = PyMem_Realloc(r->ranks, capacity * sizeof *ranks);
        r->ranks = ranks == NULL ? r->ranks : ranks;
        if (handles == NULL || ranks == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        r->capacity = capacity;
    }
    r->handles[r->n] = handle;
    r->ranks[r->n++] = rank;
    return 0;
}

/* Cells of the slots that are resident, as a list. */
static PyObject *list_resident(const bpx_slots *self)
{
    bp_tree *tree = bpx_slots_tree(self)->core;
    PyObject *list = PyList_New(0);
    PyObject *name;
    PyObject *cell;
    Py_ssize_t i = 0;
    while (list != NULL && PyDict_Next(self->by_name, &i, &name, &cell)) {
        bp_slot_info info;
        if (bp_slot_get_info(tree, ((bpx_cell *)cell)->handle, &info, NULL) ==
                BP_OK &&
            info.state == BP_SLOT_RESIDENT && PyList_Append(list, cell) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* StaleHandle is set, and the slot is gone: another thread's doing, or that of
 * a policy. */
static bool is_gone(const bpx_slots *self, const bpx_cell *cell)
{
    bp_slot_info info;
    bpx_state *st = bpx_slots_state(self);
    return PyErr_ExceptionMatches(st->errors[BP_FAMILY_STALE]) &&
           bp_slot_get_info(bpx_slots_tree(self)->core, cell->handle, &info,
                            NULL) == BP_STALE;
}

/* policy(slot); NULL without an exception if the slot is gone. */
static PyObject *ask_one(bpx_slots *self, PyObject *policy, bpx_cell *cell)
{
    bpx_slot *slot = bpx_slot_of(self, cell);
    if (slot == NULL) {
        return NULL;
    }
    PyObject *key = PyObject_CallOneArg(policy, (PyObject *)slot);
    Py_DECREF(slot);
    if (key == NULL && is_gone(self, cell)) {
        PyErr_Clear();
    }
    return key;
}

/* The policy's answer for every cell; cells whose slots are gone are taken off
 * the list. */
static PyObject *ask(bpx_slots *self, PyObject *cells)
{
    PyObject *policy = Py_NewRef(self->policy);
    PyObject *keys = PyList_New(0);
    Py_ssize_t i = 0;
    while (keys != NULL && i < PyList_GET_SIZE(cells)) {
        PyObject *key =
            ask_one(self, policy, (bpx_cell *)PyList_GET_ITEM(cells, i));
        int rc = key != NULL        ? PyList_Append(keys, key)
                 : PyErr_Occurred() ? -1
                                    : PySequence_DelItem(cells, i);
        if (rc < 0) {
            Py_CLEAR(keys);
        }
        i += key != NULL;
        Py_XDECREF(key);
    }
    Py_DECREF(policy);
    return keys;
}

/* The places 0..n-1 in the order of their keys, by list.sort: `<` alone is
 * asked. */
static PyObject *sort_places(PyObject *keys)
{
    PyObject *places = PyList_New(0);
    PyObject *get = PyObject_GetAttrString(keys, "__getitem__");
    PyObject *sort =
        places == NULL ? NULL : PyObject_GetAttrString(places, "sort");
    bool is_ok = get != NULL && sort != NULL;
    for (Py_ssize_t i = 0; is_ok && i < PyList_GET_SIZE(keys); i++) {
        PyObject *place = PyLong_FromSsize_t(i);
        is_ok = place != NULL && PyList_Append(places, place) == 0;
        Py_XDECREF(place);
    }
    PyObject *how = is_ok ? Py_BuildValue("{sO}", "key", get) : NULL;
    PyObject *none = PyTuple_New(0);
    PyObject *answer =
        how == NULL || none == NULL ? NULL : PyObject_Call(sort, none, how);
    if (answer == NULL) {
        Py_CLEAR(places);
    }
    Py_XDECREF(answer);
    Py_XDECREF(none);
    Py_XDECREF(how);
    Py_XDECREF(sort);
    Py_XDECREF(get);
    return places;
}

/* Equal keys have equal ranks: age decides among them. */
static int rank_cells(PyObject *cells, PyObject *keys, PyObject *places,
                      ranking *r)
{
    uint64_t rank = 0;
    Py_ssize_t before = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(places); i++) {
        Py_ssize_t at = PyLong_AsSsize_t(PyList_GET_ITEM(places, i));
        if (at < 0) {
            return -1;
        }
        int is_later =
            i == 0 ? 0
                   : PyObject_RichCompareBool(PyList_GET_ITEM(keys, before),
                                              PyList_GET_ITEM(keys, at), Py_LT);
        rank += is_later > 0;
        bpx_cell *cell = (bpx_cell *)PyList_GET_ITEM(cells, at);
        if (is_later < 0 || ranking_add(r, cell->handle, rank) < 0) {
            return -1;
        }
        before = at;
    }
    return 0;
}

static int rank_manager(bpx_slots *self, ranking *r)
{
    int rc = -1;
    if (self->is_closed || self->policy == NULL) {
        return 0;
    }
    PyObject *cells = list_resident(self);
    PyObject *keys = cells == NULL ? NULL : ask(self, cells);
    PyObject *places = keys == NULL ? NULL : sort_places(keys);
    if (places != NULL) {
        rc = rank_cells(cells, keys, places, r);
    }
    Py_XDECREF(places);
    Py_XDECREF(keys);
    Py_XDECREF(cells);
    return rc;
}

/* ---- all of a tree ------------------------------------------------------ */

bool bpx_tree_is_asking(const bpx_tree *tree)
{
    for (const bpx_asking *a = tree->asking; a != NULL; a = a->next) {
        if (a->thread == PyThread_get_thread_ident()) {
            return true;
        }
    }
    return false;
}

static void stop_asking(bpx_tree *tree, const bpx_asking *me)
{
    bpx_asking **link = &tree->asking;
    while (*link != me) {
        link = &(*link)->next;
    }
    *link = me->next;
}

int bpx_tree_rank_all(bpx_tree *tree)
{
    if (tree->ranked == NULL || bpx_tree_is_asking(tree)) {
        return 0;
    }
    bpx_asking me = {.thread = PyThread_get_thread_ident(),
                     .next = tree->asking};
    ranking r = {.n = 0};
    PyObject *managers = list_managers(tree);
    int rc = managers == NULL ? -1 : 0;
    tree->asking = &me;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(managers); i++) {
        rc = rank_manager((bpx_slots *)PyList_GET_ITEM(managers, i), &r);
    }
    stop_asking(tree, &me);
    for (size_t i = 0; rc == 0 && i < r.n; i++) {
        bp_slot_set_rank(tree->core, r.handles[i], r.ranks[i]);
    }
    ranking_fini(&r);
    Py_XDECREF(managers);
    return rc;
}
