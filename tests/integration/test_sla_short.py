"""The short load test on the embedded mode: searches at a constant rate while a repository is indexed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_embedded_mode_holds_the_short_service_levels(tmp_path):
    command = [sys.executable, "-m", "loadtest.run", "--profile", "short", "--target", "embedded"]
    done = subprocess.run(
        [*command, "--results", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=180
    )

    assert done.returncode == 0, done.stdout + done.stderr
    [path] = tmp_path.glob("embedded-short-*.json")
    assert json.loads(path.read_text())["held"] is True
