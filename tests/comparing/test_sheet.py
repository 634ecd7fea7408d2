"""Tables as text and as LaTeX: what is too wide goes on below, the best is bold, and every letter is escaped."""

from __future__ import annotations

from fedlt.comparing.sheet import Sheet, blocks, page, text_width

SHEET = Sheet(
    "accuracy in %",
    ("strategy", "n", "generic", "tail"),
    (("fedavg", "2", "61.0 ± 2.4", "10.0"), ("my_own", "2", "66.0 ± 4.5 ↑", "10.0")),
    labels=1,
    best=frozenset({(1, 2)}),
)


def test_a_wide_table_goes_on_below_with_its_labels_and_whole_columns() -> None:
    assert blocks(SHEET, text_width(SHEET)) == [SHEET]
    first, second = blocks(SHEET, text_width(SHEET) - 1)
    assert first.header == ("strategy", "n", "generic")
    assert second.header == ("strategy", "tail")
    assert second.lines == (("fedavg", "10.0"), ("my_own", "10.0"))
    assert (first.best, second.best) == ({(1, 2)}, frozenset())
    assert [part.header for part in blocks(SHEET, 1)] == [("strategy", name) for name in ("n", "generic", "tail")]


def test_no_line_of_a_text_is_wider_than_110() -> None:
    wide = Sheet("t", ("name", *"abcdefghijkl"), (("fedavg", *["10.0 ± 1.0"] * 12),), labels=1)
    text = page("", [wide], [], "text")
    assert text_width(wide) > 110
    assert max(map(len, text.splitlines())) <= 110
    assert text.count("fedavg") == 2
    assert text.count("10.0 ± 1.0") == 12


def test_latex_has_the_best_in_bold_between_the_rules_of_booktabs() -> None:
    assert page("", [SHEET], ["a note"], "latex").splitlines() == [
        r"% accuracy in %; needs \usepackage{booktabs}",
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"strategy & n & generic & tail \\",
        r"\midrule",
        r"fedavg & 2 & 61.0 $\pm$ 2.4 & 10.0 \\",
        r"my\_own & 2 & \textbf{66.0} $\pm$ 4.5 $\uparrow$ & 10.0 \\",
        r"\bottomrule",
        r"\end{tabular}",
        "",
        "% a note",
    ]


def test_latex_escapes_what_means_something_to_it() -> None:
    odd = Sheet("", (r"a_b%c&d#e$f{g}h~i^j\k",), ((r"<|>",),), labels=1)
    lines = page("", [odd], [], "latex").splitlines()
    assert lines[3] == (r"a\_b\%c\&d\#e\$f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k \\")
    assert lines[5] == r"$<$$|$$>$ \\"
