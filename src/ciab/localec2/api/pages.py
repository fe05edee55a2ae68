"""The answer to DescribeInstances, put together from pieces that are kept while they hold.

moto takes two milliseconds to write one instance as XML, and control planes ask several times a second:
each reservation is written once and again only when one of its instances has changed.
"""

from xml.sax.saxutils import escape

from moto.ec2.models.instances import Reservation

from ciab.localec2.api.backend import Ec2
from ciab.localec2.api.state import RegionState
from ciab.localec2.api.wire import Reply

_HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'
_OPEN = '<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15">'
_CLOSE = "</DescribeInstancesResponse>"


def page(request: Ec2, state: RegionState, reservations: list[Reservation], token: str | None) -> Reply:
    """One page; `token` is where the next one begins."""
    items = "".join(_item(request, state, reservation) for reservation in reservations)
    following = f"<nextToken>{escape(token)}</nextToken>" if token else ""
    reply = Reply(200, b"")
    text = (
        f"{_HEAD}{_OPEN}<requestId>{reply.request_id}</requestId>"
        f"<reservationSet>{items}</reservationSet>{following}{_CLOSE}"
    )
    return Reply(200, text.encode(), request_id=reply.request_id)


def _item(request: Ec2, state: RegionState, reservation: Reservation) -> str:
    versions = tuple((i.id, state.lives[i.id].version) for i in reservation.instances)
    kept = state.written.get(reservation.id)
    if kept is None or kept[0] != versions:
        alone = request.reply({"Reservations": [reservation]}).body.decode()
        begin, end = (
            alone.index("<reservationSet>") + len("<reservationSet>"),
            alone.rindex("</reservationSet>"),
        )
        kept = state.written[reservation.id] = (versions, alone[begin:end])
    return kept[1]
