"""Sealing: what is bound, what is fresh, and what does not open."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciab.adapters.vault import AesGcmVault, Key
from ciab.core.errors import ConfigError
from ciab.core.secret import Secret

OLD, NEW = Key(b"o" * 32), Key(b"n" * 32)


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])), owner=st.text(), column=st.text())
def test_what_was_sealed_opens_in_its_place(text: str, owner: str, column: str) -> None:
    vault = AesGcmVault(OLD)
    owner, column = ascii(owner), ascii(column)
    assert vault.open(vault.seal(Secret(text), owner, column), owner, column) == Secret(text)


def test_each_seal_has_a_nonce_of_its_own() -> None:
    vault = AesGcmVault(OLD)
    sealed = {vault.seal(Secret("same"), "row", "column") for _ in range(1000)}
    assert len({text[1:13] for text in sealed}) == 1000


def test_the_plain_text_is_not_in_the_sealed_one() -> None:
    assert b"same" not in AesGcmVault(OLD).seal(Secret("same" * 20), "row", "column")


@pytest.mark.parametrize(
    ("owner", "column"),
    [("other", "spec"), ("row", "keys"), ("rows", "pec"), ("ro", "wspec"), ("", "rowspec")],
)
def test_a_sealed_text_opens_nowhere_else(owner: str, column: str) -> None:
    vault = AesGcmVault(OLD)
    sealed = vault.seal(Secret("x"), "row", "spec")
    with pytest.raises(ConfigError):
        vault.open(sealed, owner, column)


def test_every_altered_or_shortened_text_is_refused() -> None:
    vault = AesGcmVault(OLD)
    sealed = vault.seal(Secret("abc"), "row", "spec")
    altered = [sealed[:n] + bytes([sealed[n] ^ 1]) + sealed[n + 1 :] for n in range(len(sealed))]
    for text in [*altered, *(sealed[:n] for n in range(len(sealed)))]:
        with pytest.raises(ConfigError):
            vault.open(text, "row", "spec")


def test_another_key_does_not_open_it_and_is_not_named() -> None:
    sealed = AesGcmVault(OLD).seal(Secret("abc"), "row", "spec")
    with pytest.raises(ConfigError) as refusal:
        AesGcmVault(NEW).open(sealed, "row", "spec")
    assert "nnn" not in str(refusal.value)


def test_with_two_keys_the_first_seals_and_both_open() -> None:
    both = AesGcmVault(NEW, OLD)
    assert both.open(AesGcmVault(OLD).seal(Secret("a"), "r", "c"), "r", "c") == Secret("a")
    assert AesGcmVault(NEW).open(both.seal(Secret("b"), "r", "c"), "r", "c") == Secret("b")
