"""Checkpoints named by a user: what each is, its classes, and how to load it. Nothing is loaded before it is asked for.

Three kinds: folders that EmoBench saved, peft adapters on a named base, and any transformers sequence classifier.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from emobench.catalogue.combinations import QUANTIZED
from emobench.catalogue.model_rows import MODELS
from emobench.commands.label_names import generic_names
from emobench.commands.project_place import Place
from emobench.errors import BrokenFileError, SpecError, UnsupportedError
from emobench.specs import DeviceKind, LoraTargets, ModelSpec, Precision

if TYPE_CHECKING:
    from emobench.models.load import LoadedModel

ADAPTER_CONFIG = "adapter_config.json"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
_HEADS = ("pooler", "pre_classifier", "classifier", "classification_head", "score")
"""What transformers calls the modules a sequence classifier adds."""
_NOT_ARCHITECTURE = frozenset(
    {"id2label", "label2id", "num_labels", "architectures", "dtype", "torch_dtype", "transformers_version"}
    | {"_name_or_path", "name_or_path", "problem_type"}
)
"""Entries of a ``config.json`` that say nothing of the architecture, or that loading sets itself."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A classifier that can be loaded."""

    given: str
    """As the user named it."""
    name: str
    """Short, for ids and tables; different for each of several."""
    kind: Literal["saved model", "saved adapter", "adapter", "classifier"]
    spec: ModelSpec
    class_names: tuple[str, ...]
    folder: Path
    tokenizer_folder: Path | None
    """Where its tokenizer lies; None takes the row's."""
    precision: Precision
    method: str | None = None
    seed: int = 0
    load: Callable[[DeviceKind, Say], LoadedModel] = field(repr=False)


def open_checkpoints(
    given: Sequence[str], place: Place, *, base: str | None, precision: Precision | None, say: Say
) -> list[Checkpoint]:
    """Find out what each of the given names is; files are verified, nothing is loaded.

    ``base`` is the model an adapter belongs on. ``precision`` None is the one of training, or fp32.

    Raises:
        SpecError: a name that is neither a folder nor a model, a model without classes, or a base nobody needs.
        BrokenFileError: a folder that is incomplete or was changed.
        NotOnMachineError: a model of the catalogue that is not here.
        UnsupportedError: a model that is no sequence classifier, or of a kind transformers does not know.
    """
    row = place.find_model(base) if base is not None else None
    found = [
        replace(_open(text, place, base=row, precision=precision, say=say), name=name)
        for text, name in zip(given, short_names(given), strict=True)
    ]
    if row is not None and not any("adapter" in item.kind for item in found):
        raise SpecError(
            f"--base {base} without an adapter",
            why=f"{', '.join(item.given for item in found)}: whole models, which have no base",
            fix="leave --base out",
        )
    return found


def short_names(given: Sequence[str]) -> list[str]:
    """The last part of each path, or as many parts as make them different.

    Raises:
        SpecError: the same checkpoint is given twice.
    """
    parts = [Path(text).resolve().parts if Path(text).exists() else (text.replace("/", "_"),) for text in given]
    twice = next((text for text, part in zip(given, parts, strict=True) if parts.count(part) > 1), None)
    if twice is not None:
        raise SpecError(f"checkpoint {twice!r} is given twice", why="each gives one row", fix="name it once")
    for count in range(1, max(map(len, parts), default=0) + 1):
        names = ["_".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def _open(text: str, place: Place, *, base: ModelSpec | None, precision: Precision | None, say: Say) -> Checkpoint:
    folder = Path(text)
    if not folder.is_dir():
        return _open_row(text, place, precision)
    from emobench.models.save import RECORD_FILE

    if (folder / RECORD_FILE).is_file():
        return _open_saved(text, folder, base, precision)
    if (folder / ADAPTER_CONFIG).is_file():
        return _open_adapter(text, folder, place, base, precision)
    if (folder / "config.json").is_file():
        return _open_classifier(text, folder, precision)
    raise SpecError(
        f"{text} holds no checkpoint",
        why=f"it has none of {RECORD_FILE}, {ADAPTER_CONFIG} and config.json",
        fix="name a folder that a model or an adapter was saved in",
    )


def _open_saved(text: str, folder: Path, base: ModelSpec | None, precision: Precision | None) -> Checkpoint:
    from emobench.models.save import read_record, reload_classifier

    record = read_record(folder)
    adapter = record.kind == "adapter"

    def load(device: DeviceKind, say: Say) -> LoadedModel:
        on = base if adapter else None
        return reload_classifier(folder, device=device, base=on, precision=precision, progress=say)

    return Checkpoint(
        given=text,
        name=text,
        kind="saved adapter" if adapter else "saved model",
        spec=(base if adapter else None) or record.spec,
        class_names=record.class_names,
        folder=folder,
        tokenizer_folder=_tokenizer_in(folder),
        precision=precision or record.precision,
        method=record.method.id if record.method else None,
        seed=record.seed,
        load=load,
    )


def _open_adapter(
    text: str, folder: Path, place: Place, base: ModelSpec | None, precision: Precision | None
) -> Checkpoint:
    from emobench.commands.adapters import adapter_classes, load_adapter

    config = read_json(folder / ADAPTER_CONFIG)
    spec = base or _base_of(config, place, folder)
    names = adapter_classes(folder, spec)
    wanted = precision or "fp32"

    def load(device: DeviceKind, say: Say) -> LoadedModel:
        return load_adapter(folder, spec, names, device=device, precision=wanted, say=say)

    return Checkpoint(
        given=text,
        name=text,
        kind="adapter",
        spec=spec,
        class_names=names,
        folder=folder,
        tokenizer_folder=_tokenizer_in(folder),
        precision=wanted,
        method=str(config.get("peft_type", "adapter")).lower(),
        load=load,
    )


def _base_of(config: Mapping[str, Any], place: Place, folder: Path) -> ModelSpec:
    name = str(config.get("base_model_name_or_path") or "")
    known = {row.hub_id: row for row in place.models.values()} | place.models
    if name not in known:
        raise SpecError(
            f"the adapter in {folder} names the base {name!r}",
            why="no model of this id or hub id is in the table",
            fix="name it: --base MODEL (emobench models lists them)",
        )
    return known[name]


def _open_row(text: str, place: Place, precision: Precision | None) -> Checkpoint:
    from emobench.models.locate import locate

    if "/" in text and text not in {row.hub_id for row in place.models.values()}:
        raise SpecError(
            f"no checkpoint {text!r}",
            why="it is no folder here and no hub id of the table of models",
            fix="correct the path, or add a row with hub_id to emobench.toml",
        )
    row = place.find_model(text)
    if row.labels is None:
        raise SpecError(
            f"model {row.id!r} is no classifier",
            why="its weights come without a head, and a random one would be measured",
            fix="train one: emobench train, or name a folder with a saved one",
        )
    folder = locate(row).path
    found = _open_classifier(text, folder, precision)
    # What the user wrote counts; a built-in row only holds places for names its repository knows.
    names = row.labels if row.id not in MODELS or _are_generic(found.class_names) else found.class_names
    if len(names) != len(found.class_names):
        raise SpecError(
            f"the row of {row.id!r} names {len(names)} classes",
            why=f"the saved model has {len(found.class_names)}: {', '.join(found.class_names)}",
            fix="correct labels in the row",
        )
    spec = found.spec.model_copy(update={"id": row.id, "hub_id": row.hub_id, "license": row.license})
    return replace(_classifier(text, folder, spec, names, precision), tokenizer_folder=folder)


def _open_classifier(text: str, folder: Path, precision: Precision | None) -> Checkpoint:
    config = read_json(folder / "config.json")
    return _classifier(text, folder, row_of_folder(folder, config), classes_of(config), precision)


def _classifier(
    text: str, folder: Path, spec: ModelSpec, names: tuple[str, ...], precision: Precision | None
) -> Checkpoint:
    wanted = precision or "fp32"

    def load(device: DeviceKind, say: Say) -> LoadedModel:
        from emobench.models.load import load_classifier

        # Head modules are kept out of quantization; otherwise the row names none, see row_of_folder.
        row = spec.model_copy(update={"head_modules": _head_in(folder)}) if wanted in QUANTIZED else spec
        return load_classifier(
            row, num_labels=len(names), class_names=names, precision=wanted, device=device, progress=say
        )

    return Checkpoint(
        given=text,
        name=text,
        kind="classifier",
        spec=spec,
        class_names=names,
        folder=folder,
        tokenizer_folder=folder,
        precision=wanted,
        load=load,
    )


def _head_in(folder: Path) -> tuple[str, ...]:
    """Names of the head modules among a folder's weights, as transformers calls them."""
    from safetensors import safe_open

    from emobench.models.locate import weight_files

    names: set[str] = set()
    for file in weight_files(folder):
        with safe_open(file, framework="numpy") as opened:
            names |= {part for name in opened.keys() for part in name.split(".")}  # noqa: SIM118 - not a dictionary
    return tuple(name for name in _HEADS if name in names)


def classes_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Class names of a ``config.json`` in the order of their index; two unnamed ones where it names none."""
    named = {int(index): str(name) for index, name in (config.get("id2label") or {}).items()}
    if sorted(named) == list(range(len(named))) and named:
        return tuple(named[index] for index in range(len(named)))
    return generic_names(int(config.get("num_labels") or 2))


def _are_generic(names: Sequence[str]) -> bool:
    return tuple(names) == generic_names(len(names))


def row_of_folder(folder: Path, config: Mapping[str, Any]) -> ModelSpec:
    """A row for a saved classifier that is in no table.

    It names no head module, so that a folder without its head is refused and not given a random one.

    Raises:
        UnsupportedError: it is no sequence classifier, is quantized, or is of a kind transformers does not know.
    """
    from transformers import CONFIG_MAPPING

    model_type = str(config.get("model_type", ""))
    classes = [str(name) for name in config.get("architectures") or ()]
    if not any(name.endswith("ForSequenceClassification") for name in classes):
        raise _not_supported(folder, f"its config.json names {', '.join(classes) or 'no architecture'}")
    if model_type not in CONFIG_MAPPING or "auto_map" in config:
        raise _not_supported(folder, f"its model type {model_type!r} is not part of transformers; its code is not run")
    if "quantization_config" in config:
        raise _not_supported(folder, "its weights are saved quantized")
    pad = config.get("pad_token_id")
    architecture = {key: value for key, value in config.items() if key not in _NOT_ARCHITECTURE}
    return ModelSpec(
        id=folder.resolve().name,
        hub_id="",
        family=model_type,
        kind="encoder",
        license="unknown",
        context=_context(folder, config, pad),
        config=architecture if pad is not None else architecture | {"pad_token_id": _pad_of_tokenizer(folder)},
        parameters={},
        lora_targets=LoraTargets(attention=(), mlp=()),
        head_modules=(),
        path=str(folder),
    )


def _context(folder: Path, config: Mapping[str, Any], pad: object) -> int:
    """Longest input: what the tokenizer says, and no more than there are positions."""
    positions = int(config.get("max_position_embeddings") or config.get("n_positions") or 512)
    if "roberta" in str(config.get("model_type")) or config.get("model_type") == "camembert":
        # These count positions from the padding index on.
        positions -= int(str(pad if pad is not None else 1)) + 1
    path = folder / "tokenizer_config.json"
    stated = read_json(path).get("model_max_length") if path.is_file() else None
    # Tokenizers without a limit state 10^30.
    return min(positions, int(stated)) if stated else positions


def _pad_of_tokenizer(folder: Path) -> int:
    from transformers import AutoTokenizer

    from emobench.models.library_output import quiet_transformers

    with quiet_transformers():
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        raise SpecError(
            f"{folder} has no pad token",
            why="neither its config.json nor its tokenizer names one, and texts of different length are padded",
            fix="set pad_token_id in its config.json",
        )
    return int(tokenizer.pad_token_id)


def read_json(path: Path) -> dict[str, Any]:
    """An object from a JSON file, or a BrokenFileError naming it."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BrokenFileError(f"{path} cannot be read", why=str(error), fix="save the model again") from error
    if not isinstance(content, dict):
        raise BrokenFileError(f"{path} cannot be read", why="it holds no object", fix="save the model again")
    return content


def _tokenizer_in(folder: Path) -> Path | None:
    return folder if any((folder / name).is_file() for name in _TOKENIZER_FILES) else None


def _not_supported(folder: Path, why: str) -> UnsupportedError:
    return UnsupportedError(
        f"the model in {folder} cannot be evaluated", why=why, fix="name a transformers sequence classifier"
    )
