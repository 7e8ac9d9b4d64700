"""Files through the browser: streamed to the store, judged by the spec, loaded, and pruned."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx
import pytest

from cli.prune.rules import prune_all
from services.console.session import COOKIE
from shared.contracts.events import LoadRequested
from shared.object_store import Bucket
from shared.upload_area import upload_area
from tests.integration.acting.conftest import PAGE, TOKEN, Browser
from tests.integration.corrections.conftest import Line, users

GOOD = users(1, 30)


def stored(line: Line) -> dict[str, int]:
    """What lies among the uploads, by name, with its size."""
    area = upload_area(line.store)
    return {each.uri.key.rpartition("/")[2]: each.size for each in line.store.list(area)}


def send(browser: Browser, *files: tuple[str, bytes], **fields: str) -> httpx.Response:
    """Send files as the page's form does: its fields first."""
    token = browser.form_token(f"/load?dataset={fields['dataset']}")
    data = {"form_token": token, **fields}
    return browser.post("/load/files", data, files=[("files", file) for file in files])


def test_files_are_taken_previewed_confirmed_and_loaded(line: Line, admin: Browser) -> None:
    answer = send(admin, ("users.csv", GOOD), dataset=line.dataset)
    assert answer.status_code == 303, answer.text
    assert stored(line) == {"users.csv": len(GOOD)}
    page = admin.get(answer.headers["location"]).text
    assert "It would pass the first gate" in page
    assert f"{line.dataset}/day_00, before it is loaded" in page
    hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page))
    done = admin.post("/act/load", hidden)
    line.run()
    assert "The load is published." in admin.acted(done)
    assert line.current().keys() == set(range(1, 30))
    (load,) = admin.sql("SELECT landing_uri FROM headrace.loads")
    assert "_uploads" not in load.landing_uri, "the ingestor took its own copy"


def test_the_preview_says_what_the_ingestor_says_afterwards(line: Line, admin: Browser) -> None:
    content = users(1, 20, bad=3) + b"7,1.5,true\n,2.5,false\n"
    answer = send(admin, ("users.csv", content), dataset=line.dataset)
    page = admin.get(answer.headers["location"]).text
    assert "The ingestor would reject it." in page
    assert "score &#39;much&#39; is not a number" in page
    assert "user_id is NULL, but part of the key" in page
    assert "the key comes again in record" in page
    hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page))
    admin.post("/act/load", hidden)
    line.run()
    (load,) = admin.sql("SELECT status, rows_quarantined, reasons FROM headrace.loads")
    assert load.status == "rejected"
    assert f'<b class="bad">{load.rows_quarantined}</b> would be quarantined' in page
    for reason in load.reasons:
        assert reason["message"].replace("'", "&#39;") in page, reason["message"]


def test_the_preview_tells_missing_and_unknown_columns_and_files(
    line: Line, admin: Browser
) -> None:
    content = b"user_id;score;colour\n1;2.5;red\n"
    answer = send(admin, ("users.csv", content), ("notes.txt", b"hello"), dataset=line.dataset)
    page = admin.get(answer.headers["location"]).text
    assert "the header lacks label" in page
    assert re.search(r'chip missing">label', page)
    assert re.search(r'chip unknown">colour', page)
    assert "Of no table, and left alone: notes.txt" in page
    answer = send(admin, ("people.csv", GOOD), dataset=line.dataset)
    page = admin.get(answer.headers["location"]).text
    assert "users.csv is not in the slice (there: people.csv)" in page


def test_a_preview_of_many_rows_looks_at_the_first_ones_and_says_so(
    line: Line, browser_of: Callable[..., Browser]
) -> None:
    browser = browser_of(console_preview_rows=1000, csv_block_bytes=1 << 12)
    browser.log_in()
    answer = send(browser, ("users.csv", users(1, 9000)), dataset=line.dataset)
    page = browser.get(answer.headers["location"]).text
    assert "only the first 1" in page
    rows = int(re.search(r"<p><b>([\d\u202f]+)</b> rows", page)[1].replace("\u202f", ""))  # type: ignore[index]
    assert 1000 <= rows < 2500


def test_a_folder_is_previewed_too_and_one_that_is_not_there_is_told(
    line: Line, admin: Browser
) -> None:
    folder = line.drop("day_00", {"users.csv": GOOD})
    where = {"dataset": line.dataset, "source": str(folder)}
    assert "It would pass the first gate" in admin.get("/load/preview", params=where).text
    where["source"] = str(line.folder / "nowhere")
    page = admin.get("/load/preview", params=where).text
    assert "is not there" in page and "Load the slice" in page
    where["source"] = "ftp://host/x"
    assert "is neither a path nor" in admin.get("/load/preview", params=where).text


def test_an_upload_is_written_down_with_what_came_and_one_that_is_refused_is_not(
    line: Line, admin: Browser
) -> None:
    answer = send(admin, ("users.csv", GOOD), dataset=line.dataset, slice_key="day_00")
    upload = re.search(r"upload=(\w+)", answer.headers["location"])
    assert upload is not None
    row = admin.audit()[-1]
    assert (row["who"], row["action"], row["outcome"]) == ("admin", "upload", "done")
    assert (row["dataset"], row["subject"]) == (line.dataset, f"{line.dataset}/day_00")
    assert row["detail"] == {"upload": upload[1], "files": "users.csv", "bytes": len(GOOD)}
    assert "users.csv" in admin.get(f"/acts/{row['audit_id']}").text
    written = len(admin.audit())
    assert send(admin, ("../users.csv", GOOD), dataset=line.dataset).status_code == 400
    assert send(admin, dataset=line.dataset).status_code == 400
    assert len(admin.audit()) == written


@pytest.mark.parametrize(
    "name",
    ["../users.csv", "/etc/passwd", "a/b.csv", "a\\b.csv", ".hidden", "..", "x" * 201],
)
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_of_the_upload_stays(
    line: Line, admin: Browser, name: str
) -> None:
    answer = send(admin, ("users.csv", GOOD), (name, b"x"), dataset=line.dataset)
    assert answer.status_code == 400, answer.text
    assert stored(line) == {}


@pytest.mark.parametrize("upload", ["../streamflow", "x", "0" * 31, "0" * 32 + "/..", "A" * 32])
def test_what_is_no_uploads_id_reaches_nothing(line: Line, admin: Browser, upload: str) -> None:
    where = {"dataset": line.dataset, "upload": upload}
    assert admin.get("/load/preview", params=where).status_code == 400
    assert admin.get("/act/mend", params=where).status_code == 400


def test_more_bytes_or_files_than_may_be_are_refused_while_they_come(
    line: Line, browser_of: Callable[..., Browser]
) -> None:
    browser = browser_of(console_upload_bytes=1 << 20, console_upload_files=2)
    browser.log_in()
    three = [(f"{n}.csv", b"x") for n in range(3)]
    answer = send(browser, *three, dataset=line.dataset)
    assert (answer.status_code, "more than 2 files" in answer.text) == (400, True)
    large = ("users.csv", b"x" * (1 << 20) + b"x")
    answer = send(browser, large, dataset=line.dataset)
    assert (answer.status_code, "CONSOLE_UPLOAD_BYTES" in answer.text) == (400, True)
    twice = send(browser, ("a.csv", b"x"), ("a.csv", b"y"), dataset=line.dataset)
    assert "two files called" in twice.text
    none = send(browser, dataset=line.dataset)
    assert none.status_code == 400
    assert stored(line) == {}


def test_a_large_file_is_stored_in_parts_and_comes_back_as_it_was(
    line: Line, admin: Browser
) -> None:
    content = bytes(range(256)) * (1 << 16) + b"the end"  # 16 MiB and a bit: three parts
    answer = send(admin, ("users.csv", content), dataset=line.dataset)
    assert answer.status_code == 303
    (found,) = line.store.list(upload_area(line.store))
    assert found.size == len(content)
    with line.store.open(found.uri, start=(8 << 20) - 3, stop=(8 << 20) + 3) as stream:
        assert stream.read() == content[(8 << 20) - 3 : (8 << 20) + 3]


def test_an_upload_that_breaks_off_leaves_nothing(line: Line, admin: Browser) -> None:
    token = admin.form_token(f"/load?dataset={line.dataset}")
    head = (
        '--b\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n'
        f"{token}\r\n"
        '--b\r\nContent-Disposition: form-data; name="files"; filename="users.csv"\r\n\r\n'
    ).encode()

    def body() -> Iterator[bytes]:
        yield head + b"user_id\n1\n"

    headers = {**PAGE, "Content-Type": "multipart/form-data; boundary=b"}
    answer = admin.http.post("/load/files", content=body(), headers=headers)
    assert answer.status_code == 400
    assert "broke off" in answer.text
    assert stored(line) == {}


def test_a_file_before_the_forms_token_is_not_taken(line: Line, admin: Browser) -> None:
    token = admin.form_token(f"/load?dataset={line.dataset}")
    body = (
        '--b\r\nContent-Disposition: form-data; name="files"; filename="users.csv"\r\n\r\n'
        "x\r\n"
        '--b\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n'
        f"{token}\r\n--b--\r\n"
    ).encode()
    headers = {**PAGE, "Content-Type": "multipart/form-data; boundary=b"}
    assert admin.http.post("/load/files", content=body, headers=headers).status_code == 403
    assert stored(line) == {}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("text/plain", b"x"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"nothing of the kind"),
        ("multipart/form-data; boundary=b", b"--b\r\nX: " + b"y" * 100_000),
    ],
)
def test_what_is_no_form_with_files_is_refused(
    line: Line, browser: Browser, kind: str, content: bytes
) -> None:
    headers = {"Content-Type": kind, "Authorization": f"Bearer {TOKEN}"}
    assert browser.http.post("/load/files", content=content, headers=headers).status_code == 400
    assert stored(line) == {}


def test_a_script_sends_files_and_loads_them(line: Line, browser: Browser) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = browser.http.post(
        "/load/files",
        data={"dataset": line.dataset},
        files={"files": ("users.csv", GOOD)},
        headers=headers,
    )
    assert answer.status_code == 201
    upload = answer.json()["upload"]
    body = {"dataset": line.dataset, "upload": upload}
    assert browser.http.post("/act/load", json=body, headers=headers).status_code == 202
    line.run()
    assert len(line.current()) == 29
    assert COOKIE not in browser.http.cookies


def test_the_page_to_load_names_what_comes_next_and_what_is_expected(
    line: Line, browser: Browser
) -> None:
    page = browser.get(f"/load?dataset={line.dataset}").text
    assert "day_00 comes next" in page
    assert "users.csv" in page and "<span>score</span>" in page
    assert "log in</a> first" in page
    assert "disabled" in page
    asked = browser.get(f"/load?dataset={line.dataset}&slice_key=day_07").text
    assert asked.count('value="day_07"') == 2
    assert browser.get("/load?dataset=nothing").status_code == 404


@pytest.fixture
def rejected(line: Line) -> str:
    """A load with more bad rows than its budget allows."""
    load = line.load("day_00", users(1, 20, bad=3))
    assert load["status"] == "rejected"
    return str(load["load_id"])


def mend(browser: Browser, load_id: str, name: str, sheet: bytes) -> httpx.Response:
    token = browser.form_token(f"/mend?load={load_id}")
    return browser.post("/mend/files", {"form_token": token}, files=[("files", (name, sheet))])


def test_bad_rows_are_downloaded_mended_and_loaded_as_a_correction(
    line: Line, admin: Browser, rejected: str
) -> None:
    page = admin.get(f"/mend?load={rejected}").text
    assert "not_a_number" in page
    sheet = admin.get("/mend/sheet", params={"load": rejected, "file": "users.csv"})
    assert sheet.status_code == 200
    assert "filename*=UTF-8''users.csv.mend.csv" in sheet.headers["content-disposition"]
    answer = mend(admin, rejected, "users.csv.mend.csv", sheet.content.replace(b"much", b"4.5"))
    assert answer.status_code == 303, answer.text
    assert (admin.audit()[-1]["action"], admin.audit()[-1]["dataset"]) == ("upload", None)
    confirm = admin.get(answer.headers["location"]).text
    assert "with 3 mended rows?" in confirm
    assert "score &#39;much&#39; -&gt; &#39;4.5&#39;" in confirm
    upload = answer.headers["location"].rpartition("=")[2]
    done = admin.confirm("mend", upload=upload)
    line.run()
    assert "The load is published." in admin.acted(done)
    assert line.current()[10_001] == 4.5
    row = admin.audit()[-1]
    assert (row["action"], row["detail"]["corrects"], row["detail"]["rows"]) == (
        "mend rows",
        rejected,
        3,
    )


def test_a_sheet_in_which_nothing_is_mended_asks_for_nothing(
    line: Line, admin: Browser, rejected: str
) -> None:
    sheet = admin.get("/mend/sheet", params={"load": rejected, "file": "users.csv"}).content
    answer = mend(admin, rejected, "users.csv", sheet)
    page = admin.get(answer.headers["location"])
    assert (page.status_code, "no row of the sheet differs" in page.text) == (400, True)
    answer = mend(admin, rejected, "users.csv", b"a,b\n1,2\n")
    page = admin.get(answer.headers["location"])
    assert (page.status_code, "is no sheet" in page.text) == (400, True)


def test_the_files_of_a_load_are_downloaded_as_they_came(
    line: Line, admin: Browser, rejected: str, browser_of: Callable[..., Browser]
) -> None:
    page = admin.get(f"/mend?load={rejected}").text
    assert "/mend/file?" in page
    found = admin.get("/mend/file", params={"load": rejected, "file": "users.csv"})
    assert found.content == users(1, 20, bad=3)
    assert "attachment" in found.headers["content-disposition"]
    for name in ("../users.csv", "nothing.csv", ""):
        where = {"load": rejected, "file": name}
        assert admin.get("/mend/file", params=where).status_code == 404
    stranger = browser_of()
    where = {"load": rejected, "file": "users.csv"}
    assert stranger.get("/mend/file", params=where).status_code == 303
    assert admin.get("/mend?load=nothing").status_code == 404


def test_a_file_and_its_sheet_are_downloaded_whatever_script_its_name_is_in(
    line: Line, admin: Browser
) -> None:
    line.spec["tables"]["users"]["file"] = "数据.csv"
    line.write_spec()
    folder = line.drop("day_00", {"数据.csv": users(1, 20, bad=3)})
    load = line.send(
        LoadRequested(dataset=line.dataset, slice_key="day_00", source_uri=str(folder))
    )
    where = {"load": load["load_id"], "file": "数据.csv"}
    for path, name in (("/mend/sheet", "数据.csv.mend.csv"), ("/mend/file", "数据.csv")):
        answer = admin.get(path, params=where)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-disposition"].endswith(f"filename*=UTF-8''{quote(name)}")
        assert b"much" in answer.content


def test_pruning_takes_old_uploads_that_no_load_waits_for(line: Line, admin: Browser) -> None:
    kept = send(admin, ("users.csv", GOOD), dataset=line.dataset).headers["location"]
    upload = kept.rpartition("=")[2]
    line.away.add("ingestor")
    admin.confirm("load", dataset=line.dataset, upload=upload)
    send(admin, ("users.csv", GOOD), dataset=line.dataset)
    assert len(line.store.list(upload_area(line.store))) == 2

    def prune(days: float, *, is_dry: bool = False) -> int:
        now = datetime.now(UTC) + timedelta(days=days)
        found = prune_all(line.settings, line.engine, line.store, now=now, is_dry=is_dry)
        return next(each.items for each in found if each.what == "uploads")

    assert prune(6) == 0, "not old enough"
    assert prune(8, is_dry=True) == 1
    assert len(line.store.list(upload_area(line.store))) == 2
    assert prune(8) == 1
    (left,) = line.store.list(upload_area(line.store))
    assert upload in left.uri.key, "a load of it is asked for"
    landing = line.store.uri(Bucket.LANDING, "")
    assert all("_uploads" in each.uri.key for each in line.store.list(landing))
