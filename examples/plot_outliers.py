"""
=====================================
Outliers: which rows, and which cells
=====================================

:class:`~skvae.VAEOutlierDetector` on measurements of breast tumours and on handwritten
digits, which come with scikit-learn. Benign tumours, or known digits, are the normal
rows. The first part hides a few malignant ones among the training rows; then training
is on normal rows alone, and p-values say how often a normal row would be flagged. In
between, a slip of the pen is found, a pipeline is fitted, and settings are chosen with
labels and without. ``IsolationForest`` and the mean distance to five neighbours stand
beside it throughout: nothing here is a contest that it always wins.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, make_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, PredefinedSplit
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skvae import FeatureScoreDisplay, ScoreDisplay, VAEOutlierDetector
from skvae.likelihoods import Gaussian

BLUE, ORANGE = "#3f90da", "#e76300"

data = load_breast_cancer(as_frame=True)
benign, malignant = (data.data[data.target == label] for label in (1, 0))


def neighbour_scores(train, rows, scale=True):
    """Minus the mean distance to the five nearest training rows."""
    scaler = StandardScaler(with_mean=scale, with_std=scale).fit(train)
    neighbours = NearestNeighbors(n_neighbors=5).fit(scaler.transform(train))
    if rows is train:  # a row is no neighbour of its own
        return -neighbours.kneighbors()[0].mean(axis=1)
    return -neighbours.kneighbors(scaler.transform(rows))[0].mean(axis=1)


# %%
# Training rows that hold outliers
# --------------------------------
# Forty malignant tumours hide among the benign ones, and nobody tells the detector.
# Three draws of the forty show how much chance there is in such figures. For guesses
# AUROC is .5, and average precision the share of outliers, here a tenth; both are 1 at
# best.

print("== Forty malignant tumours among the training rows, three draws\n")
print(f"{'':6} {'VAEOutlierDetector':>20} {'IsolationForest':>17} {'mean of 5':>11}")
print(f"{'draw':6} {'AUROC':>13} {'prec.':>6} {'AUROC':>10} {'prec.':>6} {'AUROC':>8}")
for draw in range(3):
    hidden = malignant.sample(40, random_state=draw)
    mixed = pd.concat([benign, hidden])
    is_outlier = np.arange(len(mixed)) >= len(benign)
    detector = VAEOutlierDetector(contamination=0.1, random_state=draw).fit(mixed)
    forest = IsolationForest(random_state=draw).fit(mixed)
    ours, theirs = detector.score_samples(mixed), forest.score_samples(mixed)
    cells = [
        measure(is_outlier, -scores)
        for scores in (ours, theirs)
        for measure in (roc_auc_score, average_precision_score)
    ]
    cells.append(roc_auc_score(is_outlier, -neighbour_scores(mixed, mixed)))
    print("{:<6} {:>13.3f} {:>6.3f} {:>10.3f} {:>6.3f} {:>8.3f}".format(draw, *cells))

# %%
# ``predict`` flags as many rows as ``contamination`` says, whatever they are: those on
# the left of the threshold. Scores have a long tail of low values; the shaded bin at
# the end has all that are lower. Once the rows have been looked at,
# ``set_contamination`` moves the threshold without another fit.

names = np.where(is_outlier, "malignant", "benign")
display = ScoreDisplay.from_estimator(detector, mixed, names)

flagged = detector.predict(mixed) == -1
print(
    f"flagged at contamination=0.1: {flagged.sum()} rows, "
    f"{flagged[is_outlier].sum()} of the {is_outlier.sum()} malignant among them"
)
flagged = detector.set_contamination(0.05).predict(mixed) == -1
print(
    f"at 0.05, without a fit:       {flagged.sum()} rows, {flagged[is_outlier].sum()} "
    f"of the {is_outlier.sum()}"
)

# %%
# Clean training rows, and p-values
# ---------------------------------
# With ``novelty=True`` the training rows are taken to be normal. Some are kept out of
# training, so that scores of new rows can be compared with theirs: the p-value is the
# share that scores as low, the row itself counted in. A tenth of 178 rows would be too
# few for p-values of .05 (``p_values`` warns of that), so it is 30 % here. Averaged
# over splits without end, alarms among normal rows come at a rate of at most .05; in
# one split the rate is another, because 53 rows are a small sample. The picture has the
# rows of all splits: p-values of normal rows are spread evenly, those of outliers crowd
# near 0.

print("\n== Trained on half of the benign rows, novelty=True\n")
print(f"{'':6} {'AUROC':>29} {'':2} {'share with p <= .05':>20}")
print(
    f"{'split':6} {'ours':>7} {'forest':>9} {'mean of 5':>11} {'':2} "
    f"{'benign':>9} {'malignant':>10}"
)
rates, p_benign, p_malignant = [], [], []
for split in range(3):
    train = benign.sample(frac=0.5, random_state=split)
    others = benign.drop(train.index)
    rows = pd.concat([others, malignant])
    is_normal = np.arange(len(rows)) < len(others)
    novelty = VAEOutlierDetector(
        novelty=True, calibration_fraction=0.3, random_state=split
    ).fit(train)
    forest = IsolationForest(random_state=split).fit(train)
    scores = (novelty.score_samples(rows), forest.score_samples(rows))
    cells = [roc_auc_score(is_normal, some) for some in scores]
    cells.append(roc_auc_score(is_normal, neighbour_scores(train, rows)))
    p = novelty.p_values(rows, alpha=0.05)
    rates.append([np.mean(p[is_normal] <= 0.05), np.mean(p[~is_normal] <= 0.05)])
    p_benign.extend(p[is_normal])
    p_malignant.extend(p[~is_normal])
    line = "{:<6} {:>7.3f} {:>9.3f} {:>11.3f}    {:>9.1%} {:>10.1%}"
    print(line.format(split, *cells, *rates[-1]))
print(f"{'mean':6} {'':32} {np.mean(rates, axis=0)[0]:>9.1%}", end=" ")
print(f"{np.mean(rates, axis=0)[1]:>10.1%}")

figure, ax = plt.subplots(layout="constrained")
bins = np.linspace(0, 1, 21)
for values, name, colour in (
    (p_malignant, "malignant", ORANGE),
    (p_benign, "benign", BLUE),
):
    weights = np.full(len(values), 100 / len(values))
    ax.hist(values, bins, weights=weights, color=colour, alpha=0.65, label=name)
ax.axhline(5, color="0.2", linestyle=":", label="evenly spread")
ax.set(xlabel="p-value, rows not trained on", ylabel="share of the rows, %")
_ = ax.legend()

# %%
# Wrong cells in ordinary rows
# ----------------------------
# Now one cell of each held-out row is exchanged for that of another row. All cells are
# real ones; they only do not belong together. A forest cuts one column at a time and
# hardly sees that. The default score forgives a single cell much, by design: where
# wrong cells are what is looked for, the least share of ``score_features`` is the
# better guide. It holds each cell against the others of its row.

rng = np.random.default_rng(0)
train = benign.sample(frac=0.5, random_state=0)
others = benign.drop(train.index)
exchanged = others.to_numpy().copy()
columns = rng.integers(exchanged.shape[1], size=len(exchanged))
for i, j in enumerate(columns):
    exchanged[i, j] = others.iloc[rng.integers(len(others)), j]
exchanged = pd.DataFrame(exchanged, others.index, others.columns)
rows = pd.concat([others, exchanged])
is_changed = np.arange(len(rows)) >= len(others)

detector = VAEOutlierDetector(random_state=0).fit(train)
density = VAEOutlierDetector(score_function="log_likelihood", random_state=0).fit(train)
forest = IsolationForest(random_state=0).fit(train)
shares = detector.score_features(rows)[:, :-1]
print("\n== One cell of each row exchanged: AUROC of the changed rows\n")
for name, scores in (
    ("IsolationForest", forest.score_samples(rows)),
    ("mean of 5", neighbour_scores(train, rows)),
    ("the default score", detector.score_samples(rows)),
    ("log_likelihood", density.score_samples(rows)),
    ("least of score_features", shares.min(axis=1)),
):
    print(f"{name:24} {roc_auc_score(is_changed, -scores):.3f}")
is_first = shares[is_changed].argmin(axis=1) == columns
print(f"\nthe changed cell has the least share in {is_first.mean():.0%} of the rows")

# %%
# One row by hand: two figures of a mean radius change places. The new radius is a
# common one, but it contradicts perimeter and area. It is drawn beside the strangest of
# the unchanged rows.

slip = others[others["mean radius"].between(12.4, 12.5)].head(1).copy()
written = slip["mean radius"].iloc[0]
slip["mean radius"] = (written + 1.8).round(3)  # 12.4 becomes 14.2
slip.index = ["slip"]
strangest = others.iloc[[detector.score_samples(others).argmin()]]
shares = detector.score_features(slip)[0, :-1]
print(
    f"\nmean radius {written:.2f} becomes {slip['mean radius'].iloc[0]:.2f}; the "
    f"least shares, in nats:"
)
for j in np.argsort(shares)[:3]:
    print(f"{others.columns[j]:16} {shares[j]:>6.1f}")
display = FeatureScoreDisplay.from_estimator(
    detector, pd.concat([slip, strangest]), rows=[0, 1], n_features=6
)

# %%
# A pipeline, and settings chosen with labels
# -------------------------------------------
# A detector stands at the end of a pipeline like any other. If some outliers are known,
# they can choose: each setting is fitted on normal rows, and judged by the AUROC among
# validation rows. The labels are 1 for normal rows and 0 for outliers, so that a higher
# ``decision_function`` goes with the greater label. ``refit=False``, because a refit
# would take the known outliers into training.

half, known = malignant.iloc[::2], malignant.iloc[1::2]
check, test = others.iloc[::2], others.iloc[1::2]
searched = pd.concat([train, check, known])
labels = np.r_[np.ones(len(train) + len(check)), np.zeros(len(known))]
part = np.r_[np.full(len(train), -1), np.zeros(len(check) + len(known))]
pipeline = Pipeline(
    [
        ("logarithm", FunctionTransformer(np.log1p)),
        ("detector", VAEOutlierDetector(novelty=True, random_state=0)),
    ]
)
settings = {
    "detector__n_components": [2, 15],
    "detector__hidden_layer_sizes": [(), (64, 32)],
}
with_labels = GridSearchCV(
    pipeline,
    [
        {"logarithm": ["passthrough"], **settings},
        {"detector__n_components": [2], "detector__hidden_layer_sizes": [()]},
    ],
    scoring=make_scorer(roc_auc_score, response_method="decision_function"),
    cv=PredefinedSplit(part),
    refit=False,
    error_score="raise",
).fit(searched, labels)
chosen = clone(pipeline).set_params(**with_labels.best_params_).fit(train)

tested = pd.concat([test, half])
is_normal = np.r_[np.ones(len(test)), np.zeros(len(half))]
default = VAEOutlierDetector(novelty=True, random_state=0).fit(train)


def described(parameters):
    """The settings of one row of a search, in words."""
    return "{:9} n_components={:<3} hidden_layer_sizes={}".format(
        "as is" if "logarithm" in parameters else "logarithm",
        parameters["detector__n_components"],
        parameters["detector__hidden_layer_sizes"],
    )


print("\n== Settings chosen with labels: AUROC among validation rows\n")
results = with_labels.cv_results_
for i in np.argsort(results["rank_test_score"]):
    print(f"{results['mean_test_score'][i]:.3f}  {described(results['params'][i])}")
print("\nAUROC among other rows, tested once:")
for name, model in (("chosen", chosen), ("the defaults", default)):
    area = roc_auc_score(is_normal, model.decision_function(tested))
    print(f"{name:14} {area:.3f}")

# %%
# Settings chosen without labels
# ------------------------------
# ``score`` is the mean log-likelihood, so that a grid search needs no labels, only
# held-out rows. It asks another question, though: which model describes normal rows
# best, not which one tells them from outliers. The two need not agree. The logarithm
# stays out of this search: it changes the units, and with them the density. So does
# ``novelty=True``: a density made of the codes of a hundred rows says more of these
# rows than of the model.

without_labels = GridSearchCV(
    Pipeline([("detector", VAEOutlierDetector(random_state=0))]),
    settings,
    cv=KFold(2, shuffle=True, random_state=0),
    refit=False,
    error_score="raise",
).fit(train)
print("\n== Without labels: held-out log-likelihood, beside the AUROC from above\n")
print("  nats  AUROC")
area_of = {
    described(parameters): area
    for parameters, area in zip(
        with_labels.cv_results_["params"],
        with_labels.cv_results_["mean_test_score"],
        strict=True,
    )
}
results = without_labels.cv_results_
for i in np.argsort(results["rank_test_score"]):
    words = described({"logarithm": "passthrough", **results["params"][i]})
    print(f"{results['mean_test_score'][i]:>6.1f}  {area_of[words]:.3f}  {words[10:]}")

# %%
# Where neighbours are better
# ---------------------------
# Nine digits are known, ones are new. The pixels share one unit, so columns are better
# not scaled one by one, and one noise for all will do. That helps, and still the mean
# distance to five known digits is hard to beat, and quick: take it where a ranking is
# all that is wanted. The rate of false alarms is near .05 with either setting: that is
# the p-values' doing, not the model's.

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.data))
first, second = order[::2], order[1::2]
is_known = digits.target != 1
train_digits = digits.data[first[is_known[first]]]
rows, known_rows = digits.data[second], is_known[second]
print("\n== Nine digits known, one new\n")
print(f"{'':16} {'':7} {'share with p <= .05':>21}")
print(f"{'':16} {'AUROC':>7} {'known':>11} {'new':>9}")
for name, pixels in (
    ("at defaults", {}),
    ("for pixels", {"standardize": False, "likelihood": Gaussian("shared")}),
):
    model = VAEOutlierDetector(
        novelty=True, calibration_fraction=0.2, random_state=0, **pixels
    ).fit(train_digits)
    area = roc_auc_score(known_rows, model.score_samples(rows))
    p = model.p_values(rows, alpha=0.05)
    alarms, caught = np.mean(p[known_rows] <= 0.05), np.mean(p[~known_rows] <= 0.05)
    print(f"{name:16} {area:>7.3f} {alarms:>11.1%} {caught:>9.1%}")
forest = IsolationForest(random_state=0).fit(train_digits)
for name, scores in (
    ("IsolationForest", forest.score_samples(rows)),
    ("mean of 5", neighbour_scores(train_digits, rows, scale=False)),
):
    print(f"{name:16} {roc_auc_score(known_rows, scores):>7.3f}")

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
