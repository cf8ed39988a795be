"""Tests of the hostile tenant's manifests and requests."""

import json
import re
from pathlib import Path

import bodies
from attacks import HEAVY_REQUEST, HEAVY_SPEC
from bodies import (
    FIELDS,
    backwards,
    hard_to_compile,
    jumps,
    leb,
    nested_cluster,
    review_bomb,
    same_keys,
    unknown_fields,
)

#: Folder of the sources with the operator's limits.
SOURCES = Path(__file__).parents[3] / "host"


def constant(file, name):
    """Return the value of a constant in the operator's sources, in bytes."""
    number, bits = re.search(rf"const {name}: usize = (\d+)(?: << (\d+))?;", (SOURCES / file).read_text()).groups("0")
    return int(number) << int(bits)


def tree_bytes(made):
    """Return the memory that the operator estimates for a JSON text whose strings have no brackets and commas."""
    bytes_of = {character: constant("core/src/json.rs", name) for character, name in ((b"{", "MAP"), (b"[", "LIST"), (b",", "ITEM"))}
    return len(made) + sum(each * made.count(character) for character, each in bytes_of.items())


def leaves(items):
    """Return the leaf values of nested lists in order."""
    return [leaf for item in items for leaf in (leaves(item["items"]) if "items" in item else [item["value"]])]


def test_unknown_fields_fit_into_a_request():
    made = unknown_fields()
    assert len(made["spec"]["worker"]["spec"]) == FIELDS + 1 and made["spec"]["worker"]["spec"]["containers"]
    assert len(json.dumps(made)) < 3 << 20


def test_heavy_manifests_can_be_stored_and_reviewed():
    made = bodies.text(bodies.heavy_cluster("heavy", HEAVY_SPEC))
    assert len(made) < 1.4 * 2**20 and json.loads(made)["metadata"]["name"] == "heavy"
    most = constant("operator/src/webhook/parse.rs", "MOST_BYTES")
    # The API server adds some fields.
    assert 0.9 * most < tree_bytes(bodies.text(bodies.heavy_cluster("heavy", HEAVY_REQUEST))) < 0.97 * most


def test_items_with_equal_keys_differ_only_in_their_last_leaf():
    items = same_keys(3, 4)
    assert len(leaves(items)) == 64 and {item["name"] for item in items} == {"a"}
    for first in items:
        for second in items:
            if first is not second:
                assert leaves([first])[:-1] == leaves([second])[:-1] and leaves([first])[-1] != leaves([second])[-1]
    assert leaves(backwards(items)) == leaves(items)[::-1]
    assert backwards(backwards(items)) == items


def test_nested_lists_can_be_stored():
    assert len(bodies.text(nested_cluster("nested", same_keys(3, 30)))) < 1 << 20


def test_the_review_bomb_is_valid_and_not_too_large():
    bomb = review_bomb(100_000)
    review = json.loads(bomb)
    assert review["request"]["object"]["kind"] == "DaskCluster" and len(review["request"]["object"]["spec"]["a"]) > 10_000
    assert 90_000 < len(bomb) <= 100_000


def test_numbers_in_the_encoding_of_webassembly():
    assert [leb(number) for number in (0, 127, 128, 4000)] == [b"\0", b"\x7f", b"\x80\x01", b"\xa0\x1f"]


def test_a_module_of_jumps():
    assert jumps(1, 1, 1) == bytes.fromhex(
        "0061736d 01000000"  # a core module
        "01 09 02 60 01 7f 00 60 00 01 7e"  # two types: (param i32), (result i64)
        "03 02 01 00"  # a function of the first
        "0a 10 01 0e 00"  # its code, without local variables
        "02 01 42 00 20 00 0e 01 00 00 0b 1a 0b")  # block, i64.const 0, local.get 0, br_table 0 0, end, drop, end


def test_components_that_are_hard_to_compile_fit_into_a_config_map():
    made = hard_to_compile(b"\0asm\x0d\0\x01\0" + bytes(400_000))
    assert list(made) == ["memory", "time"] and all(len(component) < bodies.CONFIG_MAP for component in made.values())
