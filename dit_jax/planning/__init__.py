"""What a run costs before it runs: FLOPs, memory, communication, time."""
