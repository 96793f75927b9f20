"""Where the arrays of a model lie on a mesh: activations, weights in use, attention."""

import dataclasses

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from dit_jax.parallel import sharding
from dit_jax.parallel.attention import on_mesh
from dit_jax.types import Attention, Constrain


@dataclasses.dataclass(frozen=True)
class OnMesh(Constrain):
    """Places the arrays of a model on a mesh. ring: see `attention.on_mesh`."""

    mesh: Mesh
    ring: int = 1

    def __call__(self, x: Array, dims: tuple[str | None, ...]) -> Array:
        found = sharding.check_divides(
            self.mesh, "activation", x.shape, dims, sharding.ACTIVATION_RULES
        )
        return self._put(x, found)

    def gather(self, weight: Array, dims: tuple[str | None, ...]) -> Array:
        """One all-gather forward, one reduce-scatter backward, both in the weight's
        dtype: left to itself the partitioner may copy activations instead."""
        sharded, whole = (
            sharding.spec(dims),
            sharding.spec(dims, sharding.GATHERED_RULES),
        )
        if sharded == whole:
            return weight

        @jax.custom_vjp
        def gathered(weight: Array) -> Array:
            return self._put(weight, whole)

        def forward(weight: Array) -> tuple[Array, None]:
            return gathered(weight), None

        def backward(_: None, gradient: Array) -> tuple[Array]:
            return (self._put(gradient, sharded),)

        gathered.defvjp(forward, backward)
        return gathered(weight)

    def attention(self, attention: Attention) -> Attention:
        return on_mesh(attention, self.mesh, self.ring)

    def _put(self, x: Array, where: PartitionSpec) -> Array:
        return jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, where))
