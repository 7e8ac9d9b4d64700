"""Records of other people's producers, which compress as they like."""

import pytest
from kafka.record import MemoryRecords, MemoryRecordsBuilder
from kafka.record.default_records import DefaultRecordBatch

CODECS = {
    "gzip": DefaultRecordBatch.CODEC_GZIP,
    "snappy": DefaultRecordBatch.CODEC_SNAPPY,
    "lz4": DefaultRecordBatch.CODEC_LZ4,
    "zstd": DefaultRecordBatch.CODEC_ZSTD,
}


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_of_any_codec_can_be_read(codec: str) -> None:
    value = b"a slice " * 1000
    batch = MemoryRecordsBuilder(magic=2, compression_type=CODECS[codec], batch_size=1 << 20)
    batch.append(timestamp=1, key=b"streamflow", value=value, headers=[])
    batch.close()
    assert len(batch.buffer()) < len(value), "it is compressed"

    read = MemoryRecords(batch.buffer()).next_batch()
    assert [(record.key, record.value) for record in read] == [(b"streamflow", value)]
