"""Variational autoencoders at home in scikit-learn."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors, which do not look into `_PLACES`
    from skvae.autoencoder import AETransformer
    from skvae.coding import compression
    from skvae.display import (
        FeatureScoreDisplay,
        KLDisplay,
        LatentSpaceDisplay,
        LossCurveDisplay,
        ReconstructionDisplay,
        SampleDisplay,
        ScoreDisplay,
        TraversalDisplay,
    )
    from skvae.exceptions import PosteriorCollapseWarning
    from skvae.imputer import VAEImputer
    from skvae.inference import inference_gap, refine
    from skvae.inspection import diagnostics
    from skvae.latent import interpolate, traverse
    from skvae.outlier import VAEOutlierDetector
    from skvae.transformer import VAETransformer

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
    "compression": "skvae.coding",
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


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
