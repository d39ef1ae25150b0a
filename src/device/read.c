/* read.c - what can be said of managers and slots without moving a byte. */
#include "device/choose.h"

#include "base/text.h"
#include "device/ledger.h"

#include <string.h>

/* ---- one slot ------------------------------------------------------------ */

static uint64_t last_use_of(const bp__slot *slot)
{
    return atomic_load_explicit(&slot->stamp->last_use, memory_order_relaxed);
}

static void fill_info(const bp__slot *slot, bp_slot_info *out)
{
    *out = (bp_slot_info){.slots = slot->manager->handle,
                          .state = slot->state,
                          .n_bytes = slot->n_bytes,
                          .n_charged = slot->n_charged,
                          .generation = slot->generation,
                          .last_use = last_use_of(slot),
                          .n_host_bytes = slot->n_copy_bytes,
                          .priority = slot->priority,
                          .n_host_uses = slot->n_host_uses,
                          .is_pinned = slot->is_pinned,
                          .is_dirty = slot->is_dirty,
                          .keeps_copy = slot->keeps_copy,
                          .has_loader = slot->has_loader,
                          .is_busy = slot->is_busy};
}

bp_status bp_slot_get_info(bp_tree *tree, bp_slot slot, bp_slot_info *out,
                           bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    const bp__slot *it = bp__slot_get_locked(tree, slot);
    if (it == NULL) {
        status = bp__refuse_stale(error, "slot");
    } else {
        fill_info(it, out);
    }
    bp__tree_leave(tree);
    return status;
}

bp_status bp_slot_get_stamp(bp_tree *tree, bp_slot slot, bp_stamp **out,
                            bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    const bp__slot *it = bp__slot_get_locked(tree, slot);
    if (it == NULL) {
        status = bp__refuse_stale(error, "slot");
    } else {
        *out = it->stamp;
    }
    bp__tree_leave(tree);
    return status;
}

void bp_stamp_touch(bp_tree *tree, bp_stamp *stamp)
{
    atomic_store_explicit(&stamp->last_use, bp__tree_tick(tree),
                          memory_order_relaxed);
}

void bp_slot_set_rank(bp_tree *tree, bp_slot slot, uint64_t rank)
{
    if (!bp__tree_enter_if_ours(tree)) {
        return;
    }
    bp__slot *it = bp__slot_get_locked(tree, slot);
    if (it != NULL && it->rank != rank) {
        it->rank = rank;
        if (it->manager->policy == BP_POLICY_RANK) {
            bp__heap_reorder_locked(it);
        }
    }
    bp__tree_leave(tree);
}

/* ---- a manager's slots --------------------------------------------------- */

static void add_slot(const bp__slot *slot, bp_slots_stats *out)
{
    bool is_loaded = slot->state == BP_SLOT_RESIDENT;
    if (bp__slot_is_listed(slot)) {
        out->n_slots++;
        out->n_loaded += is_loaded;
        out->n_evicted += slot->state == BP_SLOT_EVICTED;
        out->n_pinned += slot->is_pinned;
        out->n_in_use += slot->n_host_uses != 0;
    }
    out->n_host_bytes += slot->n_copy_bytes;
    if (slot->block != NULL) {
        bool is_leaving = slot->state == BP_SLOT_EVICTING;
        out->n_allocated += is_leaving ? 0 : slot->n_charged;
        out->n_retiring += is_leaving ? slot->n_charged : 0;
    }
}

static void fill_stats(const bp_tree *tree, const bp__manager *manager,
                       bp_slots_stats *out)
{
    *out = manager->counters;
    for (size_t i = 0; i < manager->n_slots; i++) {
        add_slot(manager->slots[i], out);
    }
    for (const bp__block *block = tree->retirees; block != NULL;
         block = block->next) {
        if (block->manager == manager) {
            out->n_retiring += block->n_charged;
        }
    }
}

bp_status bp_slots_get_stats(bp_tree *tree, bp_slots slots, bp_slots_stats *out,
                             bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    const bp__manager *manager = bp__manager_get_locked(tree, slots);
    if (manager == NULL) {
        status = bp__refuse_stale(error, "slot manager");
    } else {
        fill_stats(tree, manager, out);
    }
    bp__tree_leave(tree);
    return status;
}

size_t bp_slots_list(bp_tree *tree, bp_slots slots, bp_slot *out, size_t n_max)
{
    if (!bp__tree_enter_if_ours(tree)) {
        return 0;
    }
    const bp__manager *manager = bp__manager_get_locked(tree, slots);
    size_t n = 0;
    for (size_t i = 0; manager != NULL && i < manager->n_slots; i++) {
        if (bp__slot_is_listed(manager->slots[i])) {
            if (n < n_max) {
                out[n] = manager->slots[i]->handle;
            }
            n++;
        }
    }
    bp__tree_leave(tree);
    return n;
}

static bp_status refuse_unknown(const bp__manager *manager, const char *name,
                                bp_error *error)
{
    if (error == NULL) {
        return BP_UNKNOWN_SLOT;
    }
    char message[sizeof error->text];
    bp_text text;
    bp__text_init_bounded(&text, message, sizeof message);
    bp__text_printf(&text, "no slot '%s' (has: ", name);
    const char *comma = "";
    for (size_t i = 0; i < manager->n_slots && !text.is_cut; i++) {
        if (bp__slot_is_listed(manager->slots[i])) {
            bp__text_put(&text, comma);
            bp__text_put(&text, bp_key_text(manager->slots[i]->name));
            comma = ", ";
        }
    }
    bp__text_put(&text, comma[0] == '\0' ? "none)" : ")");
    bp_status status = bp_fail(error, BP_UNKNOWN_SLOT, "%s", message);
    bp_error_about(error, NULL, name);
    return status;
}

static bp_status find_locked(bp_tree *tree, bp_slots slots, const char *name,
                             bp_slot *out, bp_error *error)
{
    const bp__manager *manager = bp__manager_get_locked(tree, slots);
    if (manager == NULL) {
        return bp__refuse_stale(error, "slot manager");
    }
    const char *asked = name == NULL ? "" : name;
    const bp__slot *slot = bp__slot_named_locked(manager, asked);
    if (slot == NULL) {
        return refuse_unknown(manager, asked, error);
    }
    *out = slot->handle;
    return BP_OK;
}

bp_status bp_slots_find(bp_tree *tree, bp_slots slots, const char *name,
                        bp_slot *out, bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    status = find_locked(tree, slots, name, out, error);
    bp__tree_leave(tree);
    return status;
}

/* ---- who would go -------------------------------------------------------- */

static bp_status plan_locked(bp_tree *tree, bp__manager *manager,
                             uint64_t n_bytes, bp_slot *out, size_t n_max,
                             size_t *n_out, bp_shortage *shortage,
                             bp_error *error)
{
    bp__claim claim = {.budget = manager->budget};
    if (!bp__round(n_bytes, manager->granularity, &claim.need)) {
        return bp__refuse_slot_size(error, NULL, n_bytes);
    }
    bp__picks picks;
    bp__picks_begin_locked(tree, &picks, manager, false);
    bp__budget *refuser = bp__pick_for_locked(&picks, &claim);
    if (refuser == NULL) {
        *n_out = picks.n;
        size_t i = 0;
        for (const bp__slot *slot = picks.first; slot != NULL && i < n_max;
             slot = slot->next_chosen) {
            out[i++] = slot->handle;
        }
    }
    bp__picks_put_back_locked(&picks);
    if (refuser == NULL) {
        return BP_OK;
    }
    bp__refusal why = {.refuser = refuser, .asker = manager, .only = manager};
    why.requested = claim.need;
    why.n_short = bp__claim_short_of(&claim, refuser, 0);
    return bp__report_locked(tree, &why, shortage, error);
}

bp_status bp_slots_plan(bp_tree *tree, bp_slots slots, uint64_t n_bytes,
                        bp_slot *out, size_t n_max, size_t *n_out,
                        bp_shortage *shortage, bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    bp__manager *manager = bp__manager_get_locked(tree, slots);
    if (manager == NULL) {
        status = bp__refuse_stale(error, "slot manager");
    } else if (n_bytes == 0) {
        *n_out = 0;
    } else {
        status = plan_locked(tree, manager, n_bytes, out, n_max, n_out,
                             shortage, error);
    }
    bp__tree_leave(tree);
    return status;
}

static bp_status first_victim_locked(bp_tree *tree, bp__manager *manager,
                                     bp_slot *out, bp_error *error)
{
    bp__picks picks;
    bp__picks_begin_locked(tree, &picks, manager, false);
    const bp__slot *slot = bp__pick_next_locked(&picks, manager->budget);
    bp_slot handle = slot == NULL ? BP_NO_SLOT : slot->handle;
    bp__picks_put_back_locked(&picks);
    if (handle == BP_NO_SLOT) {
        return bp_fail(error, BP_UNKNOWN_SLOT,
                       "none of %zu slots can go now: each is pinned, in use "
                       "or not loaded",
                       manager->n_slots);
    }
    *out = handle;
    return BP_OK;
}

bp_status bp_slots_first_victim(bp_tree *tree, bp_slots slots, bp_slot *out,
                                bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    bp__manager *manager = bp__manager_get_locked(tree, slots);
    if (manager == NULL) {
        status = bp__refuse_stale(error, "slot manager");
    } else {
        status = first_victim_locked(tree, manager, out, error);
    }
    bp__tree_leave(tree);
    return status;
}
