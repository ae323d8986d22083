"""
=========================
Digits: samples and walks
=========================

A fitted :class:`~skvae.VAETransformer` draws digits that nobody wrote, changes one into
another on the way between their codes, and shows what a component of the code stands
for. Each picture comes with a number that could have gone against it. The digits are
those of scikit-learn, grey and 8 by 8 pixels, and the networks are convolutional.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from skvae import TraversalDisplay, VAETransformer, diagnostics, interpolate
from skvae.likelihoods import Gaussian
from skvae.networks import ConvNet

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

# %%
# Two models that differ in the prior of their samples
# ----------------------------------------------------
# Pixels are grey levels from 0 to 16, taken as numbers with normal noise around the
# decoder's means. (Black and white would look crisper, but throw most of the data
# away.) Both models are trained alike, with the same seed. Under "aggregate" the codes
# of samples are then drawn around those of training rows, and not from N(0, I).

settings = {
    "network": ConvNet((1, 8, 8), channels=(16, 32)),
    "max_iter": 100,
    "early_stopping": False,
    "random_state": 0,
}
wide = VAETransformer(16, **settings).fit(X_train)
aggregate = VAETransformer(16, prior="aggregate", **settings).fit(X_train)

# %%
# New digits
# ----------
# ``sample`` draws everything, the noise of the pixels included. For scale there are
# held-out digits, and a model without any structure: each pixel from a training row of
# its own.
#
# What is a digit? A rough answer: an image whose five nearest training digits all have
# one label. And is it a copy? Below each sample stands the training digit nearest to
# it; held-out digits say how near is ordinary.

N_DRAWS = 500
rng = np.random.default_rng(0)
rows_of_their_own = rng.integers(len(X_train), size=(N_DRAWS, X.shape[1]))
drawn = {
    "held out": X_test,
    "samples,\nprior N(0, I)": wide.sample(N_DRAWS, random_state=0),
    'samples,\nprior="aggregate"': aggregate.sample(N_DRAWS, random_state=0),
    "every pixel\nby itself": X_train[rows_of_their_own, np.arange(X.shape[1])],
}
neighbours = KNeighborsClassifier(5).fit(X_train, y_train)


def share_of_digits(images):
    """Share of the images whose five nearest training digits have one label."""
    return np.mean(neighbours.predict_proba(images).max(axis=1) == 1)


def nearest(images):
    """Distance to the nearest training digit, and that digit."""
    distance, place = neighbours.kneighbors(images, n_neighbors=1)
    return distance[:, 0], X_train[place[:, 0]]


print("== Images and their nearest training digits\n")
print(f"{'':28} {'5 neighbours agree':>18} {'distance of the nearest':>25}")
for name, images in drawn.items():
    name = name.replace("\n", " ")
    distance = np.median(nearest(images)[0])
    print(f"{name:28} {share_of_digits(images):>18.0%} {distance:>25.1f}")

# %%


def draw(ax, image):
    ax.imshow(np.reshape(image, (8, 8)), cmap="gray_r", vmin=0, vmax=16)
    ax.set(xticks=[], yticks=[])


def draw_lines(lines, title, size):
    """A line of images for each (name, images), the name at the left."""
    shape = len(lines), len(lines[0][1])
    figure, axes = plt.subplots(*shape, figsize=size, layout="constrained")
    for line, (name, images) in zip(axes, lines, strict=True):
        for ax, image in zip(line, images, strict=True):
            draw(ax, image)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.suptitle(title)


lines = [("training digits", X_train[:14])]
for name in list(drawn)[1:3]:
    images = drawn[name][:14]
    lines += [(name, images), ("nearest\ntraining digit", nearest(images)[1])]
draw_lines(lines, "Digits, drawn from the model", (11, 4.6))

# %%
# Samples from N(0, I) are often no digit at all: codes of real digits lie in clusters,
# and nobody lives in between. Those of "aggregate" stay near the clusters, at the price
# that each starts from one training digit.

# %%
# From one digit to another
# -------------------------
# :func:`~skvae.interpolate` gives codes on the way between two codes, along the
# straight line or along an arc around 0, and ``inverse_transform`` the images that they
# stand for. A fade of the pixels, for comparison, shows both digits at once in the
# middle.
#
# For walks the code is better narrow. In sixteen dimensions there is much room between
# digits; four numbers have to be used well. One noise level for all pixels has the
# model care for the means, which are all that is shown here. The ends are the held-out
# digits of highest density, one a label.

narrow = VAETransformer(
    4, likelihood=Gaussian("shared"), standardize=False, **settings
).fit(X_train)
log_p = narrow.score_samples(X_test)
clearest = {
    digit: np.where(y_test == digit, log_p, -np.inf).argmax() for digit in range(10)
}

STEPS = 9
lines = []
for first, second in ((0, 6), (4, 9), (3, 5)):
    a, b = X_test[[clearest[first], clearest[second]]]
    z_a, z_b = narrow.transform([a, b])
    arc = interpolate(z_a, z_b, STEPS, spherical=True)
    lines += [
        (f"{first} to {second}: pixels", interpolate(a, b, STEPS)),
        ("codes", narrow.inverse_transform(arc)),
    ]
draw_lines(lines, "From one digit to another", (8.5, 5.6))

# %%
# Halfway between held-out digits of different labels, over many pairs: by pixels, by
# the straight line between codes, by the arc. Pixels of rebuilt ends stand there too,
# so that the smoothness of the decoder's means is not taken for a merit of the way.

first, second = rng.permutation(len(X_test)), rng.permutation(len(X_test))
differ = y_test[first] != y_test[second]
first, second = first[differ], second[differ]


def middles(rows, spherical=False):
    """Halfway from each row of `first` to that of `second`."""
    return [
        interpolate(rows[i], rows[j], 3, spherical=spherical)[1]
        for i, j in zip(first, second, strict=True)
    ]


halfway = [("pixels of both", middles(X_test))]
for name, model in (("4 components", narrow), ("16 components", wide)):
    Z = model.transform(X_test)
    rebuilt = model.inverse_transform(Z)
    halfway += [
        (f"{name}: the ends, rebuilt", rebuilt),
        ("    pixels of these, halfway", middles(rebuilt)),
        ("    codes, straight line", model.inverse_transform(middles(Z))),
        ("    codes, arc", model.inverse_transform(middles(Z, spherical=True))),
    ]
print(f"\n== Halfway between {len(first)} pairs of held-out digits\n")
print(f"{'':32} {'5 neighbours agree':>18}")
for name, images in halfway:
    print(f"{name:32} {share_of_digits(images):>18.0%}")

# %%
# What a component stands for
# ---------------------------
# :func:`~skvae.diagnostics` sorts the components by what they tell of a row, in nats;
# :class:`~skvae.TraversalDisplay` moves one of them and leaves the others where they
# are. The walk starts at the code of the 3 from above.

print(f"== {diagnostics(narrow, X_test)}")
display = TraversalDisplay.from_estimator(
    narrow,
    X_test,
    row=clearest[3],
    values=np.linspace(-3, 3, STEPS),
    image_shape=(8, 8),
)

# %%
# The components are no list of a writer's habits: nothing in the model makes them
# mean one thing each, and another seed finds others.

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
