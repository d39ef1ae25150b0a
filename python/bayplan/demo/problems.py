"""Three published stiff problems: networks, nominal values and reference solutions.

Source of equations, constants and reference solutions: F. Mazzia and C. Magherini, *Test Set
for Initial Value Problem Solvers*, University of Bari, release 2.4 (problems ROBER, HIRES and
POLLU).  Species carry the numbers of the test set: its y1 is species 1 here.

All three are reaction networks with mass-action kinetics, and are written as such: a line
``k  a b -> c d`` is a reaction of rate ``r = k y_a y_b`` that takes ``r`` from each species on
its left and gives ``r`` to each on its right.  The published equations are the sums of these
terms; a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

__all__ = [
    "HIRES",
    "POLLU",
    "PROBLEMS",
    "ROBERTSON",
    "ROBERTSON_LATE",
    "Accuracy",
    "Problem",
    "Reaction",
    "network",
]


class Reaction(NamedTuple):
    """One reaction; species are counted from 0."""

    constant: float
    reactants: tuple[int, ...]
    products: tuple[int, ...]


class Accuracy(NamedTuple):
    """What the solver is asked for in one precision, and what its results must then meet."""

    rtol: float
    """Relative tolerance of one step."""

    atol: float
    """Absolute tolerance of one step, the same for every species."""

    must_meet: float
    """Largest error allowed at the end, in the norm ``|y - ref| / (floor + |ref|)``."""


@dataclass(frozen=True)
class Problem:
    """One initial value problem with its published solution at `t_end`."""

    name: str
    title: str
    reactions: tuple[Reaction, ...]
    initial: tuple[float, ...]
    t_end: float
    published: tuple[float, ...]
    """The solution at `t_end` for the nominal constants."""

    floor: float
    """Species far below this concentration are judged by their absolute error."""

    accuracy: Mapping[str, Accuracy]
    """By precision, ``"float32"`` or ``"float64"``; a problem may be too hard for one of them."""

    sweep: str
    """The file of the parameter sweep, among the package's ``sweeps``."""

    @property
    def n_species(self) -> int:
        """The dimension of the system."""
        return len(self.initial)

    @property
    def constants(self) -> tuple[float, ...]:
        """The nominal rate constants, one per reaction."""
        return tuple(reaction.constant for reaction in self.reactions)


def network(text: str) -> tuple[Reaction, ...]:
    """Read one reaction per line, ``constant  reactants -> products``."""
    reactions = []
    for line in filter(None, map(str.strip, text.splitlines())):
        left, right = line.split("->")
        constant, *reactants = left.split()
        reactions.append(
            Reaction(
                float(constant),
                tuple(int(species) - 1 for species in reactants),
                tuple(int(species) - 1 for species in right.split()),
            )
        )
    return tuple(reactions)


def _accuracy(*, float32: Accuracy | None = None, float64: Accuracy) -> Mapping[str, Accuracy]:
    both = {"float32": float32, "float64": float64}
    return MappingProxyType({name: wanted for name, wanted in both.items() if wanted is not None})


ROBERTSON = Problem(
    name="robertson",
    title="Robertson, autocatalytic reaction",
    reactions=network("""
        0.04    1      -> 2
        1e4     2 3    -> 1 3
        3e7     2 2    -> 2 3
    """),
    initial=(1.0, 0.0, 0.0),
    t_end=40.0,
    published=(0.715827069, 9.18553476e-06, 0.284163746),
    floor=1e-9,
    accuracy=_accuracy(
        float32=Accuracy(1e-4, 1e-9, 1e-3),
        float64=Accuracy(1e-6, 1e-11, 1e-5),
    ),
    sweep="robertson.csv",
)

ROBERTSON_LATE = replace(
    ROBERTSON,
    name="robertson-late",
    title="Robertson, until almost all is species 3",
    t_end=1e11,
    published=(0.2083340149701255e-07, 0.8333360770334713e-13, 0.9999999791665050),
    floor=1e-15,
    accuracy=_accuracy(float64=Accuracy(1e-6, 1e-16, 1e-5)),
)

HIRES = Problem(
    name="hires",
    title="HIRES, high irradiance responses of a plant",
    reactions=network("""
        0.0007         -> 1
        1.71    1      -> 2
        0.43    2      -> 1
        8.32    2      -> 4
        8.32    3      -> 1
        1.71    3      -> 4
        0.43    4      -> 3
        0.69    4      -> 6
        0.035   5      -> 3
        1.71    5      -> 6
        0.43    6      -> 5
        280     6 8    -> 7
        0.69    7      -> 6 8
        0.43    7      -> 5 8
        0.69    7      -> 8
    """),
    initial=(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0057),
    t_end=321.8122,
    published=(
        0.7371312573325668e-3,
        0.1442485726316185e-3,
        0.5888729740967575e-4,
        0.1175651343283149e-2,
        0.2386356198831331e-2,
        0.6238968252742796e-2,
        0.2849998395185769e-2,
        0.2850001604814231e-2,
    ),
    floor=1e-8,
    accuracy=_accuracy(
        float32=Accuracy(1e-4, 1e-8, 1e-3),
        float64=Accuracy(1e-6, 1e-10, 1e-5),
    ),
    sweep="hires.csv",
)

POLLU = Problem(
    name="pollu",
    title="POLLU, air pollution chemistry",
    reactions=network("""
        .35      1      -> 2 3
        .266e2   2 4    -> 1
        .123e5   5 2    -> 1 6
        .86e-3   7      -> 5 5 8
        .82e-3   7      -> 8
        .15e5    7 6    -> 5 8
        .13e-3   9      -> 5 8 10
        .24e5    9 6    -> 11
        .165e5   11 2   -> 1 10 12
        .9e4     11 1   -> 13
        .22e-1   13     -> 1 11
        .12e5    10 2   -> 1 14
        .188e1   14     -> 5 7
        .163e5   1 6    -> 15
        .48e7    3      -> 4
        .35e-3   4      -> 16
        .175e-1  4      -> 3
        .1e9     16     -> 6 6
        .444e12  16     -> 3
        .124e4   17 6   -> 5 18
        .21e1    19     -> 2
        .578e1   19     -> 1 3
        .474e-1  1 4    -> 19
        .178e4   19 1   -> 20
        .312e1   20     -> 1 19
    """),
    initial=(
        *(0.0, 0.2, 0.0, 0.04, 0.0, 0.0, 0.1, 0.3, 0.01, 0.0),
        *(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.007, 0.0, 0.0, 0.0),
    ),
    t_end=60.0,
    published=(
        0.5646255480022769e-1,
        0.1342484130422339,
        0.4139734331099427e-8,
        0.5523140207484359e-2,
        0.2018977262302196e-6,
        0.1464541863493966e-6,
        0.7784249118997964e-1,
        0.3245075353396018,
        0.7494013383840406e-2,
        0.1622293157301561e-7,
        0.1135863833257075e-7,
        0.2230505975721359e-2,
        0.2087162882798630e-3,
        0.1396921016840158e-4,
        0.8964884856898295e-2,
        0.4352846369330103e-17,
        0.6899219696263405e-2,
        0.1007803037365946e-3,
        0.1772146513969984e-5,
        0.5682943292316392e-4,
    ),
    floor=1e-10,
    accuracy=_accuracy(
        float32=Accuracy(1e-4, 1e-8, 1e-3),
        float64=Accuracy(1e-6, 1e-11, 1e-5),
    ),
    sweep="pollu.csv",
)

PROBLEMS: Mapping[str, Problem] = MappingProxyType(
    {problem.name: problem for problem in (ROBERTSON, ROBERTSON_LATE, HIRES, POLLU)}
)
