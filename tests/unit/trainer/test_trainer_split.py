from hypothesis import given
from hypothesis import strategies as st

from services.trainer.training_dataset.split import is_test, sides
from shared.contracts.training_spec import Split

keys = st.one_of(st.text(), st.integers())


@given(st.lists(keys), st.lists(keys), st.text(), st.floats(0.01, 0.99))
def test_an_entity_keeps_its_side_whatever_other_rows_there_are(before, after, salt, share):
    split = Split(test_share=share, salt=salt)
    alone = [is_test(key, split) for key in before]
    assert sides([*after, *before], split)[len(after) :] == alone


@given(keys, st.floats(0.01, 0.98), st.floats(0.0, 0.5))
def test_a_larger_share_keeps_who_tested_before(key, share, more):
    larger = min(share + more, 0.99)
    if is_test(key, Split(test_share=share)):
        assert is_test(key, Split(test_share=larger))


def test_the_sides_have_about_the_shares_that_the_spec_asks_for():
    for salt in ("", "streamflow", "another"):
        for share in (0.1, 0.25, 0.5):
            mask = sides(range(20_000), Split(test_share=share, salt=salt))
            assert abs(sum(mask) / len(mask) - share) < 0.015


def test_the_salt_decides_who_tests():
    keys = range(1000)
    assert sides(keys, Split(salt="a")) != sides(keys, Split(salt="b"))


def test_the_sides_are_those_of_the_first_release():
    # A changed hash would put test entities of old models on the training side of new ones.
    split = Split(test_share=0.25, salt="streamflow")
    found = [
        key
        for key in (
            "7590-VHVEG",
            "5575-GNVDE",
            "3668-QPYBK",
            "7795-CFOCW",
            "9237-HQITU",
            "9305-CDSKC",
            "1452-KIOVK",
            "6713-OKOMC",
        )
        if is_test(key, split)
    ]
    assert found == ["9237-HQITU", "6713-OKOMC"]
