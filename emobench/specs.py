"""Specs: what to do, in words that can be checked, hashed and stored. Nothing here loads or runs anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, PlainSerializer

from emobench.kinds import Kind, Work, find_kind

RESULT_VERSION = 2
"""Raised when EmoBench changes in a way that moves results: part of every case's key."""

Precision = Literal["fp32", "bf16", "fp16", "int8", "int8-bnb", "nf4"]
DeviceKind = Literal["cpu", "cuda", "mps"]
Backend = Literal["eager", "compile", "onnxruntime"]
MethodName = Literal["head", "full", "lora"]
ShrinkName = Literal["prune-structured", "prune-magnitude", "quantize-int8", "distill"]
Weights = Literal["pretrained", "random"]
TargetGroup = Literal["attention", "mlp"]
Wrapper = Literal["ddp", "fsdp", "deepspeed"]


class Spec(BaseModel):
    """Base of all specs: frozen, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LearningRates(Spec):
    """Peak learning rate per method."""

    head: float = 1e-3
    full: float = 2e-5
    lora: float = 2e-4


class LoraTargets(Spec):
    """Names of the linear modules LoRA adapts, by group, as peft matches them (name endings)."""

    attention: tuple[str, ...]
    mlp: tuple[str, ...]


class PackagedWeights(Spec):
    """Weights that come as an ordinary Python package."""

    package: str
    """Distribution name, as pip knows it."""
    module: str
    """Import name; found without being imported."""
    extra: str
    """EmoBench extra that installs it."""
    folder: str = ""
    """Folder inside the module that ``from_pretrained`` reads."""
    format: Literal["safetensors", "gguf"] = "safetensors"
    sha256: str
    """Of the weights file (safetensors), or of the assembled GGUF file."""


class ModelSpec(Spec):
    """One row of the model catalogue."""

    id: str
    hub_id: str
    revision: str = "main"
    family: str
    kind: Literal["encoder", "decoder"]
    license: str
    gated: bool = False
    context: int
    """Longest input in tokens the position encoding was made for."""
    config: Mapping[str, Any]
    """The transformers configuration (``model_type`` and every architecture number), enough to build the model."""
    parameters: Mapping[str, int]
    """Published parameter count by the class that was counted; sequence classifiers have two labels."""
    lora_targets: LoraTargets
    head_modules: tuple[str, ...]
    """Modules a classifier adds to the pretrained body: trained by every method and saved with adapters."""
    padding_side: Literal["left", "right"] = "right"
    """Side padded for classification; generation always pads left."""
    learning_rates: LearningRates = LearningRates()
    packaged: PackagedWeights | None = None
    path: str | None = None
    """Folder with a saved model, for rows of the user's own."""
    labels: tuple[str, ...] | None = None
    """Class names, where the hub model is a ready classifier."""

    def is_for(self, kind: Kind) -> bool:
        """Whether there are cases of this kind with this model."""
        return kind.takes(decoder=self.kind == "decoder", ready=self.labels is not None)


class DatasetSpec(Spec):
    """One row of the data set catalogue: where rows come from and how they become (text, label)."""

    id: str
    title: str
    license: str
    source: Literal["hub", "package", "kaggle", "file", "random"]
    location: str
    """Hub id, package name, Kaggle ``owner/name`` or file path, by ``source``; ``random`` rows are drawn as tokens."""
    revision: str = "main"
    files: Mapping[str, str] = Field(default_factory=dict)
    """Split name (``train``, ``validation``, ``test``) to file or glob inside the location."""
    module: str = ""
    """Import name of a packaged data set."""
    extra: str = ""
    """EmoBench extra that installs a packaged data set."""
    text: str = "text"
    """Column with the text."""
    label: str = "label"
    """Column with the label."""
    labels: tuple[str, ...] = ("negative", "positive")
    """Class names; their order gives the class index."""
    label_map: Mapping[str, str | None] = Field(default_factory=dict)
    """Raw value (as text) to class name; None drops the row. A raw value that is a class name maps to itself."""
    where: Mapping[str, str] = Field(default_factory=dict)
    """Column to value (as text): other rows of the file belong to another data set."""
    encoding: str = "utf-8"
    rows: int = 10_000
    """About how many rows there are; used only to tell slow cases from quick ones."""
    mean_tokens: int = 128
    """About how many tokens a text has; used only to tell slow cases from quick ones."""


class ShrinkSettings(Spec):
    """How a trained classifier is made smaller. A method reads the fields it needs and leaves the others alone."""

    layers_kept: float = Field(1.0, gt=0, le=1)
    """Share of the layers that stay."""
    neurons_kept: float = Field(1.0, gt=0, le=1)
    """Share of each layer's MLP neurons that stay; the same number in every layer."""
    heads_kept: float = Field(1.0, gt=0, le=1)
    """Share of each layer's attention heads that stay, where the model's configuration can say so."""
    sparsity: float = Field(0.0, ge=0, lt=1)
    """Share of each linear layer's weights that a mask sets to zero."""
    pattern: Literal["any", "2:4"] = "any"
    """Which weights a mask may hit: any, or two of every four along the input (``sparsity`` is then one half)."""
    calibration_rows: int = Field(256, ge=1)
    """Training rows that importance is taken from."""
    epochs: float = Field(0.0, ge=0)
    """Passes over the training rows after shrinking; 0 leaves the weights as shrinking made them."""
    teach: bool = False
    """Train those epochs on the original's logits and hidden states, not on the labels alone."""
    temperature: float = Field(2.0, gt=0)
    """Softens both distributions, which are compared by KL divergence times its square (Hinton et al. 2015)."""
    soft_share: float = Field(0.9, ge=0, le=1)
    """Weight of the original's distribution in the loss; the labels get the rest."""
    hidden_weight: float = Field(1.0, ge=0)
    """Weight of the mean squared difference of the hidden states."""


class MethodSpec(Spec):
    """How the weights are trained, or how a trained model is shrunk. ``lora`` at precision nf4 is QLoRA."""

    id: MethodName | ShrinkName
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.1
    targets: tuple[TargetGroup, ...] = ("attention", "mlp")
    shrink: ShrinkSettings | None = None
    """Of the shrinking methods only."""


class Profile(Spec):
    """Sizes of a case. Every number is part of the case's key."""

    id: str
    train: int | None
    """Training rows; None takes all there are."""
    validation: int | None
    test: int | None
    epochs: int
    max_length: int
    """Longest input in tokens; longer texts are truncated."""
    early_stopping_patience: int | None = None
    """Evaluations without a better validation accuracy before training stops; None never stops early."""
    max_steps: int | None = None
    """Optimizer steps after which training stops whatever the epochs say."""
    latency_seconds: float = 2.0
    """Least time of a latency case's measured rounds."""
    latency_cap_seconds: float = 8.0
    """Time after which a latency case adds no rounds, however wide its median's interval still is."""
    latency_rounds: int = 10
    """Fewest measured rounds of a latency case."""
    spread_limit: float | None = 0.5
    """Interquartile range over the median beyond which a latency case is invalid; None never is."""
    new_tokens: int = 32
    """Tokens a generation case produces; the end-of-text token is disabled, so the work is constant."""
    prompt_tokens: int = 128


class TrainSettings(Spec):
    """Everything else that decides a training run."""

    learning_rate: float | None = None
    """Peak rate; None takes the model row's rate for the method."""
    batch_size: int = Field(32, ge=1)
    """Examples per optimizer step."""
    token_budget: int = Field(8192, ge=1)
    """Most padded tokens in one forward pass of training; a step over it is split and its gradients accumulated."""
    warmup_steps: int = Field(500, ge=0)
    """Warm-up, cut to a tenth of all steps."""
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    gradient_checkpointing: bool = False
    split_seed: int = 0
    """Seed of the train/validation/test split; the same for every training seed, so that examples stay paired."""


class LaunchSpec(Spec):
    """How one case runs in several processes."""

    wrapper: Wrapper
    """What trains the model: ``DistributedDataParallel``, FSDP2 (``fully_shard``) or DeepSpeed's engine."""
    processes: int = Field(ge=1)
    config: Mapping[str, Any] | None = None
    """Content of the accelerate configuration it was asked for with; None where only a number of processes was."""

    @property
    def id(self) -> str:
        """Wrapper and processes, as in ``ddp-x2``."""
        return f"{self.wrapper}-x{self.processes}"


KindRow = Annotated[
    InstanceOf[Kind],
    BeforeValidator(lambda given: find_kind(given) if isinstance(given, str) else given),
    PlainSerializer(lambda kind: kind.name, return_type=str),
]
"""A kind's row; the name of one of EmoBench's own stands for it, and is what is written."""


class CaseSpec(Spec):
    """Model x data x method x precision x device (x batch size): one benchmark case."""

    kind: KindRow
    model: ModelSpec
    dataset: DatasetSpec | None = None
    method: MethodSpec | None = None
    precision: Precision
    device: DeviceKind
    batch_size: int | None = None
    length: int | None = None
    """Tokens of each input of a timed forward pass; None takes the profile's ``prompt_tokens``."""
    backend: Backend = "eager"
    """What runs the forward pass."""
    launch: LaunchSpec | None = None
    """Several processes for this one case; None is one."""
    profile: Profile
    train: TrainSettings = TrainSettings()
    seeds: tuple[int, ...] = (0,)
    weights: Weights = "pretrained"

    @property
    def id(self) -> str:
        """What a person types after ``-k``: the kind and the axes, never an object's repr."""
        parts = [
            self.model.id,
            self.dataset.id if self.dataset else None,
            self.method.id if self.method else None,
            self.precision,
            self.device,
            None if self.batch_size is None else f"b{self.batch_size}",
            None if self.length is None else f"t{self.length}",
            None if self.backend == "eager" else self.backend,
            None if self.launch is None else self.launch.id,
        ]
        return f"{self.kind.name}[{'-'.join(part for part in parts if part)}]"

    def key(
        self, *, data_fingerprint: str = "", model_revision: str = "", versions: Mapping[str, str] | None = None
    ) -> str:
        """Hash of everything that decides the result; equal key means the same experiment.

        ``model_revision`` and ``data_fingerprint`` are what was really loaded (a commit or a checksum), ``versions``
        those of the packages that compute.
        """
        content = {
            "version": RESULT_VERSION,
            "spec": self.deciding(),
            "data": data_fingerprint,
            "revision": model_revision,
            "versions": dict(versions or {}),
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def trains(self) -> bool:
        """Whether the case trains: evaluation trains the head of a model that is no ready classifier."""
        return self.training is not None

    @property
    def training(self) -> Work | None:
        """The training that is part of the case's work; None where nothing is trained."""
        return self.kind.training(ready=self.model.labels is not None)

    def deciding(self) -> dict[str, Any]:
        """The fields that decide the result of a case of this kind, as plain values.

        Where rows and weights lie and what is said of them decides nothing: fingerprint and revision stand for them.
        Nor does the limit beyond which a result is not believed, or what another kind of case is set to.
        """
        rows = {"location", "files", "title", "license", "rows", "mean_tokens", "revision", "source", "module", "extra"}
        weights = {"path", "parameters", "license", "gated", "hub_id", "revision", "packaged"}
        if not self.trains:
            weights |= {"learning_rates", "lora_targets"}
        found = self.model_dump(
            mode="json", exclude={"dataset": rows, "model": weights, "profile": True, "train": True}
        )
        found["profile"] = self.profile.model_dump(mode="json", include=set(self.kind.profile_fields))
        return found | ({"train": self.train.model_dump(mode="json")} if self.trains else {})

    def summary(self) -> dict[str, Any]:
        """The case as flat plain values for a record."""
        launch = {} if self.launch is None else {"launch": self.launch.id}
        return {
            "id": self.id,
            "kind": self.kind.name,
            "model": self.model.id,
            "dataset": self.dataset.id if self.dataset else None,
            "method": self.method.id if self.method else None,
            "precision": self.precision,
            "device": self.device,
            "batch_size": self.batch_size,
            "length": self.length,
            "backend": self.backend,
            "profile": self.profile.id,
            "weights": self.weights,
            "seeds": list(self.seeds),
            **launch,
        }
