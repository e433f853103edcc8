"""Secrets: what is taken out of texts, and what stays."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.records.secrets import HIDDEN, redact, redacted, without_secrets
from tests.reports.made_runs import a_run, trained

TOKEN = "hf_" + "aB3" * 11


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://user:pass@host.org/x.git", "https://host.org/x.git"),
        ("https://ghtoken@host.org/x", "https://host.org/x"),
        ("git@host.org:team/repo.git", "host.org:team/repo.git"),
        ("ssh://me@host/x", "ssh://host/x"),
        (f"401 for {TOKEN}.", f"401 for {HIDDEN}."),
        ("ghp_" + "x" * 36, HIDDEN),
        ("github_pat_" + "y" * 30, HIDDEN),
        ("AKIA" + "A1" * 8, HIDDEN),
        ("Authorization: Bearer abcdefgh12345678", f"Authorization: Bearer {HIDDEN}"),
        ("HF_TOKEN=abcdef", f"HF_TOKEN={HIDDEN}"),
        ("api-key: 'abc123'", f"api-key: '{HIDDEN}'"),
        ('{"password": "hunter22"}', f'{{"password": "{HIDDEN}"}}'),
        ("/home/jane/data/x.csv is missing", "~/data/x.csv is missing"),
        ("/Users/jane/x", "~/x"),
        (r"C:\Users\jane\x", r"~\x"),
    ],
)
def test_secrets_of_known_forms_go(text: str, found: str) -> None:
    """User, password, token, named value and home folder."""
    assert redact(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "finetune[all-minilm-l6-v2-imdb-lora-fp32-cpu]",
        "prompt_tokens: 128",
        "tokens_per_second=100.5",
        "max_tokens=4096",
        "https://host.org/x",
        "mail jane@host.org",
        "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "a ratio of 3:4 at 5pm",
        "KeyError: 'secret'",
    ],
)
def test_ordinary_texts_stay(text: str) -> None:
    """Case ids, counts of tokens, addresses without a user and digests are no secrets."""
    assert redact(text) == text


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_token_goes_wherever_it_stands(before: str, after: str) -> None:
    """Between any other texts, unless letters grow onto it."""
    text = f"{before} {TOKEN} {after}"
    assert TOKEN not in redact(text)


@pytest.mark.parametrize("part", ["x", "a.", "a@", "token", "token=", "a://", "=", "/home/", "eyJ", "a-b_"])
def test_a_long_text_takes_no_longer_than_its_length(part: str) -> None:
    """A name of a hundred thousand characters is done in well under a second, whatever it repeats."""
    start = time.perf_counter()
    redact(part * (100_000 // len(part)))
    assert time.perf_counter() - start < 2


def test_every_text_of_a_run_is_looked_at() -> None:
    """Case, reasons, details, skips, settings, notes and the names of timings; figures stay as they are."""
    record = trained(f"m-{TOKEN}", "d", "lora", reasons=(f"failed with {TOKEN}",))
    run = a_run(
        [record],
        skipped=({"reason": TOKEN, "cases": [TOKEN], "count": 1},),
        settings={"arguments": ["--token", TOKEN]},
        notes=(TOKEN,),
        manifest=(TOKEN,),
        commit_info={"remote": f"https://x:{TOKEN}@host/y"},
    )
    clean = without_secrets(run)
    assert TOKEN not in repr(clean)
    assert clean.records[0].metrics == record.metrics
    assert clean.records[0].details["training"][0]["losses"] == record.details["training"][0]["losses"]
    assert clean.records[0].id in clean.timings


def test_a_value_named_like_a_secret_goes() -> None:
    """Also where it has no known form; a number or a nested object stays."""
    assert redacted(["--hub-token", "short", "-k", "token", "--new-tokens", "32"]) == [
        "--hub-token",
        HIDDEN,
        "-k",
        "token",
        "--new-tokens",
        "32",
    ]
    assert redacted({"api_key": "short", "tokens": 5, "token": {"count": 3}}) == {
        "api_key": HIDDEN,
        "tokens": 5,
        "token": {"count": 3},
    }
