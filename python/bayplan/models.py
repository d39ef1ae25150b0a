"""The worked example, ``python -m bayplan slots``: thirteen models share a budget of 8 GiB.

Every claim that is printed has been checked; sizes in MB are powers of ten (200 MB is
200,000,000 bytes), the budget is 8 * 2**30 bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from bayplan import (
    BayplanError,
    Budget,
    BudgetExceeded,
    Evicted,
    MemoryPressure,
    PressureEdge,
    SlotManager,
)

__all__ = ["LIMIT", "MODELS", "Options", "main"]

MB = 10**6
LIMIT = 8 << 30
WIDTH = 110
"""Columns of what is printed, also where the terminal has fewer: no number is cut off."""

N_STEPS = 7

LEFT = 100 * MB
"""Bytes that the steps leave available."""

MORE = 250 * MB
"""What then is asked for."""

REPORT = """\
[BAY-E003] GPU memory budget exceeded
  Requested: 250,000,000 bytes
  Available: 100,000,000 bytes
  Budget: 8,589,934,592 bytes (8.00 GiB)
  Allocated: 8,489,934,592 bytes
  Loaded slots: 13/13
  Suggestion: evict 'graph' and 'entity' (150,000,000 bytes, least recently used) \
or raise the budget"""


class Model(NamedTuple):
    """A model by name, and the bytes of its weights."""

    name: str
    nbytes: int


MODELS = (
    Model("embedding", 200 * MB),
    Model("reranker", 100 * MB),
    Model("graph", 100 * MB),
    Model("layout", 100 * MB),
    Model("vision", 150 * MB),
    Model("entity", 50 * MB),
    Model("language", 300 * MB),
    Model("speech", 75 * MB),
    Model("intent", 50 * MB),
    Model("summary", 150 * MB),
    Model("translation", 75 * MB),
    Model("code", 200 * MB),
    Model("safety", 50 * MB),
)
OLDEST = ("graph", "entity")
"""What the example makes the least recently used, in this order."""


class Options(NamedTuple):
    """What the command line asks for."""

    backend: str
    picture: Path


def weights(model: Model) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Make up the weights of a model: the same bytes every time, others for every name."""
    rng = np.random.default_rng(list(model.name.encode()))
    words = rng.integers(0, 2**64, -(-model.nbytes // 8), dtype=np.uint64)
    return words.view(np.uint8)[: model.nbytes]


def first_at(percent: int) -> int:
    """Give the fewest bytes that are at least so many percent of the budget."""
    return -(-LIMIT * percent // 100)


@dataclass
class Example:
    """One run of the example."""

    console: Console
    budget: Budget
    slots: SlotManager
    n_missed: int = 0
    edges: list[PressureEdge] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """Where on the budget's clock every step ended."""

    def __post_init__(self) -> None:
        self.log = self.budget.evictions.subscribe()
        self.watch = self.budget.subscribe(MemoryPressure.CRITICAL, self.edges.append)

    # -- showing and checking -------------------------------------------------------

    def claim(self, what: str, is_met: bool) -> None:
        """Print a claim and whether it is met."""
        self.n_missed += not is_met
        verdict = Text("met", "green") if is_met else Text("NOT MET", "bold red")
        self.console.print(Text("  ").append(what).append(": ").append(verdict))

    def show(self, when: str) -> None:
        """Print the state."""
        self.console.print(Text(f"\n{when}\n", style="bold"))
        self.console.print(self.slots)

    def step(self, number: int, what: Callable[[], None]) -> None:
        """Take one step, whose docstring says what it is about, and show what it left."""
        title = (what.__doc__ or "").strip().rstrip(".")
        self.console.print(Rule(f"step {number}: {title}", align="left", style="dim"))
        what()
        self.budget.check()
        self.ends.append(int(self.budget.history()["when"][-1]))
        when = f"after step {number}"
        self.show(when if number == N_STEPS else f"{when}, before step {number + 1}")

    def went(self) -> list[tuple[str, str]]:
        """Name and cause of every residency that ended since this was last asked."""
        return [(one.key, one.cause) for one in self.drained()]

    def drained(self) -> list[Evicted]:
        """Records of the log since this was last asked."""
        return self.log.drain()

    # -- the steps --------------------------------------------------------------------

    def all_fit(self) -> None:
        """All thirteen models fit."""
        for model in MODELS:
            self.slots.allocate(model.name, model.nbytes, kind="model")
        for name in OLDEST:
            model = next(model for model in MODELS if model.name == name)
            with self.slots.use(name) as slot:
                slot.copy_from(weights(model))
        for model in MODELS:
            if model.name not in OLDEST:
                self.slots.touch(model.name)
        total = sum(model.nbytes for model in MODELS)
        loaded = self.slots.loaded_count
        self.claim("13 of 13 are loaded", (loaded, len(self.slots)) == (13, 13))
        self.claim(f"they take {total:,} bytes", self.slots.allocated == total == 1_600_000_000)
        self.claim("so does the budget's account", self.budget.used == total)
        is_low = self.slots.pressure is MemoryPressure.LOW
        self.claim("pressure is LOW", is_low and not self.slots.pressure.should_evict)
        self.claim("nothing was evicted", self.went() == [])
        self.claim("the least recently used is 'graph'", self.slots.lru_candidate() == OLDEST[0])

    def pressure_rises(self) -> None:
        """At 96 % pressure is CRITICAL."""
        self.budget.charge(first_at(95) - 1 - self.budget.used, "activations")
        is_high = self.budget.pressure is MemoryPressure.HIGH
        self.claim(f"at {self.budget.used:,} bytes it is HIGH", is_high and not self.edges)
        self.budget.charge(1, "activations")
        is_critical = self.budget.pressure is MemoryPressure.CRITICAL
        self.claim("one byte more, and it is CRITICAL", is_critical)
        rising = [(edge.level, edge.rising) for edge in self.edges]
        self.claim("the watch was told once", rising == [(MemoryPressure.CRITICAL, True)])
        self.budget.charge(first_at(96) - self.budget.used, "activations")
        percent = self.budget.used * 100 // LIMIT
        pressure = MemoryPressure.from_utilization(percent)
        self.claim("now 96 % are used", percent == 96)
        self.claim("96 % is CRITICAL", self.slots.pressure is pressure is MemoryPressure.CRITICAL)
        self.claim("should_evict says so", self.slots.pressure.should_evict)
        self.claim("nothing was evicted", self.went() == [])

    def one_is_refused(self) -> None:
        """What does not fit is refused with a report."""
        self.budget.charge(self.budget.available - LEFT, "activations")
        before = self.budget.dump()
        try:
            self.budget.charge(MORE, "activations")
        except BudgetExceeded as error:
            self.console.print(Text(f"\n{error}\n", style="yellow"))
            self.claim("the report is right to the letter", str(error) == REPORT)
            self.claim("it counts 13/13 slots", (error.loaded, error.total) == (13, 13))
            numbers = (error.requested, error.available, error.limit)
            self.claim("so do its attributes", numbers == (MORE, LEFT, LIMIT))
        else:
            self.claim(f"{MORE:,} bytes are refused", False)
        self.claim("nothing changed", self.budget.dump() == before and self.went() == [])

    def the_oldest_go(self) -> None:
        """A shortage evicts exactly the least recently used."""
        plan = self.slots.plan(MORE)
        self.claim("the plan names 'graph' and 'entity'", plan == list(OLDEST))
        self.slots.allocate("draft", MORE, kind="model")
        expected = [(name, "pressure") for name in OLDEST]
        self.claim("they were evicted, in this order", self.went() == expected)
        gone = [name for name in self.slots if not self.slots[name].resident]
        self.claim("no other was", gone == list(OLDEST))
        self.claim("their bytes and those left are all used", self.budget.available == 0)

    def contents_come_back(self) -> None:
        """What was evicted comes back as it was."""
        freed = self.slots.deallocate("draft")
        self.claim(f"deallocating frees {MORE:,} bytes", freed == MORE)
        for name in OLDEST:
            model = next(model for model in MODELS if model.name == name)
            old = self.slots[name].generation
            with self.slots.use(name, write=False) as slot:
                is_same = np.array_equal(slot.copy_to(), weights(model))
                self.claim(f"{name!r} is the same, byte for byte", is_same)
                self.claim("it is another residency", slot.generation > old)
        self.claim("room was enough", self.went() == [("draft", "explicit")])
        self.claim(f"{LEFT:,} bytes are left again", self.budget.available == LEFT)

    def to_the_byte(self) -> None:
        """The boundary is exact."""
        self.claim(f"{LEFT:,} bytes need no eviction", self.slots.plan(LEFT) == [])
        self.slots.allocate("probe", LEFT)
        is_full = self.budget.available == 0 and self.went() == []
        self.claim("they were had without one", is_full)
        self.slots.deallocate("probe")
        self.went()
        oldest = self.slots.lru_candidate()
        self.slots.allocate("probe", LEFT + 1)
        self.claim("one byte more evicts one slot", self.went() == [(str(oldest), "pressure")])
        self.claim("it is the least recently used", oldest == MODELS[0].name)

    def too_much(self) -> None:
        """What the budget can never grant evicts nothing."""
        before = self.budget.dump()
        try:
            self.slots.allocate("giant", LIMIT + 1)
        except BudgetExceeded as error:
            self.claim(f"{LIMIT + 1:,} bytes are refused", error.requested == LIMIT + 1)
            self.claim("nothing was evicted for them", error.evicted == ())
        else:
            self.claim(f"{LIMIT + 1:,} bytes are refused", False)
        self.claim("nothing changed", self.budget.dump() == before and self.went() == [])

    def end(self) -> None:
        """Everything goes back."""
        resident = {name for name in self.slots if self.slots[name].resident}
        self.slots.close()
        closed = self.went()
        self.console.print(Rule("the end", align="left", style="dim"))
        is_right = sorted(closed) == sorted((name, "closed") for name in resident)
        self.claim("every slot that was loaded has its record", is_right)
        self.budget.refund(self.budget.stats("activations"), "activations")
        self.claim("no byte is used", self.budget.used == 0)
        falling = [edge.rising for edge in self.edges]
        self.claim("edges came in turn", falling == [i % 2 == 0 for i in range(len(falling))])
        self.budget.check()

    def run(self, picture: Path) -> None:
        """Take all steps; one that raises has missed its claims, and is the last."""
        steps = (
            self.all_fit,
            self.pressure_rises,
            self.one_is_refused,
            self.the_oldest_go,
            self.contents_come_back,
            self.to_the_byte,
            self.too_much,
        )
        self.show("before step 1")
        self.console.print()
        try:
            for number, what in enumerate(steps, 1):
                self.step(number, what)
            self.draw(picture)
            self.end()
        except BayplanError as error:
            self.claim(f"no error: {error}", False)

    def draw(self, picture: Path) -> None:
        """Save the budget's use over time, with the steps on it."""
        ax = self.budget.plot()
        first = begin = float(self.budget.history()["when"][0])
        places, names = [], []
        for number, end in enumerate(self.ends, 1):
            if end > begin:
                ax.axvline(end, color="#5f6b76", lw=0.8, ls="--", zorder=5)
                is_wide = end - begin > 0.07 * (self.ends[-1] - first)
                places.append((begin + end) / 2)
                names.append(f"step {number}" if is_wide else str(number))
            begin = end
        ax.set_xticks(places, names)
        figure = ax.get_figure(root=True)
        assert figure is not None
        figure.savefig(picture, dpi=150)
        self.console.print(f"Picture: {picture}")


def main(options: Options) -> int:
    """
    Run the example.

    Parameters
    ----------
    options : Options
        Backend and picture.

    Returns
    -------
    int
        Exit status: 0 if every claim is met, else 1.
    """
    console = Console(width=max(WIDTH, Console().width), highlight=False)
    budget = Budget(LIMIT)
    slots = SlotManager(budget, backend=options.backend)
    console.print(
        f"Thirteen models in a budget of 8 GiB ({LIMIT:,} bytes), on backend "
        f"{slots.backend.name!r}. 1 MB is 1,000,000 bytes."
    )
    example = Example(console, budget, slots)
    example.run(options.picture)
    is_good = example.n_missed == 0
    console.print(Text("All checks: ").append("met" if is_good else "NOT met"))
    return 0 if is_good else 1
