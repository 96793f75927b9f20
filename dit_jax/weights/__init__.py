"""Other people's checkpoints: readers and name maps."""
