"""A person lives with machines: two kinds side by side, one disk under two types, spare capacity, and the bill."""

from __future__ import annotations

from .conftest import Evening


def test_two_kinds_live_side_by_side(evening: Evening) -> None:
    said = {}
    for kind in ("t2", "p2"):
        said[kind] = evening.gpu("get", kind, code=1).stderr
        evening.gpu("start")
    assert "commands act on t2 from now on\ngpu: there is no t2 machine" in said["t2"]
    other = "the t2 machine is running, $0.0116 an hour on AWS; to act on it: gpu get t2\n"
    assert f"commands act on p2 from now on\n{other}gpu: there is no p2 machine" in said["p2"]
    ids = {kind: evening.gpu(f"get-{kind}").stdout.strip() for kind in ("t2", "p2")}
    assert len(set(ids.values())) == 2
    assert evening.json("status")["machine"] == ids["p2"]
    assert evening.gpu("get", "t2").stdout.strip() == ids["t2"]
    assert evening.json("status")["machine"] == ids["t2"]
    assert evening.gpu("ip").stdout != evening.gpu("-k", "p2", "ip").stdout
    assert "`gpu -k p2 destroy`" in evening.gpu("-k", "t2", "resize", "p2", code=1).stderr
    assert len(evening.json("-k", "p2", "destroy", "--dry-run")["steps"]) == 3
    assert "the t2 machine stays" in evening.gpu("-k", "p2", "destroy").stdout
    assert "nothing to remove" in evening.gpu("-k", "p2", "destroy").stdout
    assert evening.gpu("ssh", "--", "true").returncode == 0
    evening.gpu("get", "p2", code=1)
    assert other in evening.gpu("status").stdout and other in evening.gpu("stop", code=1).stderr
    evening.gpu("get", "t2")
    evening.gpu("destroy")
    assert evening.json("audit")["items"] == []


def test_the_same_disk_is_a_t2_and_a_p2_and_back(evening: Evening) -> None:
    evening.gpu("-k", "t2", "start")
    evening.gpu("get", "t2")
    before = evening.json("status")
    evening.gpu("ssh", "--", "echo kept >note.txt")
    assert "p2.xlarge" in evening.gpu("resize", "p2").stdout
    after = evening.json("status")
    assert (after["machine"], after["ip"], after["type"]) == (before["machine"], before["ip"], "p2.xlarge")
    assert evening.gpu("ssh", "--", "cat note.txt").stdout == "kept\n"
    evening.gpu("stop")
    assert "t2.micro" in evening.gpu("resize", "t2").stdout
    assert evening.json("status")["phase"] == "stopped"
    evening.gpu("resize", "g5g.xlarge", code=1)
    evening.gpu("start")
    assert evening.gpu("ssh", "--", "cat note.txt").stdout == "kept\n"


def test_spare_capacity_is_stopped_started_resized_and_leaves_nothing(evening: Evening) -> None:
    started = evening.json("-k", "g4dn.xlarge", "start", "--spot")
    assert started["spot"]
    evening.gpu("get", "g4dn.xlarge")
    evening.gpu("ssh", "--", "echo kept >note.txt")
    evening.gpu("stop")
    resized = evening.json("resize", "g5.xlarge")
    assert (resized["type"], resized["phase"], resized["spot"]) == ("g5.xlarge", "stopped", True)
    assert resized["machine"] != started["machine"]
    assert resized["ip"] == started["ip"]
    evening.gpu("start")
    assert evening.gpu("ssh", "--", "cat note.txt").stdout == "kept\n"
    evening.gpu("destroy")
    assert evening.json("audit")["items"] == []


def test_what_keeps_it_awake_and_what_it_costs_is_told(evening: Evening) -> None:
    evening.gpu("-k", "t2", "start")
    evening.gpu("get", "t2")
    evening.gpu("keep", "2h")
    assert any("kept awake until" in line for line in evening.json("status")["awake"])
    evening.gpu("stop")
    bill = evening.json("cost")
    assert [session["type"] for session in bill["sessions"]] == ["t2.micro"]
    evening.gpu("destroy")
    assert evening.json("cost")["per_hour_now"] == 0


def test_a_spent_budget_starts_nothing(evening: Evening) -> None:
    config = evening.folder / "config.yaml"
    config.write_text("profiles: {sandbox: {budget: 0}}\n")
    refused = evening.gpu("--config", str(config), "start", code=1)
    assert "budget" in refused.stderr
    assert evening.json("status")["machine"] is None
