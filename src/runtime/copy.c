/* copy.c - contents on the host: buffers, and the copies between them and
 * pieces. */
#include "runtime/act.h"

#include "base/alloc.h"

#include <string.h>

/* ---- buffers ----------------------------------------------------------- */

bp_status bp__copy_new(bp_tree *tree, bp_backend *backend, uint64_t n_bytes,
                       bp__copy **out, bp_error *error)
{
    bp__copy *copy = bp__alloc_array(&tree->alloc, 1, sizeof *copy);
    if (copy == NULL) {
        return bp__refuse_memory_of(error, "a host copy");
    }
    bp_status status =
        backend->table->host_alloc(backend, n_bytes, &copy->host, error);
    if (status != BP_OK) {
        bp__free_array(&tree->alloc, copy, 1, sizeof *copy);
        return status;
    }
    copy->n_bytes = n_bytes;
    atomic_init(&copy->n_refs, 1);
    *out = copy;
    return BP_OK;
}

bp__copy *bp__copy_ref(bp__copy *copy)
{
    atomic_fetch_add_explicit(&copy->n_refs, 1, memory_order_relaxed);
    return copy;
}

void bp__copy_unref(bp_tree *tree, bp_backend *backend, bp__copy *copy)
{
    if (copy == NULL || atomic_fetch_sub_explicit(&copy->n_refs, 1,
                                                  memory_order_acq_rel) != 1) {
        return;
    }
    backend->table->host_free(backend, copy->host, copy->n_bytes);
    bp__free_array(&tree->alloc, copy, 1, sizeof *copy);
}

bp__copy *bp__slot_set_copy_locked(bp__slot *slot, bp__copy *copy)
{
    bp__copy *old = slot->copy;
    slot->copy = copy;
    slot->n_copy_bytes = copy == NULL ? 0 : copy->n_bytes;
    return old;
}

/* ---- copies ------------------------------------------------------------ */

/* Something was enqueued and no event tells its end: wait for it now, or note
 * that someone has to. `copy` stays until then. */
static void end_unknown(bp_tree *tree, bp__piece *piece, bp__copy *copy)
{
    if (bp__piece_drain(tree, piece, NULL) != BP_OK) {
        piece->needs_sync = true;
        piece->copy = bp__copy_ref(copy);
    }
}

static bp_status record_done(bp_tree *tree, bp__piece *piece, bp__copy *copy,
                             bp_error *error)
{
    bp_status status = piece->backend->table->event_record(
        piece->backend, BP_NO_STREAM, &piece->done, error);
    if (status != BP_OK) {
        end_unknown(tree, piece, copy);
        return status;
    }
    piece->copy = bp__copy_ref(copy);
    return BP_OK;
}

static bp_status wait_done(bp_tree *tree, bp__piece *piece, bp_error *error)
{
    bp__pause pause = {.step_ns = 0};
    bool has_passed = false;
    while (!has_passed) {
        bp_status status = piece->backend->table->event_query(
            piece->backend, piece->done, &has_passed, error);
        if (status != BP_OK) {
            return status;
        }
        if (!has_passed && pause.n_pauses >= BP__MAX_LOOKS) {
            return bp__piece_drain(tree, piece, error);
        }
        if (!has_passed) {
            bp__mutex_lock(&tree->lock);
            status = bp__pause_locked(tree, NULL, &pause, error);
            bp__mutex_unlock(&tree->lock);
        }
        if (status != BP_OK) {
            return status;
        }
    }
    piece->backend->table->event_close(piece->backend, piece->done);
    piece->done = BP__NO_EVENT;
    bp__copy_unref(tree, piece->backend, piece->copy);
    piece->copy = NULL;
    return BP_OK;
}

bp_status bp__copy_into(bp_tree *tree, bp__piece *piece, bp__copy *copy,
                        bp_error *error)
{
    bp_status status = piece->backend->table->copy_in(
        piece->backend, piece->memory, 0, copy->host, copy->n_bytes, error);
    if (status == BP_OK) {
        status = record_done(tree, piece, copy, error);
    }
    return status == BP_OK ? wait_done(tree, piece, error) : status;
}

bp_status bp__copy_from(bp_tree *tree, bp__piece *piece, bp__copy *copy,
                        bp_error *error)
{
    const bp__backend_table *table = piece->backend->table;
    bp_status status = bp__piece_poll_uses(piece, error);
    for (size_t i = 0; status == BP_OK && i < piece->n_uses; i++) {
        status =
            table->event_await(piece->backend, piece->uses[i].event, error);
    }
    if (status == BP_OK) {
        status = table->copy_out(piece->backend, copy->host, piece->memory, 0,
                                 copy->n_bytes, error);
    }
    if (status == BP_OK) {
        status = record_done(tree, piece, copy, error);
    }
    return status;
}

/* ---- what the caller copies -------------------------------------------- */

/* A slot's bytes from `offset` on, and who has them. */
typedef struct span {
    bp_tree *tree;
    bp_slot handle;
    uint64_t offset, n_bytes;
    bp__piece *piece; /* taken; NULL: `copy` has them */
    bp__copy *copy;   /* referred to */
    bp_backend *backend;
    bool must_drain;  /* before the private stream comes to it */
    bool has_started; /* the device may have been written */
} span;

static bp_status refuse_span(const span *it, const bp__slot *slot,
                             bp_error *error)
{
    bp_status status = bp_fail(
        error, BP_BAD_SIZE,
        "'%s' has %llu bytes; %llu from %llu on are past its end",
        bp_key_text(slot->name), (unsigned long long)slot->n_bytes,
        (unsigned long long)it->n_bytes, (unsigned long long)it->offset);
    bp_error_numbers(error, it->n_bytes, slot->n_bytes);
    return status;
}

static bool is_accessible(const bp__slot *slot)
{
    return (slot->state == BP_SLOT_RESIDENT && slot->n_host_uses != 0) ||
           bp__is_my_load(slot);
}

/* Not on the device: the host copy has them, or nobody. */
static bp_status find_copy_locked(span *it, const bp__slot *slot,
                                  bool is_reading, bp_error *error)
{
    if (slot->is_loading) {
        return bp__refuse_busy(error, slot, "is being loaded");
    }
    if (slot->state != BP_SLOT_EVICTED || !is_reading) {
        return bp__refuse_busy(error, slot,
                               slot->state == BP_SLOT_RESIDENT ||
                                       slot->state == BP_SLOT_EVICTED
                                   ? "is copied only while it is in use"
                                   : "is on its way");
    }
    if (!slot->has_contents) {
        return bp_fail(error, BP_CONTENTS_LOST,
                       "'%s' was evicted without a copy",
                       bp_key_text(slot->name));
    }
    it->copy = bp__copy_ref(slot->copy);
    bp_backend_ref(it->backend);
    return BP_OK;
}

/* Find the bytes and take the piece. The slot is looked up again after every
 * wait: its manager may have been closed. */
static bp_status find_span_locked(span *it, bool is_reading, bp_error *error)
{
    for (;;) {
        bp__slot *slot = bp__slot_get_locked(it->tree, it->handle);
        if (slot == NULL) {
            return bp__refuse_stale(error, "slot");
        }
        it->backend = slot->manager->backend;
        if (it->offset > slot->n_bytes ||
            it->n_bytes > slot->n_bytes - it->offset) {
            return refuse_span(it, slot, error);
        }
        if (!is_accessible(slot)) {
            return find_copy_locked(it, slot, is_reading, error);
        }
        bp__piece *piece = bp__piece_of(slot->block);
        if (!piece->is_taken) {
            piece->is_taken = true;
            it->piece = piece;
            it->must_drain = piece->needs_sync || bp__stream_is_held_locked(
                                                      it->tree, piece->backend);
            return BP_OK;
        }
        bp__wait_changed_locked(it->tree);
    }
}

/* Both directions: `in` or `out` is not NULL. What the device may still do with
 * the slot is waited for first, so that nothing is left under way that knows
 * the caller's memory. */
static bp_status move_span(span *it, const void *in, void *out, bp_error *error)
{
    const bp__backend_table *table = it->backend->table;
    bp__piece *piece = it->piece;
    bp_status status = bp__piece_poll_uses(piece, error);
    if (status == BP_OK && (it->must_drain || piece->n_uses != 0)) {
        status = bp__piece_drain(it->tree, piece, error);
    }
    if (status == BP_OK && in != NULL) {
        status = table->copy_in(it->backend, piece->memory, it->offset, in,
                                it->n_bytes, error);
    } else if (status == BP_OK) {
        status = table->copy_out(it->backend, out, piece->memory, it->offset,
                                 it->n_bytes, error);
    }
    if (status != BP_OK) {
        return status;
    }
    it->has_started = true;
    if (table->event_record(it->backend, BP_NO_STREAM, &piece->done, NULL) !=
        BP_OK) {
        piece->needs_sync = true;
        return bp__piece_drain(it->tree, piece, error);
    }
    return wait_done(it->tree, piece, error);
}

/* Give the piece back; `is_written`: the host copy is no longer what it was. */
static void end_span(const span *it, bool is_written)
{
    bp__mutex_lock(&it->tree->lock);
    bp__slot *slot = bp__slot_get_locked(it->tree, it->handle);
    if (slot != NULL && slot->block == &it->piece->base) {
        if (is_written) {
            slot->is_dirty = true;
            slot->has_contents = false;
        }
        bp__piece_note_busy_locked(it->tree, it->piece);
    }
    bp__piece_give_locked(it->tree, it->piece);
    bp__tree_leave(it->tree);
}

static bp_status copy_span(span *it, const void *in, void *out, bp_error *error)
{
    bp_status status = bp__act_enter(it->tree, error);
    if (status != BP_OK) {
        return status;
    }
    status = find_span_locked(it, in == NULL, error);
    bp__tree_leave(it->tree);
    if (status != BP_OK) {
        return status;
    }
    if (it->piece == NULL) {
        memcpy(out, (const char *)it->copy->host + it->offset,
               (size_t)it->n_bytes);
        bp__copy_unref(it->tree, it->backend, it->copy);
        bp_backend_unref(it->backend);
        return BP_OK;
    }
    bp_backend *backend = bp_backend_ref(it->backend);
    if (it->n_bytes != 0) {
        status = move_span(it, in, out, error);
    }
    end_span(it, in != NULL && it->has_started);
    return bp__act_end(it->tree, backend, status);
}

bp_status bp_slot_copy_in(bp_tree *tree, bp_slot slot, uint64_t offset,
                          const void *host, uint64_t n_bytes, bp_error *error)
{
    span it = {
        .tree = tree, .handle = slot, .offset = offset, .n_bytes = n_bytes};
    return copy_span(&it, host, NULL, error);
}

bp_status bp_slot_copy_out(bp_tree *tree, bp_slot slot, uint64_t offset,
                           void *host, uint64_t n_bytes, bp_error *error)
{
    span it = {
        .tree = tree, .handle = slot, .offset = offset, .n_bytes = n_bytes};
    return copy_span(&it, NULL, host, error);
}
