"""Variational autoencoders at home in scikit-learn."""

from importlib import import_module

__version__ = "0.1.0"

#: Where the public names are. Lazily (PEP 562): importing the package must not import
#: torch.
_PLACES = {
    "AETransformer": "skvae.autoencoder",
    "FeatureScoreDisplay": "skvae.display",
    "KLDisplay": "skvae.display",
    "LatentSpaceDisplay": "skvae.display",
    "LossCurveDisplay": "skvae.display",
    "ReconstructionDisplay": "skvae.display",
    "SampleDisplay": "skvae.display",
    "ScoreDisplay": "skvae.display",
    "TraversalDisplay": "skvae.display",
    "PosteriorCollapseWarning": "skvae.exceptions",
    "VAEImputer": "skvae.imputer",
    "VAEOutlierDetector": "skvae.outlier",
    "VAETransformer": "skvae.transformer",
    "compression": "skvae.inspection",
    "diagnostics": "skvae.inspection",
    "inference_gap": "skvae.inference",
    "interpolate": "skvae.latent",
    "refine": "skvae.inference",
    "traverse": "skvae.latent",
}

__all__ = [
    "AETransformer",
    "FeatureScoreDisplay",
    "KLDisplay",
    "LatentSpaceDisplay",
    "LossCurveDisplay",
    "PosteriorCollapseWarning",
    "ReconstructionDisplay",
    "SampleDisplay",
    "ScoreDisplay",
    "TraversalDisplay",
    "VAEImputer",
    "VAEOutlierDetector",
    "VAETransformer",
    "__version__",
    "compression",
    "diagnostics",
    "inference_gap",
    "interpolate",
    "refine",
    "traverse",
]


def __getattr__(name):
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
