/* deferred.c - work that finalisers put off: a stack that any thread pushes to
 * without a lock, and that one settler takes whole. Taking all at once is what
 * keeps it simple: no node is ever popped while another thread looks at it. */
#include "device/tree.h"

#include "base/alloc.h"

bp_deferred *bp_deferred_new(bp_tree *tree)
{
    return bp__alloc_array(&tree->alloc, 1, sizeof(bp_deferred));
}

void bp_deferred_free(bp_tree *tree, bp_deferred *deferred)
{
    if (deferred != NULL && bp_tree_is_ours(tree)) {
        bp__free_array(&tree->alloc, deferred, 1, sizeof *deferred);
    }
}

void bp_tree_defer(bp_tree *tree, bp_deferred *deferred, bp_deferral what,
                   uint64_t handle)
{
    if (!bp_tree_is_ours(tree)) {
        return; /* the child of a fork has no use for it */
    }
    deferred->what = what;
    deferred->handle = handle;
    bp_deferred *top =
        atomic_load_explicit(&tree->deferred, memory_order_relaxed);
    do {
        deferred->next = top;
    } while (!atomic_compare_exchange_weak_explicit(
        &tree->deferred, &top, deferred, memory_order_release,
        memory_order_relaxed));
}

bp_deferred *bp__tree_take_deferred(bp_tree *tree)
{
    bp_deferred *top =
        atomic_exchange_explicit(&tree->deferred, NULL, memory_order_acquire);
    bp_deferred *oldest = NULL;
    while (top != NULL) {
        bp_deferred *next = top->next;
        top->next = oldest;
        oldest = top;
        top = next;
    }
    return oldest;
}
