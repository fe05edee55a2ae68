"""Commands inside a sandbox: the request, the result as a whole, and the frames of a stream."""

import base64
import binascii
import codecs
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, SecretStr, TypeAdapter, model_validator

from ciab.core.errors import InvalidRequest
from ciab.core.guest import Command, Exit, Output, Ran
from ciab.core.secret import Secret
from ciab.schema.errors import ErrorInfo
from ciab.schema.values import STRICT, Argument, EnvName, EnvValue, Path, SecretText

Encoding = Literal["utf-8", "base64"]
"""How bytes become text, in and out. As utf-8, bytes that are not are replaced by U+FFFD."""


class ExecRequest(BaseModel):
    """`command` is run as it is, without a shell; `["bash", "-lc", "..."]` is how to ask for one."""

    model_config = STRICT

    command: Annotated[list[Argument], Field(max_length=100_000)]
    workdir: Path | None = None
    """None: ~/workspace. Relative paths are below that; `~/` is the home."""
    env: dict[EnvName, EnvValue] = {}
    """On top of the sandbox's own variables."""
    stdin: SecretText = SecretStr("")
    timeout_secs: Annotated[float, Field(gt=0, le=31_536_000)] | None = None
    tty: bool = False
    encoding: Encoding = "utf-8"

    @model_validator(mode="after")
    def _program(self) -> Self:
        if not self.command or not self.command[0]:
            raise ValueError("command is empty: its first word names a program")
        return self

    def to_core(self) -> Command:
        """The core's value, with the request's own variables alone. Raises InvalidRequest."""
        if self.tty:
            raise InvalidRequest(
                "this release cannot run a command on a terminal yet",
                hint="leave tty out, or use 'ciab sandbox ssh' for a terminal",
            )
        return Command(
            argv=tuple(self.command),
            workdir=self.workdir,
            env={name: Secret(value.get_secret_value()) for name, value in self.env.items()},
            timeout=self.timeout_secs,
        )

    def stdin_bytes(self) -> bytes:
        """What the command reads. Raises InvalidRequest when it is not the base64 it should be."""
        text = self.stdin.get_secret_value()
        if self.encoding == "utf-8":
            return text.encode("utf-8", "surrogatepass")
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidRequest("stdin is not base64", hint="encode it, or leave encoding out") from error


class ExecResult(BaseModel):
    """A command that has ended. A time-out is exit code 124 with `timed_out` and the output so far."""

    exit_code: int
    stdout: str
    stderr: str
    duration_ms: int
    timed_out: bool = False
    truncated: bool = False

    @classmethod
    def from_core(cls, ran: Ran, encoding: Encoding = "utf-8") -> Self:
        """Output as text in the encoding that the request asked for."""
        return cls(
            exit_code=ran.exit_code,
            stdout=_text(ran.stdout, encoding),
            stderr=_text(ran.stderr, encoding),
            duration_ms=ran.duration_ms,
            timed_out=ran.timed_out,
            truncated=ran.truncated,
        )


class OutputFrame(BaseModel):
    """A piece of output, in the request's encoding."""

    type: Literal["stdout", "stderr"]
    text: str


class ExitFrame(BaseModel):
    """The last frame of a command that has ended."""

    type: Literal["exit"] = "exit"
    code: int
    duration_ms: int
    timed_out: bool = False


class ErrorFrame(BaseModel):
    """The last frame when the machine or the connection failed: how the command ended is not known."""

    type: Literal["error"] = "error"
    error: ErrorInfo


Frame = Annotated[OutputFrame | ExitFrame | ErrorFrame, Field(discriminator="type")]
FRAME: TypeAdapter[OutputFrame | ExitFrame | ErrorFrame] = TypeAdapter(Frame)


class Framer:
    """Turns output into frames; as utf-8, a character cut in two by the pieces stays one."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        make = codecs.getincrementaldecoder("utf-8")
        self._decoders = {"stdout": make("replace"), "stderr": make("replace")}

    def frames(self, item: Output | Exit) -> list[OutputFrame | ExitFrame]:
        """What to send for this item; nothing while a character is incomplete."""
        if isinstance(item, Output):
            return self._output(item.stream, item.data, final=False)
        rest = [frame for stream in ("stdout", "stderr") for frame in self._output(stream, b"", final=True)]
        end = ExitFrame(code=item.code, duration_ms=item.duration_ms, timed_out=item.timed_out)
        return [*rest, end]

    def _output(
        self, stream: Literal["stdout", "stderr"], data: bytes, *, final: bool
    ) -> list[OutputFrame | ExitFrame]:
        if self._encoding == "base64":
            text = base64.b64encode(data).decode("ascii")
        else:
            text = self._decoders[stream].decode(data, final)
        return [OutputFrame(type=stream, text=text)] if text else []


def _text(data: bytes, encoding: Encoding) -> str:
    if encoding == "base64":
        return base64.b64encode(data).decode("ascii")
    return data.decode("utf-8", "replace")
