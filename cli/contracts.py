"""`headrace contracts`: the events' JSON Schemas and the AsyncAPI file, from the payload models."""

import inspect
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from shared import __version__
from shared.contracts.envelope import CONTENT_TYPE, SPEC_VERSION
from shared.contracts.events import EVENTS, Payload
from shared.contracts.topics import Topic

PUBLISHERS = {
    "load-requested": ("cli", "ingestor (POST /loads)"),
    "slice-loaded": ("ingestor",),
    "slice-rejected": ("ingestor", "validator"),
    "validated": ("validator",),
    "snapshotted": ("snapshotter",),
    "dataset-ready": ("trainer",),
    "promotion-requested": ("console",),
    "model-published": ("trainer",),
    "drift-detected": ("trainer",),
    "dead-letters": ("every service",),
}
READERS = {
    "load-requested": ("ingestor",),
    "slice-loaded": ("validator",),
    "validated": ("snapshotter",),
    "snapshotted": ("trainer",),
    "dataset-ready": ("trainer",),
    "promotion-requested": ("trainer",),
    "slice-rejected": ("notifier",),
    "model-published": ("notifier", "trainer"),
    "drift-detected": ("notifier",),
    "dead-letters": ("notifier",),
}
ATTRIBUTES = {
    "ce_specversion": f"Always {SPEC_VERSION}.",
    "ce_id": "The event's id. A reader that has done it passes it over.",
    "ce_type": "Which payload the value is.",
    "ce_source": "The service, or `cli`, that published it.",
    "ce_subject": "`<dataset>/<slice_key>`.",
    "ce_time": "When it happened, RFC 3339 with an offset.",
    "ce_correlationid": "The id of the load-requested event that all began with: the load_id.",
    "ce_causationid": "The id of the event that caused this one; absent where nothing did.",
    "traceparent": "W3C Trace Context.",
    "content-type": f"Always {CONTENT_TYPE}.",
}
OPTIONAL = ("ce_causationid",)

app = typer.Typer()


@app.command()
def contracts(
    folder: Annotated[Path, typer.Argument(help="Where the files are written.")],
) -> None:
    """Write the events' JSON Schemas and an AsyncAPI file."""
    for name, content in files().items():
        (folder / name).write_text(content, encoding="utf-8")
        typer.echo(str(folder / name))


def files() -> dict[str, str]:
    """Every generated file's content by its name."""
    written = {f"{event.type}.schema.json": _dump(_schema(event)) for event in EVENTS}
    return {**written, "asyncapi.json": _dump(_asyncapi())}


def _schema(event: type[Payload]) -> dict[str, Any]:
    schema = event.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": event.type, **schema}


def _asyncapi() -> dict[str, Any]:
    headers = {
        "type": "object",
        "required": [name for name in ATTRIBUTES if name not in OPTIONAL],
        "properties": {
            name: {"type": "string", "description": said} for name, said in ATTRIBUTES.items()
        },
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Headrace",
            "version": __version__,
            "description": "CloudEvents 1.0 on Kafka, binary mode. The record key is the dataset.",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {topic.value: _channel(topic) for topic in Topic},
        "operations": {
            f"{action}-{topic.value}": {
                "action": action,
                "channel": {"$ref": f"#/channels/{topic.value}"},
            }
            for topic in Topic
            for action in ("send", "receive")
            if action == "send" or topic in READERS
        },
        "components": {
            "messages": {
                event.__name__: {
                    "name": event.type,
                    "headers": {"$ref": "#/components/schemas/Headers"},
                    "payload": {"$ref": f"./{event.type}.schema.json"},
                }
                for event in EVENTS
            },
            "schemas": {"Headers": headers},
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    """A topic, and the messages that are published on it."""
    events = [event for event in EVENTS if event.topic is topic]
    said = "\n\n".join(inspect.cleandoc(event.__doc__ or "") for event in events)
    return {
        "address": topic.value,
        "description": (
            f"{said}\n\nPublished by {', '.join(PUBLISHERS[topic])}; "
            f"read by {', '.join(READERS.get(topic, ('whoever watches',)))}."
        ),
        "messages": {
            event.__name__: {"$ref": f"#/components/messages/{event.__name__}"} for event in events
        },
    }


def _dump(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
