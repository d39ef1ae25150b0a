/* A budget of 1000 bytes on a simulated device: the third slot takes the place
 * of the one that was used least recently, and the refusal of a fourth says
 * why. */
#include <inttypes.h>
#include <stdio.h>

#include "bayplan/bayplan.h"

static bp_status add(bp_tree *tree, bp_slots slots, const char *name,
                     uint64_t n_bytes, bool is_pinned, bp_error *error)
{
    const bp_slot_request request = {.name = name,
                                     .n_bytes = n_bytes,
                                     .is_pinned = is_pinned,
                                     .keeps_copy = true};
    bp_shortage shortage;
    bp_slot slot;
    bp_status status =
        bp_slots_allocate(tree, slots, &request, NULL, &slot, &shortage, error);
    if (status == BP_BUDGET_EXCEEDED) {
        puts(shortage.text);
    }
    return status;
}

static bp_status show(bp_tree *tree, bp_slots slots, bp_error *error)
{
    bp_slot all[3];
    size_t n = bp_slots_list(tree, slots, all, 3);
    for (size_t i = 0; i < n && i < 3; i++) {
        bp_slot_info info;
        bp_status status = bp_slot_get_info(tree, all[i], &info, error);
        if (status != BP_OK) {
            return status;
        }
        printf("%zu %5" PRIu64 " %s\n", i, info.n_bytes,
               bp_slot_state_name(info.state));
    }
    return BP_OK;
}

static bp_status live(bp_tree *tree, bp_backend *sim, bp_error *error)
{
    const bp_budget_options limit = bp_budget_defaults(1000);
    bp_slots_options options = {.backend = sim, .policy = BP_POLICY_LRU};
    bp_slots slots = BP_NO_SLOTS;
    bp_status status = bp_budget_open(tree, &limit, &options.budget, error);
    if (status == BP_OK) {
        status = bp_slots_open(tree, &options, &slots, error);
    }
    if (status == BP_OK) {
        status = add(tree, slots, "graph", 300, false, error);
    }
    if (status == BP_OK) {
        status = add(tree, slots, "entity", 500, true, error);
    }
    if (status == BP_OK) {
        status = add(tree, slots, "language", 400, false, error);
    }
    if (status == BP_OK) {
        status = show(tree, slots, error);
    }
    if (status == BP_OK) {
        status = add(tree, slots, "vision", 600, false, error);
        status = status == BP_BUDGET_EXCEEDED ? BP_OK : BP_INTERNAL;
    }
    bp_slots_close(tree, slots);
    return status;
}

int main(void)
{
    const bp_allocator alloc = bp_allocator_default();
    bp_tree *tree = NULL;
    bp_backend *sim = NULL;
    bp_error error = {.text = ""};
    bp_status status = bp_sim_new(NULL, &alloc, &sim, &error);
    if (status == BP_OK) {
        status = bp_tree_new(0, &alloc, &tree, &error);
    }
    if (status == BP_OK) {
        status = live(tree, sim, &error);
    }
    if (status != BP_OK) {
        fprintf(stderr, "%s: %s\n", bp_status_code(status), error.text);
    }
    bp_tree_free(tree);
    bp_backend_unref(sim);
    return status == BP_OK ? 0 : 1;
}
