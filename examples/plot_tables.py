"""
========================
A mixed table with holes
========================

Numbers, labels, counts, an amount that is often zero, and holes:
:class:`~skvae.VAETransformer` takes such a table whole, and says which distribution it
has chosen for each column. This example scores a row that contradicts itself and asks
why, draws patients, with and without conditions, and fills holes beside the plainest
imputer. The patients come from a few lines of NumPy, so that what the model says can be
held against the truth.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer

from skvae import (
    FeatureScoreDisplay,
    SampleDisplay,
    ScoreDisplay,
    VAEImputer,
    VAETransformer,
)

# %%
# A table
# -------
# Maternity takes women below 45 and nobody else. Blood pressure, visits, cost and pain
# grow with a risk that is not in the table.


def make_patients(n, seed):
    """Patients without holes."""
    rng = np.random.default_rng(seed)
    age = np.clip(rng.gamma(8, 5.8, n), 18, 95).astype(int)
    is_woman = rng.random(n) < 0.5
    smokes = rng.random(n) < np.where(age < 60, 0.3, 0.12)
    expects = is_woman & (age < 45) & (rng.random(n) < 0.4)
    is_heart = rng.random(n) < (age - 15) / 130 + 0.1 * smokes
    risk = (age - 46) / 16 + 0.7 * smokes + 0.8 * is_heart + 0.5 * rng.normal(size=n)
    amount = np.exp(6.3 + 0.5 * risk + 0.5 * rng.normal(size=n)).round(2)
    is_billed = rng.random(n) < 1 / (1 + np.exp(-0.2 - 0.9 * risk))
    levels = ["none", "mild", "severe"]
    pain = np.digitize(risk + rng.normal(size=n), [0.0, 1.5])
    wards = np.where(is_heart, "cardiology", "general")
    return pd.DataFrame(
        {
            "age": age,
            "sex": np.where(is_woman, "female", "male"),
            "smoker": np.where(smokes, "yes", "no"),
            "ward": np.where(expects, "maternity", wards),
            "visits": rng.poisson(np.exp(0.4 + 0.35 * risk)),
            "pressure": (122 + 8 * risk + 7 * rng.normal(size=n)).round(1),
            "cost": np.where(is_billed, amount, 0.0),
            "pain": pd.Categorical.from_codes(pain, levels, ordered=True),
        }
    )


def with_holes(patients, shares, seed):
    """A copy with some cells missing at random."""
    rng = np.random.default_rng(seed)
    holed = patients.copy()
    for name, share in shares.items():
        holed[name] = holed[name].mask(rng.random(len(holed)) < share)
    return holed


SOME = {"smoker": 0.1, "pressure": 0.2}
train = with_holes(make_patients(3000, seed=0), SOME, seed=1)
test = with_holes(make_patients(1000, seed=2), SOME, seed=3)
print("== The table\n")
print(train.head(5).to_string())

# %%
# A model for it
# --------------
# The frame goes in as it is: no encoder, no scaler, no imputer before it, and no
# settings but the seed.

vae = VAETransformer(random_state=0).fit(train)
print("\n== likelihood_: what was chosen for each column\n")
for column in vae.likelihood_:
    levels = column["levels"] or []
    shown = ", ".join(map(str, levels[:3])) + (", ..." if levels[3:] else "")
    line = (
        f"{column['column']:10} {column['family']:12} {len(levels) or '':>4}  {shown}"
    )
    print(line.rstrip())

# %%
# A row that contradicts itself
# -----------------------------
# A man of 70, in maternity. None of his cells is rare; their combination is impossible.
# The picture has the scores of held-out rows, and his.

odd = test[(test["sex"] == "male") & test["pressure"].notna()].head(1)
odd = odd.assign(age=70, ward="maternity")
scores, odd_score = vae.score_samples(test), vae.score_samples(odd)[0]

print("== A man of 70 in maternity\n")
print(odd.to_string(index=False))
print(f"\nlog p of the row: {odd_score:.1f} nats")
print(
    f"log p of 1,000 held-out rows: median {np.median(scores):.1f}, "
    f"lowest {scores.min():.1f}; {np.mean(scores < odd_score):.1%} are lower"
)
display = ScoreDisplay(scores).plot()
display.ax_.axvline(odd_score, color="#e76300", label="the man in maternity")
_ = display.ax_.legend(loc="upper right")

# %%
# ``score_features`` takes his score apart. What a column contributes has a level of its
# own, so each is compared with the same column's in other rows.

parts, odd_parts = vae.score_features(test), vae.score_features(odd)[0]
names = [*test.columns, "(code)"]
surprise = np.median(parts, axis=0) - odd_parts
print("nats below the column's median, and held-out rows that are further below:")
for j in np.argsort(-surprise)[:3]:
    further = np.mean(parts[:, j] < odd_parts[j])
    print(f"{names[j]:10} {surprise[j]:>6.1f} {further:>7.1%}")

display = FeatureScoreDisplay.from_estimator(vae, odd, reference=test)

# %%
# Draws, and draws under a condition
# ----------------------------------
# Samples have the columns, dtypes and levels of the table. Zeros of the cost are zeros,
# ages are whole. With ``given`` some cells are fixed and the others drawn from what the
# model says of them. A rule without exceptions, such as that of maternity, is learned
# as a strong tendency: some men slip in.

samples = vae.sample(3000, random_state=0)
truth = make_patients(200_000, seed=4)
print("\n== Draws\n")
print(samples.head(3).to_string())

print(f"\n{'':34} {'made up':>8} {'drawn':>8}")
old_and_ill = vae.sample(3000, given={"age": 75, "pain": "severe"}, random_state=0)
mothers = vae.sample(3000, given={"ward": "maternity"}, random_state=0)
true_old = truth[(truth["age"].between(73, 77)) & (truth["pain"] == "severe")]
true_mothers = truth[truth["ward"] == "maternity"]
for what, real, drawn in (
    ("cost is 0, all", truth["cost"] == 0, samples["cost"] == 0),
    ("cost is 0, given 75 and severe", true_old["cost"] == 0, old_and_ill["cost"] == 0),
    ("male, given maternity", true_mothers["sex"] == "male", mothers["sex"] == "male"),
):
    print(f"{what:34} {real.mean():>8.1%} {drawn.mean():>8.1%}")
for what, real, drawn in (
    ("mean age, all, years", truth["age"], samples["age"]),
    ("mean age, given maternity, years", true_mothers["age"], mothers["age"]),
    ("pressure, given 75, severe, mmHg", true_old["pressure"], old_and_ill["pressure"]),
):
    print(f"{what:34} {real.mean():>8.1f} {drawn.mean():>8.1f}")

# %%
# Four columns by themselves, in pairs, and beside samples.

columns = ["age", "ward", "pressure", "pain"]
display = SampleDisplay.from_estimator(vae, train, features=columns, random_state=0)

# %%
# Holes
# -----
# A quarter of the cells of 1,000 patients is hidden, then filled. ``SimpleImputer``
# puts means and the most frequent labels. ``max_iter=40`` is for the sake of a short
# example: the default is about 3,000 steps, here some 200 epochs, unless rows held out
# inside stop it earlier.

complete = make_patients(1000, seed=5)
holed = with_holes(complete, dict.fromkeys(complete.columns, 0.25), seed=6)
hidden = holed.isna()
numbers = complete.select_dtypes("number").columns

fit_began = time.perf_counter()
by_vae = VAEImputer(max_iter=40, random_state=0).fit_transform(holed)
seconds = time.perf_counter() - fit_began
plain = holed.copy()
for name in holed:
    strategy = "mean" if name in numbers else "most_frequent"
    imputer = SimpleImputer(strategy=strategy)
    plain[name] = imputer.fit_transform(holed[[name]].astype(holed[name].dtype))[:, 0]


def error(name, filled):
    """Error of the filled cells over the deviation, or the share of wrong labels."""
    real, got = (table.loc[hidden[name], name] for table in (complete, filled))
    if name in numbers:
        return np.sqrt(((got - real) ** 2).mean()) / complete[name].std()
    return (got.astype(str) != real.astype(str)).mean()


errors = {name: (error(name, by_vae), error(name, plain)) for name in complete}
print(f"\n== A quarter of the cells hidden and filled ({seconds:.0f} s)")
print(
    "   (numbers: root mean squared error in standard deviations; labels: share wrong)"
)
print(f"\n{'':10} {'VAEImputer':>10} {'SimpleImputer':>14}")
for name, (ours, theirs) in errors.items():
    unit = "sd" if name in numbers else "wrong"
    print(f"{name:10} {ours:>10.2f} {theirs:>14.2f}  {unit}")
n_better = sum(ours < theirs - 0.02 for ours, theirs in errors.values())
n_worse = sum(ours > theirs + 0.02 for ours, theirs in errors.values())
print(
    f"VAEImputer is better by more than 0.02 on {n_better} columns of {len(errors)}, "
    f"worse on {n_worse}."
)

units = ["sd" if name in numbers else "wrong" for name in errors]
ticks = [f"{name}\n({unit})" for name, unit in zip(errors, units, strict=True)]
bars = pd.DataFrame(errors.values(), ticks, ["VAEImputer", "SimpleImputer"])
figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
bars.plot.bar(ax=ax, rot=0, color=["#3f90da", "#94a4a2"])
_ = ax.set(ylabel="error of filled cells", ylim=(0, 1.3))

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
