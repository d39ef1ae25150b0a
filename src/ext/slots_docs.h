/* slots_docs.h - docstrings of SlotManager, for slots.c alone. */
#ifndef BAYPLAN_EXT_SLOTS_DOCS_H
#define BAYPLAN_EXT_SLOTS_DOCS_H

PyDoc_STRVAR(
    slots_doc,
    "SlotManager(budget, *, backend, policy='lru', on_shortage='evict')\n--\n\n"
    "Named slots of device memory under one budget.\n\n"
    "Slots that are resident never take more than the budget has; where room\n"
    "is short, others are evicted: their contents go to the host and come\n"
    "back when they are used. A mapping from names to Slots.\n\n"
    "Parameters\n----------\n"
    "budget : Budget\n    Whose bytes the slots take.\n"
    "backend : SimBackend\n    What holds the memory.\n"
    "policy : str or callable\n"
    "    Who is evicted first among slots of one priority: 'lru' (least\n"
    "    recently used), 'mru' (most recently used), 'big_first', or a "
    "function\n"
    "    of a Slot: the smallest answer goes first. It is asked for every\n"
    "    resident slot where a request does not fit; if it raises then,\n"
    "    nothing happens.\n"
    "on_shortage : {'evict', 'raise'}\n"
    "    'raise': refuse a request instead of evicting for it.");
PyDoc_STRVAR(
    allocate_doc,
    "allocate($self, /, name, nbytes, *, pin=False, priority=0, keep='host',\n"
    "         load=None, replace=False, reservation=None, kind=None, timeout=0)"
    "\n--\n\n"
    "Make a slot, resident. Its bytes are undefined until they are written.\n\n"
    "Parameters\n----------\n"
    "name : str\n"
    "nbytes : int\n    Bytes, at least 1 and below 2**63.\n"
    "pin : bool\n    Never evict it.\n"
    "priority : int\n    Slots of higher priority are evicted later.\n"
    "keep : {'host', None}\n"
    "    None: eviction gives the contents up instead of copying them.\n"
    "load : callable, optional\n"
    "    Called with the Slot, to fill it: now, and whenever it comes back\n"
    "    without a copy.\n"
    "replace : bool\n"
    "    A slot of that name is evicted first, and forgotten once the new one\n"
    "    is there. If the new one cannot be had, the old one is restored, or\n"
    "    stays evicted with its contents.\n"
    "reservation : Reservation, optional\n    Whose bytes to take first.\n"
    "kind : str, optional\n    For subscribers of the budget's evictions.\n"
    "timeout : float or None\n"
    "    Seconds to wait for work of the device, if room depends on it; None:\n"
    "    for ever, 0: refuse at once.\n\n"
    "Returns\n-------\n"
    "Slot\n\n"
    "Raises\n------\n"
    "BudgetExceeded\n"
    "    There is no room, nor can be made; or the device has no memory in\n"
    "    spite of room. What was evicted for it is in `evicted`.\n"
    "SlotExists\n    A slot of that name exists.\n"
    "Busy\n    The slot to be replaced is in use by the host.\n"
    "BufferValueError\n    A name, size or option that is none.");
PyDoc_STRVAR(
    deallocate_doc,
    "deallocate($self, /, name, missing_ok=False)\n--\n\n"
    "Forget a slot and its contents.\n\n"
    "Parameters\n----------\n"
    "name : str\n"
    "missing_ok : bool\n    A name that is not there is no error.\n\n"
    "Returns\n-------\n"
    "int\n"
    "    Bytes it had on the device; what the device still uses is retiring\n"
    "    until it is done.\n\n"
    "Raises\n------\n"
    "BufferKeyError\n    There is no such slot.\n"
    "Busy\n    It is in use by the host, or on its way in or out.");
PyDoc_STRVAR(touch_doc, "touch($self, name, /)\n--\n\n"
                        "Make a slot the most recently used one.\n\n"
                        "Raises\n------\n"
                        "BufferKeyError\n    There is no such slot.");
PyDoc_STRVAR(
    use_doc,
    "use($self, /, name, stream=None, write=True, *, timeout=0)\n--\n\n"
    "Use a slot: ``with manager.use(name) as slot``.\n\n"
    "It is touched, restored if it is evicted, and in use by the host (not to\n"
    "be evicted, deallocated or replaced) to the end of the block.\n\n"
    "Parameters\n----------\n"
    "name : str\n"
    "stream : stream of the backend, optional\n"
    "    The device uses the slot until what is in this stream at the end of\n"
    "    the block has passed. Without one, the end is unknown: the device is\n"
    "    synchronised before the slot's bytes move.\n"
    "write : bool\n"
    "    False: the contents do not change, so a copy on the host stays good.\n"
    "timeout : float or None\n    As in allocate().\n\n"
    "Returns\n-------\n"
    "SlotUse\n    A context manager that gives the Slot.\n\n"
    "Raises\n------\n"
    "BufferKeyError\n    There is no such slot.\n"
    "BudgetExceeded\n    On entry: no room to restore it.\n"
    "StaleHandle\n    On entry: its contents are lost, or it is gone.\n"
    "Busy\n    On entry: it is being filled.\n"
    "TimeoutError\n    On entry: somebody moves it, for longer than "
    "`timeout`.");
PyDoc_STRVAR(
    prefetch_doc,
    "prefetch($self, /, name, stream=None)\n--\n\n"
    "Restore a slot, if it is evicted, and make it the most recently used.\n\n"
    "Parameters\n----------\n"
    "name : str\n"
    "stream : stream of the backend, optional\n"
    "    Not to be evicted, without waiting, before what is in it has passed.\n"
    "\n"
    "Raises\n------\n"
    "As use(), on entry.");
PyDoc_STRVAR(
    evict_doc,
    "evict($self, /, name)\n--\n\n"
    "Take a slot off the device; its contents go to the host if they are to\n"
    "be kept. An evicted slot stays as it is.\n\n"
    "Raises\n------\n"
    "BufferKeyError\n    There is no such slot.\n"
    "Busy\n    It is pinned, in use by the host, or on its way in or out.");
PyDoc_STRVAR(plan_doc,
             "plan($self, /, nbytes)\n--\n\n"
             "Which slots of this manager would have to go for `nbytes` more.\n"
             "Changes nothing; the same state gives the same answer.\n\n"
             "Returns\n-------\n"
             "list of str\n    In the order in which they would go.\n\n"
             "Raises\n------\n"
             "BudgetExceeded\n    They would not suffice.");
PyDoc_STRVAR(make_room_doc,
             "make_room($self, /, nbytes, timeout=0)\n--\n\n"
             "Evict slots of this manager until `nbytes` are available.\n\n"
             "Parameters\n----------\n"
             "nbytes : int\n"
             "timeout : float or None\n    As in allocate().\n\n"
             "Returns\n-------\n"
             "list of str\n    Who went.\n\n"
             "Raises\n------\n"
             "BudgetExceeded\n    They do not suffice.");
PyDoc_STRVAR(
    lru_candidate_doc,
    "lru_candidate($self, /)\n--\n\n"
    "Name of the slot that would be evicted first: under 'lru' the least\n"
    "recently used one that is neither pinned nor in use. None if none can\n"
    "go.");
PyDoc_STRVAR(stats_doc, "stats($self, /)\n--\n\n"
                        "All figures at one moment.\n\n"
                        "Returns\n-------\n"
                        "SlotStats");
PyDoc_STRVAR(
    close_doc,
    "close($self, /)\n--\n\n"
    "Forget all slots and give their memory back; calls that follow raise\n"
    "StaleHandle. Where a view or a use still looks at a slot, the memory\n"
    "stays until the last of them is gone. Closing again does nothing.");
PyDoc_STRVAR(enter_doc, "__enter__($self, /)\n--\n\n"
                        "The manager itself.");
PyDoc_STRVAR(exit_doc, "__exit__($self, /, *args)\n--\n\n"
                       "close().");

#endif
