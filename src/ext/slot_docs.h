/* slot_docs.h - docstrings of Slot, for slot.c alone. */
#ifndef BAYPLAN_EXT_SLOT_DOCS_H
#define BAYPLAN_EXT_SLOT_DOCS_H

PyDoc_STRVAR(
    slot_doc,
    "A named piece of device memory, whose contents may leave and come back.\n"
    "\n"
    "Made by SlotManager.allocate(); ``manager[name]`` is the same object. It\n"
    "follows its name through eviction and restore; after deallocation (or\n"
    "replacement) everything but `name`, `kind` and `manager` raises\n"
    "StaleHandle.");
PyDoc_STRVAR(
    copy_from_doc,
    "copy_from($self, /, array)\n--\n\n"
    "Fill the slot, from its beginning; restore it first if it is evicted.\n\n"
    "Parameters\n----------\n"
    "array : array_like\n"
    "    At most `nbytes` bytes; copied in C order.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    Too many bytes, or elements that are objects.\n"
    "BudgetExceeded\n    No room to restore it.\n"
    "StaleHandle\n    The slot is gone, or its contents are lost.");
PyDoc_STRVAR(
    copy_to_doc,
    "copy_to($self, /, out=None)\n--\n\n"
    "The slot's bytes. An evicted slot is read where it is.\n\n"
    "Parameters\n----------\n"
    "out : numpy.ndarray, optional\n"
    "    To be filled from the slot's beginning; at most `nbytes` bytes.\n\n"
    "Returns\n-------\n"
    "numpy.ndarray\n    `out`, or a new array of `nbytes` uint8.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    `out` is larger than the slot, or read-only.\n"
    "StaleHandle\n    The slot is gone, or its contents are lost.");
PyDoc_STRVAR(
    view_doc,
    "view($self, /, dtype=numpy.uint8, shape=None, write=True)\n--\n\n"
    "The slot's bytes where they are. The slot is in use by the host until\n"
    "the view and its arrays are gone; restored first if it is evicted.\n\n"
    "Parameters\n----------\n"
    "dtype : dtype_like\n    Of the elements.\n"
    "shape : int or tuple of int, optional\n"
    "    Elements, from the slot's beginning; all of the slot without it.\n"
    "write : bool\n"
    "    False: arrays are read-only, and a copy on the host stays good.\n\n"
    "Returns\n-------\n"
    "SlotView\n\n"
    "Raises\n------\n"
    "BufferValueError\n    More bytes than the slot has, or bytes that do not\n"
    "    divide into elements.\n"
    "BudgetExceeded\n    No room to restore it.\n"
    "Busy\n    It is being loaded: what loads it uses copy_from().\n"
    "NotYetError\n    The host cannot see this memory.\n"
    "StaleHandle\n    The slot is gone, or its contents are lost.");
PyDoc_STRVAR(name_doc, "Its name.");
PyDoc_STRVAR(kind_doc, "What was given as `kind`, or None.");
PyDoc_STRVAR(manager_doc, "Its SlotManager.");
PyDoc_STRVAR(nbytes_doc, "Bytes, as asked for.");
PyDoc_STRVAR(charged_doc, "Bytes the budget is charged while it is resident.");
PyDoc_STRVAR(state_doc, "'resident', 'evicting', 'evicted' or 'restoring'.");
PyDoc_STRVAR(resident_doc, "True if it is on the device.");
PyDoc_STRVAR(generation_doc,
             "Number of its residency, or of the last one; none is ever used "
             "twice.");
PyDoc_STRVAR(last_use_doc, "When it was used or touched, on a clock that "
                           "counts such things.");
PyDoc_STRVAR(priority_doc, "Slots of higher priority are evicted later.");
PyDoc_STRVAR(pinned_doc, "True if it is never evicted.");
PyDoc_STRVAR(host_uses_doc, "Uses by the host that go on: blocks and views.");
PyDoc_STRVAR(host_bytes_doc, "Bytes of its copy on the host.");
PyDoc_STRVAR(dirty_doc,
             "True if the device may have what the host copy has not.");
PyDoc_STRVAR(busy_doc, "True if the device may still use it.");

#endif
