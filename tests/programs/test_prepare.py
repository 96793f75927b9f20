"""Videos to a dataset: what is stored is what was filmed, and mistakes cost nothing."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs import common
from dit_jax import codecs, prepare
from dit_jax import config as config_lib
from dit_jax.codecs import pixels as pixels_lib
from dit_jax.data import manifest as manifest_lib
from dit_jax.data import pixels, video
from dit_jax.data.loader import Loader
from dit_jax.data.reader import Reader
from dit_jax.data.stores import STORES
from dit_jax.errors import DataError, UserError, exit_code
from dit_jax.text.minilm import MiniLM


@pytest.fixture
def folder(tmp_path):
    """`videos/pan.mp4` of two shots and `videos/walk/zoom.mp4` of one."""
    rng = np.random.default_rng(0)
    scenes = [
        np.kron(rng.integers(0, 256, (4, 12, 3)), np.ones((8, 8, 1))) for _ in range(3)
    ]
    pan = [s[:, i : i + 32] for s in scenes[:2] for i in range(32)]
    zoom = [scenes[2][:, 2 * i : 2 * i + 32] for i in range(32)]
    home = tmp_path / "videos"
    video.write_video(home / "pan.mp4", np.asarray(pan).astype(np.uint8), 10)
    video.write_video(home / "walk" / "zoom.mp4", np.asarray(zoom).astype(np.uint8), 20)
    return home


def _config(folder, **changes):
    settings = {
        "prepare.sources": str(folder),
        "prepare.num_frames": 4,
        "prepare.height": 16,
        "prepare.width": 16,
        "prepare.validation": 0.25,
        "prepare.records_per_shard": 10,
        "codec.block": "2,8,8",
        "codec.channels": 384,
    } | changes
    texts = {key: str(value) for key, value in settings.items()}
    return config_lib.override(common.get_config().lock(), texts)


def test_every_record_decodes_to_the_pixels_it_was_cut_from(folder, tmp_path):
    output = str(tmp_path / "data")
    prepare.prepare(_config(folder), output)
    codec = codecs.load(tmp_path / "data" / "codec")
    for split in ("train", "validation"):
        reader = Reader(output, split, verify=True)
        places = range(len(reader))
        found = pixels.clips_of_records(output, places, split=split)
        latents = reader.batch(places)["latents"]
        np.testing.assert_array_equal(pixels_lib.to_uint8(codec.decode(latents)), found)


def test_pixels_come_in_the_order_they_are_asked_for(folder, tmp_path):
    output = str(tmp_path / "data")
    prepare.prepare(_config(folder), output)
    whole = pixels.clips_of_records(output, range(18))
    some = pixels.clips_of_records(output, [17, 3, 3, 0])
    np.testing.assert_array_equal(some, whole[[17, 3, 3, 0]])


def test_the_manifest_says_where_everything_came_from(folder, tmp_path):
    output = str(tmp_path / "data")
    manifest = prepare.prepare(_config(folder), output)
    assert manifest == manifest_lib.read(output)
    assert [source.name for source in manifest.sources] == ["pan", "walk/zoom"]
    assert [entry.name for entry in manifest.classes] == [
        "pan shot 1",
        "pan shot 2",
        "walk/zoom",
    ]
    assert manifest.classes[1].start_s == 3.2
    assert manifest.latent_shape == (2, 2, 2, 384)
    loader = Loader(
        output,
        batch_size=8,
        seed=0,
    )
    batch = next(loader)
    by_label = {2: 20.0}
    wanted = [by_label.get(int(label), 10.0) for label in batch.label]
    np.testing.assert_array_equal(batch.fps, wanted)


def test_the_same_settings_make_the_same_dataset(folder, tmp_path):
    a = prepare.prepare(_config(folder), str(tmp_path / "a"))
    b = prepare.prepare(_config(folder), str(tmp_path / "b"))
    assert a.fingerprint == b.fingerprint
    assert [s.sha256 for s in a.shards] == [s.sha256 for s in b.shards]


def test_a_finished_dataset_is_left_alone_and_another_one_is_refused(
    folder, tmp_path, capsys
):
    output = str(tmp_path / "data")
    prepare.prepare(_config(folder), output)
    written = {f: f.stat().st_mtime_ns for f in (tmp_path / "data").rglob("*")}
    prepare.prepare(_config(folder), output)
    assert "finished already" in capsys.readouterr().out
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "data").rglob("*")} == written
    with pytest.raises(UserError, match=r"prepare\.hop: 4, wanted 2"):
        prepare.prepare(_config(folder, **{"prepare.hop": 2}), output)


def test_both_stores_hold_the_same_batches_bit_for_bit(folder, tmp_path):
    loaders = []
    for store in STORES:
        config = _config(folder, **{"prepare.store": store})
        prepare.prepare(config, str(tmp_path / store))
        loaders.append(Loader(tmp_path / store, batch_size=5, seed=1, num_threads=2))
    for _ in range(2 * 18 // 5 + 1):  # two epochs
        a, b = (jax.tree.leaves(next(loader)) for loader in loaders)
        for one, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(one, other, strict=True)


def test_a_dataset_of_another_store_is_another_one(folder, tmp_path):
    output = str(tmp_path / "data")
    prepare.prepare(_config(folder), output)
    with pytest.raises(UserError, match="prepare.store: 'array_record', wanted 'zarr'"):
        prepare.prepare(_config(folder, **{"prepare.store": "zarr"}), output)


def test_a_dataset_from_before_there_were_stores_is_left_alone(
    folder, tmp_path, capsys
):
    output = tmp_path / "data"
    manifest = prepare.prepare(_config(folder), str(output))
    value = json.loads((output / "manifest.json").read_text())
    assert "store" not in value and "store" not in value["settings"]["prepare"]
    assert prepare.prepare(_config(folder), str(output)) == manifest
    assert "finished already" in capsys.readouterr().out


def test_a_codec_that_is_given_is_used(folder, tmp_path):
    first = prepare.prepare(_config(folder), str(tmp_path / "first"))
    path = str(tmp_path / "first" / "codec")
    other = _config(folder / "walk", **{"codec.path": path, "codec.channels": 5})
    second = prepare.prepare(other, str(tmp_path / "second"))
    assert second.codec == first.codec
    assert codecs.load(tmp_path / "second" / "codec").spec == first.codec


def test_a_source_that_changed_is_not_taken_for_the_old_one(folder, tmp_path):
    output = str(tmp_path / "data")
    prepare.prepare(_config(folder), output)
    video.write_video(folder / "pan.mp4", np.zeros((64, 32, 32, 3), np.uint8), 10)
    with pytest.raises(DataError, match=r"pan\.mp4.*not the file"):
        pixels.clips_of_records(output, [0])
    with pytest.raises(UserError, match="other settings"):
        prepare.prepare(_config(folder), output)


def test_bfloat16_latents_and_no_label(folder, tmp_path):
    changes = {"prepare.latent_dtype": "bfloat16", "prepare.label": "none"}
    manifest = prepare.prepare(_config(folder, **changes), str(tmp_path / "data"))
    assert manifest.classes == () and "label" not in manifest.fields
    assert manifest.fields["latents"].dtype == "bfloat16"


CAPTIONS = {"pan": "A  noisy\nwall", "walk/zoom": ""}


@pytest.fixture
def captioned(folder):
    for name, caption in CAPTIONS.items():
        (folder / f"{name}.txt").write_text(caption)
    return folder


WITH_TEXT = {"prepare.text": "minilm", "prepare.text_length": 8}


def test_every_record_has_the_text_of_its_video(captioned, tmp_path):
    output = str(tmp_path / "data")
    manifest = prepare.prepare(_config(captioned, **WITH_TEXT), output)
    assert [s.caption for s in manifest.sources] == ["A noisy wall", ""]
    encoder = MiniLM(length=8)
    assert manifest.text_encoder == encoder.spec.to_json()
    expected = encoder.encode(["A noisy wall"])
    reader = Reader(output, "train")
    for record in (reader[i] for i in range(len(reader))):
        told = float(record["source"] == 0)  # the other caption is empty: no text
        np.testing.assert_array_equal(record["text_mask"], told * expected.mask[0])
        np.testing.assert_allclose(record["text"], told * expected.tokens[0], atol=2e-3)
        np.testing.assert_allclose(
            record["pooled"], told * expected.pooled[0], atol=1e-6
        )
    assert {int(reader[i]["source"]) for i in range(len(reader))} == {0, 1}


def test_another_caption_makes_another_dataset(captioned, tmp_path):
    output = str(tmp_path / "data")
    prepare.prepare(_config(captioned, **WITH_TEXT), output)
    (captioned / "pan.txt").write_text("Another wall")
    with pytest.raises(UserError, match="'A noisy wall', wanted 'Another wall'"):
        prepare.prepare(_config(captioned, **WITH_TEXT), output)


MISTAKES = {
    "missing": ({"prepare.sources": "/none/such.mp4"}, 64, "does not exist"),
    "block": ({"prepare.num_frames": 5}, 64, "num_frames is 5"),
    "frames": ({"prepare.num_frames": 40}, 64, "longest shot has 32 frames"),
    "label": ({"prepare.label": "shots"}, 64, "did you mean 'shot'"),
    "dtype": ({"prepare.latent_dtype": "float61"}, 64, "latent_dtype is 'float61'"),
    "channels": ({"codec.channels": 400}, 64, "1 to 384"),
    "codec": ({"codec.path": "/none/codec"}, 64, "fit_codec"),
    "caption": ({"prepare.text": "minilm"}, 64, r"no caption .*pan\.txt'; write one"),
    "encoder": ({"prepare.text": "minlm"}, 64, "did you mean 'minilm'"),
    "text length": (
        {"prepare.text": "minilm", "prepare.text_length": 2},
        64,
        "text_length is 2; choose 3 to 512",
    ),
    "text path": (
        {"prepare.text": "minilm", "text.path": "/none/such"},
        64,
        "check --config.text.path",
    ),
    "store": ({"prepare.store": "zar"}, 64, "store is 'zar'.*mean 'zarr'"),
    "shards": ({"prepare.records_per_shard": 0}, 64, "records_per_shard is 0"),
}


@pytest.mark.parametrize("changes, code, message", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence_before_anything_is_written(
    folder, tmp_path, changes, code, message
):
    with pytest.raises(ValueError, match=message) as caught:
        prepare.prepare(_config(folder, **changes), str(tmp_path / "data"))
    assert exit_code(caught.value) == code
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_the_program_ends_by_naming_what_it_wrote_and_refuses_a_text_file(
    folder, tmp_path
):
    command = [sys.executable, "-m", "dit_jax.prepare", "--config=configs/common.py"]
    flat = config_lib.flatten(_config(folder).to_dict())
    keys = [key for key in flat if key.startswith(("prepare.", "codec."))]
    command += [f"--config.{k}={flat[k]}" for k in keys if flat[k] not in (None, ())]
    output = str(tmp_path / "data")
    done = subprocess.run(
        [*command, f"--output={output}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"wrote {output}: ")
    assert json.loads((tmp_path / "data" / "manifest.json").read_text())["codec"]
    (folder / "notes.mp4").write_text("not a video")
    refused = subprocess.run(
        [*command, f"--output={tmp_path / 'b'}"], capture_output=True, text=True
    )
    assert refused.returncode == 65
    assert refused.stderr.count("\n") == 1 and "notes.mp4" in refused.stderr
