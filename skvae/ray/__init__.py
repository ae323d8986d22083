"""Past one machine: searches, training and scoring on a Ray cluster.

Ray moves the rows, places the work, and begins it anew where a machine is lost. What is
computed is what the estimators compute on one machine.
"""

from importlib import import_module

try:
    import ray  # noqa: F401
except ImportError as error:
    raise ImportError('Clusters need Ray: pip install "skvae[ray]".') from error

#: Where the public names live. Tasks that only read rows are spared an import of torch.
_PLACES = {
    "RayTuneReport": "skvae.ray.search",
    "fit_dataset": "skvae.ray.training",
    "put": "skvae.ray.search",
    "sample_dataset": "skvae.ray.scoring",
    "score_dataset": "skvae.ray.scoring",
    "transform_dataset": "skvae.ray.scoring",
}

__all__ = [
    "RayTuneReport",
    "fit_dataset",
    "put",
    "sample_dataset",
    "score_dataset",
    "transform_dataset",
]


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
