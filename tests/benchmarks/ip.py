"""`gpu ip`, asked live, against `aws ec2 describe-instances` on the same endpoint. Goal: a ratio of 0.9 or less."""

from __future__ import annotations

from . import turns


def main() -> None:
    count = turns.rounds(15)
    with turns.home() as home:
        theirs = [turns.program("aws"), "--endpoint-url", home.endpoint, "ec2", "describe-instances"]
        measured = turns.compare(
            lambda: turns.seconds(lambda: home.gpu("ip")), lambda: turns.seconds(lambda: home.run(*theirs)), count
        )
        turns.report("where is it", *measured, ("gpu ip", "aws ec2 describe-instances"))


if __name__ == "__main__":
    main()
