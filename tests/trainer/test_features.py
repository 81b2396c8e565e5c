"""The pass over the photographs: each through the network once, whatever happens around it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch

from trainer import models, weights
from trainer.features import Extractor, Table
from trainer.precision import _cpu_flags, choose, name
from trainer.stages import Stages
from trainer.store import Store

from .conftest import paint
from .hardware import DEVICE


@pytest.fixture(scope="module")
def network() -> models.Network:
    made = models.build("efficientnet_lite0")
    models.load(made, weights.load(weights.obtain("efficientnet_lite0", weights.Wanted(), Path("/none"), print)))
    return made


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "photos" / f"{number}.jpg" for number in range(11)]
    for number, path in enumerate(paths):
        paint(path, (20 * number, 100, 200 - 15 * number), number)
    return paths


def extractor(network: models.Network, arithmetic: torch.dtype | None = None) -> Extractor:
    how = replace(models.preprocessing(network.name), size=64)
    return Extractor(network, how, torch.device(DEVICE), 8, arithmetic=arithmetic, stages=Stages())


def run(worker: Extractor, paths: Sequence[Path], cache: Path, *, view: int = 0, seed: int = 0) -> Table:
    store = Store(cache, worker.recipe("a" * 64, view=view, seed=seed), worker.width)
    try:
        return worker.run(paths, store, str)
    finally:
        store.save()


def test_what_is_new_costs_its_own_forwards(network: models.Network, photos: list[Path], tmp_path: Path) -> None:
    worker, cache = extractor(network), tmp_path / "cache"
    run(worker, photos[:4], cache)
    assert worker.forwards == 4
    table = run(worker, photos, cache)
    assert worker.forwards == 11
    again = extractor(network)
    assert numpy.array_equal(run(again, photos[::-1], cache).rows, table.rows[::-1])
    assert again.forwards == 0
    # Another name, another order and a repetition are no new photograph.
    (photos[0].parent / "copy.jpg").write_bytes(photos[3].read_bytes())
    table = run(again, [photos[0].parent / "copy.jpg", photos[3]], tmp_path / "fresh")
    assert again.forwards == 1
    assert numpy.array_equal(table.rows[0], table.rows[1])


def test_views_extend_the_cache(network: models.Network, photos: list[Path], tmp_path: Path) -> None:
    worker, cache = extractor(network), tmp_path / "cache"
    whole, one, two = (run(worker, photos, cache, view=view).rows for view in (0, 1, 2))
    assert worker.forwards == 33
    other = run(worker, photos, cache, view=1, seed=7).rows
    assert worker.forwards == 44
    for different in (whole, two, other):
        assert not numpy.isclose(one, different).all(axis=1).any()
    # Nothing is computed twice, and the whole photograph's view does not depend on the seed.
    assert numpy.array_equal(run(worker, photos, cache, view=1).rows, one)
    assert numpy.array_equal(run(worker, photos, cache, seed=7).rows, whole)
    assert worker.forwards == 44
    assert numpy.array_equal(run(worker, photos, tmp_path / "fresh", view=1).rows, one)


def test_interrupted_it_ends_in_the_same_bits(network: models.Network, photos: list[Path], tmp_path: Path) -> None:
    """Struck when some batches are kept, with a photograph that is there twice and one that is damaged."""
    photos[2].write_bytes(b"")
    photos[9].write_bytes(photos[1].read_bytes())
    paths = photos * 2
    whole = run(extractor(network), paths, tmp_path / "whole")
    assert set(whole.broken) == {2, 13}
    worker, cache = extractor(network), tmp_path / "struck"
    store = Store(cache, worker.recipe("a" * 64), worker.width)
    put = store.put

    def strike(rows: dict[bytes, numpy.ndarray]) -> None:  # type: ignore[type-arg]
        put(rows)
        raise KeyboardInterrupt

    store.put = strike  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        worker.run(paths, store, str)
    store.save()
    assert 0 < len(store) < 9
    resumed = run(worker, paths, cache)
    assert numpy.array_equal(resumed.rows, whole.rows)
    assert resumed.broken == whole.broken


def test_the_key_is_all_that_a_row_depends_on(network: models.Network) -> None:
    recipe = extractor(network).recipe("a" * 64)
    assert recipe.document()["layer"] == "classifier.1"
    others = [
        replace(recipe, model="x"),
        replace(recipe, weights="b" * 64),
        replace(recipe, layer="x"),
        replace(recipe, preprocessing=replace(recipe.preprocessing, resize=70)),
        replace(recipe, precision="x"),
        replace(recipe, device="x"),
        recipe.of_view(1, 0),
        recipe.of_view(1, 1),
    ]
    assert len({made.key() for made in (recipe, recipe.of_view(0, 9), *others)}) == 1 + len(others)
    assert len(hashlib.new("sha256").hexdigest()) == len(recipe.key())


def test_short_floats_are_near_the_long_ones(network: models.Network, photos: list[Path], tmp_path: Path) -> None:
    exact = run(extractor(network, torch.float32), photos, tmp_path).rows
    short = run(extractor(network, torch.bfloat16), photos, tmp_path).rows
    assert short.dtype == numpy.float32
    error = numpy.linalg.norm(short - exact, axis=1) / numpy.linalg.norm(exact, axis=1)
    # Of noise, which no network was made for; of real photographs it is 3 %.
    assert 0 < error.max() < 0.2


def test_the_processor_says_what_it_is_fast_at(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nflags\t\t: fpu avx512_bf16 sse\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert "avx512_bf16" in _cpu_flags(listing)
    assert not _cpu_flags(tmp_path / "none")
    assert name(choose(torch.device("cpu"))) in ("bfloat16", "float32")


def test_every_second_is_counted_once() -> None:
    stages = Stages()
    with stages.during("head"), stages.during("forward", 2):
        torch.ones(300, 300) @ torch.ones(300, 300)
    stages.add("imports", 0.25)
    told = stages.document()
    assert next(iter(told)) == stages.limiting() == "imports"
    assert list(told)[-1] == "idle"
    assert set(told) == {"head", "forward", "imports", "idle"}
