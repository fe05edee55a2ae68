"""Moves machines after the API has answered: each move is a task, one at a time for an instance.

The states a caller sees are driven by the real machine: `running` is shown when its first process runs
(SSH answers later), `stopped` and `terminated` when its processes are gone.
"""

import asyncio
import base64
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from ciab.localec2 import disks
from ciab.localec2.api import reasons
from ciab.localec2.api.faults import first
from ciab.localec2.api.folder import Folder
from ciab.localec2.api.shared import Move, Shared
from ciab.localec2.api.state import Life
from ciab.localec2.host import MachineError, MachineOrder, Notice

log = logging.getLogger(__name__)

_RETRY_SECS = 1.0


Change = Callable[[Callable[[], None]], Awaitable[None]]
"""Runs a change of the region's state in its one thread, and saves the state."""


class Drivers:
    """The moves of one region. Create it in the event loop; `close` ends all of them."""

    def __init__(self, shared: Shared, folder: Folder, change: Change) -> None:
        self._shared = shared
        self._folder = folder
        self._change = change
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns: dict[str, asyncio.Lock] = {}
        self._hurry: dict[str, asyncio.Event] = {}

    def drive(self, move: Move, life: Life) -> None:
        """Order a move; a move that waits for its time, like a slow start, gives way to it."""
        self._hurry.setdefault(life.id, asyncio.Event()).set()
        hurry = self._hurry[life.id] = asyncio.Event()
        task = asyncio.create_task(self._in_turn(move, life, hurry), name=f"{move.value} {life.id}")
        self._own(task)

    async def interrupt(self, life: Life, secs: float) -> datetime:
        """Announce that a spot instance is taken back in so many seconds, and do it then; when that is."""
        at = datetime.now(UTC) + timedelta(seconds=secs)
        await self._shared.host.announce(life.id, Notice("terminate", at))
        self._own(asyncio.create_task(self._take_back(life, secs), name=f"take back {life.id}"))
        return at

    async def _take_back(self, life: Life, secs: float) -> None:
        await asyncio.sleep(secs)
        if life.state in {"pending", "running"}:
            await self._change(lambda: life.show("shutting-down", reasons.SPOT))
            self.drive(Move.END, life)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _own(self, task: asyncio.Task[None]) -> None:
        def done(ended: asyncio.Task[None]) -> None:
            self._tasks.discard(ended)
            if not ended.cancelled() and (exc := ended.exception()):
                log.error("machine move broke off", exc_info=exc, extra={"move": ended.get_name()})

        self._tasks.add(task)
        task.add_done_callback(done)

    async def _in_turn(self, move: Move, life: Life, hurry: asyncio.Event) -> None:
        steps = {
            Move.BOOT: self._boot,
            Move.HALT: self._halt,
            Move.HIBERNATE: self._hibernate,
            Move.END: self._end,
            Move.REBOOT: self._reboot,
        }
        async with self._turns.setdefault(life.id, asyncio.Lock()):
            while True:
                try:
                    await steps[move](life, hurry)
                except (MachineError, OSError):
                    log.exception("machine move failed", extra={"instance": life.id, "move": move.value})
                    await asyncio.sleep(_RETRY_SECS)
                else:
                    return

    async def _boot(self, life: Life, hurry: asyncio.Event) -> None:
        if life.state != "pending":
            return
        await self._change(lambda: self._give_address(life))
        await _linger(self._shared.faults.pending_secs, hurry)
        if life.state != "pending":
            return
        try:
            await self._start(life)
        except MachineError as exc:
            log.warning("machine did not boot", extra={"instance": life.id, "why": str(exc)})
            why = str(exc)
            await self._change(lambda: self._not_booted(life, why))
            return
        await self._change(lambda: self._up(life))

    async def _start(self, life: Life) -> None:
        broken = first(self._shared.faults.start_fails, life.instance.instance_type)
        if broken:
            raise MachineError(broken.message)

        def ended(exit_code: int) -> None:
            self._loop.call_soon_threadsafe(self._ended, life, exit_code)

        await self._shared.host.start(self._order(life), ended)

    def _order(self, life: Life) -> MachineOrder:
        instance = life.instance
        pair = instance.ec2_backend.key_pairs.get(instance.key_name)
        return MachineOrder(
            instance_id=life.id,
            region=instance.region_name,
            zone=life.zone,
            instance_type=instance.instance_type,
            image_id=instance.image_id,
            folder=self._folder.machines / life.id,
            private_ip=life.private_ip,
            public_ip=life.public_ip,
            user_data=base64.b64decode(str(instance.user_data)) if instance.user_data else None,
            key_name=instance.key_name,
            public_key=pair.public_key if pair else None,
            spot=life.spot,
        )

    async def _halt(self, life: Life, hurry: asyncio.Event) -> None:
        if life.state != "stopping":
            return
        began = time.monotonic()
        await self._shared.host.stop(life.id)
        await _linger(self._shared.faults.stopping_secs - (time.monotonic() - began), hurry)
        await self._change(lambda: self._at_rest(life))

    async def _hibernate(self, life: Life, hurry: asyncio.Event) -> None:
        if life.state != "stopping":
            return
        if not first(self._shared.faults.hibernation_fails, life.instance.instance_type):
            await self._shared.host.hibernate(life.id)
            await _linger(self._shared.faults.stopping_secs, hurry)
            await self._change(lambda: self._at_rest(life))
        else:
            await self._halt(life, hurry)

    async def _end(self, life: Life, hurry: asyncio.Event) -> None:
        if life.state != "shutting-down":
            return
        began = time.monotonic()
        life.console = self._shared.host.console(life.id) or life.console
        await self._shared.host.destroy(life.id)
        # a machine that an earlier process of this region ran is unknown to the host, its disk is still here
        await asyncio.to_thread(disks.remove, self._folder.machines / life.id)
        await _linger(self._shared.faults.shutting_down_secs - (time.monotonic() - began), hurry)
        await self._change(lambda: self._over(life))
        self._turns.pop(life.id, None)
        self._hurry.pop(life.id, None)

    async def _reboot(self, life: Life, hurry: asyncio.Event) -> None:
        if life.state != "running":
            return
        await self._shared.host.stop(life.id)
        await self._start(life)

    def _ended(self, life: Life, exit_code: int) -> None:
        """The machine ended by itself: `poweroff` inside, or a crash."""
        if life.state not in {"pending", "running"}:
            return
        log.info("machine ended itself", extra={"instance": life.id, "exit_code": exit_code})
        ends = life.spot or life.instance.instance_initiated_shutdown_behavior == "terminate"
        task = asyncio.create_task(self._follow(life, ends=ends), name=f"follow {life.id}")
        self._own(task)

    async def _follow(self, life: Life, *, ends: bool) -> None:
        state = "shutting-down" if ends else "stopping"
        await self._change(lambda: life.show(state, reasons.ITSELF))
        self.drive(Move.END if ends else Move.HALT, life)

    def _up(self, life: Life) -> None:
        life.booted = True
        if life.state == "pending":
            life.show("running")

    def _give_address(self, life: Life) -> None:
        if life.public and life.public_ip is None:
            life.address(self._shared.addresses.take())

    def _take_address(self, life: Life) -> None:
        self._shared.addresses.free(life.public_ip)
        life.address(None)

    def _at_rest(self, life: Life) -> None:
        if life.state != "stopping":
            return
        self._take_address(life)
        life.rest()

    def _over(self, life: Life) -> None:
        self._take_address(life)
        self._shared.addresses.free(life.private_ip)
        life.end()

    def _not_booted(self, life: Life, why: str) -> None:
        if life.state != "pending":
            return
        self._take_address(life)
        if life.booted:
            life.show("stopped", reasons.internal(why))
            return
        life.show("shutting-down", reasons.internal(why))
        self._loop.call_soon_threadsafe(self.drive, Move.END, life)


async def _linger(secs: float, hurry: asyncio.Event) -> None:
    """Wait, but not on when the instance is wanted for something else."""
    if secs <= 0:
        return
    try:
        async with asyncio.timeout(secs):
            await hurry.wait()
    except TimeoutError:
        return
