"""Kinds and prices: what the package knows by itself, and what a region has told since."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from moto.ec2.models import instance_types

from orchestrator import pricelist, prices
from orchestrator.errors import UsageError
from orchestrator.pricelist import PriceList

NOW = datetime.now(timezone.utc).replace(microsecond=0)
TOLD = PriceList(
    "us-west-2",
    asked=NOW,
    hour={"p2.xlarge": 1.25, "x1.large": 2.0},
    spot_asked=NOW,
    spot={"p2.xlarge": 0.27},
    disk_gb_month=0.1,
    address_hour=0.01,
)


def ask(name: str, cache: Path | None = None, *, spot: bool = False, region: str = "us-west-2") -> float | None:
    found = prices.price(name, region=region, disk_gb=100, spot=spot, cache=cache)
    return found.per_hour if found else None


def test_the_table_is_whole_and_consistent() -> None:
    known = prices.table()
    for names in known.kinds.values():
        assert set(names) <= set(known.types)
    for name, entry in known.types.items():
        assert entry.quota in ("standard", "G and VT", "P")
        assert entry.architecture == "x86_64"
        assert (entry.gpus > 0) == (entry.gpu is not None) == (entry.gpu_memory_gb > 0)
        assert all(usd > 0 for usd in entry.hour.values()), name
    assert known.types["p2.xlarge"].capability == "sm_37"


def test_a_kind_comes_to_its_types() -> None:
    assert prices.types_of("p2")[0] == "p2.xlarge"
    assert prices.types_of("g5.12xlarge") == ("g5.12xlarge",)
    with pytest.raises(UsageError, match="no kind of machine called pp2"):
        prices.types_of("pp2")


def test_without_a_cache_the_dated_table_speaks(tmp_path: Path) -> None:
    for cache in (None, tmp_path / "nowhere"):
        found = prices.price("p2.xlarge", region="us-west-2", disk_gb=128, cache=cache)
        assert found is not None
        assert (found.per_hour, found.per_month_stopped) == (0.9, pytest.approx(128 * 0.08 + 730 * 0.005))
        assert prices.table().date in found.source


def test_what_nobody_has_told_is_unknown(tmp_path: Path) -> None:
    assert ask("p5.48xlarge") is None
    assert ask("nonsense.type") is None
    assert ask("p2.xlarge", region="moon-west-1") is None
    assert ask("p2.xlarge", tmp_path, spot=True) is None


def test_what_the_region_told_comes_first(tmp_path: Path) -> None:
    pricelist.write(tmp_path, TOLD)
    found = prices.price("p2.xlarge", region="us-west-2", disk_gb=100, cache=tmp_path)
    assert found is not None
    assert (found.per_hour, found.per_month_stopped) == (1.25, pytest.approx(10 + 7.3))
    assert f"{NOW:%Y-%m-%d}" in found.source
    assert ask("x1.large", tmp_path) == 2.0
    assert ask("g5.xlarge", tmp_path) == 1.006
    assert ask("p2.xlarge", tmp_path, region="us-east-1") == 0.9


def test_figures_from_before_the_table_do_not_hide_it(tmp_path: Path) -> None:
    pricelist.write(tmp_path, replace(TOLD, asked=datetime(2020, 1, 1, tzinfo=timezone.utc)))
    assert ask("p2.xlarge", tmp_path) == 0.9


def test_a_spot_price_is_shown_for_a_day(tmp_path: Path) -> None:
    pricelist.write(tmp_path, TOLD)
    assert ask("p2.xlarge", tmp_path, spot=True) == 0.27
    assert ask("x1.large", tmp_path, spot=True) is None
    pricelist.write(tmp_path, replace(TOLD, spot_asked=NOW - timedelta(hours=25)))
    assert ask("p2.xlarge", tmp_path, spot=True) is None


def test_a_list_survives_the_disk(tmp_path: Path) -> None:
    told = replace(TOLD, refused=NOW, reason="not today")
    pricelist.write(tmp_path, told)
    assert pricelist.read(tmp_path, "us-west-2") == told
    assert pricelist.read(tmp_path, "us-east-1") is None


@pytest.mark.parametrize(
    ("was", "damage"),
    [("1.25", "-1"), ("1.25", "NaN"), ("1.25", '"dear"'), ("0.01", "1e999"), ('"us-west-2"', '"moon"'), ("{", "[")],
)
def test_a_list_that_cannot_be_is_none(tmp_path: Path, was: str, damage: str) -> None:
    pricelist.write(tmp_path, TOLD)
    file = tmp_path / "us-west-2.json"
    file.write_text(file.read_text().replace(was, damage, 1))
    assert pricelist.read(tmp_path, "us-west-2") is None
    assert ask("p2.xlarge", tmp_path) == 0.9


def test_a_date_that_lies_ahead_keeps_no_price_for_ever() -> None:
    ahead = replace(TOLD, asked=NOW + timedelta(days=400), spot_asked=NOW + timedelta(days=1))
    assert not ahead.fresh(NOW)
    assert not ahead.spot_shown(NOW)
    assert TOLD.fresh(NOW + timedelta(days=6, hours=23))
    assert not TOLD.fresh(NOW + timedelta(days=8))
    assert not TOLD.fresh(NOW, whole=True)


def test_the_table_says_what_ec2_itself_says_of_each_type() -> None:
    """As moto has it, whose answers to DescribeInstanceTypes are copies of EC2's."""
    told = instance_types.INSTANCE_TYPES
    for name, entry in prices.table().types.items():
        if name not in told:
            assert name.startswith(("p2.", "p3.")), f"{name} is a type that EC2 does not know"
            continue
        real = told[name]
        cards = real.get("GpuInfo", {"Gpus": []})["Gpus"]
        assert entry.vcpus == real["VCpuInfo"]["DefaultVCpus"], name
        assert entry.memory_gb == pytest.approx(real["MemoryInfo"]["SizeInMiB"] / 1024, abs=0.1), name
        assert entry.gpus == sum(card["Count"] for card in cards), name
        for card in cards:
            assert entry.gpu_memory_gb == pytest.approx(card["MemoryInfo"]["SizeInMiB"] / 1024, abs=0.1), name
