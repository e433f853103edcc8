"""Ray for real: a cluster of several nodes on this machine, a worker that is killed and a node that goes away.

The cluster runs in a process of its own: what Ray leaves in a process, such as threads, stays out of the other tests.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from emobench.errors import UnsupportedError
from emobench.executors.ray import RayExecutor, _settings
from tests.lightly import lightly
from tests.strict import strict_ini

SUITE = """
import os, signal, sys, time
from pathlib import Path
import pytest
from emobench.outcomes import metric
pytestmark = pytest.mark.inference

if "emobench.executors.child" in sys.modules:
    name = sys.argv[-1]
    if "test_worker" in name:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(100)
    if "test_node" in name:
        Path("on_node").write_text(str(os.getppid()))
        time.sleep(100)

def axes(*sizes):
    rows = [("all-minilm-l6-v2", "fp32", "cpu", size) for size in sizes]
    return pytest.mark.parametrize("model,precision,device,batch_size", rows)

@axes(1)
def test_worker(case, model, precision, device, batch_size): pass
@axes(2)
def test_node(case, model, precision, device, batch_size): pass
@axes(3, 4)
def test_good(case, model, precision, device, batch_size):
    case.time(lambda: sum(range(1000)))
    case.add([metric("accuracy", 0.75, ci=(0.7, 0.8), n=400)])
    assert "RAY_AUTH_TOKEN" not in os.environ
@axes(5)
def test_bad(case, model, precision, device, batch_size):
    assert 1 == 2
"""
CLUSTER = """
import json, logging, os, subprocess, sys, threading, time
from pathlib import Path
import psutil
import ray
from ray.cluster_utils import Cluster

health = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
head = {"num_cpus": 0, "include_dashboard": False, "_system_config": health}
cluster = Cluster(initialize_head=True, head_node_args=head)
nodes = [cluster.add_node(num_cpus=1, include_dashboard=False) for _ in range(3)]

def raylet(node):
    return node.all_processes["raylet"][0].process.pid

def remove():
    marker = Path("on_node")
    while not marker.exists() or not marker.read_text():
        time.sleep(0.2)
    worker = psutil.Process(int(marker.read_text()))
    above = {process.pid for process in worker.parents()}
    (node,) = [node for node in nodes if raylet(node) in above]
    cluster.remove_node(node, allow_graceful=False)

threading.Thread(target=remove, daemon=True).start()
listening = {
    connection.laddr.ip
    for process in psutil.Process().children(recursive=True)
    for connection in process.net_connections()
    if connection.status == psutil.CONN_LISTEN
}
done = subprocess.run([sys.executable, "-m", "pytest", f"--emo-address={cluster.address}", *sys.argv[1:]], timeout=400)
refused = subprocess.run(
    [sys.executable, "-m", "pytest", f"--emo-address={cluster.address}", *sys.argv[1:]],
    env={**os.environ, "RAY_AUTH_TOKEN": "0" * 64}, capture_output=True, text=True, timeout=200,
)
said = refused.stdout + refused.stderr
found = {"code": done.returncode, "listening": sorted(listening), "refused": refused.returncode, "said": said}
Path("found.json").write_text(json.dumps(found))
cluster.shutdown()
"""
ARGUMENTS = ("--emo-profile=smoke", "--emo-reruns=0", "--benchmark-storage=file://./results", "-p", "no:cacheprovider")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """The suite on a cluster of a head and three nodes, one of which is removed while it runs a case."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("the extra ray is not installed")
    place = tmp_path_factory.mktemp("cluster")
    (place / "pytest.ini").write_text(strict_ini())
    (place / "test_suite.py").write_text(SUITE)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "RAY_"))}
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, *ARGUMENTS, "--emo-executor=ray", "--emo-time-limit=120"],
        cwd=place,
        env=lightly({**kept, **_settings(None)}),
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )
    assert (place / "found.json").exists(), done.stdout + done.stderr
    return place, json.loads((place / "found.json").read_text()), done.stdout


def statuses(place: Path) -> dict[str, tuple[str, list[str]]]:
    (path,) = place.glob("results/*/[0-9]*.json")
    content = json.loads(path.read_text())
    records = [bench["extra_info"]["emobench"] for bench in content["benchmarks"]]
    records += content["emobench"]["unmeasured"]
    return {record["case"]["id"][-2:-1]: (record["status"], record["reasons"]) for record in records}


@pytest.mark.slow
def test_a_session_on_ray_of_this_machine(tmp_path: Path) -> None:
    """Without an address Ray is started here: what ended well is kept, a killed worker loses its case and no other."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("the extra ray is not installed")
    (tmp_path / "pytest.ini").write_text(strict_ini())
    (tmp_path / "test_suite.py").write_text(SUITE)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "RAY_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *ARGUMENTS, "--emo-executor=ray", "-k", "worker or good"],
        cwd=tmp_path,
        env=lightly(kept),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 11, done.stdout + done.stderr
    rows = statuses(tmp_path)
    assert {name: status for name, (status, _) in rows.items()} == {"1": "lost", "3": "ok", "4": "ok"}
    assert "Ray lost it: WorkerCrashedError" in rows["1"][1][0]


@pytest.mark.nightly
def test_a_killed_worker_and_a_removed_node_lose_their_cases_only(ran: tuple[Path, dict[str, Any], str]) -> None:
    """The case of each is a row of status lost that says why; all others are there, and the exit code is 11."""
    place, found, output = ran
    assert found["code"] == 11, output
    rows = statuses(place)
    assert {name: status for name, (status, _) in rows.items()} == {
        "1": "lost",
        "2": "lost",
        "3": "ok",
        "4": "ok",
        "5": "failed",
    }
    assert "Ray lost it: WorkerCrashedError" in rows["1"][1][0]
    assert "Ray lost it: " in rows["2"][1][0]
    assert "3 failed, 2 passed" in output
    folder = next(place.glob("results/runs/*"))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(manifest["cases"]) == 5


@pytest.mark.nightly
def test_nothing_listens_beyond_this_machine(ran: tuple[Path, dict[str, Any], str]) -> None:
    """With the settings that a cluster of this machine is started with, its processes listen on loopback alone."""
    _, found, _ = ran
    assert found["listening"]
    assert {address.removeprefix("::ffff:") for address in found["listening"]} <= {"127.0.0.1", "::1"}


@pytest.mark.nightly
def test_a_wrong_token_is_refused(ran: tuple[Path, dict[str, Any], str]) -> None:
    """Without the cluster's token nothing runs there, and the error says so in one line."""
    _, found, _ = ran
    assert found["refused"] == 4
    assert "no Ray cluster can be used at 127.0.0.1:" in found["said"]
    assert "oken" in found["said"]


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Ray the error names the command that installs it, and the environment is as before."""
    monkeypatch.setitem(sys.modules, "ray", None)
    before = dict(os.environ)
    with pytest.raises(ImportError, match=r'--executor ray needs the package .ray.*run: pip install "emobench\[ray\]"'):
        list(RayExecutor().run([]))
    assert dict(os.environ) == before


def test_ray_that_was_imported_before_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray imported by somebody else listens everywhere and has read its settings: an error instead of a cluster."""
    monkeypatch.setitem(sys.modules, "ray", type(sys)("ray"))
    monkeypatch.setattr("emobench.executors.ray._IMPORTED_WITH", {})
    with pytest.raises(UnsupportedError, match="Ray was imported before it could be told what to do; it has read RAY_"):
        list(RayExecutor().run([]))


def test_the_users_choice_of_authentication_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is asked for unless the user says otherwise; a cluster of this machine gets a new one each time."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    assert _settings("head:6379")["RAY_AUTH_MODE"] == "token"
    assert "RAY_AUTH_TOKEN" not in _settings("head:6379")
    assert _settings(None)["RAY_AUTH_TOKEN"] != _settings(None)["RAY_AUTH_TOKEN"]
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert _settings("head:6379")["RAY_AUTH_MODE"] == "disabled"
