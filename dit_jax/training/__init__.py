"""State, step, loop, and what hangs on the loop."""
