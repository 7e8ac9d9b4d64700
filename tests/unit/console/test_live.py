"""Signs reach the pages that want them, and a slow page costs nobody anything."""

import asyncio
import json
from collections.abc import AsyncIterator

from services.console.live import EVERYTHING, WAITING_SIGNS, Hub, Sign
from shared.contracts.envelope import Record


def record(dataset: str, slice_key: str = "s") -> Record:
    headers = {"ce_subject": f"{dataset}/{slice_key}", "ce_type": "headrace.validated.v1"}
    return Record("validated", 0, 0, dataset.encode(), headers, b"{}")


async def opened(hub: Hub, dataset: str | None) -> AsyncIterator[str]:
    lines = hub.lines(dataset)
    assert (await anext(lines)).startswith("retry:")
    return lines


def said(line: str) -> dict[str, str]:
    return json.loads(line.removeprefix("data: "))


def test_a_page_is_told_of_its_dataset_and_a_page_of_all_of_every_one() -> None:
    async def story() -> None:
        hub = Hub(most_readers=9, ping_seconds=0.05)
        one, every = await opened(hub, "a"), await opened(hub, None)
        hub.see(record("b", "x/y"))
        hub.see(record("a"))
        assert said(await anext(every)) == {
            "dataset": "b",
            "slice": "x/y",
            "type": "headrace.validated.v1",
        }
        assert said(await anext(every))["dataset"] == "a"
        assert said(await anext(one))["dataset"] == "a"
        assert await anext(one) == ": still here\n\n", "nothing of b"

    asyncio.run(story())


def test_after_the_broker_was_away_every_page_looks() -> None:
    async def story() -> None:
        hub = Hub(most_readers=9, ping_seconds=5)
        page = await opened(hub, "a")
        hub.begin()
        assert said(await anext(page))["dataset"] == EVERYTHING

    asyncio.run(story())


def test_a_page_that_does_not_read_has_one_sign_for_all_that_it_missed() -> None:
    async def story() -> None:
        hub = Hub(most_readers=9, ping_seconds=0.05)
        slow = await opened(hub, None)
        for number in range(WAITING_SIGNS + 10):
            hub.tell(Sign(f"d{number}"))
        await asyncio.sleep(0)
        first = said(await anext(slow))
        assert first["dataset"] == EVERYTHING
        rest = []
        while (line := await anext(slow)).startswith("data:"):
            rest.append(said(line)["dataset"])
        assert rest == [f"d{number}" for number in range(WAITING_SIGNS + 1, WAITING_SIGNS + 10)]

    asyncio.run(story())


def test_a_sign_between_the_making_of_a_page_and_its_line_is_not_missed() -> None:
    async def story() -> None:
        hub = Hub(most_readers=9, ping_seconds=0.05)
        seen = hub.seen
        for asked, is_told in ((seen, False), ("", False), ("of another process.0", True)):
            lines = hub.lines("a", asked)
            await anext(lines)
            assert (await anext(lines)).startswith("data:") is is_told, asked
        hub.see(record("b"))
        lines = hub.lines("a", seen)
        await anext(lines)
        assert said(await anext(lines))["dataset"] == EVERYTHING

    asyncio.run(story())


def test_a_page_that_is_closed_is_forgotten_and_no_more_are_told_than_is_set() -> None:
    async def story() -> None:
        hub = Hub(most_readers=1, ping_seconds=5)
        page = await opened(hub, None)
        assert (hub.readers, hub.is_full) == (1, True)
        await page.aclose()
        assert (hub.readers, hub.is_full) == (0, False)

    asyncio.run(story())


def test_a_record_that_is_no_event_is_a_sign_all_the_same() -> None:
    async def story() -> None:
        hub = Hub(most_readers=9, ping_seconds=5)
        page = await opened(hub, "a")
        hub.see(Record("validated", 0, 0, None, {}, None))
        assert said(await anext(page))["dataset"] == EVERYTHING

    asyncio.run(story())
