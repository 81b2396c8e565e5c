"""The seven lines of the lesson as they stood in 2016, on this trainer's engine.

    vgg = Vgg16()
    batches = vgg.get_batches(path + 'train', batch_size=64)
    val_batches = vgg.get_batches(path + 'valid', batch_size=128)
    vgg.finetune(batches)
    vgg.fit(batches, val_batches, nb_epoch=1)

The API is that of fast.ai's course, github.com/fastai/courses, deeplearning1/nbs/vgg16.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy

from . import arrays, cachefolder, flow, memory, names, run_folder
from . import weights as published
from .adam import RATE
from .backbone import Backbone, Place
from .classifier import Classifier
from .errors import TrainerError, UsageError
from .features import Table
from .fit import Part
from .flow import ClassMode, Flow
from .nearby import data_set
from .notes import Notes
from .plots import plot_confusion_matrix, plots
from .probabilities import Array

__all__ = ["Vgg16", "data_set", "plot_confusion_matrix", "plots"]

_CHOICES = (
    'Give a file at hand, Vgg16("vgg16", weights=FILE), or take Vgg16("efficientnet_lite0"), which needs no download'
)


class Vgg16:
    """VGG16, or any other model of torchvision by its name, with its published weights.

    `classes` are the names of what it tells apart: ImageNet's 1,000 until `finetune`. The frozen part looks at each
    photograph once, its features are kept in `cache`, and `fit` learns the last layer on them. The same `seed` gives
    the same result.
    """

    def __init__(
        self,
        model: str = "vgg16",
        *,
        weights: str | PathLike[str] | None = None,
        cache: str | PathLike[str] | None = None,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        """Weights are downloaded into `cache` unless `weights` names a file of them, .pth or .safetensors.

        TrainerError when there is no such model, or when they cannot be had.
        """
        self._notes = Notes()
        self._seed = seed
        memory.check()
        place = Place(cachefolder.default() if cache is None else Path(cache).expanduser(), device)
        self.model = Classifier(_backbone(model, weights, place, self._notes), seed)

    @property
    def classes(self) -> list[str]:
        return self.model.classes

    def get_batches(
        self,
        path: str | PathLike[str],
        shuffle: bool = True,
        batch_size: int = 8,
        class_mode: ClassMode = "categorical",
    ) -> Flow:
        """The photographs of a folder with a folder for each class; `next` of it is a batch (see `Flow`)."""
        how = self.model.backbone.how
        return Flow(
            flow.folder(path), how, batch_size=batch_size, shuffle=shuffle, class_mode=class_mode, seed=self._seed,
            say=self._notes.line,
        )  # fmt: skip

    def predict(self, imgs: Array | Sequence[Array], details: bool = False) -> tuple[Array, Array, list[str]]:
        """Of each image the highest probability (n) float32, the number of its class (n), and the class's name.

        `imgs` are RGB from 0 to 255, (n, 3, height, width) as `next(batches)` gives them or (n, height, width, 3); of
        another size than the network's, they are fitted as a file would be. `details` is in the lesson's calls, and
        changes nothing, as it did not there.
        """
        del details
        found = self.model.predict(imgs)
        numbers, classes = found.argmax(axis=1), self.classes
        return found.max(axis=1, initial=0), numbers, [classes[number] for number in numbers]

    def finetune(self, batches: Flow) -> None:
        """A new last layer, for the classes of `batches`: all the others stay as they are."""
        counts = numpy.bincount(batches.classes[batches.classes >= 0], minlength=batches.nb_class)
        self.model.begin(list(batches.class_indices), counts / max(counts.sum(), 1))
        self.compile()

    def ft(self, num: int) -> None:
        """As `finetune`, for `num` classes without names."""
        self.model.begin([str(number) for number in range(num)])
        self.compile()

    def compile(self, lr: float = RATE) -> None:
        """Learn at the rate `lr` from here on."""
        self.model.compile(lr)

    def fit(self, batches: Flow, val_batches: Flow, nb_epoch: int | None = 1) -> None:
        """`nb_epoch` passes over the photographs of `batches`, with a line for each; None: to convergence.

        A second call goes on from the first. Photographs that cannot be read are named and left out.
        """
        began = self._notes.begin()
        self.model.check_learns()
        self._same_classes(batches, val_batches)
        train, valid = self._part(batches), self._part(val_batches)
        self.model.fit(train, valid, nb_epoch, self._notes.epochs(len(train.labels), began))

    def fit_data(
        self, trn: Array, labels: Array, val: Array, val_labels: Array, nb_epoch: int | None = 1, batch_size: int = 64
    ) -> None:
        """As `fit`, on images as `predict` takes them and their labels as one-hot rows (n, classes).

        `batch_size` is in the lesson's calls; the passes take 64 at a time, whatever it is.
        """
        del batch_size
        began = self._notes.begin()
        self.model.check_learns()
        train, valid = self._seen(trn, labels), self._seen(val, val_labels)
        self.model.fit(train, valid, nb_epoch, self._notes.epochs(len(train.labels), began))

    def test(self, path: str | PathLike[str], batch_size: int = 8) -> tuple[Flow, Array]:
        """The photographs of a folder, and their probabilities (n, classes) float32: row i is of `filenames[i]`.

        They may lie in the folder itself or in folders in it, whose names tell nothing; of a whole data set, its
        `test/` is taken. A photograph that cannot be read is named, and given the share of each class.
        """
        found = flow.folder(path)
        if (found / run_folder.TRAIN).is_dir() and (found / run_folder.TEST).is_dir():
            found = found / run_folder.TEST
        batches = self.get_batches(found, shuffle=False, batch_size=batch_size, class_mode=None)
        return batches, self.model.answers(self._table(batches, "it is predicted as the share of each class"))

    def save_weights(self, path: str | PathLike[str]) -> None:
        """Keep what `fit` has learned in a file (safetensors)."""
        self.model.save_weights(Path(path))

    def load_weights(self, path: str | PathLike[str]) -> None:
        """Go on with what `save_weights` has kept, its classes too."""
        self.model.load_weights(Path(path))

    def _table(self, batches: Flow, then: str) -> Table:
        with self._notes.progress() as tell:
            table = self.model.backbone.table(batches.paths, tell)
        for index, why in table.broken.items():
            self._notes.line(f"warning: {batches.paths[index]} cannot be used ({why}): {then}")
        return table

    def _part(self, batches: Flow) -> Part:
        """Features and labels of what can be read."""
        table = self._table(batches, "it is left out")
        kept = [index for index in range(len(batches.photos)) if index not in table.broken]
        part = Part.of(table.rows[kept], batches.classes[kept])
        missing = set(range(len(batches.class_indices))) - set(part.labels.tolist())
        if missing:
            name = list(batches.class_indices)[min(missing)]
            raise TrainerError(f"none of the photographs in {batches.directory / name} can be read", "Replace them")
        return part

    def _seen(self, images: Array, labels: Array) -> Part:
        classes = len(self.classes)
        if numpy.shape(labels) != (len(images), classes):
            raise TrainerError(
                f"the labels have the shape {numpy.shape(labels)}, and {len(images)} images of {classes} classes "
                f"need {(len(images), classes)}",
                "Give a one-hot row for each image",
            )
        backbone = self.model.backbone
        return Part(backbone.rows(arrays.pixels(images, backbone.how)), Part.of(labels, labels.argmax(axis=1)).labels)

    def _same_classes(self, *flows: Flow) -> None:
        for each in flows:
            if each.class_mode is None:
                raise TrainerError(f"{each.directory} was taken without labels", "Get its batches without class_mode")
            if list(each.class_indices) != self.classes:
                raise TrainerError(
                    f"{each.directory} has the classes {_listed(list(each.class_indices))}, and the network was made "
                    f"for {_listed(self.classes)}",
                    "Call finetune(batches) with the batches to be fitted, and use the same classes in valid/",
                )


def _backbone(model: str, file: str | PathLike[str] | None, place: Place, notes: Notes) -> Backbone:
    wanted = published.Wanted(file=None if file is None else Path(file).expanduser())
    with notes.progress() as tell:
        try:
            source = published.obtain(names.check(model), wanted, place.cache, tell)
        except UsageError:
            raise
        except TrainerError as error:
            # Not the options of a command: there is none here.
            raise TrainerError(error.what, _CHOICES) from error
    return Backbone(model, source, place)


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(str(name) for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
