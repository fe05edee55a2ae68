"""The instance metadata service of one machine, as EC2 answers it with IMDSv2 required.

`PUT /latest/api/token` gives a token; every GET needs one, else 401. Paths and shapes are those of the EC2
user guide ("Instance metadata categories"); a version is `latest` or a date. What is not here is a 404.
"""

import asyncio
import json
import re
import secrets
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, TypeAlias

from aiohttp import web

from ciab.localec2.host import MachineOrder, Notice

Tree: TypeAlias = Mapping[str, "str | bytes | Tree"]

_VERSION = re.compile(r"latest|\d{4}-\d{2}-\d{2}|1\.0")
_LONGEST: Final = 21600
_ACCOUNT: Final = "123456789012"
_HEADER = "X-aws-ec2-metadata-token"
_TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"


class Imds:
    """Serves one machine's tree on a socket until closed."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        """What is told from now on; replaced as a whole."""
        self._tokens: dict[str, float] = {}
        self._web = web.Server(self._answer, access_log=None)
        self._listener: asyncio.Server | None = None

    async def serve(self, bound: socket.socket) -> None:
        """Answer on `bound`, a TCP socket bound to the address and port, and close it in `close`."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._web, sock=bound, start_serving=False)
        await self._listener.start_serving()

    async def close(self) -> None:
        """Stop answering. Once is enough, twice is fine."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._web.shutdown(timeout=0)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/latest/api/token":
            return self._new_token(request)
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED)
        if self._tokens.get(request.headers.get(_HEADER, ""), 0.0) < time.monotonic():
            return web.Response(status=HTTPStatus.UNAUTHORIZED)
        found = look_up(self.tree, request.path)
        if found is None:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        kind = "application/octet-stream" if isinstance(found, bytes) else "text/plain"
        return web.Response(body=found, content_type=kind)

    def _new_token(self, request: web.BaseRequest) -> web.Response:
        if request.method != "PUT":
            return web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED)
        if "X-Forwarded-For" in request.headers:  # so that an open proxy on the machine gives nothing away
            return web.Response(status=HTTPStatus.FORBIDDEN)
        seconds = request.headers.get(_TTL_HEADER, "")
        if not seconds.isascii() or not seconds.isdigit() or not 1 <= int(seconds) <= _LONGEST:
            return web.Response(status=HTTPStatus.BAD_REQUEST)
        now = time.monotonic()
        self._tokens = {token: until for token, until in self._tokens.items() if until > now}
        token = secrets.token_urlsafe(42)
        self._tokens[token] = now + int(seconds)
        return web.Response(text=token, headers={_TTL_HEADER: seconds})


def metadata(order: MachineOrder, mac: str, notice: Notice | None = None) -> Tree:
    """Everything EC2 would tell this instance, below the version. `spot/` is there once it is to be taken."""
    domain = "ec2.internal" if order.region == "us-east-1" else f"{order.region}.compute.internal"
    local_name = f"{hostname(order)}.{domain}"
    card: dict[str, str | bytes | Tree] = {
        "device-number": "0",
        "local-hostname": local_name,
        "local-ipv4s": order.private_ip,
        "mac": mac,
    }
    meta: dict[str, str | bytes | Tree] = {
        "ami-id": order.image_id,
        "ami-launch-index": "0",
        "hostname": local_name,
        "instance-id": order.instance_id,
        "instance-life-cycle": "spot" if order.spot else "on-demand",
        "instance-type": order.instance_type,
        "local-hostname": local_name,
        "local-ipv4": order.private_ip,
        "mac": mac,
        "placement": {"availability-zone": order.zone, "region": order.region},
    }
    if order.public_ip is not None:
        meta["public-ipv4"] = card["public-ipv4s"] = order.public_ip
    if order.public_key is not None:
        # The listing says "0=NAME", the path of the key has only the number.
        meta["public-keys"] = {f"0={order.key_name}": {"openssh-key": order.public_key.strip()}}
    if notice is not None:
        at = f"{notice.at:%Y-%m-%dT%H:%M:%SZ}"
        action = json.dumps({"action": notice.action, "time": at})
        meta["spot"] = {"instance-action": action, "termination-time": at}
    meta["network"] = {"interfaces": {"macs": {mac: card}}}
    tree: dict[str, str | bytes | Tree] = {
        "meta-data": meta,
        "dynamic": {"instance-identity": {"document": _identity_document(order)}},
    }
    if order.user_data is not None:
        tree["user-data"] = order.user_data
    return tree


def hostname(order: MachineOrder) -> str:
    """The name EC2 gives an instance, from its private address."""
    return "ip-" + order.private_ip.replace(".", "-")


def look_up(tree: Tree, path: str) -> str | bytes | None:
    """The value at `/VERSION/...`, the listing of a folder (a slash behind what is a folder too), or None."""
    version, *names = [name for name in path.split("/") if name] or [""]
    if not version:
        return "latest"
    if not _VERSION.fullmatch(version):
        return None
    here: str | bytes | Tree = tree
    for name in names:
        found = _child(here, name)
        if found is None:
            return None
        here = found
    return here if isinstance(here, str | bytes) else _listing(here)


def _child(here: "str | bytes | Tree", name: str) -> "str | bytes | Tree | None":
    if isinstance(here, str | bytes):
        return None
    if name in here:
        return here[name]
    return next((value for key, value in here.items() if key.startswith(f"{name}=")), None)


def _listing(folder: Tree) -> str:
    return "\n".join(
        name if isinstance(value, str | bytes) or "=" in name else f"{name}/"
        for name, value in sorted(folder.items())
    )


def _identity_document(order: MachineOrder) -> str:
    document = {
        "accountId": _ACCOUNT,
        "architecture": "x86_64",
        "availabilityZone": order.zone,
        "imageId": order.image_id,
        "instanceId": order.instance_id,
        "instanceType": order.instance_type,
        "pendingTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "privateIp": order.private_ip,
        "region": order.region,
        "version": "2017-09-30",
    }
    return json.dumps(document, indent=2)
