from __future__ import annotations

import numpy
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")

from matplotlib import pyplot  # noqa: E402

from trainer.vgg16 import plot_confusion_matrix, plots  # noqa: E402


@pytest.fixture(autouse=True)
def no_figure_is_left() -> None:
    pyplot.close("all")


def drawn() -> list[numpy.ndarray]:
    return [axes.images[0].get_array() for axes in pyplot.gcf().axes]


def test_images_are_drawn_as_they_are_seen_whatever_their_form() -> None:
    image = numpy.zeros((20, 30, 3), dtype=numpy.float32)
    image[:, :, 0] = 200
    for ims in (numpy.stack([image] * 3), numpy.stack([image.transpose(2, 0, 1)] * 3), [image.astype(numpy.uint8)] * 3):
        plots(ims, titles=numpy.eye(3)[[0, 1, 1]])
        assert [axes.get_title() for axes in pyplot.gcf().axes] == ["[1. 0. 0.]", "[0. 1. 0.]", "[0. 1. 0.]"]
        for seen in drawn():
            assert seen.shape == (20, 30, 3) and seen.dtype == numpy.uint8 and seen[0, 0].tolist() == [200, 0, 0]
    plots([image / 255])
    assert drawn()[0].max() == pytest.approx(200 / 255)


def test_rows_titles_and_nothing_at_all() -> None:
    ims = numpy.zeros((5, 3, 8, 8))
    plots(ims, rows=2, titles=["a name that is longer than there is room for"] * 5)
    assert len(pyplot.gcf().axes) == 5
    assert pyplot.gcf().axes[0].title.get_fontsize() < 16
    plots([])
    assert not pyplot.gcf().axes


def test_a_confusion_matrix_says_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    counts = numpy.array([[5, 1, 0], [0, 6, 0], [2, 0, 4]])
    plot_confusion_matrix(counts, ["bird", "cat", "dog"])
    axes = pyplot.gcf().axes[0]
    assert [text.get_text() for text in axes.texts] == [str(count) for count in counts.flat]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["bird", "cat", "dog"]
    assert "[5 1 0]" in capsys.readouterr().out
    plot_confusion_matrix(counts, ["bird", "cat", "dog"], normalize=True)
    assert pyplot.gcf().axes[0].texts[-1].get_text() == "0.67"
