"""Golden files of other implementations, run through ours."""
