"""The provider of a machine of one's own: what it declares, what it refuses, and that it never touches the machine."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from orchestrator.errors import GpuError, NotOffered
from orchestrator.providers import base, open_provider
from orchestrator.providers.base import Address, Plan, Provider, Wish
from orchestrator.settings import Home, Profile

CLOUD = (
    *(base.Numbered, base.Removable, base.Resizable, base.Admitting, base.Scripted),
    *(base.HasMarket, base.Examinable, base.Auditable),
)
BOX = Profile("box", provider="server", host="me@box")


def opened(profile: Profile, tmp_path: Path) -> Provider:
    home = Home.from_environment({"GPU_HOME": str(tmp_path)})
    return open_provider(profile, kind=profile.kind, home=home, endpoint_url=None, say=print)


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `ssh` reads instead of the developer's own, from a wrapper: it asks the account for its home."""
    wrapper, config = tmp_path / "bin" / "ssh", tmp_path / "config"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    config.write_text("Host box\n  HostName 127.0.0.1\n  Port 2201\n  User other\nHost *\n  User everybody\n")
    return config


def test_it_has_nothing_that_only_a_cloud_has(tmp_path: Path) -> None:
    box = opened(BOX, tmp_path)
    assert isinstance(box, base.LeftAlone)
    assert not [capability for capability in CLOUD if isinstance(box, capability)]


def test_it_is_where_ssh_would_go(tmp_path: Path) -> None:
    assert opened(BOX, tmp_path).address() == Address("box", 2201, "me")
    assert opened(dataclasses.replace(BOX, host="box"), tmp_path).address() == Address("box", 2201, "other")
    assert opened(dataclasses.replace(BOX, host="127.0.0.9"), tmp_path).address() == Address(
        "127.0.0.9", 22, "everybody"
    )


def test_nothing_is_ever_to_be_done(tmp_path: Path) -> None:
    box = opened(BOX, tmp_path)
    assert box.plan(Wish("p2")) == Plan(())
    assert box.plan(Wish("p2", spot=False, rest=True)) == Plan(())
    assert box.start(Plan(())) == box.address()
    box.stop()
    state = box.state()
    assert (state.phase, state.machine_id, state.ip, state.price, state.machine_type) == (
        *("running", "me@box"),
        *(None, None, None),
    )


@pytest.mark.parametrize("wish", [Wish("p2", "p2.xlarge"), Wish("p2", spot=True)])
def test_what_it_cannot_be_is_refused(tmp_path: Path, wish: Wish) -> None:
    with pytest.raises(NotOffered, match="me@box is a machine of your own and is what it is"):
        opened(BOX, tmp_path).plan(wish)


@pytest.mark.parametrize("host", [None, "", "me@", " "])
def test_a_profile_without_a_host(tmp_path: Path, host: str | None) -> None:
    with pytest.raises(GpuError, match="the profile box does not say which machine it is"):
        opened(dataclasses.replace(BOX, host=host), tmp_path)


@pytest.mark.parametrize(
    "setting", [{"region": "eu-west-1"}, {"user": "root"}, {"ssh_port": 2222}, {"spot": True}, {"autostop": 5}]
)
def test_a_setting_that_would_be_ignored_is_refused(tmp_path: Path, setting: dict[str, object]) -> None:
    with pytest.raises(GpuError, match=f"the profile box sets {next(iter(setting))}, which is not for"):
        opened(dataclasses.replace(BOX, **setting), tmp_path)


def test_an_unknown_provider_is_told_from_it(tmp_path: Path) -> None:
    with pytest.raises(GpuError, match="Did you mean server"):
        opened(dataclasses.replace(BOX, provider="sever"), tmp_path)
