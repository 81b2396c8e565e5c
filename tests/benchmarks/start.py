"""`gpu start` of a stopped machine against boto3 that asks every second until the port answers. Goal: 1.15 or less.

Measured twice: with a machine that is pending for five seconds, which is short for EC2, and with the sandbox's usual
0.4 seconds, where what `gpu` looks at before and after the start weighs most.
"""

from __future__ import annotations

import socket
import time
from typing import Any

from . import turns

PLAIN = """
import socket, sys, time
import boto3
endpoint, machine, host, port = sys.argv[1:]
ec2 = boto3.client("ec2", endpoint_url=endpoint)
ec2.start_instances(InstanceIds=[machine])
while ec2.describe_instances(InstanceIds=[machine])["Reservations"][0]["Instances"][0]["State"]["Name"] != "running":
    time.sleep(1)
while True:
    try:
        with socket.create_connection((host, int(port)), timeout=5) as dialled:
            if dialled.recv(4) == b"SSH-":
                break
    except OSError:
        pass
    time.sleep(1)
"""


def main() -> None:
    count = turns.rounds(5)
    for delay in (5.0, 0.4):
        measure(count, delay)


def measure(count: int, delay: float) -> None:
    with turns.home(delay) as home:
        place, machine = home.address(), home.gpu("get-t2").strip()
        plain = [turns.program("python"), "-c", PLAIN, home.endpoint, machine, place["host"], str(place["port"])]

        def after_a_stop(work: Any) -> float:
            home.gpu("stop")
            until = time.monotonic() + 30
            while _answers(place["host"], int(place["port"])) and time.monotonic() < until:
                time.sleep(0.1)
            return turns.seconds(work)

        measured = turns.compare(
            lambda: after_a_stop(lambda: home.gpu("start")), lambda: after_a_stop(lambda: home.run(*plain)), count
        )
        turns.report(f"start it, pending for {delay:g} s", *measured, ("gpu start", "boto3, every second"))


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    main()
