"""Trouble at one call of a port, counted from the first: before it is made, or when its answer comes."""

import inspect
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

from ciab.core.errors import CiabError, GuestUnreachable, RuntimeUnavailable

Side = Literal["before", "after"]
Port = TypeVar("Port")


class Killed(BaseException):
    """The process died here: no handler of the program sees this as an error."""


def killed(port: str) -> BaseException | None:
    """It dies at any call."""
    return Killed()


def passing(port: str) -> CiabError | None:
    """What each port raises when it is out of reach for a moment; the database always is there."""
    if port == "machines":
        return RuntimeUnavailable("the answer was lost")
    return GuestUnreachable("the answer was lost") if port in ("care", "connections") else None


class Peril:
    """Strikes at call number `at`. `struck` names that call afterwards; None: it was never made."""

    def __init__(self, at: int, side: Side, fault: Callable[[str], BaseException | None] = killed) -> None:
        self.struck: str | None = None
        self._left = at
        self._side = side
        self._fault = fault

    def around(self, port: Port, name: str) -> Port:
        """The port, in peril."""
        return cast(Port, _Endangered(port, name, self))

    async def call(self, method: Callable[..., Any], port: str, *args: object, **kwargs: object) -> object:
        """Make the call, with trouble if it is its turn."""
        fault = None if self.struck else self._fault(port)
        turn = False
        if fault:
            turn, self._left = self._left == 0, self._left - 1
        if turn:
            self.struck = f"{port}.{method.__name__}"
        if turn and fault and self._side == "before":
            raise fault
        answer = await method(*args, **kwargs)
        if turn and fault:
            raise fault
        return answer


class _Endangered:
    def __init__(self, port: object, name: str, peril: Peril) -> None:
        self._port = port
        self._name = name
        self._peril = peril

    def __getattr__(self, attribute: str) -> object:
        found = getattr(self._port, attribute)
        if attribute == "care":
            return self._peril.around(found, "care")
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: object, **kwargs: object) -> object:
            answer = await self._peril.call(found, self._name, *args, **kwargs)
            return self._peril.around(answer, "connection") if attribute == "connect" else answer

        return call
