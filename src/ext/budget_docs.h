/* budget_docs.h - docstrings of Budget; included by budget.c alone. */
#ifndef BAYPLAN_EXT_BUDGET_DOCS_H
#define BAYPLAN_EXT_BUDGET_DOCS_H

#include "ext/device.h"

PyDoc_STRVAR(
    budget_doc,
    "Budget(limit, *, name=None, levels=(50, 80, 95), release=5,\n"
    "       evict_at=None, parent=None, granularity=1)\n--\n\n"
    "A ledger of device memory: who may have how many bytes.\n\n"
    "Every byte is in exactly one field: `used` (resident), `reserved`\n"
    "(promised) or `retiring` (evicted, the device may still use it). A\n"
    "budget carries its children's figures.\n\n"
    "Parameters\n----------\n"
    "limit : int\n"
    "    Bytes it may grant, below 2**63; 0 grants nothing.\n"
    "name : str, optional\n"
    "    For messages, dumps and pictures.\n"
    "levels : tuple of int\n"
    "    Percents of the limit at which MEDIUM, HIGH and CRITICAL begin;\n"
    "    ascending, 1 to 100.\n"
    "release : int\n"
    "    Percent below a level at which its falling edge comes.\n"
    "evict_at : tuple of int, optional\n"
    "    ``(at, down to)`` in percent: an admission that leaves the budget at\n"
    "    or above the first evicts down to the second.\n"
    "parent : Budget, optional\n"
    "    Whose bytes these are too; every request has to fit both.\n"
    "granularity : int\n"
    "    Every request is rounded up to a multiple of it; a power of two.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    A value out of range.\n"
    "ForkedProcess\n    `parent` was made by the parent process.");
PyDoc_STRVAR(
    charge_doc,
    "charge($self, /, n, tag=None)\n--\n\n"
    "Count n bytes as used, here and in all parents; all or nothing.\n\n"
    "Parameters\n----------\n"
    "n : int\n    Bytes, at least 1.\n"
    "tag : str, optional\n    Under which name they are counted.\n\n"
    "Returns\n-------\n"
    "int\n    Bytes charged: n, rounded up to the granularity.\n\n"
    "Raises\n------\n"
    "BudgetExceeded\n    There is no room; nothing changed.\n"
    "BufferValueError\n    n is 0, negative, or 2**63 or more.");
PyDoc_STRVAR(
    refund_doc,
    "refund($self, /, n, tag=None)\n--\n\n"
    "Take n bytes back that were charged under this tag.\n\n"
    "Returns\n-------\n"
    "int\n    Bytes taken back: n, rounded up to the granularity.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    More than is charged under the tag, or n is 0.");
PyDoc_STRVAR(
    reserve_doc,
    "reserve($self, n, /)\n--\n\n"
    "Promise n bytes, to be taken later, in pieces.\n\n"
    "Returns\n-------\n"
    "Reservation\n    A context manager; what was not taken goes back.\n\n"
    "Raises\n------\n"
    "BudgetExceeded\n    There is no room; nothing changed.\n"
    "BufferValueError\n    n is 0, negative, or 2**63 or more.");
PyDoc_STRVAR(
    set_limit_doc,
    "set_limit($self, n, /)\n--\n\n"
    "Change the limit. Writes the ledger only: nothing is evicted yet.\n\n"
    "Returns\n-------\n"
    "bool\n"
    "    True if more than n bytes are in use now, which the next admission\n"
    "    or `trim` mends.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    n is negative, or 2**63 or more.");
PyDoc_STRVAR(
    trim_doc,
    "trim($self, /)\n--\n\n"
    "Empty idle caches, try failed frees again, evict down to the limit.\n\n"
    "Returns\n-------\n"
    "int\n    Bytes that left. What could not go shows in `over`.\n\n"
    "Raises\n------\n"
    "DeviceFault\n    The device failed.");
PyDoc_STRVAR(make_room_doc,
             "make_room($self, /, n, timeout=0)\n--\n\n"
             "Evict until n bytes are available.\n\n"
             "Parameters\n----------\n"
             "n : int\n    Bytes.\n"
             "timeout : float, optional\n"
             "    Seconds to wait for the device; 0 never waits, None waits "
             "for ever.\n\n"
             "Returns\n-------\n"
             "int\n    Bytes that were evicted.\n\n"
             "Raises\n------\n"
             "BudgetExceeded\n"
             "    Not enough can go; `evicted` names what went all the same.\n"
             "DeviceFault\n    The device failed.");
PyDoc_STRVAR(
    stats_doc,
    "stats($self, /, tag=None)\n--\n\n"
    "All figures at one moment, or the bytes under one tag.\n\n"
    "Returns\n-------\n"
    "BudgetStats or int\n"
    "    With a tag, the bytes charged to this very budget under it, 0 for a\n"
    "    tag it never saw.");
PyDoc_STRVAR(tags_doc,
             "tags($self, /)\n--\n\n"
             "Tags that have bytes, in order of their first charge.\n\n"
             "Returns\n-------\n"
             "dict\n    Tag to bytes.");
PyDoc_STRVAR(
    history_doc,
    "history($self, /)\n--\n\n"
    "The budget's past, oldest first; thinned out where it is long.\n\n"
    "Returns\n-------\n"
    "numpy.ndarray\n"
    "    Fields ``when`` (a count of changes, no time of day), ``used``,\n"
    "    ``reserved``, ``retiring`` and ``limit`` (bytes), all uint64.");
PyDoc_STRVAR(
    observe_doc,
    "observe($self, /)\n--\n\n"
    "Ask the driver for free memory; the one call that does.\n\n"
    "Returns\n-------\n"
    "Observation\n    Bytes free, in all, tracked by this budget, and not.\n\n"
    "Raises\n------\n"
    "DeviceUnavailable\n    No manager gave this budget a device yet.\n"
    "DeviceFault\n    The device failed.");
PyDoc_STRVAR(
    subscribe_doc,
    "subscribe($self, /, level, callback)\n--\n\n"
    "Be told when the budget crosses a level.\n\n"
    "Edges alternate and the first one rises: a budget that is at the level\n"
    "already calls at once. They come on return of the call that caused them,\n"
    "on its thread. A callback may call back in; one that raises is logged.\n\n"
    "Parameters\n----------\n"
    "level : MemoryPressure or str\n    MEDIUM, HIGH or CRITICAL.\n"
    "callback : callable\n    Takes a PressureEdge.\n\n"
    "Returns\n-------\n"
    "PressureWatch\n    To unsubscribe; the budget holds it.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    No such level, LOW, or nothing that can be called.");
PyDoc_STRVAR(drain_doc,
             "drain($self, /)\n--\n\n"
             "Call the callbacks of edges that no call has delivered yet.\n\n"
             "From within a callback there is nothing: [].\n\n"
             "Returns\n-------\n"
             "list of PressureEdge\n    What was delivered, of all budgets of "
             "the tree.");
PyDoc_STRVAR(check_doc, "check($self, /)\n--\n\n"
                        "Check every invariant of the whole tree.\n\n"
                        "Raises\n------\n"
                        "BayplanError\n    One is broken; the text names it.");
PyDoc_STRVAR(dump_doc, "dump($self, /)\n--\n\n"
                       "The state of the whole tree.\n\n"
                       "Returns\n-------\n"
                       "str\n    JSON; the same text for the same state.");

#endif
