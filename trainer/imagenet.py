"""ImageNet's 1,000 classes, which every published network knows before it is told of others."""

from __future__ import annotations

import functools

CLASSES = 1000


@functools.cache
def names() -> tuple[str, ...]:
    """Their names in the order of the networks' outputs, as torchvision's weights list them (`meta["categories"]`)."""
    # Seconds, that nobody waits for who has classes of his own.
    import torchvision

    return tuple(torchvision.models.get_model_weights("vgg16").DEFAULT.meta["categories"])
