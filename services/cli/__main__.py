"""`python -m services.cli` is the `quarry` command."""

import sys

from services.cli.main import run

sys.exit(run())
