"""Foreign weights to a run folder, sampled, trained and written back, as users do."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
from einops import rearrange

from dit_jax import codecs
from dit_jax.checkpoints import Checkpoints
from dit_jax.codecs import pca_fit
from dit_jax.data import manifest as manifest_lib
from dit_jax.data import records, writer
from dit_jax.data.sources.labels import ClassEntry
from dit_jax.errors import UserError
from dit_jax.evaluation.parity import golden
from dit_jax.inference import run_folder
from dit_jax.parallel import mesh
from dit_jax.training import identity
from dit_jax.types import Conditioning
from tests.programs.harness import overrides, run

pytestmark = pytest.mark.slow  # programs, in their own processes

GOLDEN = Path(__file__).parents[1] / "golden" / "dit_forward_p2.safetensors"
SHAPE, CLASSES = (1, 8, 8, 4), 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("convert")


@pytest.fixture(scope="module")
def weights(folder):
    """A golden file's parameters under their own names."""
    arrays = dict(golden.read(GOLDEN).params)
    safetensors.numpy.save_file(arrays, folder / "dit.safetensors")
    return folder / "dit.safetensors"


@pytest.fixture(scope="module")
def converted(folder, weights):
    done = convert(weights, folder / "run", "--config.model.num_heads=4")
    assert done.returncode == 0, done.stderr
    assert "no codec, so sample writes latents" in done.stdout
    return folder / "run"


def convert(file, workdir, *flags, system="dit"):
    where = [f"--input={file}", f"--workdir={workdir}"]
    return run(["convert", f"--from={system}", *where, *flags])


def make_codec(seed=0, channels=SHAPE[-1]):
    video = np.random.default_rng(seed).integers(0, 256, (4, 64, 64, 3), np.uint8)
    return pca_fit.fit([video], block=(1, 8, 8), channels=channels)


def make_dataset(path, *, codec=None, shape=SHAPE, num_classes=CLASSES):
    """Random latents, as many as a batch or two need."""
    codec = codec or make_codec(channels=shape[-1])
    fields = records.latent_fields(shape, dtype="float32", has_label=True)
    with writer.Writer(path, records_per_shard=8) as dataset:
        for i in range(8):
            latents = np.random.default_rng(i).normal(size=shape).astype(np.float32)
            record = {"latents": latents, "example_id": i, "label": i % num_classes}
            record |= {"source": 0, "start_frame": 0, "fps": 8}
            dataset.add("train", records.pack(record, fields))
        shards = dataset.finish()
    codecs.save(codec, path / "codec")
    manifest = manifest_lib.Manifest(
        codec=codec.spec,
        text_encoder=None,
        fields=fields,
        classes=tuple(
            ClassEntry(f"class {i}", None, None, None) for i in range(num_classes)
        ),
        fps=8.0,
        sources=(),
        shards=shards,
        settings={"prepare": {"num_frames": 1}},
    )
    writer.commit(path, manifest)
    return path


def load(workdir):
    alone = mesh.build(jax.devices()[:1], data=1, fsdp=1, context=1, tensor=1)
    return run_folder.load(workdir, alone)


def test_the_run_computes_what_the_original_computed(converted):
    case, loaded = golden.read(GOLDEN), load(converted)
    x = rearrange(case.inputs["x"], "B C H W -> B 1 H W C")
    t = case.inputs["t"].astype(np.float32) / 999
    told = Conditioning(label=case.inputs["y"].astype(np.int32))
    with jax.default_matmul_precision("highest"):
        out = jax.jit(loaded.denoiser.bind(loaded.params))(x, t, told)
    ours = rearrange(np.asarray(out), "B 1 H W C -> B C H W")
    assert ours.std() > 0.1
    assert all(d.passed for d in golden.compare(case, {"out": ours}))


def test_params_and_ema_are_the_weights_and_the_optimizer_is_fresh(converted):
    loaded, store = load(converted), Checkpoints(converted)
    assert store.steps() == [0]
    params = store.restore(0, "params", loaded.denoiser.abstract_params)
    for one, other in zip(
        jax.tree.leaves(loaded.params), jax.tree.leaves(params), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    snapshot = json.loads((converted / "config.json").read_text())
    assert snapshot["config"]["diffusion"]["prediction"] == "eps"
    assert snapshot["config"]["diffusion"]["process"] == "ddpm_linear"
    assert snapshot["starts"][0]["converted"]["system"] == "dit"


def test_it_goes_back_to_the_same_file(converted, weights, folder):
    back = folder / "back.safetensors"
    done = run(["convert", "--to=dit", f"--workdir={converted}", f"--output={back}"])
    assert done.returncode == 0, done.stderr
    found = safetensors.numpy.load_file(back)
    wanted = safetensors.numpy.load_file(weights)
    assert set(found) == set(wanted)
    assert all(found[name].tobytes() == wanted[name].tobytes() for name in wanted)


def test_without_a_codec_latents_are_sampled(converted, folder):
    output = folder / "samples"
    flags = ["--num=2", "--steps=2", "--guidance=2", f"--output={output}"]
    done = run(["sample", f"--workdir={converted}", *flags])
    assert done.returncode == 0, done.stderr
    assert "frames need a codec" in done.stdout
    latents = np.load(output / "samples.npz")["latents"]
    assert latents.shape == (2, *SHAPE) and latents.std() > 0.1
    assert not list(output.glob("*.mp4"))


def test_it_trains_on_a_dataset_and_takes_its_codec(converted, folder):
    tuned, data = folder / "tuned", make_dataset(folder / "data")
    shutil.copytree(converted, tuned)
    changes = {
        "data.path": data,
        "train.num_steps": 1,
        "train.batch_size": 4,
        "optimizer.warmup_steps": 0,
        "optimizer.learning_rate": 1e-3,
        "log.tensorboard": False,
    }
    done = run(["train", f"--workdir={tuned}", *overrides(changes)])
    assert done.returncode == 0, done.stderr
    assert "going on from step 0" in done.stdout
    before, after = load(converted), load(tuned)
    assert after.step == 1 and after.codec is not None
    assert after.classes[3]["name"] == "class 3"
    pairs = zip(
        jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True
    )
    moved = [float(np.abs(one - other).max()) for one, other in pairs]
    assert 0 < max(moved) < 3e-3  # the first step of Adam is the learning rate
    starts = json.loads((tuned / "config.json").read_text())["starts"]
    assert [("converted" in start) for start in starts] == [True, False]


def test_with_a_codec_frames_are_sampled(weights, folder):
    codec, workdir, output = folder / "codec", folder / "with", folder / "frames"
    codecs.save(make_codec(), codec)
    flags = ["--config.model.num_heads=4", f"--codec={codec}"]
    done = convert(weights, workdir, *flags)
    assert done.returncode == 0, done.stderr
    flags = ["--num=2", "--steps=2", f"--output={output}"]
    done = run(["sample", f"--workdir={workdir}", *flags])
    assert done.returncode == 0, done.stderr
    assert np.load(output / "samples.npz")["videos"].shape == (2, 1, 64, 64, 3)
    other = make_dataset(folder / "other", codec=make_codec(seed=1))
    with pytest.raises(UserError, match=r"has codec .* prepare it with codec.path"):
        check(workdir, other)


def check(workdir, data):
    return identity.check_data(str(workdir), str(data), manifest_lib.read(data))


def test_data_that_do_not_fit_are_refused(converted, tmp_path):
    fewer = make_dataset(tmp_path / "fewer", num_classes=3)
    with pytest.raises(UserError, match="has 10 classes, but .* has 3"):
        check(converted, fewer)
    larger = make_dataset(tmp_path / "larger", shape=(1, 8, 8, 5))
    with pytest.raises(UserError, match="has latents 1x8x8x4, but .* has 1x8x8x5"):
        check(converted, larger)


def test_another_model_is_refused_and_other_settings_are_not(converted):
    with pytest.raises(UserError, match=r"holds another run .*model.width was 32"):
        identity.settings(str(converted), None, {"model.width": "64"})
    changed = identity.settings(str(converted), None, {"optimizer.b2": "0.5"})
    assert changed.optimizer.b2 == 0.5


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--from=dti"], 64, "--from is 'dti', which does not exist"),
        (["--from=dit", "--to=dit"], 64, "give one of --from SYSTEM"),
        (["--from=dit"], 64, "add --config.model.num_heads=N"),
        (["--from=dit", "--config.model.preset=dit-s/2"], 64, "leave it out"),
        (["--from=dit", "--config.model.num_heads=4", "--codec=nowhere"], 64, "codec"),
    ],
)
def test_mistakes_are_one_sentence(flags, code, words, weights, tmp_path):
    done = run(["convert", *flags, f"--input={weights}", f"--workdir={tmp_path}/run"])
    assert done.returncode == code, done.stderr
    (said,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert words in said and "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_run_is_not_written_over(converted, weights):
    done = convert(weights, converted)
    assert done.returncode == 64
    assert "already holds a run; choose another --workdir" in done.stderr
