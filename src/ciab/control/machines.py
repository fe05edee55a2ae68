"""What pause, stop, start and resume do with a machine that is there. Each may be repeated after a crash."""

from dataclasses import replace

from ciab.control.fate import OVER, end_of, ensure_alive
from ciab.control.metering import Bill, metered
from ciab.control.pipeline import KNOCKING, WATCHING, Step
from ciab.control.reach import target_of
from ciab.control.steps import address, await_guest, site, still_alive
from ciab.control.work import Ports
from ciab.core.errors import GuestFault, GuestUnreachable, MachineEnded, RuntimeRejected, RuntimeUnavailable
from ciab.core.journal import Noted
from ciab.core.machine import Cause, Machine, MachineState
from ciab.core.ports import Care
from ciab.core.sandbox import Held, Sandbox


async def find_machine(sandbox: Sandbox, ports: Ports) -> Machine:
    """The sandbox's machine as it is now. Raises MachineEnded, and RuntimeUnavailable while it is not
    visible."""
    machine = await ports.machines.find(sandbox.id, site(sandbox).place)
    if machine is None:
        raise RuntimeUnavailable(f"the machine of sandbox {sandbox.name} is not visible")
    if machine.state in OVER:
        raise end_of(machine)
    return machine


async def look(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """The sandbox with its machine as it is now."""
    return replace(sandbox, machine=await find_machine(sandbox, ports))


async def stop_machine(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Ask once; asking again is no error. What cannot be hibernated is shut down, and that is noted."""
    await ports.connections.close(sandbox.id)
    machine = await find_machine(sandbox, ports)
    # a look may be older than a start: the plain stop is asked for whatever it shows
    if sandbox.held is Held.HIBERNATED and machine.state not in (MachineState.STOPPING, MachineState.STOPPED):
        try:
            await ports.machines.stop(machine, hibernate=True)
        except MachineEnded:
            raise
        except RuntimeRejected as refused:
            why = f"the machine was shut down and not hibernated, its memory is lost: {refused.message}"
            await ports.store.note(sandbox.id, Noted("not_hibernated", why, shown=True))
        else:
            return sandbox
    await ports.machines.stop(machine)
    return sandbox


async def await_stopped(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Retried until the machine is stopped."""
    machine = await find_machine(sandbox, ports)
    if machine.state is not MachineState.STOPPED:
        raise RuntimeUnavailable(f"machine {machine.id} is still {machine.state}")
    await ports.connections.close(sandbox.id)  # a pulse may have opened another while it stopped
    return metered(replace(sandbox, machine=machine), ports, Bill.DISK)


async def start_machine(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Ask once; asking again is no error. A machine that is still stopping is waited for."""
    machine = await find_machine(sandbox, ports)
    if machine.state is MachineState.STOPPING:
        raise RuntimeUnavailable(f"machine {machine.id} is still stopping")
    if machine.state is MachineState.STOPPED:
        await ports.machines.start(machine)
    return replace(sandbox, machine=machine)


async def await_running(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Retried until the machine runs and has its address, which may be a new one."""
    machine = await find_machine(sandbox, ports)
    if machine.state is MachineState.RUNNING and address(machine, sandbox):
        return replace(sandbox, machine=machine)
    raise RuntimeUnavailable(f"machine {machine.id} is still {machine.state}")


async def could_boot(sandbox: Sandbox, ports: Ports) -> None:
    """Raises the provider's reason for a machine that was started and has stopped again."""
    machine = await find_machine(sandbox, ports)
    # one that stands still because it was asked to: the start is only not visible yet
    if machine.state is not MachineState.STOPPED or machine.cause not in (Cause.ASKED, None):
        ensure_alive(machine)


async def freeze(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Freeze its processes; the connection stays, and with it what runs on it."""
    await (await _care(sandbox, ports)).freeze()
    return sandbox


async def thaw(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Let them go on."""
    await (await _care(sandbox, ports)).thaw()
    return sandbox


async def remember_boot(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Which boot it is, so that a resume can tell whether the memory was kept."""
    if sandbox.boot:
        return sandbox
    try:
        return replace(sandbox, boot=(await (await _care(sandbox, ports)).pulse()).boot)
    except GuestFault:
        return sandbox  # it is paused all the same; only the comparison is missing


async def compare_boots(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Say so when a hibernation did not keep the memory: the provider shuts down then without a word."""
    if not sandbox.boot:
        return sandbox
    try:
        now = (await (await _care(sandbox, ports)).pulse()).boot
    except GuestUnreachable:
        raise
    except GuestFault:
        return sandbox  # it runs and lets us in; only the comparison is missing
    if now != sandbox.boot:
        why = "the hibernation did not keep the memory: the machine has booted anew, its disk is intact"
        await ports.store.note(sandbox.id, Noted("memory_lost", why, shown=True))
    return sandbox


async def _care(sandbox: Sandbox, ports: Ports) -> Care:
    return (await ports.connections.connect(await target_of(sandbox, ports))).care


STOP = Step("stop_machine", stop_machine, pace=WATCHING)
START = Step("start_machine", start_machine, pace=WATCHING)
BOOT = Step("start_machine", await_running, pace=WATCHING, check=could_boot)
LOG_IN = Step("start_machine", await_guest, pace=KNOCKING, check=still_alive)
FREEZE = Step("freeze", freeze, check=still_alive)
THAW = Step("thaw", thaw, check=still_alive)
HIBERNATE = Step("hibernate", remember_boot, check=still_alive)
