"""What people are told of an event: a title and a plain text. Pure."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from shared.contracts.events import (
    DeadLettered,
    DriftDetected,
    ModelPublished,
    Reason,
    SliceRejected,
    Stage,
)

TITLE_CHARACTERS = 200
BODY_CHARACTERS = 1700
"""With a title it stays below the 2000 characters that the strictest of the common targets take."""
REASONS_SHOWN = 5
REASON_CHARACTERS = 200
ERROR_CHARACTERS = 500
FIELD_CHARACTERS = 250

_SERVICE_OF = {Stage.INGEST: "ingestor", Stage.VALIDATE: "validator"}
_STILL_CHAMPION = "already_champion"
_UNDECODED = "unknown"
"""What the announcement of a dead letter has for the slice of a record that is no event."""


class Occasion(StrEnum):
    """What people may want to be told of; the words of `notify_on`."""

    REJECTED = "rejected"
    """A slice was refused."""
    PROMOTED = "promoted"
    """A model version became champion."""
    REGISTERED = "registered"
    """A model version was made and the champion is who it was."""
    DRIFT = "drift"
    """Data is far from what the champion was trained on."""
    DEAD = "dead"
    """A service gave up an event."""


class Kind(StrEnum):
    """How a message is to look; Apprise's words."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Message:
    """A line, and a text of at most `BODY_CHARACTERS`. Neither has control characters."""

    occasion: Occasion
    kind: Kind
    title: str
    body: str


@dataclass(frozen=True)
class Scores:
    """What the decision about a version compared. None where there was nothing to compare with."""

    metric: str
    score: float
    champion_version: str | None
    champion_score: float | None


def rejection(rejected: SliceRejected, source_uri: str | None) -> Message:
    """A slice was refused. `source_uri` is where it was loaded from, if that is known."""
    dataset, slice_key = rejected.dataset, rejected.slice_key
    again = ["headrace", "load", dataset, "--slice", slice_key]
    if source_uri:
        again += ["--from", source_uri]
    return _message(
        Occasion.REJECTED,
        Kind.WARNING,
        f"{dataset} {slice_key} was rejected",
        [
            f"The {_SERVICE_OF[rejected.stage]} refused it. Tables, snapshots and models are as "
            "they were, and the next slices go on.",
            "",
            "Why:",
            *_reasons(rejected.reasons),
            "",
            *_fields(
                ("As of", rejected.as_of),
                ("From", source_uri),
                ("Report", rejected.report_uri),
                ("Load", rejected.load_id),
            ),
            "",
            "What to do: look closer, mend the files or the spec, and load the slice again:",
            f"  {shlex.join(['headrace', 'rejects', rejected.load_id])}",
            f"  {shlex.join(again)}",
        ],
    )


def publication(published: ModelPublished, scores: Scores | None) -> Message:
    """A model version was registered, and promoted or not."""
    name = f"{published.model_name} version {published.model_version}"
    is_news = published.promoted and published.decision != _STILL_CHAMPION
    if is_news:
        title = f"{name} is champion{_comparison(scores)}"
        advice, command = "To have the champion before it again:", ["rollback"]
    elif published.promoted:
        title = f"{name} is still champion{_score(scores)}"
        advice, command = "To have the champion before it again:", ["rollback"]
    else:
        title = f"{name} is registered, not promoted: {published.reason}"
        advice, command = "To make it champion all the same:", ["promote"]
    command = ["headrace", "models", *command, published.model_name]
    if not published.promoted:
        command.append(published.model_version)
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in sorted(published.metrics.items()))
    return _message(
        Occasion.PROMOTED if is_news else Occasion.REGISTERED,
        Kind.SUCCESS if is_news else Kind.INFO,
        title,
        [
            f"Why: {_line(published.reason, ERROR_CHARACTERS)}",
            "",
            *_fields(
                ("Trained on", f"{published.dataset} {published.slice_key}"),
                ("As of", published.as_of),
                ("Metrics", metrics),
                ("Training dataset", published.dataset_version),
                ("Snapshot", published.snapshot_id),
                ("MLflow run", published.run_id),
                ("Load", published.load_id),
            ),
            "",
            advice,
            f"  {shlex.join(command)}",
        ],
    )


def drifting(drift: DriftDetected) -> Message:
    """A training dataset is far from the champion's."""
    rest = drift.features_drifted - len(drift.features[:REASONS_SHOWN])
    return _message(
        Occasion.DRIFT,
        Kind.WARNING,
        f"{drift.dataset} {drift.slice_key} has drifted: {drift.features_drifted} of "
        f"{drift.features_compared} features",
        [
            f"They are far from what {drift.model_name} version {drift.champion_version} was "
            f"trained on, the data of {drift.baseline_as_of}.",
            "",
            "The worst of them:",
            *(
                f"- {each.feature}: {each.measure} {each.value:.4f}, the threshold is "
                f"{each.threshold:g}"
                for each in drift.features[:REASONS_SHOWN]
            ),
            *([f"- and {rest} more"] if rest else []),
            "",
            *_fields(
                ("As of", drift.as_of),
                ("Snapshot", drift.snapshot_id),
                ("Training dataset", drift.dataset_version),
                ("Compared with", drift.baseline_version),
                ("Load", drift.load_id),
            ),
            "",
            "What to do: look at how they have changed, and how good the champion still is:",
            f"  {shlex.join(['headrace', 'drift', drift.dataset])}",
            f"  {shlex.join(['headrace', 'models', drift.dataset])}",
        ],
    )


def dead_letter(dead: DeadLettered, number: int | None) -> Message:
    """A service gave up an event. `number` is what `headrace dead list` shows for it."""
    is_event = dead.slice_key != _UNDECODED
    what = (
        f"an event of {dead.dataset} {dead.slice_key}"
        if is_event
        else f"a record of the topic {dead.original_topic}"
    )
    tries = "1 try" if dead.attempts == 1 else f"{dead.attempts} tries"
    redrive = (
        ["headrace", "dead", "redrive", str(number)] if number else ["headrace", "dead", "list"]
    )
    return _message(
        Occasion.DEAD,
        Kind.FAILURE,
        f"{dead.service} gave up {what}: {dead.reason.strip() or dead.error_class}",
        [
            f"It failed after {tries} and waits in the dead letters; nothing follows from it until "
            "it is redriven. Other events go on.",
            "",
            f"Why: {_line(f'{dead.error_class}: {dead.reason}', ERROR_CHARACTERS)}",
            "",
            *_fields(
                ("Event", f"{dead.event_type or 'of no known type'} {dead.event_id or ''}"),
                (
                    "Record",
                    f"{dead.original_topic}, partition {dead.original_partition}, "
                    f"offset {dead.original_offset}",
                ),
                ("Load", dead.correlation_id),
            ),
            "",
            "What to do: mend the cause, then have it done again:",
            f"  {shlex.join(redrive)}",
        ],
    )


def _message(occasion: Occasion, kind: Kind, title: str, lines: Iterable[str]) -> Message:
    body = "\n".join(_plain(line) for line in lines)
    return Message(occasion, kind, _line(title, TITLE_CHARACTERS), _cut(body, BODY_CHARACTERS))


def _reasons(reasons: tuple[Reason, ...]) -> list[str]:
    lines = []
    for reason in reasons[:REASONS_SHOWN]:
        sample = [text for text in reason.sample if text not in reason.message][:3]
        said = f"{reason.message}: {' | '.join(sample)}" if sample else reason.message
        lines.append(f"- {_line(said, REASON_CHARACTERS)}")
    if more := len(reasons) - len(lines):
        lines.append(f"- and {more} more")
    return lines or ["- no reason was given"]


def _fields(*fields: tuple[str, object]) -> list[str]:
    return [
        f"{name}: {_line(str(value), FIELD_CHARACTERS)}"
        for name, value in fields
        if value not in (None, "")
    ]


def _score(scores: Scores | None) -> str:
    return f": {scores.metric} {scores.score:.4f}" if scores else ""


def _comparison(scores: Scores | None) -> str:
    if scores is None:
        return ""
    if scores.champion_score is not None:
        return f"{_score(scores)} (before {scores.champion_score:.4f})"
    if scores.champion_version is not None:
        return f"{_score(scores)} (before it version {scores.champion_version})"
    return f"{_score(scores)} (the first)"


def _line(text: str, characters: int) -> str:
    return _cut(" ".join(_plain(text).split()), characters)


def _plain(text: str) -> str:
    """`text` with a space for what can't be printed: some databases and targets refuse it."""
    return "".join(character if character.isprintable() else " " for character in text)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"
