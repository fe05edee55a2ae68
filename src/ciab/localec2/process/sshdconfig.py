"""The part of sshd_config(5) that a drop-in in user-data may set.

Like sshd, an unknown keyword is refused, and of a keyword given twice the first one counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ciab.localec2.host import MachineError

DROP_INS = "/etc/ssh/sshd_config.d/"
_FIXED = {"passwordauthentication": "no", "kbdinteractiveauthentication": "no", "permitrootlogin": "no"}
_FIXED |= {"pubkeyauthentication": "yes", "usedns": "no", "permituserrc": "no", "x11forwarding": "no"}
_FIXED |= {"allowtcpforwarding": "yes", "allowstreamlocalforwarding": "yes", "gatewayports": "no"}
_FIXED |= {"allowagentforwarding": "no", "printmotd": "no", "printlastlog": "no", "tcpkeepalive": "yes"}
_IGNORED = {"maxstartups", "logingracetime", "loglevel"}
"""Of no effect on what a client sees here: one machine serves one control plane."""


@dataclass(frozen=True, slots=True)
class SshdSettings:
    """Defaults are those of Ubuntu's sshd. Times are seconds; 0 turns keep-alive off."""

    port: int | None = None
    """None: no drop-in says it."""
    max_sessions: int = 10
    client_alive_interval: int = 0
    client_alive_count_max: int = 3
    accept_env: tuple[str, ...] = ("LANG", "LC_*")
    stream_local_bind_unlink: bool = False


def read_sshd_settings(drop_ins: Iterable[str]) -> SshdSettings:
    """Settings from drop-ins in the order of their file names. Raises MachineError naming what it refuses."""
    found: dict[str, str] = {}
    accept_env: list[str] = []
    for text in drop_ins:
        for line in text.splitlines():
            keyword, value = _split(line)
            if keyword == "acceptenv":
                accept_env += value.split()
            elif keyword:
                found.setdefault(keyword, value)
    for keyword, value in found.items():
        _check(keyword, value)
    return SshdSettings(
        port=_number(found, "port", 1, 65535, 22) if "port" in found else None,
        max_sessions=_number(found, "maxsessions", 0, 100_000, 10),
        client_alive_interval=_number(found, "clientaliveinterval", 0, 86_400, 0),
        client_alive_count_max=_number(found, "clientalivecountmax", 0, 100_000, 3),
        accept_env=("LANG", "LC_*", *accept_env),
        stream_local_bind_unlink=found.get("streamlocalbindunlink", "no").lower() == "yes",
    )


_READ = {
    "port",
    "maxsessions",
    "clientaliveinterval",
    "clientalivecountmax",
    "streamlocalbindunlink",
}


def _split(line: str) -> tuple[str, str]:
    text = line.split("#", 1)[0].strip()
    keyword, _, value = text.replace("=", " ", 1).partition(" ")
    return keyword.lower(), value.strip().strip('"')


def _check(keyword: str, value: str) -> None:
    if keyword in _READ or keyword in _IGNORED:
        return
    if keyword not in _FIXED:
        raise MachineError(
            f"The user-data's sshd setting {keyword!r} is not one that a local machine knows; leave it out."
        )
    if value.lower() != _FIXED[keyword]:
        raise MachineError(
            f"The sshd setting {keyword!r} is always {_FIXED[keyword]!r} on a local machine; "
            f"the user-data asks for {value!r}."
        )


def _number(found: dict[str, str], keyword: str, low: int, high: int, default: int) -> int:
    text = found.get(keyword)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise MachineError(
            f"The sshd setting {keyword!r} must be a number from {low} to {high}, not {text!r}."
        )
    return int(text)
