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
from ciab.adapters.ssh.keys import mint_key, named_key
from ciab.adapters.ssh.pool import Pool
from ciab.adapters.vault import AesGcmVault, Key, load_keys
from ciab.adapters.vault.key import LoadedKeys
from ciab.agents import AVAILABLE
from ciab.control.access import Access
from ciab.control.activity import Activity
from ciab.control.costs import Costs
from ciab.control.listing import every
from ciab.control.names import name_from
from ciab.control.policy import Budgets, Policy
from ciab.control.pulses import Pulses
from ciab.control.reach import Reach
from ciab.control.reaper import Reaper
from ciab.control.reconcile import Reconciler
from ciab.control.sandboxes import Sandboxes
from ciab.control.steady import Steady
from ciab.control.supervisor import Supervisor
from ciab.control.watch import Watch
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
    steady: Steady
    billing: Steady

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
    watch: Watch
    reaper: Reaper
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
        steady = Steady(time.monotonic, _now, await database.anchors.get("steady"))
        billing = Steady(_since_boot, _now, await database.anchors.get("billing"))
        yield _wired(Outside(settings, keys, database, ec2, local, pool, steady, billing))


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
    costs = Costs(ports)
    activity = Activity(ports.ticks)
    sandboxes = Sandboxes(
        ports,
        supervisor,
        costs,
        agents=_agents(outside.settings),
        clock=_now,
        new_id=lambda: SandboxId(str(uuid4())),
        new_name=lambda: name_from(secrets.randbits(32)),
    )
    reaper = Reaper(ports, outside.database.owner, outside.ec2.home, outside.settings.runtime.ec2.regions)
    watch = Watch(
        ports,
        sandboxes,
        costs,
        activity=activity,
        reconciler=Reconciler(ports, supervisor.wake),
        pulses=Pulses(ports, activity),
    )
    services = _services(
        outside,
        sandboxes,
        reach=Reach(ports, activity, sandboxes.resumed),
        costs=costs,
        reaper=reaper,
    )
    rules = _rules(outside.settings)
    api = make_api(services, rules)
    return Parts(outside, ports, supervisor, sandboxes, watch, reaper, services.closing, rules.in_flight, api)


def _ports(outside: Outside) -> Ports:
    database, ec2 = outside.database, outside.ec2
    return Ports(
        store=database.store,
        keys=database.keys,
        attempts=database.attempts,
        machines=ec2.machines,
        images=ec2.images,
        connections=outside.connections,
        remains=ec2.remains,
        prices=ec2.prices,
        ledger=database.ledger,
        anchors=database.anchors,
        site_of=ec2.site_of,
        mint_key=mint_key,
        named_key=named_key,
        steady=outside.steady,
        billing=outside.billing,
        ticks=time.monotonic,
        sleep=asyncio.sleep,
        chance=SystemRandom().random,
        limits=limits_of(outside.settings),
        policy=policy_of(outside.settings),
    )


def _services(
    outside: Outside, sandboxes: Sandboxes, *, reach: Reach, costs: Costs, reaper: Reaper
) -> Services:
    ec2 = outside.ec2
    readiness = Readiness(
        Check("the database", outside.database.check, DATABASE_GOOD_FOR),
        Check("the runtime", lambda: ec2.machines.owned(ec2.home.region), RUNTIME_GOOD_FOR),
    )
    return Services(
        store=outside.database.store,
        events=outside.database.events,
        sandboxes=sandboxes,
        reach=reach,
        access=Access(reach, _now),
        costs=costs,
        reaper=reaper,
        wall_of=outside.steady.wall_of,
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


def policy_of(settings: Settings) -> Policy:
    """What the configuration says about lives, idleness, money and sweeps."""
    ec2, budgets, sweeps = settings.runtime.ec2, settings.budgets, settings.reaper
    return Policy(
        stop_on_pause=ec2.stop_on_pause,
        hibernate_on_pause=ec2.hibernate_on_pause,
        auto_resume=ec2.auto_resume,
        terminate_on_delete=ec2.terminate_on_delete,
        max_lifetime=ec2.max_lifetime_secs,
        idle_timeout=ec2.idle_timeout_secs,
        idle_action=ec2.idle_action,
        orphan_timeout=ec2.orphan_timeout_secs,
        budgets=Budgets(budgets.per_sandbox, budgets.per_workspace, budgets.per_day),
        watch_interval=settings.server.watch_interval_secs,
        sweep_interval=sweeps.interval_secs,
        grace=sweeps.grace_secs,
        max_per_sweep=sweeps.max_per_sweep,
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


def _since_boot() -> float:
    """Seconds that no correction of the time touches, the sleep of this machine counted."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _now() -> datetime:
    return datetime.now(UTC)
