/* retire.c - memory on its way out: when its events have passed it is freed; a
 * backend that would not free it is asked again. */
#include "runtime/act.h"

/* Pieces looked at in one go, between two times under the lock. */
enum { N_AT_ONCE = 16 };

typedef enum outcome {
    WAITS, /* the device may still use it */
    STUCK, /* its events have passed, but it would not be freed */
    FREED, /* its contents are where they go */
    LOST   /* the backend failed */
} outcome;

static outcome after_failure(const bp__piece *piece, outcome otherwise)
{
    return bp__backend_is_failed(piece->backend) ? LOST : otherwise;
}

static outcome poll_done(bp_tree *tree, bp__piece *piece)
{
    const bp__backend_table *table = piece->backend->table;
    bool has_passed = false;
    if (piece->done == BP__NO_EVENT) {
        return FREED;
    }
    if (table->event_query(piece->backend, piece->done, &has_passed, NULL) !=
        BP_OK) {
        return after_failure(piece, WAITS);
    }
    if (!has_passed) {
        return WAITS;
    }
    table->event_close(piece->backend, piece->done);
    bp__copy_unref(tree, piece->backend, piece->copy);
    piece->done = BP__NO_EVENT;
    piece->copy = NULL;
    return FREED;
}

/* Of a taken piece. */
static outcome work_on(bp_tree *tree, bp__piece *piece)
{
    if (piece->needs_sync && bp__piece_drain(tree, piece, NULL) != BP_OK) {
        return after_failure(piece, STUCK);
    }
    if (bp__piece_poll_uses(piece, NULL) != BP_OK) {
        return after_failure(piece, WAITS);
    }
    outcome answer = poll_done(tree, piece);
    if (answer != FREED || piece->n_uses != 0) {
        return answer == LOST ? LOST : WAITS;
    }
    if (piece->has_memory) {
        if (piece->backend->table->free(piece->backend, piece->memory, NULL) !=
            BP_OK) {
            return after_failure(piece, STUCK);
        }
        piece->has_memory = false;
    }
    return FREED;
}

static size_t take_retirees_locked(bp_tree *tree, uint64_t ticket,
                                   bp__piece **out)
{
    size_t n = 0;
    for (bp__block *block = tree->retirees; block != NULL && n < N_AT_ONCE;
         block = block->next) {
        bp__piece *piece = bp__piece_of(block);
        if (!piece->is_taken && piece->seen < ticket) {
            piece->is_taken = true;
            piece->seen = ticket;
            out[n++] = piece;
        }
    }
    return n;
}

/* True if the piece is the caller's to free. */
static bool apply_locked(bp_tree *tree, bp__piece *piece, outcome what)
{
    piece->is_taken = false;
    if (what == WAITS) {
        return false;
    }
    piece->is_held = false;
    bp__slot *slot = piece->base.slot;
    /* Where a sync failed, a copy may still be under way: not gone. */
    if (slot != NULL && !(what == STUCK && piece->needs_sync)) {
        bp__slot_gone_locked(tree, slot,
                             piece->brings_contents && what != LOST);
    }
    if (what == STUCK) {
        bp__block_fail_locked(tree, &piece->base);
        return false;
    }
    bp__piece_retired_locked(tree, piece);
    return true;
}

void bp__poll_retirees(bp_tree *tree)
{
    bp__piece *pieces[N_AT_ONCE];
    outcome outcomes[N_AT_ONCE];
    bp_backend *backends[N_AT_ONCE];
    bool is_mine[N_AT_ONCE];
    uint64_t ticket = bp__tree_tick(tree);
    size_t n;
    do {
        bp__mutex_lock(&tree->lock);
        n = take_retirees_locked(tree, ticket, pieces);
        bp__tree_leave(tree);
        for (size_t i = 0; i < n; i++) {
            outcomes[i] = work_on(tree, pieces[i]);
        }
        bp__mutex_lock(&tree->lock);
        for (size_t i = 0; i < n; i++) {
            /* Once its last piece is gone, the manager may go, too. */
            backends[i] = bp_backend_ref(pieces[i]->backend);
            is_mine[i] = apply_locked(tree, pieces[i], outcomes[i]);
        }
        if (n != 0) {
            bp__condition_broadcast(&tree->changed);
        }
        bp__tree_leave(tree);
        for (size_t i = 0; i < n; i++) {
            if (is_mine[i]) {
                bp__piece_free(tree, pieces[i]);
            }
            bp_backend_unref(backends[i]);
        }
    } while (n == N_AT_ONCE);
}

/* ---- busy slots -------------------------------------------------------- */

static size_t take_busy_locked(bp_tree *tree, uint64_t ticket, bp__piece **out)
{
    size_t n = 0;
    for (bp__piece *piece = tree->busy; piece != NULL && n < N_AT_ONCE;
         piece = piece->next_busy) {
        if (!piece->is_taken && piece->seen < ticket) {
            piece->is_taken = true;
            piece->seen = ticket;
            out[n++] = piece;
        }
    }
    return n;
}

void bp__poll_busy(bp_tree *tree)
{
    bp__piece *pieces[N_AT_ONCE];
    uint64_t ticket = bp__tree_tick(tree);
    size_t n;
    do {
        bp__mutex_lock(&tree->lock);
        n = take_busy_locked(tree, ticket, pieces);
        bp__tree_leave(tree);
        for (size_t i = 0; i < n; i++) {
            /* An event that cannot be asked for has not passed. */
            bp_status status = bp__piece_poll_uses(pieces[i], NULL);
            (void)status;
        }
        bp__mutex_lock(&tree->lock);
        for (size_t i = 0; i < n; i++) {
            bp__piece_note_busy_locked(tree, pieces[i]);
            pieces[i]->is_taken = false;
        }
        if (n != 0) {
            bp__condition_broadcast(&tree->changed);
        }
        bp__tree_leave(tree);
    } while (n == N_AT_ONCE);
}

/* ---- leaving ----------------------------------------------------------- */

void bp__piece_undo_locked(bp_tree *tree, bp__piece *piece)
{
    piece->is_undone = true;
    bp__block_retire_locked(tree, &piece->base);
}

void bp__piece_shed_locked(bp_tree *tree, bp__piece *piece)
{
    bp__move(piece->base.budget, piece->base.n_charged, BP__USED, BP__RETIRING);
    bp__piece_undo_locked(tree, piece);
    bp__budget_changed_locked(tree, piece->base.budget, false);
}

/* What was taken from a reservation goes back to it, if it is still open, and
 * not through `available`. */
static void pay_back_locked(bp_tree *tree, bp__piece *piece)
{
    bp__reservation *reservation =
        bp__handles_get(&tree->reservations, piece->claim.reservation);
    uint64_t n = piece->claim.from_reservation;
    if (piece->is_undone && reservation != NULL && n != 0) {
        bp__move(piece->base.budget, n, BP__RETIRING, BP__RESERVED);
        reservation->n_left += n;
        piece->base.n_charged -= n;
    }
}

void bp__piece_retired_locked(bp_tree *tree, bp__piece *piece)
{
    pay_back_locked(tree, piece);
    bp__block_retired_locked(tree, &piece->base);
}

/* Something of this batch waits for nobody but us. */
static bool has_own_left(const bp_tree *tree, uint64_t batch)
{
    for (const bp__block *block = tree->retirees; block != NULL;
         block = block->next) {
        const bp__piece *piece = (const bp__piece *)block;
        if (piece->batch == batch && !block->is_failed && !piece->is_foreign &&
            !bp__stream_is_held_locked(tree, piece->backend)) {
            return true;
        }
    }
    return false;
}

void bp__await_batch_locked(bp_tree *tree, uint64_t batch)
{
    bp__pause pause = {.step_ns = 0};
    for (;;) {
        bp__mutex_unlock(&tree->lock);
        bp__poll_retirees(tree);
        bp__mutex_lock(&tree->lock);
        if (pause.n_pauses >= BP__MAX_LOOKS || !has_own_left(tree, batch)) {
            return;
        }
        bp_status status = bp__pause_locked(tree, NULL, &pause, NULL);
        (void)status; /* a wait for ourselves ends by itself */
    }
}
