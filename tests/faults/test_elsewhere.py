"""Another account or another region than that of the profile's things: refused before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from orchestrator.errors import GpuError
from orchestrator.providers.aws.provider import AwsProvider
from orchestrator.providers.base import Wish
from orchestrator.settings import Home, Profile

from .conftest import CREDENTIALS, Person, check_message

COMMANDS = (("start", "-k", "t2"), ("resize", "p2", "-k", "t2"), ("destroy",))


def changes(person: Person, after: int) -> list[str]:
    return [call["action"] for call in person.control.calls(after=after) if call["changes"]]


def test_another_region_is_refused(person: Person) -> None:
    person.gpu("init", "-k", "t2")
    begun = len(person.control.calls())
    config = person.home / "config.yaml"
    config.write_text("profiles: {sandbox: {region: eu-west-1}}\n")
    for words in COMMANDS:
        message = check_message(person.suffer(*words))
        assert "us-west-2" in message and "eu-west-1" in message
    assert changes(person, begun) == []
    config.unlink()
    person.clean()


@pytest.fixture
def own(person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Home, AwsProvider]]:
    """A profile that is not the sandbox's: its credentials are those of the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    home = Home(tmp_path / "own", tmp_path / "own/state", tmp_path / "own/cache")
    yield home, provider(person, home)
    mine = provider(person, home)
    mine.remove(mine.plan_removal())
    assert person.census().ours == {}


def provider(person: Person, home: Home) -> AwsProvider:
    return AwsProvider.open(
        Profile("mine", ssh_port=2222), kind="t2", home=home, endpoint_url=person.endpoint, say=lambda _: None
    )


def test_another_account_is_refused(
    person: Person, own: tuple[Home, AwsProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, mine = own
    mine.start(mine.plan(Wish("t2")))
    sts = boto3.client("sts", endpoint_url=person.endpoint, **CREDENTIALS)
    other = sts.assume_role(RoleArn="arn:aws:iam::999988887777:role/other", RoleSessionName="session")["Credentials"]
    begun = len(person.control.calls())
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", other["AccessKeyId"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", other["SecretAccessKey"])
        patch.setenv("AWS_SESSION_TOKEN", other["SessionToken"])
        theirs = provider(person, home)
        for verb in (
            lambda: theirs.plan(Wish("t2")),
            lambda: theirs.plan_resize(Wish("p2")),
            theirs.stop,
            theirs.state,
            theirs.admit,
            theirs.plan_removal,
        ):
            with pytest.raises(GpuError, match=r"999988887777") as refusal:
                verb()
            assert "123456789012" in str(refusal.value) and "profile of its own" in str(refusal.value)
    assert changes(person, begun) == []
