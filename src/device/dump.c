/* dump.c - a tree as JSON. Counters, peaks, pasts, clocks, edges, caches and
 * the log are not in it: what failed, or was only looked at, leaves it as it
 * was. Objects are named by their index, which the next one to live there has
 * too. */
#include "device/tree.h"

#include "base/text.h"

static void put_key(bp_text *text, const char *key)
{
    bp__text_put_json(text, key);
    bp__text_put(text, ": ");
}

static void put_u64(bp_text *text, const char *key, uint64_t number)
{
    put_key(text, key);
    bp__text_put_u64(text, number);
}

static void put_next_u64(bp_text *text, const char *key, uint64_t number)
{
    bp__text_put(text, ", ");
    put_u64(text, key, number);
}

static void put_next_text(bp_text *text, const char *key, const char *string)
{
    bp__text_put(text, ", ");
    put_key(text, key);
    bp__text_put_json(text, string);
}

static void put_next_bool(bp_text *text, const char *key, bool is_true)
{
    bp__text_put(text, ", ");
    put_key(text, key);
    bp__text_put(text, is_true ? "true" : "false");
}

static const char *text_of(const bp_key *key)
{
    return key == NULL ? NULL : bp_key_text(key);
}

static uint64_t index_of(uint64_t handle)
{
    return handle & UINT32_MAX;
}

/* ---- budgets ----------------------------------------------------------- */

static void put_parent(bp_text *text, const bp__budget *parent)
{
    bp__text_put(text, ", ");
    put_key(text, "parent");
    if (parent == NULL) {
        bp__text_put(text, "null");
    } else {
        bp__text_put_u64(text, index_of(parent->handle));
    }
}

static void put_tags(bp_text *text, const bp__budget *budget)
{
    put_next_u64(text, "untagged", budget->untagged);
    bp__text_put(text, ", \"tags\": {");
    const char *comma = "";
    for (size_t i = 0; i < budget->n_tags; i++) {
        if (budget->tags[i].n_bytes == 0) {
            continue;
        }
        bp__text_put(text, comma);
        put_u64(text, bp_key_text(budget->tags[i].name),
                budget->tags[i].n_bytes);
        comma = ", ";
    }
    bp__text_put(text, "}");
}

static void put_watches(bp_text *text, const bp__budget *budget)
{
    bp__text_put(text, ", \"watches\": [");
    for (const bp__watch *watch = budget->watches; watch != NULL;
         watch = watch->next) {
        bp__text_put(text, watch == budget->watches ? "" : ", ");
        bp__text_put_json(text, bp_pressure_name(watch->level));
    }
    bp__text_put(text, "]");
}

static void put_budget(bp_text *text, const void *item)
{
    const bp__budget *budget = item;
    put_u64(text, "budget", index_of(budget->handle));
    put_next_text(text, "name", text_of(budget->name));
    put_parent(text, budget->parent);
    put_next_u64(text, "limit", budget->limit);
    put_next_u64(text, "used", budget->used);
    put_next_u64(text, "reserved", budget->reserved);
    put_next_u64(text, "retiring", budget->retiring);
    put_next_u64(text, "cached", budget->cached);
    put_next_u64(text, "granularity", budget->granularity);
    const uint8_t *level = budget->levels.percent;
    bp__text_printf(text, ", \"levels\": [%u, %u, %u]", level[0], level[1],
                    level[2]);
    put_next_u64(text, "release", budget->release);
    bp__text_printf(text, ", \"evict_at\": [%u, %u]", budget->evict_at[0],
                    budget->evict_at[1]);
    put_tags(text, budget);
    put_watches(text, budget);
    put_next_bool(text, "is_abandoned", budget->is_abandoned);
}

static void put_reservation(bp_text *text, const void *item)
{
    const bp__reservation *reservation = item;
    put_u64(text, "reservation", index_of(reservation->handle));
    put_next_u64(text, "budget", index_of(reservation->budget->handle));
    put_next_u64(text, "left", reservation->n_left);
}

/* ---- slots ------------------------------------------------------------- */

static void put_slot(bp_text *text, const bp__slot *slot)
{
    bp__text_put(text, "{");
    put_u64(text, "slot", index_of(slot->handle));
    put_next_text(text, "name", text_of(slot->name));
    put_next_text(text, "kind", text_of(slot->kind));
    put_next_u64(text, "nbytes", slot->n_bytes);
    put_next_u64(text, "charged", slot->n_charged);
    put_next_text(text, "state", bp_slot_state_name(slot->state));
    put_next_u64(text, "generation", slot->generation);
    bp__text_printf(text, ", \"priority\": %d", (int)slot->priority);
    put_next_u64(text, "host_uses", slot->n_host_uses);
    put_next_bool(text, "is_pinned", slot->is_pinned);
    put_next_bool(text, "keeps_copy", slot->keeps_copy);
    put_next_bool(text, "has_loader", slot->has_loader);
    put_next_bool(text, "is_new", slot->is_new);
    put_next_bool(text, "is_loading", slot->is_loading);
    put_next_bool(text, "is_dirty", slot->is_dirty);
    put_next_bool(text, "has_contents", slot->has_contents);
    bp__text_put(text, "}");
}

static void put_manager(bp_text *text, const void *item)
{
    const bp__manager *manager = item;
    put_u64(text, "manager", index_of(manager->handle));
    put_next_u64(text, "budget", index_of(manager->budget->handle));
    put_next_text(text, "policy", bp_policy_name(manager->policy));
    put_next_bool(text, "is_strict", manager->is_strict);
    put_next_bool(text, "is_closing", manager->is_closing);
    put_next_u64(text, "granularity", manager->granularity);
    bp__text_put(text, ", \"slots\": [");
    for (size_t i = 0; i < manager->n_slots; i++) {
        bp__text_put(text, i == 0 ? "\n    " : ",\n    ");
        put_slot(text, manager->slots[i]);
    }
    bp__text_put(text, "]");
}

/* ---- what is under way ------------------------------------------------- */

static void put_retirees(bp_text *text, const bp_tree *tree)
{
    bp__text_put(text, "\"retirees\": [");
    for (const bp__block *block = tree->retirees; block != NULL;
         block = block->next) {
        bp__text_put(text, block == tree->retirees ? "\n  {" : ",\n  {");
        put_u64(text, "budget", index_of(block->budget->handle));
        put_next_u64(text, "charged", block->n_charged);
        put_next_bool(text, "is_claimed", block->claim != NULL);
        put_next_bool(text, "is_failed", block->is_failed);
        bp__text_put(text, "}");
    }
    bp__text_put(text, "],\n");
}

static void put_claims(bp_text *text, const bp_tree *tree)
{
    bp__text_put(text, "\"claims\": [");
    for (const bp__claim *claim = tree->claims; claim != NULL;
         claim = claim->next) {
        bp__text_put(text, claim == tree->claims ? "\n  {" : ",\n  {");
        put_u64(text, "budget", index_of(claim->budget->handle));
        put_next_u64(text, "need", claim->need);
        bp__text_put(text, ", \"held\": [");
        for (uint32_t i = 0; i <= claim->budget->depth; i++) {
            bp__text_put(text, i == 0 ? "" : ", ");
            bp__text_put_u64(text, claim->held[i]);
        }
        bp__text_put(text, "]}");
    }
    bp__text_put(text, "]");
}

/* ---- the whole --------------------------------------------------------- */

static void put_table(bp_text *text, const char *name,
                      const bp_handles *handles,
                      void (*put)(bp_text *text, const void *item))
{
    put_key(text, name);
    const char *before = "[\n  {";
    size_t i = 0;
    for (const void *item; (item = bp__handles_next(handles, &i)) != NULL;
         i++) {
        bp__text_put(text, before);
        put(text, item);
        bp__text_put(text, "}");
        before = ",\n  {";
    }
    bp__text_put(text, handles->n_items == 0 ? "[],\n" : "],\n");
}

static void dump_locked(bp_text *text, const bp_tree *tree)
{
    bp__text_put(text, "{");
    put_table(text, "budgets", &tree->budgets, put_budget);
    put_table(text, "reservations", &tree->reservations, put_reservation);
    put_table(text, "managers", &tree->managers, put_manager);
    put_retirees(text, tree);
    put_claims(text, tree);
    bp__text_put(text, "}\n");
}

bp_status bp_tree_dump(bp_tree *tree, char **out, bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    bp_text text;
    bp__text_init(&text, &tree->alloc);
    dump_locked(&text, tree);
    bp__tree_leave(tree);
    *out = bp__text_take(&text);
    return *out == NULL ? bp__refuse_memory_of(error, "a dump") : BP_OK;
}
