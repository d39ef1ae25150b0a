"""Call paths through trees of factories, on a memory that knows who wrote each byte.

A program is what an author means: which buffers hold a value in which phases.
It is played on a layout, phase by phase, loops and calls of children included.
A buffer is written when its life begins and must still hold that value wherever
the author may read it; nothing here knows how lifetimes are settled or planned.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import bayplan

MEMORIES = ("shared", "block", "persistent_local")
Span = tuple[int, int]  # numbers of phases, both included


class Owner:
    """A factory."""


@dataclass
class Value:
    """A buffer, or several of the same bytes."""

    location: str
    live: Span | None
    carried: bool = False
    keep: bool = False


@dataclass
class Program:
    """One factory: what it declares, and so what it may count on."""

    owner: Owner = field(default_factory=Owner)
    n_phases: int = 0
    loops: list[Span] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    children: dict[str, tuple[Program, Span | None]] = field(default_factory=dict)

    def carrying_loop(self, live: Span) -> Span:
        around = [s for s in self.loops if s[0] <= live[0] and live[1] <= s[1]]
        return min(around, key=lambda s: s[1] - s[0])

    def declare(self, registry: bayplan.BufferRegistry) -> None:
        """Phases and loops; buffers and children are declared as they are made."""
        registry.phases(self.owner, *(f"p{i}" for i in range(self.n_phases)))
        for first, last in self.loops:
            registry.loop(self.owner, f"p{first}", f"p{last}")


# ---- random trees -----------------------------------------------------------


def span_names(span: Span | None) -> tuple[str, str] | None:
    return None if span is None else (f"p{span[0]}", f"p{span[1]}")


def random_span(rng: random.Random, n_phases: int, always: float) -> Span | None:
    if n_phases == 0 or rng.random() < always:
        return None
    first = rng.randrange(n_phases)
    return first, min(n_phases - 1, first + int(rng.expovariate(1.0)))


def random_loops(rng: random.Random, n_phases: int) -> list[Span]:
    """Loops that are disjoint or nested."""
    loops: list[Span] = []
    for _ in range(rng.randrange(4) if n_phases else 0):
        first, last = sorted((rng.randrange(n_phases), rng.randrange(n_phases)))
        if (first, last) not in loops and all(
            last < a or b < first or (a <= first and last <= b) or (first <= a and b <= last)
            for a, b in loops
        ):
            loops.append((first, last))
    return loops


def random_program(rng: random.Random, registry: bayplan.BufferRegistry, depth: int = 2) -> Program:
    program = Program(n_phases=rng.choice((0, 1, 3, 4, 5, 6)))
    program.loops = random_loops(rng, program.n_phases)
    program.declare(registry)
    for i in range(rng.randrange(2, 9)):
        add_value(rng, registry, program, f"b{i}")
    for i in range(rng.randrange(3) if depth else 0):
        child = random_program(rng, registry, depth - 1)
        live = random_span(rng, program.n_phases, 0.3)
        registry.add_child(program.owner, child.owner, f"kid{i}", live=span_names(live))
        program.children[f"kid{i}"] = (child, live)
    return program


def add_value(
    rng: random.Random, registry: bayplan.BufferRegistry, program: Program, name: str
) -> None:
    """A buffer, and sometimes another one of the same bytes."""
    live = random_span(rng, program.n_phases, 0.2)
    location = rng.choice(("shared", "shared", "block", "persistent_local"))
    value = Value(location, live)
    if live is None:
        value.keep = rng.random() < 0.4
    else:
        around = [s for s in program.loops if s[0] <= live[0] and live[1] <= s[1]]
        value.carried = bool(around) and rng.random() < 0.5
    size = rng.randrange(13)
    registry.register(
        program.owner, name, size, location, dtype=rng.choice(("u1", "f4", "f8")),
        align=rng.choice((None, None, 8, 32)), live=span_names(live), carried=value.carried,
        keep=value.keep if live is None else None,
    )  # fmt: skip
    program.values[name] = value
    if size and not value.carried and rng.random() < 0.3:
        other = random_span(rng, program.n_phases, 0.1)
        registry.register(
            program.owner, f"{name}_too", 1, dtype="u1", same_as=name, live=span_names(other)
        )
        together = live is not None and other is not None
        value.live = (min(live[0], other[0]), max(live[1], other[1])) if together else None


# ---- playing a program ----------------------------------------------------------


class Clash(AssertionError):
    """A buffer lost its value."""


@dataclass
class Shadow:
    """Who wrote each byte last, and what happened."""

    rng: random.Random
    bytes: dict[str, list[tuple[int, tuple[str, ...]]]] = field(default_factory=dict)
    held: dict[tuple[str, ...], int] = field(default_factory=dict)
    takeovers: set[tuple[tuple[str, ...], str, str, str]] = field(default_factory=set)
    tokens: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    n_checks: int = 0

    def play(self, program: Program, layout: bayplan.Layout, n_calls: int = 3) -> None:
        """Call the device function of `program` a few times."""
        for memory in MEMORIES:
            self.bytes[memory] = [(0, ())] * getattr(layout, memory).nbytes
        for _ in range(n_calls):
            Call(self, program, layout, dict.fromkeys(MEMORIES, 0), ()).run()

    def write(self, memory: str, begin: int, nbytes: int, path: tuple[str, ...]) -> int:
        token = next(self.tokens)
        for i in range(begin, begin + nbytes):
            self.note(memory, self.bytes[memory][i][1], path)
            self.bytes[memory][i] = (token, path)
        return token

    def note(self, memory: str, old: tuple[str, ...], new: tuple[str, ...]) -> None:
        """Remember who took bytes over from whom, where their ways part."""
        before, after = (
            [f"{name}_{memory}" for name in path[:-1]] + list(path[-1:]) for path in (old, new)
        )
        for level, (one, other) in enumerate(zip(before, after, strict=False)):
            if one != other:
                self.takeovers.add((new[:level], memory, one, other))
                return

    def check(self, memory: str, begin: int, nbytes: int, path: tuple[str, ...]) -> None:
        token = self.held[path]
        self.n_checks += 1
        for i in range(begin, begin + nbytes):
            if self.bytes[memory][i][0] != token:
                raise Clash(f"{path}: byte {i} of {memory} is {self.bytes[memory][i][1]}'s")


@dataclass
class Call:
    """One call of a device function."""

    shadow: Shadow
    program: Program
    layout: bayplan.Layout
    base: dict[str, int]
    path: tuple[str, ...]
    turns: dict[Span, int] = field(default_factory=dict)  # which run of each loop

    def run(self) -> None:
        always = [n for n, v in self.program.values.items() if v.live is None]
        for name in always:
            if self.program.values[name].keep and self.at(name) in self.shadow.held:
                self.check(name)
            else:
                self.write(name)
        if self.program.n_phases:
            self.walk(0, self.program.n_phases - 1, None)
        else:
            self.call_children(None)
        for name in always:
            self.check(name)

    def walk(self, first: int, last: int, inside: Span | None) -> None:
        """Go through phases; `inside` is the loop whose turn this is."""
        phase = first
        while phase <= last:
            starting = [
                s for s in self.program.loops
                if s[0] == phase and s[1] <= last and s != inside
                and (inside is None or s[1] - s[0] < inside[1] - inside[0])
            ]  # fmt: skip
            if not starting:
                self.phase(phase)
                phase += 1
                continue
            loop = max(starting, key=lambda s: s[1])
            self.turns[loop] = next(self.shadow.tokens)
            for _ in range(self.shadow.rng.randrange(1, 4)):
                self.walk(*loop, loop)
            phase = loop[1] + 1

    def phase(self, phase: int) -> None:
        alive = []
        for name, value in self.program.values.items():
            if value.live is None or not value.live[0] <= phase <= value.live[1]:
                continue
            alive.append(name)
            if value.live[0] != phase or (value.carried and self.is_carried_here(name)):
                self.check(name)
            else:
                self.write(name)
        self.enter_children(phase)
        for name in alive:
            self.check(name)
        self.call_children(phase)
        for name in (*alive, *(n for n, v in self.program.values.items() if v.live is None)):
            self.check(name)

    def is_carried_here(self, name: str) -> bool:
        """Whether an earlier turn of this run of the loop has left a value."""
        value = self.program.values[name]
        assert value.live is not None
        run = self.turns[self.program.carrying_loop(value.live)]
        return self.shadow.held.get(self.at(name), 0) > run

    def enter_children(self, phase: int) -> None:
        """A child's bytes are its own from the first phase it is called in."""
        for name, (_, live) in self.program.children.items():
            for memory in MEMORIES:
                p = self.layout[f"{name}_{memory}"]
                if live is not None and live[0] == phase and p.live is not None:
                    self.shadow.write(memory, self.base[memory] + p.offset, p.nbytes,
                                      (*self.path, p.name))  # fmt: skip

    def call_children(self, phase: int | None) -> None:
        for name, (child, live) in self.program.children.items():
            if phase is not None and live is not None and not live[0] <= phase <= live[1]:
                continue
            part = self.layout.children[name]
            base = {m: self.base[m] + getattr(part, m) for m in MEMORIES}
            for _ in range(self.shadow.rng.randrange(3)):
                Call(self.shadow, child, part.layout, base, (*self.path, name)).run()

    def at(self, name: str) -> tuple[str, ...]:
        return (*self.path, name)

    def where(self, name: str) -> tuple[str, int, int, tuple[str, ...]]:
        p = self.layout[name]
        return p.location, self.base[p.location] + p.offset, p.nbytes, self.at(name)

    def write(self, name: str) -> None:
        self.shadow.held[self.at(name)] = self.shadow.write(*self.where(name))

    def check(self, name: str) -> None:
        self.shadow.check(*self.where(name))
