"""What of a case goes into files: all that its record says of it."""

from __future__ import annotations

from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.reports.case_fields import CASE_FIELDS
from emobench.specs import CaseSpec, LaunchSpec


def test_every_axis_is_exported() -> None:
    """Two cases that differ in one axis differ in an exported field."""
    spec = CaseSpec(
        kind="inference",
        model=find_model("all-minilm-l6-v2"),
        precision="fp32",
        device="cpu",
        profile=find_profile("smoke"),
        launch=LaunchSpec(wrapper="ddp", processes=2),
    )
    assert set(spec.summary()) <= set(CASE_FIELDS)
    assert spec.summary()["launch"] == "ddp-x2"
