"""Methods that look at one call a step, and at no call before it.

s is where a step starts and e where it ends. With x0 and eps believed at s, all of them
put x at e as alpha_e x0 + (some of eps, some fresh noise), sigma_e in power.
"""

from collections.abc import Callable

import numpy as np

from dit_jax.diffusion.points import Grid
from dit_jax.diffusion.samplers.steps import Column, Steps, make
from dit_jax.errors import choose


def euler(grid: Grid) -> Steps:
    """The belief at s, noised again to e: exact where x0 and eps do not change.

    For rectified flow xt + (t_e - t_s) velocity. For variance-preserving processes
    DDIM with eta 0 (Song et al. 2020, arXiv:2010.02502, eq. 12), and Euler in
    sigma / alpha (Karras et al. 2022, arXiv:2206.00364, eq. 4).
    """
    return make(grid.calls, of_x0=[grid.ends.alpha], of_eps=[grid.ends.sigma])


def ddim(grid: Grid, eta: float | Column = 0.0) -> Steps:
    """A share eta of the posterior's noise is drawn anew: 0 is Euler, 1 is ancestral
    sampling. Song et al. 2020, arXiv:2010.02502, eq. 12 and 16. It may be one a step.
    """
    fresh = eta * np.sqrt(posterior_variance(grid))
    kept = np.sqrt(np.maximum(grid.ends.sigma**2 - fresh**2, 0))
    return make(grid.calls, of_x0=[grid.ends.alpha], of_eps=[kept], of_noise=fresh)


def ancestral(grid: Grid) -> Steps:
    """A draw from q(x_e | x_s, x0). Ho et al. 2020, arXiv:2006.11239, eq. 7; in
    sigma / alpha the ancestral step of Song et al. 2021, arXiv:2011.13456, eq. 47.
    """
    return ddim(grid, eta=1.0)


def renoised(grid: Grid) -> Steps:
    """All noise is drawn anew, as consistency models are sampled: Song et al. 2023,
    arXiv:2303.01469, algorithm 1."""
    return make(grid.calls, of_x0=[grid.ends.alpha], of_noise=grid.ends.sigma)


def ddpm(
    grid: Grid, variance: str = "fixed_small", *, noisy_end: bool = False
) -> Steps:
    """Ho et al. 2020, arXiv:2006.11239, eq. 7: the posterior's mean from x and x0, and
    noise of a variance of `VARIANCES`. For variance-preserving processes.

    The mean is the same as `ancestral`'s where x0 and eps fit together, which a
    clipped x0 does not. noisy_end: whether a step to clean data draws noise as well.
    """
    kept, whole = _kept(grid), grid.calls.sigma**2
    fixed, variances = choose(VARIANCES, variance, "the variance")(grid)
    # algorithm 2 draws nothing in its last step
    is_noisy = (grid.ends.sigma > 0) | noisy_end
    return make(
        grid.calls,
        of_x=kept * grid.ends.sigma**2 / whole,
        of_x0=[grid.ends.alpha * forward_variance(grid) / whole],
        of_noise=np.where(is_noisy, fixed, 0.0),
        variances=variances,
    )


def _kept(grid: Grid) -> Column:
    """alpha_s / alpha_e: how much a forward step from e to s keeps."""
    return grid.calls.alpha / grid.ends.alpha


def forward_variance(grid: Grid) -> Column:
    """The noise that a forward step from e to s adds: beta of that step."""
    return np.maximum(grid.calls.sigma**2 - (_kept(grid) * grid.ends.sigma) ** 2, 0)


def posterior_variance(grid: Grid) -> Column:
    """Of q(x_e | x_s, x0); arXiv:2006.11239, eq. 7."""
    return forward_variance(grid) * (grid.ends.sigma / grid.calls.sigma) ** 2


def log_bounds(grid: Grid) -> np.ndarray:
    """Logs of the posterior's and of the forward step's variance, [S, 2].

    A step that ends without noise has no posterior variance and takes the one of the
    step before it, as the reference does.
    """
    small = posterior_variance(grid)
    small = np.where(
        (small == 0) & (np.arange(len(small)) > 0), np.roll(small, 1), small
    )
    return np.log(np.maximum(np.stack([small, forward_variance(grid)], 1), 1e-20))


Chosen = tuple[Column, np.ndarray | None]


def _fixed(power: Column) -> Chosen:
    return np.sqrt(power), None


def _between(bounds: np.ndarray) -> Chosen:
    return np.ones(len(bounds)), bounds


VARIANCES: dict[str, Callable[[Grid], Chosen]] = {
    "fixed_small": lambda grid: _fixed(posterior_variance(grid)),
    "fixed_large": lambda grid: _fixed(forward_variance(grid)),
    # the log of it is what the denoiser says
    "learned": lambda grid: _between(np.tile([-1.0, 1.0], (len(grid), 1))),
    # arXiv:2102.09672, eq. 15
    "learned_range": lambda grid: _between(log_bounds(grid)),
}
