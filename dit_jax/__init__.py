"""Video diffusion transformers on TPU and GPU pods, and on a laptop."""

__version__ = "0.1.0"
