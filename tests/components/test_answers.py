import pytest

from components.answers import largest_difference


@pytest.mark.parametrize(
    ("found", "expected", "difference"),
    [
        ({"a": 0.25, "b": 0.75}, [0.25, 0.5], 0.25),
        ({"a": -101.0}, [-100.0], 0.01),  # of a hundred
        ({"a": 0.0}, [1.0], 1.0),
    ],
)
def test_differences_are_absolute_up_to_1_and_relative_beyond(
    found: dict[str, float], expected: list[float], difference: float
) -> None:
    assert largest_difference(found, list(found), expected) == pytest.approx(difference)
