import pytest

from serving.passes import Filling, Passes


@pytest.mark.parametrize(
    ("waiting", "lanes", "share"),
    [
        (35, 1, 128),  # whatever there is, for a text alone
        (245, 2, 128),
        (1120, 2, 280),  # four passes, two a lane, rather than 512, 512 and 96
        (560, 2, 280),
        (512, 1, 512),
        (513, 1, 257),
    ],
)
def test_lanes_end_together_and_small_passes_are_spared(
    waiting: int, lanes: int, share: int
) -> None:
    assert Passes(512, packs=True).share(waiting, lanes) == share


def test_a_pass_takes_one_text_of_any_length_and_more_while_there_is_room() -> None:
    filling = Filling(Passes(512, packs=False))
    assert filling.takes(600, 600)
    assert not filling.takes(600, 600)
    filling = Filling(Passes(512, packs=False))
    assert [filling.takes(128, 120) for _ in range(5)] == [True] * 4 + [False]
    assert filling.tokens == 512


def test_a_packed_pass_counts_the_texts_own_tokens_and_bounds_what_attention_pads() -> None:
    filling = Filling(Passes(512, packs=True))
    assert all(filling.takes(64, 36) for _ in range(14))
    assert filling.tokens == 14 * 36
    assert not filling.takes(64, 36)
    filling = Filling(Passes(512, packs=True))
    assert filling.takes(400, 400)
    assert filling.takes(16, 5)
    assert not filling.takes(16, 5)  # three rows of 400 would be padded
