import pytest

from relprop.app.targets import class_indices, class_name
from relprop.errors import InvalidTarget

NAMES = ["espresso", "Egyptian cat", "tabby", "crane, bird"]


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("2", [2]),
        ("tabby", [2]),
        (" egyptian CAT ", [1]),
        ("tabby, 0,espresso", [2, 0]),
        ("crane, bird", [3]),
        ("all", [0, 1, 2, 3]),
    ],
)
def test_classes_by_index_and_name(text, indices):
    assert class_indices(text, NAMES, count=4) == indices


def test_names_go_before_indices():
    """Digits are named by digits; a model may name its classes from 1."""
    assert class_indices("1", ["1", "2"], count=2) == [0]


@pytest.mark.parametrize(
    ("text", "count", "names", "message"),
    [
        (
            "expresso",
            4,
            NAMES,
            "no class 'expresso'; give an index from 0 to 3 or a name .close: es",
        ),
        ("zzz", 4, NAMES, "none is close"),
        ("4", 4, NAMES, "no class '4'"),
        ("-1", 4, [], "no class '-1'; give an index from 0 to 3, or all"),
        ("tabby,", 4, NAMES, "no class ''"),
        ("all", 1000, [], "1000 classes are too many maps; name up to 100"),
    ],
)
def test_what_is_no_class(text, count, names, message):
    with pytest.raises(InvalidTarget, match=message):
        class_indices(text, names, count=count)


def test_classes_without_a_name():
    assert class_name(1, NAMES) == "Egyptian cat" and class_name(9, NAMES) == "class 9"
