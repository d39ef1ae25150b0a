"""The command line: ``python -m bayplan``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from . import BayplanError, __version__, backends
from .demo import device
from .demo.problems import PROBLEMS

__all__ = ["main"]

PICTURE = Path("demo-memory-map.png")
SLOTS_PICTURE = Path("slots-memory.png")
_PICTURES = (".png", ".svg", ".pdf")
_EXTRAS = {
    "numba.cuda": "'bayplan[cu13]' for a GPU, 'bayplan[sim]' for the simulator alone",
    "matplotlib": "'bayplan[demo]'",
    "rich": "'bayplan[demo]'",
    "scipy": "'bayplan[demo]'",
}


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(prog="bayplan", description="Buffers of CUDA device functions.")
    top.add_argument("--version", action="version", version=f"bayplan {__version__}")
    commands = top.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo",
        help="solve stiff ensembles, check every result, show where the buffers lie",
        description="Solves published stiff problems with one run per lane, on a GPU or in "
        "Numba's CUDA simulator; exit status 1 if a result misses its tolerance.",
    )
    every = demo.add_argument
    every("--problem", choices=PROBLEMS, action="append", help="repeatable; default: all")
    every("--precision", choices=("float32", "float64"), help="default: both")
    every("--method", choices=("rosenbrock", "dirk"), help="default: both")
    every("--linear", choices=("lu", "bicgstab"), default="lu", help="default: lu")
    every("--runs", type=_positive, help="runs per problem; default: 100000 on a GPU, else 4")
    every(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="move a buffer, as in newton_delta_location=shared; repeatable",
    )
    every("--picture", type=_picture, default=PICTURE, help=f"png, svg or pdf; default: {PICTURE}")
    every("--device", choices=device.CHOICES, default="auto", help="default: auto")
    _add_slots(commands)
    return top


def _add_slots(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    slots = commands.add_parser(
        "slots",
        help="thirteen models share a budget of device memory; every claim is checked",
        description="Thirteen model slots in 8 GiB: pressure, a refusal and its report, "
        "evictions, contents that come back; exit status 1 if a claim is not met.",
    )
    every = slots.add_argument
    every("--backend", choices=backends.NAMES, default="sim", help="default: sim")
    every(
        "--picture",
        type=_picture,
        default=SLOTS_PICTURE,
        help=f"use over time: png, svg or pdf; default: {SLOTS_PICTURE}",
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in _PICTURES:
        raise argparse.ArgumentTypeError(f"{text}: must end in {', '.join(_PICTURES)}")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: there is no folder {path.parent}")
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 good, 1 a check was not met, 2 bad input."""
    arguments = parser().parse_args(argv)
    try:
        return _COMMANDS[arguments.command](arguments)
    except (BayplanError, ImportError) as error:
        print(f"bayplan {arguments.command}: {error}", file=sys.stderr)
        return 2


def _require(who: str, modules: Iterable[str]) -> None:
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ImportError(f"{who} needs {module}: pip install {_EXTRAS[module]}") from error


def run_demo(arguments: argparse.Namespace) -> int:
    """Run ``bayplan demo``."""
    where = device.choose(arguments.device)
    _require("the demo", _EXTRAS)
    # Only now: Numba reads the choice of the device when it is imported.
    from .demo import run

    return run.main(
        run.Options(
            problems=tuple(arguments.problem or PROBLEMS),
            precisions=(arguments.precision,) if arguments.precision else ("float32", "float64"),
            methods=(arguments.method,) if arguments.method else ("rosenbrock", "dirk"),
            linear=arguments.linear,
            runs=arguments.runs,
            settings=tuple(arguments.set),
            picture=arguments.picture,
            where=where,
        )
    )


def run_slots(arguments: argparse.Namespace) -> int:
    """Run ``bayplan slots``."""
    _require("this example", ("rich", "matplotlib"))
    from . import models

    return models.main(models.Options(arguments.backend, arguments.picture))


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {"demo": run_demo, "slots": run_slots}
