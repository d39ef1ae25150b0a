"""The worked example: it checks its claims, and its claims can be missed."""

import subprocess
import sys

import pytest

import bayplan
from bayplan import cli

pytest.importorskip("rich")
pytest.importorskip("matplotlib").use("Agg")

from bayplan import models  # noqa: E402


@pytest.fixture(autouse=True)
def no_figures():
    from matplotlib import pyplot

    yield
    pyplot.close("all")


def run(capsys, *arguments):
    status = cli.main(["slots", *arguments])
    return status, capsys.readouterr().out


def test_what_the_models_are():
    sizes = [200, 100, 100, 100, 150, 50, 300, 75, 50, 150, 75, 200, 50]
    assert [model.nbytes for model in models.MODELS] == [n * 10**6 for n in sizes]
    assert len({model.name for model in models.MODELS}) == 13
    assert models.LIMIT == 8 * 2**30


def test_every_claim_is_met(capsys, tmp_path):
    picture = tmp_path / "use.png"
    status, said = run(capsys, "--picture", str(picture))
    assert status == 0, said
    assert "NOT MET" not in said
    assert said.count(": met\n") >= 39
    assert said.endswith("All checks: met\n")
    assert models.REPORT in said
    assert picture.read_bytes().startswith(b"\x89PNG")
    # The state before the first step and after every step.
    assert said.count("slots, ") == 8
    assert [said.count(f"after step {n}, before step {n + 1}") for n in range(1, 7)] == [1] * 6


def test_as_a_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "bayplan", "slots", "--picture", "use.svg"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("All checks: met\n")
    assert "<svg" in (tmp_path / "use.svg").read_text()[:1000]


def test_no_device_is_bad_input(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("BAYPLAN_BACKEND", raising=False)

    def probe():
        raise bayplan.DeviceUnavailable("no device answers: tried libcuda.so.1")

    monkeypatch.setattr(bayplan._core, "_probe_driver", probe)
    status = cli.main(["slots", "--backend", "cuda", "--picture", str(tmp_path / "use.png")])
    assert status == 2
    assert "tried libcuda.so.1" in capsys.readouterr().err
    assert not (tmp_path / "use.png").exists()


@pytest.mark.parametrize("module", ["rich", "matplotlib"])
def test_what_it_needs_is_said(module):
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from bayplan import cli\n"
        "sys.exit(cli.main(['slots']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        f"bayplan slots: this example needs {module}: pip install 'bayplan[demo]'\n"
    )


@pytest.mark.parametrize("arguments", [["--picture", "use.txt"], ["--backend", "gpu"]])
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["slots", *arguments])
    assert caught.value.code == 2
    assert arguments[1] in capsys.readouterr().err


# ---- the claims can be missed -----------------------------------------------------


def shown_as_missed(capsys, tmp_path, claim):
    status, said = run(capsys, "--picture", str(tmp_path / "use.png"))
    assert status == 1
    assert f"{claim}: NOT MET" in said
    assert said.endswith("All checks: NOT met\n")


def test_another_report_is_missed(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "REPORT", models.REPORT.replace("13/13", "12/13"))
    shown_as_missed(capsys, tmp_path, "the report is right to the letter")


def test_another_order_is_missed(capsys, tmp_path, monkeypatch):
    class Wrong(bayplan.SlotManager):
        def __new__(cls, budget, **options):
            return super().__new__(cls, budget, policy="mru", **options)

    monkeypatch.setattr(models, "SlotManager", Wrong)
    shown_as_missed(capsys, tmp_path, "the plan names 'graph' and 'entity'")


def test_lost_contents_are_missed(capsys, tmp_path, monkeypatch):
    real = models.weights

    def other(model):
        made = real(model)
        made[-1] ^= len(seen)
        seen.append(model)
        return made

    seen = []
    monkeypatch.setattr(models, "weights", other)
    shown_as_missed(capsys, tmp_path, "'graph' is the same, byte for byte")


def test_an_error_is_missed(capsys, tmp_path, monkeypatch):
    class Strict(bayplan.SlotManager):
        def __new__(cls, budget, **options):
            return super().__new__(cls, budget, on_shortage="raise", **options)

    monkeypatch.setattr(models, "SlotManager", Strict)
    status, said = run(capsys, "--picture", str(tmp_path / "use.png"))
    assert status == 1
    assert "no error: [BAY-E003] GPU memory budget exceeded" in said
