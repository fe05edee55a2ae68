"""The state of one AWS region: moto's objects, what we know of each instance besides, client tokens.

It is on disk after every change, in one file: a pickle, since moto's objects are only that. The file holds
user-data, and so private keys: mode 0600, and an instance's user-data goes when it is terminated.
"""

import pickle
import time
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path

from moto.ec2.models.instances import Instance, InstanceState, Reservation, StateReason

from ciab.localec2.api import folder
from ciab.localec2.api.backend import RegionBackend, attach
from ciab.localec2.api.folder import StateError
from ciab.localec2.api.plain import ACCOUNT
from ciab.localec2.api.reasons import SPOT, Reason, region_ended

_FORMAT = 1
_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


@dataclass(slots=True, eq=False)
class Life:
    """What moto does not keep of an instance. Times are seconds since the epoch."""

    instance: Instance
    zone: str
    public: bool
    """It has a public address while it runs."""
    private_ip: str
    visible_at: float
    public_ip: str | None = None
    booted: bool = False
    """It has run: a start that fails later leaves it stopped, not terminated."""
    hibernated: bool = False
    """Its machine was asked to keep its memory; a failure of that is nobody's to know."""
    console: str = ""
    """What its machine printed last, kept when that is gone."""
    ended_at: float | None = None
    """When it was terminated."""
    version: int = 0
    """Another one after each change of what is described."""

    @property
    def id(self) -> str:
        return self.instance.id

    @property
    def state(self) -> str:
        return self.instance.state

    @property
    def spot(self) -> bool:
        return bool(self.instance.lifecycle == "spot")

    def show(self, state: str, why: Reason | None = None) -> None:
        """Be in this state from now on, for this reason."""
        self.version += 1
        self.instance._state = InstanceState(state, _CODES[state])
        self.instance._reason = why.transition if why else ""
        self.instance.state_reason = StateReason(why.message, why.code) if why else StateReason()

    def rest(self) -> None:
        """Be stopped, for the reason that was given when it began to stop."""
        self.version += 1
        self.instance._state = InstanceState("stopped", _CODES["stopped"])

    def address(self, public_ip: str | None) -> None:
        self.version += 1
        self.public_ip = public_ip
        self.instance.nics[0].public_ip = public_ip

    def end(self) -> None:
        """Disks, interface and user-data are gone; the instance stays to be seen for a while."""
        self.version += 1
        transition, reason = self.instance._reason, self.instance.state_reason
        backend = self.instance.ec2_backend
        attached = {nic.id for nic in self.instance.nics.values()}
        attached |= {disk.volume_id for _, disk in self.instance.get_block_device_mapping}
        self.instance.terminate()
        for gone in attached - backend.enis.keys() - backend.volumes.keys():
            backend.tags.pop(gone, None)
        self.instance._reason, self.instance.state_reason = transition, reason
        self.instance.user_data = None
        self.instance._state = InstanceState("terminated", _CODES["terminated"])
        self.ended_at = time.time()


@dataclass(slots=True)
class RegionState:
    path: Path
    backend: RegionBackend
    lives: dict[str, Life] = field(default_factory=dict)
    tokens: dict[tuple[str, str], tuple[str, Reservation]] = field(default_factory=dict)
    """(zone or "" for the region, client token) -> (digest of the parameters, what it launched)."""
    written: dict[str, tuple[tuple[tuple[str, int], ...], str]] = field(default_factory=dict)
    """Reservation -> the versions of its instances, and its XML then; not on disk."""

    def save(self) -> None:
        document = {
            "format": _FORMAT,
            "moto": version("moto"),
            "backend": self.backend,
            "lives": self.lives,
            "tokens": self.tokens,
        }
        folder.write(self.path, pickle.dumps(document, pickle.HIGHEST_PROTOCOL))

    def forget(self, before: float) -> None:
        """Drop what was terminated before that time, with its tokens and tags."""
        for life in [x for x in self.lives.values() if x.ended_at is not None and x.ended_at < before]:
            del self.lives[life.id]
            self.backend.tags.pop(life.id, None)
            for ident, reservation in list(self.backend.reservations.items()):
                if life.instance in reservation.instances:
                    reservation.instances.remove(life.instance)
                    if not reservation.instances:
                        del self.backend.reservations[ident]
                        self.written.pop(ident, None)
        self.tokens = {k: v for k, v in self.tokens.items() if v[1].instances}


def fresh(region: str, folder_of_states: Path) -> RegionState:
    state = RegionState(_path(region, folder_of_states), RegionBackend(region, ACCOUNT))
    attach(state.backend)
    return state


def load(region: str, folder_of_states: Path) -> RegionState:
    """The state as it was saved last; `settle` every life in it, for nothing runs any more.

    Raises StateError when it was written by another version and cannot be read.
    """
    path = _path(region, folder_of_states)
    try:
        document = pickle.loads(path.read_bytes())  # noqa: S301  # our own file, 0600 in our own 0700 folder
        if document["format"] != _FORMAT:
            raise ValueError(f"it has format {document['format']}, this version reads {_FORMAT}")
    except (pickle.UnpicklingError, AttributeError, ImportError, ValueError, KeyError, EOFError) as exc:
        raise StateError(
            f"the state in {path} cannot be read by this version ({exc}): use the version that wrote it, "
            f"or remove {folder_of_states.parent} to begin anew without its instances"
        ) from exc
    state = RegionState(path, document["backend"], document["lives"], document["tokens"])
    for life in state.lives.values():
        for added in fields(Life):  # since it was written
            if not hasattr(life, added.name):
                setattr(life, added.name, added.default)
    attach(state.backend)
    return state


def settle(life: Life) -> None:
    """Bring an instance to rest after its region's process went, by itself or in an orderly end."""
    if life.spot and life.state in {"pending", "running"}:  # it cannot be stopped
        life.show("shutting-down", SPOT)
    if life.state in {"pending", "running", "stopping"}:
        life.show("stopped", region_ended())
        life.address(None)
    elif life.state == "shutting-down":
        life.address(None)
        life.end()


def saved_regions(folder_of_states: Path) -> list[str]:
    return sorted(path.stem for path in folder_of_states.glob("*.pickle"))


def _path(region: str, folder_of_states: Path) -> Path:
    return folder_of_states / f"{region}.pickle"
