/* tree.c - birth and death of budget trees, and the door to them. */
#include "device/tree.h"

#include "base/alloc.h"
#include "device/ledger.h"

bp_status bp__refuse_stale(bp_error *error, const char *what)
{
    return bp_fail(error, BP_STALE, "the %s behind this handle is gone", what);
}

bp_status bp__refuse_memory_of(bp_error *error, const char *what)
{
    return bp_fail(error, BP_NO_MEMORY, "out of host memory for %s", what);
}

/* ---- birth and death --------------------------------------------------- */

bp_status bp_tree_new(uint32_t n_records, const bp_allocator *alloc,
                      bp_tree **out, bp_error *error)
{
    bp_allocator source = bp__allocator_or_default(alloc);
    bp_tree *tree = bp__alloc_array(&source, 1, sizeof *tree);
    if (tree == NULL) {
        return bp__refuse_memory_of(error, "a budget tree");
    }
    tree->alloc = source;
    tree->epoch = bp_process_epoch();
    tree->retirees_end = &tree->retirees;
    bp_status status = BP_NO_MEMORY;
    if (!bp__mutex_init(&tree->lock)) {
        (void)bp__refuse_memory_of(error, "a lock");
        goto fail;
    }
    if (!bp__condition_init(&tree->changed)) {
        (void)bp__refuse_memory_of(error, "a lock");
        goto fail_condition;
    }
    status = bp__log_init(&tree->log, n_records, &source, &tree->lock,
                          &tree->generations, error);
    if (status != BP_OK) {
        goto fail_log;
    }
    tree->log.n_promised = &tree->slots.n_items;
    *out = tree;
    return BP_OK;

fail_log:
    bp__condition_fini(&tree->changed);
fail_condition:
    bp__mutex_fini(&tree->lock);
fail:
    bp__free_array(&source, tree, 1, sizeof *tree);
    return status;
}

static void free_ledger(bp_tree *tree)
{
    const bp_allocator *alloc = &tree->alloc;
    size_t i = 0;
    for (void *item; (item = bp__handles_next(&tree->reservations, &i)); i++) {
        bp__free_array(alloc, item, 1, sizeof(bp__reservation));
    }
    i = 0;
    for (void *item; (item = bp__handles_next(&tree->watches, &i)); i++) {
        bp__free_array(alloc, item, 1, sizeof(bp__watch));
    }
    i = 0;
    for (void *item; (item = bp__handles_next(&tree->budgets, &i)); i++) {
        bp__budget_free(tree, item);
    }
}

static void free_lists(bp_tree *tree)
{
    for (bp__stamps *stamps = tree->stamps; stamps != NULL;) {
        bp__stamps *next = stamps->next;
        bp__free_array(&tree->alloc, stamps, 1, sizeof *stamps);
        stamps = next;
    }
    for (bp_deferred *put_off = bp__tree_take_deferred(tree);
         put_off != NULL;) {
        bp_deferred *next = put_off->next;
        bp_deferred_free(tree, put_off);
        put_off = next;
    }
}

/* Memory that only a backend could free belongs to it: at the end of a process
 * no backend is called any more, and what it has stays. */
static bool has_slots(const bp_tree *tree)
{
    return tree->managers.n_items != 0 || tree->slots.n_items != 0 ||
           tree->retirees != NULL || tree->claims != NULL;
}

void bp_tree_free(bp_tree *tree)
{
    if (tree == NULL || !bp_tree_is_ours(tree) || has_slots(tree)) {
        return;
    }
    bp_allocator alloc = tree->alloc;
    free_ledger(tree);
    free_lists(tree);
    bp__log_fini(&tree->log);
    bp__handles_fini(&tree->budgets, &alloc);
    bp__handles_fini(&tree->reservations, &alloc);
    bp__handles_fini(&tree->watches, &alloc);
    bp__handles_fini(&tree->managers, &alloc);
    bp__handles_fini(&tree->slots, &alloc);
    bp__condition_fini(&tree->changed);
    bp__mutex_fini(&tree->lock);
    bp__free_array(&alloc, tree, 1, sizeof *tree);
}

/* ---- what needs no lock ------------------------------------------------ */

bool bp_tree_is_ours(const bp_tree *tree)
{
    return tree->epoch == bp_process_epoch();
}

bp_allocator bp_tree_get_allocator(const bp_tree *tree)
{
    return tree->alloc; /* never changes */
}

bp_log *bp_tree_get_log(bp_tree *tree)
{
    return &tree->log;
}

bool bp_tree_is_unsettled(const bp_tree *tree)
{
    return atomic_load_explicit(&tree->deferred, memory_order_relaxed) !=
               NULL ||
           atomic_load_explicit(&tree->n_retirees, memory_order_relaxed) != 0 ||
           atomic_load_explicit(&tree->is_reclaim_due, memory_order_relaxed);
}

/* ---- the door ---------------------------------------------------------- */

bool bp__tree_enter_if_ours(bp_tree *tree)
{
    /* Another thread may have held the lock when the process forked: in the
     * child nobody will ever give it back. */
    if (!bp_tree_is_ours(tree)) {
        return false;
    }
    bp__mutex_lock(&tree->lock);
    return true;
}

bp_status bp__tree_enter(bp_tree *tree, bp_error *error)
{
    if (!bp__tree_enter_if_ours(tree)) {
        return bp_fail(error, BP_FORKED,
                       "this budget belongs to the parent process");
    }
    return BP_OK;
}

void bp__tree_leave(bp_tree *tree)
{
    if (tree->n_abandoned != 0) {
        bp__budgets_sweep_locked(tree);
    }
    bp__mutex_unlock(&tree->lock);
}
