from pathlib import Path

import pytest

from services.core.errors import InvalidRequest
from services.core.settings import Settings


def test_the_environment_overrides_the_defaults():
    settings = Settings.from_env({"QUARRY_HOME": "/data", "QUARRY_CACHE": "off", "QUARRY_WORKERS": "3", "OTHER": "x"})

    assert (settings.home, settings.cache, settings.worker_count) == (Path("/data"), False, 3)
    assert settings.cache_size_mb == 1000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUARRY_WORKERS", "two"),
        ("QUARRY_WORKERS", "-1"),
        ("QUARRY_CACHE", "maybe"),
        ("QUARRY_EMBEDDER", "magic"),
        ("QUARRY_BATCH_BYTES", "0"),
        ("QUARRY_PARSE_TIMEOUT_S", "nan"),
        ("QUARRY_PARSE_TIMEOUT_S", "0"),
    ],
)
def test_a_value_that_makes_no_sense_names_its_variable(name, value):
    with pytest.raises(InvalidRequest, match=name):
        Settings.from_env({name: value})


def test_settings_survive_the_way_to_another_process():
    settings = Settings(home=Path("/x y"), cache=False, parse_timeout_s=2.5, model="m")

    assert Settings.from_json(settings.to_json()) == settings
