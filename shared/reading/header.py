"""The header of a file whose rows may be unreadable, for a person to look at."""

import codecs
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

from shared.contracts.table_spec import Table
from shared.reading.dialect import read_header
from shared.reading.records import is_parquet
from shared.reading.text_stream import BYTE_ORDER_MARKS, compression_of, open_bytes

_HEAD_BYTES = 1 << 16


def header_of(name: str, path: Path, table: Table) -> tuple[str, ...]:
    """What the file's header says, as far as it can be read; empty where it can't."""
    try:
        if is_parquet(name, table.format):
            return tuple(parquet.read_schema(path).names)
        with open_bytes(path, compression_of(name, table.format.compression)) as stream:
            head: bytes = stream.read(_HEAD_BYTES)
    except (pa.ArrowException, OSError):
        return ()
    declared = table.format.encoding
    marked = next((codec for mark, codec in BYTE_ORDER_MARKS if head.startswith(mark)), "utf-8")
    codec = marked if declared == "auto" else declared
    text = codecs.getincrementaldecoder(codec)("replace").decode(head)
    return read_header(name, text.removeprefix("\ufeff"), table).fields
