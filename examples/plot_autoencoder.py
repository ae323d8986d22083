"""
===============================================
An autoencoder beside a variational autoencoder
===============================================

:class:`~skvae.AETransformer` and :class:`~skvae.VAETransformer` have the same networks,
trained on the same digits with codes of two numbers. One gives points, the other
distributions. Three questions tell them apart: can it make samples, does it know p(x),
and what do the two latent spaces look like side by side? The data come with
scikit-learn.
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from skvae import AETransformer, LatentSpaceDisplay, VAETransformer
from skvae.likelihoods import Gaussian

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

# %%
# Two models of the same rows
# ---------------------------
# With one noise level for all columns the VAE, too, is trained by squared error, plus
# what the code costs. What the autoencoder saves by that, it has to show in
# reconstructions.

ae = AETransformer(2, random_state=0).fit(X_train)
vae = VAETransformer(2, likelihood=Gaussian("shared"), random_state=0).fit(X_train)
codes = {"AE": ae.transform(X_train), "VAE": vae.transform(X_train)}

scale = X_train.std(axis=0)
varies = scale > 0


def squared_error(model, rows):
    restored = model.inverse_transform(model.transform(rows))
    return np.square((restored - rows)[:, varies] / scale[varies]).mean()


print("\n== Digits rebuilt from 2 numbers: mean squared error of held-out rows")
print("   (1 is the error of guessing the mean of every column; lower is better)\n")
for name, model in (("AE", ae), ("VAE", vae)):
    print(f"{name:4} {squared_error(model, X_test):.3f}")

# %%
# The two latent spaces
# ---------------------
# The autoencoder, at the left, gives points. The VAE gives distributions, drawn as
# ellipses for some rows, and its codes are drawn to the standard normal distribution:
# the rings are one and two standard deviations of it. Nothing draws the autoencoder's
# codes anywhere. The view leaves out rows that are far away, and the table below has
# how far.

figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
for ax, model, reach in zip(axes, (ae, vae), (16, 4), strict=True):
    LatentSpaceDisplay.from_estimator(model, X_train, y_train, ax=ax)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), adjustable="box")

print("\n== Codes of the training rows\n")
print(f"{'':4} {'standard deviations':>20} {'smallest':>16} {'largest':>16}")
for name, Z in codes.items():
    parts = [f"{a:.1f}, {b:.1f}" for a, b in (Z.std(0), Z.min(0), Z.max(0))]
    print(f"{name:4} {parts[0]:>20} {parts[1]:>16} {parts[2]:>16}")

# %%
# Samples
# -------
# A decoder decodes whatever it is given; the question is where codes come from. The
# VAE knows: from the standard normal distribution. To the autoencoder these codes mean
# nothing in particular, and neither do those of a box around its training codes. Both
# decoders give means here, without noise; ``VAETransformer.sample`` adds it.
#
# A normal distribution that is fitted to the codes afterwards is a way out, but then it
# is that distribution that makes the samples, and a new model has been fitted.

rng = np.random.default_rng(0)
N_DRAWS = 2_000
normal = rng.standard_normal((N_DRAWS, 2))
low, high = codes["AE"].min(axis=0), codes["AE"].max(axis=0)
centre, spread = codes["AE"].mean(axis=0), np.cov(codes["AE"].T)
afterwards = rng.multivariate_normal(centre, spread, N_DRAWS)
drawn = {
    "AE, codes from N(0, I)": ae.inverse_transform(normal),
    "AE, codes from a box": ae.inverse_transform(rng.uniform(low, high, (N_DRAWS, 2))),
    "AE, normal fitted\nto the codes": ae.inverse_transform(afterwards),
    "VAE, codes from N(0, I)": vae.inverse_transform(normal),
    "VAE, sample()": vae.sample(N_DRAWS, random_state=0),
    "held-out digits": X_test,
}

# %%
# Two measures, both of them rough. How far the shares of the digits, as a classifier
# sees them, are from those of the training rows: half the sum of absolute differences,
# 0 where each digit has its share, 1 at worst. And the distance to the nearest training
# row, by which one sees blots that are no digits; noise adds to it.

classifier = KNeighborsClassifier(5).fit(X_train, y_train)
neighbours = NearestNeighbors(n_neighbors=1).fit(X_train)


def shares(labels):
    return np.bincount(labels, minlength=10) / len(labels)


print("\n== What the decoders make of codes that no row has\n")
print(f"{'':32} {'shares off by':>13} {'rarest digit':>13} {'distance':>9}")
for name, rows in drawn.items():
    found = shares(classifier.predict(rows))
    off = 0.5 * np.abs(found - shares(y_train)).sum()
    distance = neighbours.kneighbors(rows)[0].mean()
    name = name.replace("\n", " ")
    print(f"{name:32} {off:>13.2f} {found.min():>13.1%} {distance:>9.1f}")

figure, axes = plt.subplots(len(drawn), 12, figsize=(11, 5.4), layout="constrained")
for line, (name, rows) in zip(axes, drawn.items(), strict=True):
    for ax, image in zip(line, rows, strict=False):
        ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")

# %%
# p(x)
# ----
# The reconstruction error is no stand-in for it. A row far out along a direction that
# the code keeps is rebuilt as well as any, however far out it is. The linear models
# show it best: what they keep is the principal subspace. Here is a row 30
# standard deviations out along its first direction, and what share of the held-out
# digits each model finds more ordinary than that row.

linear = {"hidden_layer_sizes": (), "max_iter": 20, "random_state": 0}
linear_ae = AETransformer(2, **linear).fit(X_train)
linear_vae = VAETransformer(2, likelihood=Gaussian("shared"), **linear).fit(X_train)
Z = linear_ae.transform(X_train)
step = np.array([[30 * Z[:, 0].std(), 0]])
far_out = linear_ae.inverse_transform(Z.mean(axis=0) + step)

errors = linear_ae.reconstruction_error(X_test)
log_p = linear_vae.score_samples(X_test)
print("\n== A row 30 standard deviations out, and the held-out digits\n")
print(f"{'':38} {'the row':>9} {'median':>9} {'more ordinary':>14}")
for name, value, others, ordinary in (
    (
        "AE: squared error (lower is better)",
        linear_ae.reconstruction_error(far_out)[0],
        errors,
        errors < linear_ae.reconstruction_error(far_out),
    ),
    (
        "VAE: log p(x) (higher is better)",
        linear_vae.score_samples(far_out)[0],
        log_p,
        log_p > linear_vae.score_samples(far_out),
    ),
):
    print(f"{name:38} {value:>9.1f} {np.median(others):>9.1f} {ordinary.mean():>14.0%}")

# %%
# So an autoencoder has no ``score_samples``, and the error says what there is instead.

try:
    ae.score_samples(X_test)
except AttributeError as reason:
    print(textwrap.fill(f"AttributeError: {reason}", 88))

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
