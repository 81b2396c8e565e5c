"""`gpu ssh -- true` against plain `ssh` to the same machine. Goal: at most 0.2 s more."""

from __future__ import annotations

from . import turns


def main() -> None:
    count = turns.rounds(15)
    with turns.home() as home:
        place = home.address()
        options = [f"-oUserKnownHostsFile={place['known_hosts']}", f"-i{place['key_file']}", "-oIdentitiesOnly=yes"]
        plain = [
            "ssh",
            "-F",
            "/dev/null",
            *options,
            "-p",
            str(place["port"]),
            "-l",
            place["user"],
            place["host"],
            "true",
        ]
        home.gpu("ssh", "--", "true")
        measured = turns.compare(
            lambda: turns.seconds(lambda: home.gpu("ssh", "--", "true")),
            lambda: turns.seconds(lambda: home.run(*plain)),
            count,
        )
        turns.report("be on it", *measured, ("gpu ssh -- true", "ssh true"))


if __name__ == "__main__":
    main()
