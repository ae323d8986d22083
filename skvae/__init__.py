"""Variational autoencoders at home in scikit-learn."""

__version__ = "0.1.0"

__all__ = ["VAETransformer", "__version__"]


def __getattr__(name):
    # Lazily (PEP 562): importing the package must not import torch.
    if name == "VAETransformer":
        from skvae.transformer import VAETransformer

        return VAETransformer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
