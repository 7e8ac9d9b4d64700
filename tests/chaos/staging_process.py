"""A process that stages slices one after another and says what became of each and its memory.

Reads a JSON line for each: {"folder", "dataset"}; answers with one. Its settings are the
environment's. Memory is the most that was resident at once meanwhile, in bytes.
"""

import json
import re
import sys
import time
from datetime import date
from pathlib import Path

import pyarrow as pa

from services.ingestor.handlers import Ingestor
from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.events import LoadRequested, Payload
from shared.database.engine import make_engine
from shared.database.tables import loads
from shared.messaging.unit_of_work import UnitOfWork
from shared.object_store import ObjectStore
from shared.settings import Settings


def peak_bytes() -> int:
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def main() -> None:
    pa.set_memory_pool(pa.system_memory_pool())  # as the service does
    settings = Settings()
    engine = make_engine(settings, application="staging")
    ingestor = Ingestor(settings, ObjectStore(settings))
    for line in sys.stdin:
        asked = json.loads(line)
        payload = LoadRequested(
            dataset=asked["dataset"],
            slice_key="x",
            source_uri=asked["folder"],
            as_of=date(2024, 1, 31),
        )
        event: Event[Payload] = Event(payload=payload, source="test", time=utc_now())
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        begun = time.monotonic()
        ingestor.on_load_requested(event, UnitOfWork(engine, "ingestor", event, utc_now))
        seconds = time.monotonic() - begun
        with engine.connect() as connection:
            row = connection.execute(loads.select().where(loads.c.load_id == event.id)).one()
        print(
            json.dumps(
                {
                    "status": row.status,
                    "codes": [reason["code"] for reason in row.reasons or []],
                    "messages": [reason["message"] for reason in row.reasons or []],
                    "rows_in": row.rows_in,
                    "rows_loaded": row.rows_loaded,
                    "rows_quarantined": row.rows_quarantined,
                    "seconds": seconds,
                    "peak": peak_bytes(),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
