/* tree.c - a budget tree as an object, and what happens around every call on
 * it. */
#include "ext/device.h"

/* ---- life -------------------------------------------------------------- */

bpx_tree *bpx_tree_new(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    bpx_tree *self = (bpx_tree *)st->tree_type->tp_alloc(st->tree_type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->module = Py_NewRef(module);
    bp_error error = {.status = BP_OK};
    bp_allocator alloc = bp_allocator_default();
    if (bp_tree_new(0, &alloc, &self->core, &error) != BP_OK) {
        bpx_raise(st, &error);
        Py_DECREF(self);
        return NULL;
    }
    self->source.core = bp_tree_get_log(self->core);
    if (bp_cursor_open(self->source.core, NULL, &self->lines, &error) !=
        BP_OK) {
        bpx_raise(st, &error);
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

static int tree_traverse(PyObject *object, visitproc visit, void *arg)
{
    bpx_tree *self = (bpx_tree *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->module);
    return bpx_source_traverse(&self->source, visit, arg);
}

static int tree_clear(PyObject *object)
{
    bpx_source_clear(&((bpx_tree *)object)->source);
    return 0;
}

/* Whoever put work off is gone; the log's records go unread. */
static void tree_dealloc(PyObject *object)
{
    bpx_tree *self = (bpx_tree *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    (void)tree_clear(object);
    if (self->core != NULL) {
        bpx_tree_settle(self);
        bp_tree_free(self->core);
    }
    PyMem_Free(self->watches);
    PyMem_Free(self->edges);
    Py_XDECREF(self->log_ref);
    Py_XDECREF(self->module);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyType_Slot tree_slots[] = {{Py_tp_dealloc, tree_dealloc},
                                   {Py_tp_traverse, tree_traverse},
                                   {Py_tp_clear, tree_clear},
                                   {0, NULL}};

static PyType_Spec tree_spec = {
    .name = "bayplan._core._Tree",
    .basicsize = sizeof(bpx_tree),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = tree_slots,
};

int bpx_tree_add_type(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    st->tree_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &tree_spec, NULL);
    return st->tree_type == NULL ? -1 : 0;
}

void bpx_tree_defer(bpx_tree *tree, bp_deferred *deferred, bp_deferral what,
                    uint64_t handle)
{
    if (deferred == NULL || !bpx_tree_is_ours(tree)) {
        return;
    }
    if (handle == 0) {
        bp_deferred_free(tree->core, deferred);
    } else {
        bp_tree_defer(tree->core, deferred, what, handle);
    }
}

/* ---- the log's records ------------------------------------------------- */

uint64_t bpx_tree_seq(bpx_tree *tree)
{
    uint64_t first;
    uint64_t next = 0;
    bp_log_range(tree->source.core, &first, &next);
    return next;
}

enum { N_AT_ONCE = 16 };

static bool is_for_room(const bp_record *record)
{
    return record->cause == BP_CAUSE_PRESSURE ||
           record->cause == BP_CAUSE_LIMIT || record->cause == BP_CAUSE_OOM;
}

/* 0, or -1 with an exception; the records are released in any case. */
static int append_keys(PyObject *list, bp_record *records, size_t n)
{
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        if (rc == 0 && is_for_room(&records[i])) {
            PyObject *key = PyUnicode_FromString(bp_key_text(records[i].key));
            rc = key == NULL ? -1 : PyList_Append(list, key);
            Py_XDECREF(key);
        }
        bp_record_fini(&records[i]);
    }
    return rc;
}

/* A cursor at `seq`; false and an exception. */
static bool open_at(bpx_state *st, bp_log *log, uint64_t seq, bp_cursor *out)
{
    bp_error error = {.status = BP_OK};
    bp_status status = bp_cursor_open(log, NULL, out, &error);
    if (status == BP_OK) {
        status = bp_cursor_resync(log, *out, seq, &error);
        if (status != BP_OK) {
            bp_cursor_close(log, *out);
        }
    }
    if (status != BP_OK) {
        bpx_raise(st, &error);
    }
    return status == BP_OK;
}

PyObject *bpx_tree_evicted_since(bpx_tree *tree, uint64_t seq)
{
    bp_log *log = tree->source.core;
    bp_cursor cursor;
    if (bpx_tree_seq(tree) == seq) {
        return PyTuple_New(0);
    }
    PyObject *list = PyList_New(0);
    if (list == NULL || !open_at(bpx_tree_state(tree), log, seq, &cursor)) {
        Py_XDECREF(list);
        return NULL;
    }
    bp_record records[N_AT_ONCE];
    size_t n;
    while (list != NULL &&
           (n = bp_cursor_drain(log, cursor, records, N_AT_ONCE)) > 0) {
        if (append_keys(list, records, n) < 0) {
            Py_CLEAR(list);
        }
    }
    bp_cursor_close(log, cursor);
    PyObject *tuple = list == NULL ? NULL : PyList_AsTuple(list);
    Py_XDECREF(list);
    return tuple;
}

/* ---- debug lines ------------------------------------------------------- */

/* Borrowed, NULL with an exception. */
static PyObject *logger_of(bpx_state *st)
{
    if (st->logger == NULL) {
        PyObject *logging = PyImport_ImportModule("logging");
        if (logging != NULL) {
            st->logger =
                PyObject_CallMethod(logging, "getLogger", "s", "bayplan");
            Py_DECREF(logging);
        }
    }
    return st->logger;
}

/* A pending call's: raise what `exception` holds, which is given up. */
static int raise_pending(void *exception)
{
    bpx_exception_give(exception);
    return -1;
}

static bool is_main_thread(void)
{
    PyObject *threading = PyImport_ImportModule("threading");
    PyObject *thread =
        threading == NULL ? NULL
                          : PyObject_CallMethod(threading, "main_thread", NULL);
    PyObject *ident =
        thread == NULL ? NULL : PyObject_GetAttrString(thread, "ident");
    bool is_main = ident != NULL &&
                   PyLong_AsUnsignedLong(ident) == PyThread_get_thread_ident();
    PyErr_Clear();
    Py_XDECREF(ident);
    Py_XDECREF(thread);
    Py_XDECREF(threading);
    return is_main;
}

/* SystemExit is set: have it raised again as soon as Python code runs. The main
 * thread's keeps its status; elsewhere it ends a thread, which has none. */
static void raise_exit_later(void)
{
    PyObject *exception = bpx_exception_take();
    if (is_main_thread() && Py_AddPendingCall(raise_pending, exception) == 0) {
        return;
    }
    (void)PyThreadState_SetAsyncExc(PyThread_get_thread_ident(),
                                    PyExc_SystemExit);
    Py_DECREF(exception);
}

/* What asks for the end of the program or the thread is no failure to log. */
static bool is_farewell(void)
{
    return PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
           PyErr_ExceptionMatches(PyExc_SystemExit);
}

bool bpx_log_raised(bpx_state *st, const char *what, PyObject *callback)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit)) {
        raise_exit_later();
        return true;
    }
    if (is_farewell()) {
        PyErr_Clear();
        PyErr_SetInterrupt();
        return true;
    }
    PyObject *exception = bpx_exception_take();
    PyObject *logger = logger_of(st);
    PyObject *method =
        logger == NULL ? NULL : PyObject_GetAttrString(logger, "error");
    PyObject *args = callback == NULL ? Py_BuildValue("(ss)", "%s raised", what)
                                      : Py_BuildValue("(ssO)", "%s raised: %r",
                                                      what, callback);
    PyObject *kwargs = Py_BuildValue("{sO}", "exc_info", exception);
    if (method != NULL && args != NULL && kwargs != NULL) {
        Py_XDECREF(PyObject_Call(method, args, kwargs));
    }
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(callback); /* the log itself failed */
    }
    Py_XDECREF(method);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    Py_XDECREF(exception);
    return false;
}

bool bpx_callback_raised(bpx_state *st, const char *what, PyObject *callback,
                         bool *has_raised)
{
    bool is_over = is_farewell();
    if (*has_raised && !is_over) {
        PyErr_Clear();
        return false;
    }
    *has_raised |= !is_over;
    return bpx_log_raised(st, what, callback);
}

/* 1: debug lines are wanted; -1 with an exception. */
static int is_debugging(PyObject *logger)
{
    enum { DEBUG = 10 };
    PyObject *answer = PyObject_CallMethod(logger, "isEnabledFor", "i", DEBUG);
    int rc = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return rc;
}

/* 0, or -1 with an exception; the records are released in any case. */
static int write_lines(PyObject *logger, bp_record *records, size_t n)
{
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        const bp_record *r = &records[i];
        PyObject *answer =
            rc < 0 ? NULL
                   : PyObject_CallMethod(
                         logger, "debug", "sssKKK",
                         "evicted %r (%s): %d bytes, generation %d, seq %d",
                         bp_key_text(r->key), bp_cause_name(r->cause),
                         (unsigned long long)r->n_bytes,
                         (unsigned long long)r->generation,
                         (unsigned long long)r->seq);
        rc = answer == NULL ? -1 : rc;
        Py_XDECREF(answer);
        bp_record_fini(&records[i]);
    }
    return rc;
}

/* Lines for all records before `end`. */
static int write_lines_until(bpx_tree *tree, PyObject *logger, uint64_t end)
{
    bp_record records[N_AT_ONCE];
    uint64_t seq = 0;
    int rc = 0;
    while (rc == 0 && seq < end) {
        size_t n =
            bp_cursor_drain(tree->source.core, tree->lines, records, N_AT_ONCE);
        if (n == 0) {
            break;
        }
        seq = records[n - 1].seq + 1;
        rc = write_lines(logger, records, n);
    }
    return rc;
}

/* Every record has its line once, whichever thread comes first. */
static void write_news(bpx_tree *tree)
{
    uint64_t end = bpx_tree_seq(tree);
    if (end <= tree->next_seq) {
        return;
    }
    tree->next_seq = end;
    PyObject *logger = logger_of(bpx_tree_state(tree));
    int rc = logger == NULL ? -1 : is_debugging(logger);
    if (rc > 0) {
        rc = write_lines_until(tree, logger, end);
    } else if (bp_cursor_resync(tree->source.core, tree->lines, end, NULL) !=
               BP_OK) {
        tree->next_seq = end; /* a forked child: nothing will come */
    }
    if (rc < 0) {
        PyErr_WriteUnraisable(logger);
    }
}

/* ---- around every call ------------------------------------------------- */

void bpx_tree_settle(bpx_tree *tree)
{
    Py_BEGIN_ALLOW_THREADS
    bp_tree_settle(tree->core);
    Py_END_ALLOW_THREADS
}

void bpx_tree_before(bpx_tree *tree)
{
    if (bp_tree_is_unsettled(tree->core) && !bpx_tree_is_asking(tree)) {
        bpx_tree_settle(tree);
    }
}

/* No exception is set, on entry and on return. */
static void deliver(bpx_tree *tree)
{
    bpx_state *st = bpx_tree_state(tree);
    if (bp_tree_is_unsettled(tree->core)) {
        if (tree->has_evict_at && bpx_tree_rank_all(tree) < 0) {
            (void)bpx_log_raised(st, "a policy", NULL);
        }
        bpx_tree_settle(tree);
    }
    write_news(tree);
    if (bpx_tree_has_edges(tree)) {
        PyObject *edges = bpx_tree_deliver_edges(tree);
        if (edges == NULL) {
            PyErr_WriteUnraisable(NULL); /* no memory; the edges come later */
        }
        Py_XDECREF(edges);
    }
    bpx_source_deliver(st, &tree->source);
}

PyObject *bpx_tree_after_drain(bpx_tree *tree, PyObject *result)
{
    if (tree->is_delivering) {
        return bpx_tree_after(tree, result);
    }
    Py_INCREF(tree);
    tree->is_delivering = true;
    tree->deliverer = PyThread_get_thread_ident();
    result = bpx_tree_after(tree, result);
    tree->is_delivering = false;
    Py_DECREF(tree);
    return result;
}

PyObject *bpx_tree_after(bpx_tree *tree, PyObject *result)
{
    if (!bp_tree_is_unsettled(tree->core) && !bpx_tree_has_edges(tree) &&
        !bp_log_has_news(tree->source.core)) {
        return result;
    }
    if (bpx_tree_is_asking(tree)) { /* the call that asks does it all */
        return result;
    }
    PyObject *exception = result == NULL ? bpx_exception_take() : NULL;
    Py_INCREF(tree); /* a call-back may drop the last budget */
    deliver(tree);
    Py_DECREF(tree);
    if (exception != NULL) {
        bpx_exception_give(exception);
    }
    return result;
}
