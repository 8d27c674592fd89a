"""The command line's words. Commands are imported when they are run, so that each starts as fast as it can."""

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

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
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _index(commands)
    _search(commands)
    _serve(commands)
    _status(commands)
    _maintenance(commands)
    return top


def _command(commands: Commands, name: str, run: str, summary: str) -> argparse.ArgumentParser:
    sub = commands.add_parser(name, help=summary, description=summary)
    module, function = run.split(":")
    sub.set_defaults(run=lambda arguments, settings: _load(module, function)(arguments, settings))
    return sub


def _load(module: str, function: str) -> Run:
    run: Run = getattr(import_module(f"services.cli.{module}"), function)
    return run


def _json(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--json", action="store_true", help="print one JSON object")


def _index(commands: Commands) -> None:
    sub = _command(commands, "index", "index:index", "index a repository, or bring it up to date")
    sub.add_argument("source", metavar="PATH|GIT_URL", help="a directory, a git repository, or the URL of one")
    sub.add_argument("--name", help="what to call it (default: the last part of the path)")
    sub.add_argument(
        "--ref", help="branch, tag or commit of a git repository (default: the one indexed before, or HEAD)"
    )
    _json(sub)


def _search(commands: Commands) -> None:
    sub = _command(commands, "search", "search:search", "search everything that is indexed")
    sub.add_argument("query", help="words, an identifier or a pattern")
    sub.add_argument("--repo", action="append", default=[], help="only this repository (repeatable)")
    sub.add_argument("--lang", action="append", default=[], help="only this language (repeatable)")
    sub.add_argument("--path", metavar="GLOB", help="only paths that fit, such as 'src/**/*.py'")
    sub.add_argument("--mode", choices=MODES, default="hybrid", help="how to search (default: hybrid)")
    sub.add_argument("--limit", type=int, default=10, help="number of hits (default: 10)")
    _json(sub)


def _serve(commands: Commands) -> None:
    sub = _command(commands, "serve", "serve:serve", "run the HTTP API and the search page")
    sub.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    sub.add_argument("--port", type=int, default=8080, help="port to listen on, 0 for a free one (default: 8080)")


def _status(commands: Commands) -> None:
    sub = _command(commands, "status", "status:status", "what is indexed, what was skipped and why, what runs")
    sub.add_argument("name", nargs="?", metavar="REPO", help="only this repository")
    sub.add_argument("--skipped", action="store_true", help="list every skipped file with its reason")
    _json(sub)
    _json(_command(commands, "repos", "status:repos", "list the repositories"))
    sub = _command(commands, "remove", "status:remove", "remove a repository from the index")
    sub.add_argument("name", metavar="REPO")
    _json(sub)


def _maintenance(commands: Commands) -> None:
    sub = _command(commands, "cache", "maintenance:cache", "look at the embedding cache or empty it")
    sub.add_argument("action", choices=("stats", "clear"))
    _json(sub)
    sub = _command(commands, "rebuild", "maintenance:rebuild", "rebuild the vector store from what is stored")
    sub.add_argument("name", nargs="?", metavar="REPO", help="only this repository")
    _json(sub)
    _json(_command(commands, "doctor", "maintenance:doctor", "check that everything stored is whole and agrees"))
