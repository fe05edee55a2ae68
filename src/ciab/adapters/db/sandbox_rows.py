"""Sandboxes and their rows. A spec is one sealed JSON text: its environment and its URLs hold secrets.

Texts that an older version wrote lack what came later: that has the value's own default.
"""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from ciab.adapters.db.encoding import plain, to_json, to_text
from ciab.core.machine import Cause, Login, Machine, MachineImage, MachineState, Place, Site
from ciab.core.ports import Vault
from ciab.core.sandbox import Failure, Held, Meter, Sandbox
from ciab.core.secret import Secret
from ciab.core.spec import Ec2Overrides, GitRepo, Persistence, Spec
from ciab.core.states import State

Values = dict[str, Any]


def sandbox_values(sandbox: Sandbox, vault: Vault) -> Values:
    """The columns of a sandbox's row."""
    return {
        "id": sandbox.id,
        "name": sandbox.name,
        "state": sandbox.state.value,
        "provider": sandbox.spec.agent_provider,
        "workspace": sandbox.spec.workspace,
        "version": sandbox.version,
        "ran": sandbox.ran,
        "created_at": to_text(sandbox.created_at),
        "updated_at": to_text(sandbox.updated_at),
        "spec": vault.seal(Secret(to_json(sandbox.spec)), sandbox.id, "spec"),
        "failure": plain(sandbox.failure),
        "reason": sandbox.reason,
        "site": plain(sandbox.site),
        "image": plain(sandbox.image),
        "machine": plain(sandbox.machine),
        "held": sandbox.held and sandbox.held.value,
        "boot": sandbox.boot,
        "release": sandbox.release,
        "recovered_from": sandbox.recovered_from,
        "expires_at": sandbox.expires_at and to_text(sandbox.expires_at),
        "meter": plain(sandbox.meter),
    }


def sandbox_of(row: Row[Any], vault: Vault) -> Sandbox:
    """The sandbox in a row. Raises ConfigError when the spec does not open."""
    return Sandbox(
        id=row.id,
        name=row.name,
        spec=_spec(json.loads(vault.open(row.spec, row.id, "spec").reveal())),
        state=State(row.state),
        created_at=datetime.fromisoformat(row.created_at),
        updated_at=datetime.fromisoformat(row.updated_at),
        version=row.version,
        ran=row.ran,
        failure=Failure(**row.failure) if row.failure else None,
        reason=row.reason,
        site=_site(row.site) if row.site else None,
        image=MachineImage(**row.image) if row.image else None,
        machine=_machine(row.machine) if row.machine else None,
        held=Held(row.held) if row.held else None,
        boot=row.boot,
        release=row.release,
        recovered_from=row.recovered_from,
        expires_at=datetime.fromisoformat(row.expires_at) if row.expires_at else None,
        meter=_meter(row.meter) if row.meter else None,
    )


def _spec(values: Values) -> Spec:
    repos = [
        GitRepo(**repo | {"url": Secret(repo["url"]), "sparse_paths": tuple(repo["sparse_paths"])})
        for repo in values["git_repos"]
    ]
    nested = {
        "persistence": Persistence(values["persistence"]),
        "env_vars": {name: Secret(value) for name, value in values["env_vars"].items()},
        "git_repos": tuple(repos),
        "provisioning_scripts": tuple(values["provisioning_scripts"]),
        "ec2": _overrides(values["ec2"]),
    }
    return Spec(**values | nested)


def _overrides(values: Values) -> Ec2Overrides:
    """JSON has lists where the value has tuples."""
    tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return Ec2Overrides(**values | tuples)


def _site(values: Values) -> Site:
    nested = {"place": Place(**values["place"]), "login": Login(**values["login"])}
    return Site(**values | nested)


def _machine(values: Values) -> Machine:
    cause = values.get("cause")
    own = {
        "state": MachineState(values["state"]),
        "launched_at": datetime.fromisoformat(values["launched_at"]),
        "cause": Cause(cause) if cause else None,
    }
    return Machine(**values | own)


def _meter(values: Values) -> Meter:
    return Meter(values["usd_hour"], datetime.fromisoformat(values["since"]))
