"""The lint of words finds what it is for."""

from lint_words import findings, main


def test_a_banned_word_is_found_with_its_line_and_advice():
    assert findings('"""Fine.\n\nIt Hears so many clips."""') == [
        (3, "Hears", "takes as input; speech-model features"),
        (3, "so many", "the number itself; this many"),
    ]


def test_names_in_backticks_and_parts_of_words_are_allowed():
    assert findings("`hear` of theirs; the shears of a painterly picture") == []


def test_the_tree_holds_none(capsys):
    assert main() == 0, capsys.readouterr().out
