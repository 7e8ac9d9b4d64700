"""What a slice by share costs: bytes read of the source, counted; and memory while it is joined."""

from collections.abc import Callable
from typing import IO, Any

import pyarrow as pa
import pytest

from services.ingestor import handlers
from services.ingestor.shares import taker
from services.ingestor.shares.taker import SourceChanged
from shared.reading.sources import Source
from tests.integration.ingestor.catalogue import rows_of, use_catalogue
from tests.integration.ingestor.conftest import Outcome, Shop

ROW = "{n:08d},a title of a fixed length,text,{n:08d}\n"


class Counting:
    """A source that counts the bytes that are read of it."""

    def __init__(self, source: Source, count: Callable[[int], None]) -> None:
        self._source, self._count = source, count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def open(self, name: str) -> Any:
        return CountingStream(self._source.open(name), self._count)  # type: ignore[arg-type]

    def open_from(self, name: str, start: int, stop: int | None) -> Any:
        stream = self._source.open_from(name, start, stop)
        return CountingStream(stream, self._count)  # type: ignore[arg-type]


class CountingStream:
    def __init__(self, stream: IO[bytes], count: Callable[[int], None]) -> None:
        self._stream, self._count = stream, count

    def read(self, size: int = -1) -> bytes:
        found = self._stream.read(size)
        self._count(len(found))
        return found

    def __enter__(self) -> "CountingStream":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


@pytest.fixture
def goods(shop: Shop) -> Shop:
    return use_catalogue(shop)


@pytest.fixture
def bytes_of(goods: Shop, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Loads a slice and returns how many bytes were read of its source."""
    read: list[int] = []

    def counting(*where: Any) -> Any:
        return Counting(real(*where), read.append)

    real = handlers.open_source
    monkeypatch.setattr(handlers, "open_source", counting)

    def load(slice_key: str) -> int:
        read.clear()
        outcome = goods.handle(goods.event(goods.folder / "drop", slice_key))
        assert outcome.status == "loaded"
        return sum(read)

    return load


def write(goods: Shop, rows: int) -> int:
    x = "".join([",title,text,sku\n", *(ROW.format(n=n) for n in range(rows))]).encode()
    y = "".join([",class\n", *(f"{n:08d},{n % 9}\n" for n in range(rows))]).encode()
    goods.write({"X.csv": x, "Y.csv": y})
    return len(x) + len(y)


HEADERS = 2 * (1 << 16)  # of each file the beginning is looked at, for its delimiter
STEP_ROWS = 600
STEP_BYTES = STEP_ROWS * (len(ROW.format(n=0)) + len("00000000,0\n"))
ASIDE = 2 * 64 * STEP_BYTES // STEP_ROWS  # rows that lie between two marks of the index


def test_bytes_read_for_a_step_do_not_grow_with_the_catalogue(
    goods: Shop, bytes_of: Callable[[str], int]
) -> None:
    for rows, step in ((20_000, "3"), (200_000, "0.3")):
        goods.spec["slices"]["increment"]["step"] = step
        size = write(goods, rows)
        goods.run("DELETE FROM headrace.loads")
        first = bytes_of("40%")
        part = size * 4 // 10
        assert size + part <= first <= size + part + HEADERS + ASIDE, "one scan, and the part"
        following = bytes_of("43%" if step == "3" else "40.3%")
        assert STEP_BYTES <= following <= STEP_BYTES + HEADERS + ASIDE + 200


def test_bytes_read_grow_with_the_step_and_a_written_file_is_scanned_anew(
    goods: Shop, bytes_of: Callable[[str], int]
) -> None:
    size = write(goods, 20_000)
    bytes_of("40%")
    step = bytes_of("43%")
    assert abs((bytes_of("52%") - HEADERS) - 3 * (step - HEADERS)) <= 4 * ASIDE
    write(goods, 20_000)
    assert bytes_of("55%") >= size + STEP_BYTES


def test_file_that_is_written_while_it_is_read_is_tried_again_later(
    goods: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(goods, 1_000)
    real = taker.cut_rows

    def cut(*arguments: Any) -> Any:
        part = real(*arguments)
        write(goods, 1_001)
        return part

    event = goods.event(goods.folder / "drop", "40%")
    monkeypatch.setattr(taker, "cut_rows", cut)
    with pytest.raises(SourceChanged, match="is being written"):
        goods.handle(event)
    monkeypatch.undo()
    outcome = goods.handle(event)
    assert (outcome.status, rows_of(outcome)) == ("loaded", (0, 400, 1_001))


def test_memory_of_a_join_does_not_grow_with_the_rows(goods: Shop) -> None:
    goods.settings = goods.settings.model_copy(update={"csv_block_bytes": 1 << 16})
    peaks = []
    for rows in (20_000, 200_000):
        write(goods, rows)
        goods.run("DELETE FROM headrace.loads")
        peaks.append(peak_of(lambda: load(goods)))
    assert peaks[1] < 1.5 * peaks[0]


def load(goods: Shop) -> Outcome:
    outcome = goods.handle(goods.event(goods.folder / "drop", "100%"))
    assert outcome.status == "loaded"
    return outcome


def peak_of(work: Callable[[], object]) -> int:
    """The most that Arrow had allocated at once, beyond what it had before."""
    from services.ingestor import staging

    before, peak = pa.total_allocated_bytes(), 0
    real = staging.typed_rows

    def watched(*arguments: Any) -> Any:
        nonlocal peak
        peak = max(peak, pa.total_allocated_bytes() - before)
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, "typed_rows", watched)
        work()
    assert peak
    return peak
