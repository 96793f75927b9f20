"""Peak memory of attention over long clips, forward and backward, on this machine.

    .venv/bin/python benchmarks/attention_memory.py [--tokens 65536]

Every length runs in a process of its own, by model.attention=chunked in float32 with
one head of 64 channels; some rows are held against float64 NumPy. Writes
benchmarks/results/attention_memory.json; with --tokens it runs that length alone and
prints its row.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "attention_memory.json"
MODULE = "benchmarks.attention_memory"
LENGTHS = (8_192, 16_384, 32_768, 65_536)
HEADS, HEAD_DIM = 1, 64


def peak_rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def measure(tokens: int) -> dict:
    """One forward and backward pass; in a fresh process, for the peak never falls."""
    import jax
    import jax.numpy as jnp

    from dit_jax.models.attention import ATTENTIONS

    jax.config.update("jax_platforms", "cpu")
    before = peak_rss_bytes()
    keys = jax.random.split(jax.random.key(0), 4)
    arrays = [jax.random.normal(key, (1, tokens, HEADS, HEAD_DIM)) for key in keys]

    @jax.jit
    def passes(q, k, v, d_out):
        out, backward = jax.vjp(ATTENTIONS["chunked"], q, k, v)
        return out, *backward(d_out)

    compiled = passes.lower(*arrays).compile()
    start, cpu_start = time.monotonic(), time.process_time()
    out, d_q, d_k, d_v = jax.block_until_ready(compiled(*arrays))
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - cpu_start
    # before the check, which is not what is measured
    peak = peak_rss_bytes()
    finite = all(bool(jnp.isfinite(x).all()) for x in (out, d_q, d_k, d_v))
    return {
        "tokens": tokens,
        "peak_rss_bytes": peak,
        "peak_rss_before_bytes": before,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),  # other programs may share the cores
        "largest_relative_error": largest_error(arrays, out, d_q) if finite else None,
    }


def largest_error(arrays, out, d_q, rows=(0, 1, 12_345, -1)) -> float:
    """Of out and d_q in some rows, which float64 can afford."""
    import numpy as np

    q, k, v, d_out = (np.asarray(x[0, :, 0], np.float64) for x in arrays)
    worst = 0.0
    for row in (row % len(q) for row in rows):
        scores = k @ q[row] / np.sqrt(HEAD_DIM)
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        mean = weights @ v
        d_scores = weights * ((v - mean) @ d_out[row])
        exact = mean, d_scores @ k / np.sqrt(HEAD_DIM)
        for ours, wanted in zip((out, d_q), exact, strict=True):
            error = np.abs(np.asarray(ours)[0, row, 0] - wanted).max()
            worst = max(worst, float(error / np.abs(wanted).max()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int)
    tokens = parser.parse_args().tokens
    if tokens:
        print(json.dumps(measure(tokens)))
        return
    rows = []
    for length in LENGTHS:
        command = [sys.executable, "-m", MODULE, f"--tokens={length}"]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1])
    result = {
        "command": "python benchmarks/attention_memory.py",
        "attention": "chunked, float32, forward and backward",
        "heads": HEADS,
        "head_dim": HEAD_DIM,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
    print(f"wrote {RESULT}")


if __name__ == "__main__":
    main()
