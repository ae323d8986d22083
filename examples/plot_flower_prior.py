"""
==================================
A prior in the shape of a flower
==================================

The prior of a variational autoencoder need not be a normal distribution. Any
distribution of torch's will do: here a mixture of five long normal distributions, laid
out as petals. Digits are encoded into it in two components. Petals sort the digits to
some extent without a label being seen; what the shape costs, in held-out
log-likelihood, is printed beside the standard normal prior and a learned mixture.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import distributions

from skvae import VAETransformer
from skvae.likelihoods import Gaussian
from skvae.priors import Distribution, Mixture

# %%
# The flower
# ----------
# Each petal is a normal distribution whose longer axis points away from the middle.

N_PETALS, DISTANCE, LENGTH, WIDTH = 5, 2.4, 0.85, 0.3

angles = torch.arange(N_PETALS) * 2 * torch.pi / N_PETALS + torch.pi / 2
outwards = torch.stack([angles.cos(), angles.sin()], dim=1)
sideways = torch.stack([-angles.sin(), angles.cos()], dim=1)
factors = torch.stack([LENGTH * outwards, WIDTH * sideways], dim=2)
flower = distributions.MixtureSameFamily(
    distributions.Categorical(torch.ones(N_PETALS)),
    distributions.MultivariateNormal(DISTANCE * outwards, factors @ factors.mT),
)

# %%
# Fits
# ----
# The flower goes in as it is. A closed form of its divergence from the codes is not
# known, so that it is averaged over draws: four of them make it less noisy.

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

priors = {
    "flower": flower,
    "normal": "gaussian",
    "learned mixture of 10": Mixture(10),
}
models = {
    name: VAETransformer(
        2,
        prior=prior,
        likelihood=Gaussian("shared"),
        standardize=False,
        n_mc_samples=4,
        max_iter=60,
        random_state=0,
    ).fit(X_train / 16)
    for name, prior in priors.items()
}

print(f"Digits in 2 components: {len(X_test)} held-out rows, nats per row")
print(f"{'prior':24} {'mean log p':>10} {'± error':>8}")
for name, model in models.items():
    log_p = model.score_samples(X_test / 16)
    error = log_p.std(ddof=1) / np.sqrt(len(log_p))
    print(f"{name:24} {log_p.mean():>10.2f} {error:>8.2f}")

# %%
# What the petals hold
# --------------------
# The petal of a code is the one that has most likely made it. Whether petals say
# something of the digits is counted by the share of rows whose digit is the commonest
# of their petal.

petals = models["flower"]
codes = petals.transform(X_test / 16)
members = flower.component_distribution.log_prob(torch.from_numpy(codes)[:, None])
petal = members.argmax(dim=1).numpy()

print(f"\n{'petal':>5} {'rows':>5}  commonest digits")
n_right = 0
for k in range(N_PETALS):
    counts = np.bincount(y_test[petal == k], minlength=10)
    n_right += counts.max()
    commonest = [d for d in np.argsort(-counts)[:4] if counts[d]]
    said = ", ".join(f"{counts[d]} of {d}" for d in commonest)
    print(f"{k:>5} {counts.sum():>5}  {said}")
most = np.bincount(y_test).max()
print(f"{n_right / len(y_test):.0%} of rows are of their petal's commonest digit; ")
print(f"{most / len(y_test):.0%} would be if petals said nothing.")

# %%
# Pictures
# --------
# The prior; the codes of held-out digits upon it; and digits decoded where codes drawn
# from the prior lie, as far apart as there is room for.

COLOURS = [
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
]
REACH = 4.9
axis = np.linspace(-REACH, REACH, 241)
grid = np.stack(np.meshgrid(axis, axis), axis=-1)
log_density = Distribution(flower).log_prob(torch.from_numpy(grid)).numpy()
density = np.exp(log_density)


def far_apart(points, distance):
    """Points of which no two are nearer than this, taken in order."""
    kept = points[:1]
    for point in points[1:]:
        if np.linalg.norm(kept - point, axis=1).min() >= distance:
            kept = np.vstack([kept, point])
    return kept


figure, axes = plt.subplots(1, 3, figsize=(15, 5.4), layout="constrained")
for ax, title in zip(
    axes,
    ("the prior", "codes of held-out digits", "codes from the prior, decoded"),
    strict=True,
):
    ax.set(title=title, aspect="equal", xlabel="component 0")
    ax.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=range(-4, 5, 2))
axes[0].set_ylabel("component 1")
axes[0].contourf(axis, axis, density, levels=12, cmap="RdPu")
for ax in axes[1:]:
    ax.contour(axis, axis, density, levels=[0.005, 0.03], colors="#d9a3c4")
for digit, colour in enumerate(COLOURS):
    some = codes[y_test == digit]
    axes[1].scatter(*some.T, s=34, color=colour, marker=f"${digit}$", linewidths=0.3)
n_outside = (abs(codes) > REACH).any(axis=1).sum()
axes[1].set_xlabel(f"component 0 ({n_outside} rows outside)")

with torch.random.fork_rng():
    torch.manual_seed(0)
    drawn = flower.sample((2_000,)).double().numpy()
drawn = far_apart(drawn[(abs(drawn) < REACH - 0.3).all(axis=1)], 0.62)
for code, image in zip(drawn, petals.inverse_transform(drawn), strict=True):
    picture = OffsetImage(image.reshape(8, 8), zoom=2.6, cmap="gray_r")
    axes[2].add_artist(AnnotationBbox(picture, code, frameon=False))

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
