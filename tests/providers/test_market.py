"""Types, prices and quotas, asked by the real boto3 of the emulated services, moto's EC2 beside them."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest

from orchestrator import pricelist, prices
from orchestrator.errors import GpuError, NotOffered
from orchestrator.providers.aws.ec2 import Ec2
from orchestrator.providers.aws.inventory import Tags
from orchestrator.providers.aws.market import AwsMarket
from orchestrator.providers.aws.pricing import read_product
from orchestrator.providers.aws.quotas import FAMILIES, family
from orchestrator.providers.aws.session import AwsError, Session
from orchestrator.providers.base import Offer
from orchestrator.sandbox.market import Market
from orchestrator.settings import Home, Profile

CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-west-2"}
P_ON_DEMAND, P_SPOT, G_ON_DEMAND = "L-417A185B", "L-7212CCBC", "L-DB2E81BA"


@dataclass
class Region:
    """An endpoint: the emulated market in front of moto, a clock that the test sets, and a log of what was asked."""

    now: float = 1_700_000_000.0
    asked: list[str] = field(default_factory=list)
    errors: dict[str, tuple[str, str]] = field(default_factory=dict)
    """An action, and the name and message of what it is refused with."""
    altered: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda _action, document: document
    url: str = ""

    def __post_init__(self) -> None:
        os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"
        from moto.server import DomainDispatcherApplication, create_backend_app

        self.moto = DomainDispatcherApplication(create_backend_app)
        self.market = Market(clock=lambda: self.now)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if not target.startswith(("AWSPriceListService.", "ServiceQuotas")):
            return self.moto(environ, start_response)
        action = target.rpartition(".")[2]
        self.asked.append(action)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, answer = self._answer(action, target, body)
        start_response(f"{status} -", [("Content-Type", "application/x-amz-json-1.1")])
        return [answer]

    def deny(self, action: str) -> None:
        who = "arn:aws:iam::123456789012:user/me"
        self.errors[action] = ("AccessDeniedException", f"User: {who} is not authorized to perform: {action}")

    def _answer(self, action: str, target: str, body: bytes) -> tuple[int, bytes]:
        if action in self.errors:
            name, message = self.errors[action]
            return 400, json.dumps({"__type": name, "Message": message}).encode()
        status, answer = self.market.answer(target, body)
        return status, json.dumps(self.altered(action, json.loads(answer))).encode()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Region]:
    from werkzeug.serving import make_server

    region = Region()
    server = make_server("127.0.0.1", 0, region, threaded=True)
    region.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield region
    server.shutdown()
    thread.join()


@pytest.fixture
def region(endpoint: Region) -> Region:
    """The endpoint as new: nothing requested, nothing denied, and nothing left that another test has started."""
    urllib.request.urlopen(urllib.request.Request(f"{endpoint.url}/moto-api/reset", method="POST")).close()
    endpoint.asked.clear()
    endpoint.errors.clear()
    endpoint.altered = lambda _action, document: document
    endpoint.market = Market(clock=lambda: endpoint.now)
    return endpoint


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", tmp_path / "home/state", tmp_path / "home/cache")


@pytest.fixture
def market(region: Region, home: Home) -> AwsMarket:
    return open_market(region, home)


def open_market(region: Region, home: Home) -> AwsMarket:
    session = Session(Profile("p", emulated=True), region.url)
    return AwsMarket(session, Ec2(session, Tags("p", "me", "0")), home)


def by_type(offers: Any) -> dict[str, Offer]:
    return {one.machine_type: one for one in offers}


def test_offers_are_ranked_by_price_and_the_unknown_come_last(market: AwsMarket) -> None:
    offers = market.offers()
    known = [one.on_demand for one in offers if one.on_demand is not None]
    assert known == sorted(known)
    assert [one.on_demand for one in offers[len(known) :]] == [None] * (len(offers) - len(known))
    assert len(known) > 20
    assert market.troubles == ()


def test_an_offer_says_what_it_is(market: AwsMarket, home: Home) -> None:
    cheapest = by_type(market.offers())["g4dn.xlarge"]
    assert (cheapest.gpu, cheapest.gpus, cheapest.gpu_memory_gb, cheapest.vcpus) == ("T4", 1, 16.0, 4)
    assert cheapest.on_demand == 0.526
    assert cheapest.spot is not None
    assert "us-west-2a" in cheapest.zones
    today = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    assert today in cheapest.source
    price = prices.price("g4dn.xlarge", region="us-west-2", disk_gb=128, cache=home.cache / "prices")
    assert price is not None
    assert today in price.source


def test_what_our_images_cannot_run_on_is_left_out(market: AwsMarket) -> None:
    assert not [one for one in market.offers() if one.machine_type.startswith(("g5g", "g4ad", "t2", "m5"))]


@pytest.mark.slow
def test_neither_windows_nor_an_unused_reservation_is_mistaken(market: AwsMarket) -> None:
    listed = {name: entry.hour["us-west-2"] for name, entry in prices.table().types.items() if entry.hour}
    offers = by_type(market.offers(gpu_only=False))
    told = {name: one.on_demand for name, one in offers.items() if name in listed}
    assert told == {name: usd for name, usd in listed.items() if name in told}
    assert len(told) > 30
    assert offers["t2.micro"].gpu is None


def test_prices_are_asked_once_a_week(region: Region, home: Home) -> None:
    open_market(region, home).freshen([])
    assert region.asked.count("GetProducts") > 1
    region.asked.clear()
    open_market(region, home).freshen(["p2.xlarge"])
    assert region.asked == []
    age(home, timedelta(days=8))
    open_market(region, home).freshen([])
    assert "GetProducts" in region.asked


def test_refresh_asks_whatever_the_cache_has(region: Region, home: Home) -> None:
    open_market(region, home).freshen([])
    region.asked.clear()
    market = open_market(region, home)
    market.refresh()
    market.freshen([])
    assert "GetProducts" in region.asked


def age(home: Home, by: timedelta) -> None:
    known = pricelist.read(home.cache / "prices", "us-west-2")
    assert known is not None and known.asked is not None
    pricelist.write(home.cache / "prices", replace(known, asked=known.asked - by))


def test_a_denied_price_list_leaves_the_dated_table(region: Region, market: AwsMarket) -> None:
    region.deny("GetProducts")
    offer = by_type(market.offers())["g4dn.xlarge"]
    assert offer.on_demand == 0.526
    assert prices.table().date in offer.source
    assert market.troubles == ("these credentials may not GetProducts",)


def test_a_denied_refresh_leaves_the_cache(region: Region, home: Home) -> None:
    open_market(region, home).freshen([])
    age(home, timedelta(days=100))
    region.deny("GetProducts")
    offer = by_type(open_market(region, home).offers())["g4dn.xlarge"]
    told = pricelist.read(home.cache / "prices", "us-west-2")
    assert told is not None and told.asked is not None
    assert f"{told.asked:%Y-%m-%d}" in offer.source


def test_a_refusal_is_not_waited_for_again_within_the_hour(region: Region, home: Home) -> None:
    region.deny("GetProducts")
    open_market(region, home).freshen([])
    region.asked.clear()
    again = open_market(region, home)
    again.freshen(["t3.large"])
    assert region.asked == []
    assert again.troubles == ("these credentials may not GetProducts",)
    region.errors.clear()
    again.refresh()
    again.freshen([])
    assert "GetProducts" in region.asked
    told = pricelist.read(home.cache / "prices", "us-west-2")
    assert told is not None and told.refused is None


@pytest.mark.parametrize("damage", ["", "{", "[]", "\x00", '{"version": 99}', '{"version": 1, "region": "us-west-2"}'])
def test_a_damaged_cache_is_fetched_anew(region: Region, home: Home, damage: str) -> None:
    file = home.cache / "prices" / "us-west-2.json"
    file.parent.mkdir(parents=True)
    file.write_text(damage)
    open_market(region, home).freshen([])
    assert "GetProducts" in region.asked
    told = pricelist.read(file.parent, "us-west-2")
    assert told is not None and told.hour["g4dn.xlarge"] == 0.526


def test_a_cache_that_cannot_be_written_hides_no_price(market: AwsMarket, home: Home) -> None:
    home.cache.parent.mkdir(parents=True, exist_ok=True)
    home.cache.touch()
    assert by_type(market.offers())["g4dn.xlarge"].spot is not None
    assert str(home.cache) in market.troubles[0]


def test_another_figure_of_the_region_is_believed(region: Region, market: AwsMarket, home: Home) -> None:
    def dearer(_action: str, document: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(document)
        return dict(json.loads(text.replace("0.5260000000", "0.6000000000").replace("0.0800000000", "0.0960000000")))

    region.altered = dearer
    assert by_type(market.offers())["g4dn.xlarge"].on_demand == 0.6
    price = prices.price("g4dn.xlarge", region="us-west-2", disk_gb=100, cache=home.cache / "prices")
    assert price is not None
    assert (price.per_hour, price.per_month_stopped) == (0.6, pytest.approx(9.60 + 3.65))


def test_an_address_costs_what_one_in_use_does(region: Region, market: AwsMarket, home: Home) -> None:
    def dearer(_action: str, document: dict[str, Any]) -> dict[str, Any]:
        for word, usd in (("InUseAddress", "0.0060000000"), ("IdleAddress", "0.0010000000")):
            document["PriceList"] = [
                text.replace("0.0050000000", usd) if word in text else text for text in document["PriceList"]
            ]
        return document

    region.altered = dearer
    market.freshen([])
    assert prices.storage("us-west-2", home.cache / "prices").address_hour == 0.006


def test_a_price_list_in_another_shape_is_no_price(region: Region, market: AwsMarket) -> None:
    region.altered = lambda _action, document: {**document, "PriceList": ['{"product": 3}', "no JSON"]}
    offer = by_type(market.offers())["g4dn.xlarge"]
    assert (offer.on_demand, len(market.troubles)) == (0.526, 1)
    assert list(read_product('{"product": {"attributes": {}}, "terms": {"OnDemand": {}}}')) == []


def test_a_type_beside_the_list_is_asked_for_by_name(region: Region, home: Home) -> None:
    market = open_market(region, home)
    market.freshen(["t3.large"], spot=True)
    cache = home.cache / "prices"
    price = prices.price("t3.large", region="us-west-2", disk_gb=0, cache=cache)
    assert price is not None and price.per_hour == 0.0832
    spot = prices.price("t3.large", region="us-west-2", disk_gb=0, spot=True, cache=cache)
    assert spot is not None and "spot" in spot.source
    assert prices.price("t3.large", region="us-west-2", disk_gb=0, spot=True) is None


# --- quotas


def test_the_quotas_that_a_new_account_has(market: AwsMarket) -> None:
    assert {one.code: one.vcpus for one in market.quotas()} == {
        P_ON_DEMAND: 8.0,
        G_ON_DEMAND: 8.0,
        "L-1216C47A": 32.0,
        P_SPOT: 0.0,
        "L-3819A6DF": 8.0,
        "L-34B43A08": 32.0,
    }


def test_what_runs_is_counted_where_it_counts(region: Region, market: AwsMarket) -> None:
    before = {one.code: one.used or 0.0 for one in market.quotas()}
    ec2 = boto3.client("ec2", endpoint_url=region.url, **CREDENTIALS)
    image = ec2.describe_images()["Images"][0]["ImageId"]
    ids = []
    for name in ("g4dn.xlarge", "g4dn.2xlarge", "t3.micro"):
        made = ec2.run_instances(ImageId=image, InstanceType=name, MinCount=1, MaxCount=1)
        ids.append(made["Instances"][0]["InstanceId"])
    try:
        after = {one.code: one.used or 0.0 for one in market.quotas()}
        ec2.stop_instances(InstanceIds=ids[1:2])
        stopped = {one.code: one.used or 0.0 for one in market.quotas()}
    finally:
        ec2.terminate_instances(InstanceIds=ids)
    assert after[G_ON_DEMAND] - before[G_ON_DEMAND] == 12
    assert after["L-1216C47A"] - before["L-1216C47A"] == 2
    assert after[P_ON_DEMAND] == before[P_ON_DEMAND]
    assert stopped[G_ON_DEMAND] - before[G_ON_DEMAND] == 4


def test_what_a_machine_needs(market: AwsMarket) -> None:
    need = market.need("g4dn.2xlarge", spot=False)
    assert (need.code, need.vcpus) == (G_ON_DEMAND, 8)
    assert market.need("g4dn.2xlarge", spot=True).code == "L-3819A6DF"
    with pytest.raises(NotOffered, match="us-west-2 does not offer p9"):
        market.need("p9.huge", spot=False)
    with pytest.raises(GpuError, match="which quota u-6tb1"):
        market.need("u-6tb1.metal", spot=False)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("p2.xlarge", "P, on demand"),
        ("p6-b200.48xlarge", "P, on demand"),
        ("g6e.xlarge", "G and VT, on demand"),
        ("gr6.4xlarge", "G and VT, on demand"),
        ("vt1.3xlarge", "G and VT, on demand"),
        ("t3.micro", "standard, on demand"),
        ("im4gn.large", "standard, on demand"),
        ("inf1.xlarge", None),
        ("trn1.2xlarge", None),
        ("hpc7a.96xlarge", None),
        ("dl1.24xlarge", None),
        ("x2idn.16xlarge", None),
        ("mac1.metal", None),
    ],
)
def test_a_type_counts_against_its_family(name: str, wanted: str | None) -> None:
    found = family(name, spot=False)
    assert (found.name if found else None) == wanted


def test_the_table_counts_types_as_the_quotas_do() -> None:
    for name, entry in prices.table().types.items():
        found = family(name, spot=False)
        assert found is not None and found.name == f"{entry.quota}, on demand"


def test_an_increase_is_asked_once_and_granted(region: Region, market: AwsMarket) -> None:
    first = market.request(P_SPOT, 4)
    assert first.status == "PENDING"
    assert market.request(P_SPOT, 8).id == first.id
    assert region.asked.count("RequestServiceQuotaIncrease") == 1
    region.now += 3
    assert [one.status for one in market.requests()] == ["CASE_OPENED"]
    region.now += 3
    assert [one.status for one in market.requests()] == ["APPROVED"]
    assert {one.code: one.vcpus for one in market.quotas()}[P_SPOT] == 4.0
    region.now += 1
    second = market.request(P_SPOT, 600)
    region.now += 5
    assert [(one.id, one.status) for one in market.requests()] == [(second.id, "DENIED"), (first.id, "APPROVED")]
    assert {one.code: one.vcpus for one in market.quotas()}[P_SPOT] == 4.0


def test_one_that_somebody_else_has_just_filed_is_found(region: Region, market: AwsMarket) -> None:
    """The list does not have it yet when it is looked at first; the request itself is refused."""
    client = boto3.client("service-quotas", endpoint_url=region.url, **CREDENTIALS)
    theirs = client.request_service_quota_increase(ServiceCode="ec2", QuotaCode=P_SPOT, DesiredValue=4)
    late: list[str] = []

    def not_listed_yet(action: str, document: dict[str, Any]) -> dict[str, Any]:
        if action.endswith("HistoryByQuota") and not late:
            late.append(action)
            return {"RequestedQuotas": []}
        return document

    region.altered = not_listed_yet
    assert market.request(P_SPOT, 4).id == theirs["RequestedQuota"]["Id"]
    assert late


def test_less_than_one_has_is_refused(market: AwsMarket) -> None:
    with pytest.raises(AwsError, match="greater than the current"):
        market.request(P_ON_DEMAND, 4)


@pytest.mark.parametrize(
    ("action", "ask"),
    [
        ("GetServiceQuota", lambda market: market.quotas()),
        ("RequestServiceQuotaIncrease", lambda market: market.request(P_SPOT, 4)),
        ("ListRequestedServiceQuotaChangeHistory", lambda market: market.requests()),
    ],
)
def test_a_denial_names_its_permission(region: Region, market: AwsMarket, action: str, ask: Any) -> None:
    region.deny(action)
    with pytest.raises(AwsError, match=f"may not {action}. .*permission servicequotas:{action}"):
        ask(market)


def test_a_quota_that_was_never_changed_has_its_default(region: Region, market: AwsMarket) -> None:
    region.errors["GetServiceQuota"] = ("NoSuchResourceException", "The specified quota does not exist")
    assert {one.code: one.vcpus for one in market.quotas()}[P_ON_DEMAND] == 8.0
    assert region.asked.count("GetAWSDefaultServiceQuota") == len(FAMILIES)


def test_the_emulated_market_speaks_boto3(region: Region) -> None:
    client = boto3.client("service-quotas", endpoint_url=region.url, **CREDENTIALS)
    assert len(client.list_service_quotas(ServiceCode="ec2", MaxResults=4)["Quotas"]) == 4
    pages = client.get_paginator("list_service_quotas").paginate(ServiceCode="ec2", PaginationConfig={"PageSize": 4})
    assert [len(page["Quotas"]) for page in pages] == [4, 2]
    with pytest.raises(client.exceptions.NoSuchResourceException):
        client.get_service_quota(ServiceCode="ec2", QuotaCode="L-0")
    with pytest.raises(client.exceptions.NoSuchResourceException):
        client.list_service_quotas(ServiceCode="s3")
    pricing = boto3.client("pricing", endpoint_url=region.url, **CREDENTIALS)
    with pytest.raises(pricing.exceptions.InvalidParameterException):
        pricing.get_products(ServiceCode="AmazonEC2", Filters=[{"Type": "NONE_OF", "Field": "a", "Value": "b"}])
    assert region.market.answer("AWSPriceListService.GetProducts", b"\xff")[0] == 400
    assert region.market.answer("ServiceQuotasV20190624.Nonsense", b"{}")[0] == 400
