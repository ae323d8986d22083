"""
==============================================
Compression: bits of a code, and what they buy
==============================================

A code is worth what it costs. Two people who share a fitted model can pass on a row in
KL(q(z|x) || p(z)) nats: that term of the bound is a length, and with bits-back coding
it can be had. The other term is what the receiver gets wrong.
:func:`~skvae.compression` gives both, and the bits that principal components take for
the same error. All figures are of rows that no model has seen.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer, compression
from skvae.coding import rate_distortion
from skvae.likelihoods import Gaussian

BLUE = "#3f90da"

# %%
# The noise says how fine
# -----------------------
# A fixed noise of the decoder, ``Gaussian(0.2)``, is a price: an error of that size
# costs half a nat. The smaller it is, the more bits training spends on the code. So one
# family of models, from coarse to fine, draws a curve. Sixteen components are there for
# all of them; those that do not pay stay unused.
#
# Two tables: digits, whose grey levels are divided by 16, and the measurements of
# breast tumours, each column in units of its standard deviation over training rows.

X_digits = load_digits().data / 16
X_cancer = load_breast_cancer().data
TABLES = {
    "digits": (*train_test_split(X_digits, random_state=0), (0.4, 0.3, 0.2, 0.1)),
    "breast cancer": (
        *train_test_split(X_cancer, random_state=0),
        (1.0, 0.5, 0.25, 0.12),
    ),
}
scaler = StandardScaler().fit(TABLES["breast cancer"][0])
train, test, noises = TABLES["breast cancer"]
TABLES["breast cancer"] = scaler.transform(train), scaler.transform(test), noises

figures = {}
for name, (train, test, noises) in TABLES.items():
    figures[name] = []
    for noise in noises:
        vae = VAETransformer(
            16,
            likelihood=Gaussian(noise),
            hidden_layer_sizes=(128, 64),
            standardize=False,
            random_state=0,
        ).fit(train)
        figures[name].append(compression(vae, test))

# %%
# Principal components, twice
# ---------------------------
# :func:`~skvae.compression` is kind to PCA: it takes the covariance of the very rows to
# be sent, and counts what the best code for it takes on average. That is the lower
# curve below.
#
# The upper one is what PCA of the training rows takes, as a sender would have it who
# has not seen the rows either. With a level t it sends each component of variance v > t
# with an error of t. As for the VAE, the length is the divergence of a draw's
# distribution from what the receiver expects, N(0, v - t). Where new rows have a mean
# square s along the component in place of v, both the length and the error change.


def pca_curve(train, test, levels):
    """Squared errors and bits of held-out rows, sent by PCA of the training rows."""
    mean, covariance = train.mean(axis=0), np.cov(train.T, bias=True)
    v, directions = np.linalg.eigh(covariance)
    v = v.clip(0)
    s = np.square((test - mean) @ directions).mean(axis=0)
    errors, nats = [], []
    for t in levels:
        sent = v > t
        lost = t / v[sent]
        errors.append(s[~sent].sum() + (lost**2 * s[sent] + t * (1 - lost)).sum())
        excess = (1 - lost) * (s[sent] / v[sent] - 1)
        nats.append(0.5 * (excess - np.log(lost)).sum())
    return np.array(errors), np.array(nats) / np.log(2)


print("== Bits a row at equal error, held-out rows\n")
header = ("noise", "squared error", "VAE", "PCA, train", "PCA, these rows")
print("{:20} {:>6} {:>14} {:>6} {:>11} {:>16}".format("", *header))
curves = {}
for name, (train, test, noises) in TABLES.items():
    largest = np.linalg.eigvalsh(np.cov(train.T)).max()
    errors, bits = pca_curve(train, test, np.geomspace(1e-4, 1, 400) * largest)
    curves[name] = errors, bits
    for noise, found in zip(noises, figures[name], strict=True):
        fitted_before = np.interp(found.distortion, errors, bits)
        print(
            f"{name:20} {noise:>6} {found.distortion:>14.3f} {found.bits:>6.1f} "
            f"{fitted_before:>11.1f} {found.pca_bits:>16.1f}"
        )

# %%
# The digits lie near a bent surface, and a decoder that bends gets by with fewer bits
# than a flat one. On the measurements there is less to gain: a few bits beside PCA of
# the training rows, and beside the code made for these very rows, next to nothing. PCA
# takes no time. And all of these are bits of ideal codes: bits back takes many rows in
# a row, and other bits to begin with. The model must be sent once, too, and networks
# are larger than a matrix.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
for ax, (name, (_, test, noises)) in zip(axes, TABLES.items(), strict=True):
    errors, bits = curves[name]
    variances = np.linalg.eigvalsh(np.cov(test.T, bias=True)).clip(0)
    best = [rate_distortion(variances, error) / np.log(2) for error in errors]
    ax.plot(bits, errors, color="0.3", label="PCA of the training rows")
    ax.plot(best, errors, color="0.3", linestyle=":", label="PCA of the rows sent")
    ax.plot(
        [found.bits for found in figures[name]],
        [found.distortion for found in figures[name]],
        "o-",
        color=BLUE,
        label="VAE, by the noise",
    )
    for noise, found in zip(noises, figures[name], strict=True):
        ax.annotate(
            str(noise),
            (found.bits, found.distortion),
            xytext=(-4, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            color=BLUE,
        )
    ax.set_yscale("log")
    ax.set_yticks((0.5, 1, 2, 5, 10), labels=("0.5", "1", "2", "5", "10"))
    ax.minorticks_off()
    least, most = figures[name][-1].distortion, figures[name][0].distortion
    ax.set(
        xlim=(0, 1.3 * figures[name][-1].bits),
        ylim=(least / 1.5, most * 1.6),
        xlabel="bits a row",
        ylabel="squared error of a row",
        title=f"{name}: {len(test)} held-out rows of {test.shape[1]} columns",
    )
    ax.legend(frameon=False, loc="upper right")

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
