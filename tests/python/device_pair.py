"""bayplan's budgets and slots beside the model of them, call by call."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import device_model as model
import numpy as np

import bayplan
from bayplan import BayplanError, BudgetExceeded

LEVELS = bayplan.MemoryPressure
KIND_OF = {
    model.BUDGET_EXCEEDED: BudgetExceeded,
    model.DEVICE_MEMORY: BudgetExceeded,
    model.BAD_NAME: bayplan.BufferValueError,
    model.BAD_SIZE: bayplan.BufferValueError,
    model.BAD_VALUE: bayplan.BufferValueError,
    model.STALE: bayplan.StaleHandle,
    model.BUSY: bayplan.Busy,
    model.SLOT_EXISTS: bayplan.SlotExists,
    model.UNKNOWN_SLOT: bayplan.BufferKeyError,
    model.CONTENTS_LOST: bayplan.StaleHandle,
    model.CLOSED: bayplan.StaleHandle,
    model.TIMED_OUT: TimeoutError,
}


class Loader:
    """Fills a slot with bytes of its own, or fails; on either side."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.fails = False

    def real(self, slot: Any) -> None:
        assert slot.state == "restoring"
        if self.fails:
            raise model.LoadFailed
        slot.copy_from(np.frombuffer(self.data, np.uint8))

    def modelled(self, slot: model.Slot) -> bytes:
        tree = slot.manager.budget.tree  # reading the state is a call, too
        tree.settle()
        tree.deliver()
        if self.fails:
            raise model.LoadFailed
        return self.data


class Held:
    """A use that has begun."""

    def __init__(self, real: Any, slot: model.Slot, stream: Any) -> None:
        self.real, self.slot, self.stream = real, slot, stream


class Pair:
    """One tree on both sides. Things are known by their place in the lists."""

    def __init__(self) -> None:
        self.model = model.Tree()
        self.sims: list[tuple[Any, model.Sim]] = []
        self.streams: list[tuple[Any, int]] = []  # and the place of their simulator
        self.budgets: list[tuple[Any, model.Budget]] = []
        self.managers: list[tuple[Any, model.Manager]] = []
        self.reservations: list[tuple[Any, model.Reservation]] = []
        self.uses: list[Held] = []
        self.loaders: list[Loader] = []
        self.edges: list[tuple[str, int, bool]] = []
        self.n_logged = 0
        self.trail: list[Any] = []  # every answer, to compare two runs

    # ---- both sides -------------------------------------------------------------

    def both(
        self,
        real: Callable[[], Any],
        wanted: Callable[[], Any],
        equal: Callable[[Any, Any], bool] | None = None,
        asks: bool = True,
    ) -> tuple[Any, Any]:
        """Run the call on both sides: the same answer, or refused alike.

        A call that never evicts does not ask policies: its report may suggest
        by what they said before.
        """
        tree = self.model
        tree.settle()
        is_quiet = not tree.blocks
        before = self.root.dump()
        n_before = len(tree.log)
        refusal = failure = got = should = None
        try:
            should = wanted()
        except (model.Refused, model.LoadFailed) as error:
            refusal = error.with_traceback(None)
        vain = model.evicted_names(tree.log[n_before:])
        tree.settle()
        tree.deliver()
        try:
            got = real()
        except (BayplanError, MemoryError, TimeoutError, model.LoadFailed) as error:
            failure = error.with_traceback(None)
        if refusal is None or failure is None:
            assert refusal is None, f"accepted in spite of {refusal}"
            assert failure is None, f"refused without a reason: {failure!r}"
            assert (equal or same)(got, should), (got, should)
        else:
            self.compare_refusals(failure, refusal, vain, asks)
            if is_quiet and n_before == len(tree.log) and not tree.blocks:
                assert self.root.dump() == before
        self.trail.append(str(failure) if failure is not None else repr(should)[:40])
        return got, should

    @property
    def root(self) -> Any:
        return self.budgets[0][0]

    def compare_refusals(
        self, failure: Any, refusal: Exception, vain: tuple[str, ...], asks: bool
    ) -> None:
        if isinstance(refusal, model.LoadFailed):
            assert isinstance(failure, model.LoadFailed), repr(failure)
            return
        assert isinstance(refusal, model.Refused)
        if refusal.codes == {model.NO_MEMORY}:
            assert type(failure) is MemoryError
            return
        assert failure.code in refusal.codes, (failure.code, str(failure), refusal.codes)
        assert isinstance(failure, KIND_OF[failure.code]), repr(failure)
        assert str(failure)
        report = refusal.report
        if report is None:
            return
        wanted = vars(report) | {"evicted": vain}
        text = wanted.pop("text")
        got = {name: getattr(failure, name) for name in wanted}
        assert got == wanted
        said = str(failure)
        if not asks and any(callable(made.policy) for _, made in self.managers):
            text, said = (t.partition("Suggestion: ")[0] for t in (text, said))
        assert said == text

    # ---- making things -----------------------------------------------------------

    def add_sim(self, **said: Any) -> None:
        events = "manual" if said.get("manual") else "immediate"
        rest = {name: value for name, value in said.items() if name != "manual"}
        real = bayplan.SimBackend(events=events, **rest)
        self.sims.append((real, model.Sim(**said)))
        place = len(self.sims) - 1
        self.streams += [(real.stream(), place) for _ in range(2)]

    def add_budget(self, limit: int, parent: int | None = None, **said: Any) -> None:
        above = (None, None) if parent is None else self.budgets[parent]
        said.setdefault("name", f"b{len(self.budgets)}")
        real = bayplan.Budget(limit, parent=above[0], **said)
        made = self.model.budget(limit, parent=above[1], **said)
        self.budgets.append((real, made))
        if parent is None:
            self.log = real.evictions.subscribe()

    def add_manager(self, budget: int, sim: int, **said: Any) -> None:
        budgets, sims = self.budgets[budget], self.sims[sim]
        strict = said.pop("strict", False)
        real = bayplan.SlotManager(
            budgets[0], backend=sims[0], on_shortage="raise" if strict else "evict", **said
        )
        self.managers.append((real, self.model.manager(budgets[1], sims[1], strict=strict, **said)))

    def add_watch(self, budget: int, level: int) -> None:
        real, made = self.budgets[budget]

        def note(edge: Any) -> None:
            self.edges.append((edge.budget.name, int(edge.level), edge.rising))

        self.both(
            lambda: real.subscribe(LEVELS(level), note),
            lambda: self.model.watch(made, level),
            equal=anything,
        )

    # ---- the ledger ----------------------------------------------------------------

    def charge(self, budget: int, n: int, tag: str | None = None) -> None:
        real, made = self.budgets[budget]
        self.both(lambda: real.charge(n, tag), lambda: self.model.charge(made, n, tag), asks=False)

    def refund(self, budget: int, n: int, tag: str | None = None) -> None:
        real, made = self.budgets[budget]
        self.both(lambda: real.refund(n, tag), lambda: self.model.refund(made, n, tag))

    def reserve(self, budget: int, n: int) -> None:
        real, made = self.budgets[budget]
        got = self.both(
            lambda: real.reserve(n), lambda: self.model.reserve(made, n), anything, asks=False
        )
        if got[0] is not None:
            self.reservations.append(got)

    def take(self, i: int, n: int, tag: str | None = None) -> None:
        real, made = self.reservations[i]
        self.both(lambda: real.take(n, tag), lambda: self.model.take(made, n, tag))

    def close_reservation(self, i: int) -> None:
        real, made = self.reservations[i]
        self.both(real.close, lambda: self.model.close_reservation(made))

    def drop_reservation(self, i: int) -> None:
        real, made = self.reservations.pop(i)
        del real
        self.model.deferred.append(lambda: self.model.close_reservation(made))

    def set_limit(self, budget: int, limit: int) -> None:
        real, made = self.budgets[budget]
        self.both(
            lambda: real.set_limit(limit),
            lambda: self.model.set_limit(made, limit),
            lambda got, should: got is (bayplan.DEFERRED if should else bayplan.APPLIED),
        )

    def trim(self, budget: int) -> None:
        real, made = self.budgets[budget]
        self.both(real.trim, lambda: self.model.trim(made))

    def make_room(self, budget: int, n: int) -> None:
        real, made = self.budgets[budget]
        self.both(lambda: real.make_room(n), lambda: self.model.room(made, n))

    def publish(self, key: str, kind: str | None, n: int, cause: str) -> None:
        log = self.root.evictions
        self.both(
            lambda: log.publish(key, kind=kind, nbytes=n, cause=cause),
            lambda: self.model.publish(key, kind, n, cause),
        )

    # ---- slots -----------------------------------------------------------------------

    def allocate(
        self,
        manager: int,
        name: str,
        nbytes: int,
        *,
        loader: Loader | None = None,
        reservation: int | None = None,
        **said: Any,
    ) -> None:
        real, made = self.managers[manager]
        promised = (None, None) if reservation is None else self.reservations[reservation]
        if loader is not None:
            self.loaders.append(loader)
        self.both(
            lambda: real.allocate(
                name, nbytes, load=loader and loader.real, reservation=promised[0], **said
            ),
            lambda: self.model.allocate(
                made, name, nbytes, load=loader and loader.modelled, reservation=promised[1], **said
            ),
            lambda got, should: got.name == should.name and got is real[name],
        )

    def deallocate(self, manager: int, name: str) -> None:
        real, made = self.managers[manager]
        self.both(lambda: real.deallocate(name), lambda: self.model.deallocate(made, name))

    def touch(self, manager: int, name: str) -> None:
        real, made = self.managers[manager]
        self.both(lambda: real.touch(name), lambda: self.model.touch(made, name))

    def evict(self, manager: int, name: str) -> None:
        real, made = self.managers[manager]
        self.both(lambda: real.evict(name), lambda: self.model.evict(made, name))

    def use(self, manager: int, name: str, stream: int | None, write: bool) -> None:
        real, made = self.managers[manager]
        found = None if stream is None else self.streams[stream][0]

        def begin() -> Any:
            context = real.use(name, found, write)
            assert context.__enter__() is real[name]
            return context

        got = self.both(begin, lambda: self.model.use_begin(made, name, write), anything)
        if got[0] is not None:
            self.uses.append(Held(got[0], got[1], found))

    def end_use(self, i: int) -> None:
        held = self.uses.pop(i)
        self.both(
            lambda: held.real.__exit__(None, None, None),
            lambda: self.model.use_end(held.slot, held.stream),
        )

    def drop_use(self, i: int) -> None:
        held = self.uses.pop(i)
        held.real = None
        self.model.deferred.append(lambda: self.model.use_end(held.slot, None))

    def prefetch(self, manager: int, name: str, stream: int | None) -> None:
        real, made = self.managers[manager]
        found = None if stream is None else self.streams[stream][0]
        self.both(
            lambda: real.prefetch(name, found), lambda: self.model.prefetch(made, name, found)
        )

    def copy_from(self, manager: int, name: str, data: bytes) -> None:
        real, made = self.managers[manager]
        if name in made.by_name:
            slot = made.by_name[name]
            self.both(
                lambda: real[name].copy_from(np.frombuffer(data, np.uint8)),
                lambda: self.model.copy_from(slot, data),
            )

    def copy_to(self, manager: int, name: str) -> None:
        real, made = self.managers[manager]
        if name in made.by_name:
            slot = made.by_name[name]
            self.both(
                lambda: real[name].copy_to().tobytes(),
                lambda: self.model.copy_to(slot),
                lambda got, known: len(got) == slot.nbytes and got.startswith(known),
            )

    def plan(self, manager: int, n: int) -> None:
        real, made = self.managers[manager]
        self.both(lambda: real.plan(n), lambda: self.model.plan(made, n))
        self.both(real.lru_candidate, lambda: self.model.first(made))

    def room_of(self, manager: int, n: int) -> None:
        real, made = self.managers[manager]

        def room() -> list[str]:
            before = len(self.model.log)
            self.model.room(made.budget, n, only=made)
            mine = [r for r in self.model.log[before:] if r.cause == "pressure"]
            return [r.key for r in mine]

        self.both(lambda: real.make_room(n), room)

    def complete(self, sim: int, n: int | None) -> None:
        real, made = self.sims[sim]
        assert real.complete(n) == made.complete(n)

    def close(self, manager: int) -> None:
        real, made = self.managers.pop(manager)
        self.both(real.close, lambda: self.model.close(made))

    def drop_manager(self, manager: int) -> None:
        real, made = self.managers.pop(manager)
        del real
        self.model.deferred.append(lambda: self.model.close(made))

    # ---- what always holds -------------------------------------------------------------

    def compare(self) -> None:
        """Everything that can be read, on both sides."""
        self.model.settle(is_due=True)  # as reading Slot.busy does
        self.model.deliver()
        self.root.check()
        for real, made in self.budgets:
            self.compare_budget(real, made)
        for real, made in self.managers:
            self.compare_manager(real, made)
        for real, made in self.reservations:
            assert real.left == made.left
        for real, made in self.sims:
            assert (real.used, real.held) == (self.model.sim_used(made), len(made.held))
        self.compare_log()
        wanted = [(b.name, level, rising) for b, level, rising in self.model.delivered]
        assert self.edges == wanted
        self.root.check()

    def compare_budget(self, real: Any, made: model.Budget) -> None:
        used, reserved, retiring = made.used, made.reserved, made.retiring
        in_use = used + reserved + retiring
        got = real.stats()
        assert (got.limit, got.used, got.reserved, got.retiring) == (
            made.limit, used, reserved, retiring,
        ), (made.name, got)  # fmt: skip
        assert got.available == max(0, made.limit - in_use)
        assert got.over == max(0, in_use - made.limit)
        assert got.pressure == model.pressure_of(in_use, made.limit, made.levels)
        assert (got.charges, got.refusals, got.evictions, got.children, got.peak) == (
            made.n_charges, made.n_refusals, made.n_evictions, made.children, made.peak,
        ), made.name  # fmt: skip
        tags = {tag: n for tag, n in made.charged.items() if n and tag is not None}
        assert real.tags() == tags
        assert all(real.stats(tag) == n for tag, n in tags.items())
        last = real.history()[-1]
        assert (last["used"], last["reserved"], last["retiring"], last["limit"]) == (
            used, reserved, retiring, made.limit,
        )  # fmt: skip

    def compare_manager(self, real: Any, made: model.Manager) -> None:
        slots = sorted(made.by_name.values(), key=lambda s: s.order)
        assert list(real) == [s.name for s in slots]
        ages = []
        for slot in slots:
            it = real[slot.name]
            got = (
                it.state, it.nbytes, it.charged, it.generation, it.priority, it.pinned, it.kind,
                it.host_uses, it.busy, it.host_bytes, it.resident,
            )  # fmt: skip
            assert got == (
                slot.state, slot.nbytes, slot.charged, slot.generation, slot.priority, slot.pinned,
                slot.kind, slot.host_uses, slot.busy, slot.nbytes if slot.has_copy else 0,
                slot.state == "resident",
            ), slot.name  # fmt: skip
            ages.append(it.last_use)
        by_age = sorted(range(len(slots)), key=lambda i: slots[i].age)
        assert by_age == sorted(range(len(slots)), key=lambda i: ages[i])
        here = [s for s in slots if s.state == "resident"]
        got = real.stats()
        assert (got.total, got.loaded, got.pinned) == (
            len(slots), len(here), sum(s.pinned for s in slots),
        )  # fmt: skip
        assert got.in_use == sum(s.host_uses > 0 for s in slots)
        assert got.allocated == real.allocated == sum(s.charged for s in here)
        blocks = [b for b in self.model.blocks if b.manager is made]
        assert got.retiring == sum(b.charged for b in blocks)
        assert (got.restores, got.moved_out_bytes, got.moved_in_bytes) == (
            made.n_restores, made.moved_out, made.moved_in,
        )  # fmt: skip
        assert {cause: n for cause, n in got.evictions.items() if n} == made.n_by_cause
        assert len(real) == len(slots)
        assert real.loaded_count == len(here)

    def compare_log(self) -> None:
        got = self.log.drain()
        wanted = self.model.log[self.n_logged :]
        self.n_logged = len(self.model.log)
        assert [tuple(record) for record in got] == [
            (r.key, r.kind, r.generation, r.nbytes, r.cause, r.seq) for r in wanted
        ]
        assert self.log.missed == 0

    def finish(self) -> None:
        """Contents, byte for byte; then everything goes, and nothing is left."""
        while self.uses:
            self.end_use(0)
        for i in range(len(self.sims)):
            self.complete(i, None)
        for loader in self.loaders:
            loader.fails = False
        for i, (_, made) in enumerate(self.managers):
            for name in list(made.by_name):
                self.copy_to(i, name)
        self.compare()
        while self.managers:
            self.close(0)
        for i in range(len(self.reservations)):
            self.close_reservation(i)
        self.compare()
        assert model.dense(self.model.log)
        assert all(real.used == 0 for real, _ in self.sims)
        left = json.loads(self.root.dump())
        assert (left["managers"], left["retirees"], left["claims"]) == ([], [], [])


def same(got: Any, should: Any) -> bool:
    return bool(got == should)


def anything(got: Any, should: Any) -> bool:
    return True
