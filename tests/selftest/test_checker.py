"""The checker can fail: an honest world passes, and each lie in it is named."""

import msgspec
import pytest

from models import codec
from models.message import Message
from selftest.record.account import Account
from selftest.record.findings import Invariant
from selftest.verdict.checker import check
from selftest.verdict.evidence import Evidence
from support.data import ledgers
from support.data.ledgers import THREAD, USER, answered, asked, message, message_id

NAME = (USER, THREAD)


@pytest.fixture
def world() -> Evidence:
    return ledgers.evidence()


def broken(world: Evidence) -> set[Invariant]:
    return {violation.invariant for violation in check(world)}


def whats(world: Evidence) -> list[str]:
    return [violation.what for violation in check(world)]


def without(messages: list[Message], number: int) -> list[Message]:
    return [each for each in messages if each.id != message_id(number)]


def test_a_world_that_kept_its_word_passes(world: Evidence) -> None:
    assert check(world) == []


def test_what_had_no_answer_may_be_there_or_not(world: Evidence) -> None:
    four = message(4, "four")
    world.counts[NAME] = 3
    world.lists[NAME].insert(0, four)
    world.committed.append(four)
    world.archived.append(four)
    world.hot_pages[NAME].records.append((four.id, codec.encode(four)))
    assert check(world) == []


def test_an_edit_without_an_answer_may_be_the_newest_version(world: Evidence) -> None:
    world.account.note(asked(2, "edit", "two, again", op=7))
    world.account.note(answered(7, status=0))
    assert check(world) == []
    again = message(2, "two, again", 3)
    world.by_id[again.id] = again
    world.lists[NAME][0] = again
    world.committed[1] = again
    world.archived[1] = again
    world.hot[again.id] = again
    assert check(world) == []


def test_a_message_that_its_list_lacks_is_lost(world: Evidence) -> None:
    world.lists[NAME].pop()
    assert Invariant.NO_LOSS in broken(world)
    assert "not in the API's list" in whats(world)


def test_a_message_that_its_id_does_not_find_is_lost(world: Evidence) -> None:
    world.by_id[message_id(1)] = None
    assert whats(world) == ["not in the API by id"]


@pytest.mark.parametrize("tier", ["committed", "archived"])
def test_a_message_that_a_tier_lacks_is_lost(world: Evidence, tier: str) -> None:
    setattr(world, tier, without(getattr(world, tier), 1))
    assert Invariant.NO_LOSS in broken(world)


def test_an_acknowledged_edit_that_is_not_there_is_lost(world: Evidence) -> None:
    world.by_id[message_id(2)] = message(2, "two")
    assert {Invariant.NO_LOSS, Invariant.NO_RESURRECTION} == broken(world)


def test_other_content_under_the_acknowledged_version_is_a_loss(world: Evidence) -> None:
    world.by_id[message_id(2)] = message(2, "something else", 2)
    assert broken(world) == {Invariant.NO_LOSS}


def test_one_key_with_two_acknowledged_ids_is_a_double(world: Evidence) -> None:
    again = msgspec.structs.replace(asked(1, content="one"), attempt=1)
    world.account.note(again)
    other = msgspec.structs.replace(answered(1), attempt=1, id=message_id(9))
    world.account.note(other)
    assert "one key was acknowledged with several ids" in whats(world)
    assert Invariant.NO_DOUBLE in broken(world)


def test_two_visible_messages_of_one_key_are_a_double(world: Evidence) -> None:
    twin = codec.seal(msgspec.structs.replace(message(8, "one"), metadata={"key": "key-1"}))
    world.lists[NAME].insert(0, twin)
    assert "a key is 2 times in the list of alice/inbox" in whats(world)


@pytest.mark.parametrize("place", ["committed", "archived"])
def test_two_rows_of_one_id_are_a_double(world: Evidence, place: str) -> None:
    getattr(world, place).append(message(1, "one"))
    assert broken(world) == {Invariant.NO_DOUBLE}


def test_an_id_twice_in_a_list_is_a_double(world: Evidence) -> None:
    world.lists[NAME].append(world.lists[NAME][-1])
    assert Invariant.NO_DOUBLE in broken(world)


def test_a_deleted_message_that_is_listed_came_back(world: Evidence) -> None:
    world.lists[NAME].insert(0, message(3, "three"))
    assert Invariant.NO_RESURRECTION in broken(world)


def test_a_deleted_message_that_clickhouse_still_has_came_back(world: Evidence) -> None:
    world.archived.append(message(3, "three"))
    assert Invariant.NO_RESURRECTION in broken(world)


def test_an_older_version_in_a_tier_is_a_step_backwards(world: Evidence) -> None:
    world.committed[1] = message(2, "two")
    assert Invariant.NO_RESURRECTION in broken(world)


def test_a_list_against_the_order_of_acknowledgement_is_named(world: Evidence) -> None:
    world.lists[NAME].reverse()
    assert broken(world) == {Invariant.ORDER}


def test_ids_against_the_order_of_acknowledgement_are_named() -> None:
    early, late = ledgers.message_id(1), ledgers.message_id(2)
    swapped = [
        asked(1, content="one"),
        msgspec.structs.replace(answered(1), id=late),
        asked(2, content="two"),
        msgspec.structs.replace(answered(2), id=early),
    ]
    world = Evidence(Account(swapped))
    world.lists = {NAME: [message(2, "one"), message(1, "two")]}
    assert Invariant.ORDER in broken(world)


@pytest.mark.parametrize("what", ["pending", "outbox", "dead_letters"])
def test_what_is_left_on_the_road_is_named(world: Evidence, what: str) -> None:
    setattr(world, what, 1)
    assert broken(world) == {Invariant.RECOVERY}


def test_a_request_without_an_answer_after_the_end_is_named(world: Evidence) -> None:
    world.unanswered.append("/api/threads: timeout 0")
    assert broken(world) == {Invariant.RECOVERY}


def test_a_hot_page_that_lacks_a_message_above_its_floor_disagrees(world: Evidence) -> None:
    world.hot_pages[NAME].records.pop()
    assert broken(world) == {Invariant.AGREEMENT}


def test_a_hot_page_may_lack_what_lies_below_its_floor(world: Evidence) -> None:
    page = world.hot_pages[NAME]
    world.hot_pages[NAME] = page._replace(floor=message_id(2), records=page.records[1:])
    assert check(world) == []


def test_a_hot_page_with_an_id_nobody_has_disagrees(world: Evidence) -> None:
    world.hot_pages[NAME].records.append((message_id(9), None))
    assert broken(world) == {Invariant.AGREEMENT}


def test_a_hot_record_of_another_version_disagrees(world: Evidence) -> None:
    world.hot[message_id(1)] = message(1, "one, edited", 2)
    assert broken(world) == {Invariant.AGREEMENT}


def test_a_list_that_lacks_an_unacknowledged_row_of_postgresql_disagrees(world: Evidence) -> None:
    four = message(4, "four")
    world.counts[NAME] = 3
    world.committed.append(four)
    world.archived.append(four)
    assert broken(world) == {Invariant.AGREEMENT}


def test_a_thread_that_is_miscounted_disagrees(world: Evidence) -> None:
    world.counts[NAME] = 3
    assert broken(world) == {Invariant.AGREEMENT}


def test_a_copy_that_does_not_match_its_hash_is_named(world: Evidence) -> None:
    forged = msgspec.structs.replace(message(1, "one"), metadata={"key": "key-1", "forged": True})
    world.by_id[forged.id] = forged
    assert broken(world) == {Invariant.INTACT}


def test_a_hot_record_that_is_no_message_is_named(world: Evidence) -> None:
    world.corrupt.append(message_id(1))
    assert broken(world) == {Invariant.INTACT}


@pytest.mark.parametrize("status", [400, 404, 412, 500])
def test_an_answer_that_no_write_may_get_is_named(world: Evidence, status: int) -> None:
    world.account.note(asked(1, "edit", "one, edited", op=7))
    world.account.note(answered(7, status=status))
    assert broken(world) == {Invariant.IN_TIME}


def test_a_404_after_a_delete_without_an_answer_is_due(world: Evidence) -> None:
    for op, status in ((7, 0), (8, 404)):
        world.account.note(asked(1, "delete", op=op))
        world.account.note(answered(op, status=status))
    assert check(world) == []


def test_a_404_to_the_first_delete_is_not_due(world: Evidence) -> None:
    world.account.note(asked(1, "delete", op=7))
    world.account.note(answered(7, status=404))
    assert Invariant.IN_TIME in broken(world)
