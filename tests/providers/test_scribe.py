"""Commands written down: every id that is not known yet is a variable, everything else is quoted."""

from __future__ import annotations

import shlex
import subprocess

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.providers.aws.scribe import Scribe, mention, quoted

WORDS = st.text(st.characters(exclude_characters="\x00\x01", exclude_categories=("Cs",)))


@given(WORDS)
def test_what_is_known_is_one_word_of_the_shell(text: str) -> None:
    assert shlex.split(quoted(text)) == [text]


def test_a_mention_is_filled_in_by_the_shell() -> None:
    script = f"vpc=\"a 'b'\"; printf %s {quoted('x$y ' + mention('vpc') + '`z`')}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "x$y a 'b'`z`"


def test_a_later_step_uses_what_an_earlier_one_made() -> None:
    scribe = Scribe("eu-west-1")
    vpc = scribe.make("CreateVpc", CidrBlock="10.0.0.0/28")
    scribe.change("ModifyVpcAttribute", VpcId=vpc, EnableDnsSupport={"Value": True})
    made, changed = scribe.take()
    assert made == (
        "vpc=$(aws ec2 create-vpc --region eu-west-1 --cidr-block 10.0.0.0/28 --query Vpc.VpcId --output text)"
    )
    assert changed == (
        'aws ec2 modify-vpc-attribute --region eu-west-1 --vpc-id "$vpc" --enable-dns-support \'{"Value":true}\''
    )
    assert scribe.take() == ()


def test_secrets_and_tokens_are_left_out() -> None:
    scribe = Scribe("eu-west-1")
    scribe.make("RunInstances", UserData="the host key", ClientToken="token", MinCount=1, MaxCount=1)
    [line] = scribe.take()
    assert "the host key" not in line
    assert "token" not in line
    assert " --user-data file://user-data.yaml --count 1 --query " in line
