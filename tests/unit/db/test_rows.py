"""Rows and values: what goes in comes out, whatever is in it; secrets only sealed."""

import json
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ciab.adapters.db import rows, sandbox_rows
from ciab.adapters.db.encoding import to_text
from ciab.adapters.vault import AesGcmVault, Key
from ciab.core.ids import SandboxId
from ciab.core.machine import LaunchAttempt, SandboxKeys
from ciab.core.sandbox import Sandbox
from ciab.core.secret import Secret
from ciab.core.spec import Spec

VAULT = AesGcmVault(Key(b"k" * 32))
ID = SandboxId("id")

micros = st.integers(min_value=0, max_value=7_000_000_000_000_000)
moments = micros.map(lambda since: datetime.fromtimestamp(0, UTC) + timedelta(microseconds=since))
st.register_type_strategy(datetime, moments)
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))


def as_row(values: dict[str, Any]) -> Any:
    """As the database gives it back: JSON columns through JSON."""
    return SimpleNamespace(
        **{name: json.loads(json.dumps(v)) if isinstance(v, dict) else v for name, v in values.items()}
    )


@given(st.from_type(Sandbox))
@settings(max_examples=60)
def test_a_sandbox_goes_round(sandbox: Sandbox) -> None:
    assert sandbox_rows.sandbox_of(as_row(sandbox_rows.sandbox_values(sandbox, VAULT)), VAULT) == sandbox


@given(st.from_type(LaunchAttempt))
@settings(max_examples=30)
def test_an_attempt_goes_round(attempt: LaunchAttempt) -> None:
    assert rows.attempt_of(as_row(rows.attempt_values(attempt, VAULT)), VAULT) == attempt


@given(st.from_type(SandboxKeys))
@settings(max_examples=30)
def test_keys_go_round(keys: SandboxKeys) -> None:
    assert rows.open_keys(rows.seal_keys(keys, ID, VAULT), ID, VAULT) == keys


@given(st.builds(Sandbox, spec=st.builds(Spec, env_vars=st.just({"KEY": Secret("tellnobody")}))))
@settings(max_examples=20)
def test_no_secret_stands_in_a_plain_column(sandbox: Sandbox) -> None:
    assert "tellnobody" not in repr(sandbox_rows.sandbox_values(sandbox, VAULT))


@given(moments, moments)
def test_times_sort_as_their_texts(one: datetime, two: datetime) -> None:
    elsewhere = two.astimezone(timezone(timedelta(hours=-9, minutes=-30)))
    assert (one < two) == (to_text(one) < to_text(elsewhere))
