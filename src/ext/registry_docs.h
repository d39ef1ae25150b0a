/* registry_docs.h - docstrings of BufferRegistry; included by registry.c alone.
 */
#ifndef BAYPLAN_EXT_REGISTRY_DOCS_H
#define BAYPLAN_EXT_REGISTRY_DOCS_H

#include "ext/ext.h"

PyDoc_STRVAR(
    registry_doc,
    "BufferRegistry(*, mode='auto', budget=None, poison=False)\n--\n\n"
    "Named buffers of factories, and the layouts planned from them.\n\n"
    "Factories are held by weak reference and known by identity: they may be\n"
    "unhashable, may compare equal, may die.\n\n"
    "Parameters\n----------\n"
    "mode : str\n"
    "    How regions are planned: 'sequential' (declaration order), 'packed'\n"
    "    (alignment descending), 'fast' (the best of several first fits),\n"
    "    'optimal' (from there, exact search), or 'auto': declaration order\n"
    "    where that is proven best, else 'optimal' with a small budget.\n"
    "budget : int, optional\n"
    "    Nodes a search may use per region, at least 1; by default the mode's\n"
    "    own.\n"
    "poison : bool\n"
    "    True to let the simulator fill the bytes of buffers that are not\n"
    "    alive with poison, so that a wrong lifetime shows.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    No such mode, or a budget below 1.");
PyDoc_STRVAR(
    register_doc,
    "register($self, /, factory, name, size, location='local', *, dtype=None,\n"
    "         align=None, live=None, keep=None, carried=False, same_as=None,\n"
    "         zero=False, uses=1.0)\n--\n\n"
    "Declare a buffer, or replace the one of that name in its place.\n\n"
    "The same values again change nothing. A location override outlives a\n"
    "replacement.\n\n"
    "Parameters\n----------\n"
    "factory : object\n"
    "    Whose buffer it is; anything that allows weak references.\n"
    "name : str\n"
    "    An identifier, unique in the factory.\n"
    "size : int or tuple of int\n"
    "    Elements, or the shape in elements (C order).\n"
    "location : str\n"
    "    'shared', 'block', 'local', 'persistent_local' or 'auto'.\n"
    "dtype : dtype-like, optional\n"
    "    Element type; by default ``factory.precision`` (float32 where it has\n"
    "    none), which the buffer then follows.\n"
    "align : int, optional\n"
    "    Bytes the offset is a multiple of, a power of two up to 1024; the\n"
    "    larger of it and the dtype's own alignment holds.\n"
    "live : str or tuple of str, optional\n"
    "    The phase in which it is alive, or the first and the last one, both\n"
    "    included; by default it is always alive. Only buffers that are never\n"
    "    alive together may share bytes.\n"
    "keep : bool, optional\n"
    "    True if the contents must survive between two calls; by default true\n"
    "    for 'persistent_local' alone, and not with `live`.\n"
    "carried : bool\n"
    "    True if the contents go from one turn of the innermost loop around\n"
    "    its phases to the next: it lives through all of that loop.\n"
    "same_as : str, optional\n"
    "    Name of a buffer whose bytes this one shares on purpose.\n"
    "zero : bool\n"
    "    True if the buffer starts as zeros.\n"
    "uses : float\n"
    "    Weight for the launch planner, finite and >= 0.\n\n"
    "Returns\n-------\n"
    "int\n    Id of the buffer, unique in its factory and never reused.\n\n"
    "Raises\n------\n"
    "BufferValueError\n"
    "    A name, size, location, dtype, alignment or lifetime that breaks a\n"
    "    rule.\n"
    "BufferKeyError\n    `same_as` names no buffer, or `live` no phase.\n"
    "TypeError\n    The factory allows no weak reference.");
PyDoc_STRVAR(unregister_doc,
             "unregister($self, /, factory, name)\n--\n\n"
             "Remove a buffer and its location override.\n\n"
             "Raises\n------\n"
             "BufferKeyError\n    The factory or the buffer is unknown.\n"
             "BufferValueError\n"
             "    Another buffer is `same_as` it, or it is a child's bytes.");
PyDoc_STRVAR(unregister_all_doc,
             "unregister_all($self, /, factory)\n--\n\n"
             "Remove all buffers of a factory and their overrides; children\n"
             "stay.\n\n"
             "Raises\n------\n"
             "BufferKeyError\n    The factory is unknown.");
PyDoc_STRVAR(
    set_precision_doc,
    "set_precision($self, /, factory, dtype)\n--\n\n"
    "Change what a factory counts elements in, and the dtype of every buffer\n"
    "that follows it. A factory that is unknown stays unknown.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    No usable dtype, or more bytes than allowed.");
PyDoc_STRVAR(
    add_child_doc,
    "add_child($self, /, parent, child, name='child', *, live=None)\n--\n\n"
    "Give a child bytes in its parent.\n\n"
    "Three read-only roll-ups ``{name}_shared``, ``{name}_block`` and\n"
    "``{name}_persistent_local`` follow the child's layout from now on. The\n"
    "same name and child again change nothing; the same name with another\n"
    "child replaces it in place.\n\n"
    "Parameters\n----------\n"
    "parent, child : object\n"
    "    Two factories of this registry.\n"
    "name : str\n"
    "    An identifier, unique in the parent.\n"
    "live : str or tuple of str, optional\n"
    "    The phase in which it is called, or the first and the last one, both\n"
    "    included; by default any. Its shared and block bytes live as long\n"
    "    (always, where they hold kept bytes), its persistent-local bytes\n"
    "    always.\n\n"
    "Raises\n------\n"
    "BufferValueError\n"
    "    A name that is taken, a cycle (with its path), a child of another\n"
    "    registry, phases in the wrong order.\n"
    "BufferKeyError\n    `live` names no phase.\n"
    "TypeError\n    A factory allows no weak reference.");
PyDoc_STRVAR(remove_child_doc,
             "remove_child($self, /, parent, name)\n--\n\n"
             "Take a child's bytes out of its parent.\n\n"
             "Raises\n------\n"
             "BufferKeyError\n    The parent or the child is unknown.");
PyDoc_STRVAR(children_doc,
             "children($self, /, factory)\n--\n\n"
             "Children of a factory, in declaration order.\n\n"
             "Returns\n-------\n"
             "dict\n"
             "    Name to child; None for a child that is gone. Empty for an\n"
             "    unknown factory.");
PyDoc_STRVAR(
    update_doc,
    "update($self, /, factory, updates_dict=None, *, strict=False, **kw)\n"
    "--\n\n"
    "Change locations and sizes by key, all or nothing over the whole tree.\n\n"
    "Keys are ``<buffer>_location`` and ``<buffer>_size`` (also\n"
    "``<buffer>_buffer_location`` and ``_size``), and the same of a child's\n"
    "buffers after ``<child>_``. A location overrides the declared one; a "
    "size\n"
    "(elements, or a shape) replaces it.\n\n"
    "Parameters\n----------\n"
    "factory : object\n"
    "    Root of the tree.\n"
    "updates_dict : mapping, optional\n"
    "    Key to value; `kw` are more of them.\n"
    "strict : bool\n"
    "    True to raise for a key that no buffer answers to.\n\n"
    "Returns\n-------\n"
    "set of str\n    The keys that were recognised.\n\n"
    "Raises\n------\n"
    "BufferKeyError\n    With `strict`, a key that is not recognised.\n"
    "BufferValueError\n"
    "    A value that breaks a rule, or a key with two meanings.");
PyDoc_STRVAR(
    update_with_doc,
    "_update($self, /, factory, mapping, *, strict=False, precision=None)\n"
    "--\n\n"
    "`update` from a mapping and, in the same step, the factory's precision.");
PyDoc_STRVAR(probe_doc,
             "_probe($self, /, factory, mapping)\n--\n\n"
             "The keys of a mapping that `update` would recognise; values are\n"
             "not looked at and nothing changes.");
PyDoc_STRVAR(
    overrides_doc,
    "overrides($self, /, factory)\n--\n\n"
    "Location overrides of a factory.\n\n"
    "Returns\n-------\n"
    "dict\n    ``{name}_location`` to location, as `update` takes it.");
PyDoc_STRVAR(reset_overrides_doc, "reset_overrides($self, /, factory)\n--\n\n"
                                  "Drop the location overrides of a factory.");
PyDoc_STRVAR(entries_doc,
             "entries($self, /, factory)\n--\n\n"
             "Declarations of a factory.\n\n"
             "Returns\n-------\n"
             "tuple of Entry\n"
             "    In declaration order, roll-ups of children included. Empty\n"
             "    for an unknown factory.");
PyDoc_STRVAR(dump_doc,
             "dump($self, /, factory=None)\n--\n\n"
             "All declarations as JSON, the same text for the same state.\n\n"
             "Parameters\n----------\n"
             "factory : object, optional\n"
             "    One factory alone; 'null' where it is unknown.\n\n"
             "Returns\n-------\n"
             "str");
PyDoc_STRVAR(check_doc, "check($self, /)\n--\n\n"
                        "Raise `BayplanError` if any invariant is broken.");
PyDoc_STRVAR(layout_version_doc,
             "layout_version($self, /, factory)\n--\n\n"
             "A number that grows with every edit of the factory or of a\n"
             "descendant; 0 for an unknown factory.");
PyDoc_STRVAR(
    build_layout_doc,
    "build_layout($self, /, factory)\n--\n\n"
    "The current layout of a factory, planned only if something it depends on\n"
    "changed.\n\n"
    "Returns\n-------\n"
    "Layout\n"
    "    The same object as long as nothing changes; an empty one for an\n"
    "    unknown factory.\n\n"
    "Raises\n------\n"
    "BufferValueError\n    The tree has 2**48 bytes or more.");
PyDoc_STRVAR(layout_doc, "layout($self, /, factory)\n--\n\n"
                         "The same as `build_layout`.");
PyDoc_STRVAR(invalidate_layout_doc,
             "invalidate_layout($self, /, factory)\n--\n\n"
             "Forget the layout; the next read plans afresh, to the same\n"
             "bytes.");
PyDoc_STRVAR(aggregate_size_doc,
             "get_aggregate_size($self, /, factory, location)\n--\n\n"
             "Size of one memory of a factory, children included.\n\n"
             "Parameters\n----------\n"
             "factory : object\n"
             "    0 where it is unknown.\n"
             "location : str\n"
             "    'shared', 'block', 'local' or 'persistent_local'.\n\n"
             "Returns\n-------\n"
             "int\n    Elements of the factory's precision, rounded up.");
PyDoc_STRVAR(aggregate_bytes_doc,
             "get_aggregate_bytes($self, /, factory, location)\n--\n\n"
             "`get_aggregate_size` in bytes.");
PyDoc_STRVAR(child_aggregate_size_doc,
             "get_child_aggregate_size($self, /, child, location)\n--\n\n"
             "Size of one memory of a child, in elements of the child's\n"
             "precision; 0 for None, and for one that never registered\n"
             "anything.");
PyDoc_STRVAR(child_aggregate_bytes_doc,
             "get_child_aggregate_bytes($self, /, child, location)\n--\n\n"
             "`get_child_aggregate_size` in bytes.");
PyDoc_STRVAR(
    phases_doc,
    "phases($self, /, factory, *names)\n--\n\n"
    "Declare the phases of a factory, in the order in which its device\n"
    "function goes through them.\n\n"
    "Always the whole list: what is left out is forgotten, and without names\n"
    "all phases and loops are. Buffers, children and loops keep the phases\n"
    "they name. The same list again changes nothing.\n\n"
    "Parameters\n----------\n"
    "factory : object\n"
    "    Anything that allows weak references.\n"
    "*names : str\n"
    "    Identifiers, unique in the factory over buffers, children and\n"
    "    phases.\n\n"
    "Raises\n------\n"
    "BufferValueError\n"
    "    A name that is no identifier, is taken or comes twice; an order that\n"
    "    turns a lifetime around.\n"
    "BufferKeyError\n"
    "    A phase that a buffer, child or loop still names would vanish.\n"
    "TypeError\n    The factory allows no weak reference.");
PyDoc_STRVAR(
    loop_doc,
    "loop($self, /, factory, first, last=None)\n--\n\n"
    "Declare that phases repeat. The same loop again changes nothing.\n\n"
    "Parameters\n----------\n"
    "factory : object\n"
    "    One that declared phases.\n"
    "first, last : str\n"
    "    The first and the last phase of the loop, both included; `first`\n"
    "    alone by default.\n\n"
    "Raises\n------\n"
    "BufferKeyError\n    The factory or a phase is unknown.\n"
    "BufferValueError\n"
    "    The last phase comes before the first, or the loop overlaps another\n"
    "    in part.");
PyDoc_STRVAR(apply_doc, "apply($self, /, launch_plan)\n--\n\n"
                        "Not yet supported: raises `NotYetError`.");

#endif
