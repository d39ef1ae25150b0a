"""The slow, obvious reference for the buffer registry.

Plain dictionaries and lists, no caches, no incremental anything: every
question is answered from the declarations alone. Nothing here is shared with
the C core or looks into it. The tests run the two side by side.

A call that breaks a rule raises :class:`Refused` with every code it could
rightly be refused with, and leaves the model as it was.
"""

from __future__ import annotations

import itertools
import keyword
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

REGIONS = ("shared", "block", "local", "persistent_local")
LOCATIONS = (*REGIONS, "auto")
ROLLUPS = ("shared", "block", "persistent_local")
RESERVED = frozenset({"views", "root", "bind", "region"})
MAX_BYTES = 1 << 48
MAX_ALIGN = 1024
MAX_NAME = 255
MAX_DIMS = 32
MAX_PHASES = 4095

UNKNOWN_BUFFER = "BAY-E100"
UNKNOWN_FACTORY = "BAY-E101"
UNKNOWN_CHILD = "BAY-E102"
UNKNOWN_PHASE = "BAY-E103"
UNKNOWN_KEY = "BAY-E104"
BAD_NAME = "BAY-E110"
NAME_TAKEN = "BAY-E111"
BAD_SIZE = "BAY-E112"
TOO_LARGE = "BAY-E113"
BAD_LOCATION = "BAY-E114"
BAD_ALIGN = "BAY-E115"
BAD_DTYPE = "BAY-E116"
KEEP_CONFLICT = "BAY-E117"
BAD_SAME_AS = "BAY-E118"
READ_ONLY = "BAY-E119"
CYCLE = "BAY-E120"
AMBIGUOUS_KEY = "BAY-E121"
BAD_VALUE = "BAY-E122"
BAD_LIFE = "BAY-E125"

KEY_CODES = frozenset({UNKNOWN_BUFFER, UNKNOWN_FACTORY, UNKNOWN_CHILD, UNKNOWN_PHASE, UNKNOWN_KEY})

Live = tuple[str, str]  # first and last phase, both included


class Refused(Exception):
    """The call breaks a rule; `codes` are the answers that would be right."""

    def __init__(self, codes: Iterable[str]) -> None:
        self.codes = frozenset(codes)
        super().__init__(sorted(self.codes))


def refuse_if(codes: Iterable[str]) -> None:
    """Raise unless `codes` is empty."""
    codes = set(codes)
    if codes:
        raise Refused(codes)


def round_up(x: int, align: int) -> int:
    """The least multiple of `align` that is not below `x`."""
    return -(-x // align) * align


# ---- placing blocks ---------------------------------------------------------


def bump(sizes: Sequence[int], aligns: Sequence[int], order: Sequence[int]) -> list[int]:
    """One after the other in `order`.

    What has no bytes lies at the last aligned place that is not beyond the
    others before it, and moves nothing.
    """
    offsets = [0] * len(sizes)
    top = 0
    for i in order:
        if sizes[i] == 0:
            offsets[i] = top // aligns[i] * aligns[i]
            continue
        offsets[i] = round_up(top, aligns[i])
        top = offsets[i] + sizes[i]
    return offsets


def height(offsets: Sequence[int], sizes: Sequence[int]) -> int:
    """The largest end; blocks without bytes have none."""
    return max((o + s for o, s in zip(offsets, sizes, strict=True) if s), default=0)


def place(mode: str, sizes: Sequence[int], aligns: Sequence[int]) -> list[int]:
    """Offsets under the modes "sequential" and "packed"; searches are not modelled."""
    order = {
        "sequential": range(len(sizes)),
        "packed": sorted(range(len(sizes)), key=lambda i: -aligns[i]),
    }
    return bump(sizes, aligns, order[mode])


def alignment_bound(sizes: Sequence[int], aligns: Sequence[int]) -> int:
    """What buffers that are all alive together need at least.

    Those aligned to A or more start at multiples of A, so each fills whole
    units of A; only the last one may leave out its tail.
    """
    best = sum(sizes)
    for unit in aligns:
        strict = [s for s, a in zip(sizes, aligns, strict=True) if a >= unit and s]
        whole = [round_up(s, unit) for s in strict]
        tails = [w - s for w, s in zip(whole, strict, strict=True)]
        best = max(best, sum(whole) - max(tails, default=0))
    return best


def load(sizes: Sequence[int], first: Sequence[int], last: Sequence[int]) -> int:
    """The most bytes alive at once, by looking at every start."""
    return max(
        (sum(s for s, a, b in zip(sizes, first, last, strict=True) if a <= t < b) for t in first),
        default=0,
    )


def optimum(
    sizes: Sequence[int], aligns: Sequence[int], first: Sequence[int], last: Sequence[int]
) -> int:
    """The lowest height there is, by trying every order.

    Take an optimal placement and its buffers by offset: pushing each down on
    to the earlier ones it meets in time keeps it valid and no higher, so some
    order of "as low as the earlier ones allow" is optimal.
    """
    best = None
    for order in itertools.permutations(range(len(sizes))):
        ends: list[tuple[int, int]] = []
        top = 0
        for i in order:
            floor = max(
                (
                    end
                    for j, end in ends
                    if max(first[i], first[j]) < min(last[i], last[j]) and sizes[j] and sizes[i]
                ),
                default=0,
            )
            end = round_up(floor, aligns[i]) + sizes[i] if sizes[i] else 0
            ends.append((i, end))
            top = max(top, end)
        best = top if best is None else min(best, top)
    return best or 0


# ---- declarations -------------------------------------------------------------


@dataclass(eq=False)
class Buffer:
    """One declared buffer."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype | None  # None follows the factory's precision
    location: str
    align: int  # 0: the element type's own
    keep: bool  # as settled; an alias takes its root's
    said_keep: bool | None
    zero: bool
    same_as: str | None
    uses: float
    live: Live | None = None  # as declared; None: always
    carried: bool = False
    override: str | None = None

    @property
    def n_items(self) -> int:
        return math.prod(self.shape)

    def __eq__(self, other: object) -> bool:
        """Whether the declarations are the same.

        NumPy takes None for float64 where it compares, so dtypes need care.
        """
        if not isinstance(other, Buffer):
            return NotImplemented
        mine, theirs = vars(self) | {"dtype": None}, vars(other) | {"dtype": None}
        return mine == theirs and dtype_key(self.dtype) == dtype_key(other.dtype)


@dataclass
class Child:
    """A child under a name; `factory` is None when it died."""

    name: str
    factory: Factory | None
    live: Live | None = None  # when it is called; None: in any phase

    @property
    def rollup_names(self) -> tuple[str, ...]:
        return tuple(f"{self.name}_{memory}" for memory in ROLLUPS)


@dataclass(eq=False)
class Factory:
    """One factory's declarations, in order."""

    type_name: str
    precision: np.dtype
    items: list[Buffer | Child] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    loops: list[Live] = field(default_factory=list)
    version: int = 0

    def buffers(self) -> list[Buffer]:
        return [item for item in self.items if isinstance(item, Buffer)]

    def children(self) -> list[Child]:
        return [item for item in self.items if isinstance(item, Child)]

    def buffer(self, name: str) -> Buffer | None:
        return next((b for b in self.buffers() if b.name == name), None)

    def child(self, name: str) -> Child | None:
        return next((c for c in self.children() if c.name == name), None)

    def rollups(self) -> set[str]:
        return {name for c in self.children() for name in c.rollup_names}

    def dtype_of(self, b: Buffer) -> np.dtype:
        return self.precision if b.dtype is None else b.dtype

    def bytes_of(self, b: Buffer) -> int:
        return b.n_items * self.dtype_of(b).itemsize

    def align_of(self, b: Buffer) -> int:
        return max(self.dtype_of(b).alignment, b.align)

    def root_of(self, b: Buffer) -> Buffer:
        while b.same_as is not None:
            target = self.buffer(b.same_as)
            assert target is not None
            b = target
        return b

    def group_of(self, root: Buffer) -> list[Buffer]:
        return [b for b in self.buffers() if self.root_of(b) is root]

    def keep_of(self, b: Buffer) -> bool:
        return self.root_of(b).keep

    def location_of(self, b: Buffer) -> str:
        root = self.root_of(b)
        location = root.override or root.location
        if location == "auto":
            return "persistent_local" if root.keep else "local"
        return location

    def copy(self) -> Factory:
        return replace(
            self,
            items=[replace(item) for item in self.items],
            phases=list(self.phases),
            loops=list(self.loops),
        )

    def put(self, new: Buffer) -> None:
        """Add a buffer, or replace the one of that name in its place."""
        for i, item in enumerate(self.items):
            if item.name == new.name and isinstance(item, Buffer):
                new.override = item.override
                self.items[i] = new
                return
        self.items.append(new)

    # -- lifetimes, in numbers of phases, both ends included; None: always

    def span(self, live: Live) -> tuple[int, int]:
        first, last = live
        return self.phases.index(first), self.phases.index(last)

    def loops_around(self, first: int, last: int) -> list[tuple[int, int]]:
        """Loops that hold both phases, the innermost first."""
        spans = [self.span(loop) for loop in self.loops]
        around = [(a, b) for a, b in spans if a <= first and last <= b]
        return sorted(around, key=lambda span: span[1] - span[0])

    def through_loops(self, span: tuple[int, int]) -> tuple[int, int]:
        """What began before a loop and is needed in it is needed in its next turn as well."""
        first, last = span
        for _ in self.loops:  # from the inside outwards
            for a, b in map(self.span, self.loops):
                if first < a <= last < b:
                    last = b
        return first, last

    def life_of(self, b: Buffer) -> tuple[int, int] | None:
        """From the first to the last phase that any buffer of the same bytes needs."""
        firsts, lasts = [], []
        for member in self.group_of(self.root_of(b)):
            if member.live is None:
                return None
            first, last = self.span(member.live)
            if member.carried:
                first, last = self.loops_around(first, last)[0]
            firsts.append(first)
            lasts.append(last)
        return self.through_loops((min(firsts), max(lasts)))

    def carries(self, b: Buffer) -> bool:
        return any(member.carried for member in self.group_of(self.root_of(b)))

    def named(self, span: tuple[int, int] | None) -> Live | None:
        return None if span is None else (self.phases[span[0]], self.phases[span[1]])

    def live_faults(self, live: Live | None, carried: bool = False) -> set[str]:
        """What is wrong with a declared lifetime."""
        if live is None:
            return {BAD_LIFE} if carried else set()
        if any(phase not in self.phases for phase in live):
            return {UNKNOWN_PHASE}
        first, last = self.span(live)
        if first > last or (carried and not self.loops_around(first, last)):
            return {BAD_LIFE}
        return set()

    def loop_faults(self) -> set[str]:
        """What is wrong with the loops."""
        if any(phase not in self.phases for loop in self.loops for phase in loop):
            return {UNKNOWN_PHASE}
        spans = [self.span(loop) for loop in self.loops]
        if any(first > last for first, last in spans):
            return {BAD_LIFE}
        turns = [set(range(first, last + 1)) for first, last in spans]
        for a, b in itertools.combinations(turns, 2):
            if a & b and a & b not in (a, b):
                return {BAD_LIFE}
        return set()

    def faults(self) -> set[str]:
        """What is wrong with these declarations as a whole."""
        codes = self.loop_faults()
        if codes:
            return codes
        for c in self.children():
            codes |= self.live_faults(c.live)
        for b in self.buffers():
            codes |= self.live_faults(b.live, b.carried)
            seen = {b.name}
            at: Buffer | None = b
            while at is not None and at.same_as is not None:
                if at.same_as in seen:
                    return codes | {BAD_SAME_AS}
                seen.add(at.same_as)
                target = self.buffer(at.same_as)
                if target is None:
                    return codes | {UNKNOWN_BUFFER}
                if self.bytes_of(at) > self.bytes_of(target):
                    codes.add(BAD_SAME_AS)
                at = target
            if b.same_as is not None and b.override is not None:
                codes.add(BAD_SAME_AS)
            if b.same_as is None and b.keep and (b.override or b.location) == "local":
                codes.add(KEEP_CONFLICT)
            if b.zero and self.carries(b):
                codes.add(BAD_LIFE)
        if sum(self.bytes_of(b) for b in self.buffers() if b.same_as is None) >= MAX_BYTES:
            codes.add(TOO_LARGE)
        return codes


# ---- layouts --------------------------------------------------------------------


@dataclass(frozen=True)
class Placement:
    name: str
    location: str
    offset: int
    nbytes: int
    size: int
    shape: tuple[int, ...]
    dtype: np.dtype
    keep: bool
    zero: bool
    align: int
    is_rollup: bool
    bytes_of: str  # the buffer whose bytes these are
    live: Live | None = None  # as settled
    carried: bool = False


@dataclass(frozen=True)
class Region:
    nbytes: int
    size: int
    align: int
    lower_bound: int
    flat_load: int  # most bytes of the whole tree that live at once
    widest: int
    kept: int = 0  # bytes of the whole tree that are kept between calls
    blocks: tuple[Block, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class ChildRegion:
    name: str
    layout: Layout  # an empty one where the child died
    offsets: Mapping[str, int]
    live: Live | None = None


@dataclass(frozen=True)
class Layout:
    precision: np.dtype
    placements: tuple[Placement, ...]
    regions: Mapping[str, Region]
    children: tuple[ChildRegion, ...]
    phases: tuple[str, ...] = ()
    loops: tuple[Live, ...] = ()

    def __getitem__(self, name: str) -> Placement:
        return next(p for p in self.placements if p.name == name)

    def content(self) -> tuple[Any, ...]:
        """What kernels see: equal exactly where digests must be equal."""
        return (
            dtype_key(self.precision),
            tuple(
                (
                    p.name,
                    p.location,
                    p.offset,
                    p.shape,
                    dtype_key(p.dtype),
                    p.align,
                    p.zero,
                    p.keep,
                    p.bytes_of,
                    p.live,
                    p.carried,
                )
                for p in self.placements
            ),
            tuple((c.name, c.layout.content(), c.live) for c in self.children),
            self.phases,
            self.loops,
        )


def dtype_key(dtype: np.dtype | None) -> tuple[Any, ...]:
    """What tells two element types apart (NumPy's hash ignores alignment)."""
    return () if dtype is None else (repr(dtype), dtype.itemsize, dtype.alignment)


def widest_access(itemsize: int) -> int:
    """The largest power of two dividing an element, at most 16."""
    width = 1
    while width < 16 and itemsize % (2 * width) == 0:
        width *= 2
    return width


@dataclass(frozen=True)
class Block:
    """Something that takes bytes in one region: a buffer's group or a child."""

    names: tuple[str, ...]
    nbytes: int
    align: int
    widest: int
    kept: int = 0
    first: int = 0  # when it lives, half open
    last: int = 1

    def lives_with(self, other: Block) -> bool:
        return self.first < other.last and other.first < self.last


def half_open(span: tuple[int, int] | None, n_phases: int) -> tuple[int, int]:
    """A lifetime in numbers; without phases there is one moment."""
    return (0, max(1, n_phases)) if span is None else (span[0], span[1] + 1)


def calling_span(factory: Factory, child: Child) -> tuple[int, int] | None:
    """The phases in which a child is called."""
    return None if child.live is None else factory.through_loops(factory.span(child.live))


def rollup_span(
    factory: Factory, child: Child, location: str, region: Region
) -> tuple[int, int] | None:
    """A child's bytes live while it is called, and always where anything is kept."""
    always = location == "persistent_local" or region.kept
    return None if always else calling_span(factory, child)


def blocks_in(factory: Factory, location: str, below: Mapping[str, Layout]) -> list[Block]:
    """A region's blocks in declaration order."""
    blocks = []
    n_phases = len(factory.phases)
    for item in factory.items:
        if isinstance(item, Child):
            if location == "local":
                continue
            region = below[item.name].regions[location]
            blocks.append(
                Block(
                    (f"{item.name}_{location}",),
                    region.nbytes,
                    region.align,
                    region.widest,
                    region.kept,
                    *half_open(rollup_span(factory, item, location, region), n_phases),
                )
            )
        elif item.same_as is None and factory.location_of(item) == location:
            group = factory.group_of(item)
            nbytes = factory.bytes_of(item)
            blocks.append(
                Block(
                    tuple(b.name for b in group),
                    nbytes,
                    max(factory.align_of(b) for b in group),
                    max(
                        (
                            widest_access(factory.dtype_of(b).itemsize)
                            for b in group
                            if factory.bytes_of(b)
                        ),
                        default=1,
                    ),
                    nbytes if item.keep else 0,
                    *half_open(factory.life_of(item), n_phases),
                )
            )
    return blocks


def place_blocks(
    mode: str, blocks: Sequence[Block], given: Mapping[str, int] | None
) -> Sequence[int]:
    """Offsets of a region's blocks.

    The modes that ignore lifetimes say where everything lies. What a search finds
    is not for a model to know: `given` offsets are taken if they break no rule. In
    the mode "auto" declaration order stays where it meets the bound, and both simple
    orders are what a search has to match.
    """
    sizes, aligns = [b.nbytes for b in blocks], [b.align for b in blocks]
    if mode in ("sequential", "packed"):
        return place(mode, sizes, aligns)
    assert given is not None
    at = [given[b.names[0]] for b in blocks]
    if mode == "auto":
        plain, packed = (place(simple, sizes, aligns) for simple in ("sequential", "packed"))
        if height(plain, sizes) == bound_of(blocks):
            return plain
        assert height(at, sizes) <= min(height(plain, sizes), height(packed, sizes))
    assert all(offset % align == 0 for offset, align in zip(at, aligns, strict=True))
    for (x, a), (y, b) in itertools.combinations(zip(at, blocks, strict=True), 2):
        if a.nbytes and b.nbytes and a.lives_with(b):
            assert x + a.nbytes <= y or y + b.nbytes <= x, (a.names, b.names)
    return at


def bound_of(blocks: Sequence[Block]) -> int:
    """What a region needs at least: in each phase, all that lives in it."""
    most = 0
    for t in {b.first for b in blocks}:
        now = [b for b in blocks if b.first <= t < b.last]
        most = max(most, alignment_bound([b.nbytes for b in now], [b.align for b in now]))
    return most


def flat_load_of(factory: Factory, location: str, below: Mapping[str, Layout]) -> int:
    """The most bytes of the tree at once: of a child what it keeps, and the rest in its phases."""
    live = [0] * max(1, len(factory.phases))
    for item in factory.items:
        pieces: list[tuple[int, tuple[int, int] | None]] = []
        if isinstance(item, Child):
            region = below[item.name].regions[location]
            pieces.append((region.kept, None))
            pieces.append((region.flat_load - region.kept, calling_span(factory, item)))
        elif item.same_as is None and factory.location_of(item) == location:
            pieces.append((factory.bytes_of(item), factory.life_of(item)))
        for nbytes, span in pieces:
            for t in range(*half_open(span, len(factory.phases))):
                live[t] += nbytes
    return max(live)


def local_region(factory: Factory, blocks: Sequence[Block], below: Mapping[str, Layout]) -> Region:
    """A declared sum: own arrays and the children's."""
    inner = [c.regions["local"] for c in below.values()]
    nbytes = sum(b.nbytes for b in blocks) + sum(r.nbytes for r in inner)
    align = max([b.align for b in blocks] + [r.align for r in inner], default=1)
    widest = max([b.widest for b in blocks] + [r.widest for r in inner], default=1)
    return region_of(factory, nbytes, align, nbytes, nbytes, widest, blocks)


def planned_region(
    factory: Factory,
    location: str,
    blocks: Sequence[Block],
    at: Sequence[int],
    below: Mapping[str, Layout],
) -> Region:
    """A memory whose blocks lie at `at`."""
    align = max((b.align for b in blocks), default=1)
    nbytes = round_up(height(at, [b.nbytes for b in blocks]), align)
    widest = max((b.widest for b in blocks), default=1)
    flat = flat_load_of(factory, location, below)
    return region_of(factory, nbytes, align, bound_of(blocks), flat, widest, blocks)


def region_of(
    factory: Factory,
    nbytes: int,
    align: int,
    bound: int,
    flat: int,
    widest: int,
    blocks: Sequence[Block],
) -> Region:
    if nbytes >= MAX_BYTES:
        raise Refused({TOO_LARGE})
    size = -(-nbytes // factory.precision.itemsize)
    kept = sum(b.kept for b in blocks)
    return Region(
        nbytes, size, align, bound, flat, widest if nbytes else 1, kept, tuple(blocks)
    )  # fmt: skip


@dataclass(frozen=True)
class Spot:
    """Where a name's block begins, and its alignment."""

    offset: int
    align: int


def rollup_placements(
    factory: Factory, item: Child, child: Layout, spots: Mapping[str, Spot]
) -> list[Placement]:
    placements = []
    for memory, name in zip(ROLLUPS, item.rollup_names, strict=True):
        region = child.regions[memory]
        elements = -(-region.nbytes // factory.precision.itemsize)
        span = rollup_span(factory, item, memory, region)
        placements.append(
            Placement(
                name, memory, spots[name].offset, region.nbytes, elements, (elements,),
                factory.precision, False, False, spots[name].align, True, name,
                factory.named(span),
            )
        )  # fmt: skip
    return placements


def buffer_placement(factory: Factory, b: Buffer, spot: Spot) -> Placement:
    return Placement(
        b.name, factory.location_of(b), spot.offset, factory.bytes_of(b), b.n_items, b.shape,
        factory.dtype_of(b), factory.keep_of(b), b.zero, spot.align, False,
        factory.root_of(b).name, factory.named(factory.life_of(b)), factory.carries(b),
    )  # fmt: skip


def layout(factory: Factory, mode: str, given: Any = None) -> Layout:
    """Plan a factory and everything below it.

    `given` is a layout of the registry, whose offsets are looked at where a
    search was free to choose (see `place_blocks`).
    """
    gone = Factory("", factory.precision)
    below = {
        c.name: layout(
            c.factory or gone, mode, None if given is None else given.children[c.name].layout
        )
        for c in factory.children()
    }
    found = None if given is None else {p.name: p.offset for p in given.placements}
    spots: dict[str, Spot] = {}
    regions: dict[str, Region] = {}
    for location in REGIONS:
        blocks = blocks_in(factory, location, below)
        if location == "local":
            at: Sequence[int] = [0] * len(blocks)
            regions[location] = local_region(factory, blocks, below)
        else:
            at = place_blocks(mode, blocks, found)
            regions[location] = planned_region(factory, location, blocks, at, below)
        for block, offset in zip(blocks, at, strict=True):
            spots.update(dict.fromkeys(block.names, Spot(offset, block.align)))
    placements: list[Placement] = []
    children = []
    for item in factory.items:
        if isinstance(item, Child):
            placements += rollup_placements(factory, item, below[item.name], spots)
            names = zip(ROLLUPS, item.rollup_names, strict=True)
            where = {memory: spots[name].offset for memory, name in names}
            called = factory.named(calling_span(factory, item))
            children.append(ChildRegion(item.name, below[item.name], where, called))
        else:
            placements.append(buffer_placement(factory, item, spots[item.name]))
    loops = sorted(map(factory.span, factory.loops), key=lambda span: (span[0], -span[1]))
    return Layout(
        factory.precision,
        tuple(placements),
        regions,
        tuple(children),
        tuple(factory.phases),
        tuple((factory.phases[first], factory.phases[last]) for first, last in loops),
    )


# ---- the registry -------------------------------------------------------------------


def is_name(name: object) -> bool:
    """Usable as the name of a buffer or a child."""
    return (
        isinstance(name, str)
        and name.isidentifier()
        and not name.startswith("_")
        and not keyword.iskeyword(name)
        and name not in RESERVED
        and len(name.encode()) <= MAX_NAME
    )


def live_of(said: object) -> Live | None:
    """The first and last phase that `live=` stands for; refused if it is none."""
    if said is None:
        return None
    pair = (said, said) if isinstance(said, str) else said
    if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(p, str) for p in pair)):
        raise Refused({BAD_LIFE})
    return pair


def is_align(value: object) -> bool:
    """A power of two up to MAX_ALIGN."""
    return is_count(value) and 1 <= value <= MAX_ALIGN and not value & (value - 1)  # type: ignore[operator]


def is_count(x: object) -> bool:
    return isinstance(x, int | np.integer) and not isinstance(x, bool | np.bool_) and x >= 0


def shape_of(size: object) -> tuple[int, ...] | None:
    """The shape a size stands for; None if it is no size."""
    extents = size if isinstance(size, tuple) else (size,)
    if not extents or len(extents) > MAX_DIMS or not all(is_count(x) for x in extents):
        return None
    return tuple(int(x) for x in extents)


def target_faults(factory: Factory, name: object, same_as: str) -> set[str]:
    """What is wrong with the buffer that `name` wants to share bytes with."""
    if same_as == name:
        return {BAD_SAME_AS}
    if same_as in factory.rollups() or factory.child(same_as):
        return {BAD_SAME_AS, UNKNOWN_BUFFER, READ_ONLY}
    return set() if factory.buffer(same_as) else {UNKNOWN_BUFFER}


def name_faults(factory: Factory, name: object) -> set[str]:
    """What is wrong with the name of a buffer."""
    codes = set()
    if not is_name(name):
        codes.add(BAD_NAME)
    if name in factory.rollups():
        codes.update((READ_ONLY, NAME_TAKEN))
    if name in factory.phases or (isinstance(name, str) and factory.child(name)):
        codes.add(NAME_TAKEN)
    return codes


def read_live(
    factory: Factory, live: object, carried: bool = False
) -> tuple[Live | None, set[str]]:
    """A lifetime as it was said, and what is wrong with it."""
    try:
        life = live_of(live)
    except Refused as error:
        return None, set(error.codes)
    return life, factory.live_faults(life, carried)


class Registry:
    """Factories under keys of the caller's choosing."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.factories: dict[Any, Factory] = {}
        self.clock = 0

    # -- helpers

    def ancestors(self, factory: Factory) -> list[Factory]:
        """The factory and all that contain it."""
        found = [factory]
        for at in found:
            for other in self.factories.values():
                if other not in found and any(c.factory is at for c in other.children()):
                    found.append(other)
        return found

    def touch(self, *factories: Factory) -> None:
        """One edit of these factories."""
        self.clock += 1
        for factory in factories:
            for at in self.ancestors(factory):
                at.version = self.clock

    def open(self, key: Any, type_name: str, precision: np.dtype) -> Factory:
        return self.factories.setdefault(key, Factory(type_name, precision))

    def commit(self, factory: Factory, trial: Factory) -> bool:
        """Put the trial's declarations in place; False if they are the same."""
        if vars(trial) == vars(factory):
            return False
        vars(factory).update(vars(trial))
        self.touch(factory)
        return True

    # -- edits

    def register(
        self,
        key: Any,
        type_name: str,
        precision: np.dtype,
        name: object,
        size: object,
        location: object = "local",
        *,
        dtype: np.dtype | None = None,
        align: object = None,
        keep: bool | None = None,
        same_as: str | None = None,
        zero: bool = False,
        uses: float = 1.0,
        live: object = None,
        carried: bool = False,
    ) -> None:
        old = self.factories.get(key) or Factory(type_name, precision)
        life, codes = read_live(old, live, carried)
        if keep and live is not None:
            codes.add(KEEP_CONFLICT)
        codes |= name_faults(old, name)
        shape = shape_of(size)
        if shape is None:
            codes.add(BAD_SIZE)
        elif math.prod(shape) * (precision if dtype is None else dtype).itemsize >= MAX_BYTES:
            codes.add(TOO_LARGE)
        if location not in LOCATIONS:
            codes.add(BAD_LOCATION)
        if align is not None and not is_align(align):
            codes.add(BAD_ALIGN)
        if dtype is not None and (dtype.hasobject or dtype.itemsize == 0):
            codes.add(BAD_DTYPE)
        if keep and location == "local" and same_as is None:
            codes.add(KEEP_CONFLICT)
        if same_as is not None:
            codes.update(target_faults(old, name, same_as))
        if not 0 <= uses < float("inf"):
            codes.add(BAD_VALUE)
        refuse_if(codes)
        assert isinstance(name, str)
        assert isinstance(location, str)
        assert shape is not None
        unsaid = location == "persistent_local" and life is None
        settled = unsaid if keep is None else keep
        new = Buffer(
            name, shape, dtype, location, int(align or 0), settled, keep, zero, same_as, uses,  # type: ignore[call-overload]
            life, carried,
        )  # fmt: skip
        trial = old.copy()
        trial.put(new)
        refuse_if(trial.faults())
        self.factories.setdefault(key, old)
        self.commit(old, trial)

    def unregister(self, key: Any, name: str) -> None:
        factory = self.factories.get(key)
        if factory is None:
            raise Refused({UNKNOWN_FACTORY, UNKNOWN_BUFFER})
        if name in factory.rollups():
            raise Refused({READ_ONLY})
        if factory.buffer(name) is None:
            raise Refused({UNKNOWN_BUFFER})
        if any(b.same_as == name for b in factory.buffers()):
            raise Refused({BAD_SAME_AS})
        trial = factory.copy()
        trial.items = [i for i in trial.items if isinstance(i, Child) or i.name != name]
        self.commit(factory, trial)

    def unregister_all(self, key: Any) -> None:
        factory = self.factories.get(key)
        if factory is None:
            raise Refused({UNKNOWN_FACTORY})
        trial = factory.copy()
        trial.items = [i for i in trial.items if isinstance(i, Child)]
        self.commit(factory, trial)

    def add_child(
        self,
        parent: tuple[Any, str, np.dtype],
        child: tuple[Any, str, np.dtype],
        name: object = "child",
        live: object = None,
    ) -> None:
        old = self.factories.get(parent[0]) or Factory(*parent[1:])
        kid = self.factories.get(child[0]) or Factory(*child[1:])
        called, codes = read_live(old, live)
        if not is_name(name):
            raise Refused({*codes, BAD_NAME})
        assert isinstance(name, str)
        there = old.child(name)
        if there is None:
            names = {name, *Child(name, None).rollup_names}
            taken = {b.name for b in old.buffers()} | old.rollups()
            taken |= {c.name for c in old.children()} | set(old.phases)
            if names & taken:
                codes.add(NAME_TAKEN)
            if any(len(n.encode()) > MAX_NAME for n in names):
                codes.add(BAD_NAME)
        if parent[0] == child[0] or kid in self.ancestors(old):
            codes.add(CYCLE)
        refuse_if(codes)
        self.factories.setdefault(parent[0], old)
        self.factories.setdefault(child[0], kid)
        trial = old.copy()
        if there is None:
            trial.items.append(Child(name, kid, called))
        else:
            found = trial.child(name)
            assert found is not None
            found.factory, found.live = kid, called
        self.commit(old, trial)

    def remove_child(self, key: Any, name: str) -> None:
        factory = self.factories.get(key)
        if factory is None:
            raise Refused({UNKNOWN_FACTORY, UNKNOWN_CHILD})
        if factory.child(name) is None:
            raise Refused({UNKNOWN_CHILD})
        trial = factory.copy()
        trial.items = [i for i in trial.items if isinstance(i, Buffer) or i.name != name]
        self.commit(factory, trial)

    def phases(self, key: Any, type_name: str, precision: np.dtype, *names: Any) -> None:
        if not names and key not in self.factories:
            return
        old = self.factories.get(key) or Factory(type_name, precision)
        codes = set()
        if not all(map(is_name, names)):
            codes.add(BAD_NAME)
        taken = {b.name for b in old.buffers()} | {c.name for c in old.children()} | old.rollups()
        if len(set(names)) < len(names) or taken & set(names):
            codes.add(NAME_TAKEN)
        if len(names) > MAX_PHASES:
            codes.add(BAD_VALUE)
        refuse_if(codes)
        trial = old.copy()
        trial.phases = list(names)
        if not names:
            trial.loops = []
        refuse_if(trial.faults())
        self.factories.setdefault(key, old)
        self.commit(old, trial)

    def loop(self, key: Any, first: str, last: str | None = None) -> None:
        factory = self.factories.get(key)
        if factory is None:
            raise Refused({UNKNOWN_FACTORY})
        trial = factory.copy()
        loop = (first, first if last is None else last)
        if loop not in trial.loops:
            trial.loops.append(loop)
        refuse_if(trial.faults())
        self.commit(factory, trial)

    def set_precision(self, key: Any, precision: np.dtype) -> None:
        factory = self.factories[key]
        trial = factory.copy()
        trial.precision = precision
        refuse_if(trial.faults())
        self.commit(factory, trial)

    def kill(self, key: Any) -> None:
        """The owner died."""
        factory = self.factories.pop(key, None)
        if factory is None:
            return
        parents = [
            f for f in self.factories.values() if any(c.factory is factory for c in f.children())
        ]
        for parent in parents:
            for c in parent.children():
                if c.factory is factory:
                    c.factory = None
        if parents:
            self.touch(*parents)

    # -- updates by key

    def meanings(self, factory: Factory, key: str) -> list[tuple[Factory, str, str]]:
        """Everything `key` could mean: (factory, buffer or roll-up, what).

        A roll-up can never be set, so it counts only where nothing else does.
        """
        found = self.readings(factory, key)
        settable = [m for m in found if m[1] not in m[0].rollups()]
        return settable or found[:1]

    def readings(self, factory: Factory, key: str) -> list[tuple[Factory, str, str]]:
        """All ways to read `key`, roll-ups included."""
        found = []
        for what in ("location", "size"):
            if not key.endswith(f"_{what}"):
                continue
            stem = key[: -len(what) - 1]
            names = {b.name for b in factory.buffers()} | factory.rollups()
            if stem in names:
                found.append((factory, stem, what))
            elif stem.endswith("_buffer") and stem[: -len("_buffer")] in names:
                found.append((factory, stem[: -len("_buffer")], what))
        for child in factory.children():
            if child.factory is not None and key.startswith(f"{child.name}_"):
                for meaning in self.readings(child.factory, key[len(child.name) + 1 :]):
                    if meaning not in found:
                        found.append(meaning)
        return found

    def probe(self, key: Any, keys: Iterable[str]) -> set[str] | None:
        """The keys that are ours; None where one has two meanings."""
        factory = self.factories.get(key)
        if factory is None:
            return set()
        found = {k: len(self.meanings(factory, k)) for k in keys}
        return None if max(found.values(), default=0) > 1 else {k for k in found if found[k]}

    def update(self, key: Any, updates: Mapping[str, Any], *, strict: bool = False) -> set[str]:
        factory = self.factories.get(key)
        codes: set[str] = set()
        taken: set[str] = set()
        said: dict[tuple[Factory, str, str], list[Any]] = {}
        for word, value in updates.items():
            found = self.meanings(factory, word) if factory is not None else []
            if not found:
                if strict:
                    codes.add(UNKNOWN_KEY)
                continue
            taken.add(word)
            if len(found) > 1:
                codes.add(AMBIGUOUS_KEY)
                continue
            said.setdefault(found[0], []).append(value)
        trials: dict[Factory, Factory] = {}
        for (where, name, what), values in said.items():
            if name in where.rollups():
                codes.add(READ_ONLY)
                continue
            if what == "location":
                values = [v if v in LOCATIONS else None for v in values]
                bad = BAD_LOCATION
            else:
                values = [shape_of(v) for v in values]
                bad = BAD_SIZE
            if any(v is None for v in values):
                codes.add(bad)
            if any(v != values[0] for v in values):
                codes.add(AMBIGUOUS_KEY)
            trial = trials.setdefault(where, where.copy())
            b = trial.buffer(name)
            assert b is not None
            if values[0] is None:
                continue
            if what == "location":
                b.override = values[0]
            else:
                b.shape = values[0]
        for trial in trials.values():
            codes |= trial.faults()
        refuse_if(codes)
        changed = [f for f, trial in trials.items() if f.items != trial.items]
        for f in changed:
            f.items = trials[f].items
        if changed:
            self.touch(*changed)
        return taken

    def overrides(self, key: Any) -> dict[str, str]:
        factory = self.factories.get(key)
        if factory is None:
            return {}
        return {f"{b.name}_location": b.override for b in factory.buffers() if b.override}

    def reset_overrides(self, key: Any) -> None:
        factory = self.factories[key]
        trial = factory.copy()
        for b in trial.buffers():
            b.override = None
        self.commit(factory, trial)

    # -- reads

    def layout(self, key: Any, precision: np.dtype, given: Any = None) -> Layout:
        factory = self.factories.get(key) or Factory("", precision)
        return layout(factory, self.mode, given)
