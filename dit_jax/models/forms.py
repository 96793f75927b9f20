"""A form: an attention function of one device, with what a mesh must know of it."""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
from jaxtyping import Array, Float, Int

from dit_jax import types
from dit_jax.errors import UserError
from dit_jax.models.passes import attend

EVERYWHERE = ("cpu", "gpu", "tpu")


def _as_it_is(form: "Form", device: jax.Device) -> "Form":
    del device
    return form


@dataclasses.dataclass(frozen=True)
class Form:
    """The attention `function`, called `name` in a config.

    passes, splits: see `types.Form`. writes_scores: the weights of all scores are in
    memory and the backward pass reads them, as it does not the output and log-sum-exp
    of others; False for "auto", which writes them of short clips on a CPU.
    platforms: the kinds of devices that it runs on. fit: `(form, device) -> the form
    with that chip's numbers`.
    """

    name: str
    function: types.Attention
    passes: types.Passes | None = None
    splits: bool = False
    writes_scores: bool = False
    platforms: tuple[str, ...] = EVERYWHERE
    fit: Callable[["Form", jax.Device], "Form"] = _as_it_is

    def __call__(
        self,
        q: Float[Array, "B N heads head_dim"],
        k: Float[Array, "B N heads head_dim"],
        v: Float[Array, "B N heads head_dim"],
        segment_ids: Int[Array, "B N"] | None = None,
    ) -> Float[Array, "B N heads head_dim"]:
        return self.function(q, k, v, segment_ids)

    def on(self, device: jax.Device) -> "Form":
        """The form for `device`, which need not be here. UserError if it cannot run."""
        self.require(device.platform, device.device_kind)
        return self.fit(self, device)

    def require(self, platform: str, kind: str) -> None:
        """UserError unless it runs on devices of a platform. kind: what they are."""
        if platform not in self.platforms:
            others = "chunked or xla" if self.name != "chunked" else "xla"
            raise UserError(
                f"model.attention is {self.name!r}, which runs on "
                f"{' and '.join(self.platforms)} only, but the mesh is of {platform} "
                f"devices ({kind}); change model.attention to {others}"
            )

    def over(self, passes: types.Passes) -> types.Attention:
        """The differentiable attention function of other passes."""
        return partial(attend, passes)


def of_passes(name: str, passes: types.Passes, **facts) -> Form:
    """The form whose function is that of its passes."""
    return Form(name, partial(attend, passes), passes, **facts)
