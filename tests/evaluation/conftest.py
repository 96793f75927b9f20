import numpy as np
import pytest

from dit_jax.weights import i3d_kinetics400 as weights


def _narrow(size: int) -> int:
    return size // 16 if size % 16 == 0 and size != 400 else size


@pytest.fixture(scope="session")
def small_weights():
    """Random I3D weights with a sixteenth of the channels. Not an FVD extractor."""
    random = np.random.RandomState(0)
    variables = {}
    for name, entry in weights.read_manifest().items():
        shape = tuple(map(_narrow, entry["shape"]))
        if name.endswith("moving_variance"):
            variables[name] = random.uniform(0.3, 3, shape).astype(np.float32)
        else:
            scale = 2 / np.sqrt(np.prod(shape[:-1])) if name.endswith("/w") else 0.3
            variables[name] = (random.randn(*shape) * scale).astype(np.float32)
    return weights.I3DWeights(variables, "random", "random")
