"""Pictures of fitted models, in the manner of scikit-learn's displays.

Each display is one file: made by `from_estimator`, drawn by `plot`, with the artists as
attributes. What several share, or what is an idea of its own, stands in a file beside
them. Matplotlib is imported when something is drawn, and not before.
"""

from skvae.display.feature_scores import FeatureScoreDisplay
from skvae.display.kl import KLDisplay
from skvae.display.latent_space import LatentSpaceDisplay
from skvae.display.loss_curve import LossCurveDisplay
from skvae.display.reconstruction import ReconstructionDisplay
from skvae.display.samples import SampleDisplay
from skvae.display.scores import ScoreDisplay
from skvae.display.traversal import TraversalDisplay

__all__ = [
    "FeatureScoreDisplay",
    "KLDisplay",
    "LatentSpaceDisplay",
    "LossCurveDisplay",
    "ReconstructionDisplay",
    "SampleDisplay",
    "ScoreDisplay",
    "TraversalDisplay",
]
