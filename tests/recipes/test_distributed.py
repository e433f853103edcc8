"""A case in two real processes on the CPU: the losses of one, every test row once, a clear end for every failure."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from emobench.catalogue.methods import find_method
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.data.encode import Encoded
from emobench.data.material import Material
from emobench.errors import LostProcessError, NonFiniteLossError, SpecError, UnsupportedError
from emobench.processes import ranks as rank_processes
from emobench.processes.ranks import wait_for_all
from emobench.recipes import distributed as launching
from emobench.recipes.distributed import Answers, in_processes
from emobench.records.secrets import redact
from emobench.specs import CaseSpec, LaunchSpec, TrainSettings

ROOT = Path(__file__).parents[2]
DDP = LaunchSpec(wrapper="ddp", processes=2)
FSDP = LaunchSpec(
    wrapper="fsdp",
    processes=2,
    config={"distributed_type": "FSDP", "num_processes": 2, "use_cpu": True, "fsdp_config": {"fsdp_version": 2}},
)
CONNECTED = LaunchSpec(
    wrapper="ddp", processes=2, config={"distributed_type": "MULTI_GPU", "num_processes": 2, "use_cpu": True}
)


def rows(count: int, seed: int) -> Encoded:
    """Rows whose label is whether token 5 stands first."""
    rng = np.random.default_rng(seed)
    labels, lengths = rng.integers(0, 2, size=count), rng.integers(3, 20, size=count)
    texts = [
        np.concatenate([[5 if label else 6], rng.integers(10, 50, size=n - 1)])
        for label, n in zip(labels, lengths, strict=True)
    ]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Encoded(ids=np.concatenate(texts).astype(np.int32), offsets=offsets, labels=labels.astype(np.int64))


def material() -> Material:
    """83 training rows: ten steps of 8 and a last one of 3, of which the two ranks get two and one."""
    return Material(
        train=rows(83, 0),
        validation=rows(21, 1),
        test=rows(57, 2),
        class_names=("negative", "positive"),
        fingerprint="tiny",
        pad_id=0,
        padding_side="right",
        facts={},
    )


def case(launch: LaunchSpec, **changes: Any) -> CaseSpec:
    """Full fine-tuning of a random two-layer BERT without dropout; a token budget that cuts every longer step."""
    model = find_model("all-minilm-l6-v2")
    config = {
        **model.config,
        "vocab_size": 50,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    values: dict[str, Any] = {
        "kind": "finetune",
        "model": model.model_copy(update={"config": config}),
        "method": find_method("full"),
        "precision": "fp32",
        "device": "cpu",
        "launch": launch,
        "profile": find_profile("smoke").model_copy(update={"epochs": 1, "max_steps": None}),
        "train": TrainSettings(batch_size=8, token_budget=60, learning_rate=1e-3),
        "weights": "random",
        **changes,
    }
    return CaseSpec(**values)


def in_one_process(spec: CaseSpec) -> tuple[list[float], np.ndarray[Any, Any]]:
    """Losses and test probabilities of the same case in this process."""
    from emobench.evaluation.labels import predict
    from emobench.models.load import load_classifier
    from emobench.training.fit import fit
    from emobench.training.plan import plan_for

    made = material()
    loaded = load_classifier(
        spec.model, num_labels=2, class_names=made.class_names, method=spec.method, weights="random", seed=0
    )
    fitted = fit(loaded.model, made.train, plan_for(spec, seed=0, pad_id=0, padding_side="right"))
    found = predict(loaded.model, made.test, device="cpu", pad_id=0, padding_side="right")
    return list(fitted.losses), found.probabilities


@pytest.fixture(scope="module")
def alone() -> tuple[list[float], np.ndarray[Any, Any]]:
    return in_one_process(case(DDP))


LISTENED: set[str] = set()
"""Addresses that the ranks of the DDP case listened on."""


@pytest.fixture(scope="module")
def ddp() -> Answers:
    with listening(LISTENED) as watch:
        return in_processes(case(DDP), material(), seed=0, limit_seconds=300, started=watch)


@pytest.fixture(scope="module")
def fsdp() -> Answers:
    return in_processes(case(FSDP), material(), seed=0, limit_seconds=300)


@contextlib.contextmanager
def listening(found: set[str]) -> Iterator[Callable[[Sequence[int]], None]]:
    """Gather the addresses that given processes and their children listen on, looking five times a second."""
    done = threading.Event()

    def look(pids: Sequence[int]) -> None:
        while not done.wait(0.2):
            for pid in pids:
                with contextlib.suppress(psutil.Error):
                    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
                    for process in family:
                        links = process.net_connections(kind="inet")
                        found.update(link.laddr.ip for link in links if link.status == psutil.CONN_LISTEN)

    def watch(pids: Sequence[int]) -> None:
        threading.Thread(target=look, args=(pids,), daemon=True).start()

    try:
        yield watch
    finally:
        done.set()


def check_equal(found: Answers, alone: tuple[list[float], np.ndarray[Any, Any]]) -> None:
    losses, probabilities = alone
    assert len(losses) == found.fitted.steps == 11
    np.testing.assert_allclose(found.fitted.losses, losses, rtol=1e-4)
    np.testing.assert_allclose(found.scored.probabilities, probabilities, atol=1e-4)
    assert found.scored.labels == material().test.labels.tolist()
    assert found.fitted.samples_seen == 83
    assert found.fitted.tokens_seen == len(material().train.ids)
    assert found.fitted.validation, "the ranks validated"


@pytest.mark.slow
def test_ddp_has_the_losses_of_one_process(ddp: Answers, alone: tuple[list[float], np.ndarray[Any, Any]]) -> None:
    """Two gloo processes take the steps that one takes, the short last one included, and predict the same."""
    check_equal(ddp, alone)
    assert {entry["wrapper"] for entry in ddp.ranks} == {"ddp"}
    assert [(entry["rank"], entry["world_size"]) for entry in ddp.ranks] == [(0, 2), (1, 2)]
    assert {entry["class"] for entry in ddp.ranks} == {"DistributedDataParallel"}
    for entry in ddp.ranks:
        assert entry["parameter_bytes_held"] == entry["parameter_bytes"]


@pytest.mark.nightly
def test_sharding_has_the_losses_of_one_process(fsdp: Answers, alone: tuple[list[float], np.ndarray[Any, Any]]) -> None:
    """Sharded through torch's ``fully_shard`` on a CPU mesh: the same steps, and half of the parameters in each."""
    check_equal(fsdp, alone)
    assert {entry["wrapper"] for entry in fsdp.ranks} == {"fsdp"}
    whole = fsdp.ranks[0]["parameter_bytes"]
    held = [entry["parameter_bytes_held"] for entry in fsdp.ranks]
    assert sum(held) == whole
    assert all(0.45 * whole < part < 0.55 * whole for part in held)


@pytest.mark.slow
def test_every_rank_tells_its_memory(ddp: Answers) -> None:
    """The record's peak is the largest of the ranks', and each rank's own is kept."""
    peaks = [entry["memory"]["host_memory_peak_bytes"] for entry in ddp.ranks]
    assert len(peaks) == 2
    assert min(peaks) > 2**20
    assert {item.name: item.value for item in ddp.memory()}["host_memory_peak_bytes"] == max(peaks)
    assert json.dumps([dict(entry) for entry in ddp.ranks])


@pytest.mark.slow
def test_ranks_listen_on_the_loopback_alone(ddp: Answers) -> None:
    """The ranks meet through a file, and gloo's own sockets are on the loopback."""
    assert ddp.ranks
    assert LISTENED
    assert LISTENED.issubset({"127.0.0.1", "::1"})


@pytest.mark.nightly
def test_accelerate_launch_trains_two_gloo_processes(alone: tuple[list[float], np.ndarray[Any, Any]]) -> None:
    """``accelerate launch`` with MULTI_GPU and use_cpu starts two processes that train as one."""
    listened: set[str] = set()
    with listening(listened) as watch:
        found = in_processes(case(CONNECTED), material(), seed=0, limit_seconds=300, started=watch)
    check_equal(found, alone)
    assert listened == {"127.0.0.1"}
    assert [entry["world_size"] for entry in found.ranks] == [2, 2]


@pytest.mark.nightly
def test_accelerate_starting_one_process_for_two_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With MULTI_CPU ``accelerate launch`` starts one process and says nothing; the case does."""
    monkeypatch.setattr(launching, "starter", lambda launch, device: "accelerate")
    silent = LaunchSpec(
        wrapper="ddp", processes=2, config={"distributed_type": "MULTI_CPU", "num_processes": 2, "use_cpu": True}
    )
    with pytest.raises(UnsupportedError, match=r"over 2 processes was asked for, and rank 0 trains among 1; "):
        in_processes(case(silent), material(), seed=0, limit_seconds=300)


@pytest.mark.nightly
def test_ddp_for_fsdp_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where accelerate is left to shard on a CPU it wraps in DDP; the case fails with both names."""
    monkeypatch.setattr(launching, "shards_itself", lambda launch, device: False)
    with pytest.raises(UnsupportedError, match=r"fully_shard \(FSDP2\) over 2 processes .* wrapped in ddp"):
        in_processes(case(FSDP), material(), seed=0, limit_seconds=300)


@pytest.mark.nightly
def test_an_error_of_the_ranks_keeps_its_class() -> None:
    """A loss that is not finite ends all ranks, and the case with the same error as in one process."""
    spec = case(DDP, train=TrainSettings(batch_size=8, learning_rate=1e30, warmup_steps=0))
    with pytest.raises(NonFiniteLossError, match=r"the training loss is nan at step \d+"):
        in_processes(spec, material(), seed=0, limit_seconds=300)


@pytest.mark.nightly
def test_a_killed_rank_ends_the_case() -> None:
    """A rank killed in mid-training is named with its signal, soon, and no process is left."""
    killed: list[float] = []
    pids: list[int] = []

    def kill_second(started: Sequence[int]) -> None:
        pids.extend(started)

        def later() -> None:
            victim = psutil.Process(started[1])
            # Past its imports and in the group: gloo's connections are there. Then on to training.
            while not victim.net_connections(kind="inet"):
                time.sleep(0.2)
            time.sleep(3)
            killed.append(time.monotonic())
            os.kill(started[1], signal.SIGKILL)

        threading.Thread(target=later, daemon=True).start()

    spec = case(DDP, profile=find_profile("smoke").model_copy(update={"epochs": 3000, "max_steps": None}))
    with pytest.raises(LostProcessError, match=r"rank 1 of 2 ended with exit code -9 \(SIGKILL\)"):
        in_processes(spec, material(), seed=0, limit_seconds=300, started=kill_second)
    assert time.monotonic() - killed[0] < 20
    assert not any(psutil.pid_exists(pid) for pid in pids)


def sleepers(*codes: str) -> list[subprocess.Popen[bytes]]:
    return [subprocess.Popen([sys.executable, "-c", code], start_new_session=True) for code in codes]


def test_waiting_names_the_first_to_die_and_ends_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process dies by a signal, another fails after it, a third would sleep for an hour: all end at once."""
    monkeypatch.setattr(rank_processes, "GRACE_SECONDS", 1.0)
    processes = sleepers(
        "import time; time.sleep(3600)",
        "import sys, time; time.sleep(0.2); sys.exit(1)",
        "import os; os.kill(os.getpid(), 9)",
    )
    before = time.monotonic()
    ended = wait_for_all(processes, limit_seconds=None)
    assert time.monotonic() - before < 10
    assert (list(ended.codes), ended.first) == ([None, 1, -9], 2)
    assert all(process.poll() is not None for process in processes)


def test_waiting_has_a_limit(tmp_path: Path) -> None:
    """Ranks that hang end with the case after its limit, and are named."""
    processes = sleepers("import time; time.sleep(3600)", "pass")
    ended = wait_for_all(processes, limit_seconds=1.0)
    assert (list(ended.codes), ended.first) == ([None, 0], None)
    with pytest.raises(LostProcessError, match=r"ranks 0 had not ended after 1 s; the last words of rank 0 were: none"):
        rank_processes.check_ended(ended, "emobench", tmp_path, DDP, limit_seconds=1.0)


def test_last_words_and_exit_code_are_told(tmp_path: Path) -> None:
    """A rank that died of an exception is shown with its last line; secrets in it are hidden."""
    (tmp_path / "rank-1.log").write_text("Traceback ...\nValueError: no such thing hf_" + "a" * 34 + "\n\n")
    ended = rank_processes.Ended(codes=[1, 1], first=1)
    with pytest.raises(LostProcessError, match=r"rank 1 of 2 ended with exit code 1; .*no such thing") as caught:
        rank_processes.check_ended(ended, "emobench", tmp_path, DDP, redact=redact)
    assert "hf_aaaa" not in str(caught.value)


def test_torchrun_names_the_rank(tmp_path: Path) -> None:
    """Under ``accelerate launch`` rank and code are those of torchrun's root cause, not the launcher's own."""
    report = (
        "Failures:\n[1]:\n  rank      : 0 (local_rank: 0)\n  exitcode  : 1 (pid: 5)\n"
        "------\nRoot Cause (first observed failure):\n[0]:\n  time      : today\n  host      : h\n"
        "  rank      : 1 (local_rank: 1)\n  exitcode  : -9 (pid: 6)\n"
    )
    (tmp_path / "launch.log").write_text(report)
    with pytest.raises(LostProcessError, match=r"rank 1 of 2 ended with exit code -9 \(SIGKILL\)"):
        rank_processes.check_ended(rank_processes.Ended(codes=[1], first=0), "accelerate", tmp_path, DDP)


def test_fewer_answers_than_processes_are_an_error(tmp_path: Path) -> None:
    """A launcher that starts one process for two, and ends well, is found by the answer that is not there."""
    (tmp_path / "rank-0.json").write_text("{}")
    with pytest.raises(UnsupportedError, match=r"2 processes were asked for, and 1 answered; the launcher started"):
        rank_processes.check_ended(rank_processes.Ended(codes=[0], first=None), "accelerate", tmp_path, DDP)


def test_a_rank_s_error_comes_back(tmp_path: Path) -> None:
    """What a rank wrote down is raised in its class with its three parts."""
    parts = {"kind": "SpecError", "problem": "p", "why": "w", "fix": "f"}
    (tmp_path / "rank-1-error.json").write_text(json.dumps(parts))
    with pytest.raises(SpecError, match=r"^p; w; f$"):
        rank_processes.check_ended(rank_processes.Ended(codes=[1, 3], first=0), "emobench", tmp_path, DDP)


def test_what_a_machine_cannot_do_is_said_before_anything_starts() -> None:
    """Precision, device and the number of GPUs are looked at first."""
    fsdp = case(FSDP, precision="nf4", method=find_method("lora"))
    assert fsdp.launch is not None
    with pytest.raises(UnsupportedError, match=r"fsdp-x2\] in 2 processes; fsdp shards weights of one dtype"):
        launching.check_machine(fsdp.launch, fsdp)
    many = case(LaunchSpec(wrapper="ddp", processes=999), device="cuda")
    assert many.launch is not None
    with pytest.raises(UnsupportedError, match=r"999 processes on \d+ GPUs; each process needs a GPU of its own"):
        launching.check_machine(many.launch, many)


@pytest.mark.slow
def test_accelerates_launcher_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """A case that is killed leaves no launcher, and so no ranks of it, that go on training."""
    if sys.platform != "linux":
        pytest.skip("only Linux' kernel ends a process with its parent")
    place = tmp_path / "accelerate" / "commands"
    place.mkdir(parents=True)
    for folder in (place.parent, place):
        (folder / "__init__.py").touch()
    (place / "launch.py").write_text("import sys, time\nprint(*sys.argv[1:], flush=True)\ntime.sleep(99)\n")
    code = (
        "import os, subprocess, sys, time; from emobench.processes.ranks import LAUNCHER; "
        "p = subprocess.Popen([sys.executable, '-c', LAUNCHER, str(os.getpid()), 'told'], stdout=subprocess.PIPE); "
        "print(p.pid, p.stdout.readline().decode().strip(), flush=True); time.sleep(99)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        pid, told = started.stdout.readline().split()
        assert told == b"told"
        launcher = psutil.Process(int(pid))
        started.kill()
    with contextlib.suppress(psutil.NoSuchProcess):
        launcher.wait(10)
    assert not launcher.is_running() or launcher.status() == psutil.STATUS_ZOMBIE


def collected(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_cases_of_several_processes_are_there_where_asked_for() -> None:
    """Without an option the file has no case, and says which option gives it some; the others know nothing of it."""
    asked = collected("benchmarks/test_distributed.py", "--emo-processes", "2")
    assert asked.returncode == 0
    assert int(asked.stdout.split()[-1]) > 50
    without = collected("benchmarks/test_distributed.py")
    assert "add --emo-processes N or --emo-accelerate FILE" in without.stdout
    assert without.returncode == 2
    assert "test_distributed" not in collected("benchmarks").stdout
    wrong = collected("benchmarks/test_distributed.py", "--emo-accelerate", "nowhere.yaml")
    assert "--emo-accelerate nowhere.yaml; it cannot be read (No such file or directory)" in wrong.stderr


@pytest.mark.slow
def test_a_benchmark_keeps_what_every_rank_gave(tmp_path: Path) -> None:
    """Through pytest: one record, written by the parent, with wrapper, world size and each rank's memory."""
    command = [sys.executable, "-m", "pytest", "benchmarks/test_distributed.py", "-q", "-p", "no:cacheprovider"]
    command += [
        "--emo-processes",
        "2",
        "--emo-profile",
        "smoke",
        "--emo-weights",
        "random",
        *("--emo-set=max_length=16", "--emo-set=train=64", "--emo-set=validation=16", "--emo-set=test=64"),
    ]
    command += ["-k", "minilm and full and fp32 and cpu", f"--benchmark-storage=file://{tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    (saved,) = tmp_path.glob("*/0001_*.json")
    record = json.loads(saved.read_bytes())["benchmarks"][0]["extra_info"]["emobench"]
    assert record["case"]["launch"] == "ddp-x2"
    assert record["case"]["id"].endswith("-fp32-cpu-ddp-x2]")
    ranks = record["details"]["launch"][0]["ranks"]
    assert [(rank["rank"], rank["wrapper"], rank["world_size"]) for rank in ranks] == [(0, "ddp", 2), (1, "ddp", 2)]
    peaks = [rank["memory"]["host_memory_peak_bytes"] for rank in ranks]
    assert record["metrics"]["host_memory_peak_bytes"]["value"] == max(peaks)
    assert "trained in 2 processes, wrapped in DistributedDataParallel" in record["details"]["notes"]


def test_nothing_of_an_outer_launcher_reaches_the_ranks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Variables of a launcher around pytest would send the ranks into its group; sockets stay on the loopback."""
    for name in ("WORLD_SIZE", "MASTER_ADDR", "ACCELERATE_USE_FSDP", "FSDP_VERSION", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "7")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    (_, first), (_, second) = rank_processes._own_ranks(DDP, tmp_path)
    assert (first["RANK"], second["RANK"], first["WORLD_SIZE"]) == ("0", "1", "2")
    assert first["MASTER_ADDR"] == "127.0.0.1"
    assert first["GLOO_SOCKET_IFNAME"] in ("lo", "lo0")
    assert "ACCELERATE_USE_FSDP" not in first
    assert "FSDP_VERSION" not in first
    assert "TORCHELASTIC_RUN_ID" not in first
