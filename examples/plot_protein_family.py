"""
==================================================
A protein family: sequences as a table of labels
==================================================

An alignment of related proteins is a table: a row a sequence, a column a site, and in
each cell one of 21 labels, twenty amino acids and the gap.
:class:`~skvae.VAETransformer` takes it as it is. Codes of two numbers are a map of the
family. If a model knows which letters go together at different sites, held-out
sequences are likelier under it than under one in which sites are independent.

Give the path of an aligned FASTA file, plain or gzipped, such as a family of Pfam, to
see a real one::

    python examples/plot_protein_family.py FILE

Then a wider model is fitted too, and its samples are compared with held-out sequences.
Without a path a small family is made up: a random ancestor, subfamilies that branch off
it one from another, and mutations along the branches. It knows nothing of physics: the
only thing that ties its sites together is descent.
"""

import gzip
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import normalized_mutual_info_score

from skvae import LatentSpaceDisplay, VAETransformer

AMINO_ACIDS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))

# %%
# The family
# ----------
# Equal sequences are counted once. Lower-case letters of an alignment are insertions,
# and belong to no column.


def read_family(path):
    """Distinct sequences of an aligned FASTA file, (n_sequences, n_sites) letters."""
    opened = gzip.open if path.suffix == ".gz" else open
    sequences = []
    with opened(path, "rt") as file:
        for line in map(str.strip, file):
            if line.startswith(">"):
                sequences.append("")
            else:
                sequences[-1] += "".join(
                    letter for letter in line if letter != "." and not letter.islower()
                )
    return np.array([list(sequence) for sequence in dict.fromkeys(sequences)])


def mutated(sequences, rate, rng):
    """The same, letters changed at some sites; a fifth of the sites never change."""
    changes = rng.random(sequences.shape) < rate
    changes[..., ::5] = False
    return np.where(changes, rng.choice(AMINO_ACIDS, sequences.shape), sequences)


def simulated_family(n_sites=50, n_subfamilies=6, n_sequences=1_500, seed=0):
    """An artificial family: (n_sequences, n_sites) letters."""
    rng = np.random.default_rng(seed)
    founders = [rng.choice(AMINO_ACIDS, n_sites)]
    while len(founders) < n_subfamilies:
        parent = founders[rng.integers(len(founders))]
        founders.append(mutated(parent, 0.4, rng))
    subfamily = rng.integers(n_subfamilies, size=n_sequences)
    return np.unique(mutated(np.array(founders)[subfamily], 0.25, rng), axis=0)


path = Path(sys.argv[1]) if len(sys.argv) > 1 else None
family = simulated_family() if path is None else read_family(path)
name = "an artificial family" if path is None else path.name.split(".")[0]
order = np.random.default_rng(0).permutation(len(family))
train, held_out = np.split(family[order], [round(0.8 * len(family))])
# A letter that a site never has in training has no probability there.
known = np.array(
    [np.isin(held_out[:, j], train[:, j]) for j in range(train.shape[1])]
).all(axis=0)
print(
    f"== {name}: {len(train)} training sequences of {train.shape[1]} sites, "
    f"{len(held_out)} held out,\n   {known.sum()} of these without unheard-of letters"
)

# %%
# Two models of it
# ----------------
# What there is to beat are independent sites: the share of each letter at its site, one
# more of each counted in.

ALPHABET = np.unique(family)


def table(sequences):
    """A data frame of labels, a column a site."""
    names = [f"site {j + 1}" for j in range(sequences.shape[1])]
    return pd.DataFrame(sequences.astype(object), columns=names)


def independent_sites(sequences):
    """Log p of each sequence where every site is by itself."""
    counts = 1 + (train[:, :, None] == ALPHABET).sum(axis=0)
    log_shares = np.log(counts / counts.sum(axis=1, keepdims=True))
    letters = np.searchsorted(ALPHABET, sequences)
    return log_shares[np.arange(sequences.shape[1]), letters].sum(axis=1)


def connected_frequencies(sequences):
    """f(a at i, b at j) - f(a at i) f(b at j), for all i < j and all letters."""
    one_hot = (sequences[:, :, None] == ALPHABET).reshape(len(sequences), -1)
    one_hot = one_hot.astype(np.float32)
    single = one_hot.mean(axis=0, dtype=np.float64)
    joint = one_hot.T @ one_hot / np.float64(len(sequences))
    site = np.repeat(np.arange(sequences.shape[1]), len(ALPHABET))
    return (joint - np.outer(single, single))[site[:, None] < site]


models = {
    "map, 2 components": VAETransformer(2, max_iter=60, random_state=0),
}
if path is not None:
    models["wide, 32 components"] = VAETransformer(
        32, hidden_layer_sizes=(256,), prior="aggregate", random_state=0
    )
for model in models.values():
    model.fit(table(train))

print(f"\n{'held-out sequences':28} {'log p, nats':>12} {'bits a site':>12}")
log_p = {"independent sites": independent_sites(held_out[known]).mean()}
for label, model in models.items():
    log_p[label] = model.score(table(held_out[known]))
for label, nats in log_p.items():
    print(f"{label:28} {nats:>12.1f} {-nats / np.log(2) / train.shape[1]:>12.2f}")

# %%
# Are samples like it?
# --------------------
# Which letters go together, at any two sites: the connected frequencies of samples
# against those of held-out sequences. Independent sites have a correlation of 0. The
# training sequences show what chance leaves of 1 at these numbers.

true = connected_frequencies(held_out)
print(f"\n{'connected frequencies':28} {'correlation':>12}")
agreement = {"training sequences": connected_frequencies(train)}
for label, model in models.items():
    samples = model.sample(10_000, random_state=0).to_numpy(str)
    agreement[f"samples, {label}"] = connected_frequencies(samples)
for label, frequencies in agreement.items():
    print(f"{label:28} {np.corrcoef(frequencies, true)[0, 1]:>12.3f}")

# %%
# The map
# -------
# What does a site say of the place on the map? Its mutual information with the cells of
# a grid on it. Sites that never change say nothing, and those that change at random
# little.

on_map = models["map, 2 components"]
codes = on_map.transform(table(train))
edges = [np.quantile(column, np.linspace(0, 1, 6)[1:-1]) for column in codes.T]
cell = 5 * np.digitize(codes[:, 0], edges[0]) + np.digitize(codes[:, 1], edges[1])
information = [normalized_mutual_info_score(site, cell) for site in train.T]

figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.bar(np.arange(len(information)) + 1, information)
_ = ax.set(xlabel="site", ylabel="normalised mutual information")

# %%
# Codes are coloured by the commonest letters at the site that says most; sequences with
# another letter there are grey. Ellipses say how sure the encoder is of some of them.

# sphinx_gallery_thumbnail_number = 2
letters = table(train).iloc[:, np.argmax(information)]
common = letters.value_counts().index[:6]
display = LatentSpaceDisplay.from_estimator(
    on_map, table(train), letters.where(letters.isin(common))
)

# %%

# sphinx_gallery_start_ignore
# A script keeps its pictures; in the gallery they are closed by now.
for number in plt.get_fignums():
    script = Path(__file__)
    folder = script.with_name("pictures")
    folder.mkdir(exist_ok=True)
    plt.figure(number).savefig(folder / f"{script.stem}_{number}.png", dpi=120)
    print(f"Picture: examples/pictures/{script.stem}_{number}.png")
# sphinx_gallery_end_ignore
