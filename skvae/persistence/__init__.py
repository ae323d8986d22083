"""Saved models in files that are checked before anything of them is built.

`dump` writes a file of skops whose last bytes are a checksum of all the others. `load`
reads it again, or any other file of skops, and builds only types that are known to be
harmless, or that the caller trusts.
"""

try:
    import skops.io  # noqa: F401
except ImportError as error:
    raise ImportError(
        'Files that can be checked need skops: pip install "skvae[skops]".'
    ) from error

from skvae.persistence.files import dump, load

__all__ = ["dump", "load"]
