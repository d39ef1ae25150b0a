/* sim_faults.c - which actions of the simulator fail, and the end of it. */
#include "backend/sim.h"

#include "base/alloc.h"

#include <string.h>

/* ---- fail="alloc:#7,copy:#2-3" --------------------------------------------
 */

/* One part of the text, without the blanks around it. */
typedef struct part {
    const char *at;
    const char *end;
} part;

static bp_status refuse_part(part it, const char *why, bp_error *error)
{
    return bp_fail(error, BP_BAD_VALUE, "fail: %s: '%.*s'", why,
                   (int)(it.end - it.at < 60 ? it.end - it.at : 60), it.at);
}

static part cut_part(const char *start, const char **rest)
{
    const char *end = start + strcspn(start, ",");
    *rest = end;
    while (*start == ' ') {
        start++;
    }
    while (end > start && end[-1] == ' ') {
        end--;
    }
    return (part){start, end};
}

/* Digits at `*at`; false: there are none, or too many. */
static bool read_number(const char **at, const char *end, uint64_t *out)
{
    uint64_t number = 0;
    const char *digit = *at;
    for (; digit < end && *digit >= '0' && *digit <= '9'; digit++) {
        if (!bp_mul(number, 10, &number) ||
            !bp_add(number, (uint64_t)(*digit - '0'), &number)) {
            return false;
        }
    }
    bool has_digits = digit != *at;
    *at = digit;
    *out = number;
    return has_digits;
}

static bool read_action(part it, const char **after, bp_action *out)
{
    for (unsigned i = 0; i < BP_N_ACTIONS; i++) {
        const char *name = bp_action_name((bp_action)i);
        size_t n = strlen(name);
        if ((size_t)(it.end - it.at) > n && memcmp(it.at, name, n) == 0 &&
            it.at[n] == ':') {
            *after = it.at + n + 1;
            *out = (bp_action)i;
            return true;
        }
    }
    return false;
}

/* "#7", "#2-3", "#5-" */
static bp_status read_range(part it, const char *at, bp__sim_failure *out,
                            bp_error *error)
{
    if (at == it.end || *at != '#') {
        return refuse_part(it, "a '#' and a number are missing in", error);
    }
    at++;
    if (!read_number(&at, it.end, &out->first)) {
        return refuse_part(it, "no number of an action in", error);
    }
    out->last = out->first;
    if (at < it.end && *at == '-') {
        at++;
        out->last = UINT64_MAX;
        if (at < it.end && !read_number(&at, it.end, &out->last)) {
            return refuse_part(it, "no number of an action in", error);
        }
    }
    if (at != it.end) {
        return refuse_part(it, "something follows the number in", error);
    }
    if (out->first == 0) {
        return refuse_part(it, "actions are counted from 1 in", error);
    }
    if (out->last < out->first) {
        return refuse_part(it, "the range ends before it begins in", error);
    }
    return BP_OK;
}

static bp_status read_part(part it, bp__sim_failure *out, bp_error *error)
{
    const char *at;
    if (!read_action(it, &at, &out->action)) {
        return refuse_part(
            it, "not alloc:, free:, copy:, event:, sync: or host: and a number",
            error);
    }
    return read_range(it, at, out, error);
}

bp_status bp__sim_parse_failures(bp__sim *sim, const char *text,
                                 bp_error *error)
{
    if (text == NULL || *text == '\0') {
        return BP_OK;
    }
    for (const char *at = text;; at++) {
        bp__sim_failure failure;
        part it = cut_part(at, &at);
        bp_status status = read_part(it, &failure, error);
        if (status != BP_OK) {
            return status;
        }
        if (!bp__grow(&sim->alloc, &sim->failures, &sim->failure_capacity,
                      sim->n_failures + 1, sizeof *sim->failures)) {
            return bp_fail(error, BP_NO_MEMORY, "no memory for a simulator");
        }
        sim->failures[sim->n_failures++] = failure;
        if (*at == '\0') {
            return BP_OK;
        }
    }
}

/* ---- failing ------------------------------------------------------------- */

static bp_status status_of(bp_action action)
{
    switch (action) {
    case BP_ACTION_ALLOC:
        return BP_DEVICE_MEMORY;
    case BP_ACTION_HOST:
        return BP_NO_MEMORY;
    default:
        return BP_DEVICE_FAULT;
    }
}

bp_status bp__sim_count_locked(bp__sim *sim, bp_action action, bp_error *error)
{
    uint64_t n = ++sim->n_actions[action];
    bp_status status = bp__sim_check_alive_locked(sim, error);
    if (status != BP_OK) {
        return status;
    }
    for (size_t i = 0; i < sim->n_failures; i++) {
        const bp__sim_failure *failure = &sim->failures[i];
        if (failure->action == action && n >= failure->first &&
            n <= failure->last) {
            return bp_fail(error, status_of(action),
                           "the simulator was told to fail %s #%llu",
                           bp_action_name(action), (unsigned long long)n);
        }
    }
    return BP_OK;
}

bp_status bp__sim_check_alive_locked(const bp__sim *sim, bp_error *error)
{
    return sim->fault == NULL
               ? BP_OK
               : bp_fail(error, BP_DEVICE_FAULT,
                         "the simulated device failed: %s", sim->fault);
}

void bp__sim_fail_locked(bp__sim *sim, const char *reason)
{
    if (sim->fault == NULL) {
        sim->fault = reason;
        bp__sim_drop_work_locked(sim);
    }
}
