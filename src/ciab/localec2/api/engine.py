"""The AWS regions of this process: their one thread, their state and their machines.

moto is loaded in that thread after the endpoint has been announced, since it takes seconds; calls wait.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from ciab.localec2 import disks
from ciab.localec2.api.folder import Folder
from ciab.localec2.api.shared import Shared
from ciab.localec2.api.wire import ApiError, Call, Reply

if TYPE_CHECKING:
    from ciab.localec2.api.desk import Desk
    from ciab.localec2.api.drivers import Drivers

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Region:
    desk: "Desk"
    drivers: "Drivers"


class Engine:
    def __init__(self, folder: Folder, shared: Shared) -> None:
        self._folder = folder
        self._shared = shared
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="regions")
        self._regions: dict[str, _Region] = {}
        self._loaded = asyncio.Event()
        self._beginning = asyncio.Lock()

    async def load(self) -> None:
        """Load moto and every region that has state. Raises StateError when that state cannot be read."""
        from_disk = await self._in_thread(self._read_all)
        for name, desk in from_disk.items():
            self._regions[name] = self._manned(desk)
        self._loaded.set()

    async def call(self, call: Call) -> Reply:
        """Raises ApiError."""
        await self._loaded.wait()
        from ciab.localec2.api import actions

        region = await self._region(call.region)
        reply, moves = await self._in_thread(lambda: actions.perform(region.desk, call))
        for move, life in moves:
            region.drivers.drive(move, life)
        return reply

    async def interrupt(self, instance_id: str, secs: float) -> datetime:
        """Take a spot instance back after so many seconds; when that is. Raises ApiError."""
        await self._loaded.wait()
        for region in self._regions.values():
            if (life := region.desk.state.lives.get(instance_id)) is not None:
                if not life.spot or life.state not in {"pending", "running"}:
                    what = "a spot instance" if life.spot else "an on-demand instance"
                    raise ApiError("NotInterruptible", f"{instance_id} is {what}, {life.state}.", 409)
                return await region.drivers.interrupt(life, secs)
        raise ApiError("InvalidInstanceID.NotFound", f"No region here has {instance_id}.", 404)

    async def close(self) -> None:
        """Stop every machine, keep every disk, save."""
        for region in self._regions.values():
            await region.drivers.close()
        await self._shared.host.close()
        await self._in_thread(lambda: self._rest([region.desk for region in self._regions.values()]))
        self._thread.shutdown()

    async def _region(self, name: str) -> _Region:
        if name not in self._regions:
            async with self._beginning:  # begun twice, moto and we would each work with a state of our own
                if name not in self._regions:
                    self._regions[name] = self._manned(await self._in_thread(lambda: self._begin(name)))
        return self._regions[name]

    def _manned(self, desk: "Desk") -> _Region:
        from ciab.localec2.api.drivers import Drivers

        async def change(act: Callable[[], None]) -> None:
            def acted() -> None:
                act()
                desk.state.save()

            await self._in_thread(acted)

        return _Region(desk, Drivers(self._shared, self._folder, change))

    def _read_all(self) -> dict[str, "Desk"]:
        from ciab.localec2.api import backend, state
        from ciab.localec2.api.desk import Desk

        backend.warm()
        desks = {
            name: Desk(state.load(name, self._folder.states), self._shared)
            for name in state.saved_regions(self._folder.states)
        }
        self._rest(list(desks.values()))
        return desks

    def _rest(self, desks: list["Desk"]) -> None:
        """Nothing runs: show so, save it, and remove the disks of what has ended."""
        from ciab.localec2.api.state import settle

        living: set[str] = set()
        for desk in desks:
            for life in desk.state.lives.values():
                life.console = disks.read_console(self._folder.machines / life.id) or life.console
                settle(life)
                if life.ended_at is None:
                    living.add(life.id)
                    self._shared.addresses.keep([life.private_ip])
            desk.state.save()
        for disk in self._folder.machines.iterdir():
            if disk.name not in living:
                disks.remove(disk)

    def _begin(self, name: str) -> "Desk":
        from ciab.localec2.api import backend, state
        from ciab.localec2.api.desk import Desk

        if not backend.known_region(name):
            raise ApiError(
                "AuthFailure", f"There is no region {name}: Credential should be scoped to one.", 401
            )
        return Desk(state.fresh(name, self._folder.states), self._shared)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
