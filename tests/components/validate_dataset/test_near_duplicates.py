import random
from itertools import combinations

import numpy as np

from components.texts import normalized
from components.validate_dataset.boilerplate import recurring
from components.validate_dataset.near_duplicates import jaccard, near_duplicate_groups
from components.validate_dataset.texts import bare, script, terms
from tests.conftest import hotel_rows


def edited(text: str, chance: random.Random) -> str:
    """The text with one word changed, left out or added."""
    words = text.split()
    at = chance.randrange(len(words))
    words[at : at + chance.choice([0, 1])] = chance.choice([[], ["really"]])
    return " ".join(words) or text


def test_every_pair_that_is_alike_is_in_one_group_and_no_other() -> None:
    chance = random.Random(0)
    texts = [text for text, _ in hotel_rows(200)]
    texts += [edited(text, chance) for text in texts[:100]]
    groups = near_duplicate_groups(texts, 0.8)
    linked = {(a, b) for a, b in combinations(range(300), 2) if jaccard(texts[a], texts[b]) >= 0.8}
    assert len(linked) > 50
    found = {(a, b) for a, b in combinations(range(300), 2) if groups[a] == groups[b]}
    assert linked <= found
    alone = [i for i in range(300) if not any(i in pair for pair in linked)]
    assert len(set(groups[alone])) == len(alone)


def test_texts_shorter_than_a_shingle_and_a_thousand_equal_ones_are_no_trouble() -> None:
    groups = near_duplicate_groups(["", "a", "a", "ab", "好", *["the same text"] * 1000], 0.8)
    assert groups[1] == groups[2]
    assert len({*groups[:5].tolist()}) == 4
    assert len(np.unique(groups[5:])) == 1
    assert near_duplicate_groups([], 0.8).tolist() == []


def test_dated_boilerplate_is_one_phrase_with_its_texts() -> None:
    own = [text for text, _ in hotel_rows(300)]
    dated = [
        f"{text} reply of the manager on day {n} of month {n % 12}"
        for n, text in enumerate(own[:30])
    ]
    [phrase] = recurring([*dated, *own[30:]], 0.05)
    assert phrase.words == "reply of the manager on day 0 of month 0"
    assert phrase.texts == list(range(30))
    assert recurring(own, 0.05) == []
    chinese = [f"{chr(0x4E00 + n)}不错补充点评2007年{n}月1日" for n in range(40)]
    assert recurring(chinese, 0.5)[0].words == "不错补充点评0年0月0日"


def test_words_and_scripts_are_those_that_people_see() -> None:
    assert normalized(" Ｆｕｌｌ  Width\n") == "full width"
    assert bare("a, b!  (c)") == "a b c"
    assert terms("the 房间 was ok") == ["the", "房", "间", "was", "ok"]
    assert [script(text) for text in ("房间 ok 很好", "Привет", "hello!", "123 !!")] == [
        "CJK",
        "CYRILLIC",
        "LATIN",
        "",
    ]
