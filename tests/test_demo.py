"""The parts of the demo that decide its numbers."""

import numpy as np

from dit_jax import demo


def test_labels_are_in_the_proportions_of_the_training_clips():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    counts = np.bincount(demo.proportional_labels(labels, 10))
    np.testing.assert_array_equal(counts, [5, 3, 2])


def test_labels_sum_to_the_number_asked_for():
    labels = np.repeat(np.arange(7), [1, 2, 3, 5, 8, 13, 21])
    for num in (1, 7, 64):
        assert len(demo.proportional_labels(labels, num)) == num


def test_frozen_clips_keep_the_first_frame_and_do_not_move():
    clips = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 4, 3), np.uint8)
    frozen = demo.freeze(clips)
    assert frozen.shape == clips.shape
    np.testing.assert_array_equal(frozen, np.broadcast_to(clips[:, :1], clips.shape))


def test_the_table_has_every_row_with_its_number():
    table = {
        "num": 64,
        "fvd": {
            "samples": 1.0,
            "samples_against_held_out": 2.0,
            "real": 3.0,
            "codec_reconstruction": 4.0,
            "frozen_real": 5.0,
            "untrained": 6.0,
        },
        "label_accuracy": 0.5,
        "nearest_psnr_db": 20.0,
        "memorised_share": 0.25,
        "validation_loss": 0.125,
    }
    text = "\n".join(demo.render(table))
    for cell in ("| 1 ", "| 6 ", "50.0%", "20.0 dB", "25%", "0.1250", "FVD@64"):
        assert cell in text
