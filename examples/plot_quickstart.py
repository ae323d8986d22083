"""
==========================================
Quickstart: a VAE where PCA used to stand
==========================================

One fitted :class:`~skvae.VAETransformer` gives codes, reconstructions, log-densities
and new rows. This example chooses one by grid search, sets it beside PCA, factor
analysis, a Gaussian mixture and an isolation forest on rows that none of them has seen,
and says where it wins and where it does not. The data come with scikit-learn.
"""

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.ensemble import IsolationForest
from sklearn.feature_selection import VarianceThreshold
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skvae import (
    LatentSpaceDisplay,
    LossCurveDisplay,
    ReconstructionDisplay,
    VAETransformer,
)
from skvae.likelihoods import Gaussian

# %%
# Every model stands in the same pipeline: columns that never change are dropped, the
# others are standardised. So all log-densities below are in the same units, and can be
# compared.


def pipeline(model):
    return Pipeline(
        [("vary", VarianceThreshold()), ("scale", StandardScaler()), ("model", model)]
    )


# %%
# One fit, with a progress bar
# ----------------------------
# scikit-learn's callbacks go on the outermost estimator; the bar of the VAE counts its
# epochs, and jumps to its end when rows held out inside no longer gain. In a terminal
# bars grow as it goes; a page has what they end as. Steps that have no progress to
# report, here ``VarianceThreshold``, are passed over with a warning.

warnings.filterwarnings("ignore", "The estimator VarianceThreshold does not support")

X_digits, y_digits = load_digits(return_X_y=True)
X_train, X_test, _, y_test = train_test_split(X_digits, y_digits, random_state=0)

print("\n== Fitting digits, with scikit-learn's ProgressBar\n", flush=True)
vae_digits = pipeline(VAETransformer(random_state=0)).set_callbacks(ProgressBar())
vae_digits.fit(X_train)
vae_digits.set_callbacks()  # no arguments: taken off again

# %%
# A grid search by held-out log-likelihood
# ----------------------------------------
# ``score`` is the mean log-likelihood of rows, so that a grid search needs no labels.
# ``max_propagation_depth=0`` leaves one bar for the whole search; ``None`` would show
# every epoch of every fit.

X_cancer, y_cancer = load_breast_cancer(return_X_y=True)
X_cancer_train, X_cancer_test = train_test_split(X_cancer, random_state=0)

print("\n== Grid search on breast cancer: 8 settings, 3 folds\n", flush=True)
search = GridSearchCV(
    pipeline(VAETransformer(random_state=0)),
    {
        "model__n_components": [5, 12],
        "model__hidden_layer_sizes": [(), (64, 32)],
        "model__beta": [0.5, 1.0],
    },
    cv=3,
).set_callbacks(ProgressBar(max_propagation_depth=0))
search.fit(X_cancer_train)

# %%
# ``()`` is a network without hidden layers: means are linear in the code, as in factor
# analysis, but the noise of each column still depends on the code.

results = search.cv_results_
print(
    f"\n{'components':>10} {'hidden layers':>14} {'beta':>5} {'log p':>8} {'± sd':>6}"
)
for i in np.argsort(results["rank_test_score"]):
    n_components, hidden, beta = (
        results["params"][i][f"model__{name}"]
        for name in ("n_components", "hidden_layer_sizes", "beta")
    )
    print(
        f"{n_components:>10} {hidden!s:>14} {beta:>5} "
        f"{results['mean_test_score'][i]:>8.2f} {results['std_test_score'][i]:>6.2f}"
    )
print("log p: nats per row of the held-out fold, mean over folds; higher is better")

# %%
# Densities of held-out rows
# --------------------------
# The rivals are tuned in the same way, by the log-likelihood of held-out folds. On
# digits the VAE has its defaults.

RIVALS = {
    "PCA": (PCA(), {"n_components": [2, 5, 10, 15, 20, 25, 30]}),
    "FactorAnalysis": (
        FactorAnalysis(max_iter=3_000),
        {"n_components": [2, 5, 10, 15, 20, 25]},
    ),
    "GaussianMixture": (
        GaussianMixture(random_state=0),
        {"n_components": [1, 2, 4, 8], "reg_covar": [1e-4, 1e-3, 1e-2, 0.1, 1.0]},
    ),
}


def tuned(model, grid, X):
    grid = {f"model__{name}": values for name, values in grid.items()}
    return GridSearchCV(pipeline(model), grid, cv=3).fit(X).best_estimator_


def tuned_rivals(X):
    return {name: tuned(model, grid, X) for name, (model, grid) in RIVALS.items()}


def verdict(gains):
    """Where a VAE is ahead and where not; level is within two standard errors.

    Parameters
    ----------
    gains : dict of str to ndarray
        How much better the VAE did than each rival, one number a repetition.
    """
    places = {"ahead of": [], "level with": [], "behind": []}
    for name, gain in gains.items():
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        level = abs(gain.mean()) <= 2 * error
        place = "level with" if level else "ahead of" if gain.mean() > 0 else "behind"
        places[place].append(name)
    said = [f"{place} {', '.join(names)}" for place, names in places.items() if names]
    return "The VAE is " + "; ".join(said) + "."


def compare_densities(data_name, models, X):
    log_p = {name: model.score_samples(X) for name, model in models.items()}
    print(f"\n{data_name}: {len(X)} held-out rows")
    print(f"{'':16} {'mean log p':>10} {'median':>8} {'VAE gains':>10} {'± error':>8}")
    gains = {name: log_p["VAE"] - values for name, values in log_p.items()}
    for name, values in log_p.items():
        error = gains[name].std(ddof=1) / np.sqrt(len(X))
        print(
            f"{name:16} {values.mean():>10.2f} {np.median(values):>8.2f} "
            f"{gains[name].mean():>10.2f} {error:>8.2f}"
        )
    del gains["VAE"]
    print(verdict(gains))
    medians = {name: np.median(values) for name, values in log_p.items()}
    print(f"The highest median is that of {max(medians, key=medians.get)}.")


print("\n== Densities: nats per row of standardised columns; higher is better")
cancer_models = {"VAE": search.best_estimator_, **tuned_rivals(X_cancer_train)}
digits_models = {"VAE": vae_digits, **tuned_rivals(X_train)}
compare_densities("Breast cancer", cancer_models, X_cancer_test)
compare_densities("Digits", digits_models, X_test)

# %%
# Reconstructions from 2 and from 8 numbers
# -----------------------------------------
# With one noise level for all columns, ``Gaussian("shared")``, the VAE minimises what
# PCA minimises, the squared error. Its decoder may bend.


def squared_errors(model, X):
    restored = model.inverse_transform(model.transform(X))
    return ((model[:-1].transform(restored) - model[:-1].transform(X)) ** 2).mean(1)


print("\n== Digits rebuilt from a code: mean squared error of held-out rows")
print("   (1 is the error of guessing the mean of every column; lower is better)\n")
print(f"{'components':>10} {'VAE':>8} {'PCA':>8}")
compressors = {}
for n_components in (2, 8):
    vae = VAETransformer(n_components, likelihood=Gaussian("shared"), random_state=0)
    pair = [pipeline(model).fit(X_train) for model in (vae, PCA(n_components))]
    compressors[n_components] = pair
    errors = [squared_errors(model, X_test) for model in pair]
    print(f"{n_components:>10} {errors[0].mean():>8.3f} {errors[1].mean():>8.3f}")
    print(verdict({f"PCA at {n_components} components": errors[1] - errors[0]}))

# %%
# Outliers
# --------
# The models are fitted to benign tumours alone, with the settings chosen above; then
# benign tumours that they have not seen are to score higher than malignant ones. Four
# splits, since a single one says little.

X_benign, X_malignant = X_cancer[y_cancer == 1], X_cancer[y_cancer == 0]
detectors = {
    **cancer_models,
    "IsolationForest": pipeline(IsolationForest(random_state=0)),
}
auroc = {name: [] for name in detectors}
seconds = dict.fromkeys(detectors, 0.0)
for seed in range(4):
    benign_train, benign_test = train_test_split(X_benign, random_state=seed)
    X_mixed = np.concatenate([benign_test, X_malignant])
    is_malignant = np.arange(len(X_mixed)) >= len(benign_test)
    for name, model in detectors.items():
        fit_began = time.perf_counter()
        detector = clone(model).fit(benign_train)
        seconds[name] += time.perf_counter() - fit_began
        scores = detector.score_samples(X_mixed)
        auroc[name].append(roc_auc_score(is_malignant, -scores))

print("\n== Outliers: malignant tumours told from benign ones, fitted on benign alone")
print("   (area under the ROC curve, 4 splits; higher is better)\n")
print(f"{'':16} {'mean':>6} {'worst':>6} {'best':>6} {'fits, s':>8}")
for name, values in auroc.items():
    print(
        f"{name:16} {np.mean(values):>6.3f} {min(values):>6.3f} {max(values):>6.3f} "
        f"{seconds[name]:>8.2f}"
    )
vae_auroc = np.array(auroc.pop("VAE"))
print(verdict({name: vae_auroc - values for name, values in auroc.items()}))
by_time = sorted(seconds, key=seconds.get)
print(f"Quickest to fit: {by_time[0]}. Slowest: {by_time[-1]}.")

# %%
# The latent space
# ----------------
# Two numbers a digit, from the models above. Labels colour the picture; neither model
# has seen them. Of the VAE it also says how much each component tells of a row, and by
# ellipses how surely the encoder knows some of the codes; the view leaves out a few
# that are far away.

vae, pca = compressors[2]
figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
LatentSpaceDisplay.from_estimator(
    vae[-1], vae[:-1].transform(X_test), y_test, ax=axes[0]
)
axes[0].set(xlim=(-4, 4), ylim=(-4, 4), adjustable="box")
names = ["principal component 0", "principal component 1"]
display = LatentSpaceDisplay(pca.transform(X_test), names, y=y_test).plot(axes[1])

# %%
# Reconstructions
# ---------------
# One held-out digit of each label, rebuilt by the first VAE from its code.

first_of_each = [np.flatnonzero(y_test == digit)[0] for digit in range(10)]
display = ReconstructionDisplay.from_estimator(
    vae_digits, X_test, rows=first_of_each, image_shape=(8, 8)
)

# %%
# Samples
# -------
# A reconstruction is a mean; a sample is drawn from the model, noise included.

vae = vae_digits[-1]
samples = vae_digits[:-1].inverse_transform(vae.sample(10, random_state=0))
figure, axes = plt.subplots(1, 10, figsize=(8, 1), layout="constrained")
for ax, image in zip(axes, samples, strict=True):
    ax.imshow(image.reshape(8, 8), cmap="gray", vmin=0, vmax=16)
    ax.set_axis_off()

# %%
# The course of the fit
# ---------------------
# The training loss, once an epoch, and the loss of rows held out inside ``fit``, at
# regular looks. Training is noisy, with a spike now and then; the fitted model is a
# running average of the weights, and that is what the held-out curve shows. The weights
# of its best look are kept. Below stand the two parts of the training loss.

display = LossCurveDisplay.from_estimator(vae)

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
