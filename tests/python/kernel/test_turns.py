"""The simulator's lanes take long turns while a launch runs, and only then."""

import sys
import threading

import numpy as np
import pytest
from numba import cuda

from bayplan import kernel as face

pytestmark = [
    pytest.mark.skipif(not face.is_simulated(), reason="only the simulator's lanes take turns")
]


def launch(seen, act=lambda: None):
    @face.kernel
    def look(out):
        out[cuda.threadIdx.x] = sys.getswitchinterval()
        act()

    look[1, 2](seen)


def test_a_launch_takes_long_turns_and_gives_the_interval_back():
    before = sys.getswitchinterval()
    seen = np.zeros(2)
    launch(seen)
    assert list(seen) == pytest.approx([0.05, 0.05])
    assert sys.getswitchinterval() == before


def test_a_longer_interval_of_the_user_stays():
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.5)
    try:
        seen = np.zeros(2)
        launch(seen)
        assert list(seen) == pytest.approx([0.5, 0.5])
        assert sys.getswitchinterval() == pytest.approx(0.5)
    finally:
        sys.setswitchinterval(before)


def test_the_interval_comes_back_after_an_error():
    before = sys.getswitchinterval()

    def fail():
        raise ValueError("of the kernel")

    with pytest.raises(ValueError, match="of the kernel"):
        launch(np.zeros(2), fail)
    assert sys.getswitchinterval() == before


def test_overlapping_spans_end_at_the_interval_before_the_first():
    from bayplan.kernel.turns import long_turns

    before = sys.getswitchinterval()
    inside, leave = threading.Event(), threading.Event()

    def other():
        with long_turns():
            inside.set()
            assert leave.wait(10)

    thread = threading.Thread(target=other)
    with long_turns():
        thread.start()
        assert inside.wait(10)
    assert sys.getswitchinterval() == pytest.approx(0.05)  # the other still runs
    leave.set()
    thread.join()
    assert sys.getswitchinterval() == before
