"""Draws logsnr over t for every process of docs/diffusion.md.

python docs/figures/schedules.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from dit_jax.diffusion.points import of_process
from dit_jax.diffusion.processes import PROCESSES, Process, build
from dit_jax.diffusion.times import shift_time

OUT = Path(__file__).with_suffix(".png")
RANGE = (-14, 14)
CHANGED: dict[str, Process] = {
    "ddpm_scaled_linear, zero_terminal_snr": build(
        "ddpm_scaled_linear", zero_terminal_snr=True
    ),
    "ddpm_scaled_linear, snr_shift 3": build("ddpm_scaled_linear", snr_shift=3.0),
}


def main() -> None:
    processes = {name: make() for name, make in PROCESSES.items()} | CHANGED
    times = np.linspace(0, 1, 2001)[1:-1]
    figure, axes = plt.subplots(3, 3, figsize=(9, 6.5), sharex=True, sharey=True)
    with np.errstate(divide="ignore"):
        curves = {
            name: of_process(process, times).logsnr
            for name, process in processes.items()
        }
        flow = processes["rectified_flow"]
        curves["rectified_flow, shift 5"] = of_process(
            flow, shift_time(times, 5.0)
        ).logsnr
    for axis, (name, logsnr) in zip(axes.flat, curves.items(), strict=True):
        for other in curves.values():
            axis.plot(times, other, color="0.88", linewidth=0.8)
        axis.plot(times, logsnr, color="tab:blue")
        axis.axhline(0, color="0.6", linewidth=0.6)
        axis.set_title(name, fontsize=8)
        axis.set_ylim(*RANGE)
    for axis in axes[-1]:
        axis.set_xlabel("t: 0 is data, 1 is noise", fontsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("logsnr", fontsize=8)
    figure.tight_layout()
    figure.savefig(OUT, dpi=110)


if __name__ == "__main__":
    main()
