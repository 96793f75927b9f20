import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.grids import GRIDS, make_grid
from dit_jax.diffusion.processes import PROCESSES, Discrete, RectifiedFlow, build
from dit_jax.diffusion.respacing import kept_steps
from dit_jax.errors import UserError

FLOW, DDPM = RectifiedFlow(), PROCESSES["ddpm_linear"]()
VP = PROCESSES["variance_preserving"]()
OF_STEPS = {"linspace", "leading", "trailing", "respaced"}
MADE = {name: make() for name, make in PROCESSES.items()}
GRIDS_OF_PROCESSES = [
    pytest.param(grid, steps, process, id=f"{grid}-{steps}-{name}")
    for grid in GRIDS
    for steps in (1, 7, 50)
    for name, process in MADE.items()
    # one point is not spaced between two ends
    if steps > 1 or grid in ("uniform", "trailing")
    if isinstance(process, Discrete) or grid not in OF_STEPS
]


@pytest.mark.parametrize("name, steps, process", GRIDS_OF_PROCESSES)
def test_grids_fall_to_clean_data_on_the_points_of_the_process(name, steps, process):
    t_max = 1.0 if name in OF_STEPS else 0.99
    grid = make_grid(name, process, steps, t_max=t_max)
    assert len(grid) == steps
    assert np.all(np.diff(grid.calls.t) < 0)
    assert (grid.ends.alpha[-1], grid.ends.sigma[-1]) == (1, 0)
    np.testing.assert_array_equal(grid.ends.sigma[:-1], grid.calls.sigma[1:])
    found = np.asarray(process.sigma(jnp.float32(grid.calls.t)))
    np.testing.assert_allclose(grid.calls.sigma, found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0, 12.0])
@pytest.mark.parametrize("t_max, t_min", [(1.0, 0.0), (0.98, 0.02)])
def test_a_uniform_grid_meets_its_ends_exactly(shift, t_max, t_min):
    grid = make_grid("uniform", FLOW, 50, shift=shift, t_max=t_max, t_min=t_min)
    assert (grid.calls.t[0], grid.ends.t[-1]) == (t_max, t_min)


def test_a_shift_spends_steps_near_noise():
    assert np.median(make_grid("uniform", FLOW, 51, shift=3.0).calls.t) > 0.7


def test_karras_and_exponential_grids_are_even_in_their_own_measure():
    for name, measure in (
        ("karras", lambda ratio: ratio ** (1 / 7)),
        ("exponential", np.log),
    ):
        calls = make_grid(name, VP, 12).calls
        gaps = np.diff(measure(calls.noise_to_signal))
        np.testing.assert_allclose(gaps, gaps[0], rtol=1e-3)


def test_steps_of_a_discrete_process_are_counted_as_in_its_papers():
    def numbers(name, steps):
        return (make_grid(name, DDPM, steps).calls.t * 999).round().astype(int).tolist()

    assert numbers("leading", 4) == [750, 500, 250, 0]
    assert numbers("trailing", 4) == [999, 749, 499, 249]
    assert numbers("linspace", 4) == [999, 666, 333, 0]
    assert numbers("trailing", 1000) == list(range(999, -1, -1))


def test_a_process_without_terminal_signal_starts_from_pure_noise():
    process = build("ddpm_scaled_linear", zero_terminal_snr=True)
    calls = make_grid("trailing", process, 10).calls
    assert (calls.alpha[0], calls.sigma[0]) == (0, 1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("uniform", FLOW, 0), "at least 1"),
        (("unifrom", FLOW, 4), "did you mean 'uniform'"),
        (("karras", FLOW, 4), "nothing is left of the data.*t_max"),
        (("trailing", FLOW, 4), "discrete process"),
        (("trailing", DDPM, 1001), "up to 1000 steps"),
    ],
)
def test_impossible_grids_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        make_grid(*arguments)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"shift": 0.0}, "above 0"),
        ({"shift": 1e12}, "lower the shift"),
        ({"t_max": 0.2, "t_min": 0.5}, "t_min < t_max"),
    ],
)
def test_impossible_ends_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make_grid("uniform", FLOW, 100, **options)


def test_a_shift_of_a_grid_that_has_its_own_spacing_is_refused():
    with pytest.raises(UserError, match="would do nothing"):
        make_grid("karras", VP, 5, shift=3.0)


def test_options_of_a_grid_follow_its_name():
    def roots(rho):
        found = make_grid(f"karras:rho={rho}", VP, 12).calls.noise_to_signal
        gaps = np.diff(found ** (1 / rho))
        return gaps / gaps[0]

    for rho in (3.0, 7.0):
        np.testing.assert_allclose(roots(rho), 1, rtol=1e-3)
    even = make_grid("beta:a=1,b=1", VP, 12).calls.noise_to_signal
    np.testing.assert_allclose(np.diff(even), np.diff(even)[0], rtol=1e-3)


def test_a_respaced_grid_keeps_what_the_respacing_keeps():
    def steps(name, count):
        calls = make_grid(name, DDPM, count).calls
        return (calls.t * 999).round().astype(int).tolist()[::-1]

    assert steps("respaced", 250) == kept_steps(1000, "250").tolist()
    assert steps("respaced:sections=3+7+40", 50) == kept_steps(1000, "3,7,40").tolist()
    for wrong in ("3+7", "50x", "25++25"):
        with pytest.raises(UserError, match="are not sample.steps, 50, in parts"):
            make_grid(f"respaced:sections={wrong}", DDPM, 50)
