"""Windows: inside one shot, inside one split, no frame on both sides."""

import dataclasses
import itertools

import pytest

from dit_jax.data.sources import clips, labels
from dit_jax.data.sources.clips import TRAIN, VALIDATION, ClipSettings, Window
from dit_jax.data.sources.videos import Source
from dit_jax.errors import UserError

SETTINGS = ClipSettings(
    sources=("a",),
    exclude=(),
    num_frames=4,
    stride=2,
    hop=3,
    height=8,
    width=8,
    validation=0.25,
    split_cuts=True,
    label="shot",
)
SHOTS = [[(0, 60), (60, 66), (66, 90)], [(0, 200)]]


def _frames(window, settings):
    span, stride = settings.span, settings.stride
    return {(window.source, window.start + i) for i in range(0, span, stride)}


@pytest.mark.parametrize("validation", [0.0, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_no_frame_is_in_both_splits(validation, stride):
    settings = dataclasses.replace(SETTINGS, validation=validation, stride=stride)
    train, unseen = (
        [_frames(w, settings) for w in clips.windows(SHOTS, settings, split)]
        for split in clips.SPLITS
    )
    assert train
    assert not set().union(*train) & set().union(*unseen)


def test_windows_stay_inside_their_shot():
    for split in clips.SPLITS:
        for window in clips.windows(SHOTS, SETTINGS, split):
            first, end = SHOTS[window.source][window.shot]
            assert first <= window.start
            assert window.start + SETTINGS.span <= end


def test_validation_is_the_last_share_of_every_long_shot():
    assert clips.divide((0, 60), SETTINGS) == {TRAIN: (0, 45), VALIDATION: (45, 60)}
    assert clips.divide((60, 66), SETTINGS)[VALIDATION] == (66, 66)


def test_a_shot_too_short_for_both_gives_training_only():
    # span 7: 24 frames give 6 of validation, one too few
    assert clips.divide((66, 90), SETTINGS) == {TRAIN: (66, 90), VALIDATION: (90, 90)}
    assert clips.divide((66, 94), SETTINGS)[VALIDATION] == (87, 94)


def test_hop_counts_source_frames_between_starts():
    starts = [w.start for w in clips.windows([[(5, 25)]], SETTINGS, TRAIN)]
    assert starts == [5, 8, 11, 14, 17]  # the last ends at 23; one at 20 would at 26
    both = dataclasses.replace(SETTINGS, validation_hop=1)
    wanted = list(range(45, 60 - SETTINGS.span + 1))
    assert [w.start for w in clips.windows([[(0, 60)]], both, VALIDATION)] == wanted
    assert clips.windows(SHOTS, both, TRAIN) == clips.windows(SHOTS, SETTINGS, TRAIN)


@pytest.mark.parametrize(
    ("field", "value"), [("stride", 0), ("hop", -1), ("validation", 1.0), ("width", 0)]
)
def test_settings_out_of_range_name_their_key(field, value):
    with pytest.raises(UserError, match=f"prepare.{field} is {value}"):
        dataclasses.replace(SETTINGS, **{field: value})


SOURCES = [Source("/x/jump/a.mp4", "a", "jump", ""), Source("/x/b.mp4", "b", "x", "")]


def _classes(label):
    return labels.classes(
        label,
        clips.windows(SHOTS, SETTINGS, TRAIN),
        sources=SOURCES,
        shots=SHOTS,
        fps=[10.0, 20.0],
    )


def test_shots_that_have_clips_are_the_classes():
    entries, numbers = _classes("shot")
    assert [entry.name for entry in entries] == ["a shot 1", "a shot 3", "b"]
    assert numbers == {(0, 0): 0, (0, 2): 1, (1, 0): 2}
    assert (entries[1].start_s, entries[1].end_s) == (6.6, 9.0)
    assert (entries[2].source, entries[2].end_s) == ("b", 10.0)


def test_every_label_numbers_its_classes_from_0_and_names_each_once():
    for label in ("shot", "source", "folder"):
        entries, numbers = _classes(label)
        assert sorted(numbers.values()) == list(range(len(entries)))
        assert len({entry.name for entry in entries}) == len(entries)
    assert [entry.name for entry in _classes("folder")[0]] == ["jump", "x"]
    assert _classes("none") == ([], {})


def test_every_validation_clip_has_a_class_of_training():
    for label in ("shot", "source", "folder"):
        _, numbers = _classes(label)
        for window in clips.windows(SHOTS, SETTINGS, VALIDATION):
            assert labels.KEYS[label](window, SOURCES) in numbers


def test_an_unknown_label_is_named():
    with pytest.raises(UserError, match="prepare.label is 'shots'.*'shot'"):
        _classes("shots")


def test_windows_come_in_order_of_time():
    found = clips.windows(SHOTS, SETTINGS, TRAIN)
    keys = [dataclasses.astuple(window) for window in found]
    assert keys == sorted(keys)
    assert all(a != b for a, b in itertools.pairwise(found))
    assert isinstance(found[0], Window)
