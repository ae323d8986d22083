"""
===============================
Eight pictures of fitted models
===============================

Displays draw what a fitted model knows, in scikit-learn's manner: ``from_estimator``
computes and draws, ``plot`` draws again, and what has been drawn stays at hand as
attributes such as ``ax_`` and ``figure_``. Here is each of them once, and how to read
it. The data come with scikit-learn.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from skvae import (
    FeatureScoreDisplay,
    KLDisplay,
    LatentSpaceDisplay,
    LossCurveDisplay,
    ReconstructionDisplay,
    SampleDisplay,
    ScoreDisplay,
    TraversalDisplay,
    VAEOutlierDetector,
    VAETransformer,
)

# %%
# Where rows are: LatentSpaceDisplay
# ----------------------------------
# A point is the code of a row, here of a wine, in the two components that tell most.
# Ellipses are posteriors: where they are small beside the cloud, codes tell rows apart.
# Rings are one and two standard deviations of the prior. Cultivars, which the model has
# not seen, lie apart.

wine, cultivar = load_wine(return_X_y=True, as_frame=True)
of_wine = VAETransformer(8, random_state=0).fit(wine)
cultivar = cultivar.rename("cultivar")
display = LatentSpaceDisplay.from_estimator(of_wine, wine, cultivar)

# %%
# Why a row is odd: FeatureScoreDisplay
# -------------------------------------
# A bar is what a column adds to the score of a row, beside what it adds to that of a
# typical row. The columns to blame stand on top. Here one cell of a tumour is ten times
# what was measured.

tumours = load_breast_cancer(as_frame=True)
X = tumours.data.copy()
X.loc[17, "mean smoothness"] *= 10
detector = VAEOutlierDetector(random_state=0).fit(X)
display = FeatureScoreDisplay.from_estimator(detector, X, rows=17, n_features=8)

# %%
# Are samples like the rows? SampleDisplay
# ----------------------------------------
# Columns by themselves stand on the diagonal, rows of the table in blue and samples in
# orange. Pairs of columns are below it in the table, above it in the samples: the
# panels are mirrored, and should look alike. Here some samples lie between the species,
# where no flower is.

iris = load_iris(as_frame=True)
flowers = iris.data.assign(species=iris.target_names[iris.target])
of_flowers = VAETransformer(3, random_state=0).fit(flowers)
columns = ["sepal width (cm)", "petal length (cm)", "species"]
display = SampleDisplay.from_estimator(
    of_flowers, flowers, features=columns, random_state=0
)

# %%
# Where the threshold lies: ScoreDisplay
# --------------------------------------
# Scores of rows, by class if there are labels, as shares of the class. ``predict``
# calls outliers what lies left of the dashed line. A threshold in a gap would be a good
# one. Here there is none, since the detector has seen both classes: what is rare among
# all tumours is more often malignant, but not always.

diagnosis = tumours.target_names[tumours.target]
display = ScoreDisplay.from_estimator(detector, X, diagnosis)

# %%
# How training went: LossCurveDisplay
# -----------------------------------
# Both losses should fall, and level off close to each other. Here that of held-out rows
# rises again while that of training falls: with 178 wines the model overfits after a
# while. ``fit`` keeps the weights of the best look, at the dotted line. Below stand the
# two parts of the training loss.

display = LossCurveDisplay.from_estimator(of_wine)

# %%
# How much of the code is in use: KLDisplay
# -----------------------------------------
# A bar is how many nats a component tells of a row. One that is not in use is crossed
# out: if many are, fewer components will do. Here all eight say something.

display = KLDisplay.from_estimator(of_wine, wine)

# %%
# What a component stands for: TraversalDisplay
# ---------------------------------------------
# One component moves, the others stay: lines are the columns that change most, in
# standard deviations. With ``image_shape`` images are drawn; see
# :ref:`sphx_glr_auto_examples_plot_digits.py`.

display = TraversalDisplay.from_estimator(of_wine, wine, components=[0, 1])

# %%
# What a code keeps: ReconstructionDisplay
# ----------------------------------------
# Rows, what becomes of them on the way through a code of ten numbers, and the
# difference. Without ``image_shape`` there is a bar for each column: the share of its
# variance that the code explains.

digits = load_digits().data
of_digits = VAETransformer(10, max_iter=60, random_state=0).fit(digits)
display = ReconstructionDisplay.from_estimator(of_digits, digits, image_shape=(8, 8))


# %%

# sphinx_gallery_start_ignore
# A script keeps its pictures; in the gallery they are closed by now.
from pathlib import Path

for number in plt.get_fignums():
    script = Path(__file__)
    folder = script.with_name("pictures")
    folder.mkdir(exist_ok=True)
    plt.figure(number).savefig(folder / f"{script.stem}_{number}.png", dpi=120)
    print(f"Picture: examples/pictures/{script.stem}_{number}.png")
# sphinx_gallery_end_ignore
