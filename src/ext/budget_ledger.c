/* budget_ledger.c - Budget: the calls that change the ledger. */
#include "ext/device.h"

int bpx_parse_amount(bpx_state *st, const bpx_signature *signature,
                     PyObject *const *args, Py_ssize_t n_args,
                     PyObject *kwnames, uint64_t *n_bytes, const char **tag)
{
    PyObject *given[2];
    *tag = NULL;
    if (bpx_parse(st, signature, args, n_args, kwnames, given) < 0 ||
        bpx_to_bytes(st, given[0], "n", BP_BAD_SIZE, n_bytes) < 0) {
        return -1;
    }
    if (given[1] == NULL || given[1] == Py_None) {
        return 0;
    }
    return bpx_to_label(st, given[1], "a tag", tag);
}

PyObject *bpx_rounded(const bpx_budget *budget, uint64_t n_bytes)
{
    uint64_t rounded = n_bytes;
    (void)bp_round_up(n_bytes, budget->granularity, &rounded);
    return PyLong_FromUnsignedLongLong(rounded);
}

bool bpx_budget_fits(const bpx_budget *budget, uint64_t n_bytes)
{
    bp_tree *core = budget->tree->core;
    if (!bp_round_up(n_bytes, budget->granularity, &n_bytes)) {
        return false;
    }
    for (; budget != NULL; budget = budget->parent) {
        bp_budget_stats stats;
        if (bp_budget_get_stats(core, budget->handle, &stats, NULL) != BP_OK ||
            stats.available < n_bytes) {
            return false;
        }
    }
    return true;
}

void bpx_budget_rank_for(const bpx_budget *budget, uint64_t n_bytes)
{
    bpx_tree *tree = budget->tree;
    if (tree->ranked != NULL && !bpx_budget_fits(budget, n_bytes) &&
        bpx_tree_rank_all(tree) < 0) {
        (void)bpx_log_raised(bpx_tree_state(tree), "a policy", NULL);
    }
}

PyObject *bpx_budget_charge(PyObject *object, PyObject *const *args,
                            Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "charge", 2, 2, 1, {BPX_n, BPX_tag}};
    bpx_budget *self = (bpx_budget *)object;
    bpx_state *st = bpx_budget_state(self);
    uint64_t n_bytes;
    const char *tag;
    if (bpx_parse_amount(st, &signature, args, n_args, kwnames, &n_bytes,
                         &tag) < 0) {
        return NULL;
    }
    bp_error error;
    bp_shortage shortage;
    bpx_shortage_init(&shortage);
    bpx_budget_rank_for(self, n_bytes); /* a refusal names who could go */
    bpx_tree_before(self->tree);
    PyObject *result =
        bp_budget_charge(self->tree->core, self->handle, n_bytes, tag,
                         &shortage, &error) == BP_OK
            ? bpx_rounded(self, n_bytes)
            : bpx_raise_refused(st, &error, &shortage, NULL, NULL);
    return bpx_tree_after(self->tree, result);
}

PyObject *bpx_budget_refund(PyObject *object, PyObject *const *args,
                            Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "refund", 2, 2, 1, {BPX_n, BPX_tag}};
    bpx_budget *self = (bpx_budget *)object;
    bpx_state *st = bpx_budget_state(self);
    uint64_t n_bytes;
    const char *tag;
    if (bpx_parse_amount(st, &signature, args, n_args, kwnames, &n_bytes,
                         &tag) < 0) {
        return NULL;
    }
    bp_error error;
    bpx_tree_before(self->tree);
    PyObject *result = bp_budget_refund(self->tree->core, self->handle, n_bytes,
                                        tag, &error) == BP_OK
                           ? bpx_rounded(self, n_bytes)
                           : bpx_raise(st, &error);
    return bpx_tree_after(self->tree, result);
}

PyObject *bpx_budget_reserve(PyObject *object, PyObject *n)
{
    bpx_budget *self = (bpx_budget *)object;
    uint64_t n_bytes;
    if (bpx_to_bytes(bpx_budget_state(self), n, "n", BP_BAD_SIZE, &n_bytes) <
        0) {
        return NULL;
    }
    bpx_budget_rank_for(self, n_bytes);
    bpx_tree_before(self->tree);
    return bpx_tree_after(self->tree, bpx_reservation_new(self, n_bytes));
}

PyObject *bpx_budget_set_limit(PyObject *object, PyObject *limit)
{
    bpx_budget *self = (bpx_budget *)object;
    bpx_state *st = bpx_budget_state(self);
    uint64_t n_bytes;
    bool is_deferred;
    bp_error error;
    if (bpx_to_uint64(st, limit, "limit", BP_BAD_VALUE, &n_bytes) < 0) {
        return NULL;
    }
    bpx_tree_before(self->tree);
    PyObject *result =
        bp_budget_set_limit(self->tree->core, self->handle, n_bytes,
                            &is_deferred, &error) == BP_OK
            ? PyBool_FromLong(is_deferred)
            : bpx_raise(st, &error);
    return bpx_tree_after(self->tree, result);
}

PyObject *bpx_budget_trim(PyObject *object, PyObject *Py_UNUSED(unused))
{
    bpx_budget *self = (bpx_budget *)object;
    uint64_t freed;
    bp_error error;
    bp_status status;
    if (bpx_tree_rank_all(self->tree) < 0) {
        return NULL;
    }
    bpx_tree_before(self->tree);
    Py_BEGIN_ALLOW_THREADS
    status = bp_budget_trim(self->tree->core, self->handle, &freed, &error);
    Py_END_ALLOW_THREADS
    PyObject *result = status == BP_OK
                           ? PyLong_FromUnsignedLongLong(freed)
                           : bpx_raise(bpx_budget_state(self), &error);
    return bpx_tree_after(self->tree, result);
}

/* The slots that went all the same; NULL, and no exception, without memory. */
static PyObject *evicted_since(bpx_tree *tree, uint64_t seq)
{
    PyObject *evicted = bpx_tree_evicted_since(tree, seq);
    if (evicted == NULL) {
        PyErr_Clear();
    }
    return evicted;
}

static PyObject *make_room(bpx_budget *self, uint64_t n_bytes, bpx_wait *wait)
{
    bp_tree *core = self->tree->core;
    bp_error error;
    bp_shortage shortage;
    uint64_t freed;
    bpx_shortage_init(&shortage);
    uint64_t seq = bpx_tree_seq(self->tree);
    bpx_wait_begin(wait);
    bp_status status =
        bp_budget_make_room(core, self->handle, BP_NO_SLOTS, n_bytes,
                            &wait->core, &freed, &shortage, &error);
    bpx_wait_end(wait);
    if (status == BP_OK) {
        return PyLong_FromUnsignedLongLong(freed);
    }
    PyObject *evicted = evicted_since(self->tree, seq);
    bpx_raise_refused(bpx_budget_state(self), &error, &shortage, wait, evicted);
    Py_XDECREF(evicted);
    return NULL;
}

PyObject *bpx_budget_make_room(PyObject *object, PyObject *const *args,
                               Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "make_room", 2, 2, 1, {BPX_n, BPX_timeout}};
    bpx_budget *self = (bpx_budget *)object;
    bpx_state *st = bpx_budget_state(self);
    PyObject *given[2];
    uint64_t n_bytes;
    bpx_wait wait;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        bpx_to_bytes(st, given[0], "n", BP_BAD_SIZE, &n_bytes) < 0 ||
        bpx_wait_init(st, &wait, given[1]) < 0 ||
        (self->tree->ranked != NULL && !bpx_budget_fits(self, n_bytes) &&
         bpx_tree_rank_all(self->tree) < 0)) {
        return NULL;
    }
    bpx_tree_before(self->tree);
    return bpx_tree_after(self->tree, make_room(self, n_bytes, &wait));
}
