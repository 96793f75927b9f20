"""The encoder of the recorded sentences, loaded once."""

import pytest

from dit_jax.text.minilm import MiniLM
from tests.text.sentences import LENGTH


@pytest.fixture(scope="session")
def minilm() -> MiniLM:
    return MiniLM(length=LENGTH)
