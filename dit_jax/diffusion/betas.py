"""Noise schedules of T discrete steps, float64 [T].

beta_i is the share of the variance that step i replaces by noise; the signal's power
after it, alpha_i^2 or "alphas_cumprod", is (1 - beta_0) ... (1 - beta_i).
"""

import math

import numpy as np
from jaxtyping import Float

from dit_jax.errors import UserError

Betas = Float[np.ndarray, " T"]
Powers = Float[np.ndarray, " T"]


def linear(num_steps: int, first: float = 1e-4, last: float = 0.02) -> Betas:
    """Evenly spaced. Ho et al. 2020, arXiv:2006.11239, section 4; DiT's."""
    return np.linspace(first, last, num_steps)


def scaled_linear(num_steps: int, first: float = 0.00085, last: float = 0.012) -> Betas:
    """Evenly spaced roots. Rombach et al. 2022, arXiv:2112.10752 (their code)."""
    return np.linspace(math.sqrt(first), math.sqrt(last), num_steps) ** 2


def cosine(num_steps: int, largest: float = 0.999) -> Betas:
    """alpha^2 falls like a squared cosine. Nichol and Dhariwal 2021, arXiv:2102.09672,
    eq. 17.
    """
    ends = np.cos((np.linspace(0, 1, num_steps + 1) + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - ends[1:] / ends[:-1], largest)


def zero_terminal_snr(powers: Powers) -> Powers:
    """alpha moved and stretched so that nothing of the data is left at the last step.

    Lin et al. 2023, arXiv:2305.08891, algorithm 1.
    """
    alpha = np.sqrt(powers)
    return np.square((alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1]))


def shifted_snr(powers: Powers, shift: float) -> Powers:
    """The signal-to-noise ratio alpha^2 / sigma^2 divided by `shift` at every step.

    CogVideoX, arXiv:2408.06072, section 3 (its code: 3.0 for 2B, 1.0 for 5B).
    """
    if not 0 < shift < math.inf:
        raise UserError(f"the SNR shift is {shift}; it must be above 0, and 1 is off")
    return powers / (shift + (1 - shift) * powers)
