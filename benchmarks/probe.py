"""When a machine's SSH server first answers, watched from a process of its own so that no loop delays it.

One line in for each machine, `HOST PORT`; one line out, the moment in ns of CLOCK_MONOTONIC, which all
processes share. To answer is to send the banner: a port that is open but silent does not count.
"""

import socket
import sys
import time

EVERY_SECS = 0.01
LIMIT_SECS = 120.0


def answers(host: str, port: int) -> bool:
    """One try."""
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def main() -> None:
    for line in sys.stdin:
        host, port = line.split()
        limit = time.monotonic() + LIMIT_SECS
        while not answers(host, int(port)):
            if time.monotonic() > limit:
                sys.exit(f"{host} port {port} does not answer")
            time.sleep(EVERY_SECS)
        print(time.monotonic_ns(), flush=True)


if __name__ == "__main__":
    main()
