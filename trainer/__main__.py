"""`python -m trainer --data DIR --out DIR`: one training, with its files in `--out`."""

from __future__ import annotations

import argparse
import math
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from . import cachefolder, data, memory, names, run_folder
from .endings import ending
from .errors import UsageError

if TYPE_CHECKING:
    from .plan import Plan

_BEGAN = time.monotonic()
_ALL = 0
"""`--unfreeze` without a number."""


class Terminated(BaseException):
    """SIGTERM: unwinds like Ctrl-C, so that temporary files go and what is done is kept.

    Every step of the fit has left a checkpoint before, and the features that are done are written on the way out.
    """


_asked = threading.Event()
"""SIGTERM has come."""


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 done, 1 an expected failure, 2 wrong usage, 130 interrupted, 143 terminated."""
    asked = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _send_again
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return ending(lambda: _train(asked), "Mend it and run again")
    except Terminated:
        print("terminated; what is done is kept, and --resume goes on from there", file=sys.stderr)
        return 143


def _train(asked: argparse.Namespace) -> int:
    _check(asked)
    found = data.walk(asked.data.absolute(), sample=asked.sample)
    memory.check()
    if asked.unfreeze is not None:
        # Without it cuBLAS is not deterministic, and torch refuses it; it is read when CUDA begins.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Only now: torch takes seconds, and what is wrong so far should be said at once.
    from . import job, stages, weights

    if _asked.is_set():
        # While it was being imported, a library may have caught everything.
        raise Terminated
    options = job.Options(
        out=asked.out,
        cache=asked.cache or cachefolder.default(),
        model=asked.model,
        wanted=weights.Wanted(asked.weights, asked.weights_url, asked.weights_sha256, asked.weights_mirror),
        epochs=asked.epochs,
        batch=asked.batch_size,
        seed=asked.seed,
        device=asked.device,
        resume=asked.resume,
        metric=asked.metric,
        views=asked.views,
        balanced=asked.class_weights == "balanced",
        plan=_plan(asked),
        find_rate=asked.find_rate,
        onnx=asked.onnx,
        price=asked.price_per_hour,
    )
    ledger = stages.Stages(_BEGAN)
    ledger.add("imports", time.monotonic() - _BEGAN)
    result = job.Job(options, found, _say, ledger).run()
    written = (run_folder.WEIGHTS, run_folder.ONNX, run_folder.SUBMISSION, run_folder.REPORT)
    _say("wrote " + ", ".join(name for name in written if (asked.out / name).exists()))
    if result["sample"]:
        _say("this submission is of the sample alone")
    if result["quarantined"]:
        _say(f"{len(result['quarantined'])} photographs could not be read; result.json names them")
    right, loss = result["expected"]["accuracy"], result["expected"]["log_loss"]["clipped"]
    _say(f"accuracy {right['value']:.4f} ({_between(right)}) on {result['valid']} validation photographs")
    _say(
        f"log loss {loss['value']:.4f} ({_between(loss)}); {result['log_loss_raw']:.4f} before temperature and clipping"
    )
    return 0


def _between(estimate: dict[str, float]) -> str:
    return f"{estimate['low']:.4f} to {estimate['high']:.4f}"


def _plan(asked: argparse.Namespace) -> Plan | None:
    """How to train through the network; `--unfreeze` without a number: all layers."""
    from .plan import Plan

    if asked.unfreeze is None:
        return None
    return Plan(
        epochs=asked.tune_epochs,
        layers=None if asked.unfreeze == _ALL else asked.unfreeze,
        batch=asked.batch_size,
        rates=tuple(asked.tune_rates),
        seed=asked.seed,
        augment=asked.augment,
        views=asked.tta,
        balanced=asked.class_weights == "balanced",
        patience=asked.patience,
    )


def _check(asked: argparse.Namespace) -> None:
    names.check(asked.model)
    if asked.unfreeze is None:
        for name in ("find_rate", "augment", "tta", "patience", "tune_epochs", "tune_rates"):
            if getattr(asked, name) != _parser().get_default(name):
                raise UsageError(f"--{name.replace('_', '-')} is for training through the network", "Give --unfreeze")
    if not 0 < asked.tune_rates[0] <= asked.tune_rates[1] < math.inf:
        raise UsageError("--tune-rates are not two rates above 0, the lower one first", "Give LOW HIGH")
    if asked.weights_url and not asked.weights_sha256:
        raise UsageError("--weights-url was given without --weights-sha256", "Give the sum of what is there")
    if asked.weights_sha256 and not re.fullmatch(r"[0-9a-fA-F]{64}", asked.weights_sha256):
        raise UsageError(f"{asked.weights_sha256} is no SHA-256", "It has 64 hexadecimal digits")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="train/CLASS/*.jpg, valid/CLASS/*.jpg, test/*.jpg")
    add("--out", type=Path, required=True, metavar="DIR", help="where the run's files go")
    add("--model", default=names.DEFAULT, metavar="NAME", help="any torchvision classification model (%(default)s)")
    add("--epochs", type=_positive, metavar="N", help="N passes; without it, the head is fitted to convergence")
    add("--sample", action="store_true", help="train and predict on sample/ alone")
    add("--batch-size", type=_positive, default=32, metavar="N", help="photographs at once (%(default)s)")
    add("--seed", type=_seed, default=0, metavar="N", help="of the order of the photographs in a pass (%(default)s)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the network runs (%(default)s)")
    add("--metric", choices=("log_loss", "accuracy"), default="log_loss", help="what the submission is scored by")
    add("--views", type=_natural, default=0, metavar="N", help="train on N random parts of each photograph too")
    add("--class-weights", choices=("none", "balanced"), default="none", help="balanced: every class counts the same")
    add("--onnx", action="store_true", help="write model.onnx too")
    add("--price-per-hour", type=_price, metavar="USD", help="of this machine, for the manifest")
    add("--resume", action="store_true", help="go on from the checkpoint that an interrupted run left in --out")
    add("--cache", type=Path, metavar="DIR", help="features and downloaded weights are kept here")
    add("--weights", type=Path, metavar="FILE", help="weights at hand, .pth or .safetensors")
    add("--weights-url", metavar="URL", help="get the weights here; needs --weights-sha256")
    add("--weights-sha256", metavar="HEX", help="what the file of weights must hash to")
    add("--weights-mirror", metavar="URL", help="a folder with torchvision's files (or $GPU_WEIGHTS_MIRROR)")
    tune = parser.add_argument_group("through the network, after the head is fitted").add_argument
    tune(
        "--unfreeze", type=_positive, nargs="?", const=_ALL, metavar="N", help="let the last N layers learn too, or all"
    )
    tune("--tune-epochs", type=_positive, default=5, metavar="N", help="passes through the network (%(default)s)")
    tune(
        "--tune-rates", type=float, nargs=2, default=[1e-5, 1e-4], metavar=("LOW", "HIGH"),
        help="highest learning rate of the first layer that learns, and of the head (1e-5 1e-4)",
    )  # fmt: skip
    tune("--find-rate", action="store_true", help="look for the rate first; the curve goes to rates.png")
    tune(
        "--augment",
        type=_share,
        default=0.3,
        metavar="X",
        help="how much photographs are changed, 0 to 1 (%(default)s)",
    )
    tune(
        "--tta",
        type=_looks,
        default=2,
        metavar="N",
        help="looks at each photograph when predicting, 1 to 10 (%(default)s)",
    )
    tune(
        "--patience",
        type=_positive,
        default=5,
        metavar="N",
        help="end after N epochs without a better one (%(default)s)",
    )
    return parser


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return number


def _seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 1 << 63:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more, of 63 bits")
    return number


def _looks(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 10:
        raise argparse.ArgumentTypeError(f"{text} is not 1 to 10")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number


def _price(text: str) -> float:
    number = float(text)
    if not (number >= 0 and math.isfinite(number)):
        raise argparse.ArgumentTypeError(f"{text} is no price")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _say(line: str) -> None:
    print(line, flush=True)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    _asked.set()
    raise Terminated


def _send_again(unraisable: Any) -> None:
    """Python swallows what is raised in a finalizer: a signal that struck there strikes again a moment later."""
    numbers = {Terminated: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}
    if unraisable.exc_type not in numbers:
        sys.__unraisablehook__(unraisable)
        return
    again = threading.Timer(0.05, os.kill, (os.getpid(), numbers[unraisable.exc_type]))
    again.daemon = True
    again.start()


if __name__ == "__main__":
    sys.exit(main())
