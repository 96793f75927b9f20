"""Order: a pure function of (seed, epoch, index), on any host, after any restart."""

import collections
import itertools

import numpy as np
import pytest

from dit_jax.data import manifest as manifest_lib
from dit_jax.data import order
from dit_jax.data.loader import Loader, Validation, require_repeats
from dit_jax.data.stores import STORES
from dit_jax.errors import DataError, UserError

TRAIN = 23


def _loader(folder, **changes):
    settings = {"batch_size": 4, "seed": 0, "num_threads": 2, "prefetch": 3} | changes
    return Loader(folder, **settings)


def _ids(loader, num_batches):
    return [np.asarray(next(loader).example_id).tolist() for _ in range(num_batches)]


@pytest.mark.parametrize("n", [1, 2, 3, 23, 1000])
def test_an_epoch_is_a_permutation(n):
    for epoch in range(3):
        found = [
            order.position(epoch * n + i, num_examples=n, seed=5) for i in range(n)
        ]
        assert sorted(found) == list(range(n))


def test_epochs_and_seeds_are_shuffled_differently():
    def epoch(number, seed):
        first = number * 100
        return tuple(
            order.position(first + i, num_examples=100, seed=seed) for i in range(100)
        )

    found = {epoch(number, seed) for number in range(4) for seed in range(4)}
    assert len(found) == 16
    assert tuple(range(100)) not in found


@pytest.mark.parametrize("num_hosts", [1, 2])
def test_an_epoch_visits_every_example_once_on_any_number_of_hosts(
    make_dataset, num_hosts
):
    folder = make_dataset(train=TRAIN)
    counts = collections.Counter()
    for host in range(num_hosts):
        rows = range(host, 4, num_hosts)
        found = _ids(_loader(folder, rows=rows), TRAIN)  # 4 epochs
        counts.update(itertools.chain(*found))
    assert counts == dict.fromkeys(range(TRAIN), 4)


def test_an_epoch_visits_a_source_as_often_as_it_repeats(make_dataset):
    folder = make_dataset(train=TRAIN, num_sources=3)
    repeats = (2, 0, 1)
    num_visits = 8 * 2 + 7 * 1  # 8, 8 and 7 examples
    found = _ids(_loader(folder, repeats=repeats, batch_size=1), 3 * num_visits)
    for epoch in range(3):
        ids = itertools.chain(*found[epoch * num_visits : (epoch + 1) * num_visits])
        wanted = {i: repeats[i % 3] for i in range(TRAIN) if repeats[i % 3]}
        assert collections.Counter(ids) == wanted


@pytest.mark.parametrize(
    "repeats",
    [
        (1,),
        (1, 1, -1),
        (0, 0, 0),
        (1.5, 1, 1),
        (True, 1, 1),
        ("a", "b", "c"),
        (10**9, 1, 1),
    ],
)
def test_repeats_are_one_number_a_source(make_dataset, repeats):
    folder = make_dataset(train=TRAIN, num_sources=3)
    with pytest.raises(UserError, match=r"data.repeats is .* film 0, film 1, film 2"):
        require_repeats(repeats, manifest_lib.read(folder))


def test_hosts_read_the_rows_of_one_global_batch(make_dataset):
    folder = make_dataset(train=TRAIN)
    whole = _ids(_loader(folder), 9)
    parts = [_ids(_loader(folder, rows=rows), 9) for rows in ([0, 1], [2, 3])]
    assert [a + b for a, b in zip(*parts, strict=True)] == whole


@pytest.mark.parametrize("num_batches", [1, 5, 11])
def test_a_restart_goes_on_where_it_stopped(make_dataset, num_batches):
    folder = make_dataset(train=TRAIN)
    wanted = _ids(_loader(folder), 15)
    first = _loader(folder)
    assert _ids(first, num_batches) == wanted[:num_batches]
    second = _loader(folder, start_index=first.next_index)
    assert _ids(second, 15 - num_batches) == wanted[num_batches:]


def test_next_index_counts_what_was_handed_out_not_what_was_read_ahead(make_dataset):
    loader = _loader(make_dataset(), prefetch=6)
    assert loader.next_index == 0
    next(loader)
    assert loader.next_index == 4


@pytest.mark.parametrize(("num_threads", "prefetch"), [(0, 1), (1, 1), (8, 20)])
def test_threads_and_prefetch_change_nothing(make_dataset, num_threads, prefetch):
    folder = make_dataset(train=TRAIN)
    wanted = [next(loader) for loader in [_loader(folder)] for _ in range(12)]
    other = _loader(folder, num_threads=num_threads, prefetch=prefetch)
    for batch in wanted:
        found = next(other)
        np.testing.assert_array_equal(found.example_id, batch.example_id)
        np.testing.assert_array_equal(found.latents, batch.latents)


def test_another_seed_is_another_order(make_dataset):
    folder = make_dataset(train=TRAIN)
    assert _ids(_loader(folder, seed=0), 5) != _ids(_loader(folder, seed=1), 5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_batches_hold_the_record_normalized_in_float32(
    make_dataset, raw_latents, dtype
):
    folder = make_dataset(dtype=dtype)
    codec = manifest_lib.read(folder).codec
    batch = next(_loader(folder))
    assert batch.latents.dtype == np.float32
    for row, example_id in enumerate(batch.example_id):
        wanted = codec.normalize(raw_latents(int(example_id)))
        tolerance = 1e-6 if dtype == "float32" else 2e-2
        np.testing.assert_allclose(batch.latents[row], wanted, atol=tolerance)
        assert batch.label[row] == example_id % 3
        assert batch.fps[row] == 10 + example_id
        assert batch.extra["start_frame"][row] == 4 * example_id


def test_a_dataset_without_labels_gives_none(make_dataset):
    assert next(_loader(make_dataset(has_label=False))).label is None


@pytest.mark.parametrize("repeats", [(), (2, 0, 1)])
def test_all_stores_give_the_same_batches_bit_for_bit(make_dataset, repeats):
    settings = {"train": TRAIN, "has_text": True, "num_sources": 3, "dtype": "bfloat16"}
    loaders = [
        _loader(make_dataset(store, store=store, **settings), repeats=repeats)
        for store in STORES
    ]
    for _ in range(2 * TRAIN // 4 + 1):  # two epochs
        first, *others = [batch.__dict__ | batch.extra for batch in map(next, loaders)]
        for other in others:
            assert first.keys() == other.keys()
            for name in first.keys() - {"extra"}:
                np.testing.assert_array_equal(first[name], other[name], strict=True)


def test_damage_reaches_the_caller_through_the_threads(
    make_dataset, raw_latents, shard_file, store
):
    folder = make_dataset(train=TRAIN, store=store)
    file = shard_file(1)
    data = bytearray(file.read_bytes())
    data[data.index(raw_latents(11).tobytes())] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"record 3 of shard train\D*0*1\D"):
        _ids(_loader(folder), 6)


def test_what_does_not_fit_is_refused(make_dataset):
    folder = make_dataset(train=TRAIN)
    with pytest.raises(UserError, match="24 does not fit.*23 train"):
        _loader(folder, batch_size=24)
    with pytest.raises(UserError, match="data.num_threads is -1; give 0 or more"):
        _loader(folder, num_threads=-1)
    with pytest.raises(UserError, match="data.prefetch is -3; give 0 or more"):
        _loader(folder, prefetch=-3)
    with pytest.raises(UserError, match="validation.num_examples is 0"):
        Validation(folder, batch_size=2, num_examples=0)


@pytest.mark.parametrize("num_hosts", [1, 2])
def test_validation_weighs_every_example_once_in_fixed_order(make_dataset, num_hosts):
    folder = make_dataset(train=TRAIN, validation=7)
    seen = collections.Counter()
    for host in range(num_hosts):
        rows = range(host, 4, num_hosts)
        examples = Validation(folder, batch_size=4, rows=rows)
        assert len(examples) == 2
        for batch, weight in examples:
            for example_id, w in zip(batch.example_id, weight, strict=True):
                seen[int(example_id)] += float(w)
        again = [b.example_id.tolist() for b, _ in examples]
        assert again == [b.example_id.tolist() for b, _ in examples]
    assert {i: n for i, n in seen.items() if n} == dict.fromkeys(range(23, 30), 1.0)


def test_fewer_validation_examples_are_spread_over_the_split(make_dataset):
    folder = make_dataset(validation=7)
    ids = [
        int(i)
        for batch, weight in Validation(folder, batch_size=2, num_examples=3)
        for i in batch.example_id[weight > 0]
    ]
    assert ids == [23, 25, 27]


def test_text_comes_as_it_was_written_in_single_precision(make_dataset):
    folder = make_dataset(has_text=True)
    batch = next(_loader(folder))
    ids = np.asarray(batch.example_id)
    mask = np.arange(4) < (ids % 5)[:, None]
    np.testing.assert_array_equal(batch.text_mask, mask)
    np.testing.assert_array_equal(
        batch.text, (mask * ids[:, None])[..., None] + [0] * 6
    )
    np.testing.assert_allclose(batch.pooled, ids[:, None] + [1e-4] * 6, rtol=1e-7)
    assert batch.text.dtype == batch.pooled.dtype == np.float32
    assert batch.text_mask.dtype == np.int32
    for validation, _ in Validation(folder, batch_size=4):
        assert validation.text is not None
    assert manifest_lib.read(folder).text_shape == (4, 6)


def test_a_dataset_without_text_has_none(make_dataset):
    folder = make_dataset()
    batch = next(_loader(folder))
    assert batch.text is batch.text_mask is batch.pooled is None
    assert manifest_lib.read(folder).text_shape is None
