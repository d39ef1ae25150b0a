"""Layouts as plain records, shaped like the core's, for tests of the drawings alone."""

from types import SimpleNamespace

import numpy as np

LOCATIONS = ("shared", "block", "persistent_local", "local")


def placement(name, location, offset, shape, dtype="f4", *, align=None, **kw):
    dtype = np.dtype(dtype)
    shape = (shape,) if isinstance(shape, int) else shape
    size = int(np.prod(shape))
    known = {"keep": False, "zero": False, "is_rollup": False, "live": None, "carried": False} | kw
    return SimpleNamespace(
        name=name,
        location=location,
        offset=offset,
        nbytes=size * dtype.itemsize,
        size=size,
        shape=shape,
        dtype=dtype,
        align=align or dtype.alignment,
        **known,
    )


def layout(name, placements, children=(), *, align=4, status="optimal", extra_local=0):
    """A layout whose regions end where their last placement ends, rounded up to `align`."""
    made = SimpleNamespace(
        name=name,
        precision=np.dtype("f4"),
        version=7,
        digest="0123456789abcdef" * 2,
        phases=(),
        loops=(),
        placements=tuple(placements),
        children={c.name: c for c in children},
    )
    for location in LOCATIONS:
        here = tuple(p for p in placements if p.location == location)
        if location == "local":
            end = sum(p.nbytes for p in here)
            end += sum(c.layout.local.nbytes for c in children) + extra_local
        else:
            end = max((p.offset + p.nbytes for p in here), default=0)
        nbytes = -(-end // align) * align
        bound = None if status is None else sum(p.nbytes for p in here)
        region = SimpleNamespace(
            nbytes=nbytes,
            size=nbytes // 4,
            align=align,
            lower_bound=bound,
            flat_lower_bound=bound,
            status=status,
            placements=here,
        )
        setattr(made, location, region)
    return made


def child(name, layout, shared=0, block=0, persistent_local=0):
    return SimpleNamespace(
        name=name, layout=layout, shared=shared, block=block, persistent_local=persistent_local
    )


def rollups(name, of, **offsets):
    """The three roll-up placements a child brings, at the given byte offsets."""
    return [
        placement(
            f"{name}_{where}",
            where,
            offsets.get(where, 0),
            getattr(of, where).nbytes // 4,
            is_rollup=True,
            align=getattr(of, where).align,
        )
        for where in ("shared", "block", "persistent_local")
    ]
