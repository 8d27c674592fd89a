"""The `quarry` command."""

from services.cli.main import main, run

__all__ = ["main", "run"]
