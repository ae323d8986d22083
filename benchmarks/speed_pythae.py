"""The fit by pythae, which wants networks derived from its own."""

import logging
import tempfile

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import CallbackHandler, TrainingCallback
from speed_contenders import make_textbook


class Encoder(BaseEncoder):
    def __init__(self, textbook):
        super().__init__()
        self.hidden, self.mu = textbook.encoder, textbook.mu
        self.log_var = textbook.log_var

    def forward(self, x):
        hidden = self.hidden(x)
        return ModelOutput(
            embedding=self.mu(hidden), log_covariance=self.log_var(hidden)
        )


class Decoder(BaseDecoder):
    def __init__(self, textbook, binary):
        super().__init__()
        self.hidden, self.output = textbook.decoder, textbook.output
        self.binary = binary

    def forward(self, z):
        outputs = self.output(self.hidden(z))
        return ModelOutput(reconstruction=outputs.sigmoid() if self.binary else outputs)


class Quiet(BaseTrainer):
    """Without the progress bar, which takes time."""

    def _setup_callbacks(self):
        self.callback_handler = CallbackHandler([TrainingCallback()], self.model)


def fit(workload, rows, seed, learning_rate):
    """Train on float32 rows; what is saved goes to a folder that is removed."""
    logging.disable(logging.INFO)  # each of its loggers sets a level of its own
    torch.manual_seed(seed)
    textbook = make_textbook(workload)
    config = VAEConfig(
        input_dim=(workload.n_columns,),
        latent_dim=workload.n_components,
        reconstruction_loss="bce" if workload.binary else "mse",
    )
    model = VAE(config, Encoder(textbook), Decoder(textbook, workload.binary))
    rows = torch.from_numpy(rows)
    with tempfile.TemporaryDirectory() as folder:
        plan = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=workload.batch_size,
            num_epochs=workload.n_epochs,
            learning_rate=learning_rate,
            seed=seed,
            no_cuda=True,
        )
        dataset = BaseDataset(rows, torch.zeros(len(rows)))
        Quiet(model, dataset, training_config=plan).train()
