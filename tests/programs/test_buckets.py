"""The programs on a bucket: prepared there, trained from there, and mistakes."""

import json

import pytest

from dit_jax.data import manifest as manifest_lib
from tests.programs import harness
from tests.s3_server import BUCKET, ask, s3, s3_endpoint

__all__ = ["s3", "s3_endpoint"]


def _prepare(videos, output: str, *flags: str):
    return harness.run(
        [
            "prepare",
            "--config=configs/common.py",
            f"--output={output}",
            f"--config.prepare.sources={videos}",
            *harness.overrides(harness.PREPARE),
            *flags,
        ]
    )


@pytest.mark.slow
def test_a_dataset_in_a_bucket_trains_as_one_on_a_disk(videos, tmp_path, s3):
    losses = []
    for number, data in enumerate((s3, str(tmp_path / "data"))):
        done = _prepare(videos, data, "--store=zarr")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].startswith(f"wrote {data}: ")
        assert manifest_lib.read(data).store == "zarr"
        workdir = tmp_path / str(number)
        steps = {"train.num_steps": 6}
        done = harness.run(["train", *harness.train_flags(data, workdir, **steps)])
        assert done.returncode == 0, done.stderr
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line).get("loss") for line in lines])
    assert losses[0] == losses[1]
    assert _prepare(videos, s3, "--store=zarr").stdout.count("finished already") == 1


MISTAKES = {
    "no dataset": (f"s3://{BUCKET}/nothing", b"inf", 64, "does not exist; make it"),
    "no bucket": ("s3://nothing/x", b"inf", 64, "the bucket of 's3://nothing"),
    "credentials": (f"s3://{BUCKET}/x", b"0", 74, "check the credentials"),
}


@pytest.mark.parametrize(
    "data, open_to, code, message", MISTAKES.values(), ids=MISTAKES
)
def test_a_mistake_is_one_sentence_and_its_exit_code(
    tmp_path, s3, s3_endpoint, data, open_to, code, message
):
    """open_to: how many requests the server answers before it asks who is there."""
    ask(s3_endpoint, "/moto-api/reset-auth", method="POST", data=open_to)
    done = harness.run(["train", *harness.train_flags(data, tmp_path / "run")])
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1 and message in done.stderr
