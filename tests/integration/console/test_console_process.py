"""The console as a process on real servers: it starts, tells pages of events, and ends."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable

import httpx
import psutil

from shared.contracts.envelope import Event
from shared.contracts.events import LoadRequested, Payload
from shared.messaging.kafka import Producer
from shared.settings import Settings
from tests.waiting import wait_until

IDLE_BYTES = 200e6


def test_a_page_that_listens_is_told_of_an_event_and_the_process_ends_at_once(
    process: tuple[subprocess.Popen[bytes], str],
    topics: Settings,
    event_of: Callable[..., Event[Payload]],
) -> None:
    running, address = process
    with httpx.Client(base_url=address, timeout=30) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200, what="it is ready")
        assert client.get("/healthz").json()["status"] == "ok"
        info = client.get("/info").json()
        assert (info["service"], info["is_connected"], info["lag"]) == ("console", True, {})
        assert client.get("/", headers={"Accept": "text/html"}).status_code == 200
        told: list[dict[str, str]] = []
        opened = threading.Event()

        def listen() -> None:
            with client.stream("GET", "/live", params={"dataset": "a"}) as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                for line in answer.iter_lines():
                    opened.set()
                    if line.startswith("data: "):
                        told.append(json.loads(line[6:]))
                        return

        listener = threading.Thread(target=listen)
        listener.start()
        assert opened.wait(10)
        producer = Producer(topics)
        for name in ("b", "a"):
            event = event_of(LoadRequested(dataset=name, slice_key="s", source_uri="/x"))
            producer.publish(
                event.payload.topic, event.key.encode(), event.headers(), event.value()
            )
        producer.close()
        listener.join(timeout=20)
        assert [sign["dataset"] for sign in told] == ["a"]
        assert told[0]["type"] == "headrace.load-requested.v1"
        assert client.post("/anything").status_code in (401, 403, 404), "nothing is changed"
    assert psutil.Process(running.pid).memory_info().rss < IDLE_BYTES
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=15) == 0
