"""`SOURCE_ROOTS`: what is within is allowed, what only looks like it isn't."""

from pathlib import Path

import pytest

from shared.errors import InvalidSettings, SourceNotAllowed
from shared.settings import Settings
from shared.source_roots import SourceRoots


def roots(said: object) -> SourceRoots:
    return SourceRoots.of(Settings(source_roots=str(said), bucket_prefix="ours-"))


def is_allowed(source: object, said: object) -> bool:
    try:
        roots(said).require(str(source))
    except SourceNotAllowed:
        return False
    return True


@pytest.mark.parametrize("source", ["/etc", "s3://anything/at/all", "", "../.."])
def test_without_roots_everything_is_allowed(source: str) -> None:
    assert is_allowed(source, "")
    assert is_allowed(source, "  ")


def test_a_folder_and_what_is_below_it_are_allowed(tmp_path: Path) -> None:
    drops = tmp_path / "drops"
    (drops / "month_000").mkdir(parents=True)
    for source in (drops, drops / "month_000", drops / "not" / "there", f"{drops}/x/../month_000"):
        assert is_allowed(source, f"{drops} s3://bucket"), source
    for source in (tmp_path, f"{drops}-old", drops / ".." / "other", "/", "", "s3://other/x"):
        assert not is_allowed(source, f"{drops} s3://bucket"), source


def test_a_link_is_where_it_leads(tmp_path: Path) -> None:
    for name in ("drops", "outside"):
        (tmp_path / name / "slice").mkdir(parents=True)
    (tmp_path / "drops" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "drops" / "round").symlink_to(tmp_path / "drops" / "round")
    (tmp_path / "outside" / "in").symlink_to(tmp_path / "drops")
    (tmp_path / "root").symlink_to(tmp_path / "drops")
    for root in (tmp_path / "drops", tmp_path / "root"):
        assert is_allowed(tmp_path / "outside" / "in" / "slice", root)
        assert is_allowed(tmp_path / "root" / "slice", root)
        assert not is_allowed(tmp_path / "drops" / "out" / "slice", root)
        assert not is_allowed(tmp_path / "drops" / "round" / "slice", root)


def test_a_prefix_ends_at_a_slash_and_a_step_up_is_none() -> None:
    said = "/drops s3://bucket/a/b/ s3://whole"
    for source in ("s3://bucket/a/b", "s3://bucket/a/b/", "s3://bucket/a/b/c", "s3://whole/x"):
        assert is_allowed(source, said), source
    for source in (
        *("s3://bucket/a/bc", "s3://bucket/a", "s3://bucket", "s3://bucket2/a/b", "s3://wholesale"),
        *("s3://bucket/a/b/../c", "s3://bucket/a/b/./c", "s3://whole/..", "s3://BUCKET/a/b"),
        "s3:/drops",
    ):
        assert not is_allowed(source, said), source


def test_uploads_are_allowed_and_landing_copies_are_not() -> None:
    assert is_allowed("s3://ours-landing/_uploads/0a1b", "/drops")
    assert not is_allowed("s3://ours-landing/other/month_000/f00d", "/drops")


def test_a_refusal_says_what_is_allowed() -> None:
    with pytest.raises(SourceNotAllowed, match=r"'/etc' is outside of SOURCE_ROOTS: .* /drops"):
        roots("/drops").require("/etc")


@pytest.mark.parametrize("said", ["drops", "./drops", "http://x/y", "s3://", "/drops s3:///x"])
def test_a_root_that_is_none_is_no_setting(said: str) -> None:
    with pytest.raises(InvalidSettings, match="SOURCE_ROOTS"):
        Settings(source_roots=said)
