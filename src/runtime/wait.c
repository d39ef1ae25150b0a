/* wait.c - short pauses between looks at events: no driver calls us back. */
#include "runtime/act.h"

#define FIRST_STEP_NS 20000u
#define LAST_STEP_NS  1000000u
#define ASK_NS        50000000u

bool bp__may_wait(const bp_wait *wait)
{
    return wait != NULL && wait->deadline_ns != 0;
}

static bool is_interrupted(bp_tree *tree, const bp_wait *wait, bp__pause *pause,
                           uint64_t now)
{
    if (wait->is_interrupted == NULL || now - pause->asked_ns < ASK_NS) {
        return false;
    }
    pause->asked_ns = now;
    bp__mutex_unlock(&tree->lock);
    bool answer = wait->is_interrupted(wait->ctx);
    bp__mutex_lock(&tree->lock);
    return answer;
}

bp_status bp__pause_locked(bp_tree *tree, const bp_wait *wait, bp__pause *pause,
                           bp_error *error)
{
    uint64_t now = bp_monotonic_ns();
    uint64_t until;
    pause->step_ns = pause->step_ns == 0                  ? FIRST_STEP_NS
                     : pause->step_ns >= LAST_STEP_NS / 2 ? LAST_STEP_NS
                                                          : 2 * pause->step_ns;
    pause->n_pauses++;
    if (!bp_add(now, pause->step_ns, &until)) {
        until = UINT64_MAX;
    }
    if (bp__may_wait(wait)) {
        if (now >= wait->deadline_ns) {
            return bp_fail(error, BP_TIMED_OUT,
                           "the time allowed for this wait ran out");
        }
        if (is_interrupted(tree, wait, pause, now)) {
            return bp_fail(error, BP_INTERRUPTED, "the wait was interrupted");
        }
        until = until < wait->deadline_ns ? until : wait->deadline_ns;
    }
    bp__condition_wait(&tree->changed, &tree->lock, until);
    return BP_OK;
}

/* Whoever changes something says so; the time is a net under a lost wake-up. */
#define CHANGED_NS 50000000u

void bp__wait_changed_locked(bp_tree *tree)
{
    bp__condition_wait(&tree->changed, &tree->lock,
                       bp_monotonic_ns() + CHANGED_NS);
}

bool bp__stream_is_held_locked(const bp_tree *tree, const bp_backend *backend)
{
    for (const bp__block *block = tree->retirees; block != NULL;
         block = block->next) {
        const bp__piece *piece = (const bp__piece *)block;
        if (piece->is_held && piece->backend == backend) {
            return true;
        }
    }
    return false;
}

/* ---- loaders ----------------------------------------------------------- */

bool bp__is_my_load(const bp__slot *slot)
{
    return slot->is_loading && bp__thread_is_self(slot->loader);
}

bool bp__may_await_load_locked(bp_tree *tree, const bp__slot *slot,
                               const bp_wait *wait)
{
    if (!bp__may_wait(wait)) {
        return false;
    }
    /* This ends: nobody begins to wait where that would close a circle. */
    while (slot != NULL && slot->is_loading) {
        if (bp__thread_is_self(slot->loader)) {
            return false;
        }
        slot = bp__slot_get_locked(tree, slot->awaited);
    }
    return true;
}

void bp__note_awaited_locked(bp_tree *tree, bp_slot awaited)
{
    bp__slot *slot;
    for (size_t i = 0; (slot = bp__handles_next(&tree->slots, &i)) != NULL;
         i++) {
        if (bp__is_my_load(slot)) {
            slot->awaited = awaited;
        }
    }
}
