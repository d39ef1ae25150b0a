/* bayplan.h - all of bayplan's C core. */
#ifndef BAYPLAN_BAYPLAN_H
#define BAYPLAN_BAYPLAN_H

#include "bayplan/backend.h"
#include "bayplan/base.h"
#include "bayplan/device.h"
#include "bayplan/launch.h"
#include "bayplan/placement.h"
#include "bayplan/plan.h"
#include "bayplan/registry.h"
#include "bayplan/runtime.h"

#endif
