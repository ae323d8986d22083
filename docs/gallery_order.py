"""The order of the gallery: what most people come for stands first."""

from pathlib import Path

__all__ = ["ByUse"]

_FIRST = (
    "quickstart",
    "displays",
    "tables",
    "outliers",
    "digits",
    "grid_search",
    "monitoring",
    "export",
)


class ByUse:
    """A key to sort examples by: those of general use first, then by name.

    Parameters
    ----------
    src_dir : str
        Where the examples are, as Sphinx-Gallery hands it over.
    """

    def __init__(self, src_dir):
        self.src_dir = src_dir

    def __repr__(self):
        return f"<{type(self).__name__}>"

    def __call__(self, filename):
        name = Path(filename).stem.removeprefix("plot_")
        place = _FIRST.index(name) if name in _FIRST else len(_FIRST)
        return place, name
