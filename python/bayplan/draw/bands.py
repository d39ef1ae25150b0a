"""A layout as bands of boxes and gaps: what text, HTML and pictures all draw.

Offsets, sizes and bounds are the core's; this module only sorts them for the eye.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .. import _core

LOCATIONS = ("shared", "block", "persistent_local", "local")
COPIES = {
    "shared": "per run",
    "block": "per block",
    "persistent_local": "per thread",
    "local": "per thread (a declared sum)",
}


class Box(NamedTuple):
    """One buffer or one child's block in a band; `lane` of `n_lanes` where bytes are shared.

    It is alive in the phases [first, last), by number; where there are none, in the only moment.
    """

    name: str
    offset: int
    nbytes: int
    dtype: str
    shape: tuple[int, ...]
    align: int
    keep: bool
    zero: bool
    child: str | None
    lane: int = 0
    n_lanes: int = 1
    first: int = 0
    last: int = 1
    carried: bool = False

    @property
    def end(self) -> int:
        """First byte after the box."""
        return self.offset + self.nbytes


class Gap(NamedTuple):
    """Bytes of a band that no buffer uses."""

    offset: int
    nbytes: int


class Band(NamedTuple):
    """One region of a layout, ready to be drawn. Bounds and status may be unknown (None)."""

    location: str
    nbytes: int
    align: int
    lower_bound: int | None
    flat_lower_bound: int | None
    status: str | None
    boxes: tuple[Box, ...]
    gaps: tuple[Gap, ...]
    phases: tuple[str, ...] = ()
    loops: tuple[tuple[int, int], ...] = ()  # first and last phase, both included

    @property
    def is_phased(self) -> bool:
        """Whether some bytes are in use in some phases alone."""
        every = (0, self.n_phases)
        return self.has_addresses and any(
            b.nbytes and (b.first, b.last) != every for b in self.boxes
        )

    @property
    def n_phases(self) -> int:
        """Phases to draw: one moment where there are none."""
        return max(1, len(self.phases))

    def in_phase(self, phase: int) -> list[Box]:
        """What is alive in a phase."""
        return [box for box in self.boxes if box.first <= phase < box.last]

    def live(self, box: Box) -> str:
        """When a box is alive, in names: "", "solve", "predict - solve"."""
        if (box.first, box.last) == (0, self.n_phases) or not self.phases:
            return ""
        first, last = self.phases[box.first], self.phases[box.last - 1]
        return first if first == last else f"{first} - {last}"

    @property
    def has_addresses(self) -> bool:
        """Whether offsets are real; in local memory the compiler chooses them."""
        return self.location != "local"

    @property
    def wasted(self) -> int:
        """Bytes in gaps."""
        return sum(gap.nbytes for gap in self.gaps)

    @property
    def idle(self) -> float:
        """Part of bytes x phases in which nothing is alive."""
        gaps = (
            g for t in range(self.n_phases) for g in gaps_between(self.in_phase(t), self.nbytes)
        )
        return sum(gap.nbytes for gap in gaps) / max(1, self.nbytes * self.n_phases)

    def summary(self) -> str:
        """Size, alignment, bounds, status and waste in one line."""
        if self.nbytes == 0:
            return f"0 bytes {COPIES[self.location]}"
        parts = [f"{self.nbytes:,} bytes {COPIES[self.location]}", f"align {self.align}"]
        if self.has_addresses:
            parts += [*self._quality(), f"{self.wasted:,} unused"]
        if self.is_phased:
            parts.append(f"{self.idle:.0%} of the area idle")
        return ", ".join(parts)

    def _quality(self) -> list[str]:
        if self.status is None or self.lower_bound is None:
            return ["bounds not known"]
        flat = self.flat_lower_bound
        also = f" (flat {flat:,})" if flat is not None and flat != self.lower_bound else ""
        return [f"lower bound {self.lower_bound:,}{also}", self.status]


def title(layout: _core.Layout) -> str:
    """Name, precision, version and digest of a layout in one line."""
    version = "" if layout.version is None else f", version {layout.version}"
    return f"{layout.name or 'layout'}: {layout.precision}{version}, digest {layout.digest[:12]}"


def bands(layout: _core.Layout) -> tuple[Band, ...]:
    """Every region of a layout, empty ones too, in the order of LOCATIONS."""
    return tuple(band_of(layout, location) for location in LOCATIONS)


def band_of(layout: _core.Layout, location: str) -> Band:
    """One region of a layout, without the empty blocks of children."""
    region: _core.Region = getattr(layout, location)
    rollups = {f"{name}_{location}": name for name in layout.children}
    number = {name: i for i, name in enumerate(layout.phases)}
    every = (layout.phases[0], layout.phases[-1]) if layout.phases else ("", "")

    def phases(live: tuple[str, str] | None) -> tuple[int, int]:
        first, last = every if live is None else live
        return number.get(first, 0), number.get(last, 0) + 1

    boxes = [
        Box(p.name, p.offset, p.nbytes, str(p.dtype), tuple(p.shape), p.align, p.keep, p.zero,
            rollups.get(p.name) if p.is_rollup else None, 0, 1, *phases(p.live), p.carried)
        for p in region.placements
        if p.nbytes or not p.is_rollup
    ]  # fmt: skip
    boxes = with_lanes(boxes) if location != "local" else _in_a_row(boxes, layout)
    return Band(
        location,
        region.nbytes,
        region.align,
        region.lower_bound,
        region.flat_lower_bound,
        region.status,
        tuple(boxes),
        gaps_between(boxes, region.nbytes) if location != "local" else (),
        tuple(layout.phases),
        tuple((number[first], number[last]) for first, last in layout.loops),
    )


def _in_a_row(boxes: Iterable[Box], layout: _core.Layout) -> list[Box]:
    """Local arrays have no addresses: show them one after the other, then the children's."""
    row: list[Box] = []
    end = 0
    for box in boxes:
        row.append(box._replace(offset=end))
        end += box.nbytes
    for name, child in layout.children.items():
        local = child.layout.local
        if local.nbytes:
            first, last = 0, max(1, len(layout.phases))
            row.append(
                Box(
                    name,
                    end,
                    local.nbytes,
                    "",
                    (),
                    local.align,
                    False,
                    False,
                    name,
                    0,
                    1,
                    first,
                    last,
                )
            )
            end += local.nbytes
    return row


def with_lanes(boxes: Sequence[Box]) -> list[Box]:
    """Give boxes that share bytes a lane each, in the order given; zero-size boxes get lane 0."""
    order = sorted(
        (i for i, box in enumerate(boxes) if box.nbytes),
        key=lambda i: (boxes[i].offset, -boxes[i].nbytes, i),
    )
    placed = list(boxes)
    cluster: list[tuple[int, int]] = []  # (index, lane)
    ends: list[int] = []  # of each lane

    def close() -> None:
        for i, lane in cluster:
            placed[i] = boxes[i]._replace(lane=lane, n_lanes=len(ends))

    for i in order:
        if ends and boxes[i].offset >= max(ends):
            close()
            cluster, ends = [], []
        lane = next((k for k, end in enumerate(ends) if end <= boxes[i].offset), len(ends))
        ends[lane : lane + 1] = [boxes[i].end]
        cluster.append((i, lane))
    close()
    return placed


def gaps_between(boxes: Iterable[Box], nbytes: int) -> tuple[Gap, ...]:
    """The bytes of [0, nbytes) outside every box."""
    gaps, end = [], 0
    for box in sorted(boxes, key=lambda b: b.offset):
        if box.offset > end:
            gaps.append(Gap(end, box.offset - end))
        end = max(end, box.end)
    if end < nbytes:
        gaps.append(Gap(end, nbytes - end))
    return tuple(gaps)


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape for people: "20", "20 x 20"."""
    return " x ".join(str(n) for n in shape)
