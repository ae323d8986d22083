"""Blocks of a dataset as the data frames that pandas itself would read."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["BATCH_FORMAT", "to_frame"]

#: What `to_frame` takes. Ray's own frames have Arrow's dtypes, in which numbers are
#: slow to read, and which `sample` would give back.
BATCH_FORMAT = "pyarrow"


def to_frame(block: "pa.Table") -> "pd.DataFrame":
    """A block with the dtypes that `pandas.read_parquet` gives."""
    return block.to_pandas(ignore_metadata=True)  # which may make an index of columns
