/* room.c - a claim is completed: take what is available, evict for the rest,
 * wait for what is on its way.
 *
 * Nobody waits while holding what another waits for: before a call waits for
 * bytes that are not on their way to it already, it gives back what it holds.
 * So what holds bytes waits for events alone.
 */
#include "runtime/act.h"

#include "base/alloc.h"

enum { N_FIRST_VICTIMS = 32 };

static bool is_leaving(const bp__slot *slot)
{
    return slot != NULL && slot->state == BP_SLOT_EVICTING &&
           slot->block != NULL;
}

/* ---- the slot that is replaced ------------------------------------------ */

/* It goes for the claim; where that means to wait for the device and nobody may
 * wait, the claim has to do without. */
static bp_status send_replaced_locked(bp__room *room, bp_error *error)
{
    bp__slot *slot = room->replaced;
    if (slot == NULL || slot->state != BP_SLOT_RESIDENT) {
        return BP_OK;
    }
    if (slot->n_host_uses != 0) {
        return bp__refuse_busy(error, slot, "is in use by the host");
    }
    bool is_late = !bp__may_wait(room->wait) &&
                   (slot->is_busy || bp__stream_is_held_locked(
                                         room->tree, slot->manager->backend));
    bp__slot_go_locked(room->tree, slot, is_late ? NULL : room->claim);
    return BP_OK;
}

static void put_replaced_back_locked(bp__room *room)
{
    if (is_leaving(room->replaced)) {
        bp__slot_stay_locked(room->tree, room->replaced);
        bp__condition_broadcast(&room->tree->changed);
    }
}

static bp_status evict_replaced_locked(bp__room *room, bp_error *error)
{
    if (!is_leaving(room->replaced)) {
        return BP_OK;
    }
    room->n_evicted += room->replaced->n_charged;
    bp__batch batch = {.slots = &room->replaced,
                       .n_slots = 1,
                       .cause = BP_CAUSE_REPLACED,
                       .must_copy = true,
                       .ticket = bp__tree_tick(room->tree)};
    return bp__evict_locked(room->tree, &batch, error);
}

/* ---- victims ----------------------------------------------------------- */

/* Some backend's stream waits for somebody's work. */
static bool has_held_locked(const bp_tree *tree)
{
    for (const bp__block *block = tree->retirees; block != NULL;
         block = block->next) {
        if (((const bp__piece *)block)->is_held) {
            return true;
        }
    }
    return false;
}

static bool would_queue(const bp__room *room, const bp__choice *choice)
{
    for (size_t i = 0; i < choice->n_victims; i++) {
        const bp__slot *slot = choice->victims[i];
        if (slot->keeps_copy && (slot->is_dirty || !slot->has_contents) &&
            bp__stream_is_held_locked(room->tree, slot->manager->backend)) {
            return true;
        }
    }
    return false;
}

static void put_back_locked(const bp__room *room, const bp__choice *choice)
{
    for (size_t i = 0; i < choice->n_victims; i++) {
        bp__slot_stay_locked(room->tree, choice->victims[i]);
    }
}

static bp_status evict_victims_locked(bp__room *room, bp__choice *choice,
                                      bp_error *error)
{
    room->n_evicted += choice->n_bytes;
    /* One that goes for nobody goes last: its copy may wait for the device, and
     * all copies after it. */
    bool is_ours = is_leaving(room->replaced) && room->replaced->claim != NULL;
    bp_status status = is_ours ? evict_replaced_locked(room, error) : BP_OK;
    if (status != BP_OK) {
        put_back_locked(room, choice);
        return status;
    }
    bp__batch batch = {.slots = choice->victims,
                       .n_slots = choice->n_victims,
                       .cause = BP_CAUSE_PRESSURE,
                       .ticket = bp__tree_tick(room->tree)};
    return bp__evict_locked(room->tree, &batch, error);
}

/* Without leave to wait, nothing may be copied behind somebody's work; asked
 * before anything is claimed, so that a refusal leaves no trace. False also if
 * the victims do not fit, or would not be enough: the choice itself tells. */
static bool must_wait_locked(const bp__room *room, bp__choice choice)
{
    if (choice.may_wait || !has_held_locked(room->tree)) {
        return false;
    }
    choice.is_claiming = false;
    return bp__claim_choose_locked(room->tree, room->claim, &choice) &&
           choice.n_victims <= choice.capacity && would_queue(room, &choice);
}

/* *is_chosen: victims went, or there is more room for them now. */
static bp_status choose_locked(bp__room *room, bp__budget **refuser,
                               bool *is_chosen, bp_error *error)
{
    bp_tree *tree = room->tree;
    bp__choice choice = {.only = bp__manager_get_locked(tree, room->only),
                         .may_wait = bp__may_wait(room->wait),
                         .is_claiming = true,
                         .victims = room->victims,
                         .capacity = room->capacity};
    *is_chosen = false;
    if (room->only != BP_NO_SLOTS && choice.only == NULL) {
        return bp__refuse_stale(error, "slot manager");
    }
    if (must_wait_locked(room, choice)) {
        return BP_OK;
    }
    if (bp__claim_choose_locked(tree, room->claim, &choice)) {
        *is_chosen = true;
        return evict_victims_locked(room, &choice, error);
    }
    if (choice.n_victims > room->capacity) {
        size_t n = choice.n_victims < N_FIRST_VICTIMS ? N_FIRST_VICTIMS
                                                      : choice.n_victims;
        *is_chosen = true;
        return bp__grow(&tree->alloc, &room->victims, &room->capacity, n,
                        sizeof *room->victims)
                   ? BP_OK
                   : bp__refuse_memory_of(error, "a list of slots to evict");
    }
    *refuser = choice.refuser;
    return BP_OK;
}

/* A limit was lowered below use: mend that first, as far as it goes. */
static bp_status mend_limits_locked(bp__room *room, bp_error *error)
{
    bp_status status = BP_OK;
    room->is_mended = true;
    for (bp__budget *budget = room->claim->budget;
         budget != NULL && status == BP_OK && !room->is_strict;
         budget = budget->parent) {
        if (bp__in_use(budget) > budget->limit) {
            bp__reclaim down = {.budget = budget->handle,
                                .target = budget->limit,
                                .mine = room->replaced,
                                .cause = BP_CAUSE_LIMIT,
                                .may_wait = bp__may_wait(room->wait)};
            status = bp__reclaim_locked(room->tree, &down, error);
            bp__await_batch_locked(room->tree, down.ticket);
        }
    }
    return status;
}

/* ---- waiting ----------------------------------------------------------- */

/* Give back what the claim holds, and begin again. */
static void begin_again_locked(bp__room *room)
{
    bp_tree *tree = room->tree;
    bp__claim *claim = room->claim;
    bp__budget *leaf = claim->budget;
    uint64_t need = claim->need;
    bp_reservation reservation = claim->reservation;
    put_replaced_back_locked(room);
    bp__claim_abort_locked(tree, claim);
    bp__claim_begin_locked(tree, claim, leaf, need,
                           bp__handles_get(&tree->reservations, reservation));
}

static bp_status refuse_locked(bp__room *room, bp__budget *refuser,
                               bp_error *error)
{
    begin_again_locked(room);
    if (refuser == NULL) {
        refuser = bp__claim_first_short_locked(room->claim);
    }
    if (refuser == NULL) {
        refuser = room->claim->budget;
    }
    return bp__refuse_claim_locked(room->tree, room->claim, refuser,
                                   room->asker, room->shortage, error);
}

static bool is_under(const bp__budget *leaf, const bp__budget *budget)
{
    while (leaf != NULL && leaf != budget) {
        leaf = leaf->parent;
    }
    return leaf == budget;
}

/* Bytes of slots that could go at once (`is_busy`: once the device is done). */
static uint64_t sum_slots_locked(const bp__room *room, const bp__budget *budget,
                                 bool is_busy)
{
    uint64_t sum = 0;
    const bp__slot *slot;
    for (size_t i = 0;
         (slot = bp__handles_next(&room->tree->slots, &i)) != NULL; i++) {
        if (slot->state == BP_SLOT_RESIDENT && slot->is_busy == is_busy &&
            !slot->is_pinned && slot->n_host_uses == 0 &&
            is_under(slot->manager->budget, budget) &&
            (room->only == BP_NO_SLOTS ||
             slot->manager->handle == room->only)) {
            sum += slot->n_charged;
        }
    }
    return sum;
}

/* Would everything that is in flight be enough, if it came? */
static bool is_worth_waiting_locked(const bp__room *room)
{
    for (const bp__budget *budget = room->claim->budget; budget != NULL;
         budget = budget->parent) {
        uint64_t n = bp__in_flight_locked(room->tree, budget, room->claim);
        if (room->is_strict) {
            uint64_t n_busy = sum_slots_locked(room, budget, true);
            n = n > n_busy ? n - n_busy : 0;
        } else {
            n += sum_slots_locked(room, budget, false);
        }
        if (bp__claim_short_of(room->claim, budget, n) != 0) {
            return false;
        }
    }
    return true;
}

/* Neither available nor to be evicted: wait for others, or refuse. */
static bp_status wait_for_others_locked(bp__room *room, bp__budget *refuser,
                                        bp_error *error)
{
    if (!bp__may_wait(room->wait) || !is_worth_waiting_locked(room)) {
        return refuse_locked(room, refuser, error);
    }
    begin_again_locked(room);
    bp_status status =
        bp__pause_locked(room->tree, room->wait, &room->pause, error);
    room->is_polled = false;
    return status == BP_TIMED_OUT ? refuse_locked(room, refuser, error)
                                  : status;
}

/* Our own copies lie behind work that came between: let the driver wait. */
static void drain_locked(bp__room *room)
{
    bp_tree *tree = room->tree;
    bp_backend *backend = NULL;
    for (bp__block *block = tree->retirees; block != NULL && backend == NULL;
         block = block->next) {
        if (block->claim == room->claim) {
            backend = bp_backend_ref(bp__piece_of(block)->backend);
        }
    }
    room->pause = (bp__pause){.step_ns = 0};
    if (backend != NULL) {
        bp__mutex_unlock(&tree->lock);
        bp_status status = backend->table->synchronize(backend, NULL);
        (void)status; /* the next look tells */
        bp_backend_unref(backend);
        bp__mutex_lock(&tree->lock);
    }
}

/* All it lacks is on its way. */
static bp_status await_locked(bp__room *room, bp_error *error)
{
    bp__mutex_unlock(&room->tree->lock);
    bp__poll_retirees(room->tree);
    bp__mutex_lock(&room->tree->lock);
    if (bp__claim_is_complete(room->claim) || room->claim->n_retiring == 0) {
        return BP_OK;
    }
    if (!bp__may_wait(room->wait) && room->pause.n_pauses >= BP__MAX_LOOKS) {
        drain_locked(room);
        return BP_OK;
    }
    bp_status status =
        bp__pause_locked(room->tree, room->wait, &room->pause, error);
    return status == BP_TIMED_OUT ? refuse_locked(room, NULL, error) : status;
}

/* ---- the loop ---------------------------------------------------------- */

static bp_status find_more_locked(bp__room *room, bp_error *error)
{
    if (!room->is_polled) {
        room->is_polled = true;
        put_replaced_back_locked(room);
        bp__mutex_unlock(&room->tree->lock);
        bp__poll_retirees(room->tree);
        bp__poll_busy(room->tree);
        bp__mutex_lock(&room->tree->lock);
        return BP_OK;
    }
    bp__budget *refuser = NULL;
    bool is_chosen = false;
    bp_status status = BP_OK;
    if (!room->is_strict) {
        status = choose_locked(room, &refuser, &is_chosen, error);
    }
    return status != BP_OK || is_chosen
               ? status
               : wait_for_others_locked(room, refuser, error);
}

static bp_status step_locked(bp__room *room, bool *is_done, bp_error *error)
{
    if (room->asker != NULL && room->asker->is_closing) {
        return bp_fail(error, BP_CLOSED, "the slot manager is closing");
    }
    if (!room->is_mended) {
        return mend_limits_locked(room, error);
    }
    bp_status status = send_replaced_locked(room, error);
    if (status != BP_OK) {
        return status;
    }
    if (!bp__claim_take_locked(room->tree, room->claim)) {
        return find_more_locked(room, error);
    }
    status = evict_replaced_locked(room, error);
    *is_done = status == BP_OK && bp__claim_is_complete(room->claim);
    return status != BP_OK || *is_done ? status : await_locked(room, error);
}

bp_status bp__room_make_locked(bp__room *room, bp_error *error)
{
    bp_tree *tree = room->tree;
    bp_status status = BP_OK;
    bool is_done = false;
    while (status == BP_OK && !is_done) {
        status = step_locked(room, &is_done, error);
    }
    bp__free_array(&tree->alloc, room->victims, room->capacity,
                   sizeof *room->victims);
    room->victims = NULL;
    room->capacity = 0;
    if (status != BP_OK) {
        put_replaced_back_locked(room);
        bp__claim_abort_locked(tree, room->claim);
    }
    return status;
}
