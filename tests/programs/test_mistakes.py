"""What users get wrong: one sentence, the right exit code, no traceback, no loss."""

import json
import shutil
from pathlib import Path

import pytest

from tests.programs.harness import overrides, run, train_flags

INPUT, DATA, STORAGE = 64, 65, 74


def assert_one_sentence(done, code: int, words: str) -> None:
    said = done.stderr.strip().splitlines()
    last = said[-1] if said else ""
    assert done.returncode == code, done.stderr
    assert words in last, last
    assert last.startswith("error: ")
    assert "Traceback" not in done.stderr + done.stdout
    assert len([line for line in said if line.startswith("error: ")]) == 1


TRAIN_MISTAKES = {
    "typo in a key": (
        {"train__num_stpes": 5},
        "config.train.num_stpes does not exist; did you mean 'train.num_steps'?",
    ),
    "key of the wrong section": (
        {"num_steps": 5},
        "config.num_steps does not exist; did you mean 'train.num_steps'?",
    ),
    "wrong type": (
        {"train__num_steps": "many"},
        "config.train.num_steps='many' is not a int",
    ),
    "a section for a value": ({"train": 5}, "config.train is a section, not a value"),
    "unknown preset": (
        {"model__preset": "joint-tny/1x2x2"},
        "did you mean 'joint-tiny'?",
    ),
    "patch that does not divide": (
        {"model__preset": "joint-tiny/1x3x3"},
        "cannot be cut into patches of 1x3x3",
    ),
    "heads that do not divide": ({"model__num_heads": 5}, "model.num_heads"),
    "unknown prediction": (
        {"diffusion__prediction": "velocty"},
        "did you mean 'velocity'?",
    ),
    "unknown process": ({"diffusion__process": "flow"}, "diffusion.process is 'flow'"),
    "batch that the mesh does not divide": (
        {"train__batch_size": 3, "devices": 2},
        "train.batch_size is 3, which is not a positive multiple",
    ),
    "microbatches that do not divide": (
        {"train__microbatches": 3},
        "train.microbatches is 3, which does not divide",
    ),
    "batch larger than the data": (
        {"train__batch_size": 4000},
        "batch size 4000 does not fit dataset",
    ),
    "mesh that does not match": (
        {"mesh__data": 3},
        "= 3 devices, but there are 1",
    ),
    "model that the mesh does not divide": (
        {"mesh__data": 1, "mesh__tensor": 4, "devices": 4, "model__num_heads": 2},
        "does not divide",
    ),
    "warm-up longer than the run": (
        {"optimizer__warmup_steps": 40},
        "warm up for fewer steps",
    ),
    "flips without a symmetric codec": (
        {"data__flip": True},
        "the codec does not commute with flips",
    ),
    "init_from a run that does not exist": (
        {"train__init_from": "no/such/run"},
        "holds no checkpoint",
    ),
    "share above one": ({"train__label_dropout": 1.5}, "give a value in [0, 1)"),
    "period of zero": ({"log__every_steps": 0}, "log.every_steps is 0"),
}


@pytest.mark.parametrize(
    ("changes", "words"), TRAIN_MISTAKES.values(), ids=TRAIN_MISTAKES
)
def test_train_refuses(dataset, tmp_path, changes, words):
    changes = dict(changes)
    devices = changes.pop("devices", 1)
    flags = train_flags(dataset, tmp_path / "run", **changes)
    done = run(["train", *flags], num_devices=devices)
    assert_one_sentence(done, INPUT, words)
    assert not (tmp_path / "run" / "checkpoints" / "1").exists()


def test_unknown_flags_name_the_nearest(tmp_path):
    done = run(["train", "--confg=configs/demo.py", f"--workdir={tmp_path}"])
    assert_one_sentence(done, INPUT, "Unknown command line flag 'confg'")
    assert "config" in done.stderr.split("'confg'")[1]


def test_missing_config_file(tmp_path):
    done = run(["train", "--config=configs/nothing.py", f"--workdir={tmp_path}"])
    assert_one_sentence(done, INPUT, "config 'configs/nothing.py' does not exist")


def test_unknown_config_argument(tmp_path):
    done = run(["train", "--config=configs/joint.py:z/1x2x2", f"--workdir={tmp_path}"])
    assert_one_sentence(done, INPUT, "config argument 'z/1x2x2' does not exist")


def test_missing_workdir():
    done = run(["train", "--config=configs/demo.py"])
    assert_one_sentence(done, INPUT, "--workdir is missing")


def test_missing_dataset(tmp_path):
    done = run(["train", *train_flags(tmp_path / "none", tmp_path / "run")])
    assert_one_sentence(done, INPUT, "does not exist; make it with")


def test_resume_with_another_model(dataset, trained):
    done = run(["train", *train_flags(dataset, trained, model__width=64)])
    assert_one_sentence(done, INPUT, "model.width was 32, now 64")


def test_resume_with_other_data(dataset, trained, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(dataset, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["fps"] = 25.0
    (other / "manifest.json").write_text(json.dumps(manifest))
    done = run(["train", f"--workdir={trained}", f"--config.data.path={other}"])
    assert_one_sentence(done, DATA, "has fingerprint")


def test_truncated_shard(dataset, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(dataset, other)
    shard = next(iter(sorted(other.glob("train*"))))
    shard.write_bytes(shard.read_bytes()[:-100])
    done = run(["train", *train_flags(other, tmp_path / "run")])
    assert_one_sentence(done, DATA, shard.name)


def test_codec_that_does_not_match_its_hash(dataset, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(dataset, other)
    weights = other / "codec" / "codec.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    done = run(["train", *train_flags(other, tmp_path / "run")])
    assert_one_sentence(done, DATA, "has sha256")


def test_a_file_where_the_workdir_should_be(dataset, tmp_path):
    (tmp_path / "run").write_text("a file")
    done = run(["train", *train_flags(dataset, tmp_path / "run")])
    assert_one_sentence(done, INPUT, "a file is in the way")


def test_full_disk_on_start(dataset, full_disk):
    done = run(["train", *train_flags(dataset, full_disk / "run")])
    assert_one_sentence(done, STORAGE, "free")


def test_labels_that_do_not_exist(trained, tmp_path):
    done = run(
        [
            "sample",
            f"--workdir={trained}",
            "--labels=7",
            f"--output={tmp_path / 'samples'}",
        ]
    )
    assert_one_sentence(done, INPUT, "--labels has '7'")


def test_sample_of_a_step_that_does_not_exist(trained, tmp_path):
    flags = [f"--workdir={trained}", "--step=7", f"--output={tmp_path}"]
    assert_one_sentence(run(["sample", *flags]), INPUT, "has no step 7")


def test_sample_without_a_run(tmp_path):
    flags = [f"--workdir={tmp_path}", f"--output={tmp_path}"]
    assert_one_sentence(run(["sample", *flags]), INPUT, "give the --workdir of")


def prepare(output: Path, sources: Path | str, **changes: object):
    values = {"prepare.sources": sources} | {
        key.replace("__", "."): value for key, value in changes.items()
    }
    flags = ["--config=configs/common.py", f"--output={output}"]
    return run(["prepare", *flags, *overrides(values)])


def test_missing_video(tmp_path):
    done = prepare(tmp_path / "out", "no/such.mp4")
    assert_one_sentence(done, INPUT, "'no/such.mp4' does not exist")


def test_not_a_video(tmp_path):
    (tmp_path / "text.mp4").write_text("not a video at all, only words\n" * 99)
    done = prepare(tmp_path / "out", tmp_path / "text.mp4")
    assert_one_sentence(done, DATA, "not a")


def test_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    done = prepare(tmp_path / "out", tmp_path / "empty")
    assert_one_sentence(done, INPUT, "holds no video")


def test_too_few_frames(videos, tmp_path):
    done = prepare(tmp_path / "out", videos, prepare__num_frames=64)
    assert_one_sentence(done, INPUT, "no clip fits")


def test_frames_that_the_codec_does_not_divide(videos, tmp_path):
    done = prepare(tmp_path / "out", videos, prepare__height=60)
    assert_one_sentence(done, INPUT, "60")


def test_packaged_clip_that_does_not_exist(tmp_path):
    done = prepare(tmp_path / "out", "packaged:bigbuckbuny")
    assert_one_sentence(done, INPUT, "did you mean 'bigbuckbunny'?")


def test_coordinator_flags_that_do_not_belong_together(tmp_path):
    done = run(["train", f"--workdir={tmp_path}", "--num_processes=2"])
    assert_one_sentence(done, INPUT, "--process_id, or none of them")


def test_process_id_out_of_range(tmp_path):
    flags = ["--coordinator_address=127.0.0.1:1", "--num_processes=2", "--process_id=2"]
    done = run(["train", f"--workdir={tmp_path}", *flags])
    assert done.returncode == INPUT
    assert "--process_id is 2" in done.stderr
    assert "Traceback" not in done.stderr
