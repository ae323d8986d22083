"""Docstrings: what is public has a type, a shape, a unit and a default, and truly so.

numpydoc validates the form. The rest is compared with the code: defaults with
signatures, errors with the source, attributes with fitted and drawn objects.
"""

import ast
import functools
import inspect
import re
import textwrap
from dataclasses import is_dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from numpydoc.docscrape import NumpyDocString, get_doc_object
from numpydoc.validate import Validator, validate
from sklearn.base import BaseEstimator

import skvae
from skvae import callbacks, likelihoods, networks, objectives, posteriors, priors

PLACES = (
    "skvae",
    "skvae.likelihoods",
    "skvae.posteriors",
    "skvae.priors",
    "skvae.networks",
    "skvae.objectives",
    "skvae.optimizers",
    "skvae.callbacks",
    "skvae.onnx",
    "skvae.persistence",
    "skvae.coding",
    "skvae.inspection",
    "skvae.inference",
    "skvae.latent",
    "skvae.display",
    *(["skvae.ray"] if find_spec("ray") else []),
)
#: Codes of numpydoc that may occur, and why.
ALLOWED = {
    "ES01",  # a summary that says all is enough
    "SA01",  # not everything has relatives
    "EX01",  # `example` asks it of classes and functions; methods need none
    "RT02",  # what is returned has a name, as parameters have
    "SS05",  # a plural, as in "Codes of rows.", is taken for a verb
}
SECTIONS = ("Parameters", "Attributes", "Returns", "Yields")
#: Types that have a shape, unless they are the values of a dict.
ARRAYS = re.compile(r"\b(ndarray|array|Tensor|(sparse|CSR) matrix|[Dd]ata ?[Ff]rame)\b")
#: What names of entries stand for, and words of which one says the unit.
UNITS = {
    r"\w*scores?_?|\w+_curve_?|tol": "nats|`unit`|standardised units|share",
    r"contributions|medians|loss|total": "nats|`unit`",
    r"log_(prior|prob|likelihood|ratio|density)\w*|entropy": "nats",
    r"kl(_per_component)?_?|elbo\w*|reconstruction|\w*nats": "nats",
    r"mutual_information|aggregate_kl|information_limit|\w+_gap": "nats",
    r"\w*bits": "bits",
    r"errors?|scale|floor|distortion|bandwidth|epsilon": "unit|standardised",
}


class Item(NamedTuple):
    """A public class or function, or a member that a class defines."""

    name: str
    owner: Any
    member: str | None = None

    @property
    def code(self):
        """The class, function or property itself."""
        if self.member is None:
            return self.owner
        found = vars(self.owner)[self.member]
        return getattr(found, "__func__", found)  # of a class method

    @property
    def text(self):
        """Its docstring, as help() has it: that of the base where it has none."""
        if self.member is None:
            return self.owner.__doc__ or ""
        versions = (vars(base).get(self.member) for base in self.owner.__mro__)
        kept = (part for part in versions if is_method(part) or is_property(part))
        return next((part.__doc__ for part in kept if part.__doc__), "")

    def sections(self):
        return NumpyDocString(inspect.cleandoc(self.text))

    def entries(self):
        """Name, type and description of whatever is listed."""
        sections = self.sections()
        for section in SECTIONS:
            for names, kind, lines in sections[section]:
                for name in names.split(", "):
                    yield name, kind, " ".join(lines)


def is_ours(base):
    return base.__module__.startswith("skvae")


def is_method(value):
    return inspect.isfunction(value) or isinstance(value, classmethod | staticmethod)


def is_property(value):
    return isinstance(value, property | functools.cached_property)


def public_objects():
    for place in PLACES:
        module = import_module(place)
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.isclass(found) or inspect.isfunction(found):
                yield found


def walk():
    """Every public class and function, and the members that our classes define."""
    for found in public_objects():
        short = f"{found.__module__}.{found.__qualname__}".removeprefix("skvae.")
        yield Item(short, found)
        for base in inspect.getmro(found) if inspect.isclass(found) else ():
            if not is_ours(base):
                continue
            short = f"{base.__module__}.{base.__qualname__}".removeprefix("skvae.")
            for name, value in vars(base).items():
                is_public = not name.startswith("_") or name == "__call__"
                if is_public and (is_method(value) or is_property(value)):
                    yield Item(f"{short}.{name}", base, name)


ITEMS = {item.name: item for item in walk()}
#: Of estimators, the attributes of fits are looked at.
CLASSES = {
    item.name: item.owner
    for item in ITEMS.values()
    if item.member is None
    and inspect.isclass(item.owner)
    and not issubclass(item.owner, BaseEstimator)
}


# ---- what a docstring may lack -------------------------------------------------------


class AsHelpHasIt(Validator):
    """numpydoc's validator, of docstrings that may be inherited."""

    def __init__(self, obj_name, item):
        doc = inspect.cleandoc(item.text)
        config = {"show_class_members": False}
        super().__init__(get_doc_object(item.code, doc=doc, config=config))
        self.raw_doc = item.text

    @property
    def signature_parameters(self):
        is_protocol = getattr(self.obj, "_is_protocol", False)
        return () if is_protocol else super().signature_parameters

    @property
    def doc_all_parameters(self):
        """Results and other records list their fields as attributes."""
        listed = super().doc_all_parameters
        if listed or not inspect.isclass(self.obj):
            return listed
        attributes = self._doc_parameters(["Attributes"])
        fields = self.signature_parameters
        return {name: entry for name, entry in attributes.items() if name in fields}


def form(item):
    errors = validate("", AsHelpHasIt, item=item)["errors"]
    yield from (f"{code}: {words}" for code, words in errors if code not in ALLOWED)


def entries(item):
    """A type, a description, and the shape of an array."""
    for name, kind, description in item.entries():
        if not kind:
            yield f"{name} has no type"
        if not re.match(r"[^a-z].*\.$", description):
            yield f"{name} has no description that begins and ends as a sentence does"
        if ARRAYS.search(kind) and "of shape" not in kind and "dict of" not in kind:
            yield f"{name} has no shape"


def units(item):
    listed = list(item.entries())
    if is_property(item.code):
        listed.append((item.member, "", item.text))
    for name, _, description in listed:
        for names, words in UNITS.items():
            if re.fullmatch(names, name) and not re.search(words, description):
                yield f"{name} has no unit, as one of {words}"


def defaults(item):
    """That of the signature, and none where there is none."""
    if is_property(item.code) or not item.sections()["Parameters"]:
        return
    signature = inspect.signature(item.code).parameters
    for names, kind, _ in item.sections()["Parameters"]:
        stated = re.search(r"default=(.*)", kind)
        for name in names.split(", "):
            default = signature[name].default if name in signature else None
            if default is inspect.Parameter.empty:
                if stated:
                    yield f"{name} has no default"
            elif stated is None:
                if kind != "Ignored" and not name.startswith("*"):
                    yield f"the default of {name} is not stated"
            elif eval(stated[1], {"numpy": np}) != default:
                yield f"{name} has default={default!r}, not {stated[1]}"


def errors(item):
    """Those raised in the code itself; for a class, in its constructor."""
    code = getattr(item.code, "fget", None) or getattr(item.code, "func", item.code)
    if inspect.isclass(code):
        constructor = "__post_init__" if is_dataclass(code) else "__init__"
        code = vars(code).get(constructor)
    if not inspect.isfunction(code) or not is_ours(code):
        return
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(code))).body
    if isinstance(function.body[-1], ast.Raise) and len(function.body) <= 2:
        return  # for families to define
    stated = " ".join(kind for _, kind, _ in item.sections()["Raises"])
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = ast.unparse(node.exc.func)
            if name not in stated:
                yield f"raises {name}, and does not say so"


def example(item):
    if item.member is None and not item.sections()["Examples"]:
        yield "has no example"


def faults(item):
    return [
        fault
        for check in (form, entries, units, defaults, errors, example)
        for fault in check(item)
    ]


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
def test_docstring_is_whole(item):
    assert faults(item) == []


# ---- what there is, and what is said to be -------------------------------------------


def documented(owner, *sections):
    """Names that a class, or a base of it, lists in these sections."""
    return {
        name
        for base in inspect.getmro(owner)
        if is_ours(base)
        for section in sections
        for names, *_ in NumpyDocString(inspect.getdoc(base) or "")[section]
        for name in names.split(", ")
    }


def public_attributes(owner):
    """Properties and constants of a class and of our bases of it."""
    return {
        name
        for base in inspect.getmro(owner)
        if is_ours(base)
        for name, value in vars(base).items()
        if not name.startswith("_") and not is_method(value)
    }


@pytest.mark.parametrize("owner", CLASSES.values(), ids=CLASSES)
def test_attributes_of_classes_are_listed(owner):
    listed = documented(owner, "Parameters", "Attributes")
    # In a list numpydoc would link it to the method `bound` of priors.
    elsewhere = {"bound"} if issubclass(owner, objectives.Objective) else set()
    assert public_attributes(owner) - listed == elsewhere


def public_names(thing):
    return {name for name in vars(thing) if not name.startswith("_")}


def fitted_names(thing):
    return {name for name in public_names(thing) if name.endswith("_")}


random = np.random.default_rng(0)
#: A frame, so that columns have names, whose columns have one direction in common.
X = pd.DataFrame(random.normal(size=(60, 1)) + random.normal(size=(60, 4)) / 3)
X.columns = ["a", "b", "c", "d"]
ESTIMATORS = "AETransformer", "VAEImputer", "VAEOutlierDetector", "VAETransformer"
QUICK = {"n_components": 2, "max_iter": 2, "random_state": 0}


@functools.cache
def fitted(name):
    return getattr(skvae, name)(**QUICK).fit(X)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_attributes_of_fits_are_those_listed(name):
    estimator = fitted(name)
    assert fitted_names(estimator) == documented(type(estimator), "Attributes")


TYPES = {"int": int, "float": float, "dict": dict}


def is_as_said(kind, value):
    """Whether a value has the type that is listed, and an array as many dimensions."""
    if kind.startswith("ndarray"):
        shape = re.search(r"of shape \((.*?)\)", kind)[1]
        return value.ndim == len([size for size in shape.split(",") if size])
    if kind.startswith("list of "):
        kind = kind.removeprefix("list of ")
        return all(type(part) is TYPES[kind] for part in value)
    return type(value) is TYPES[kind]


@pytest.mark.parametrize(
    "make",
    [
        *(functools.partial(fitted, name) for name in ESTIMATORS),
        lambda: skvae.diagnostics(fitted("VAETransformer"), X),
        lambda: skvae.compression(fitted("VAETransformer"), X),
        lambda: skvae.inference_gap(fitted("VAETransformer"), X, n_steps=1),
    ],
    ids=[*ESTIMATORS, "Diagnostics", "Compression", "InferenceGap"],
)
def test_attributes_are_of_the_type_that_is_said(make):
    thing = make()
    entries = Item("", type(thing)).sections()["Attributes"]
    assert entries
    for name, kind, _ in entries:
        assert is_as_said(kind, getattr(thing, name)), name


@pytest.mark.parametrize("name", [name for name in skvae.__all__ if "Display" in name])
def test_attributes_of_displays_are_those_listed(name):
    owner = getattr(skvae, name)
    rows = () if name == "LossCurveDisplay" else (X,)
    display = owner.from_estimator(fitted("VAETransformer"), *rows)
    plt.close("all")
    listed = documented(owner, "Attributes")
    assert fitted_names(display) == {name for name in listed if name.endswith("_")}
    assert public_names(display) - listed == documented(owner, "Parameters")


zeros = torch.zeros(5, 2)
codes, prior = posteriors.Gaussian()(zeros, zeros), priors.Gaussian()
#: Objects that are no dataclasses, whose attributes no signature lists.
THINGS = (
    callbacks.LogLikelihoodMonitor(),
    callbacks.OptunaPruning(optuna.create_study(direction="maximize")),
    likelihoods.Blocks([(likelihoods.Gaussian(), 2)]),
    networks.MLP().encoder(4, 2, 2),
    objectives.Terms(torch.zeros(1, 5), codes, prior, torch.zeros(1, 5, 2)),
    priors.MixtureOfCodes(codes, posteriors.Gaussian()),
    priors.MixtureOfNormals(zeros, zeros),
    priors.OfMembers([prior]),
)


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: type(thing).__name__)
def test_attributes_of_objects_are_listed(thing):
    listed = documented(type(thing), "Parameters", "Attributes")
    assert public_names(thing) - listed == set()


# ---- that faults are found -----------------------------------------------------------

INTERPOLATE, SCORES = "latent.interpolate", "transformer.VAETransformer.score_samples"


@pytest.mark.parametrize(
    ("name", "whole", "broken", "fault"),
    [
        (INTERPOLATE, "    n : int", "    m : int", "PR02: Unknown parameters {'m'}"),
        (INTERPOLATE, "Number of codes, 2 or more.", "", 'PR07: Parameter "n" has no'),
        (INTERPOLATE, " of shape (n, n_components)", "", "Z has no shape"),
        (INTERPOLATE, "default=False", "default=True", "has default=False, not True"),
        (INTERPOLATE, ", default=False", "", "default of spherical is not stated"),
        (INTERPOLATE, "    n : int", "    n : int, default=2", "n has no default"),
        (INTERPOLATE, "    ValueError", "    TypeError", "raises ValueError, and does"),
        (
            INTERPOLATE,
            "    Examples\n    --------",
            "    Notes\n    -----",
            "no example",
        ),
        (
            SCORES,
            "Returns\n        -------",
            "Notes\n        -----",
            "RT01: No Returns",
        ),
        (SCORES, "in nats, ", "", "log_likelihood has no unit"),
        ("inspection.Diagnostics", "    kl : float", "    d : float", "PR01: Param"),
    ],
)
def test_faults_are_found(name, whole, broken, fault, monkeypatch):
    item = ITEMS[name]
    assert whole in item.code.__doc__
    monkeypatch.setattr(item.code, "__doc__", item.code.__doc__.replace(whole, broken))
    assert any(fault in found for found in faults(item))


def test_faults_of_the_base_are_found_in_the_override(monkeypatch):
    monkeypatch.setattr(posteriors.Posterior.carry, "__doc__", "Noise.\n")
    found = faults(ITEMS["posteriors.location_scale.Cauchy.carry"])
    assert any("PR01" in fault for fault in found)


def test_attributes_that_are_not_there_are_found(monkeypatch):
    owner = skvae.VAETransformer
    estimator = fitted(owner.__name__)
    broken = owner.__doc__.replace("n_iter_ : int", "n_epochs_ : int")
    monkeypatch.setattr(owner, "__doc__", broken)
    listed = documented(owner, "Attributes")
    assert listed ^ fitted_names(estimator) == {"n_iter_", "n_epochs_"}
