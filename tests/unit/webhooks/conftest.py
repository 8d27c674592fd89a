"""An index of one repository with a secret, and clients of an API that takes webhooks for it."""

from functools import partial

import pytest

from tests.unit.webhook_senders import known_index, serve_webhooks


@pytest.fixture
def index(tmp_path):
    return known_index(tmp_path)


@pytest.fixture
def serve(index):
    return partial(serve_webhooks, index)


@pytest.fixture
def client(serve):
    return serve()
