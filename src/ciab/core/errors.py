"""Every error that crosses a room's border. The tree answers: who must act?

RequestError: the caller. RuntimeFault: the provider or the operator. GuestFault: the machine.
Codes are part of the wire contract and never change; `retryable` means that the same call may
succeed later without anybody doing anything.
"""

from typing import ClassVar


class CiabError(Exception):
    """`message` is for a person at a terminal: what was tried, what happened. `hint`: what to do."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(CiabError):
    """The configuration cannot be used; nothing was started."""

    code = "config_error"


class RequestError(CiabError):
    """The caller must act."""

    code = "bad_request"


class InvalidRequest(RequestError):
    """The request cannot be understood or can never be granted."""

    code = "invalid_request"


class TooLarge(RequestError):
    """The body is larger than this route takes."""

    code = "request_too_large"


class Unauthorized(RequestError):
    """No key, or not one of ours."""

    code = "unauthorized"


class Forbidden(RequestError):
    """Known, but not allowed; also a Host or Origin that may not reach this server."""

    code = "forbidden"


class RateLimited(RequestError):
    """Too many requests of this caller."""

    code = "rate_limited"
    retryable = True


class NotFound(RequestError):
    """The thing named does not exist."""

    code = "not_found"


class SandboxNotFound(NotFound):
    """No sandbox has this id or name."""

    code = "sandbox_not_found"


class FileMissing(NotFound):
    """No file or folder at this path on the machine."""

    code = "file_not_found"


class AgentProviderNotFound(NotFound):
    """No agent provider has this name."""

    code = "agent_provider_not_found"


class Conflict(RequestError):
    """The request does not fit what is already there."""

    code = "conflict"


class InvalidState(Conflict):
    """The sandbox is in a state in which this is not possible."""

    code = "sandbox_invalid_state"


class BudgetExceeded(Conflict):
    """It would cost more than a budget allows."""

    code = "budget_exceeded"


class CommandFailed(RequestError):
    """A command that the user asked for at set-up, a script or a clone, ended with an error."""

    code = "command_failed"


class RuntimeFault(CiabError):
    """The provider of machines, or its operator, must act."""

    code = "runtime_fault"


class CapacityUnavailable(RuntimeFault):
    """No capacity in any type and zone that may be used."""

    code = "capacity_unavailable"
    retryable = True


class RuntimeUnavailable(RuntimeFault):
    """Throttled, unreachable, a server error: the outcome is unknown or later is better."""

    code = "runtime_unavailable"
    retryable = True


class RuntimeRejected(RuntimeFault):
    """A definite no: a bad image, no permission, a quota."""

    code = "ec2_error"


class MachineEnded(RuntimeRejected):
    """A machine ended and nobody asked us for that; what was on it is gone."""

    code = "machine_ended"


class SpotInterrupted(MachineEnded):
    """The provider took a spot machine back."""

    code = "spot_interrupted"


class MachineStopped(RuntimeRejected):
    """A machine was stopped and nobody asked us for that; its disk is there."""

    code = "machine_stopped"


class GuestFault(CiabError):
    """The machine answers, but not as it should: another host key, a refused login."""

    code = "ssh_error"


class GuestUnreachable(GuestFault):
    """The machine does not answer, or the connection to it broke."""

    code = "guest_unreachable"
    retryable = True


class TimedOut(CiabError):
    """It took longer than it may."""

    code = "timeout"
    retryable = True


class StepFailed(CiabError):
    """A step of the pipeline gave up: the last fault, and the step that met it. Stays in the control room."""

    def __init__(self, step: str, cause: CiabError) -> None:
        super().__init__(cause.message, hint=cause.hint)
        self.step = step
        self.cause = cause


class StaleVersion(Exception):
    """Somebody else saved this sandbox first. The loser reads it again or stops; never shown to a user."""
