# The six names of the course of 2016, and two more, for bash and zsh. Each is one line over `gpu`.
#
#     source aliases/aws-alias.sh        or, where gpu was installed by pip:    eval "$(gpu aliases)"
#
#     aws-get-t2; aws-start; aws-ssh; aws-stop         set up on the free machine
#     aws-get-p2; aws-start; aws-nb; aws-stop          compute on the GPU
#
# As then, $instanceId is the machine that this shell acts on, whatever other shells do, and $instanceIp its address.
# Without $instanceId it is the one that `gpu` would act on itself. $GPU_PROFILE says whose machines they are.
#
# shellcheck shell=bash

# The originals were aliases, which would stand before these functions.
unalias aws-get-p2 aws-get-t2 aws-start aws-ip aws-ssh aws-stop aws-state aws-nb 2>/dev/null || true

function aws-get-p2 { unset instanceId instanceIp; _aws_keep instanceId gpu get p2; }
function aws-get-t2 { unset instanceId instanceIp; _aws_keep instanceId gpu get t2; }
function aws-start { _aws_gpu start "$@" && _aws_keep instanceId _aws_gpu get >/dev/null && aws-ip; }
function aws-ip { _aws_keep instanceIp _aws_gpu ip; }
function aws-ssh { _aws_gpu ssh -- "$@"; }
function aws-stop { _aws_gpu stop "$@"; }
function aws-state { _aws_gpu status "$@"; }
function aws-nb { _aws_gpu notebook "$@"; }

function _aws_gpu { gpu ${instanceId:+--kind="$instanceId"} "$@"; }

# VARIABLE COMMAND...: exports the line that the command says, and says it; nothing where the command fails.
function _aws_keep {
    local line
    line=$("${@:2}") && export "$1=$line" && printf '%s\n' "$line"
}
