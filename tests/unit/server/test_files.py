"""Files over HTTP."""

from urllib.parse import quote

import pytest

from tests.unit.server.desk import API, Desk


@pytest.mark.parametrize(
    ("path", "full"),
    [
        ("etc/motd", "/etc/motd"),
        ("/etc/motd", "/etc/motd"),
        ("~/notes", "/home/ubuntu/notes"),
        ('~/a b/quote\'s "two"', '/home/ubuntu/a b/quote\'s "two"'),
        ("tmp/new\nline", "/tmp/new\nline"),
        ("tmp/ends\n", "/tmp/ends\n"),
        ("tmp/ü?#%2F&=", "/tmp/ü?#%2F&="),
    ],
)
async def test_what_went_in_comes_out_under_any_name(desk: Desk, path: str, full: str) -> None:
    await desk.create(name="one")
    url, content = f"{API}/one/files/{quote(path)}", bytes(range(256)) * 1000
    put = await desk.http.put(url, content=content)
    assert (put.status_code, put.json()["path"], put.json()["size"]) == (200, full, len(content))
    got = await desk.http.get(url)
    assert got.content == content
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-length"] == str(len(content))
    head = await desk.http.head(url)
    assert (head.content, head.headers["content-length"]) == (b"", str(len(content)))
    assert (await desk.http.delete(url)).status_code == 204
    for method in ("GET", "HEAD", "DELETE"):
        assert (await desk.http.request(method, url)).status_code == 404
    assert (await desk.http.get(url)).json()["error"]["code"] == "file_not_found"


async def test_an_upload_may_be_larger_than_a_request_of_json(desk: Desk) -> None:
    await desk.create(name="one")
    content = b"x" * (3 * 1024 * 1024)
    assert (await desk.http.put(f"{API}/one/files/tmp/big", content=content)).json()["size"] == len(content)
    assert (await desk.http.get(f"{API}/one/files/tmp/big")).content == content


async def test_an_empty_file_is_a_file(desk: Desk) -> None:
    await desk.create(name="one")
    await desk.http.put(f"{API}/one/files/tmp/empty", content=b"")
    assert (await desk.http.get(f"{API}/one/files/tmp/empty")).content == b""


async def test_folders_and_what_is_no_file_are_refused(desk: Desk) -> None:
    made = await desk.create(name="one")
    files = (await desk.inside(made)).files
    files.make_folder("/tmp")
    files.make_fifo("/tmp/fifo")
    for path, word in (("tmp", "folder"), ("tmp/fifo", "regular"), ("~/", "folder")):
        refused = await desk.http.get(f"{API}/one/files/{path}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")
        assert word in refused.json()["error"]["message"]
    assert (await desk.http.put(f"{API}/one/files/tmp", content=b"")).status_code == 422
    assert (await desk.http.put(f"{API}/one/files/", content=b"")).status_code == 422
    assert (await desk.http.get(f"{API}/one/files/tmp/a%00b")).status_code == 422


@pytest.mark.parametrize("address", ["/tmp/%ff", "?path=/tmp/%ff", "/tmp/%ed%a0%80"])
async def test_an_address_that_is_not_utf_8_is_refused_and_not_taken_for_another(
    desk: Desk, address: str
) -> None:
    await desk.create(name="one")
    for method in ("GET", "PUT", "DELETE"):
        refused = await desk.http.request(method, f"{API}/one/files{address}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")


async def test_a_folder_is_listed_by_name(desk: Desk) -> None:
    await desk.create(name="one")
    for name in ("b", "a", "c/d"):
        await desk.http.put(f"{API}/one/files/~/workspace/{name}", content=b"12")
    listed = (await desk.http.get(f"{API}/one/files")).json()
    assert [(one["path"], one["is_dir"]) for one in listed] == [
        ("/home/ubuntu/workspace/a", False),
        ("/home/ubuntu/workspace/b", False),
        ("/home/ubuntu/workspace/c", True),
    ]
    for path in ("c", "~/workspace/c", "/home/ubuntu/workspace/c"):
        [only] = (await desk.http.get(f"{API}/one/files", params={"path": path})).json()
        assert only["path"] == "/home/ubuntu/workspace/c/d"
    assert (await desk.http.get(f"{API}/one/files", params={"path": "/nowhere"})).status_code == 404


async def test_files_need_a_running_sandbox(desk: Desk) -> None:
    await desk.create(name="one")
    await desk.http.delete(f"{API}/one")
    await desk.supervisor.rest()
    for method in ("GET", "PUT", "DELETE"):
        assert (await desk.http.request(method, f"{API}/one/files/tmp/x")).status_code == 409
