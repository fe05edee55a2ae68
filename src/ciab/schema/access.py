"""A login for a limited time, with a key pair of which the server only ever sees the public half."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from ciab.schema.values import STRICT

_PUBLIC_KEY = re.compile(
    r"(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|ssh-rsa) [A-Za-z0-9+/]+={0,2}( [!-~]+)?\Z"
)


def _public_key(text: str) -> str:
    line = text.strip()
    if not _PUBLIC_KEY.match(line):
        raise ValueError("a public key is one line in OpenSSH's format, as in 'ssh-ed25519 AAAA... comment'")
    return line


class SshAccessRequest(BaseModel):
    """`public_key` is authorized for `ttl_secs` from now."""

    model_config = STRICT

    public_key: Annotated[str, Field(max_length=16_384), AfterValidator(_public_key)]
    ttl_secs: Annotated[float, Field(gt=0, le=86_400)] = 3600


class SshAccess(BaseModel):
    """How to log in. `host_key` is the machine's public line: accept no other."""

    user: str
    host_key: str
    port: int
    expires_at: datetime
