"""From a call of the EC2 API to its answer: our own action where moto's is not faithful, else moto's."""

import time
from collections.abc import Callable
from typing import Any

from ciab.localec2.api import backend, changing, checks, instances, pages, parts
from ciab.localec2.api.checks import Params
from ciab.localec2.api.desk import Desk
from ciab.localec2.api.shared import Move
from ciab.localec2.api.state import Life
from ciab.localec2.api.wire import Call, Reply

# An action gives its result in the API's own names, or NotImplemented: then moto does it.
_OWN: dict[str, Callable[[Desk, Params], Any]] = {
    "RunInstances": instances.run_instances,
    "DescribeInstances": instances.describe_instances,
    "StartInstances": changing.start_instances,
    "StopInstances": changing.stop_instances,
    "RebootInstances": changing.reboot_instances,
    "TerminateInstances": changing.terminate_instances,
    "ModifyInstanceAttribute": changing.modify_instance_attribute,
    "GetConsoleOutput": changing.get_console_output,
    "CreateTags": parts.create_tags,
    "DeleteTags": parts.delete_tags,
    "CreateVolume": parts.create_volume,
    "DescribeVolumes": parts.describe_volumes,
    "DeleteVolume": parts.delete_volume,
    "CreateNetworkInterface": parts.create_network_interface,
    "DescribeNetworkInterfaces": parts.describe_network_interfaces,
    "DeleteNetworkInterface": parts.delete_network_interface,
}

# What these change of an instance is in its version; any other action may change how it is described.
_TRACKED = {"RunInstances", "StartInstances", "StopInstances", "RebootInstances", "TerminateInstances"}


def perform(desk: Desk, call: Call) -> tuple[Reply, list[tuple[Move, Life]]]:
    """Do the action, save what it changed, and say which machines are to move. Raises ApiError."""
    request = backend.read(call)
    reading = call.action.startswith(("Describe", "Get"))
    desk.state.forget(time.time() - desk.faults.terminated_secs)
    own = _OWN.get(call.action)
    result = own(desk, request.params) if own else NotImplemented
    if result is NotImplemented:
        checks.dry_run(request.params)
        reply = request.moto()
    elif isinstance(result, instances.Page):
        reply = pages.page(request, desk.state, result.reservations, result.token)
    else:
        reply = request.reply(result)
    moves, desk.moves = desk.moves, []
    if not reading:
        if call.action not in _TRACKED:
            desk.state.written.clear()
        desk.state.save()
    return reply, moves
