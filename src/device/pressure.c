/* pressure.c - how full is full, in exact integers. */
#include "device/ledger.h"

static const char *const pressure_names[BP_N_PRESSURES] = {"LOW", "MEDIUM",
                                                           "HIGH", "CRITICAL"};

const char *bp_pressure_name(bp_pressure pressure)
{
    return (unsigned)pressure < BP_N_PRESSURES ? pressure_names[pressure]
                                               : "no pressure";
}

/* x * factor in two halves: the high 64 and the low 32 bits of 96. */
typedef struct product {
    uint64_t high;
    uint64_t low;
} product;

static product times(uint64_t x, uint32_t factor)
{
    uint64_t low = (x & UINT32_MAX) * factor;
    return (product){(x >> 32) * factor + (low >> 32), low & UINT32_MAX};
}

bool bp__at_least(uint64_t x, uint64_t limit, uint32_t percent)
{
    product have = times(x, 100);
    product want = times(limit, percent);
    return have.high != want.high ? have.high > want.high
                                  : have.low >= want.low;
}

bp_pressure bp_pressure_of(uint64_t in_use, uint64_t limit, bp_levels levels)
{
    for (int i = 3; i > 0; i--) {
        if (bp__at_least(in_use, limit, levels.percent[i - 1])) {
            return (bp_pressure)i;
        }
    }
    return BP_LOW;
}
