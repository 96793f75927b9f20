"""What one chip can do: a table from a name to published figures.

Sources, by letter: B "How to Scale Your Model", the scaling book (jax-ml.github.io,
0819a7d); G Cloud TPU's pages of v4, v5e, v5p, v6e and tpu7x; N NVIDIA's data sheets of
A100 (SXM, 80 GB), H100 (SXM), H200 and B200; M measured: the memory that the TPU
compiler says a program may have.
"""

import dataclasses

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """FLOP/s, memory, network and host link are those of one JAX device; a chip may be
    two.

    device_kinds: as `jax.Device.device_kind` has them. hbm_bytes: what a program may
    have. link_bytes_per_s: of one link of the chip, one way; `_stated` by the vendor's
    page, which is the higher where the two disagree. A TPU has two links on each axis
    of its torus, a GPU one into the switch of its host. dcn_bytes_per_s: one way, out
    of the slice (TPU) or the host (GPU). torus_dims: 0 for a switch. wraps_at: an axis
    of the torus whose length this divides is a ring, any other a line.
    """

    name: str
    platform: str  # tpu | gpu
    device_kinds: tuple[str, ...]
    bf16_flops: float
    hbm_bytes: float
    hbm_bytes_per_s: float
    link_bytes_per_s: float
    link_bytes_per_s_stated: float
    dcn_bytes_per_s: float
    host_bytes_per_s: float
    torus_dims: int = 0
    wraps_at: int = 1
    devices_per_chip: int = 1

    @property
    def links_bytes_per_s(self) -> float:
        """The share of one link that each device of a chip has."""
        return self.link_bytes_per_s / self.devices_per_chip


_TABLE = (
    Chip(
        "v4",
        "tpu",
        # one device a chip (megacore), as a TPU host has it
        device_kinds=("TPU v4",),
        bf16_flops=275e12,  # B, G
        hbm_bytes=30.75 * GIB,  # M, of 32
        hbm_bytes_per_s=1200e9,  # B
        link_bytes_per_s=45e9,  # B
        link_bytes_per_s_stated=45e9,  # no other figure
        dcn_bytes_per_s=3.125e9,  # no figure; v5e's, the lowest
        host_bytes_per_s=15e9,  # no figure; v5's
        torus_dims=3,
        wraps_at=4,  # B: whole cubes of 4x4x4
    ),
    Chip(
        "v5e",
        "tpu",
        device_kinds=("TPU v5 lite", "TPU v5e"),
        bf16_flops=197e12,  # G
        hbm_bytes=15.75 * GIB,  # M, of 16
        hbm_bytes_per_s=819e9,  # G
        link_bytes_per_s=45e9,  # B
        link_bytes_per_s_stated=50e9,  # G: 400 GB/s both ways over 4 links
        dcn_bytes_per_s=3.125e9,  # G: 6.4 Tb/s for a pod of 256
        host_bytes_per_s=15e9,  # B: PCIe of v5
        torus_dims=2,
        wraps_at=16,  # B
    ),
    Chip(
        "v5p",
        "tpu",
        device_kinds=("TPU v5", "TPU v5p"),
        bf16_flops=459e12,  # G
        hbm_bytes=95.74 * GIB,  # M
        hbm_bytes_per_s=2765e9,  # G
        link_bytes_per_s=90e9,  # B
        link_bytes_per_s_stated=100e9,  # G: 1200 GB/s both ways over 6 links
        dcn_bytes_per_s=6.25e9,  # G: 50 Gb/s
        host_bytes_per_s=15e9,  # B
        torus_dims=3,
        wraps_at=4,
    ),
    Chip(
        "v6e",
        "tpu",
        device_kinds=("TPU v6 lite", "TPU v6e"),
        bf16_flops=918e12,  # G
        hbm_bytes=31.25 * GIB,  # M, of 32
        hbm_bytes_per_s=1638e9,  # G
        link_bytes_per_s=90e9,  # B
        link_bytes_per_s_stated=100e9,  # G: 800 GB/s both ways over 4 links
        dcn_bytes_per_s=12.5e9,  # G: 100 Gb/s
        host_bytes_per_s=32e9,  # B: PCIe of v6e
        torus_dims=2,
        wraps_at=16,
    ),
    Chip(
        "tpu7x",
        "tpu",
        device_kinds=("TPU7x",),
        bf16_flops=1153.5e12,  # G: 2307 a chip
        hbm_bytes=94.75 * GIB,  # M, of 96
        hbm_bytes_per_s=3690e9,  # G: 7380 a chip
        link_bytes_per_s=90e9,  # MaxText: 12.8 kFLOP a byte and axis
        link_bytes_per_s_stated=100e9,  # G: 1200 GB/s both ways over 6 links
        dcn_bytes_per_s=6.25e9,  # G: 100 Gb/s a chip
        host_bytes_per_s=16e9,  # no figure; half of v6e's
        torus_dims=3,
        wraps_at=4,
        devices_per_chip=2,
    ),
    Chip(
        "a100",
        "gpu",
        device_kinds=("NVIDIA A100-SXM4-80GB",),
        bf16_flops=312e12,
        hbm_bytes=80e9,
        hbm_bytes_per_s=2039e9,
        link_bytes_per_s=300e9,  # NVLink 3
        link_bytes_per_s_stated=300e9,
        dcn_bytes_per_s=25e9,  # DGX A100: one 200 Gb/s card a GPU
        host_bytes_per_s=32e9,  # PCIe 4
    ),
    Chip(
        "h100",
        "gpu",
        device_kinds=("NVIDIA H100 80GB HBM3",),
        bf16_flops=989e12,
        hbm_bytes=80e9,
        hbm_bytes_per_s=3350e9,
        link_bytes_per_s=450e9,  # NVLink 4
        link_bytes_per_s_stated=450e9,
        dcn_bytes_per_s=50e9,  # one 400 Gb/s card a GPU
        host_bytes_per_s=64e9,  # PCIe 5
    ),
    Chip(
        "h200",
        "gpu",
        device_kinds=("NVIDIA H200",),
        bf16_flops=989e12,
        hbm_bytes=141e9,
        hbm_bytes_per_s=4800e9,
        link_bytes_per_s=450e9,
        link_bytes_per_s_stated=450e9,
        dcn_bytes_per_s=50e9,
        host_bytes_per_s=64e9,
    ),
    Chip(
        "b200",
        "gpu",
        device_kinds=("NVIDIA B200",),
        bf16_flops=2250e12,
        hbm_bytes=180e9,  # 180 to 192, by system
        hbm_bytes_per_s=8000e9,
        link_bytes_per_s=900e9,  # NVLink 5
        link_bytes_per_s_stated=900e9,
        dcn_bytes_per_s=50e9,
        host_bytes_per_s=64e9,
    ),
)

CHIPS: dict[str, Chip] = {chip.name: chip for chip in _TABLE}


def of_kind(device_kind: str) -> Chip | None:
    """The chip whose devices call themselves so; None for a CPU or an unknown one."""
    known = {kind: chip for chip in _TABLE for kind in chip.device_kinds}
    return known.get(device_kind)
