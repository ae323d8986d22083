"""Pictures of fitted models, in the manner of scikit-learn's displays.

Each display is one file: made by `from_estimator`, drawn by `plot`, with the artists as
attributes. Matplotlib is imported when something is drawn, and not before.
"""

from skvae.display.feature_scores import FeatureScoreDisplay

__all__ = ["FeatureScoreDisplay"]
