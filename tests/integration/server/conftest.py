"""For tests of bad input: one real server and one running sandbox for all of them. And a region of image
machines, one for each module that wants it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from ciab.core.states import State
from ciab.schema.spec import SandboxSpec
from tests.region import RunningRegion, region
from tests.server import RunningServer, server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """A server with the running sandbox `box`."""
    async with server(tmp_path_factory.mktemp("bad")) as here:
        async with here.client() as client:
            await client.create_sandbox(SandboxSpec(agent_provider="command", name="box"))
            assert (await client.wait_until("box")).state is State.RUNNING
        yield here


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def http(shared: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    """A plain client of it."""
    async with shared.http() as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def nothing_changes(shared: RunningServer, http: httpx.AsyncClient) -> AsyncIterator[None]:
    """The test makes and ends no sandbox, launches nothing, and the server is well afterwards."""
    region = RunningRegion(shared.region_folder, endpoint=shared.region()["endpoint"])

    async def world() -> object:
        listed = (await http.get("/api/v1/sandboxes")).json()
        for sandbox in listed:
            del sandbox["cost"]  # it grows while nothing changes
        counts = (await region.calls())["counts"]
        return listed, [(name, actions.get("RunInstances")) for name, actions in counts.items()]

    before = await world()
    yield
    assert await world() == before
    assert (await http.get("/health")).status_code == 200
    assert "Traceback" not in shared.output()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def aws(
    tmp_path_factory: pytest.TempPathFactory, root_file_system: Path
) -> AsyncIterator[RunningRegion]:
    """An EC2 endpoint like any other, whose machines have real systemd, cloud-init and OpenSSH."""
    arguments = ("--machines", "image", "--rootfs", str(root_file_system))
    async with region(tmp_path_factory.mktemp("aws") / "region", arguments=arguments) as running:
        yield running
