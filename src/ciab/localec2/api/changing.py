"""What is done to instances that exist: start, stop, reboot, terminate, their attributes, their console."""

import base64
from typing import Any

from moto.core.types import Base64EncodedString
from moto.core.utils import utcnow
from moto.ec2.utils import parse_user_data

from ciab.localec2.api import checks, reasons
from ciab.localec2.api.backend import OFFERED
from ciab.localec2.api.checks import Params
from ciab.localec2.api.desk import Desk
from ciab.localec2.api.shared import Move
from ciab.localec2.api.state import Life
from ciab.localec2.api.wire import ApiError


def start_instances(desk: Desk, params: Params) -> object:
    lives = _chosen(desk, params)
    _no_spot(lives, "start")
    _only_in(lives, {"stopped", "pending", "running"}, "started")
    asleep = [life for life in lives if life.state == "stopped"]
    for life in asleep:
        desk.within_quota(life.instance.instance_type, 1)
        desk.with_capacity(life.instance.instance_type, [life.zone])
    checks.dry_run(params)
    return {"StartingInstances": [_change(desk, life, "pending", life in asleep) for life in lives]}


def stop_instances(desk: Desk, params: Params) -> object:
    lives = _chosen(desk, params)
    _only_in(lives, {"running", "stopping", "stopped"}, "stopped")
    _no_spot(lives, "stop")
    hibernate = bool(params.get("Hibernate"))
    for life in lives:
        if hibernate and not (life.instance.hibernation_options or {}).get("Configured"):
            raise ApiError(
                "UnsupportedHibernationConfiguration", f"Hibernation is not configured for '{life.id}'."
            )
    checks.dry_run(params)
    changed = []
    for life in lives:
        act = life.state == "running"
        if act:
            life.hibernated = hibernate
        changed.append(_change(desk, life, "stopping", act))
    return {"StoppingInstances": changed}


def terminate_instances(desk: Desk, params: Params) -> object:
    lives = _chosen(desk, params)
    for life in lives:
        if life.instance.disable_api_termination:
            raise ApiError(
                "OperationNotPermitted",
                f"The instance '{life.id}' may not be terminated. Modify its 'disableApiTermination' "
                "instance attribute and try again.",
            )
    checks.dry_run(params)
    over = {"shutting-down", "terminated"}
    changed = [_change(desk, life, "shutting-down", life.state not in over) for life in lives]
    return {"TerminatingInstances": changed}


def reboot_instances(desk: Desk, params: Params) -> object:
    lives = _chosen(desk, params)
    _only_in(lives, {"running"}, "rebooted")
    checks.dry_run(params)
    desk.moves.extend((Move.REBOOT, life) for life in lives)
    return None


def modify_instance_attribute(desk: Desk, params: Params) -> object:
    """The attributes that change what a machine does. NotImplemented: let moto do it."""
    life = desk.named([params.get("InstanceId", "")])[0]
    instance = life.instance
    if (behaviour := _value(params, "InstanceInitiatedShutdownBehavior")) is not None:
        checks.dry_run(params)
        instance.instance_initiated_shutdown_behavior = checks.shutdown_behaviour(behaviour)
    elif (kind := _value(params, "InstanceType")) is not None:
        _only_in([life], {"stopped"}, "modified")
        if kind not in OFFERED:
            raise ApiError("InvalidParameterValue", f"Invalid value '{kind}' for InstanceType.")
        checks.dry_run(params)
        instance.instance_type = kind
    elif (data := _value(params, "UserData")) is not None:  # a blob here, base64 text in RunInstances
        _only_in([life], {"stopped"}, "modified")
        encoded = base64.b64encode(data).decode()
        checks.user_data(encoded)
        checks.dry_run(params)
        instance.user_data = parse_user_data(encoded)
    else:
        return NotImplemented
    return None


def get_console_output(desk: Desk, params: Params) -> object:
    life = desk.named([params.get("InstanceId", "")])[0]
    text = desk.shared.host.console(life.id) or life.console
    encoded = Base64EncodedString.from_raw_string(text)
    return {"InstanceId": life.id, "Timestamp": utcnow(), "Output": encoded}


def _chosen(desk: Desk, params: Params) -> list[Life]:
    return desk.named(params.get("InstanceIds", []))


def _only_in(lives: list[Life], states: set[str], verb: str) -> None:
    for life in lives:
        if life.state not in states:
            raise ApiError(
                "IncorrectInstanceState",
                f"The instance '{life.id}' is not in a state from which it can be {verb}: {life.state}.",
            )


def _no_spot(lives: list[Life], verb: str) -> None:
    for life in lives:
        if life.spot:
            raise ApiError(
                "UnsupportedOperation",
                f"You can't {verb} the Spot Instance '{life.id}' because it is associated with a one-time "
                "Spot Instance request.",
            )


_MOVES = {"pending": Move.BOOT, "stopping": Move.HALT, "shutting-down": Move.END}


def _change(desk: Desk, life: Life, to: str, act: bool) -> dict[str, Any]:
    before = life.instance.instance_state
    if act:
        hibernate = to == "stopping" and life.hibernated
        if to == "pending":
            life.instance.launch_time = utcnow()
            life.show("pending")
        else:
            life.show(to, reasons.asked(hibernate=hibernate))
        desk.moves.append((Move.HIBERNATE if hibernate else _MOVES[to], life))
    return {
        "InstanceId": life.id,
        "PreviousState": before,
        "CurrentState": life.instance.instance_state,
    }


def _value(params: Params, name: str) -> Any:
    return params.get(name, {}).get("Value")
