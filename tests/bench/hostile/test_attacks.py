"""What the hostile tenant sends gets as far as it is meant to."""

import json

from attacks import FIELDS, Counts, review_bomb, unknown_fields


def test_all_fields_are_there_and_fit_into_a_request():
    made = unknown_fields()
    assert len(made["spec"]["worker"]["spec"]) == FIELDS + 1 and made["spec"]["worker"]["spec"]["containers"]
    assert len(json.dumps(made)) < 3 << 20


def test_the_review_can_be_read_and_is_not_too_large():
    bomb = review_bomb(100_000)
    review = json.loads(bomb)
    assert review["request"]["object"]["kind"] == "DaskCluster" and len(review["request"]["object"]["spec"]["a"]) > 10_000
    assert 90_000 < len(bomb) <= 100_000


def test_counts():
    counts = Counts()
    counts.add("a")
    counts.add("a", "refused")
    counts.add("a", "failed")
    assert counts.found == {"a": {"tries": 3, "refused": 1, "failed": 1}}
