"""Keep the stores that Numba's own dead-code pass would drop.

In a function into which Numba inlined anything (an `@overload(inline="always")`)
its IR pass deletes `x[i] = v` if `x` is not an argument, is not read later and is
not a known alias of either; it knows no aliases that come from attributes or
calls, and so drops stores through views (numba issues 10037 and 10041). LLVM
removes the stores that are really dead, so this pass may as well keep them all.
"""

from __future__ import annotations

from typing import Any

from .compat import ir_utils, numba_ir


def _keep_store(stmt: Any, lives: Any, lives_and_aliases: set[str], *rest: Any) -> Any:
    """Count the target of a store as alive, and keep the statement."""
    lives_and_aliases.add(stmt.target.name)
    return stmt


def install() -> None:
    """Make the pass keep stores, in every function compiled for CUDA from now on."""
    for statement_type in numba_ir.setitem_types:
        ir_utils.remove_dead_extensions.setdefault(statement_type, _keep_store)
