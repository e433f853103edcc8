"""What is said of a file of another schema."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emobench.errors import BrokenFileError
from emobench.records.packed import read_packed
from emobench.records.predictions import read_classes
from emobench.records.schemas import NEWER, schema_fix


@pytest.mark.parametrize(("found", "way"), [(2, NEWER), (1, "x"), (0, "x"), (None, "x"), ("2", "x"), (True, "x")])
def test_only_a_newer_number_asks_for_an_update(found: object, way: str) -> None:
    """An older schema, or none, has the usual way on."""
    assert schema_fix(found, 1, "x") == way


@pytest.mark.parametrize(("schema", "fix"), [(9, "update EmoBench"), (0, "restore it from a copy")])
def test_predictions_of_another_schema(tmp_path: Path, schema: int, fix: str) -> None:
    """Those of a case and those of a baseline."""
    columns = {"row": np.arange(2), "label": np.zeros(2, int), "prediction": np.zeros(2, int)}
    content = f'{{"schema": {schema}, "texts_digest": "", "class_names": []}}'.encode()
    for reader, key in ((read_classes, b"emobench"), (read_packed, b"emobench_packed")):
        path = tmp_path / "p.parquet"
        pq.write_table(pa.table(columns).replace_schema_metadata({key: content}), path)
        with pytest.raises(BrokenFileError, match=f"its schema is {schema} and this EmoBench reads 1") as caught:
            reader(path)
        assert fix in caught.value.fix
