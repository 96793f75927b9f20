"""Methods that look at one call a step, and at no call before it.

s is where a step starts and e where it ends. With x0 and eps believed at s, all of them
put x at e as alpha_e x0 + (some of eps, some fresh noise), sigma_e in power.
"""

import numpy as np

from dit_jax.diffusion import posteriors
from dit_jax.diffusion.points import Grid
from dit_jax.diffusion.samplers.steps import Column, Steps, make
from dit_jax.errors import UserError, choose


def euler(grid: Grid) -> Steps:
    """The belief at s, noised again to e: exact where x0 and eps do not change.

    For rectified flow xt + (t_e - t_s) velocity. For variance-preserving processes
    DDIM with eta 0 (Song et al. 2020, arXiv:2010.02502, eq. 12), and Euler in
    sigma / alpha (Karras et al. 2022, arXiv:2206.00364, eq. 4).
    """
    return make(grid.calls, of_x0=[grid.ends.alpha], of_eps=[grid.ends.sigma])


def ddim(grid: Grid, eta: float | Column = 0.0) -> Steps:
    """A share eta of the posterior's noise is drawn anew: 0 is Euler, 1 is ancestral
    sampling. Song et al. 2020, arXiv:2010.02502, eq. 12 and 16.

    It may be one a step. With eta 0 a grid may also lead to more noise, which encodes
    data (section 4.3).
    """
    if np.any(np.asarray(eta) < 0):
        raise UserError(f"eta is {eta}; choose 0 to 1")
    fresh = np.zeros(len(grid))
    if np.any(eta):
        fresh = eta * np.sqrt(posteriors.posterior_variance(grid))
    kept = grid.ends.sigma**2 - fresh**2
    if np.any(kept < -1e-9):
        raise UserError(
            f"eta is {eta}, with which a step draws more noise than there is to be; "
            "choose 0 to 1"
        )
    return make(
        grid.calls,
        of_x0=[grid.ends.alpha],
        of_eps=[np.sqrt(np.maximum(kept, 0))],
        of_noise=fresh,
    )


def ancestral(grid: Grid) -> Steps:
    """A draw from q(x_e | x_s, x0). Ho et al. 2020, arXiv:2006.11239, eq. 7; in
    sigma / alpha the ancestral step of Song et al. 2021, arXiv:2011.13456, eq. 47.
    """
    return ddim(grid, eta=1.0)


def renoised(grid: Grid) -> Steps:
    """All noise is drawn anew, as consistency models are sampled: Song et al. 2023,
    arXiv:2303.01469, algorithm 1."""
    return make(grid.calls, of_x0=[grid.ends.alpha], of_noise=grid.ends.sigma)


def ddpm(grid: Grid, variance: str = "fixed_small") -> Steps:
    """Ho et al. 2020, arXiv:2006.11239, eq. 7: the posterior's mean from x and x0, and
    noise of a variance of `VARIANCES`. For variance-preserving processes.

    The mean is the same as `ancestral`'s where x0 and eps fit together, which a
    clipped x0 does not. A step to clean data draws none.
    """
    of_x, of_x0 = posteriors.posterior_mean(grid)
    chosen = choose(posteriors.VARIANCES, variance, "the variance")(grid)
    scale = 1.0 if chosen.fixed is None else np.sqrt(chosen.fixed)
    return make(
        grid.calls,
        of_x=of_x,
        of_x0=[of_x0],
        of_noise=np.where(grid.ends.sigma > 0, scale, 0.0),
        variances=chosen.log_bounds if chosen.fixed is None else None,
    )
