/* pins.h - are the fixed offsets legal? Threads: pure. */
#ifndef BAYPLAN_PLAN_PINS_H
#define BAYPLAN_PLAN_PINS_H

#include "plan/sections.h"

/* Errors: BAD_VALUE (below -1, misaligned, two that overlap in time and
 * address: the message names both). */
BP_MUST_USE bp_status bp__pins_check(const bp_plan_request *request,
                                     bp_error *error);
BP_MUST_USE bp_status bp__pins_check_overlap(const bp__sections *sections,
                                             const bp_plan_request *request,
                                             bp_error *error);

#endif
