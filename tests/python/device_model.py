"""The slow, obvious reference for budgets, slots, the log and the simulator.

Nothing is counted: every figure of a budget is added up from whoever has the
bytes, every time it is asked for; victims are found by sorting everything.
Nothing here is shared with the C core or looks into it. The tests run the two
side by side, one call after the other on one thread, without leave to wait.

A call that breaks a rule raises :class:`Refused` and leaves the model as it
was, but for what was evicted in vain.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

MAX_BYTES = 1 << 63
MAX_NAME = 255
MAX_DEPTH = 16

MOST_HOST_BYTES = 1 << 46  # no machine has as much for a simulator

NO_MEMORY = "BAY-E001"
BUDGET_EXCEEDED = "BAY-E003"
DEVICE_MEMORY = "BAY-E004"
BAD_NAME = "BAY-E110"
BAD_SIZE = "BAY-E112"
BAD_VALUE = "BAY-E122"
STALE = "BAY-E130"
BUSY = "BAY-E203"
SLOT_EXISTS = "BAY-E204"
UNKNOWN_SLOT = "BAY-E205"
CONTENTS_LOST = "BAY-E206"
CLOSED = "BAY-E207"
TIMED_OUT = "BAY-E208"

LEVELS = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
FOR_ROOM = ("pressure", "limit", "oom")
WORDS = {"lru": "least recently used", "mru": "most recently used", "big_first": "largest"}


class Refused(Exception):
    """The call breaks a rule; `codes` are the answers that would be right."""

    def __init__(self, *codes: str, report: Report | None = None) -> None:
        self.codes = frozenset(codes)
        self.report = report
        super().__init__(sorted(self.codes))


class LoadFailed(Exception):
    """What a loader of the tests raises."""


def round_up(n: int, granularity: int) -> int:
    """Bytes that are charged for n, or BAD_SIZE."""
    rounded = -(-n // granularity) * granularity
    if n <= 0 or rounded >= MAX_BYTES:
        raise Refused(BAD_SIZE)
    return rounded


def refuse_tag(tag: str | None) -> None:
    """None is no tag, and the empty text is none either, but by mistake."""
    if tag == "":
        raise Refused(BAD_NAME)


def pressure_of(in_use: int, limit: int, levels: tuple[int, ...]) -> int:
    """0 (LOW) to 3 (CRITICAL), by fractions."""
    if limit == 0:
        return 3
    return sum(Fraction(in_use, limit) >= Fraction(level, 100) for level in levels)


@dataclass
class Record:
    """The end of one residency."""

    key: str
    kind: str | None
    generation: int
    nbytes: int
    cause: str
    seq: int


@dataclass
class Report:
    """What a refusal for want of room says."""

    requested: int
    available: int
    limit: int
    used: int
    reserved: int
    evictable: int
    pinned: int
    in_flight: int
    loaded: int
    total: int
    budget: str | None
    text: str


# ---- the device ---------------------------------------------------------------


@dataclass(eq=False)
class Event:
    """Recorded in a stream; passed or not."""

    stream: Any
    passed: bool = False


@dataclass(eq=False)
class Sim:
    """A device with room for `capacity` bytes, and events that wait for `complete`."""

    capacity: int | None = None
    manual: bool = False
    granularity: int = 1
    held: list[Event] = field(default_factory=list)
    awaited: list[Event] = field(default_factory=list)  # by the private stream

    def record(self, stream: Any) -> Event:
        event = Event(stream, passed=not self.manual)
        if self.manual:
            self.held.append(event)
        return event

    def complete(self, n: int | None = None) -> int:
        """Let the n oldest pass."""
        going = self.held if n is None else self.held[:n]
        for event in going:
            event.passed = True
        self.held = self.held[len(going) :]
        return len(going)

    def forget(self, event: Event) -> None:
        """Nobody will ask for it; it stays if the private stream waits for it."""
        if event in self.held and event not in self.awaited:
            self.held.remove(event)

    def still_awaited(self) -> list[Event]:
        return [event for event in self.awaited if not event.passed]


# ---- who has bytes ------------------------------------------------------------


@dataclass(eq=False)
class Watch:
    """Sees a budget cross a level."""

    budget: Budget
    level: int
    above: bool = False
    edges: list[bool] = field(default_factory=list)

    def look(self) -> None:
        limit, in_use = self.budget.limit, self.budget.in_use
        percent = self.budget.levels[self.level - 1]
        lower = percent - self.budget.release
        if self.above:
            has_fallen = in_use * 100 < limit * lower if lower > 0 else in_use == 0
            crosses = has_fallen and limit > 0
        else:
            crosses = pressure_of(in_use, limit, self.budget.levels) >= self.level
        if crosses:
            self.above = not self.above
            self.edges.append(self.above)


@dataclass(eq=False)
class Budget:
    """A limit. Its figures are added up from the tree's owners of bytes."""

    tree: Tree
    limit: int
    name: str | None = None
    levels: tuple[int, ...] = (50, 80, 95)
    release: int = 5
    evict_at: tuple[int, int] | None = None
    parent: Budget | None = None
    granularity: int = 1
    charged: dict[str | None, int] = field(default_factory=dict)  # by tag
    peak: int = 0
    n_charges: int = 0
    n_refusals: int = 0
    n_evictions: int = 0
    due_since: int = 0  # evict_at was reached: what came before this generation may go

    def chain(self) -> Iterator[Budget]:
        """This one and all above it."""
        budget: Budget | None = self
        while budget is not None:
            yield budget
            budget = budget.parent

    def is_under(self, other: Budget) -> bool:
        return other in self.chain()

    @property
    def used(self) -> int:
        own = sum(sum(b.charged.values()) for b in self.tree.budgets if b.is_under(self))
        return own + sum(s.charged for s in self.tree.slots() if s.is_here and self.has(s))

    @property
    def reserved(self) -> int:
        promised = sum(r.left for r in self.tree.reservations if r.budget.is_under(self))
        return promised + sum(c.held.get(self, 0) for c in self.tree.claims)

    @property
    def retiring(self) -> int:
        return sum(b.charged for b in self.tree.blocks if b.budget.is_under(self))

    @property
    def in_use(self) -> int:
        return self.used + self.reserved + self.retiring

    @property
    def available(self) -> int:
        return max(0, self.limit - self.in_use)

    @property
    def over(self) -> int:
        return max(0, self.in_use - self.limit)

    @property
    def pressure(self) -> int:
        return pressure_of(self.in_use, self.limit, self.levels)

    @property
    def children(self) -> int:
        return sum(b.parent is self for b in self.tree.budgets)

    def has(self, slot: Slot) -> bool:
        return slot.manager.budget.is_under(self)


@dataclass(eq=False)
class Reservation:
    """Bytes promised."""

    budget: Budget
    left: int
    is_closed: bool = False


@dataclass(eq=False)
class Claim:
    """What one call holds while it makes room: bytes per budget."""

    budget: Budget
    need: int
    held: dict[Budget, int]
    reservation: Reservation | None = None
    n_from_reservation: int = 0

    def coming(self, budget: Budget) -> int:
        """Bytes on their way to this claim that count in `budget`."""
        blocks = self.budget.tree.blocks
        return sum(b.charged for b in blocks if b.claim is self and b.budget.is_under(budget))

    def short(self, budget: Budget, n_more: int = 0) -> int:
        """Bytes that are missing there, if n_more were on their way."""
        missing = self.need - self.held[budget]
        coming = self.coming(budget) + n_more
        stays = max(0, budget.in_use - coming)
        return max(0, missing - max(0, budget.limit - stays)) if missing else 0

    def first_short(self) -> Budget | None:
        return next((b for b in self.budget.chain() if self.short(b)), None)

    @property
    def is_complete(self) -> bool:
        return all(n == self.need for n in self.held.values())


@dataclass(eq=False)
class Block:
    """Device memory on its way out."""

    manager: Manager
    charged: int
    memory: int
    waits: list[Event]
    uses: list[Event]
    needs_sync: bool = False
    is_held: bool = False  # a copy that waits for somebody's work
    slot: Slot | None = None
    claim: Claim | None = None
    brings_contents: bool = False
    paid: tuple[Reservation, int] | None = None  # to be given back

    def pay_back(self) -> None:
        """What was taken for a slot that could not be made."""
        if self.paid is not None and not self.paid[0].is_closed:
            reservation, n = self.paid
            reservation.left += n
            self.charged -= n

    @property
    def budget(self) -> Budget:
        return self.manager.budget


@dataclass(eq=False)
class Slot:
    """A named slot. `contents` are the bytes that are known, from the first on."""

    manager: Manager
    name: str
    nbytes: int
    charged: int
    order: int
    pinned: bool = False
    priority: int = 0
    keep: str | None = "host"
    load: Callable[[Slot], bytes] | None = None
    kind: str | None = None
    state: str = "restoring"
    is_new: bool = True
    is_loading: bool = False
    age: int = 0
    generation: int = 0
    host_uses: int = 0
    dirty: bool = False
    busy: bool = False  # as it was when someone looked
    has_contents: bool = False
    has_copy: bool = False
    contents: bytes = b""
    copy: bytes = b""
    uses: dict[Any, Event] = field(default_factory=dict)
    needs_sync: bool = False
    paid: tuple[Reservation, int] | None = None  # while it is loaded for the first time

    @property
    def is_here(self) -> bool:
        """Its bytes are in `used`."""
        return self.state == "resident" or self.is_loading

    @property
    def memory(self) -> int:
        return -(-self.nbytes // self.manager.sim.granularity) * self.manager.sim.granularity

    def can_go(self) -> bool:
        return self.would_go() and not self.busy

    def would_go(self) -> bool:
        return self.state == "resident" and not self.pinned and not self.host_uses

    def must_copy(self, even_so: bool = False) -> bool:
        return (even_so or self.keep is not None) and (self.dirty or not self.has_contents)

    def look(self) -> None:
        """Forget the uses that have passed."""
        self.uses = {stream: e for stream, e in self.uses.items() if not e.passed}
        self.busy = bool(self.uses)


@dataclass(eq=False)
class Manager:
    """Slots under one budget, on one device."""

    budget: Budget
    sim: Sim
    policy: str | Callable[[Any], Any] = "lru"
    strict: bool = False
    by_name: dict[str, Slot] = field(default_factory=dict)
    # Slots whose name is another's now, until the exchange is over.
    replaced: list[Slot] = field(default_factory=list)
    n_by_cause: dict[str, int] = field(default_factory=dict)
    n_restores: int = 0
    moved_out: int = 0
    moved_in: int = 0
    is_closed: bool = False

    @property
    def granularity(self) -> int:
        return max(self.budget.granularity, self.sim.granularity)

    def slots(self) -> list[Slot]:
        return [*self.by_name.values(), *self.replaced]

    def key(self, slot: Slot) -> Any:
        if callable(self.policy):
            return self.policy(slot)
        return {"lru": 0, "mru": -slot.age, "big_first": -slot.charged}[self.policy]

    def in_order(self) -> list[Slot]:
        """Who would go, one after the other."""
        return sorted(
            (s for s in self.slots() if s.can_go()),
            key=lambda s: (s.priority, self.key(s), s.age, s.order),
        )

    @property
    def word(self) -> str:
        return WORDS.get(self.policy, "by policy") if isinstance(self.policy, str) else "by policy"


# ---- the tree -----------------------------------------------------------------


class Tree:
    """Budgets, managers and the log that are decided together."""

    def __init__(self) -> None:
        self.budgets: list[Budget] = []
        self.managers: list[Manager] = []
        self.reservations: list[Reservation] = []
        self.watches: list[Watch] = []
        self.claims: list[Claim] = []
        self.blocks: list[Block] = []  # oldest first
        self.log: list[Record] = []
        self.delivered: list[tuple[Budget, int, bool]] = []
        self.deferred: list[Callable[[], None]] = []  # by finalisers
        self.clock = self.generations = self.orders = 0

    # ---- what there is ----------------------------------------------------------

    def budget(self, limit: int, **said: Any) -> Budget:
        if not 0 <= limit < MAX_BYTES:
            raise Refused(BAD_VALUE)
        parent = said.get("parent")
        if parent is not None and len(list(parent.chain())) >= MAX_DEPTH:
            raise Refused(BAD_VALUE)
        self.budgets.append(Budget(self, limit, **said))
        return self.budgets[-1]

    def manager(self, budget: Budget, sim: Sim, **said: Any) -> Manager:
        self.managers.append(Manager(budget, sim, **said))
        return self.managers[-1]

    def watch(self, budget: Budget, level: int) -> Watch:
        if level == 0:
            raise Refused(BAD_VALUE)
        self.watches.append(Watch(budget, level))
        self.looked()
        return self.watches[-1]

    def slots(self) -> list[Slot]:
        return [slot for manager in self.managers for slot in manager.slots()]

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    # ---- what happens by itself ---------------------------------------------------

    def looked(self) -> None:
        """Some figure may have moved: peaks and edges."""
        for budget in self.budgets:
            budget.peak = max(budget.peak, budget.in_use)
        for watch in self.watches:
            watch.look()

    def admitted(self, leaf: Budget, next_generation: int | None = None) -> None:
        """Bytes were granted; what comes with them does not have to go for them."""
        self.looked()
        for budget in leaf.chain():
            budget.n_charges += 1
            is_due = budget.evict_at and (budget.in_use * 100 >= budget.limit * budget.evict_at[0])
            if is_due and not budget.due_since:
                budget.due_since = next_generation or self.generations + 1

    def settle(self, is_due: bool = False) -> None:
        """What every call does before and after, where there is something to do."""
        is_due |= bool(self.blocks or self.deferred) or any(b.due_since for b in self.budgets)
        if not is_due:
            return
        while self.deferred:
            self.deferred.pop(0)()
        self.poll()
        self.poll_busy()
        for budget in self.budgets:
            if budget.due_since:
                before, budget.due_since = budget.due_since, 0
                target = budget.limit * budget.evict_at[1] // 100
                self.reclaim(budget, target, "pressure", before=before)

    def deliver(self) -> None:
        """Edges, the oldest watch's first."""
        for watch in self.watches:
            self.delivered += [(watch.budget, watch.level, rising) for rising in watch.edges]
            watch.edges.clear()

    def poll(self) -> None:
        """Free what the device is done with."""
        for block in list(self.blocks):
            sim = block.manager.sim
            if block.needs_sync:
                self.synchronize(sim)
                block.needs_sync, block.waits, block.uses = False, [], []
            if any(not event.passed for event in (*block.waits, *block.uses)):
                continue
            if block.slot is not None:
                self.gone(block.slot, block.brings_contents)
            self.blocks.remove(block)
            block.pay_back()
            self.receive(block)

    def receive(self, block: Block) -> None:
        """A block is free: its claim takes what it needs, the rest is available."""
        claim = block.claim
        if claim is not None:
            for budget in claim.held:
                if block.budget.is_under(budget):
                    n = min(block.charged, claim.need - claim.held[budget])
                    claim.held[budget] += n
        self.looked()

    def poll_busy(self) -> None:
        for slot in self.slots():
            if slot.state == "resident":
                slot.look()

    def synchronize(self, sim: Sim) -> None:
        sim.complete()

    # ---- the ledger -----------------------------------------------------------------

    def refuse(self, budget: Budget, requested: int, short: int, **who: Any) -> Refused:
        budget.n_refusals += 1
        return self.refusal(budget, requested, short, **who)

    def refusal(
        self,
        budget: Budget,
        requested: int,
        short: int,
        asker: Manager | None = None,
        only: Manager | None = None,
    ) -> Refused:
        """BUDGET_EXCEEDED, with the report of this moment."""
        slots = [s for s in self.slots() if budget.has(s) and not s.is_new]
        here = [s for s in slots if s.state == "resident"]
        report = Report(
            requested=requested,
            available=budget.available,
            limit=budget.limit,
            used=budget.used,
            reserved=budget.reserved,
            evictable=sum(s.charged for s in here if s.can_go()),
            pinned=sum(s.charged for s in here if s.pinned),
            in_flight=budget.retiring + sum(s.charged for s in here if s.would_go() and s.busy),
            loaded=len(here),
            total=len(slots),
            budget=budget.name,
            text="",
        )
        victims, enough = self.enough(budget, short, only)
        report.text = report_text(report, victims, enough, short, asker)
        return Refused(BUDGET_EXCEEDED, report=report)

    def enough(self, budget: Budget, n: int, only: Manager | None) -> tuple[list[Slot], bool]:
        chosen: list[Slot] = []
        while sum(s.charged for s in chosen) < n:
            slot = self.next_victim(budget, chosen, only)
            if slot is None:
                return chosen, False
            chosen.append(slot)
        return chosen, True

    def ask(self, budget: Budget, n: int) -> int:
        rounded = round_up(n, budget.granularity)
        for each in budget.chain():
            if each.available < rounded:
                short = max(0, each.in_use + rounded - each.limit)
                raise self.refuse(each, rounded, short)
        return rounded

    def charge(self, budget: Budget, n: int, tag: str | None = None) -> int:
        refuse_tag(tag)
        rounded = self.ask(budget, n)
        budget.charged[tag] = budget.charged.get(tag, 0) + rounded
        self.admitted(budget)
        return rounded

    def refund(self, budget: Budget, n: int, tag: str | None = None) -> int:
        refuse_tag(tag)
        if n <= 0 or n >= MAX_BYTES * 2:
            raise Refused(BAD_SIZE)
        rounded = -(-n // budget.granularity) * budget.granularity
        if rounded > budget.charged.get(tag, 0):
            raise Refused(BAD_VALUE)
        budget.charged[tag] -= rounded
        self.looked()
        return rounded

    def reserve(self, budget: Budget, n: int) -> Reservation:
        rounded = self.ask(budget, n)
        self.reservations.append(Reservation(budget, rounded))
        self.admitted(budget)
        return self.reservations[-1]

    def take(self, reservation: Reservation, n: int, tag: str | None = None) -> int:
        budget = reservation.budget
        refuse_tag(tag)
        if reservation.is_closed:
            raise Refused(STALE)
        rounded = round_up(n, budget.granularity)
        if rounded > reservation.left:
            raise Refused(BUDGET_EXCEEDED)
        reservation.left -= rounded
        budget.charged[tag] = budget.charged.get(tag, 0) + rounded
        self.looked()
        return rounded

    def close_reservation(self, reservation: Reservation) -> None:
        reservation.left, reservation.is_closed = 0, True
        self.looked()

    def set_limit(self, budget: Budget, limit: int) -> bool:
        if not 0 <= limit < MAX_BYTES:
            raise Refused(BAD_VALUE)
        budget.limit = limit
        self.looked()
        return budget.in_use > limit

    # ---- victims ------------------------------------------------------------------------

    def next_victim(
        self,
        budget: Budget,
        chosen: Iterable[Slot],
        only: Manager | None = None,
        sim: Sim | None = None,
        before: int | None = None,
    ) -> Slot | None:
        """The first of every manager compete by priority and age."""
        taken = set(map(id, chosen))
        heads = []
        for manager in self.managers:
            is_asked = only in (None, manager) and sim in (None, manager.sim)
            if is_asked and manager.budget.is_under(budget):
                slots = [s for s in manager.in_order() if before is None or s.generation < before]
                heads += [s for s in slots if id(s) not in taken][:1]
        return min(heads, key=lambda s: (s.priority, s.age, s.order), default=None)

    def victims_for(
        self, claim: Claim, only: Manager | None = None
    ) -> tuple[list[Slot], Budget | None]:
        """Who has to go for a claim; and the budget that would stay short."""
        chosen: list[Slot] = []
        for budget in claim.budget.chain():
            while claim.short(budget, sum(s.charged for s in chosen if budget.has(s))):
                slot = self.next_victim(budget, chosen, only)
                if slot is None:
                    return chosen, budget
                chosen.append(slot)
        return chosen, None

    def staying(self, budget: Budget, sim: Sim | None = None) -> int:
        """Bytes in use that do not become available (on this device) by themselves."""
        return budget.in_use - sum(
            b.charged
            for b in self.blocks
            if b.budget.is_under(budget)
            and sim in (None, b.manager.sim)
            and (b.claim is None or budget not in b.claim.held)
        )

    def reclaim(
        self,
        budget: Budget,
        target: int,
        cause: str,
        sim: Sim | None = None,
        before: int | None = None,
    ) -> None:
        """Down to `target` bytes in use, as far as it goes."""
        chosen: list[Slot] = []
        in_use = self.staying(budget, sim)
        while in_use - sum(s.charged for s in chosen) > target:
            slot = self.next_victim(budget, chosen, sim=sim, before=before)
            if slot is None:
                break
            chosen.append(slot)
        for slot in chosen:
            self.evict_slot(slot, cause, even_so=slot in slot.manager.replaced)
        self.poll()

    # ---- slots go -------------------------------------------------------------------------

    def evict_slot(
        self, slot: Slot, cause: str, claim: Claim | None = None, even_so: bool = False
    ) -> None:
        """Spill what is worth it, and end the residency."""
        sim = slot.manager.sim
        if slot.needs_sync:
            self.synchronize(sim)
            slot.needs_sync, slot.uses = False, {}
        copies = slot.must_copy(even_so)
        if copies:
            slot.uses = {stream: e for stream, e in slot.uses.items() if not e.passed}
            sim.awaited = sim.still_awaited()
            sim.awaited += slot.uses.values()
            slot.copy, slot.has_copy = slot.contents, True
            slot.manager.moved_out += slot.nbytes
        self.depart(slot, cause, claim)
        block = self.blocks[-1]
        block.slot = slot
        block.brings_contents = copies or slot.has_contents
        if copies:
            block.waits += sim.awaited
            block.is_held = bool(slot.uses)
        slot.uses = {}
        slot.state = "evicting"

    def depart(self, slot: Slot, cause: str, claim: Claim | None = None) -> None:
        """The residency ends: a record, and memory on its way out."""
        self.append(slot.name, slot.kind, slot.generation, slot.nbytes, cause)
        counts = slot.manager.n_by_cause
        counts[cause] = counts.get(cause, 0) + 1
        for budget in slot.manager.budget.chain():
            budget.n_evictions += 1
        self.blocks.append(
            Block(
                slot.manager, slot.charged, slot.memory, [], list(slot.uses.values()),
                slot.needs_sync, claim=claim,
            )
        )  # fmt: skip
        slot.needs_sync = False
        slot.state = "evicted"

    def gone(self, slot: Slot, has_contents: bool) -> None:
        slot.state = "evicted"
        slot.busy = False
        slot.has_contents = has_contents
        slot.contents = b""

    def append(self, key: str, kind: str | None, generation: int, n: int, cause: str) -> None:
        self.log.append(Record(key, kind, generation, n, cause, len(self.log)))

    def publish(self, key: str, kind: str | None, n: int, cause: str) -> int:
        if not 0 < len(key.encode()) <= MAX_NAME:
            raise Refused(BAD_NAME)
        self.generations += 1
        self.append(key, kind, self.generations, n, cause)
        return len(self.log) - 1

    # ---- room -----------------------------------------------------------------------------

    def begin(self, budget: Budget, need: int, reservation: Reservation | None = None) -> Claim:
        n = min(need, reservation.left) if reservation is not None else 0
        if reservation is not None:
            reservation.left -= n
        claim = Claim(budget, need, dict.fromkeys(budget.chain(), n), reservation, n)
        self.claims.append(claim)
        return claim

    def abort(self, claim: Claim) -> None:
        if claim.reservation is not None and not claim.reservation.is_closed:
            claim.reservation.left += claim.n_from_reservation
        self.close_claim(claim)
        self.looked()

    def close_claim(self, claim: Claim) -> None:
        self.claims.remove(claim)
        for block in self.blocks:
            block.claim = None if block.claim is claim else block.claim

    def mend(self, claim: Claim) -> None:
        """A limit was lowered below use: that first."""
        for budget in claim.budget.chain():
            if budget.in_use > budget.limit:
                self.reclaim(budget, budget.limit, "limit")

    def make_room(
        self,
        claim: Claim,
        asker: Manager | None = None,
        strict: bool = False,
        replaced: Slot | None = None,
        only: Manager | None = None,
    ) -> int:
        """Complete the claim; the bytes that went for it. Without leave to wait."""
        if not strict:
            self.mend(claim)
        going = replaced if replaced is not None and replaced.state == "resident" else None
        if going is not None and going.host_uses:
            raise Refused(BUSY)
        helps = self.is_for_claim(going)
        if not self.is_enough(claim, helps):
            self.poll()
            self.poll_busy()
            helps = self.is_for_claim(going)
        victims: list[Slot] = []
        if not self.is_enough(claim, helps):
            victims, short = self.choose(claim, going, strict, only)
            queues = any(s.must_copy() and self.stream_is_held(s.manager.sim) for s in victims)
            if short is not None or queues:
                short = short or claim.first_short() or claim.budget
                raise self.refuse(short, claim.need, claim.short(short), asker=asker)
        self.take_rest(claim, [*helps, *victims])
        for slot in helps:
            self.evict_slot(slot, "replaced", claim, even_so=True)
        for slot in victims:
            self.evict_slot(slot, "pressure", claim)
        if going is not None and not helps:
            self.evict_slot(going, "replaced", None, even_so=True)
        self.poll()
        assert claim.is_complete
        return sum(s.charged for s in victims) + (going.charged if going else 0)

    def is_for_claim(self, going: Slot | None) -> list[Slot]:
        """The replaced slot, unless its bytes come only when the device is done."""
        if going is None or going.busy or self.stream_is_held(going.manager.sim):
            return []
        return [going]

    def is_enough(self, claim: Claim, helps: list[Slot]) -> bool:
        n_more = sum(s.charged for s in helps)
        return all(not claim.short(b, n_more) for b in claim.budget.chain())

    def choose(
        self, claim: Claim, going: Slot | None, strict: bool, only: Manager | None
    ) -> tuple[list[Slot], Budget | None]:
        """Victims, while the replaced slot counts as on its way."""
        if strict:
            return [], claim.first_short() or claim.budget
        if going is None:
            return self.victims_for(claim, only)
        gets = claim if self.is_for_claim(going) else None
        stand_in = Block(going.manager, going.charged, 0, [], [], claim=gets)
        going.state = "evicting"
        self.blocks.append(stand_in)
        try:
            return self.victims_for(claim, only)
        finally:
            self.blocks.remove(stand_in)
            going.state = "resident"

    def take_rest(self, claim: Claim, going: list[Slot]) -> None:
        """What is not on its way is taken from what is available."""
        for budget in claim.held:
            coming = sum(s.charged for s in going if budget.has(s)) + claim.coming(budget)
            claim.held[budget] += max(0, claim.need - claim.held[budget] - coming)
        self.looked()

    def stream_is_held(self, sim: Sim) -> bool:
        return any(b.is_held and b.manager.sim is sim for b in self.blocks)

    # ---- slots come -----------------------------------------------------------------------

    def sim_used(self, sim: Sim) -> int:
        here = sum(s.memory for s in self.slots() if s.is_here and s.manager.sim is sim)
        return here + sum(b.memory for b in self.blocks if b.manager.sim is sim)

    def get_memory(self, slot: Slot) -> None:
        def fits() -> bool:
            sim = slot.manager.sim
            return sim.capacity is None or self.sim_used(sim) + slot.memory <= sim.capacity

        if slot.manager.sim.capacity is None and slot.memory > MOST_HOST_BYTES:
            raise Refused(NO_MEMORY)
        if fits():
            return
        self.poll()
        if not fits() and not slot.manager.strict:
            *_, root = slot.manager.budget.chain()
            sim = slot.manager.sim
            target = max(0, self.staying(root, sim) - slot.charged)
            self.reclaim(root, target, "oom", sim)
        if not fits():
            raise Refused(DEVICE_MEMORY)

    def arrive(
        self,
        slot: Slot,
        reservation: Reservation | None = None,
        replaced: Slot | None = None,
        is_blank: bool = False,
    ) -> None:
        """Room, memory, contents. A slot that its owner has to fill is left loading."""
        manager = slot.manager
        claim = self.begin(manager.budget, slot.charged, reservation)
        try:
            self.make_room(claim, manager, manager.strict, replaced)
            self.get_memory(slot)
        except Refused:
            self.abort(claim)
            raise
        self.close_claim(claim)
        slot.paid = (reservation, claim.n_from_reservation) if reservation is not None else None
        next_generation = self.generations + 1
        has_contents = slot.has_contents and not is_blank
        slot.is_loading = slot.load is not None and not has_contents and not is_blank
        if not slot.is_loading:
            self.settle_in(slot, dirty=not has_contents)
            if has_contents:
                slot.contents = slot.copy
                manager.moved_in += slot.nbytes
        self.admitted(manager.budget, next_generation)

    def settle_in(self, slot: Slot, dirty: bool) -> None:
        """RESIDENT: a new generation, the newest age."""
        slot.state = "resident"
        slot.is_loading = False
        self.generations += 1
        slot.generation = self.generations
        slot.manager.n_restores += not slot.is_new
        slot.is_new = False
        slot.age = self.tick()
        slot.dirty = dirty

    def fill(self, slot: Slot) -> None:
        """Call the loader."""
        assert slot.load is not None
        try:
            data = slot.load(slot)
        except LoadFailed:
            slot.is_loading = False
            slot.host_uses = max(0, slot.host_uses - 1)
            block = Block(slot.manager, slot.charged, slot.memory, [], [], paid=slot.paid)
            self.blocks.append(block)
            slot.state = "evicted"
            self.poll()
            raise
        if data and self.stream_is_held(slot.manager.sim):
            self.synchronize(slot.manager.sim)
        self.settle_in(slot, dirty=True)
        slot.has_contents = False
        slot.contents = data

    def allocate(
        self,
        manager: Manager,
        name: str,
        nbytes: int,
        *,
        pin: bool = False,
        replace: bool = False,
        reservation: Reservation | None = None,
        **said: Any,
    ) -> Slot:
        old = manager.by_name.get(name)
        codes = self.why_not(manager, name, nbytes, old if replace else None, reservation)
        if codes:
            raise Refused(*codes)
        charged = round_up(nbytes, manager.granularity)
        self.orders += 1
        slot = Slot(manager, name, nbytes, charged, self.orders, pinned=pin, **said)
        slot.age = self.tick()
        was_here = old is not None and old.state == "resident"
        self.rename(manager, old, slot)
        try:
            self.arrive(slot, reservation, old)
            self.poll()
            if slot.is_loading:
                self.fill(slot)
        except (Refused, LoadFailed):
            self.rename_back(manager, old, slot)
            if old is not None and was_here and old.state == "evicted" and old.has_contents:
                self.bring_back(old)
            raise
        if old is not None:
            self.forget(old)
        return slot

    def why_not(
        self,
        manager: Manager,
        name: str,
        nbytes: int,
        old: Slot | None,
        reservation: Reservation | None,
    ) -> set[str]:
        """Every rule a request breaks before anyone looks for room."""
        codes = set()
        if not 0 < len(name.encode()) <= MAX_NAME:
            codes.add(BAD_NAME)
        try:
            round_up(nbytes, manager.granularity)
        except Refused:
            codes.add(BAD_SIZE)
        if name in manager.by_name and old is None:
            codes.add(SLOT_EXISTS)
        if old is not None and (old.host_uses or old.state == "evicting"):
            codes.add(BUSY)
        if reservation is not None and reservation.is_closed:
            codes.add(STALE)
        elif reservation is not None and reservation.budget is not manager.budget:
            codes.add(BAD_VALUE)
        return codes

    def rename(self, manager: Manager, old: Slot | None, slot: Slot) -> None:
        if old is not None:
            del manager.by_name[old.name]
            manager.replaced.append(old)
        manager.by_name[slot.name] = slot

    def rename_back(self, manager: Manager, old: Slot | None, slot: Slot) -> None:
        del manager.by_name[slot.name]
        if old is not None:
            manager.replaced.remove(old)
            manager.by_name[old.name] = old

    def forget(self, slot: Slot) -> None:
        """Its memory, if any is left, is nobody's."""
        slot.manager.replaced.remove(slot)
        for block in self.blocks:
            block.slot = None if block.slot is slot else block.slot

    def bring_back(self, slot: Slot) -> None:
        try:
            self.restore(slot)
        except Refused:
            pass

    def restore(self, slot: Slot, is_blank: bool = False) -> None:
        """Bring it back; blank: whoever wants it writes all of it."""
        if not slot.has_contents and slot.load is None and not is_blank:
            raise Refused(CONTENTS_LOST)
        if slot.has_contents and not is_blank and self.stream_is_held(slot.manager.sim):
            raise Refused(TIMED_OUT)
        slot.state = "restoring"
        try:
            self.arrive(slot, is_blank=is_blank)
        except Refused:
            slot.state = "evicted"
            raise
        if slot.keep is None and slot.has_copy and not slot.is_loading:
            slot.has_copy = slot.has_contents = False
            slot.dirty = True

    def slot(self, manager: Manager, name: str) -> Slot:
        if manager.is_closed:
            raise Refused(CLOSED)
        if not 0 < len(name.encode()) <= MAX_NAME:
            raise Refused(BAD_NAME, UNKNOWN_SLOT)
        if name not in manager.by_name:
            raise Refused(UNKNOWN_SLOT)
        return manager.by_name[name]

    def deallocate(self, manager: Manager, name: str) -> int:
        slot = self.slot(manager, name)
        if slot.host_uses or slot.state == "evicting":
            raise Refused(BUSY)
        freed = 0
        if slot.state == "resident":
            freed = slot.charged
            self.depart(slot, "explicit")
        del manager.by_name[name]
        self.poll()
        return freed

    def touch(self, manager: Manager, name: str) -> None:
        self.slot(manager, name).age = self.tick()

    def evict(self, manager: Manager, name: str) -> None:
        slot = self.slot(manager, name)
        if slot.pinned or slot.host_uses or slot.state == "evicting":
            raise Refused(BUSY)
        if slot.state == "resident":
            self.evict_slot(slot, "explicit")
            self.poll()

    # ---- use ------------------------------------------------------------------------------

    def use_begin(
        self, manager: Manager, name: str, write: bool = True, is_blank: bool = False
    ) -> Slot:
        slot = self.slot(manager, name)
        if slot.state == "evicting":
            self.poll()
        if slot.state == "evicting":
            raise Refused(TIMED_OUT)
        if slot.state == "evicted":
            self.restore(slot, is_blank)
        is_loading = slot.is_loading
        slot.host_uses += 1
        slot.age = self.tick()
        if write or is_loading:
            slot.dirty, slot.has_contents = True, False
        if is_loading:
            self.fill(slot)
        return slot

    def use_end(self, slot: Slot, stream: Any = None, host_only: bool = False) -> None:
        slot.host_uses -= 1
        if host_only:
            return
        if stream is None:
            slot.needs_sync = True
            return
        sim = slot.manager.sim
        event = sim.record(stream)
        if event.passed:
            return
        if stream in slot.uses:
            old = slot.uses.pop(stream)
            sim.forget(old)
        slot.uses[stream] = event
        slot.busy = True

    def prefetch(self, manager: Manager, name: str, stream: Any = None) -> None:
        slot = self.use_begin(manager, name, write=False)
        self.use_end(slot, stream, host_only=stream is None)

    def drain_for_copy(self, slot: Slot) -> None:
        """A copy waits for whatever the device may still do with the slot."""
        if slot.needs_sync or slot.uses or self.stream_is_held(slot.manager.sim):
            self.synchronize(slot.manager.sim)
            slot.needs_sync, slot.uses = False, {}
        slot.look()

    def copy_from(self, slot: Slot, data: bytes) -> None:
        if len(data) > slot.nbytes:
            raise Refused(BAD_SIZE)
        if not data:
            return
        self.use_begin(slot.manager, slot.name, write=True, is_blank=len(data) == slot.nbytes)
        self.drain_for_copy(slot)
        slot.contents = data + slot.contents[len(data) :]
        self.use_end(slot, host_only=True)

    def copy_to(self, slot: Slot) -> bytes:
        """Bytes that are known, from the first on."""
        if slot.state == "evicted" and slot.has_contents:
            return slot.copy
        is_open = slot.state == "resident" and slot.host_uses > 0
        if not is_open:
            self.use_begin(slot.manager, slot.name, write=False)
        self.drain_for_copy(slot)
        if not is_open:
            self.use_end(slot, host_only=True)
        return slot.contents

    # ---- managers ---------------------------------------------------------------------------

    def plan(self, manager: Manager, nbytes: int) -> list[str]:
        if nbytes == 0:
            return []
        need = round_up(nbytes, manager.granularity)
        claim = Claim(manager.budget, need, dict.fromkeys(manager.budget.chain(), 0))
        chosen, short = self.victims_for(claim, manager)
        if short is not None:
            raise self.refusal(short, need, claim.short(short), manager, only=manager)
        return [slot.name for slot in chosen]

    def first(self, manager: Manager) -> str | None:
        """The slot that would go first."""
        slot = self.next_victim(manager.budget, [], manager)
        return None if slot is None else slot.name

    def room(self, budget: Budget, nbytes: int, only: Manager | None = None) -> int:
        if nbytes == 0:
            return 0
        claim = self.begin(budget, round_up(nbytes, budget.granularity))
        try:
            return self.make_room(claim, only=only)
        finally:
            self.abort(claim)

    def trim(self, budget: Budget) -> int:
        before = budget.used + budget.retiring
        self.poll()
        self.poll_busy()
        self.reclaim(budget, budget.limit, "limit")
        return max(0, before - budget.used - budget.retiring)

    def drop_budget(self, budget: Budget) -> None:
        """Nobody can reach it: what was charged to it goes back."""
        self.watches = [watch for watch in self.watches if watch.budget is not budget]
        budget.charged.clear()
        self.looked()
        self.budgets.remove(budget)

    def close(self, manager: Manager) -> None:
        """Every slot goes, the newest first; the device is waited for."""
        for slot in sorted(manager.slots(), key=lambda s: -s.order):
            if slot.state == "resident":
                self.depart(slot, "closed")
        manager.by_name.clear()
        self.poll()
        if any(b.manager is manager for b in self.blocks):
            self.synchronize(manager.sim)
            self.poll()
        manager.is_closed = True
        self.managers.remove(manager)


# ---- words --------------------------------------------------------------------


def in_units(n: int) -> str:
    """`` (8.00 GiB)``; nothing below 1 KiB."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if n >= 1 << power:
            hundredths = (Fraction(n, 1 << power) * 100 + Fraction(1, 2)) // 1
            return f" ({hundredths // 100}.{hundredths % 100:02} {unit})"
    return ""


def cut(name: str) -> str:
    """Long names end in three dots."""
    return name if len(name.encode()) < 64 else name[:60] + "..."


def named(victims: list[Slot]) -> str:
    quoted = [f"'{cut(s.name)}'" for s in victims[:3]]
    if len(victims) > 3:
        return f"{', '.join(quoted)} and {len(victims) - 3} more"
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]]) if len(quoted) > 1 else quoted[0]


def suggestion(victims: list[Slot], enough: bool, short: int, asker: Manager | None) -> str:
    if short == 0:
        return "try again: room has come free since"
    if not victims:
        return f"raise the budget by {short:,} bytes"
    n = sum(s.charged for s in victims)
    words = {s.manager.word for s in victims} | ({asker.word} if asker else set())
    word = words.pop() if len(words) == 1 else "by policy"
    evict = f"evict {named(victims)} ({n:,} bytes, {word})"
    if enough:
        return f"{evict} or raise the budget"
    return f"{evict} and raise the budget by {short - n:,} bytes"


def report_text(
    r: Report, victims: list[Slot], enough: bool, short: int, asker: Manager | None
) -> str:
    """The report of a refusal, line by line."""
    name = "" if r.budget is None else f" '{r.budget}'"
    lines = [
        "[BAY-E003] GPU memory budget exceeded",
        f"Requested: {r.requested:,} bytes",
        f"Available: {r.available:,} bytes",
        f"Budget{name}: {r.limit:,} bytes{in_units(r.limit)}",
        f"Allocated: {r.used:,} bytes",
    ]
    extra = (("Reserved", r.reserved), ("In flight", r.in_flight), ("Pinned", r.pinned))
    lines += [f"{label}: {n:,} bytes" for label, n in extra if n]
    lines += [
        f"Loaded slots: {r.loaded}/{r.total}",
        f"Suggestion: {suggestion(victims, enough, short, asker)}",
    ]
    return "\n  ".join(lines)


def evicted_names(records: Iterable[Record]) -> tuple[str, ...]:
    """What a refusal lists as evicted in vain."""
    return tuple(r.key for r in records if r.cause in FOR_ROOM)


def dense(records: Iterable[Record]) -> bool:
    """Numbered without a gap, and no residency ended twice."""
    records = list(records)
    generations = [r.generation for r in records]
    numbers = [r.seq for r in records]
    steps = all(b - a == 1 for a, b in itertools.pairwise(numbers))
    return steps and len(set(generations)) == len(generations)
