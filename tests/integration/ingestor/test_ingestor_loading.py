import gzip
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from sqlalchemy import Connection, text

from services.ingestor import handlers
from services.ingestor.handlers import Ingestor
from services.ingestor.staging import StagedTable, stage_table
from shared.contracts.spec_file import find_spec
from shared.database.dataset_tables import quoted
from shared.errors import (
    InconsistentState,
    PermanentError,
    ServerUnavailable,
    SourceNotFound,
    UnknownDataset,
)
from shared.messaging.unit_of_work import AlreadyDone, UnitOfWork
from shared.object_store import Bucket, ObjectUri
from tests.conftest import REPOSITORY
from tests.integration.ingestor.conftest import CUSTOMERS, DROP, ORDERS, Shop


def test_slice_is_staged_typed_and_announced(shop: Shop) -> None:
    outcome = shop.load(DROP)
    assert (outcome.status, outcome.codes) == ("loaded", [])
    assert shop.staged(outcome.load_id, "customers") == [
        {
            "customer_id": "c2",
            "email": "two@x.org",
            "joined": date(2024, 1, 2),
            "record_number": 1,
        },
        {"customer_id": "c1", "email": None, "joined": date(2024, 1, 1), "record_number": 2},
    ]
    first, second = shop.staged(outcome.load_id, "orders")
    assert first["at"] == datetime(2024, 3, 1, 10, tzinfo=UTC)
    assert (first["amount"], first["paid"]) == (9.5, True)
    assert (second["amount"], second["paid"], second["at"]) == (None, None, None)
    ((topic, said),) = outcome.events
    assert topic == "slice-loaded"
    assert said["load_id"] == outcome.load_id
    assert (said["as_of"], said["revision"]) == ("2024-03-01", 1)
    assert said["content_sha256"] == outcome.load["content_sha256"]
    assert [(t["table"], t["rows_in"], t["rows_loaded"]) for t in said["tables"]] == [
        ("customers", 2, 2),
        ("orders", 2, 2),
    ]
    assert said["tables"] == outcome.load["tables"]
    assert (outcome.load["rows_in"], outcome.load["rows_loaded"]) == (4, 4)
    assert outcome.load["rows_quarantined"] == 0
    assert outcome.load["finished_at"] is None


def test_landing_has_the_very_bytes_below_their_digest(shop: Shop) -> None:
    outcome = shop.load(DROP)
    digest = hashlib.sha256()
    for table, content in (("customers", CUSTOMERS), ("orders", ORDERS)):
        digest.update(f"{table} {hashlib.sha256(content).hexdigest()}\n".encode())
    prefix = shop.store.uri(Bucket.LANDING, f"shop/day_00/{digest.hexdigest()}")
    assert outcome.load["landing_uri"] == str(prefix)
    landed = shop.store.list(prefix.child(""))
    assert {f.uri.key.rsplit("/", 1)[1]: shop.store.get_bytes(f.uri) for f in landed} == DROP


def test_slice_is_read_from_the_store(shop: Shop) -> None:
    prefix = shop.store.uri(Bucket.LANDING, "drops/day_00")
    for name, content in DROP.items():
        shop.store.put_bytes(prefix.child(name), content, content_type="text/csv")
    deeper = prefix.child("old/customers.csv")
    shop.store.put_bytes(deeper, b"not,this\n", content_type="text/csv")
    for uri in (str(prefix), f"{prefix}/"):
        shop.run("DELETE FROM headrace.loads")
        assert shop.handle(shop.event(uri)).status == "loaded"
    with pytest.raises(SourceNotFound, match="day_01"):
        shop.handle(shop.event(shop.store.uri(Bucket.LANDING, "drops/day_01")))
    with pytest.raises(SourceNotFound):
        shop.handle(shop.event(ObjectUri("no-such-bucket", "x")))


def test_file_uri_compressed_and_parquet_files_are_found_without_being_declared(shop: Shop) -> None:
    sink = io.BytesIO()
    parquet.write_table(pa.table({"customer_id": ["c1"], "email": ["a"], "joined": [None]}), sink)
    folder = shop.write(
        {"customers.parquet": sink.getvalue(), "orders.csv.gz": gzip.compress(ORDERS)}, "a drop"
    )
    outcome = shop.handle(shop.event(folder.as_uri()))
    assert outcome.status == "loaded"
    assert outcome.load["rows_in"] == 3


def test_several_files_of_a_table_are_numbered_through(shop: Shop) -> None:
    shop.spec["tables"]["customers"] |= {"file": "customers_*.csv", "quarantine_budget": 10}
    outcome = shop.load(
        {
            "customers_2.csv": b"customer_id,email,joined\nc3,,never\nc1,new,\n",
            "customers_1.csv": CUSTOMERS,
            ".customers_3.csv": b"hidden",
            "orders.csv": ORDERS,
        }
    )
    # c1 of the second file repeats c1 of the first: a duplicate like any other.
    assert outcome.codes == ["duplicate_key"]
    staged = shop.staged(outcome.load_id, "customers")
    assert [(row["customer_id"], row["record_number"]) for row in staged] == [("c2", 1), ("c1", 4)]
    assert [(q["file"], q["record_number"], q["reason"]) for q in outcome.quarantined] == [
        ("customers_1.csv", 2, "the key comes again in record 2 of customers_2.csv"),
        (
            "customers_2.csv",
            1,
            "joined 'never' is not a date like 2024-01-31",
        ),
    ]


def test_optional_table_without_a_file_is_staged_empty_and_marked_absent(shop: Shop) -> None:
    shop.spec["tables"]["orders"]["required"] = False
    outcome = shop.load({"customers.csv": CUSTOMERS})
    assert outcome.status == "loaded"
    (orders,) = [t for t in outcome.load["tables"] if t["table"] == "orders"]
    assert (orders["present"], orders["rows_in"]) == (False, 0)
    assert shop.staged(outcome.load_id, "orders") == []


def test_header_alone_is_a_table_of_no_rows(shop: Shop) -> None:
    outcome = shop.load(DROP | {"orders.csv": b"order_id,line,amount,paid,at"})
    assert outcome.status == "loaded"
    assert outcome.load["tables"][1]["present"] is True
    assert shop.staged(outcome.load_id, "orders") == []


def test_as_of_of_the_request_goes_before_the_name(shop: Shop) -> None:
    assert shop.load(DROP, slice_key="day_02").load["as_of"] == date(2024, 3, 3)
    given = shop.load(DROP, slice_key="extra", as_of=date(2023, 12, 31))
    assert given.load["as_of"] == date(2023, 12, 31)
    assert given.events[0][1]["as_of"] == "2023-12-31"


def test_name_that_says_no_date_is_a_permanent_error(shop: Shop) -> None:
    event = shop.event(shop.write(DROP), slice_key="monday")
    with pytest.raises(PermanentError, match="'monday' is not named like 'day_00'"):
        shop.handle(event)
    assert shop.outcome(event.id).status == "loading"  # until the runtime marks it as failed


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".", "x" * 200, "a\nb"])
def test_name_that_leads_elsewhere_is_refused_even_with_a_date(shop: Shop, name: str) -> None:
    with pytest.raises(PermanentError):
        shop.load(DROP, slice_key=name, as_of=date(2024, 1, 1))


def test_dataset_or_source_that_is_not_there_is_a_permanent_error(shop: Shop) -> None:
    with pytest.raises(SourceNotFound, match="nowhere"):
        shop.handle(shop.event(shop.folder / "nowhere"))
    with pytest.raises(PermanentError, match="neither a path nor"):
        shop.handle(shop.event("ftp://host/folder"))
    event = shop.event(shop.folder)
    (shop.settings.datasets_dir / "shop.yaml").unlink()
    with pytest.raises(UnknownDataset):
        shop.handle(event)


def test_links_out_of_the_folder_are_not_followed(shop: Shop) -> None:
    secret = shop.folder / "secret.csv"
    secret.write_bytes(CUSTOMERS)
    folder = shop.write({"orders.csv": ORDERS, "real.csv": CUSTOMERS})
    (folder / "customers.csv").symlink_to(secret)
    assert shop.handle(shop.event(folder)).codes == ["missing_file"]
    (folder / "customers.csv").unlink()
    (folder / "customers.csv").symlink_to("real.csv")
    assert shop.handle(shop.event(folder)).status == "loaded"
    shop.spec["tables"]["customers"]["file"] = "../secret.csv"
    assert shop.handle(shop.event(folder)).codes == ["missing_file"]


def test_second_delivery_changes_nothing(shop: Shop) -> None:
    event = shop.event(shop.write(DROP))
    before = shop.handle(event)
    shop.write(DROP | {"orders.csv": ORDERS + b"2,1,,,\n"})
    with pytest.raises(AlreadyDone):
        shop.handle(event)
    assert shop.outcome(event.id) == before
    assert len(shop.staged(event.id, "orders")) == 2
    assert shop.inbox_size() == 1


def test_two_deliveries_at_once_have_one_effect(shop: Shop) -> None:
    event = shop.event(shop.write(DROP))

    def deliver() -> str:
        try:
            return shop.handle(event).status
        except AlreadyDone:
            return "already done"

    with ThreadPoolExecutor(2) as pool:
        ends = [delivery.result() for delivery in [pool.submit(deliver) for _ in range(2)]]
    assert sorted(ends) == ["already done", "loaded"]
    assert len(shop.outcome(event.id).events) == 1


def test_slice_may_be_named_by_a_share(shop: Shop) -> None:
    shop.spec["slices"]["naming"] = {"pattern": "{index}%", "first_as_of": "2024-03-01"}
    outcome = shop.load(DROP, slice_key="40%")
    assert outcome.status == "loaded"
    landing = ObjectUri.parse(str(outcome.load["landing_uri"]))
    assert shop.store.get_bytes(landing.child("orders.csv")) == ORDERS


def test_attempt_after_one_that_died_half_way_begins_anew(shop: Shop) -> None:
    event = shop.event(shop.write(DROP))
    unit = UnitOfWork(shop.engine, "ingestor", event, _dies)
    with pytest.raises(RuntimeError, match="killed"):
        Ingestor(shop.settings, shop.store).on_load_requested(event, unit)
    assert shop.outcome(event.id).status == "loading"
    assert shop.outcome(event.id).events == []
    shop.write(DROP | {"orders.csv": ORDERS + b"2,1,,,\n"})
    again = shop.handle(event)
    assert (again.status, again.load["rows_in"], again.load["revision"]) == ("loaded", 5, 1)
    assert len(shop.staged(event.id, "orders")) == 3


def _dies() -> datetime:
    raise RuntimeError("killed")


def test_rows_that_do_not_add_up_are_an_inconsistent_state(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loses_a_row(connection: Connection, _: object, staged: StagedTable) -> None:
        name = quoted("shop_staging", staged.name)
        connection.execute(text(f"DELETE FROM {name} WHERE record_number = 1"))

    monkeypatch.setattr(handlers, "quarantine_duplicates", loses_a_row)
    event = shop.event(shop.write(DROP))
    with pytest.raises(InconsistentState, match="2 rows in, but 1 in staging and 0 in quarantine"):
        shop.handle(event)
    assert shop.outcome(event.id).events == []
    assert shop.inbox_size() == 0


def test_database_that_is_away_is_a_transient_error(shop: Shop) -> None:
    url = "postgresql://headrace:x@127.0.0.1:1/headrace"
    away = shop.settings.model_validate({**shop.settings.model_dump(), "database_url": url})
    spec = find_spec(shop.settings.datasets_dir, "shop")
    with pytest.raises(ServerUnavailable):
        stage_table(away, spec, "orders", "load", [])


def test_the_real_drops_load_whole(shop: Shop, drops: Path) -> None:
    settings = shop.settings.model_copy(update={"datasets_dir": REPOSITORY / "datasets"})
    real = Shop(settings, shop.engine, shop.store, shop.folder, shop.clock)
    real.spec["dataset"] = "streamflow"
    real.write_spec = lambda: None  # type: ignore[method-assign]
    for slice_key in ("month_000", "month_001"):
        outcome = real.handle(real.event(drops / slice_key, slice_key=slice_key))
        assert outcome.status == "loaded"
        assert [t["rows_loaded"] for t in outcome.load["tables"]] == [7043] * 6
        assert outcome.load["rows_quarantined"] == 0
    staged = real.staged(outcome.load_id, "subscriptions")
    assert sum(row["plan_stream_tv"] is None for row in staged) == 1526
    assert all(row["add_on_backup"] is None for row in staged)
