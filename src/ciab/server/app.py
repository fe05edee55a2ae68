"""The only place that wires things: settings in, a server's parts out, opened and closed together."""

import asyncio
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from random import SystemRandom
from uuid import uuid4

from fastapi import FastAPI

from ciab.adapters.db import Database, open_database
from ciab.adapters.ec2.connect import Ec2, check_account, connect_ec2
from ciab.adapters.ssh.keys import mint
from ciab.adapters.ssh.pool import Pool
from ciab.adapters.vault import AesGcmVault, Key, load_keys
from ciab.adapters.vault.key import LoadedKeys
from ciab.agents import AVAILABLE
from ciab.control.access import Access
from ciab.control.listing import every
from ciab.control.names import name_from
from ciab.control.reach import Reach
from ciab.control.sandboxes import Sandboxes
from ciab.control.supervisor import Supervisor
from ciab.control.work import Limits, Ports
from ciab.core.ids import SandboxId
from ciab.core.ports import Connections
from ciab.core.secret import Secret
from ciab.core.states import LIVE
from ciab.server.allowance import InFlight
from ciab.server.api import Rules, make_api
from ciab.server.local import LocalRegion, Region
from ciab.server.places import check_places
from ciab.server.readiness import Check, Readiness
from ciab.server.services import Closing, Services
from ciab.server.settings import Settings

DATABASE_GOOD_FOR, RUNTIME_GOOD_FOR = 2.0, 15.0
"""Seconds for which the answer to "does it work?" is kept."""


@dataclass(frozen=True, slots=True)
class Local:
    """The local region: what looks after its process, and the process as it announced itself."""

    keeper: LocalRegion
    region: Region


@dataclass(frozen=True, slots=True)
class Outside:
    """What was opened, and will be closed."""

    settings: Settings
    keys: LoadedKeys
    database: Database
    ec2: Ec2
    local: Local | None
    connections: Connections

    @property
    def warnings(self) -> Sequence[str]:
        """What users should know although all works."""
        if self.local is None or self.local.region.reason is None:
            return ()
        reason = self.local.region.reason
        return (f"no isolation: {reason}; local machines see your files, so run only what you trust",)


@dataclass(frozen=True, slots=True)
class Parts:
    """A server that does not serve yet: nothing moves and nobody listens."""

    outside: Outside
    ports: Ports
    supervisor: Supervisor
    sandboxes: Sandboxes
    closing: Closing
    in_flight: InFlight
    api: FastAPI


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Parts]:
    """Everything, wired. Raises ConfigError, or a runtime's fault, with nothing changed.

    The database is locked and its key checked first; the last check is that live sandboxes are where
    this configuration reaches them.
    """
    path = settings.database.path
    if not path.exists():  # a first start that is refused makes nothing
        await check_account(settings.runtime.ec2, settings.runtime.backend)
    keys = load_keys(
        settings.credentials.encryption_key_env,
        settings.database.key_file,
        os.environ,
        may_make=not path.exists(),
    )
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(path, AesGcmVault(*keys.keys), _now, settings.streaming.retain_events)
        )
        local = await _open_local(settings)
        try:
            ec2 = await stack.enter_async_context(_connected(settings, database, local))
            check_places(await every(database.store, LIVE), ec2.home)
        except BaseException:
            if local and local.keeper.started:
                await local.keeper.stop()
            raise
        pool = Pool()
        stack.push_async_callback(pool.close_all)
        yield _wired(Outside(settings, keys, database, ec2, local, pool))


async def _open_local(settings: Settings) -> Local | None:
    if settings.runtime.backend != "local":
        return None
    keeper = LocalRegion(settings.database.path.with_suffix(".region"))
    return Local(keeper, await keeper.open())


@asynccontextmanager
async def _connected(settings: Settings, database: Database, local: Local | None) -> AsyncIterator[Ec2]:
    async with connect_ec2(
        settings.runtime.ec2,
        backend=settings.runtime.backend,
        owner=database.owner,
        endpoint_url=local.region.endpoint if local else None,
        endpoint_name=local.keeper.name if local else None,
    ) as ec2:
        yield ec2


def _wired(outside: Outside) -> Parts:
    ports = _ports(outside)
    supervisor = Supervisor(ports)
    sandboxes = Sandboxes(
        ports.store,
        supervisor,
        agents=_agents(outside.settings),
        check=ports.site_of,
        clock=_now,
        new_id=lambda: SandboxId(str(uuid4())),
        new_name=lambda: name_from(secrets.randbits(32)),
    )
    services = _services(outside, ports, sandboxes)
    rules = _rules(outside.settings)
    api = make_api(services, rules)
    return Parts(outside, ports, supervisor, sandboxes, services.closing, rules.in_flight, api)


def _ports(outside: Outside) -> Ports:
    database, ec2 = outside.database, outside.ec2
    return Ports(
        store=database.store,
        keys=database.keys,
        attempts=database.attempts,
        machines=ec2.machines,
        images=ec2.images,
        connections=outside.connections,
        site_of=ec2.site_of,
        mint_keys=mint,
        ticks=time.monotonic,
        sleep=asyncio.sleep,
        chance=SystemRandom().random,
        limits=limits_of(outside.settings),
    )


def _services(outside: Outside, ports: Ports, sandboxes: Sandboxes) -> Services:
    reach = Reach(ports)
    ec2 = outside.ec2
    readiness = Readiness(
        Check("the database", outside.database.check, DATABASE_GOOD_FOR),
        Check("the runtime", lambda: ec2.machines.owned(ec2.home.region), RUNTIME_GOOD_FOR),
    )
    return Services(
        store=ports.store,
        events=outside.database.events,
        sandboxes=sandboxes,
        reach=reach,
        access=Access(reach, _now),
        troubles=readiness.troubles,
        digest=_digest_with(outside.keys.keys[0]),
        backend=ec2.backend,
        keepalive_secs=outside.settings.streaming.keepalive_interval_secs,
        warnings=outside.warnings,
    )


def limits_of(settings: Settings) -> Limits:
    """How long each step may take."""
    ec2 = settings.runtime.ec2
    return Limits(
        ready=ec2.instance_ready_timeout_secs,
        login=ec2.ssh_timeout_secs,
        setup=settings.provisioning.timeout_secs,
    )


def _agents(settings: Settings) -> Sequence[str]:
    known = settings.agents.providers.by_name()
    return [name for name in sorted(AVAILABLE) if known[name].enabled]


def _rules(settings: Settings) -> Rules:
    return Rules(
        api_keys=[Secret(key.get_secret_value()) for key in settings.security.api_keys],
        public_hosts=settings.server.public_hosts,
        cors_origins=settings.server.cors_origins,
        request_timeout_secs=settings.server.request_timeout_secs,
    )


def _digest_with(key: Key) -> Callable[[bytes], str]:
    """HMAC under a key of its own: a digest in the database does not let anybody guess at secrets."""
    own = hmac.digest(key.material, b"ciab: digests of requests", hashlib.sha256)
    return lambda data: hmac.new(own, data, hashlib.sha256).hexdigest()


def _now() -> datetime:
    return datetime.now(UTC)
