"""Rows of Arrow tables, as Parquet files and hub sets hold them, with the numbers that their owner wrote."""

from typing import TYPE_CHECKING, Any

from multitune.core.text import column_names

if TYPE_CHECKING:
    import pyarrow


def arrow_rows(batch: "pyarrow.RecordBatch | pyarrow.Table") -> list[dict[str, Any]]:
    """The rows of a batch.

    A number of single precision becomes the shortest one that reads the same, 3.8 and not 3.799999952316284: what was
    stored is what an answer says.
    """
    import pyarrow

    columns: Any = batch.columns
    for place in (place for place, column in enumerate(columns) if column.type == pyarrow.float32()):
        texts: Any = columns[place].cast(pyarrow.string())
        batch = batch.set_column(place, batch.schema.names[place], texts.cast(pyarrow.float64()))
    names = column_names(batch.schema.names)
    renamed: Any = batch if names == batch.schema.names else batch.rename_columns(names)
    return renamed.to_pylist()
