"""Variational autoencoders at home in scikit-learn."""

from importlib import import_module

__version__ = "0.1.0"

#: Where the public names are. Lazily (PEP 562): importing the package must not import
#: torch.
_PLACES = {
    "FeatureScoreDisplay": "skvae.display",
    "VAEImputer": "skvae.imputer",
    "VAEOutlierDetector": "skvae.outlier",
    "VAETransformer": "skvae.transformer",
}

__all__ = [
    "FeatureScoreDisplay",
    "VAEImputer",
    "VAEOutlierDetector",
    "VAETransformer",
    "__version__",
]


def __getattr__(name):
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
