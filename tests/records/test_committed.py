"""What goes into a baseline: no credential, no user name, no host, no environment, no argument; every figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.utils import get_commit_info

from emobench.errors import BaselineError
from emobench.records.baselines import FOLDER, load_baseline
from emobench.records.bless import bless
from emobench.records.index import read_index
from tests.records.made_runs import make_run

SECRETS = {
    "remote": "s3cretpassword",
    "user": "alice",
    "host": "alices-laptop",
    "hub": "hf_abcdefghijklmnopqrstuv",
    "github": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "variable": "correct-horse-battery",
    "plugin": "added-by-a-hook",
    "argument": "typed-by-someone",
}


def with_secrets(raw: dict[str, Any]) -> None:
    """A run as careless hooks, remotes, exceptions and arguments would leave it."""
    raw["machine_info"].update(node=SECRETS["host"], env={"X": SECRETS["plugin"]}, release="6.1")
    raw["commit_info"].update(
        remote=f"https://alice:{SECRETS['remote']}@host.example/me/repo.git",
        project=f"alice:{SECRETS['remote']}@host.example".join(["https://", "/x"]),
        error=f"fatal in /home/alice/{SECRETS['plugin']}",
    )
    raw["hook"] = SECRETS["plugin"]
    raw["emobench"]["run"].update(arguments=["--emo-set", SECRETS["argument"]], note=SECRETS["plugin"])
    bench = raw["benchmarks"][0]
    bench["fullname"] = "/home/alice/project/" + bench["fullname"]
    bench["extra_info"]["comment"] = SECRETS["plugin"]
    bench["note"] = SECRETS["plugin"]
    record = bench["extra_info"]["emobench"]
    record["environment"].update(HF_TOKEN=SECRETS["hub"], device_name="Xeon")
    record["details"]["notes"] = [
        f"GET https://alice:{SECRETS['remote']}@mirror.example/x failed",
        f"Authorization: Bearer {SECRETS['github']}",
        f"the variable holds {SECRETS['variable']}.",
        "loaded from /home/alice/models and C:\\Users\\alice\\models",
    ]
    record["details"][f"token {SECRETS['hub']}"] = 1
    record["artifacts"]["model_seed0"] = f"/home/alice/{SECRETS['plugin']}"


def blessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REGISTRY_PASSWORD", SECRETS["variable"])
    run = make_run(tmp_path, cases=2, predictions_rows=10)
    raw = json.loads(run.read_text())
    with_secrets(raw)
    run.write_text(json.dumps(raw))
    bless([run], "main", tmp_path)
    return run


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_no_secret_reaches_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Neither names nor contents of a baseline's files hold it, once the index is there as well."""
    blessed(tmp_path, monkeypatch)
    assert load_baseline("main", tmp_path).runs[0].redacted > 0
    paths = [path for path in (tmp_path / FOLDER).rglob("*") if path.is_file()]
    assert len(paths) == 4
    for path in paths:
        assert SECRETS[name] not in str(path.relative_to(tmp_path))
        assert SECRETS[name].encode() not in path.read_bytes()


def test_what_is_compared_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids, keys, figures, hardware, commit and the words around a secret are as they were."""
    run = blessed(tmp_path, monkeypatch)
    found, wanted = load_baseline("main", tmp_path).indexes[0], read_index(run)
    for name in ("id", "key", "hardware", "status", "profile"):
        assert getattr(found, name).tolist() == getattr(wanted, name).tolist()
    assert (found.facts.commit, found.facts.profile) == (wanted.facts.commit, "quick")
    content = load_baseline("main", tmp_path).runs[0].path.read_text()
    assert "@mirror.example" in content or "://mirror.example/x failed" in content
    assert "loaded from ~/models" in content


def test_an_id_that_holds_a_secret_is_refused(tmp_path: Path) -> None:
    """Cases are joined by id, so it cannot be changed silently; and the error does not tell it."""
    run = make_run(tmp_path, cases=1)
    run.write_text(run.read_text().replace("inference[model-00000", f"inference[{SECRETS['hub']}"))
    with pytest.raises(BaselineError, match="the id of a case holds") as caught:
        bless([run], "main", tmp_path)
    assert SECRETS["hub"] not in str(caught.value)


def test_pytest_benchmarks_commit_info_has_no_fields_we_do_not_know() -> None:
    """A new field of pytest-benchmark's would be dropped: decide then whether it may stay."""
    assert set(get_commit_info("x")) - {"error"} <= {"id", "time", "author_time", "dirty", "project", "branch"}
