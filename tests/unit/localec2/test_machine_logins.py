"""Which lines of authorized_keys count at a moment."""

from datetime import UTC, datetime

import pytest

from ciab.localec2.process.sshd import valid_lines

KEY = "ssh-ed25519 AAAA me"
NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (KEY, [KEY]),
        (f'expiry-time="20260301120001Z" {KEY}', [KEY]),
        (f'expiry-time="20260301120000Z" {KEY}', []),
        (f'expiry-time="202603011159Z" {KEY}', []),
        (f'expiry-time="20260302Z" {KEY}', [KEY]),
        (f'expiry-time="20269901Z" {KEY}', []),
        (f'restrict,expiry-time="20260302Z",pty {KEY}', [f"restrict,pty {KEY}"]),
        (f'restrict,expiry-time="20260302Z" {KEY}', [f"restrict {KEY}"]),
        (f'expiry-time="20260302Z",pty {KEY}', [f"pty {KEY}"]),
        (f'expiry-time="tomorrow" {KEY}', []),
        (f'Expiry-Time="20260301Z" {KEY}', []),
    ],
)
def test_a_key_counts_until_it_expires(line: str, kept: list[str]) -> None:
    assert valid_lines([line], NOON) == kept


def test_without_z_the_time_is_local() -> None:
    local = NOON.astimezone().replace(tzinfo=None)
    assert valid_lines([f'expiry-time="{local:%Y%m%d%H%M}01" {KEY}'], NOON) == [KEY]
    assert valid_lines([f'expiry-time="{local:%Y%m%d%H%M}" {KEY}'], NOON) == []
