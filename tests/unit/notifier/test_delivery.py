"""What Apprise's answer means, and that nothing of an address is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.delivery import LogLine, Outcome, explain, redacted

URL = "slack://T0ken1/B0ken2/s3cr3tpart/#channel?footer=no"
FAILED = LogLine("WARNING", "A Connection error occurred sending Slack notification.")


def debug(text: str) -> LogLine:
    return LogLine("DEBUG", text)


def test_yes_is_yes() -> None:
    assert explain(True, [FAILED], URL).outcome is Outcome.SENT


@pytest.mark.parametrize(
    ("line", "outcome", "told"),
    [
        (
            "Socket Exception: Max retries exceeded with url: /timed out (Caused by "
            "NewConnectionError('[Errno 111] Connection refused'))",
            Outcome.REFUSED,
            "connection refused",
        ),
        (
            "Socket Exception: (Caused by ConnectTimeoutError(x, 'Connection timed out. "
            "(connect timeout=4.0)'))",
            Outcome.REFUSED,
            "no connection in time",
        ),
        (
            "Socket Exception: HTTPSConnectionPool(host='h', port=443): Read timed out. "
            "(read timeout=15.0)",
            Outcome.UNKNOWN,
            "no answer in time",
        ),
        (
            "Socket Exception: ('Connection aborted.', RemoteDisconnected('Remote end closed "
            "connection without response'))",
            Outcome.UNKNOWN,
            "the connection broke",
        ),
        ("Socket Exception: Connection unexpectedly closed", Outcome.UNKNOWN, "broke"),
        ("Socket Exception: something else", Outcome.REFUSED, "A Connection error"),
    ],
)
def test_a_no_is_definite_unless_the_message_may_have_arrived(
    line: str, outcome: Outcome, told: str
) -> None:
    delivery = explain(False, [FAILED, debug(line)], URL)
    assert delivery.outcome is outcome
    assert told in delivery.error


def test_what_the_message_itself_tells_of_decides_nothing() -> None:
    payload = debug("JSON Payload: {'message': 'trainer gave up: Connection refused'}")
    timeout = debug("Socket Exception: Read timed out. (read timeout=15.0)")
    assert explain(False, [payload, FAILED, timeout], URL).outcome is Outcome.UNKNOWN
    payload = debug("JSON Payload: {'message': 'MLflow: Read timed out.'}")
    refused = LogLine("WARNING", "Failed to send JSON POST notification: error=403.")
    assert explain(False, [payload, refused], URL).outcome is Outcome.REFUSED


def test_where_one_of_several_recipients_has_it_it_is_not_certain_that_nobody_has() -> None:
    lines = [LogLine("INFO", "Sent Email to a@example.org"), LogLine("WARNING", "error=550.")]
    assert explain(False, lines, URL).outcome is Outcome.UNKNOWN


def test_an_answer_of_the_target_is_told() -> None:
    line = LogLine("WARNING", "Failed to send Slack notification: Forbidden, error=403.")
    assert explain(False, [line], URL).error == line.message


parts = st.text(alphabet="abcXYZ0189-_%", min_size=3, max_size=20)


@given(parts=st.lists(parts, min_size=1, max_size=5), around=st.text(max_size=20))
def test_no_part_of_an_address_is_told(parts: list[str], around: str) -> None:
    url = f"json://user:{parts[0]}@" + "/".join(parts) + f"?key={parts[-1]}"
    told = redacted(around + url + around + parts[0] + " ".join(parts), url)
    for part in parts:
        assert part not in told


def test_a_part_is_not_told_decoded_either() -> None:
    assert redacted("refused for p@ss word!", "json://u:p%40ss%20word%21@h/") == "refused for …"
