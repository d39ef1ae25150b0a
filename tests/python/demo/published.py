"""The equations as the test set prints them, typed in again: an oracle for the networks.

Source: F. Mazzia, C. Magherini, Test Set for Initial Value Problem Solvers, release 2.4.
"""

from __future__ import annotations

import numpy as np


def robertson(y, k):
    y1, y2, y3 = y
    return np.array(
        [
            -k[0] * y1 + k[1] * y2 * y3,
            k[0] * y1 - k[1] * y2 * y3 - k[2] * y2**2,
            k[2] * y2**2,
        ]
    )


def hires(y, k):
    y1, y2, y3, y4, y5, y6, y7, y8 = y
    source, rate = k[0], k[11]
    return np.array(
        [
            -1.71 * y1 + 0.43 * y2 + 8.32 * y3 + source,
            1.71 * y1 - 8.75 * y2,
            -10.03 * y3 + 0.43 * y4 + 0.035 * y5,
            8.32 * y2 + 1.71 * y3 - 1.12 * y4,
            -1.745 * y5 + 0.43 * y6 + 0.43 * y7,
            -rate * y6 * y8 + 0.69 * y4 + 1.71 * y5 - 0.43 * y6 + 0.69 * y7,
            rate * y6 * y8 - 1.81 * y7,
            -rate * y6 * y8 + 1.81 * y7,
        ]
    )


def pollu(y, k):
    y = np.concatenate([[np.nan], y])
    pairs = (
        *((1,), (2, 4), (5, 2), (7,), (7,), (7, 6), (9,), (9, 6), (11, 2), (11, 1), (13,)),
        *((10, 2), (14,), (1, 6), (3,), (4,), (4,), (16,), (16,), (17, 6), (19,), (19,)),
        *((1, 4), (19, 1), (20,)),
    )
    rates = [k[i] * np.prod([y[j] for j in pair]) for i, pair in enumerate(pairs)]
    r = np.concatenate([[np.nan], rates])
    return np.array(
        [
            -r[1] - r[10] - r[14] - r[23] - r[24]
            + r[2] + r[3] + r[9] + r[11] + r[12] + r[22] + r[25],
            -r[2] - r[3] - r[9] - r[12] + r[1] + r[21],
            -r[15] + r[1] + r[17] + r[19] + r[22],
            -r[2] - r[16] - r[17] - r[23] + r[15],
            -r[3] + 2 * r[4] + r[6] + r[7] + r[13] + r[20],
            -r[6] - r[8] - r[14] - r[20] + r[3] + 2 * r[18],
            -r[4] - r[5] - r[6] + r[13],
            r[4] + r[5] + r[6] + r[7],
            -r[7] - r[8],
            -r[12] + r[7] + r[9],
            -r[9] - r[10] + r[8] + r[11],
            r[9],
            -r[11] + r[10],
            -r[13] + r[12],
            r[14],
            -r[18] - r[19] + r[16],
            -r[20],
            r[20],
            -r[21] - r[22] - r[24] + r[23] + r[25],
            -r[25] + r[24],
        ]
    )  # fmt: skip


EQUATIONS = {"robertson": robertson, "robertson-late": robertson, "hires": hires, "pollu": pollu}
