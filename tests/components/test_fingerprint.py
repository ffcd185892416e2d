from components.fingerprint import fingerprint


def make(decides: dict[str, object]) -> str:
    return fingerprint(decides, code=["serving.encoding"], libraries=["numpy"])


def test_the_same_settings_give_the_same_fingerprint_in_any_order() -> None:
    assert make({"a": 1, "b": [1, 2]}) == make({"b": [1, 2], "a": 1})


def test_whole_floats_equal_ints_since_kfp_turns_one_into_the_other() -> None:
    assert make({"size": 12000, "deep": [{"x": 3}]}) == make(
        {"size": 12000.0, "deep": [{"x": 3.0}]}
    )


def test_another_value_code_or_library_gives_another_fingerprint() -> None:
    decides = {"a": 1}
    found = {
        make(decides),
        make({"a": 2}),
        fingerprint(decides, code=["serving.classifier"], libraries=["numpy"]),
        fingerprint(decides, code=["serving.encoding"], libraries=["torch"]),
    }
    assert len(found) == 4
