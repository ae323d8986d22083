"""The picture of an estimator in a notebook: tooltips, links, and that it is cheap.

scikit-learn shows a tooltip only beside a link, and takes its text from the sections
Parameters and Attributes of the class docstring.
"""

import html
import pickle
import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skvae import AETransformer, VAEImputer, VAEOutlierDetector, VAETransformer
from skvae.fitted import FittedModel

random = np.random.default_rng(0)
X = pd.DataFrame(random.normal(size=(60, 1)) + random.normal(size=(60, 4)) / 3)
X.columns = ["a", "b", "c", "d"]
ESTIMATORS = [AETransformer, VAEImputer, VAEOutlierDetector, VAETransformer]
ROOT = Path(__file__).resolve().parent.parent
#: Where the documentation is published, as the package's own data say.
SITE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
TOOLTIP = re.compile(
    r'href="(?P<link>[^"]*)">\s*(?P<name>\w+)\s*'
    r'<span class="param-doc-description"[^>]*>\s*(?P<text>.*?)</span>',
    re.DOTALL,
)


@pytest.fixture(scope="module", params=ESTIMATORS, ids=lambda kind: kind.__name__)
def fitted(request):
    return request.param(n_components=2, max_iter=2, random_state=0).fit(X)


def tooltips(estimator):
    found = TOOLTIP.finditer(estimator._repr_html_())
    return {match["name"]: html.unescape(match["text"]) for match in found}


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_every_parameter_has_its_tooltip(kind):
    texts = tooltips(kind())
    assert texts.keys() == kind().get_params().keys()
    for name, text in texts.items():
        assert re.match(rf"{name}: .*default=.*<br><br>[A-Z\"`].*\.$", text), text


def test_every_fitted_attribute_has_its_tooltip(fitted):
    names = {name for name in vars(fitted) if re.fullmatch(r"[^_]\w*_", name)}
    texts = tooltips(fitted)
    assert texts.keys() == names | fitted.get_params().keys()
    for name in names:
        assert re.match(rf"{name}: \w.*<br><br>.*\.$", texts[name]), texts[name]


def test_text_is_that_of_the_docstring():
    texts = tooltips(VAETransformer())
    assert texts["tol"] == "tol: float, default=1e-4<br><br>In nats per row."
    assert texts["init"].split("<br>")[0] == 'init: {"pca", "random"}, default="pca"'


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_links_lead_to_the_page_of_the_class(kind):
    links = {match["link"] for match in TOOLTIP.finditer(kind()._repr_html_())}
    page = f"api/generated/skvae.{kind.__name__}.html"
    assert {link.split("#")[0] for link in links} == {
        f"{SITE['Documentation']}/en/stable/{page}"
    }


def test_subclasses_of_others_have_no_link():
    class Theirs(VAETransformer):
        pass

    Theirs.__module__ = "theirs"
    assert tooltips(Theirs()) == {}


def test_a_fitted_model_is_not_run(fitted, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a picture needs no model")

    estimator = pickle.loads(pickle.dumps(fitted))  # keeps no model
    monkeypatch.setattr(FittedModel, "__init__", refuse)
    with pytest.raises(AssertionError, match="no model"):
        estimator._fitted_model(np.float64)
    page = estimator._repr_html_()
    assert "Fitted attributes" in page
    if hasattr(estimator, "get_feature_names_out"):
        for name in estimator.get_feature_names_out():
            assert name in page
