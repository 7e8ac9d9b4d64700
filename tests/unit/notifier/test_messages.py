"""What people read: what happened, why, and the command that helps."""

import shlex
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from services.notifier.messages import (
    BODY_CHARACTERS,
    TITLE_CHARACTERS,
    Kind,
    Message,
    Occasion,
    Scores,
    dead_letter,
    drifting,
    publication,
    rejection,
)
from shared.contracts.events import (
    DeadLettered,
    DriftDetected,
    DriftedFeature,
    ModelPublished,
    Reason,
    SliceRejected,
    Stage,
)

LOAD = "0f3b6c1e-0000-4000-8000-000000000001"


def rejected(**changes: object) -> SliceRejected:
    facts = {
        "dataset": "rakuten",
        "slice_key": "43%",
        "load_id": LOAD,
        "as_of": date(2024, 1, 8),
        "stage": Stage.VALIDATE,
        "reasons": (
            Reason(
                code="expect_column_values_to_not_be_null",
                message="products.designation: 2 of 2,547 values are missing",
                sample=("productid 7", "productid 9"),
            ),
        ),
        "report_uri": "s3://reports/rakuten/43%/report.html",
    }
    return SliceRejected(**{**facts, **changes})


def published(**changes: object) -> ModelPublished:
    facts = {
        "dataset": "rakuten",
        "slice_key": "43%",
        "load_id": LOAD,
        "snapshot_id": "snap-1",
        "as_of": date(2024, 1, 8),
        "dataset_version": "d1g3st",
        "model_name": "rakuten_classifier",
        "model_version": "3",
        "run_id": "run-1",
        "alias": "champion",
        "promoted": True,
        "decision": "beats_champion",
        "reason": "weighted_f1 0.8412 against 0.8301 of champion 2 on the same test rows",
        "metrics": {"weighted_f1": 0.8412, "accuracy": 0.85},
    }
    return ModelPublished(**{**facts, **changes})


def dead(**changes: object) -> DeadLettered:
    facts = {
        "dataset": "rakuten",
        "slice_key": "43%",
        "service": "trainer",
        "event_id": "e-1",
        "event_type": "headrace.dataset-ready.v1",
        "correlation_id": LOAD,
        "original_topic": "dataset-ready",
        "original_partition": 4,
        "original_offset": 17,
        "error_class": "InvalidSpec",
        "reason": "the model's kind is not known",
        "attempts": 3,
    }
    return DeadLettered(**{**facts, **changes})


def drift(number: int) -> DriftDetected:
    return DriftDetected(
        dataset="rakuten",
        slice_key="43%",
        load_id=LOAD,
        snapshot_id="snap-1",
        as_of=date(2024, 1, 8),
        dataset_version="d1g3st",
        model_name="rakuten_classifier",
        champion_version="2",
        baseline_as_of=date(2024, 1, 1),
        baseline_version="d1g3st-before",
        features_compared=30,
        features_drifted=number,
        features=tuple(
            DriftedFeature(
                feature=f"products.c{n}", measure="ks", value=0.5 - n / 100, threshold=0.1
            )
            for n in range(min(number, 20))
        ),
    )


def test_drift_says_what_against_what_and_how_many_more_there_are() -> None:
    message = drifting(drift(25))

    assert message.title == "rakuten 43% has drifted: 25 of 30 features"
    assert (message.occasion, message.kind) == (Occasion.DRIFT, Kind.WARNING)
    assert "rakuten_classifier version 2 was trained on, the data of 2024-01-01" in message.body
    assert "- products.c0: ks 0.5000, the threshold is 0.1" in message.body
    assert "- and 20 more" in message.body
    assert commands(message)[0] == ["headrace", "drift", "rakuten"]


def commands(message: Message) -> list[list[str]]:
    """The commands that the message gives, as a shell would split them."""
    return [
        shlex.split(line) for line in message.body.splitlines() if line.startswith("  headrace ")
    ]


def test_a_rejection_says_what_why_where_and_how_to_load_it_again() -> None:
    message = rejection(rejected(), "/data/rakuten drop")

    assert message.title == "rakuten 43% was rejected"
    assert (message.occasion, message.kind) == (Occasion.REJECTED, Kind.WARNING)
    assert "The validator refused it" in message.body
    assert (
        "- products.designation: 2 of 2,547 values are missing: productid 7 | productid 9"
    ) in message.body
    assert "Report: s3://reports/rakuten/43%/report.html" in message.body
    assert "As of: 2024-01-08" in message.body
    assert commands(message) == [
        ["headrace", "rejects", LOAD],
        ["headrace", "load", "rakuten", "--slice", "43%", "--from", "/data/rakuten drop"],
    ]


def test_a_rejection_without_source_report_or_date_leaves_them_out() -> None:
    message = rejection(rejected(report_uri=None, as_of=None, stage=Stage.INGEST), None)

    assert "The ingestor refused it" in message.body
    assert "None" not in message.body
    assert commands(message)[1] == ["headrace", "load", "rakuten", "--slice", "43%"]


def test_of_many_reasons_the_first_are_told_and_the_rest_counted() -> None:
    reasons = tuple(Reason(code="c", message=f"reason {n} " + "x" * 500) for n in range(12))
    message = rejection(rejected(reasons=reasons), None)

    assert "reason 4" in message.body
    assert "reason 5" not in message.body
    assert "- and 7 more" in message.body
    assert len(commands(message)) == 2, "long reasons leave room for what to do"


def test_a_new_champion_is_told_with_its_score_and_the_one_before() -> None:
    message = publication(published(), Scores("weighted_f1", 0.84121, "2", 0.83009))

    assert message.title == (
        "rakuten_classifier version 3 is champion: weighted_f1 0.8412 (before 0.8301)"
    )
    assert (message.occasion, message.kind) == (Occasion.PROMOTED, Kind.SUCCESS)
    assert "Metrics: accuracy 0.8500, weighted_f1 0.8412" in message.body
    assert "Trained on: rakuten 43%" in message.body
    assert commands(message) == [["headrace", "models", "rollback", "rakuten_classifier"]]


def test_the_first_champion_and_one_by_hand_say_so() -> None:
    first = publication(published(), Scores("weighted_f1", 0.84, None, None))
    by_hand = publication(published(), Scores("weighted_f1", 0.84, "2", None))

    assert first.title.endswith("is champion: weighted_f1 0.8400 (the first)")
    assert by_hand.title.endswith("is champion: weighted_f1 0.8400 (before it version 2)")


def test_a_version_that_is_not_promoted_says_why_and_how_to_promote_it() -> None:
    message = publication(
        published(
            promoted=False, decision="not_better", model_version="4", reason="0.81 against 0.84"
        ),
        Scores("weighted_f1", 0.81, "3", 0.84),
    )

    assert message.title == (
        "rakuten_classifier version 4 is registered, not promoted: 0.81 against 0.84"
    )
    assert (message.occasion, message.kind) == (Occasion.REGISTERED, Kind.INFO)
    assert commands(message) == [["headrace", "models", "promote", "rakuten_classifier", "4"]]


def test_a_champion_that_was_champion_already_is_no_new_champion() -> None:
    message = publication(
        published(decision="already_champion"), Scores("weighted_f1", 0.84, "3", 0.84)
    )

    assert message.title == "rakuten_classifier version 3 is still champion: weighted_f1 0.8400"
    assert message.occasion is Occasion.REGISTERED


def test_a_dead_letter_says_who_gave_up_what_and_how_to_redrive_it() -> None:
    message = dead_letter(dead(), 12)

    assert message.title == (
        "trainer gave up an event of rakuten 43%: the model's kind is not known"
    )
    assert (message.occasion, message.kind) == (Occasion.DEAD, Kind.FAILURE)
    assert "after 3 tries" in message.body
    assert "Why: InvalidSpec: the model's kind is not known" in message.body
    assert "Record: dataset-ready, partition 4, offset 17" in message.body
    assert commands(message) == [["headrace", "dead", "redrive", "12"]]


def test_a_record_that_was_no_event_is_told_by_its_topic() -> None:
    message = dead_letter(
        dead(slice_key="unknown", event_type=None, event_id=None, correlation_id=None), None
    )

    assert message.title.startswith("trainer gave up a record of the topic dataset-ready: ")
    assert "Event: of no known type" in message.body
    assert "Load:" not in message.body
    assert commands(message) == [["headrace", "dead", "list"]]


anything = st.text(max_size=3000)


@given(text=anything, sample=st.lists(anything, max_size=3))
def test_whatever_an_event_says_a_message_is_short_plain_and_storable(
    text: str, sample: list[str]
) -> None:
    reason = Reason.model_construct(
        code="c", message=text, table=None, column=None, count=1, sample=tuple(sample)
    )
    for message in (
        rejection(rejected().model_copy(update={"reasons": (reason,) * 9}), text),
        publication(published().model_copy(update={"promoted": False, "reason": text}), None),
        dead_letter(dead().model_copy(update={"reason": text, "slice_key": text}), 1),
    ):
        assert len(message.title) <= TITLE_CHARACTERS
        assert len(message.body) <= BODY_CHARACTERS
        assert message.title.isprintable()
        assert all(character.isprintable() or character == "\n" for character in message.body)
        assert message.title.strip()
        message.body.encode()
