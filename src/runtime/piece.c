/* piece.c - pieces of device memory: who works on one, and until when the
 * device may use it. */
#include "runtime/act.h"

#include "base/alloc.h"

#include <assert.h>

bp__piece *bp__piece_new(bp_tree *tree, bp__manager *manager,
                         uint64_t n_charged)
{
    bp__piece *piece = bp__alloc_array(&tree->alloc, 1, sizeof *piece);
    if (piece == NULL) {
        return NULL;
    }
    piece->base.budget = manager->budget;
    piece->base.manager = manager;
    piece->base.n_charged = n_charged;
    piece->backend = manager->backend;
    return piece;
}

static void close_uses(bp__piece *piece)
{
    for (size_t i = 0; i < piece->n_uses; i++) {
        piece->backend->table->event_close(piece->backend,
                                           piece->uses[i].event);
    }
    piece->n_uses = 0;
}

static void close_done(bp_tree *tree, bp__piece *piece)
{
    piece->backend->table->event_close(piece->backend, piece->done);
    piece->done = BP__NO_EVENT;
    bp__copy_unref(tree, piece->backend, piece->copy);
    piece->copy = NULL;
}

void bp__piece_free(bp_tree *tree, bp__piece *piece)
{
    if (piece == NULL) {
        return;
    }
    assert(piece->busy_link == NULL);
    close_uses(piece);
    close_done(tree, piece);
    bp__free_array(&tree->alloc, piece->uses, piece->use_capacity,
                   sizeof *piece->uses);
    bp__free_array(&tree->alloc, piece, 1, sizeof *piece);
}

/* ---- who has it -------------------------------------------------------- */

void bp__piece_take_locked(bp_tree *tree, bp__piece *piece)
{
    while (piece->is_taken) {
        bp__wait_changed_locked(tree);
    }
    piece->is_taken = true;
}

void bp__piece_give_locked(bp_tree *tree, bp__piece *piece)
{
    assert(piece->is_taken);
    piece->is_taken = false;
    bp__condition_broadcast(&tree->changed);
}

/* ---- uses -------------------------------------------------------------- */

bp__event bp__piece_add_use_locked(bp_tree *tree, bp__piece *piece, bp__use use)
{
    for (size_t i = 0; i < piece->n_uses; i++) {
        if (piece->uses[i].stream == use.stream) {
            /* A later event of the same stream says all of the earlier one. */
            bp__event old = piece->uses[i].event;
            piece->uses[i].event = use.event;
            return old;
        }
    }
    if (!bp__grow(&tree->alloc, &piece->uses, &piece->use_capacity,
                  piece->n_uses + 1, sizeof *piece->uses)) {
        piece->needs_sync = true;
        return use.event;
    }
    piece->uses[piece->n_uses++] = use;
    return BP__NO_EVENT;
}

static void unlink_busy(bp__piece *piece)
{
    if (piece->busy_link != NULL) {
        *piece->busy_link = piece->next_busy;
        if (piece->next_busy != NULL) {
            piece->next_busy->busy_link = piece->busy_link;
        }
        piece->next_busy = NULL;
        piece->busy_link = NULL;
    }
}

static void link_busy(bp_tree *tree, bp__piece *piece)
{
    if (piece->busy_link == NULL) {
        piece->next_busy = tree->busy;
        if (piece->next_busy != NULL) {
            piece->next_busy->busy_link = &piece->next_busy;
        }
        piece->busy_link = &tree->busy;
        tree->busy = piece;
    }
}

void bp__piece_note_busy_locked(bp_tree *tree, bp__piece *piece)
{
    bp__slot *slot = piece->resident;
    bool is_resident = slot != NULL && slot->state == BP_SLOT_RESIDENT;
    if (piece->n_uses != 0 && is_resident) {
        link_busy(tree, piece);
    } else {
        unlink_busy(piece);
    }
    if (is_resident) {
        slot->is_busy = piece->n_uses != 0;
    }
}

bp_status bp__piece_poll_uses(bp__piece *piece, bp_error *error)
{
    const bp__backend_table *table = piece->backend->table;
    bp_status status = BP_OK;
    size_t n_left = 0;
    for (size_t i = 0; i < piece->n_uses; i++) {
        bp__use use = piece->uses[i];
        bool has_passed = false;
        if (status == BP_OK) {
            status = table->event_query(piece->backend, use.event, &has_passed,
                                        error);
        }
        if (status == BP_OK && has_passed) {
            table->event_close(piece->backend, use.event);
        } else {
            piece->uses[n_left++] = use;
        }
    }
    piece->n_uses = n_left;
    return status;
}

bp_status bp__piece_drain(bp_tree *tree, bp__piece *piece, bp_error *error)
{
    bp_status status =
        piece->backend->table->synchronize(piece->backend, error);
    if (status == BP_OK) {
        piece->needs_sync = false;
        close_uses(piece);
        close_done(tree, piece);
    }
    return status;
}
