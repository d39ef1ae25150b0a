"""Plan forty tensors by themselves: how low can they lie, and is that proved?"""

import sys

import numpy as np

import bayplan

rng = np.random.default_rng(11)
n = 40
sizes = 64 * rng.integers(1, 33, n)
first = rng.integers(0, 24, n)
last = first + rng.integers(1, 9, n)

plan = bayplan.plan(sizes, first, last, align=np.full(n, 64))
print(plan.height, plan.lower_bound, plan.status)

fits = bayplan.plan(sizes, first, last, align=np.full(n, 64), capacity=8192)
print(fits.status)

# The first buffer has to stay where it is.
pins = np.full(n, -1)
pins[0] = 4096
moved = bayplan.plan(sizes, first, last, align=np.full(n, 64), pins=pins)
print(moved.height, moved.offsets[0], moved.status)

if len(sys.argv) > 1:  # where to save the picture
    plan.plot().figure.savefig(sys.argv[1], dpi=90)
