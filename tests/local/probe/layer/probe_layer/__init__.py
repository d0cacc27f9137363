"""A layer with one function."""


def greeting() -> str:
    """What the layer says."""
    return "hello from the layer"
