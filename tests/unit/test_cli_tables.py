"""What fits on a terminal. Standard output is no terminal here, unless rich is told that it is one."""

import pytest
from rich.console import Console
from rich.progress import TextColumn

from skein.cli.terminal.bars import bytes_bar
from skein.cli.terminal.tables import Column, show_table


@pytest.fixture
def terminal(monkeypatch, capsys):
    """Show a table on a terminal of some width; the lines, and how many columns were hidden."""

    def show(columns, rows, *, width: int):
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(width))
        hidden = show_table([Column(c) if isinstance(c, str) else c for c in columns], rows)
        return capsys.readouterr().out.splitlines(), hidden

    return show


def test_columns_are_left_out_of_the_middle(terminal):
    lines, hidden = terminal(["aaaa", "bbbb", "cccc", "dddd", "eeee"], [["1", "2", "3", "4", "5"]], width=26)

    assert hidden == 2
    assert [line.split() for line in lines] == [
        ["aaaa", "bbbb", "…", "eeee"],
        ["─" * 22],
        ["1", "2", "…", "5"],
    ]


def test_a_wide_last_column_does_not_hide_narrow_first_ones(terminal):
    lines, hidden = terminal(["a", "b", "c", "d"], [["1", "2", "3", "x" * 30]], width=14)

    assert hidden == 1
    assert lines[0].split() == ["a", "b", "c", "…"]


def test_a_column_that_may_be_cut_gets_the_room_that_is_left(terminal):
    columns = [Column("id"), Column("state"), Column("when"), Column("outcome", least=8)]
    rows = [
        ["1", "failed", "2026-11-27", "[schema_mismatch] columns differ"],
        ["2", "done", "2026-11-28", None],
    ]
    for width, expected in (
        (80, rows[0]),
        (32, ["1", "failed", "…", "[schema_misma…"]),
        (17, ["1", "…", "[schema…"]),
    ):
        lines, _ = terminal(columns, rows, width=width)
        assert lines[2].split("   ")[0] == "1"
        assert [cell.strip() for cell in lines[2].split("  ") if cell.strip()] == expected
        assert max(map(len, lines)) <= width


def test_columns_that_look_the_same_keep_their_places(terminal):
    lines, _ = terminal(["b", "a", "c", "d", "e", "a"], [["0"] * 6], width=19)

    assert lines[0].split() == ["b", "a", "…", "e", "a"]


@pytest.mark.parametrize(("width", "hidden"), [(25, 0), (24, 1)])
def test_all_columns_are_shown_where_all_fit(terminal, width, hidden):
    lines, left_out = terminal(["aaaa", "bbbb", "cccc", "dddd"], [["1", "2", "3", "4"]], width=width)

    assert left_out == hidden
    assert max(map(len, lines)) <= width


def test_an_optional_column_is_left_out_where_it_is_empty(capsys):
    for cells in ([None, ""], [None, "x"]):
        show_table([Column("a"), Column("b", optional=True)], [["1", cell] for cell in cells])

    first, second = capsys.readouterr().out.split("a", 2)[1:]
    assert "b" not in first
    assert second.split()[0] == "b"


def test_wide_characters_count_twice(terminal):
    lines, hidden = terminal(["東京", "b"], [["1", "2"]], width=8)

    assert hidden == 0
    assert lines[1] == "─" * 8


def test_a_single_column_is_shown_however_narrow_the_terminal(terminal):
    lines, hidden = terminal(["a" * 100, "b"], [["1", "2"]], width=20)

    assert hidden == 1
    assert lines[0].startswith("aaa")


def test_elsewhere_nothing_is_cut(capsys):
    hidden = show_table(
        [Column("x" * 300, "int64", right=True), Column("y", "bool")], [["1", None]], null="NULL"
    )

    head, types, rule, row = capsys.readouterr().out.splitlines()
    assert hidden == 0
    assert head == "x" * 300 + "   y"
    assert types == "int64".rjust(300) + "   bool"
    assert rule == "─" * 307
    assert row == "1".rjust(300) + "   NULL"


def test_a_progress_bar_is_one_line_on_a_terminal_of_eighty_columns():
    bar = bytes_bar(TextColumn("{task.fields[rows]}"), TextColumn("{task.fields[pace]}"))
    pace = "52.8 MB/s, 11,740,089 rows/s, 0 s left"
    bar.add_task("parsing", total=13_500_000, completed=13_500_000, rows="3,000,000 rows", pace=pace)

    (line,) = Console(width=80).render_lines(bar.get_renderable())

    text = "".join(segment.text for segment in line)
    assert "13.5/13.5 MB 3,000,000 rows 52.8 MB/s" in text
