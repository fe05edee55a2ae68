"""The steps that give a sandbox its machine, in order, and what undoes them. Names are permanent."""

from dataclasses import replace

from ciab.control.fate import OVER, ensure_alive
from ciab.control.metering import Bill, launch_of, metered
from ciab.control.pipeline import KNOCKING, WATCHING, Step
from ciab.control.reach import target_of
from ciab.control.setup import clone_repositories, prepare_workspace, run_scripts
from ciab.control.work import Ports
from ciab.core.errors import CiabError, RuntimeUnavailable
from ciab.core.machine import LaunchOrder, Machine, MachineImage, MachineState, SandboxKeys, Site
from ciab.core.sandbox import Sandbox


async def mint_keys(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Make both key pairs and save them before their first use: a repeated launch must send the same.

    Where the operator's own key pair lets us in, only the host's is made.
    """
    if await ports.keys.get(sandbox.id) is None:
        user = None if site(sandbox).login.key_pair else ports.mint_key()
        await ports.keys.keep(sandbox.id, SandboxKeys(user, ports.mint_key()))
    return sandbox


async def discard_keys(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Remove the keys and the recorded requests that hold them."""
    await ports.keys.discard(sandbox.id)
    return sandbox


async def choose_image(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Decide once which image it boots from."""
    image = await ports.images.choose(sandbox.spec, site(sandbox).place)
    return replace(sandbox, image=image)


async def launch_machine(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Make the one call that launches it, or repeat the one that was made: the attempts tell which."""
    machine = await ports.machines.launch(await _order(sandbox, ports), ports.attempts)
    launched = replace(sandbox, machine=machine)
    return metered(launched, ports, Bill.RUNNING, since=launch_of(launched, ports))


async def give_machine_up(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """End every machine this sandbox may have, also those that only an unclear attempt knows of; or leave
    its one machine to its user, stopped, where that was the order."""
    await ports.connections.close(sandbox.id)
    if sandbox.release:
        await _release(sandbox, ports)
    else:
        await ports.machines.terminate(sandbox.id, site(sandbox).place, ports.attempts)
    return metered(sandbox, ports, Bill.NOTHING)


async def _release(sandbox: Sandbox, ports: Ports) -> None:
    """Stop it, and take our tags off once it has stopped: until then it is ours to look after."""
    machine = await ports.machines.find(sandbox.id, site(sandbox).place)
    if machine is None:  # released already: this is the second try, or it is not visible any more
        if sandbox.machine:
            await ports.machines.release(sandbox.machine)
        return
    if machine.state in OVER:
        return
    if machine.state is not MachineState.STOPPED:
        await ports.machines.stop(machine)
        raise RuntimeUnavailable(f"machine {machine.id} is still stopping")
    await ports.machines.release(machine)


async def await_machine(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Wait for an address. A private one may already be in the launch's reply."""
    if sandbox.machine and address(sandbox.machine, sandbox):
        return sandbox
    machine = await ports.machines.find(sandbox.id, site(sandbox).place)
    if machine is None:
        raise RuntimeUnavailable(
            "the machine was launched but is not visible yet", hint="this usually passes within seconds"
        )
    ensure_alive(machine)
    if not address(machine, sandbox):
        kind = site(sandbox).login.address
        raise RuntimeUnavailable(
            f"machine {machine.id} has no {kind} address yet",
            hint=f"if this lasts, its subnet gives no {kind} addresses: see connect_address",
        )
    return replace(sandbox, machine=machine)


async def await_guest(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Log in. The keys are in place before the machine's SSH server starts: being let in means ready."""
    await ports.connections.connect(await target_of(sandbox, ports))
    return sandbox


async def still_alive(sandbox: Sandbox, ports: Ports) -> None:
    """Raises RuntimeRejected when the machine has ended: no use in knocking any longer."""
    machine = await ports.machines.find(sandbox.id, site(sandbox).place)
    if machine is not None:
        ensure_alive(machine)


def address(machine: Machine, sandbox: Sandbox) -> str | None:
    """The address that this sandbox is reached at, if the machine has it."""
    return machine.public_ip if site(sandbox).login.address == "public" else machine.private_ip


def site(sandbox: Sandbox) -> Site:
    """Where it is and how it is reached; decided when it began."""
    if sandbox.site is None:
        raise CiabError(f"sandbox {sandbox.name} has not begun")
    return sandbox.site


async def _order(sandbox: Sandbox, ports: Ports) -> LaunchOrder:
    keys: SandboxKeys | None = await ports.keys.get(sandbox.id)
    image: MachineImage | None = sandbox.image
    if keys is None or image is None:
        raise CiabError(f"sandbox {sandbox.name} has no keys or no image to launch with")
    user = keys.user or await ports.named_key(site(sandbox).login.key_pair)
    return LaunchOrder(sandbox.id, sandbox.name, sandbox.spec, site(sandbox), image, keys, user.public)


def _image_words(sandbox: Sandbox) -> str | None:
    return f"{sandbox.image.id} {sandbox.image.name}".strip() if sandbox.image else None


def _machine_words(sandbox: Sandbox) -> str | None:
    return f"{sandbox.machine.id} {sandbox.machine.type} {sandbox.machine.zone}" if sandbox.machine else None


def _address_words(sandbox: Sandbox) -> str | None:
    return address(sandbox.machine, sandbox) if sandbox.machine else None


STEPS = (
    Step("mint_keys", mint_keys, undo=discard_keys),
    Step("choose_image", choose_image, says=_image_words),
    Step("launch_machine", launch_machine, undo=give_machine_up, says=_machine_words),
    Step(
        "await_machine", await_machine, limit=lambda limits: limits.ready, pace=WATCHING, says=_address_words
    ),
    Step("await_guest", await_guest, limit=lambda limits: limits.login, pace=KNOCKING, check=still_alive),
    Step("prepare_workspace", prepare_workspace, check=still_alive),
    Step("clone_repositories", clone_repositories, limit=lambda limits: limits.setup, check=still_alive),
    Step("run_scripts", run_scripts, limit=lambda limits: limits.setup, check=still_alive),
)
"""Keys first and undone last: while a machine may exist, so do its keys."""
