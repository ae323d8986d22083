"""A user's own modules: the same map, never changed, and refused where they must be."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_wine
from torch import nn

from skvae import VAETransformer
from skvae.networks import Modules

X = load_wine().data
N_FEATURES, N_COMPONENTS = X.shape[1], 3
N_CODE, N_OUT = 2 * N_COMPONENTS, 2 * N_FEATURES


@pytest.fixture(autouse=True)
def seeded():
    """The same parameters each time, and the caller's generator left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def encoder(width=7):
    return nn.Sequential(
        nn.Linear(N_FEATURES, width),
        nn.LayerNorm(width),
        nn.Tanh(),
        nn.Linear(width, N_CODE),
    )


def decoder():
    return nn.Sequential(nn.Linear(N_COMPONENTS, 7), nn.SiLU(), nn.Linear(7, N_OUT))


class Function(nn.Module):
    """A function of rows as a module, for what no layer of torch does."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


class Gated(nn.Module):
    """Recurrent over columns, and a gate without dimensions."""

    def __init__(self):
        super().__init__()
        self.cells = nn.GRU(1, 5, batch_first=True)
        self.read = nn.Linear(5, N_CODE)
        self.gate = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        _, last = self.cells(x.unsqueeze(-1))
        return self.gate * self.read(last.squeeze(0))


class Tied(nn.Module):
    """One matrix, read forwards and back."""

    def __init__(self):
        super().__init__()
        self.there = nn.Linear(N_FEATURES, N_FEATURES)
        self.again = nn.Linear(N_FEATURES, N_FEATURES)
        self.again.weight = self.there.weight
        self.read = nn.Linear(N_FEATURES, N_CODE)

    def forward(self, x):
        return self.read(self.again(torch.tanh(self.there(x))))


class WithHead(nn.Module):
    """Parameters that have no part in the outputs."""

    def __init__(self):
        super().__init__()
        self.read = nn.Linear(N_FEATURES, N_CODE)
        self.head = nn.Linear(N_CODE, 1)

    def forward(self, x):
        return self.read(x)


class InEvaluation(nn.Linear):
    """Fails in training mode."""

    def forward(self, x):
        assert not self.training
        return super().forward(x)


def small(network, **parameters):
    return VAETransformer(
        N_COMPONENTS, network=network, random_state=0, **{"max_iter": 2, **parameters}
    )


def started(network):
    """First weights of a network, in float64."""
    weights = {
        name: torch.empty(shape, dtype=torch.float64)
        for name, shape in network.shapes.items()
    }
    network.start_random(weights, torch.Generator())
    return weights


# ---- the same map --------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [encoder, Gated, Tied, lambda: InEvaluation(N_FEATURES, N_CODE)]
)
def test_outputs_are_those_of_the_module(make):
    module = make()
    network = Modules(module, decoder()).encoder(N_FEATURES, N_COMPONENTS, N_COMPONENTS)
    x = torch.randn(9, N_FEATURES, dtype=torch.float64)
    outputs = torch.cat(network(started(network), x), 1)
    expected = copy.deepcopy(module).double().eval()(x)
    torch.testing.assert_close(outputs, expected)


@pytest.mark.parametrize("make", [encoder, Gated, Tied])
def test_members_of_an_ensemble_are_those_of_the_module(make):
    modules = [make().double(), make().double()]
    networks = [
        Modules(module, decoder()).encoder(N_FEATURES, N_COMPONENTS, N_COMPONENTS)
        for module in modules
    ]
    first, second = map(started, networks)
    weights = {name: torch.stack([first[name], second[name]]) for name in first}
    x = torch.randn(2, 9, N_FEATURES, dtype=torch.float64)
    outputs = torch.cat(networks[0](weights, x), -1)
    for module, found, rows in zip(modules, outputs, x, strict=True):
        torch.testing.assert_close(found, module(rows))


def test_training_starts_where_the_modules_are():
    module = encoder()
    # Steps that are too short to be seen.
    still = {"learning_rate": 1e-12, "early_stopping": False}
    model = small(Modules(module, decoder()), **still).fit(X)
    standardized = torch.tensor((X - X.mean(0)) / X.std(0))
    means = module.double()(standardized)[:, :N_COMPONENTS].numpy(force=True)
    np.testing.assert_allclose(model.transform(X), means, atol=1e-5)


def test_training_improves_on_the_start():
    network = Modules(encoder(), decoder())
    before = small(network, learning_rate=1e-12).fit(X).score(X)
    assert small(network, max_iter=30).fit(X).score(X) > before + 1


@pytest.mark.parametrize("make", [Gated, Tied, WithHead, encoder])
def test_modules_of_all_kinds_are_trained(make):
    network = Modules(make(), decoder())
    assert np.isfinite(small(network).fit(X).score_samples(X)).all()


# ---- whose they are ------------------------------------------------------------------


def test_the_given_modules_are_never_changed():
    modules = encoder(), decoder()
    before = copy.deepcopy([module.state_dict() for module in modules])
    small(Modules(*modules)).fit(X).score(X)
    for module, state in zip(modules, before, strict=True):
        assert module.training
        for name, parameter in module.named_parameters():
            assert torch.equal(parameter, state[name])
            assert parameter.requires_grad


def test_changes_to_the_given_modules_do_not_reach_the_settings():
    module = encoder()
    settings = Modules(module, decoder())
    before = started(settings.encoder(N_FEATURES, N_COMPONENTS, N_COMPONENTS))
    with torch.no_grad():
        module[0].weight.zero_()
    module[2] = nn.ReLU()
    after = started(settings.encoder(N_FEATURES, N_COMPONENTS, N_COMPONENTS))
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert "Tanh" in repr(settings)


def test_clones_and_copies_are_equal():
    settings = Modules(encoder(), decoder())
    model = small(settings).fit(X)
    assert clone(model).network == settings
    np.testing.assert_array_equal(clone(model).fit(X).transform(X), model.transform(X))
    for same in (
        clone(settings),
        copy.deepcopy(settings),
        pickle.loads(pickle.dumps(settings)),
        Modules(**settings.get_params()),
    ):
        assert same == settings
        assert hash(same) == hash(settings)


def fixed(module):
    return module.requires_grad_(False)


@pytest.mark.parametrize(
    "other",
    [
        Modules(encoder(8), decoder()),
        Modules(encoder(), nn.Linear(N_COMPONENTS, N_OUT)),
        Modules(fixed(encoder()), decoder()),
        "mlp",
    ],
    ids=["width", "layers", "fixed", "name"],
)
def test_others_are_not(other):
    assert Modules(encoder(), decoder()) != other


def test_first_values_are_no_part_of_the_network_but_fixed_ones_are():
    assert Modules(encoder(), decoder()) == Modules(encoder(), decoder())
    ours, theirs = (Modules(fixed(encoder()), decoder()) for _ in range(2))
    assert ours != theirs
    assert ours == pickle.loads(pickle.dumps(ours))


def test_going_on_after_a_reload():
    settings = Modules(encoder(), decoder())
    model = small(settings, warm_start=True).fit(X)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.fit(X).transform(X), model.fit(X).transform(X))
    other = Modules(encoder(8), decoder())
    with pytest.raises(ValueError, match="network"):
        model.set_params(network=other).partial_fit(X)


def test_parameters_without_gradient_stay_as_they_are():
    module = encoder()
    fixed(module[0])
    network = Modules(module, decoder())
    function = network.encoder(N_FEATURES, N_COMPONENTS, N_COMPONENTS)
    assert set(function.shapes) == {"1.weight", "1.bias", "3.weight", "3.bias"}
    # What the first layer gives, and nothing else of a row, decides on its code.
    model = small(network, early_stopping=False).fit(X)
    kernel = np.linalg.svd(module[0].weight.numpy(force=True).astype(np.float64))[2][7:]
    scaled = kernel * X.std(0)
    np.testing.assert_allclose(
        model.transform(X[:1] + scaled), model.transform(X[:1]).repeat(6, 0), atol=1e-5
    )


# ---- refused -------------------------------------------------------------------------

REFUSED = {
    "no_module": (lambda: torch.tanh, "torch.nn.Module"),
    "batch_norm": (
        lambda: nn.Sequential(nn.BatchNorm1d(N_FEATURES), encoder()),
        r"buffers.*0\.running_mean.*LayerNorm",
    ),
    "dropout": (
        lambda: nn.Sequential(nn.Dropout(0.2), encoder()),
        "dropout at 0.2.*'0'.*evaluation mode",
    ),
    "recurrent_dropout": (
        lambda: nn.GRU(N_FEATURES, N_CODE, num_layers=2, dropout=0.1),
        "dropout at 0.1",
    ),
    "lazy": (lambda: nn.LazyLinear(N_CODE), "lazy.*call the module once"),
}
REFUSED_IN_FIT = {
    "too_narrow": (
        lambda: nn.Linear(N_FEATURES, N_COMPONENTS),
        "must give 6 outputs a row, 3 locations and then 3 others.*gave 3",
    ),
    "other_columns": (lambda: nn.Linear(5, N_CODE), "rows of 13 numbers.*shapes"),
    "a_tuple": (
        lambda: nn.LSTM(N_FEATURES, N_CODE),
        "6 outputs a row.*gave a tuple",
    ),
    "one_dimension": (
        lambda: Function(lambda self, x: x.mean(1)),
        r"gave a tensor of shape \(3,\) for 3 row",
    ),
    "no_single_rows": (
        lambda: Function(lambda self, x: x[:, :N_CODE].squeeze()),
        r"gave a tensor of shape \(6,\) for 1 row",
    ),
    "looks_across_rows": (
        lambda: Function(lambda self, x: (x - x.mean(0))[:, :N_CODE]),
        "other outputs by itself",
    ),
    "norm_across_rows": (
        lambda: nn.Sequential(
            nn.Linear(N_FEATURES, N_CODE),
            Function(
                lambda self, x: self.norm(x.repeat(2, 1))[: len(x)],
                norm=nn.BatchNorm1d(N_CODE, track_running_stats=False),
            ),
        ),
        "other outputs by itself.*BatchNorm",
    ),
    "draws": (
        lambda: Function(lambda self, x: x[:, :N_CODE] + torch.rand(1)),
        "other outputs by itself.*at random",
    ),
    "one_precision": (
        lambda: Function(lambda self, x: x @ torch.ones(N_FEATURES, N_CODE)),
        "in float64",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_modules_that_cannot_be_networks(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"(?s)encoder_module.*{message}"):
        Modules(make(), decoder())
    with pytest.raises(ValueError, match=f"(?s)decoder_module.*{message}"):
        Modules(encoder(), make())


@pytest.mark.parametrize("name", REFUSED_IN_FIT)
def test_modules_that_are_not_the_map_that_is_needed(name):
    make, message = REFUSED_IN_FIT[name]
    with pytest.raises(ValueError, match=f"(?s)encoder_module.*{message}"):
        small(Modules(make(), decoder())).fit(X)


def test_the_width_that_the_likelihood_needs_is_named():
    network = Modules(encoder(), nn.Linear(N_COMPONENTS, N_FEATURES))
    message = "decoder_module .* 26 outputs a row, 13 locations and then 13 .* gave 13"
    with pytest.raises(ValueError, match=message):
        small(network).fit(X)
    binary = (X > X.mean(0)).astype(float)
    assert np.isfinite(small(network, likelihood="bernoulli").fit(binary).score(binary))
