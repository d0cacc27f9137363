"""Measurements, each side by side with what one would use instead: ``python -m bench``."""

from bench.places import make_importable

make_importable()  # the application's package is a layer's, and on nobody's path
