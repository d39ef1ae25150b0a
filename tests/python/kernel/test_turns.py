"""The simulator's main thread does not keep the interpreter from its lanes."""

import sys

import numpy as np
import pytest
from numba import cuda

from bayplan import kernel as face

pytestmark = [
    pytest.mark.skipif(not face.is_simulated(), reason="only the simulator's lanes take turns")
]


def launch(act, n_lanes=4):
    @face.kernel
    def work(out):
        out[cuda.threadIdx.x] += act()

    out = np.zeros(n_lanes)
    work[1, n_lanes](out)
    return list(out)


def test_lanes_get_their_turn_however_long_a_turn_is():
    """With turns of 1000 s, a main thread that only asks would never let them run."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    try:

        def meet():
            for _ in range(3):
                cuda.syncthreads()
            return 1.0

        assert launch(meet) == [1.0] * 4
    finally:
        sys.setswitchinterval(before)


def test_the_interval_is_left_alone():
    before = sys.getswitchinterval()
    assert launch(sys.getswitchinterval) == [before] * 4
    assert sys.getswitchinterval() == before


def test_an_error_of_a_lane_still_comes_out():
    def fail():
        raise ValueError("of the kernel")

    with pytest.raises(ValueError, match="of the kernel"):
        launch(fail)
