"""A region whose buffers live in some phases alone: address upwards, phases to the right."""

from __future__ import annotations

import numpy as np

from .. import _core
from .bands import Band, Box, gaps_between, with_lanes
from .colours import FAINT, LOAD, Palette
from .sheet import Fill, Sheet, Words, text_width

_LEFT = 0.62  # room for addresses
_PER_BOX = 0.26  # inches of height for each buffer alive at once
_LEAST, _MOST = 2.0, 14.0
_LINE = 0.022
_HEAD = 0.2  # a row of names of phases, or of loops


def draw_phase_map(sheet: Sheet, band: Band, palette: Palette) -> None:
    """Draw a band on the sheet, from its `y` on."""
    _PhaseMap(sheet, band).draw(palette)


class _PhaseMap:
    """Where phases and bytes are on the sheet."""

    def __init__(self, sheet: Sheet, band: Band) -> None:
        self.sheet, self.band = sheet, band
        most = max(len(_with_bytes(band.in_phase(t))) for t in range(band.n_phases))
        self.height = min(max(_PER_BOX * most, _LEAST), _MOST)
        self.column = (sheet.width - _LEFT) / band.n_phases
        self.bottom = sheet.y + 0.02 + self.height

    def x(self, phase: float) -> float:
        return _LEFT + phase * self.column

    def y(self, address: int) -> float:
        return self.bottom - address * self.height / self.band.nbytes

    def draw(self, palette: Palette) -> None:
        self._draw_gaps()
        for i, box in enumerate(_side_by_side(self.band)):
            wide = (box.last - box.first) * self.column / box.n_lanes
            x, y = self.x(box.first) + box.lane * wide, self.y(box.end)
            fill = Fill(x, y, wide, self.y(box.offset) - y, palette.of(box.child, i))
            live = self.band.live(box)
            key = f"{box.name} @ {box.offset:,}: {box.nbytes:,} B{live and f', {live}'}"
            self.sheet.box(fill, (box.name,), f"{box.nbytes:,} B", kept=box.keep, key=key)
        most = self._draw_live_bytes()
        self._draw_addresses()
        self.sheet.y = self.bottom + 0.02
        self._draw_names()
        self._draw_loops()
        text = f"red line: live bytes, at most {most:,}; hatched: idle"
        self.sheet.words.append(Words(_LEFT, self.sheet.y + 0.09, text, 6.5, FAINT))
        self.sheet.y += 0.18

    def _draw_gaps(self) -> None:
        """Hatch what nobody uses, phases with the same gap in one piece."""
        waiting: dict[tuple[int, int], int] = {}  # (offset, bytes) -> since which phase
        for phase in range(self.band.n_phases + 1):
            now = set()
            if phase < self.band.n_phases:
                gaps = gaps_between(self.band.in_phase(phase), self.band.nbytes)
                now = {(gap.offset, gap.nbytes) for gap in gaps}
            for gap in sorted(waiting.keys() - now):
                first, (offset, nbytes) = waiting.pop(gap), gap
                y = self.y(offset + nbytes)
                wide = self.x(phase) - self.x(first)
                self.sheet.gap(self.x(first), y, wide, self.y(offset) - y)
            for gap in now:
                waiting.setdefault(gap, phase)

    def _draw_live_bytes(self) -> int:
        """Draw the steps of the live bytes, and return the most."""
        boxes = [b for b in _side_by_side(self.band) if b.lane == 0]
        columns = ([b.nbytes for b in boxes], [b.first for b in boxes], [b.last for b in boxes])
        times, live = _core.live_bytes(*(np.array(column, dtype=np.int64) for column in columns))
        begins = times.tolist()
        ends = [*begins[1:], self.band.n_phases]
        before = 0
        for begin, end, now in zip(begins, ends, live.tolist(), strict=True):
            low, high = sorted((before, now))
            if 0 < begin < end:
                tall = self.y(low) - self.y(high)
                self._line(self.x(begin) - _LINE / 2, self.y(high), _LINE, tall + _LINE / 2)
            if begin < end:
                wide = self.x(end) - self.x(begin)
                self._line(self.x(begin), self.y(now) - _LINE / 2, wide, _LINE)
            before = now
        return max(live.tolist(), default=0)

    def _line(self, x: float, y: float, width: float, height: float) -> None:
        self.sheet.fills.append(Fill(x, y, width, height, LOAD, LOAD))

    def _draw_addresses(self) -> None:
        for address in sorted({self.band.nbytes * k // 4 for k in range(5)}):
            text = Words(_LEFT - 0.06, self.y(address), f"{address:,}", 6.5, FAINT, "right")
            self.sheet.words.append(text)

    def _draw_names(self) -> None:
        """Names of phases, upright where they are too long for their column."""
        longest = max(text_width(name, 7.0) for name in self.band.phases)
        turned = longest + 0.05 > self.column
        if turned and self.column < 0.1:
            return  # too many to be read
        high = min(longest, 1.0) + 0.06 if turned else _HEAD
        for i, name in enumerate(self.band.phases):
            at = Words(self.x(i + 0.5), self.sheet.y + high / 2, name, 7.0, across="center")
            self.sheet.words.append(at._replace(rotation=90.0) if turned else at)
        self.sheet.y += high

    def _draw_loops(self) -> None:
        """A bracket for every loop, outer ones below."""
        depth = {
            loop: sum(o[0] >= loop[0] and o[1] <= loop[1] for o in self.band.loops) - 1
            for loop in self.band.loops
        }
        for (first, last), row in depth.items():
            y = self.sheet.y + row * _HEAD + 0.06
            x, wide = self.x(first) + 0.04, (last + 1 - first) * self.column - 0.08
            self.sheet.fills.append(Fill(x, y - _LINE / 2, wide, _LINE, FAINT, FAINT))
            for end in (x, x + wide - _LINE):
                self.sheet.fills.append(Fill(end, y - 0.06, _LINE, 0.06, FAINT, FAINT))
            self.sheet.words.append(Words(x + wide / 2, y + 0.085, "loop", 6.0, FAINT, "center"))
        self.sheet.y += _HEAD * (max(depth.values()) + 1) if depth else 0.0


def _with_bytes(boxes: list[Box]) -> list[Box]:
    return [box for box in boxes if box.nbytes]


def _side_by_side(band: Band) -> list[Box]:
    """Boxes by address. Those of the same bytes have the same life, and a lane each."""
    lives: dict[tuple[int, int], list[Box]] = {}
    for box in _with_bytes(list(band.boxes)):
        lives.setdefault((box.first, box.last), []).append(box)
    placed = [box for boxes in lives.values() for box in with_lanes(boxes)]
    return sorted(placed, key=lambda box: (box.offset, box.first, box.lane))
