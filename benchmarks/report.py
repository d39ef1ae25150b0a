"""Run the benchmarks and report ours, theirs, ratio and target.

``python benchmarks/report.py [--no-callgrind] [pytest arguments]`` prints the report and writes it
to ``benchmarks/results/registry-<machine>.md``.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results"


class Row(NamedTuple):
    """One group of the comparison; times in microseconds per operation."""

    group: str
    ours: float | None
    theirs: float | None
    target: float | None

    @property
    def ratio(self) -> float | None:
        """How many times faster ours is."""
        return self.theirs / self.ours if self.ours and self.theirs else None

    @property
    def verdict(self) -> str:
        """Whether the target is met."""
        if self.target is None or self.ours is None:
            return ""
        return "met" if self.ours <= self.target else "MISSED"


def machine() -> str:
    """The kind of machine: processor and number of usable cores."""
    model = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    if match := re.search(r"model name\s*:\s*(.+)", text):
        model = match.group(1)
    return model.strip()


def slug() -> str:
    """The machine's name as part of a file name."""
    plain = re.sub(r"\((R|TM)\)|CPU|@.*", "", machine()).lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def run_pytest(arguments: list[str]) -> tuple[dict[str, Any], str]:
    """The benchmarks' JSON and what the run printed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [
            sys.executable, "-m", "pytest", str(HERE), "-q", "-rA", "-p", "no:xdist",
            "-m", "not gpu", "--benchmark-disable-gc", f"--benchmark-json={out}", *arguments,
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if not out.exists() or not out.stat().st_size:
            sys.exit(f"the benchmarks did not run:\n{done.stdout}{done.stderr}")
        return json.loads(out.read_text()), done.stdout


def rows_of(data: dict[str, Any]) -> list[Row]:
    """One row per group, in the order of the file."""
    groups: dict[str, dict[str, Any]] = {}
    for bench in data["benchmarks"]:
        row = groups.setdefault(bench["group"], {})
        info = bench["extra_info"]
        side = "theirs" if "theirs" in bench["name"] else "ours"
        row[side] = bench["stats"]["min"] * 1e6 / info["operations"]
        row["target"] = info["target_us"]
    return [
        Row(group, row.get("ours"), row.get("theirs"), row.get("target"))
        for group, row in groups.items()
    ]


def number(value: float | None) -> str:
    """Three significant digits, or a dash."""
    return "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table; the first column to the left, the others to the right."""
    widths = [max(len(row[k]) for row in (head, *rows)) for k in range(len(head))]

    def line(row: tuple[str, ...]) -> str:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return f"| {' | '.join(cells)} |"

    rule = tuple(
        "-" * width if k == 0 else "-" * (width - 1) + ":" for k, width in enumerate(widths)
    )
    return [line(head), line(rule), *map(line, rows)]


def comparison(rows: list[Row]) -> list[str]:
    """The table of times."""
    head = ("microseconds per operation (best round)", "ours", "theirs", "ratio", "target", "")
    cells = [
        (r.group, number(r.ours), number(r.theirs), number(r.ratio), number(r.target), r.verdict)
        for r in rows
    ]
    return table(head, cells)


# ---- instruction counts ---------------------------------------------------


def instruction_counts() -> list[str]:
    """Lines about instructions per operation of the C paths, or why there are none."""
    source = HERE / "core" / "bench_registry.c"
    valgrind, cmake = shutil.which("valgrind"), shutil.which("cmake")
    if valgrind is None or cmake is None or not source.exists():
        missing = "valgrind" if valgrind is None else "cmake" if cmake is None else source.name
        return [f"No instruction counts: {missing} is not here."]
    build = ROOT / "build" / "c" / "bench"
    subprocess.run(
        [cmake, "-S", ROOT, "-B", build, "-DBAYPLAN_BENCH=ON", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    subprocess.run([cmake, "--build", build, "-j", "2"], check=True, stdout=subprocess.DEVNULL)
    program = str(build / "benchmarks" / "core" / "bench_registry")
    return callgrind_lines(valgrind, program)


def callgrind_lines(valgrind: str, program: str) -> list[str]:
    """Instructions of every case of bench_registry, and its times without valgrind."""
    listed = subprocess.run([program, "--list"], check=True, capture_output=True, text=True)
    cells = []
    for line in listed.stdout.splitlines():
        name, inner = line.split()
        cells.append((name, number(instructions(valgrind, program, name) / int(inner))))
    times = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    counts = table(("C path", "instructions per operation"), cells)
    return [*counts, "", "```text", *times.splitlines(), "```"]


def instructions(valgrind: str, program: str, name: str) -> float:
    """Instructions of one run of a case: the slope between two numbers of runs."""
    few, many = 2, 12
    counts = []
    for n in (few, many):
        command = [
            valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null", program, name, str(n),
        ]  # fmt: skip
        said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        match = re.search(r"Collected\s*:\s*(\d+)", said)
        if match is None:
            sys.exit(f"callgrind says nothing of {name}:\n{said}")
        counts.append(int(match.group(1)))
    return (counts[1] - counts[0]) / (many - few)


# ---- the report -----------------------------------------------------------


def report(arguments: list[str]) -> str:
    """Everything, as Markdown."""
    with_counts = "--no-callgrind" not in arguments
    data, said = run_pytest([a for a in arguments if a != "--no-callgrind"])
    lines = [
        f"# Registry on {machine()}",
        "",
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}. "
        "Ours: bayplan, mode sequential. Theirs: cubie.buffer_registry.",
        "",
        *comparison(rows_of(data)),
    ]
    if match := re.search(r"bytes per buffer beyond its name: ([\d.]+)", said):
        lines += ["", f"Memory per buffer beyond its name: {match.group(1)} bytes (target 100)."]
    skipped = re.findall(r"^SKIPPED .*", said, re.MULTILINE)
    failed = re.findall(r"^FAILED .*|^ERROR .*", said, re.MULTILINE)
    lines += ["", *skipped, *failed] if skipped or failed else []
    if with_counts:
        lines += ["", *instruction_counts()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the report and keep it."""
    text = report(sys.argv[1:])
    print(text)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"registry-{slug()}.md"
    path.write_text(text)
    print(f"written to {path.relative_to(ROOT)}")
    if "\nFAILED" in text or "\nERROR" in text:
        sys.exit(1)


if __name__ == "__main__":
    main()
