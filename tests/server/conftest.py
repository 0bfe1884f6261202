from __future__ import annotations

import pytest
from server_apps import demo_held

from neuron_signatures.server.held import Held


@pytest.fixture(scope="module")
def held() -> Held:
    return demo_held()
