"""Measures videos: python -m dit_jax.evaluate COMMAND --flags

  fvd --real A --fake B    Fréchet video distance of B from A, with its protocol
  verify [--only B]        reproduces the published FVD numbers on this machine
  compare A.json B.json    whether two stored numbers may be compared, and how they do

A and B are an .npz with `videos`, an .npy, a folder with samples.npz, a folder of
videos, or a folder of frame folders. verify and compare exit 1 when the check fails and
2 when they do not cover the case.
"""

import sys
import time
from collections.abc import Callable

from absl import flags

from dit_jax import errors, files, program
from dit_jax.errors import UserError
from dit_jax.progress import Progress

FLAGS = flags.FLAGS

flags.DEFINE_string("real", None, "the reference videos")
flags.DEFINE_string("fake", None, "the videos to be judged")
flags.DEFINE_integer(
    "num", None, "Clips a side, drawn with --seed; all when not given.", lower_bound=2
)
flags.DEFINE_integer(
    "num_frames", 16, "The first frames of each video that are used.", lower_bound=9
)
flags.DEFINE_integer(
    "ddof", 1, "Covariances divide by N - ddof; 0 is StyleGAN-V's.", 0, 1
)
flags.DEFINE_string("weights", None, "I3D weight file; found when not given.")
flags.DEFINE_string("only", None, "The golden to verify: A (minutes) or B (seconds).")


def main(arguments: list[str]) -> None:
    command = arguments[0] if arguments else ""
    program.refuse_config()
    errors.choose(COMMANDS, command, "the command")(arguments[1:])


def run_fvd(arguments: list[str]) -> None:
    from dit_jax.evaluation.features import Extractor
    from dit_jax.evaluation.fvd import fvd
    from dit_jax.evaluation.videos import open_videos
    from dit_jax.weights import i3d_kinetics400

    program.refuse_words(arguments)
    seed = FLAGS.seed or 0
    sides = []
    for name in ("real", "fake"):
        videos = open_videos(program.require_flag(name))
        if FLAGS.num is not None:
            videos = videos.subset(FLAGS.num, seed)
        videos = videos.first_frames(FLAGS.num_frames)
        sides.append(videos)
        program.say(
            f"{name}: {len(videos)} of {videos.available} clips from {videos.source} "
            f"({videos.container}), first {FLAGS.num_frames} frames"
        )
    weights = _weights()
    program.say(f"extractor: I3D of Kinetics-400, {weights}")
    extractor = Extractor(i3d_kinetics400.load(weights))
    result = fvd(
        *sides,
        extractor=extractor,
        ddof=FLAGS.ddof,
        seed=seed,
        progress=Progress("clips"),
    )
    program.say(*(f"warning: {text}" for text in result.warnings))
    program.say(result.summary())
    _write(result.to_dict(), f"{result.protocol.metric}.json")


def run_verify(arguments: list[str]) -> None:
    from dit_jax.evaluation.features import Extractor
    from dit_jax.evaluation.goldens import CASES
    from dit_jax.weights import i3d_kinetics400

    program.refuse_words(arguments)
    if FLAGS.only is not None and FLAGS.only not in CASES:
        program.say(f"no golden is called {FLAGS.only!r}; known: {', '.join(CASES)}")
        sys.exit(2)
    extractor = Extractor(i3d_kinetics400.load(_weights()))
    program.say(f"I3D weights verified, sha256 {extractor.weights_sha256}")
    failed = 0
    for case in [FLAGS.only] if FLAGS.only else CASES:
        for golden in CASES[case]:
            start = time.monotonic()
            found = golden.measure(extractor, Progress("clips"))
            is_met = abs(found - golden.wanted) <= golden.tolerance
            failed += not is_met
            program.say(
                f"{'met   ' if is_met else 'FAILED'} {golden.name}: {found:.6f}, "
                f"wanted {golden.wanted} ± {golden.tolerance:g} ({golden.source}), "
                f"{time.monotonic() - start:.1f} s"
            )
    if failed:
        program.say(f"{failed} goldens failed: numbers of this machine are not FVD")
        sys.exit(1)


def run_compare(arguments: list[str]) -> None:
    from dit_jax.evaluation import protocol

    if len(arguments) != 2:
        raise UserError(f"compare needs two result files, found {len(arguments)}")
    a, b = (_read_result(name) for name in arguments)
    if not (a["metric"].startswith("fvd@") and b["metric"].startswith("fvd@")):
        program.say(f"compare knows fvd only, found {a['metric']} and {b['metric']}")
        sys.exit(2)
    found = protocol.differences(a["protocol"], b["protocol"])
    if found:
        program.say("not comparable, the protocols differ:", *(f"  {x}" for x in found))
        sys.exit(1)
    program.say(
        f"{a['metric']}: {a['value']:.4f} and {b['value']:.4f}, "
        f"difference {b['value'] - a['value']:+.4f}, standard errors "
        f"{a['scores']['standard_error']} and {b['scores']['standard_error']}"
    )


RESULT = {"metric": str, "value": float | int, "scores": dict, "protocol": dict}
"""What a result file must hold, by type."""

COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "fvd": run_fvd,
    "verify": run_verify,
    "compare": run_compare,
}


def _write(record: dict, default_name: str) -> None:
    target = FLAGS.output
    if target is None and FLAGS.workdir:
        target = str(files.path(FLAGS.workdir) / "evaluations" / default_name)
    if target is None:
        program.say("nothing was written; add --output FILE.json to keep the result")
        return
    if not FLAGS.process_id:
        files.write_json(target, record)
    program.say(f"wrote {target}")


def _read_result(name: str) -> dict:
    found = files.require(name, "result file", "check the path")
    if found.is_dir():
        raise UserError(f"{name!r} is a folder; give a file that `evaluate fvd` wrote")
    record = files.read_json(found)
    known = record if isinstance(record, dict) else {}
    wrong = [k for k, kind in RESULT.items() if not isinstance(known.get(k), kind)]
    if not wrong and "standard_error" not in record["scores"]:
        wrong = ["scores.standard_error"]
    if wrong:
        raise UserError(
            f"{name!r} is no result file, its {', '.join(wrong)} are missing or of "
            "another type; give what `evaluate fvd` wrote"
        )
    return record


def _weights() -> files.PathLike:
    """The I3D weight file; UserError when there is none, or a folder of that name."""
    from dit_jax.weights import i3d_kinetics400

    found = i3d_kinetics400.find_weights(FLAGS.weights)
    if files.path(found).is_dir():
        raise UserError(
            f"--weights is {FLAGS.weights!r}, a folder; give the weight file itself or "
            "leave --weights out"
        )
    return found


if __name__ == "__main__":
    program.run(main)
