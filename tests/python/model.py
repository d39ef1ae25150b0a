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

UNKNOWN_BUFFER = "BAY-E100"
UNKNOWN_FACTORY = "BAY-E101"
UNKNOWN_CHILD = "BAY-E102"
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

KEY_CODES = frozenset({UNKNOWN_BUFFER, UNKNOWN_FACTORY, UNKNOWN_CHILD, UNKNOWN_KEY})


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

    @property
    def rollup_names(self) -> tuple[str, ...]:
        return tuple(f"{self.name}_{memory}" for memory in ROLLUPS)


@dataclass(eq=False)
class Factory:
    """One factory's declarations, in order."""

    type_name: str
    precision: np.dtype
    items: list[Buffer | Child] = field(default_factory=list)
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
        return replace(self, items=[replace(item) for item in self.items])

    def faults(self) -> set[str]:
        """What is wrong with these declarations as a whole."""
        codes = set()
        for b in self.buffers():
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


@dataclass(frozen=True)
class Region:
    nbytes: int
    size: int
    align: int
    lower_bound: int
    flat_load: int  # bytes of the whole tree
    widest: int


@dataclass(frozen=True)
class ChildRegion:
    name: str
    layout: Layout  # an empty one where the child died
    offsets: Mapping[str, int]


@dataclass(frozen=True)
class Layout:
    precision: np.dtype
    placements: tuple[Placement, ...]
    regions: Mapping[str, Region]
    children: tuple[ChildRegion, ...]

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
                )
                for p in self.placements
            ),
            tuple((c.name, c.layout.content()) for c in self.children),
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
    flat: int
    widest: int


def blocks_in(factory: Factory, location: str, below: Mapping[str, Layout]) -> list[Block]:
    """A region's blocks in declaration order."""
    blocks = []
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
                    region.flat_load,
                    region.widest,
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
                    nbytes,
                    max(
                        (
                            widest_access(factory.dtype_of(b).itemsize)
                            for b in group
                            if factory.bytes_of(b)
                        ),
                        default=1,
                    ),
                )
            )
    return blocks


def layout(factory: Factory, mode: str) -> Layout:
    """Plan a factory and everything below it."""
    gone = Factory("", factory.precision)
    below = {c.name: layout(c.factory or gone, mode) for c in factory.children()}
    offsets: dict[str, int] = {}
    aligns: dict[str, int] = {}
    regions: dict[str, Region] = {}
    itemsize = factory.precision.itemsize
    for location in REGIONS:
        blocks = blocks_in(factory, location, below)
        sizes = [b.nbytes for b in blocks]
        if location == "local":
            at = [0] * len(blocks)
            inner = [c.regions["local"] for c in below.values()]
            nbytes = sum(sizes) + sum(r.nbytes for r in inner)
            align = max([b.align for b in blocks] + [r.align for r in inner], default=1)
            flat = bound = nbytes
            widest = max([b.widest for b in blocks] + [r.widest for r in inner], default=1)
        else:
            at = place(mode, sizes, [b.align for b in blocks])
            align = max((b.align for b in blocks), default=1)
            nbytes = round_up(height(at, sizes), align)
            flat = sum(b.flat for b in blocks)
            bound = alignment_bound(sizes, [b.align for b in blocks])
            widest = max((b.widest for b in blocks), default=1)
        if nbytes >= MAX_BYTES:
            raise Refused({TOO_LARGE})
        for block, offset in zip(blocks, at, strict=True):
            for name in block.names:
                offsets[name] = offset
                aligns[name] = block.align
        regions[location] = Region(
            nbytes, -(-nbytes // itemsize), align, bound, flat, widest if nbytes else 1
        )
    placements: list[Placement] = []
    children = []
    for item in factory.items:
        if isinstance(item, Child):
            child = below[item.name]
            for memory, name in zip(ROLLUPS, item.rollup_names, strict=True):
                n = child.regions[memory].nbytes
                elements = -(-n // itemsize)
                placements.append(
                    Placement(
                        name, memory, offsets[name], n, elements, (elements,),
                        factory.precision, False, False, aligns[name], True, name,
                    )
                )  # fmt: skip
            where = dict(zip(ROLLUPS, (offsets[n] for n in item.rollup_names), strict=True))
            children.append(ChildRegion(item.name, child, where))
        else:
            placements.append(
                Placement(
                    item.name, factory.location_of(item), offsets[item.name],
                    factory.bytes_of(item), item.n_items, item.shape, factory.dtype_of(item),
                    factory.keep_of(item), item.zero, aligns[item.name], False,
                    factory.root_of(item).name,
                )
            )  # fmt: skip
    return Layout(factory.precision, tuple(placements), regions, tuple(children))


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
        if trial.items == factory.items and trial.precision == factory.precision:
            return False
        factory.items = trial.items
        factory.precision = trial.precision
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
    ) -> None:
        old = self.factories.get(key) or Factory(type_name, precision)
        codes = set()
        if not is_name(name):
            codes.add(BAD_NAME)
        if name in old.rollups():
            codes.update((READ_ONLY, NAME_TAKEN))
        if isinstance(name, str) and old.child(name):
            codes.add(NAME_TAKEN)
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
        settled = location == "persistent_local" if keep is None else keep
        new = Buffer(
            name, shape, dtype, location, int(align or 0), settled, keep, zero, same_as, uses  # type: ignore[call-overload]
        )  # fmt: skip
        trial = old.copy()
        for i, item in enumerate(trial.items):
            if item.name == name and isinstance(item, Buffer):
                new.override = item.override
                trial.items[i] = new
                break
        else:
            trial.items.append(new)
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
    ) -> None:
        old = self.factories.get(parent[0]) or Factory(*parent[1:])
        kid = self.factories.get(child[0]) or Factory(*child[1:])
        codes = set()
        if not is_name(name):
            raise Refused({BAD_NAME})
        assert isinstance(name, str)
        there = old.child(name)
        if there is None:
            names = {name, *Child(name, None).rollup_names}
            taken = {b.name for b in old.buffers()} | old.rollups()
            taken |= {c.name for c in old.children()}
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
            trial.items.append(Child(name, kid))
        else:
            found = trial.child(name)
            assert found is not None
            found.factory = kid
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

    def layout(self, key: Any, precision: np.dtype) -> Layout:
        factory = self.factories.get(key) or Factory("", precision)
        return layout(factory, self.mode)
