import ipaddress

import pytest

from ciab.localec2.api.addresses import AddressError, Addresses


def block(number: int = 5, cursor: int = 0) -> tuple[Addresses, list[tuple[int, int]]]:
    saved: list[tuple[int, int]] = []
    return Addresses(number, cursor, lambda b, c: saved.append((b, c))), saved


def test_a_freed_address_is_not_given_again_soon() -> None:
    addresses, _ = block()
    first = addresses.take()
    addresses.free(first)
    assert first not in {addresses.take() for _ in range(1000)}


def test_the_whole_block_is_given_and_then_nothing() -> None:
    addresses, _ = block(number=7)
    count = addresses.left
    given = {addresses.take() for _ in range(count)}
    assert len(given) == count
    assert addresses.left == 0
    assert all(ipaddress.ip_address(a) in ipaddress.ip_network("127.3.192.0/18") for a in given)
    assert not any(a.endswith((".0", ".255")) for a in given)
    with pytest.raises(AddressError):
        addresses.take()
    addresses.free(min(given))
    assert addresses.take() == min(given)


def test_a_restart_goes_on_where_it_was_and_keeps_what_is_in_use() -> None:
    addresses, saved = block()
    kept = [addresses.take() for _ in range(10)]
    again, _ = block(*saved[-1])
    again.keep(kept)
    assert not {again.take() for _ in range(10)} & set(kept)


def test_blocks_do_not_overlap() -> None:
    first, _ = block(number=0)
    last, _ = block(number=1011)
    next_one, _ = block(number=1)
    assert {a.take().rsplit(".", 2)[0] + a.take().rsplit(".", 2)[1] for a in (first, next_one, last)} == {
        "127.20",
        "127.264",
        "127.254192",
    }
