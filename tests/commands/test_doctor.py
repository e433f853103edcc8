"""The doctor's page: one screen, truthful about devices and extras, and silent about secrets."""

from __future__ import annotations

import re
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from emobench.catalogue.combinations import rows
from emobench.commands import doctor
from emobench.commands.doctor import bf16_text, device_text, doctor_text, extra_texts
from emobench.commands.place import find_place


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
    """At most 45 lines of 100 columns, with every section and the whole table of combinations."""
    lines = doctor_text(find_place(tmp_path)).splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 100
    titles = [line.split("  ")[0] for line in lines]
    for title in ("packages", "devices", "extras", "hub", "cache", "settings", "models", "data sets"):
        assert title in titles
    table = [re.split(r"  +", line) for line in lines[-len(rows()) :]]
    assert table == [list(row.values()) for row in rows()]


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
    assert quant == 'quant: bitsandbytes is missing, torchao 0.1 is not >=0.15; run: pip install "emobench[quant]"'
    assert not any(text.startswith(("all:", "dev:")) for text in texts)
