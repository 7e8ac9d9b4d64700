"""The champion's score over time, drawn for the pages that show it. Pure."""

from collections.abc import Sequence

from services.console.charts import Chart, Series, line_chart
from services.console.queries.channels import Score
from services.console.wording import moment, score


def score_chart(scores: Sequence[Score]) -> Chart | None:
    """The champion's score over time, and that of each version; None where there is none."""
    if not scores:
        return None
    return line_chart(
        "the champion's score over time",
        [f"version {each.version}, {moment(each.at)}" for each in scores],
        [
            Series("champion", [s.value for s in scores], [s.is_promoted for s in scores], "c1"),
            Series("new version", [each.challenger for each in scores], colour="c8"),
        ],
        score,
    )
