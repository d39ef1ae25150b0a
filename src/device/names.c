/* names.c - the words for policies and states of slots. */
#include "bayplan/device.h"

#include <string.h>

static const char *const policy_names[BP_N_POLICIES] = {
    [BP_POLICY_LRU] = "lru",
    [BP_POLICY_MRU] = "mru",
    [BP_POLICY_BIG_FIRST] = "big_first",
    [BP_POLICY_RANK] = "rank"};

const char *bp_policy_name(bp_policy policy)
{
    return (unsigned)policy < BP_N_POLICIES ? policy_names[policy] : "unknown";
}

bool bp_policy_parse(const char *name, bp_policy *out)
{
    for (unsigned i = 0; name != NULL && i < BP_N_POLICIES; i++) {
        if (strcmp(name, policy_names[i]) == 0) {
            *out = (bp_policy)i;
            return true;
        }
    }
    return false;
}

static const char *const state_names[BP_N_SLOT_STATES] = {
    [BP_SLOT_RESIDENT] = "resident",
    [BP_SLOT_EVICTING] = "evicting",
    [BP_SLOT_EVICTED] = "evicted",
    [BP_SLOT_RESTORING] = "restoring"};

const char *bp_slot_state_name(bp_slot_state state)
{
    return (unsigned)state < BP_N_SLOT_STATES ? state_names[state] : "unknown";
}
