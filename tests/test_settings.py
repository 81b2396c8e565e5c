"""The configuration file: what it may say, and what is said when it says something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import settings
from orchestrator.errors import GpuError, UsageError
from orchestrator.settings import Home


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return file


def test_no_file_is_the_sandbox(tmp_path: Path) -> None:
    found = settings.load(tmp_path / "nowhere.yaml")
    assert found.profile().name == "sandbox"
    assert found.profile().emulated
    assert not found.default_chosen


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no configuration .*nowhere\.yaml"):
        settings.load(tmp_path / "nowhere.yaml", named=True)


def test_a_section_stands_over_the_built_in_profile(tmp_path: Path) -> None:
    found = settings.load(write(tmp_path, "default: aws\nprofiles:\n  aws: {region: eu-west-1, disk_gb: 50}\n"))
    assert (found.profile().region, found.profile().disk_gb, found.profile().provider) == ("eu-west-1", 50, "aws")
    assert found.default_chosen


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("profiles: [1, 2]", "`profiles`"),
        ("just words", "holds no settings"),
        ("profiles: {aws: {regoin: x}}", "Did you mean region?"),
        ("profiles: {aws: {disk_gb: big}}", "disk_gb of the profile aws is 'big'"),
        ("profiles: {aws: {disk_gb: true}}", "It takes a whole number"),
        ("profiles: {aws: 7}", "not a list of settings"),
        ("default: asw", "Did you mean aws?"),
        ("a: [1", "is not YAML"),
        ("a: &x [1]\nb: [*x, *x]", "aliases (*name) are not allowed"),
        ("x" * 1_000_001, "larger than a configuration"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(GpuError) as caught:
        settings.load(file)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_an_alias_bomb_costs_nothing(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    with pytest.raises(GpuError, match="aliases"):
        settings.load(write(tmp_path, "\n".join(lines)))


def test_choosing_a_default_keeps_the_rest(tmp_path: Path) -> None:
    file = write(tmp_path, "# mine\ndefault: sandbox\nprofiles:\n  box: {region: eu-west-1}  # kept\n")
    settings.load(file).choose_default("box")
    assert file.read_text() == "default: box\n# mine\nprofiles:\n  box: {region: eu-west-1}  # kept\n"
    assert settings.load(file).profile().name == "box"


def test_a_default_that_does_not_exist_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    with pytest.raises(UsageError):
        settings.load(file).choose_default("nobody")
    assert not file.exists()


@given(st.one_of(st.text(max_size=200).map(str.encode), st.binary(max_size=200)))
def test_any_file_is_settings_or_one_sentence(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_bytes(content)
        try:
            settings.load(file)
        except GpuError as error:
            assert str(file) in str(error)


def test_everything_is_under_gpu_home_when_it_is_set(tmp_path: Path) -> None:
    home = Home.from_environment({"GPU_HOME": str(tmp_path), "XDG_STATE_HOME": "/elsewhere"})
    assert all(tmp_path in (p, *p.parents) for p in (home.config, home.state, home.cache, home.keys, home.sandbox))


def test_otherwise_in_the_xdg_folders() -> None:
    home = Home.from_environment({"HOME": "/h", "XDG_CACHE_HOME": "/c"})
    assert (home.config, home.state, home.cache) == (
        Path("/h/.config/gpu"),
        Path("/h/.local/state/gpu"),
        Path("/c/gpu"),
    )
