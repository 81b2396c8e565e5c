"""When the script stops the machine, and when it does not: idleness, the longest stay, a deadline, a keep."""

from __future__ import annotations

import json
import subprocess
import time

from .conftest import SCRIPT, Box, eventually


def test_it_stops_after_so_much_idleness_and_warns_before(box: Box) -> None:
    said = []
    for minute in range(1, 20):
        box.later(60)
        box.tick()
        said += [(minute, line) for line in box.said.splitlines()]
        if box.done():
            break
    assert box.done() == ["shutdown -h now"]
    # The first look begins the ten minutes.
    assert [minute for minute, _ in said] == [6, 10, 11]
    assert "stops in 5 minutes: idle for 10 minutes. Keep it awake with: gpu-selfstop keep" in said[0][1]
    assert "stops in 60 seconds" in said[1][1]
    assert said[2][1] == "stopping: idle for 10 minutes"


def test_no_limit_no_stop(box: Box) -> None:
    box.configure(AUTOSTOP=0, MAX=0)
    box.tick()
    box.seem_idle(10**6)
    box.later(10**7)
    assert box.tick()["stop_at"] is None
    assert box.minutes(3) == 3
    assert box.done() == []


def test_the_longest_stay_ends_even_a_run(box: Box) -> None:
    box.start(f"exec flock {box.write('home/gpu/lock', '')} sleep 100")
    eventually(lambda: box.tick()["reasons"] == ["a run"])
    box.later(86400)
    assert box.tick()["why"] == "it has run for 24 hours"
    assert box.done() == [], "not without a warning"
    assert box.minutes(3) == 1
    assert box.done() == ["shutdown -h now"]


def test_keep_holds_off_idleness_and_the_longest_stay_until_its_end(box: Box) -> None:
    box.boot(up=86400 - 3600)
    box.tick()
    box.call("keep", "+7200")
    box.seem_idle(5000)
    facts = box.tick()
    assert facts["kept_until"] == facts["stop_at"]
    box.later(6600)
    assert box.minutes(4) == 4
    # Past its 24 hours now: it is the end of the keep that ends it.
    assert box.minutes(10) in (5, 6, 7)
    assert box.done() == ["shutdown -h now"]


def test_keep_off_lets_go_at_once(box: Box) -> None:
    box.call("keep", "+7200")
    assert box.tick()["kept_until"]
    box.call("keep", "off")
    assert json.loads(box.call("status").stdout)["kept_until"] is None
    assert box.tick()["kept_until"] is None


def test_a_keep_that_is_too_long_is_refused(box: Box) -> None:
    done = box.call("keep", f"+{32 * 86400}")
    assert (done.returncode, done.stderr) == (1, "gpu-selfstop: keep holds for at most 31 days\n")
    box.write("home/gpu/selfstop/keep", f"{int(time.time()) + 400 * 86400}\n")
    assert box.tick()["kept_until"] is None


def test_a_deadline_ends_everything_keep_included(box: Box) -> None:
    box.call("keep", "+7200")
    box.call("deadline", "+600", "the", "budget is spent")
    facts = box.tick()
    assert (facts["why"], facts["stop_at"]) == ("the budget is spent", facts["deadline"])
    assert box.minutes(20) in (10, 11)
    assert box.done() == ["shutdown -h now"]
    assert "keep" not in box.said


def test_a_deadline_of_the_past_leaves_time_to_say_otherwise(box: Box) -> None:
    box.boot("two", up=20)
    box.write("home/gpu/selfstop/deadline", f"{int(time.time()) - 86400} one 5\nthe budget is spent\n")
    facts = box.tick()
    assert facts["stop_at"] - facts["now"] in (279, 280, 281)
    assert box.minutes(10) == 5


def test_what_was_said_at_home_stands_over_the_installation(box: Box) -> None:
    assert box.call("set", "autostop=2h", "max=0").returncode == 0
    facts = box.tick()
    assert (facts["autostop"], facts["max"]) == (7200, 0)
    assert box.call("set", "autostop=-1").returncode == 1
    assert box.call("set", "shell=$(touch x)").returncode == 1
    assert box.tick()["autostop"] == 7200


def test_the_wall_clock_may_jump(box: Box) -> None:
    box.call("keep", "+3600")
    box.call("deadline", "+7200", "spent")
    was = box.tick()
    for name in ("keep", "deadline"):
        file = box.wishes / name
        epoch, rest = file.read_text().split(" ", 1)
        # To the machine it is as if its clock had been set back by ten years.
        file.write_text(f"{int(epoch) + 10 * 365 * 86400} {rest}")
    now = box.tick()
    assert abs((now["deadline"] - now["now"]) - (was["deadline"] - was["now"])) <= 2
    assert abs((now["kept_until"] - now["now"]) - (was["kept_until"] - was["now"])) <= 2


def test_time_in_which_nobody_looked_is_not_idleness(box: Box) -> None:
    box.tick()
    box.later(5000)
    assert box.tick()["idle"] == 150


def test_every_boot_begins_anew(box: Box) -> None:
    box.tick()
    box.seem_idle(590)
    assert box.tick()["idle"] >= 590
    box.boot("two")
    assert box.tick()["idle"] == 0


def test_a_shutdown_that_does_not_work_is_asked_for_more_firmly(box: Box) -> None:
    box.tick()
    box.seem_idle(700)
    box.minutes(2)
    for _ in range(5):
        box.later(60)
        box.tick()
    assert box.done()[:6] == [
        "shutdown -h now",
        "shutdown -h now",
        "systemctl poweroff --force",
        "systemctl poweroff --force",
        "systemctl poweroff --force --force",
        "systemctl poweroff --force --force",
    ]


def test_two_ticks_at_once_are_one(box: Box) -> None:
    box.tick()
    lock = box.state.with_name("lock")
    holder = subprocess.Popen(["flock", "--no-fork", str(lock), "sleep", "60"])
    try:
        eventually(lambda: subprocess.run(["flock", "-n", str(lock), "true"], check=False).returncode)
        before = box.state.read_text()
        box.later(60)
        assert box.call("tick").returncode == 0
        assert box.state.read_text() == before
    finally:
        holder.kill()
        holder.wait()


def test_a_tick_that_never_ends_does_not_keep_it_awake(box: Box) -> None:
    """The one before it was killed, again and again: idleness lasts twice as long, and is over all the same."""
    box.configure(AUTOSTOP=120, MAX=0)
    box.write("bin/nvidia-smi", "#!/bin/sh\nexec sleep 60\n", mode=0o755)
    ticks = 0
    while not box.done() and ticks < 12:
        ticks += 1
        box.later(60)
        tick = subprocess.Popen(["bash", str(SCRIPT), "tick"], env=box.environment, start_new_session=True)
        eventually(lambda: box.done() or (box.state.exists() and "open=1" in box.state_lines()))
        time.sleep(0.3)
        subprocess.run(["pkill", "-9", "-s", str(tick.pid)], check=False)
        tick.wait()
    assert box.done() == ["shutdown -h now"]
    assert ticks in (5, 6)


def test_installing_twice_is_installing_once(box: Box) -> None:
    for _ in range(2):
        done = box.call("install", "--user", "Ann", "--autostop", "45m", "--max", "2d")
        assert (done.returncode, done.stderr) == (0, "")
    assert "USER=Ann\nAUTOSTOP=2700\nMAX=172800\n" in (box.root / "etc/gpu/selfstop.conf").read_text()
    assert (box.root / "usr/local/bin/gpu-selfstop").read_bytes() == SCRIPT.read_bytes()
    assert sorted(path.name for path in (box.root / "etc/systemd/system").iterdir()) == [
        "gpu-selfstop.service",
        "gpu-selfstop.timer",
    ]
    assert box.done()[-3:] == [
        "systemctl daemon-reload",
        "systemctl enable gpu-selfstop.timer",
        "systemctl restart gpu-selfstop.timer",
    ]
    facts = box.tick()
    assert (facts["autostop"], facts["max"]) == (2700, 172800)
