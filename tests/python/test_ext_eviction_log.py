"""EvictionLog and Subscription: order, filters, callbacks, threads, and every refusal."""

from __future__ import annotations

import gc
import logging
import pickle
import subprocess
import sys
import threading
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_ext_fork import in_child

import bayplan
from bayplan import _core
from bayplan._core import Budget, Evicted, EvictionLog

CAUSES = ("explicit", "replaced", "pressure", "limit", "oom", "sweep", "closed")

no_fork_warning = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture(params=["alone", "of a budget"])
def log(request):
    """A log on its own and one of a budget: what is published reads alike."""
    if request.param == "alone":
        return EvictionLog()
    return Budget(1000).evictions


def manager_of(limit: int, **device: object) -> tuple[Budget, _core.SlotManager, _core.SimBackend]:
    """A budget with a slot manager on a simulated device of its own."""
    budget = Budget(limit)
    backend = _core.SimBackend(**device)
    return budget, _core.SlotManager(budget, backend=backend), backend


def run_on(call):
    """Call, and go on for a while: long enough for a signal to be seen."""
    call()
    for _ in range(1000):
        pass


# ---- the log ---------------------------------------------------------------------


def test_publish_and_drain(log):
    news = log.subscribe()
    assert (len(log), log.first, log.next, bool(log)) == (0, 0, 0, True)
    assert log.publish("a") == 0
    assert log.publish(key="b", kind="texture", nbytes=7, cause="sweep") == 1
    assert news.pending == 2
    records = news.drain()
    assert all(type(record) is Evicted for record in records)
    a, b = records
    assert (a.key, a.kind, a.nbytes, a.cause, a.seq) == ("a", None, 0, "explicit", 0)
    assert b == ("b", "texture", b.generation, 7, "sweep", 1)
    assert b.generation > a.generation > 0
    assert (news.drain(), news.pending, news.missed) == ([], 0, 0)
    assert (len(log), log.first, log.next) == (2, 0, 2)
    assert repr(log) == "<EvictionLog: records 0 to 2>"


def test_every_cause(log):
    news = log.subscribe()
    for cause in CAUSES:
        log.publish("é", cause=cause)
    assert [record.cause for record in news.drain()] == list(CAUSES)


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("", {}),
        ("x" * 256, {}),
        ("a\0b", {}),
        ("\ud800", {}),
        (3, {}),
        (None, {}),
        ("a", {"kind": ""}),
        ("a", {"kind": 3}),
        ("a", {"kind": "x" * 256}),
        ("a", {"nbytes": -1}),
        ("a", {"nbytes": 2**64}),
        ("a", {"nbytes": 1.5}),
        ("a", {"cause": "evicted"}),
        ("a", {"cause": "Sweep"}),
        ("a", {"cause": None}),
        ("a", {"cause": 3}),
    ],
)
def test_records_that_cannot_be(log, key, options):
    news = log.subscribe()
    with pytest.raises(bayplan.BufferValueError):
        log.publish(key, **options)
    assert (len(log), news.pending) == (0, 0)


def test_wrong_calls(log):
    for call in (
        log.publish,
        lambda: log.publish("a", "kind"),
        lambda: log.publish("a", nope=1),
        lambda: log.subscribe(None, None, None, None, None),
        lambda: log.subscribe(nope=1),
        lambda: EvictionLog(1, 2),
        lambda: EvictionLog(nope=1),
    ):
        with pytest.raises(TypeError):
            call()


@pytest.mark.parametrize("maxlen", [0, -1, 2**28 + 1, 2**32, 2**64, 1.5, "1", None])
def test_sizes_that_cannot_be(maxlen):
    with pytest.raises(bayplan.BufferValueError):
        EvictionLog(maxlen)


def test_the_log_of_a_tree_is_one_object():
    budget = Budget(100)
    child = Budget(10, parent=budget)
    log = budget.evictions
    assert log is budget.evictions is child.evictions
    assert log is not Budget(100).evictions
    news = log.subscribe()
    address = weakref.ref(log)
    del log
    gc.collect()
    assert budget.evictions is address()  # the subscription holds it
    del news
    gc.collect()
    assert address() is None
    assert budget.evictions.next == 0


def test_a_log_outlives_its_budgets():
    budget = Budget(100)
    log = budget.evictions
    news = log.subscribe()
    log.publish("a")
    del budget
    log.publish("b")
    assert [record.key for record in news.drain()] == ["a", "b"]


def test_subclasses():
    class Mine(EvictionLog):
        pass

    log = Mine(5)
    log.extra = 3
    assert log.publish("a") == 0
    with pytest.raises(TypeError):
        pickle.dumps(EvictionLog())


# ---- subscriptions -----------------------------------------------------------------


def test_filters(log):
    views = {
        "all": log.subscribe(),
        "kinds": log.subscribe(kinds={"mesh", "image"}),
        "keys": log.subscribe(keys=iter(["a", "c"])),
        "both": log.subscribe(("mesh",), ["a"]),
        "none": log.subscribe(kinds=[]),
    }
    for key, kind in [("a", None), ("a", "mesh"), ("b", "mesh"), ("c", "image"), ("a", "sound")]:
        log.publish(key, kind=kind)
    seen = {name: [record.seq for record in view.drain()] for name, view in views.items()}
    assert seen == {
        "all": [0, 1, 2, 3, 4],
        "kinds": [1, 2, 3],
        "keys": [0, 1, 3, 4],
        "both": [1],
        "none": [],
    }


@pytest.mark.parametrize(
    "options",
    [
        {"kinds": "mesh"},
        {"kinds": 3},
        {"kinds": [3]},
        {"kinds": ["a", None]},
        {"keys": "a"},
        {"keys": ["\ud800"]},
        {"maxlen": 0},
        {"maxlen": -1},
        {"maxlen": 1.5},
        {"callback": 3},
    ],
)
def test_subscriptions_that_cannot_be(log, options):
    with pytest.raises(bayplan.BufferValueError):
        log.subscribe(**options)


def test_an_iterable_that_raises_is_passed_on(log):
    def bad():
        yield "a"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        log.subscribe(keys=bad())


def test_drain_in_parts(log):
    news = log.subscribe()
    for i in range(10):
        log.publish(f"k{i}")
    assert [record.seq for record in news.drain(3)] == [0, 1, 2]
    assert news.drain(max=0) == []
    assert [record.seq for record in news.drain(None)] == list(range(3, 10))
    for wrong in (-1, 1.5, "3"):
        with pytest.raises(bayplan.BufferValueError):
            news.drain(wrong)


def test_the_ring_drops_the_oldest():
    log = EvictionLog(4)
    news = log.subscribe(kinds=["x"])
    for i in range(10):
        log.publish(f"k{i}", kind="x" if i % 2 else "y")
    assert (len(log), log.first, log.next) == (4, 6, 10)
    assert (news.pending, news.missed) == (2, 3)
    assert [record.seq for record in news.drain()] == [7, 9]
    assert news.missed == 3
    news.resync(0)
    assert (news.pending, news.missed) == (2, 0)


def test_maxlen_drops_the_oldest(log):
    news = log.subscribe(maxlen=2)
    for i in range(5):
        log.publish(f"k{i}")
    assert (news.pending, news.missed) == (2, 3)
    assert [record.seq for record in news.drain()] == [3, 4]
    assert news.missed == 3


def test_resync(log):
    log.publish("a")
    news = log.subscribe()
    log.publish("b")
    assert [record.key for record in news.drain()] == ["b"]
    news.resync(0)
    assert [record.key for record in news.drain()] == ["a", "b"]
    news.resync(2)
    assert news.drain() == []
    for wrong in (3, -1, 2**64, 1.5, None):
        with pytest.raises(bayplan.BufferValueError):
            news.resync(wrong)


def test_unsubscribed(log):
    seen = []
    news = log.subscribe(callback=seen.append)
    quiet = log.subscribe()
    assert news.callback == seen.append
    assert quiet.callback is None
    log.publish("a")
    for view in (news, quiet):
        view.unsubscribe()
        view.unsubscribe()
        assert view.callback is None
        assert view.drain() == []
        for read in (lambda v: v.pending, lambda v: v.missed, lambda v: v.resync(0)):
            with pytest.raises(bayplan.StaleHandle):
                read(view)
    log.publish("b")
    assert [record.key for record in seen] == ["a"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), max_size=30))
def test_every_subscription_sees_every_record_once_in_order(published):
    log = EvictionLog(10**6)
    views = {kind: log.subscribe(kinds=[kind]) for kind in "xyz"}
    seen = {kind: [] for kind in "xyz"}
    for i, (key, kind) in enumerate(published):
        log.publish(key, kind=kind)
        if i % 3 == 0:
            seen[kind] += views[kind].drain(2)
    for kind, view in views.items():
        seen[kind] += view.drain()
        expected = [(i, key) for i, (key, k) in enumerate(published) if k == kind]
        assert [(record.seq, record.key) for record in seen[kind]] == expected


# ---- callbacks -----------------------------------------------------------------------


def test_a_callback_is_called_on_return_of_the_call(log):
    seen = []
    log.subscribe(keys=["b", "c"], callback=seen.append)
    gc.collect()  # nobody holds the Subscription, and it goes on
    for key in "abc":
        log.publish(key)
    assert [record.key for record in seen] == ["b", "c"]
    assert type(seen[0]) is Evicted


def test_a_callback_of_another_thread_waits_for_its_drain(log):
    seen = []
    made = []

    def subscribe():
        made.append(log.subscribe(callback=lambda r: seen.append(threading.get_ident())))

    thread = threading.Thread(target=subscribe)
    thread.start()
    thread.join()
    log.publish("a")
    assert (seen, made[0].pending) == ([], 1)
    assert [record.key for record in made[0].drain()] == ["a"]
    assert seen == [threading.get_ident()]


def test_nested_and_concurrent_drains_give_nothing(log):
    found = []

    def nested(record):
        found.append(news.drain())
        thread = threading.Thread(target=lambda: found.append(news.drain()))
        thread.start()
        thread.join()
        found.append(record.key)

    news = log.subscribe(callback=nested)
    log.publish("a")
    assert found == [[], [], "a"]


def test_a_callback_that_publishes(log):
    """What a callback causes comes at the next call, and in order."""
    seen = []

    def chain(record):
        seen.append(record.key)
        if len(seen) < 5:
            log.publish(f"{record.key}+")

    subscription = log.subscribe(callback=chain)
    log.publish("a")
    assert seen == ["a"]
    assert [record.key for record in subscription.drain()] == ["a+"]
    assert seen == ["a", "a+"]
    while subscription.drain():
        pass
    assert seen == ["a", "a+", "a++", "a+++", "a++++"]


def test_a_callback_that_always_publishes_ends(log):
    seen = []

    def forever(record):
        seen.append(record.key)
        log.publish("again")

    subscription = log.subscribe(callback=forever)
    log.publish("a")
    assert seen == ["a"]
    assert subscription.pending == 1
    for n in range(2, 5):
        assert len(subscription.drain()) == 1
        assert len(seen) == n
    subscription.unsubscribe()


def test_a_callback_that_unsubscribes(log):
    seen = []

    def once(record):
        seen.append(record.key)
        first.unsubscribe()
        second.unsubscribe()

    first = log.subscribe(callback=once)
    second = log.subscribe(callback=once)
    log.publish("a")
    log.publish("b")
    assert seen == ["a"]


def test_a_callback_that_ends_its_own_drain(log):
    seen = []
    news = log.subscribe(callback=lambda record: (seen.append(record.key), news.unsubscribe()))
    news.resync(0)
    quiet = log.subscribe()
    del quiet
    log.publish("a")
    assert news.drain() == []
    assert seen == ["a"]


def test_a_callback_that_drops_everything():
    holder = {}
    seen = []

    def drop(record):
        seen.append(record.key)
        holder.clear()
        gc.collect()

    holder["budget"] = Budget(100)
    holder["news"] = holder["budget"].evictions.subscribe(callback=drop)
    holder["budget"].evictions.publish("a")
    assert seen == ["a"]
    assert holder == {}


def test_a_callback_that_raises_is_logged_once_and_breaks_nothing(log, caplog):
    seen = []

    def bad(record):
        seen.append(record.key)
        raise ZeroDivisionError(record.key)

    news = log.subscribe(callback=bad)
    log.subscribe(callback=lambda record: seen.append("good"))
    with caplog.at_level(logging.ERROR, "bayplan"):
        assert [log.publish("a"), log.publish("b")] == [0, 1]
    assert seen == ["a", "good", "b", "good"]
    assert (news.pending, news.drain()) == (0, [])
    [record] = caplog.records
    assert (record.name, record.exc_info[0]) == ("bayplan", ZeroDivisionError)
    assert "evictions" in record.getMessage()


def test_ctrl_c_in_a_callback_comes_after_the_call(log):
    def interrupt(record):
        raise KeyboardInterrupt

    news = log.subscribe(callback=interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_on(lambda: log.publish("a"))
    assert (log.next, news.pending) == (1, 0)


def test_a_log_in_a_cycle_with_its_callbacks_is_collected():
    class Cache:
        def __init__(self, log):
            self.log = log
            self.news = log.subscribe(callback=self.forget)

        def forget(self, record):
            pass

    refs = []
    for log in (EvictionLog(), Budget(10).evictions):
        cache = Cache(log)
        refs += [weakref.ref(cache), weakref.ref(log)]
    del log, cache
    gc.collect()
    assert [ref() for ref in refs] == [None] * 4


def test_publishing_from_many_threads(log):
    news = log.subscribe()

    def publish(name):
        for i in range(500):
            log.publish(f"{name} {i}")

    threads = [threading.Thread(target=publish, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    records = []
    while len(records) < 2000:
        records += news.drain()
    for thread in threads:
        thread.join()
    assert [record.seq for record in records] == list(range(2000))
    for name in "abcd":
        own = [record.key for record in records if record.key[0] == name]
        assert own == [f"{name} {i}" for i in range(500)]


# ---- what evictions leave in it --------------------------------------------------------


def test_real_evictions():
    budget, manager, _ = manager_of(1000)
    seen = []
    budget.evictions.subscribe(callback=seen.append)
    manager.allocate("a", 600, kind="mesh")
    manager.allocate("b", 600)
    assert [(r.key, r.kind, r.nbytes, r.cause) for r in seen] == [("a", "mesh", 600, "pressure")]
    manager.deallocate("b")
    manager.close()
    assert [(r.key, r.cause) for r in seen[1:]] == [("b", "explicit")]
    assert budget.stats().evictions == 2


def test_a_manager_closed_by_the_collector_leaves_records():
    budget, manager, backend = manager_of(1000)
    news = budget.evictions.subscribe()
    manager.allocate("a", 600)
    del manager
    gc.collect()
    assert budget.used == 0
    assert [(r.key, r.cause) for r in news.drain()] == [("a", "closed")]
    assert backend.used == 0


def test_records_of_a_tree_that_is_gone_can_still_be_drained():
    budget, manager, backend = manager_of(1000)
    news = budget.evictions.subscribe()
    manager.allocate("a", 600)
    del manager, budget
    gc.collect()
    assert [(r.key, r.cause) for r in news.drain()] == [("a", "closed")]
    assert backend.used == 0
    del news


def test_debug_lines(caplog):
    budget, manager, _ = manager_of(1000)
    with caplog.at_level(logging.INFO, "bayplan"):
        manager.allocate("quiet", 600)
        manager.allocate("loud", 600)
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, "bayplan"):
        manager.allocate("third", 600)
        assert budget.used == 600
    [line] = [r for r in caplog.records if r.name == "bayplan"]
    assert line.levelno == logging.DEBUG
    assert "'loud' (pressure): 600 bytes" in line.getMessage()


def test_nothing_is_formatted_while_the_level_is_off():
    calls = []

    class Spy(logging.Logger):
        def isEnabledFor(self, level):
            calls.append(level)
            return False

        def debug(self, *args, **kwargs):
            calls.append(args)

    logger = logging.getLogger("bayplan")
    kind = logger.__class__
    budget, manager, _ = manager_of(1000)
    logger.__class__ = Spy
    try:
        manager.allocate("a", 600)
        budget.charge(1)
        assert calls == []
        manager.allocate("b", 600)
        assert calls == [logging.DEBUG]
    finally:
        logger.__class__ = kind


# ---- fork and exit -----------------------------------------------------------------------


@no_fork_warning
def test_every_call_in_a_forked_child_is_refused(log):
    seen = []
    news = log.subscribe(callback=seen.append)
    quiet = log.subscribe()
    log.publish("a")

    def work():
        for call in (
            lambda: log.publish("b"),
            lambda: log.subscribe(),
            lambda: log.first,
            lambda: log.next,
            lambda: len(log),
            news.drain,
            quiet.drain,
            lambda: quiet.pending,
            lambda: quiet.missed,
            lambda: quiet.resync(0),
        ):
            with pytest.raises(bayplan.ForkedProcess):
                call()
        quiet.unsubscribe()
        repr(log)
        assert EvictionLog().publish("x") == 0
        del seen[:]

    assert in_child(work) == 0
    assert [record.key for record in quiet.drain()] == ["a"]
    assert len(seen) == 1


@pytest.mark.parametrize("events", ["immediate", "manual"])
def test_exit_with_everything_alive(events):
    code = f"""
import atexit, bayplan
from bayplan import _core
budget = _core.Budget(1000)
backend = _core.SimBackend(events={events!r})
manager = _core.SlotManager(budget, backend=backend)
manager.allocate("a", 600)
with manager.use("a", stream=backend.stream()):
    pass
kept = budget.reserve(10)
watch = budget.subscribe("HIGH", print)
news = budget.evictions.subscribe(callback=print)
use = manager.use("a")
use.__enter__()
cycle = [use, manager, budget, news]
cycle.append(cycle)
class Late:
    def __del__(self):
        kept.close()
late = Late()
atexit.register(lambda: budget.charge(1))
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == ""
