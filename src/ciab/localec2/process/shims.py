"""Programs that stand first in a machine's PATH, so that what needs root never reaches the host."""

import signal

POWEROFF = signal.SIGRTMIN + 4
REBOOT = signal.SIGRTMIN + 5
"""What the machine's first process understands; systemd's own numbers."""

_SUDO = """#!/bin/sh
# Runs the command as the machine's only user: nothing here can become root.
shell=
while [ $# -gt 0 ]; do
  case "$1" in
    --) shift; break ;;
    -u|-g|-h|-p|-C|-r|-t|-T|-U|-D|-R) shift; [ $# -gt 0 ] && shift ;;
    -i|-s|--login|--shell) shell=1; shift ;;
    -l|-v|-k|-K|-V|--list|--validate|--version) exit 0 ;;
    -*) shift ;;
    *=*) export "$1"; shift ;;
    *) break ;;
  esac
done
if [ $# -eq 0 ]; then exec "${SHELL:-/bin/sh}"; fi
if [ -n "$shell" ]; then exec "${SHELL:-/bin/sh}" -c "$*"; fi
exec "$@"
"""

_POWER = """#!/bin/sh
exec kill -{signal} {pid}
"""

_SHUTDOWN = """#!/bin/sh
# shutdown [-h|-P|-r|-c] [now|+MINUTES] [message]
signal={poweroff}
minutes=1
for word in "$@"; do
  case "$word" in
    -r|--reboot) signal={reboot} ;;
    -c) [ ! -f '{shims}/pending' ] || kill "$(cat '{shims}/pending')"; rm -f '{shims}/pending'; exit 0 ;;
    -*) ;;
    now) minutes=0; break ;;
    +*) minutes="${{word#+}}"; break ;;
    *) echo "shutdown: a local machine knows 'now' and '+MINUTES', not '$word'" >&2; exit 1 ;;
  esac
done
if [ "$minutes" = 0 ]; then exec kill -"$signal" {pid}; fi
setsid sh -c 'echo $$ >"$1"; sleep "$2"; exec kill -"$3" "$4"' sh \\
  '{shims}/pending' "$((minutes * 60))" "$signal" {pid} </dev/null >/dev/null 2>&1 &
"""

_SYSTEMCTL = """#!/bin/sh
for word in "$@"; do
  case "$word" in
    poweroff|halt|reboot) exec '{shims}'/"$word" ;;
  esac
done
echo "{name}: a local machine has no systemd; start the program itself, with setsid or nohup." >&2
exit 1
"""

_PACKAGES = """#!/bin/sh
echo "{name}: a local machine shares its host's /usr read-only and cannot install system packages." \\
  "Install into the home folder (pip, npm, cargo), or use an EC2 machine." >&2
exit 100
"""

_PACKAGE_TOOLS = ("apt", "apt-get", "aptitude", "dpkg", "snap", "yum", "dnf", "apk", "pacman", "zypper")


def shim_texts(shims: str, first_pid: int) -> dict[str, str]:
    """File name to shell script. `shims` is the folder they will be in, `first_pid` the process to signal."""
    power = {
        "shims": shims,
        "pid": first_pid,
        "poweroff": int(POWEROFF),
        "reboot": int(REBOOT),
    }
    texts = {"sudo": _SUDO, "shutdown": _SHUTDOWN.format(**power)}
    texts |= {name: _POWER.format(signal=int(POWEROFF), pid=first_pid) for name in ("poweroff", "halt")}
    texts["reboot"] = _POWER.format(signal=int(REBOOT), pid=first_pid)
    texts |= {name: _SYSTEMCTL.format(name=name, **power) for name in ("systemctl", "service")}
    texts |= {name: _PACKAGES.format(name=name) for name in _PACKAGE_TOOLS}
    return texts
