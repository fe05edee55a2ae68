"""What the filter lets through, by running its instructions."""

import struct

import pytest

from ciab.localec2.process.seccomp import MACHINES, filter_program

ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
FIRST, REGION, STRANGER = 500, 400, 900
POWEROFF, REBOOT = 38, 39


def answer(machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    calls = MACHINES[machine]
    program = filter_program(calls, FIRST, (0, POWEROFF, REBOOT), (REGION,))
    lines = [struct.unpack_from("HBBI", program, place) for place in range(0, len(program), 8)]
    words = [argument & 0xFFFFFFFFFFFFFFFF for argument in (*arguments, 0, 0)[:2]]
    data = struct.pack("iIQQQ", number, calls.arch if arch is None else arch, 0, *words)
    place = accumulator = 0
    while True:
        code, if_true, if_false, value = lines[place]
        place += 1
        if code == 0x20:
            accumulator = struct.unpack_from("I", data, value)[0]
        elif code == 0x06:
            return int(value)
        else:
            holds = accumulator == value if code == 0x15 else accumulator >= value
            place += if_true if holds else if_false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_signals_stay_inside(machine: str) -> None:
    kill = MACHINES[machine].kill
    for target in (-1, REGION, -REGION, -FIRST):
        assert answer(machine, kill, target, 9) == EPERM, target
    assert answer(machine, kill, STRANGER, 9) == ALLOW
    assert answer(machine, kill, 0, 15) == ALLOW
    assert answer(machine, kill, FIRST, 9) == EPERM
    for signal in (0, POWEROFF, REBOOT):
        assert answer(machine, kill, FIRST, signal) == ALLOW
    for other in MACHINES[machine].others:
        assert answer(machine, other, REGION) == EPERM
        assert answer(machine, other, STRANGER) == ALLOW


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_reboot_and_other_abis_are_refused_and_all_else_is_free(machine: str) -> None:
    calls = MACHINES[machine]
    assert answer(machine, calls.reboot) == EPERM
    assert answer(machine, calls.kill, STRANGER, arch=0x40000003) == ENOSYS
    assert answer(machine, 0x40000000 + calls.kill, -1) == ENOSYS
    refused = {number for number in range(512) if answer(machine, number, -1) != ALLOW}
    assert refused == {calls.kill, calls.reboot, *calls.others}
