/* layout_docs.h - docstrings of Layout; included by layout.c alone. */
#ifndef BAYPLAN_EXT_LAYOUT_DOCS_H
#define BAYPLAN_EXT_LAYOUT_DOCS_H

#include "ext/ext.h"

PyDoc_STRVAR(
    layout_doc,
    "Immutable snapshot of where every buffer of one factory lies.\n\n"
    "Layouts come from `BufferRegistry.build_layout`. Equality, hash, digest\n"
    "and pickle cover what kernels see: names, offsets, shapes, dtypes,\n"
    "locations, alignments, `zero`, phases, lifetimes, precision and the\n"
    "children's digests. Bounds, status, name and version are report data,\n"
    "None after unpickling. ``layout[name]`` is the buffer's `Placement`; an "
    "unknown "
    "name\n"
    "raises `BufferKeyError`. A layout without children still answers\n"
    "``layout['child_shared']`` and ``layout['child_persistent_local']``\n"
    "(size 0).");

PyDoc_STRVAR(name_doc, "Type name of the factory, or None after unpickling.");
PyDoc_STRVAR(precision_doc, "numpy.dtype that the factory counts elements in.");
PyDoc_STRVAR(version_doc,
             "Registry version at which the bytes of this layout last\n"
             "changed; None after unpickling.");
PyDoc_STRVAR(digest_doc,
             "32 hexadecimal digits (BLAKE2b-128) of all that kernels see,\n"
             "the same in every process and on every machine.");
PyDoc_STRVAR(shared_doc, "`Region` of one run's slice of shared memory.");
PyDoc_STRVAR(block_doc,
             "`Region` of the shared memory that a thread block has once.");
PyDoc_STRVAR(local_doc,
             "`Region` of local arrays: a declared sum, an estimate, since\n"
             "the compiler promotes and merges local arrays.");
PyDoc_STRVAR(persistent_local_doc,
             "`Region` of a thread's bytes that last for a whole launch.");
PyDoc_STRVAR(placements_doc,
             "Tuple of `Placement`, in declaration order, roll-ups of\n"
             "children included.");
PyDoc_STRVAR(children_doc,
             "Read-only mapping of child name to `ChildRegion`, in\n"
             "declaration order.");
PyDoc_STRVAR(phases_doc,
             "Tuple of the names of the factory's phases, in their order;\n"
             "empty where it declared none.");
PyDoc_STRVAR(loops_doc,
             "Tuple of (first phase, last phase), both included, of the loops\n"
             "that the factory declared; by first phase, longer ones first.");
PyDoc_STRVAR(
    poison_doc,
    "True if the registry was made with ``poison=True``: the simulator\n"
    "then fills bytes that nobody owns with poison. Report data, False\n"
    "after unpickling.");
PyDoc_STRVAR(
    shared_slices_doc,
    "dict of buffer name to slice of the shared region, in elements of\n"
    "`precision`, for hand-written code.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    Where bytes do not divide into such elements.");
PyDoc_STRVAR(
    persistent_local_slices_doc,
    "dict of buffer name to slice of the persistent-local region, in\n"
    "elements of `precision`, for hand-written code.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    Where bytes do not divide into such elements.");
PyDoc_STRVAR(local_sizes_doc,
             "dict of local buffer's name to its elements (of its own dtype),\n"
             "for hand-written code.");
PyDoc_STRVAR(
    table_doc,
    "table($self, /)\n--\n\n"
    "The placements as a NumPy structured array.\n\n"
    "Returns\n-------\n"
    "numpy.ndarray\n"
    "    Shape (number of placements,), in declaration order, with the fields\n"
    "    name, location (text), offset, nbytes (bytes), size (elements), "
    "dtype\n"
    "    (text), first and last (numbers of phases, half open; from 0 to the\n"
    "    number of phases, or to 1 where there are none: always alive).");
PyDoc_STRVAR(
    bind_doc,
    "bind($self, /, *, stride=None, policy='pad', lanes_per_run=1,\n"
    "     reserve_bytes=0)\n--\n\n"
    "Fix what a launch decides about this layout.\n\n"
    "Parameters\n----------\n"
    "stride : int, optional\n"
    "    Bytes between the shared slices of two runs; by default `policy`\n"
    "    chooses.\n"
    "policy : str\n"
    "    'pad' (an odd multiple of the widest access, so that runs do not\n"
    "    meet in one bank) or 'none' (the region's bytes).\n"
    "lanes_per_run : int\n"
    "    Neighbouring lanes that solve one run: a power of two up to 32.\n"
    "reserve_bytes : int\n"
    "    Dynamic shared bytes left free in front, for other users.\n\n"
    "Returns\n-------\n"
    "BoundLayout\n\n"
    "Raises\n------\n"
    "BufferValueError\n"
    "    A stride that is too small or misaligned, or another value out of\n"
    "    range.\n"
    "NotYetError\n"
    "    For ``policy='interleave'``.");
PyDoc_STRVAR(
    hazards_doc,
    "hazards($self, /, lanes_per_run=1)\n--\n\n"
    "Where one buffer takes over another's bytes, and what must stand\n"
    "between.\n\n"
    "Every way from one phase to another is looked at: on to a later phase,\n"
    "back to the beginning of a loop, and to the next call. Children answer\n"
    "for what is inside them.\n\n"
    "Parameters\n----------\n"
    "lanes_per_run : int\n"
    "    Neighbouring lanes that solve one run: a power of two up to 32.\n\n"
    "Returns\n-------\n"
    "tuple of Hazard\n"
    "    Ordered by `when`, loop, phase entered and declaration; empty where\n"
    "    no bytes are shared.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    `lanes_per_run` is out of range.");
PyDoc_STRVAR(reduce_doc, "__reduce__($self, /)\n--\n\n"
                         "Pickle as one canonical block of bytes: equal\n"
                         "layouts pickle equal.");
PyDoc_STRVAR(copy_doc, "__copy__($self, /)\n--\n\n"
                       "The layout itself, which is immutable.");
PyDoc_STRVAR(deepcopy_doc, "__deepcopy__($self, memo, /)\n--\n\n"
                           "The layout itself, which is immutable.");

#endif
