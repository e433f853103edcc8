"""TensorBoard: a folder a run, a folder a case, an event file in it: metrics at step 0, curves by step, axes as text.

Written with TensorBoard's own records, without TensorFlow or torch. The file's name holds no host name.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from emobench.errors import SpecError
from emobench.extras import require
from emobench.files import writing
from emobench.reports.exported import ExportedCase, ExportedRun, flat_metrics, safe_name

_LONGEST = 180
"""Characters of a folder's name; file systems take 255 bytes."""
_SAFE = "[]=+,@ "


def write_tensorboard(run: ExportedRun, cases: Sequence[ExportedCase], folder: Path) -> str:
    """Write the run's cases under ``folder``; return what was written.

    Raises:
        SpecError: the run is there already.
        MissingExtraError: tensorboard is not installed.
    """
    require("tensorboard", feature="the export to TensorBoard", extra="tensorboard")
    place = folder / folder_name(run.name)
    if place.exists():
        raise SpecError(f"{place} is there already", why="a run is added once", fix="name another folder with --output")
    for case in cases:
        _write_case(run, case, place / folder_name(case.id))
    return f"{place}: {len(cases)} cases; look at it with: tensorboard --logdir {folder}"


def folder_name(text: str) -> str:
    """The text as one part of a path on any system; ``urllib.parse.unquote`` undoes it unless it was cut."""
    quoted = urllib.parse.quote(text.encode("utf-8", "surrogatepass"), safe=_SAFE)
    quoted = re.sub(r"^[. ]|[. ]$", lambda found: f"%{ord(found[0]):02X}", quoted)
    return quoted if len(quoted) <= _LONGEST else safe_name(quoted, longest=_LONGEST)


def _write_case(run: ExportedRun, case: ExportedCase, folder: Path) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    with writing(folder / f"events.out.tfevents.{int(run.seconds):010}.emobench") as stream:
        records = RecordWriter(stream)
        for event in _events(run, case):
            records.write(event.SerializeToString())


def _events(run: ExportedRun, case: ExportedCase) -> Iterator[Any]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.text.metadata import create_summary_metadata

    yield Event(wall_time=run.seconds, file_version="brain.Event:2")
    for name, value in flat_metrics(case).items():
        yield Event(wall_time=run.seconds, step=0, summary=Summary(value=[Summary.Value(tag=name, simple_value=value)]))
    for name, points in case.curves.items():
        for step, value in points:
            found = Summary.Value(tag=name, simple_value=value)
            yield Event(wall_time=run.seconds, step=step, summary=Summary(value=[found]))
    lines = ["| axis | value |", "| --- | --- |"]
    lines += [f"| {safe_name(name)} | {safe_name(value)} |" for name, value in case.params.items()]
    text = TensorProto(dtype=DT_STRING, string_val=["\n".join(lines).encode()])
    meta = create_summary_metadata(display_name="case", description="")
    yield Event(
        wall_time=run.seconds, step=0, summary=Summary(value=[Summary.Value(tag="case", tensor=text, metadata=meta)])
    )
