"""A run folder -> denoiser -> condition -> sample -> decode."""
