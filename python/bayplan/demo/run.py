"""The demo itself: solve, check, show, move, solve again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import config
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bayplan import BayplanError, Layout
from bayplan.draw import plot_tree

from . import overrides, reference, report
from .ensemble import DYNAMIC_SHARED_BYTES, Ensemble, Results, Sweep, read_sweep
from .lifetimes import savings
from .problems import PROBLEMS, Problem

__all__ = ["DEFAULT_RUNS", "DEFAULT_SETTINGS", "Checked", "Options", "main"]

IN_SIMULATOR = bool(config.ENABLE_CUDASIM)
WIDTH = 110
"""Columns of the tables, also where the terminal has fewer: no number is cut off."""

DEFAULT_RUNS = 4 if IN_SIMULATOR else 100_000
DEFAULT_SETTINGS = {
    "dirk": (
        "newton_delta_location=shared",
        "base_location=local",
        "matrix_location=persistent_local",
    ),
    "rosenbrock": (
        "slopes_location=shared",
        "slope_location=local",
        "matrix_location=persistent_local",
    ),
}
"""What the demo moves if it is not told."""


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    problems: tuple[str, ...]
    precisions: tuple[str, ...]
    methods: tuple[str, ...]
    linear: str
    runs: int | None
    settings: tuple[str, ...]
    picture: Path
    where: str


@dataclass(frozen=True)
class Checked:
    """The results of one ensemble, and how far they are from the truth."""

    ensemble: Ensemble
    results: Results
    worst: float
    """Of all runs, against SciPy."""

    nominal: float
    """Of the first run, against the published solution."""

    @property
    def must_meet(self) -> float:
        """The largest error allowed."""
        return self.ensemble.problem.accuracy[self.ensemble.precision].must_meet

    @property
    def is_good(self) -> bool:
        """Whether every run got to the end, and there within the tolerance."""
        worst = max(self.worst, self.nominal)
        return self.results.n_unfinished == 0 and worst <= self.must_meet


class Demo:
    """One invocation."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.console = Console(width=max(WIDTH, Console().width))
        self.n_runs = DEFAULT_RUNS if options.runs is None else options.runs
        self.ensembles = [
            Ensemble(PROBLEMS[name], method, options.linear, precision)
            for name in options.problems
            for precision in options.precisions
            if precision in PROBLEMS[name].accuracy
            for method in options.methods
        ]
        self._references: dict[str, Any] = {}

    # -- solving and checking -----------------------------------------------------

    def sweep(self, problem: Problem) -> tuple[Sweep, Sweep]:
        """Return the distinct runs of a problem's ensemble, and all of them."""
        sweep = read_sweep(problem)
        distinct = Sweep(*(array[:, : self.n_runs] for array in sweep))
        return distinct, distinct.repeated(self.n_runs)

    def references(self, problem: Problem, progress: Progress) -> Any:
        """Return SciPy's solutions of the distinct runs; computed once per problem."""
        if problem.name not in self._references:
            distinct, _ = self.sweep(problem)
            task = progress.add_task(f"SciPy {problem.name}", total=distinct.n_runs)
            columns = []
            for run in range(distinct.n_runs):
                initial, constants = (array[:, run] for array in distinct)
                columns.append(reference.solve(problem, initial, constants))
                progress.advance(task)
            self._references[problem.name] = np.stack(columns, axis=1)
            progress.remove_task(task)
        return self._references[problem.name]

    def check(self, ensemble: Ensemble, progress: Progress) -> Checked:
        """Run one ensemble and compare every result."""
        problem = ensemble.problem
        expected = self.references(problem, progress)
        _, sweep = self.sweep(problem)
        task = progress.add_task(ensemble.title, total=sweep.n_runs)
        results = ensemble.run(sweep, lambda n: progress.advance(task, n))
        progress.remove_task(task)
        repeated = expected[:, np.arange(sweep.n_runs) % expected.shape[1]]
        return Checked(
            ensemble,
            results,
            reference.relative_error(problem, results.final, repeated),
            reference.relative_error(problem, results.final[:, 0], np.array(problem.published)),
        )

    # -- showing ------------------------------------------------------------------

    def progress(self) -> Progress:
        """Make the progress bar, which goes to the terminal's error output or nowhere."""
        console = Console(stderr=True)
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )

    def print_results(self, checked: list[Checked]) -> None:
        """Print one line per ensemble."""
        table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
        for column in ("problem", "precision", "method"):
            table.add_column(column, no_wrap=True)
        for column in ("runs", "steps", "rejected", "seconds", "vs SciPy", "published", "limit"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for one in checked:
            ensemble, results = one.ensemble, one.results
            table.add_row(
                ensemble.problem.name,
                ensemble.precision,
                f"{ensemble.method}/{ensemble.linear}",
                str(len(results.outcome)),
                f"{results.n_accepted.mean():.0f}",
                f"{results.n_rejected.mean():.1f}",
                f"{results.seconds:.2f}",
                f"{one.worst:.1e}",
                f"{one.nominal:.1e}",
                f"{one.must_meet:.0e}",
                verdict(one.is_good),
            )
        self.console.print(table)
        for one in checked:
            if one.results.n_unfinished:
                self.console.print(
                    f"{one.ensemble.title}: {one.results.n_unfinished} runs did not reach the end"
                )

    def print_norm(self) -> None:
        """Say what the errors are."""
        floors = ", ".join(f"{name} {PROBLEMS[name].floor:g}" for name in self.options.problems)
        self.console.print(
            "Errors are the largest |y - ref| / (floor + |ref|) of all species and runs at the "
            f"end; floors: {floors}.\nvs SciPy: every run, against Radau with rtol "
            f"{reference.REFERENCE_RTOL:g}. published: the nominal run, against the IVP test set.",
            highlight=False,
        )

    # -- moving buffers -----------------------------------------------------------

    def mover(self) -> int:
        """Choose the ensemble whose buffers are moved: the deepest tree, the cheapest runs."""

        def cost(i: int) -> tuple[bool, bool, str]:
            one = self.ensembles[i]
            return one.method != "dirk", one.problem.name != "hires", one.precision

        return min(range(len(self.ensembles)), key=cost)

    def move(self, ensemble: Ensemble, settings: dict[str, Any]) -> tuple[Layout, Layout]:
        """Apply settings down the tree and return the layouts before and after."""
        before = ensemble.loop.buffers
        ensemble.loop.update_compile_settings(settings)
        return before, ensemble.loop.buffers

    def print_map(self, layout: Layout, title: str) -> None:
        """Print the memory map of a tree and its totals."""
        self.console.print(report.memory_map(layout, title))
        bound = layout.bind()
        launches = {lanes: bound.dynamic_shared_bytes(lanes) for lanes in (1, 32)}
        self.console.print(report.totals(layout, launches))

    def compare(self, before: Checked, after: Checked) -> bool:
        """Say whether moving buffers left the results alone."""
        old, new = before.results.final, after.results.final
        if IN_SIMULATOR:
            is_same = old.tobytes() == new.tobytes()
            claim = "bit for bit the same results"
        else:
            distance = reference.relative_error(before.ensemble.problem, new, np.asarray(old, "f8"))
            is_same = distance <= after.must_meet
            claim = f"the same results within {distance:.1e} (limit {after.must_meet:.0e})"
        line = Text(f"After the move: {claim}: ")
        self.console.print(line.append(verdict(is_same)))
        if not after.is_good:
            self.console.print(
                f"After the move the worst error is {after.worst:.1e}, "
                f"{after.results.n_unfinished} runs did not reach the end. A buffer that moved to "
                '"block" is one for all runs of a block: only what they agree on may lie there.'
            )
        return is_same and after.is_good

    def print_lifetimes(self) -> None:
        """Say what the phases of the solvers' buffers save, for the largest problem."""
        largest = max(self.ensembles, key=lambda one: one.problem.n_species)
        rows = [
            (f"{method}/{largest.linear}", saving)
            for method in self.options.methods
            for saving in savings(
                largest.problem,
                method=method,
                linear=largest.linear,
                precision=largest.precision,
            )
        ]
        self.console.print(
            f"What lifetimes save: {largest.problem.name} {largest.precision}, shared bytes of one "
            "run with one buffer behind the\nother and by lifetimes, and the runs that "
            f"{DYNAMIC_SHARED_BYTES} bytes hold.",
            highlight=False,
        )
        self.console.print(report.saved(rows))

    # -- all of it ----------------------------------------------------------------

    def main(self) -> int:
        """Run the demo; 0 if every check was met."""
        chosen = self.mover()
        mover = self.ensembles[chosen]
        texts = self.options.settings or DEFAULT_SETTINGS[mover.method]
        settings = overrides.complete(mover.loop, overrides.parse(texts))
        rehearsal = Ensemble(mover.problem, mover.method, mover.linear, mover.precision)
        self.move(rehearsal, settings)  # a mistake in --set shows here, before anything is run

        self.console.print(self.options.where, highlight=False)
        with self.progress() as progress:
            checked = [self.check(ensemble, progress) for ensemble in self.ensembles]
            old_layout, new_layout = self.move(mover, settings)
            after = self.check(mover, progress)
        self.print_results(checked)
        self.print_norm()
        self.print_map(old_layout, f"Memory map of {mover.title}")
        self.console.print("--set " + " --set ".join(f"{k}={v}" for k, v in settings.items()))
        self.console.print(report.moved(old_layout, new_layout))
        self.print_map(new_layout, "Memory map after the move")
        is_same = self.compare(checked[chosen], after)
        self.print_lifetimes()
        plot_tree(new_layout, self.options.picture)
        self.console.print(f"Picture: {self.options.picture}", highlight=False)
        is_good = is_same and all(one.is_good for one in checked)
        self.console.print(Text("All checks: ").append(verdict(is_good)))
        return 0 if is_good else 1


def verdict(is_good: bool) -> Text:
    """Say yes or no in colour."""
    return Text("met", style="bold green") if is_good else Text("NOT MET", style="bold red")


def main(options: Options) -> int:
    """Run the demo with parsed options and return its exit status."""
    demo = Demo(options)
    if not demo.ensembles:
        problems, precisions = ", ".join(options.problems), ", ".join(options.precisions)
        raise BayplanError(f"{problems} cannot be solved in {precisions}: the floats are too short")
    return demo.main()
