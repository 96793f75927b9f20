"""Branches of one denoiser, or of two, and the ways to extrapolate from them."""

from collections.abc import Callable, Sequence
from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from dit_jax.diffusion.guidance import restraints, scales
from dit_jax.diffusion.guidance.conditions import Change
from dit_jax.diffusion.guidance.restraints import Restraint
from dit_jax.diffusion.guidance.scales import Scale
from dit_jax.diffusion.streams import Streams, Times, over_streams
from dit_jax.errors import UserError
from dit_jax.types import Conditioning, DenoiseFn

Branch = Float[Array, "B ..."]
Mix = Callable[[Sequence[Branch], Sequence[Array]], Branch]
"""`(branches, one scale less) -> guided`; the first branch is the fully told one."""

UNRESTRAINED = restraints.unrestrained()


def classifier_free(
    denoise_fn: DenoiseFn,
    null_conditioning: Change,
    guidance: Scale,
    *,
    channels: int | None = None,
    restraint: Restraint = UNRESTRAINED,
) -> DenoiseFn:
    """uncond + guidance (cond - uncond), from one model call on 2 B rows.

    The number 1.0 returns `denoise_fn` itself; an array of any value keeps both
    branches, so that one compiled program serves all values. Where a schedule says 1.0
    the result is cond, bit for bit. channels: only the first ones are guided (DiT and
    SiT 3, Latte 4). restraint: one of `restraints`, over the guided channels.
    Ho and Salimans 2022, arXiv:2207.12598, eq. 6.
    """
    return one_by_one(
        denoise_fn,
        [null_conditioning],
        [guidance],
        channels=channels,
        restraint=restraint,
    )


def one_by_one(
    denoise_fn: DenoiseFn,
    changes: Sequence[Change],
    guidance: Sequence[Scale],
    *,
    channels: int | None = None,
    restraint: Restraint = UNRESTRAINED,
) -> DenoiseFn:
    """Several conditions with a scale each, of which every branch leaves out one more.

    changes: from little left out to everything, such as (without text, without text
    and image), and guidance the scale of what each leaves out, (text, image):

        none + image (only image - none) + text (both - only image)

    from one call on 3 B rows. Brooks et al. 2022, arXiv:2211.09800, eq. 3; Open-Sora 2.
    Equal scales make it classifier-free guidance. channels, restraint: as there.
    """
    return _guided(denoise_fn, changes, guidance, _one_by_one, channels, restraint)


def in_turn(
    denoise_fn: DenoiseFn,
    changes: Sequence[Change],
    guidance: Sequence[Scale],
    *,
    channels: int | None = None,
    restraint: Restraint = UNRESTRAINED,
) -> DenoiseFn:
    """Several conditions with a scale each, of which every branch leaves out one alone.

    What one makes is what the next extrapolates: with changes (without text, without
    image) and guidance (text, image)

        y = no text + text (both - no text);    no image + image (y - no image)

    BAGEL, arXiv:2505.14683 (code). channels, restraint: as in `classifier_free`.
    """
    return _guided(denoise_fn, changes, guidance, _in_turn, channels, restraint)


def autoguidance(
    denoise_fn: DenoiseFn,
    weaker_fn: DenoiseFn,
    guidance: Scale,
    *,
    channels: int | None = None,
    restraint: Restraint = UNRESTRAINED,
) -> DenoiseFn:
    """strong + (guidance - 1) (strong - weak): away from a smaller or younger model.

    Both are told the same, and each is one call on B rows. channels, restraint: as in
    `classifier_free`. Karras et al. 2024, arXiv:2406.02507.
    """
    if scales.is_off(guidance):
        return denoise_fn

    def guided(xt: Streams, t: Times, conditioning: Conditioning) -> Streams:
        branches = [f(xt, t, conditioning) for f in (denoise_fn, weaker_fn)]
        return _mixed(xt, t, branches, [guidance], _one_by_one, channels, restraint)

    return guided


def _guided(
    denoise_fn: DenoiseFn,
    changes: Sequence[Change],
    guidance: Sequence[Scale],
    mix: Mix,
    channels: int | None,
    restraint: Restraint,
) -> DenoiseFn:
    if len(changes) != len(guidance):
        raise UserError(
            f"guidance has {len(guidance)} scales for {len(changes)} conditions; give "
            "one a condition"
        )
    if all(map(scales.is_off, guidance)):
        return denoise_fn
    count = len(changes) + 1

    def guided(xt: Streams, t: Times, conditioning: Conditioning) -> Streams:
        told = [conditioning, *(change(conditioning) for change in changes)]
        out = denoise_fn(_rows([xt] * count), _rows([t] * count), _rows(told))
        branches = [_branch(out, number, count) for number in range(count)]
        return _mixed(xt, t, branches, guidance, mix, channels, restraint)

    return guided


def _rows(branches: Sequence[PyTree[Array]]) -> PyTree[Array]:
    """Rows a0 b0 a1 b1 ...: those of an example stay together, so that a sharded batch
    need not move."""
    return jax.tree.map(
        lambda *leaves: jnp.stack(leaves, axis=1).reshape(-1, *leaves[0].shape[1:]),
        *branches,
    )


def _branch(out: PyTree[Array], number: int, count: int) -> PyTree[Array]:
    """The rows of one branch again."""
    return jax.tree.map(
        lambda leaf: leaf.reshape(-1, count, *leaf.shape[1:])[:, number], out
    )


def _mixed(
    xt: Streams,
    t: Times,
    branches: Sequence[Streams],
    guidance: Sequence[Scale],
    mix: Mix,
    channels: int | None,
    restraint: Restraint,
) -> Streams:
    """The guided channels, restrained, and the rest of the first branch, float32."""
    if channels is not None and channels < 1:
        raise UserError(f"guidance of {channels} channels; give 1 or more, or None")

    def stream(t: Array, x: Array, *outputs: Array) -> Array:
        count = x.shape[-1] if channels is None else min(channels, x.shape[-1])
        guided = [out[..., :count].astype(jnp.float32) for out in outputs]
        strength = [scales.at(scale, t) for scale in guidance]
        is_off = reduce(jnp.logical_and, [s == 1 for s in strength])
        made = jnp.where(is_off, guided[0], mix(guided, strength))
        rest = outputs[0][..., count:].astype(jnp.float32)
        return jnp.concatenate([restraint(made, guided[0]), rest], axis=-1)

    return over_streams(stream, t, xt, *branches)


def _one_by_one(branches: Sequence[Branch], guidance: Sequence[Array]) -> Branch:
    made = branches[-1]
    steps = zip(branches[:-1], branches[1:], guidance, strict=True)
    for more, less, scale in reversed(list(steps)):
        made = made + scale * (more - less)
    return made


def _in_turn(branches: Sequence[Branch], guidance: Sequence[Array]) -> Branch:
    made = branches[0]
    for less, scale in zip(branches[1:], guidance, strict=True):
        made = less + scale * (made - less)
    return made
