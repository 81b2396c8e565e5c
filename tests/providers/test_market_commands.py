"""`gpu types` and `gpu quota` as a person runs them, against a sandbox of the module's own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import main
from orchestrator.sandbox import region
from orchestrator.sandbox.control import Control

P_SPOT = "L-7212CCBC"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("gpu-home")
    yield folder
    region.down(folder / "state" / "sandbox", purge=True)


@dataclass
class Person:
    endpoint: str
    control: Control
    capsys: pytest.CaptureFixture[str]

    def gpu(self, *words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        out, err = self.capsys.readouterr()
        assert "Traceback" not in err
        return int(ended.value.code or 0), out, err

    def json(self, *words: str) -> Any:
        code, out, err = self.gpu("--json", *words)
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def person(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Person]:  # fmt: skip
    monkeypatch.setenv("GPU_HOME", str(home))
    endpoint = region.up(home / "state" / "sandbox", lambda _: None).endpoint_url
    control = Control(endpoint)
    yield Person(endpoint, control, capsys)
    control.clear()


def increases(person: Person) -> int:
    return sum(call["action"] == "RequestServiceQuotaIncrease" for call in person.control.calls())


def test_types_are_a_table_with_their_source(person: Person) -> None:
    code, out, _ = person.gpu("types")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["type", "kind", "GPU"]
    assert next(line for line in lines if line.startswith("p2.xlarge")).split()[:8] == [
        *("p2.xlarge", "p2", "K80", "1", "12", "4", "61", "0.9000")
    ]
    assert "prices: emulated, from the table of 2025-06" in lines
    assert lines.index(next(line for line in lines if line.startswith("g4dn.xlarge"))) == 1
    assert "unknown" in out


def test_types_as_a_document(person: Person) -> None:
    found = {one["machine_type"]: one for one in person.json("types")}
    assert [name for name, one in found.items() if one["kinds"]] == ["p2.xlarge"]
    assert found["p2.8xlarge"]["gpus"] == 8
    assert 0 < found["p2.xlarge"]["spot"] < found["p2.xlarge"]["on_demand"] == 0.9
    assert found["p5.48xlarge"]["on_demand"] is None


def test_prices_that_aws_does_not_tell_are_said_once(person: Person) -> None:
    person.control.set("denied", action="GetProducts")
    code, out, _ = person.gpu("types", "--refresh")
    assert code == 0
    assert out.count("AWS did not tell today's prices: these credentials may not GetProducts") == 1
    assert "0.9000" in out


def test_one_gpu_fits_and_eight_do_not(person: Person) -> None:
    code, out, _ = person.gpu("quota", "--strict")
    assert (code, out.splitlines()[-1]) == (0, "it fits: p2.xlarge needs 4 of the 8 vCPUs of P, on demand")
    assert person.gpu("-k", "p2.8xlarge", "quota")[0] == 0
    code, out, _ = person.gpu("-k", "p2.8xlarge", "quota", "--strict")
    assert code == 1
    assert "it does not fit: p2.8xlarge needs 32 of the 8" in out
    assert person.json("-k", "t2", "quota")["needs"]["machine_type"] == "t2.micro"


def test_a_machine_that_runs_fits_beside_itself(person: Person) -> None:
    assert person.gpu("start")[0] == 0
    now = person.json("quota")
    in_use = {one["code"]: one["used"] for one in now["quotas"]}
    assert (in_use["L-417A185B"], now["in_use_by_others"], now["fits"]) == (4, 0, True)
    assert person.gpu("destroy")[0] == 0


def test_a_type_that_the_region_does_not_have(person: Person) -> None:
    code, out, err = person.gpu("-k", "p9.large", "quota")
    assert (code, out) == (1, "")
    assert "offers none of: p9.large. See what it offers with: gpu types" in err


def test_permission_is_asked_and_given(person: Person) -> None:
    before = person.json("quota", "--spot")
    assert before["fits"] is False
    asked = person.json("quota", "--spot", "--request")["asked"]
    assert (asked["code"], asked["vcpus"], asked["status"]) == (P_SPOT, 4.0, "PENDING")
    code, _, err = person.gpu("quota", "--spot", "--request", "16")
    assert (code, increases(person)) == (0, 1)
    assert "4 vCPUs have been asked for already" in err
    deadline = time.monotonic() + 20
    while not (now := person.json("quota", "--spot"))["fits"]:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert [one["status"] for one in now["requests"]] == ["APPROVED"]
    code, out, err = person.gpu("quota", "--spot", "--request")
    assert (code, increases(person)) == (0, 1)
    assert "there is nothing to ask for" in err
    assert "APPROVED" in out


@pytest.mark.parametrize("words", [("--request", "x"), ("--request", "0"), ("--request", "2")])
def test_a_request_that_cannot_be(person: Person, words: tuple[str, ...]) -> None:
    before = increases(person)
    code, _, err = person.gpu("quota", *words)
    assert (code, increases(person)) == (2, before)
    assert err


def test_outside_the_sandbox_it_asks_before_it_asks(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile `aws`, whose endpoint happens to be the sandbox's."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", person.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "thing")
    before = increases(person)
    code, _, err = person.gpu("--profile", "aws", "-k", "p2.8xlarge", "quota", "--request")
    assert (code, increases(person)) == (1, before)
    assert "nobody to ask" in err
    code, out, _ = person.gpu("--profile", "aws", "-k", "p2.8xlarge", "-y", "quota", "--request")
    assert (code, increases(person)) == (0, before + 1)
    assert "asked for: 32 vCPUs of P, on demand: PENDING" in out


@pytest.mark.parametrize(
    ("action", "service", "words"),
    [
        ("GetServiceQuota", "servicequotas", ("quota",)),
        ("ListRequestedServiceQuotaChangeHistory", "servicequotas", ("quota",)),
        ("RequestServiceQuotaIncrease", "servicequotas", ("-k", "g5.12xlarge", "quota", "--request")),
        ("DescribeInstanceTypes", "ec2", ("types",)),
    ],
)
def test_a_denial_is_one_sentence(person: Person, action: str, service: str, words: tuple[str, ...]) -> None:
    person.control.set("denied", action=action)
    code, out, err = person.gpu(*words)
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert f"these credentials may not {action}" in last
    assert f"permission {service}:{action}" in last
