"""The fits of the speed benchmark: the textbook's, those of the peers, and ours.

Widths, epochs, batch size and activation (relu) are equal, the optimiser is Adam with
learning rate 1e-3, and nothing is held out. The first lines of the docstrings are
printed as the configurations.
"""

import functools
import importlib.util
import itertools
import math
import warnings
from unittest import mock

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler
from speed_timing import NO_PATH, OURS
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from skvae import VAETransformer
from skvae.core import backward
from skvae.likelihoods import Bernoulli, Gaussian
from skvae.networks import MLP

TEXTBOOK = "textbook loop"
LEARNING_RATE = 1e-3


# ---- the textbook -------------------------------------------------------------------


class TextbookVAE(nn.Module):
    def __init__(self, n_inputs, sizes, n_components, n_outputs):
        super().__init__()
        self.encoder = hidden_layers((n_inputs, *sizes))
        self.mu = nn.Linear(sizes[-1], n_components)
        self.log_var = nn.Linear(sizes[-1], n_components)
        self.decoder = hidden_layers((n_components, *sizes[::-1]))
        self.output = nn.Linear(sizes[0], n_outputs)

    def forward(self, x):
        mu, log_var = self.encode(x)
        z = mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)
        return self.decode(z), mu, log_var

    def encode(self, x):
        hidden = self.encoder(x)
        return self.mu(hidden), self.log_var(hidden)

    def decode(self, z):
        return self.output(self.decoder(z))


def hidden_layers(widths):
    layers = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers)


def make_textbook(workload):
    """The module of a workload, with random weights."""
    return TextbookVAE(
        workload.n_columns, workload.sizes, workload.n_components, workload.n_columns
    )


def textbook_loss(x, reconstruction, mu, log_var, binary):
    if binary:
        error = functional.binary_cross_entropy_with_logits(
            reconstruction, x, reduction="sum"
        )
    else:
        error = functional.mse_loss(reconstruction, x, reduction="sum")
    return (error + divergence(mu, log_var)) / len(x)


def divergence(mu, log_var):
    return -0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())


def prepared(workload, X):
    """Float32 rows, standardised unless they are 0 and 1."""
    if not workload.binary:
        X = StandardScaler().fit_transform(X)
    return X.astype(np.float32)


def fit_textbook(workload, X, seed):
    """Modules, shuffling DataLoader, torch.optim.Adam, loss.item() at every step."""
    torch.manual_seed(seed)
    rows = torch.from_numpy(prepared(workload, X))
    batches = DataLoader(TensorDataset(rows), workload.batch_size, shuffle=True)
    model = make_textbook(workload)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    curve = []
    for _ in range(workload.n_epochs):
        total = 0.0
        for (x,) in batches:
            optimizer.zero_grad()
            loss = textbook_loss(x, *model(x), workload.binary)
            loss.backward()
            optimizer.step()
            total += loss.item()
        curve.append(total / len(batches))
    return curve


# ---- the peers ----------------------------------------------------------------------


def fit_pyod(workload, X, seed):
    """Squared error also for 0 and 1; no weight decay, no dropout; KL unclamped."""
    from pyod.models.vae import VAE

    detector = VAE(
        preprocessing=not workload.binary,
        lr=LEARNING_RATE,
        epoch_num=workload.n_epochs,
        batch_size=workload.batch_size,
        random_state=seed,
        verbose=0,
        optimizer_params={},
        capacity=math.inf,
        encoder_neuron_list=list(workload.sizes),
        decoder_neuron_list=list(workload.sizes[::-1]),
        latent_dim=workload.n_components,
        hidden_activation_name="relu",
        dropout_rate=0.0,
    )
    detector.fit(X)


def fit_pythae(workload, X, seed):
    """VAE and BaseTrainer without callbacks or logs; it saves the model at the end."""
    import speed_pythae

    speed_pythae.fit(workload, prepared(workload, X), seed, LEARNING_RATE)


def fit_skorch(workload, X, seed):
    """NeuralNet around the textbook's module and loss, with its default callbacks."""
    from skorch import NeuralNet

    class Net(NeuralNet):
        def get_loss(self, y_pred, y_true, X=None, training=False):
            return textbook_loss(X, *y_pred, workload.binary)

    torch.manual_seed(seed)
    net = Net(
        functools.partial(make_textbook, workload),
        criterion=nn.MSELoss,  # asked for, but get_loss does without
        optimizer=torch.optim.Adam,
        lr=LEARNING_RATE,
        max_epochs=workload.n_epochs,
        batch_size=workload.batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    net.fit(prepared(workload, X))


def fit_regressor(workload, X, seed):
    """MLPRegressor(X, X) in float32: no code is drawn, the loss is squared error."""
    rows = prepared(workload, X)
    model = MLPRegressor(
        hidden_layer_sizes=(
            *workload.sizes,
            workload.n_components,
            *workload.sizes[::-1],
        ),
        learning_rate_init=LEARNING_RATE,
        batch_size=workload.batch_size,
        max_iter=workload.n_epochs,
        n_iter_no_change=workload.n_epochs + 1,
        tol=0.0,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows, rows)


#: Fits that need a package of the extra `bench`, and the package.
PEERS = {
    "PyOD VAE": ("pyod", fit_pyod),
    "pythae": ("pythae", fit_pythae),
    "skorch": ("skorch", fit_skorch),
}


def missing_packages():
    packages = (package for package, _ in PEERS.values())
    return [name for name in packages if importlib.util.find_spec(name) is None]


# ---- ours ---------------------------------------------------------------------------


def make_ours(workload, seed, *, linear_path=True, activation="relu"):
    """The estimator of a workload."""
    return VAETransformer(
        workload.n_components,
        network=MLP(workload.sizes, activation=activation, linear_path=linear_path),
        likelihood=Bernoulli() if workload.binary else Gaussian("feature"),
        learning_rate=LEARNING_RATE,
        batch_size=workload.batch_size,
        max_iter=workload.n_epochs,
        early_stopping=False,
        random_state=seed,
    )


def fit_ours(workload, X, seed, **options):
    """VAETransformer; numbers have a learned scale for every column."""
    return make_ours(workload, seed, **options).fit(X)


def fit_by_autograd(workload, X, seed):
    """The same, its gradients by automatic differentiation."""
    with mock.patch.object(backward, "covers", return_value=False):
        fit_ours(workload, X, seed)


def contenders():
    """All fits that can be made here, by name: called with workload, rows and seed."""
    missing = missing_packages()
    peers = {
        name: fit for name, (package, fit) in PEERS.items() if package not in missing
    }
    return {
        TEXTBOOK: fit_textbook,
        **peers,
        "MLPRegressor, float32": fit_regressor,
        OURS: fit_ours,
        OURS + NO_PATH: functools.partial(fit_ours, linear_path=False),
        f"{OURS}, silu": functools.partial(fit_ours, activation="silu"),
        f"{OURS}, by autograd": fit_by_autograd,
    }
