"""One login to one machine, by the sandbox's own keys and by nothing of this machine's configuration."""

import asyncio

import asyncssh

from ciab.adapters.ssh.dial import CONNECT_SECONDS, dial
from ciab.adapters.ssh.errors import translated
from ciab.core.guest import Target

LOGIN_SECONDS = 10
KEEPALIVE_SECONDS = 15
KEEPALIVE_MISSES = 3
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr")


async def log_in(target: Target) -> asyncssh.SSHClientConnection:
    """An open connection. Raises GuestUnreachable (try again), or GuestFault: another host key, no login."""
    with translated(f"log in to the machine at {target.host} port {target.port} as {target.user}"):
        host_key = asyncssh.import_public_key(target.host_key)
        user_key = asyncssh.import_private_key(target.user_key.reveal())
        async with asyncio.timeout(CONNECT_SECONDS + LOGIN_SECONDS):
            return await asyncssh.connect(
                target.host,
                target.port,
                sock=await dial(target.host, target.port),
                username=target.user,
                known_hosts=([host_key], [], []),
                client_keys=[user_key],
                preferred_auth=["publickey"],
                config=None,
                agent_path=None,
                gss_host=None,
                x509_trusted_certs=None,
                encryption_algs=CIPHERS,
                compression_algs=["none"],
                login_timeout=LOGIN_SECONDS,
                keepalive_interval=KEEPALIVE_SECONDS,
                keepalive_count_max=KEEPALIVE_MISSES,
            )
