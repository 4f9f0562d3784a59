"""Names in any script: written with a font that can, or as the numbers of their characters."""

import logging

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from avis.visualization.drawing import draw_texts, shorten, text_size
from avis.visualization.fonts import VARIABLE, font_for, writable

# Characters of a private area, which no installed font has.
ONE, TWO = "\U0010abc1", "\U0010abc2"


def drawn(text):
    return draw_texts(np.zeros((40, 400, 3), np.uint8), [((5, 5), text, 24, (255, 255, 255))])


@pytest.fixture
def font_file(tmp_path):
    """A font whose characters ONE and "a" are a square, and whose missing characters are a small one."""
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(ONE): "square", ord("a"): "square"})
    glyphs = {}
    for name, side in ((".notdef", 300), ("square", 800)):
        pen = TTGlyphPen(None)
        pen.moveTo((0, 0)), pen.lineTo((0, side)), pen.lineTo((side, side)), pen.lineTo((side, 0))
        pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics({name: (900, 0) for name in glyphs})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "squares.ttf")
    return tmp_path / "squares.ttf"


@pytest.mark.parametrize(("one", "other"), [("小提琴", "大喇叭"), (ONE, TWO), (f"a{ONE}b", f"a{TWO}b")])
def test_different_names_look_different(one, other):
    assert not np.array_equal(drawn(one), drawn(other))


def test_characters_that_no_font_has_are_drawn_as_their_numbers(caplog):
    text = f"cat {ONE}{TWO} 0.93"
    with caplog.at_level(logging.WARNING, logger="avis"):
        assert writable(text) == "cat U+10ABC1+10ABC2 0.93"
        np.testing.assert_array_equal(drawn(text), drawn(writable(text)))
    assert text_size(text, 20) == text_size(writable(text), 20)
    assert len(caplog.records) <= 1 and all(VARIABLE in record.message for record in caplog.records)
    assert shorten(text, 80, 20).startswith("cat U")


def test_the_font_of_the_environment_comes_first_where_it_can(font_file, monkeypatch):
    before = drawn("a")
    monkeypatch.setenv(VARIABLE, str(font_file))
    assert writable(ONE) == ONE
    assert font_for(ONE, 20).getname()[0] == font_for("a", 20).getname()[0] == "Squares"
    assert not np.array_equal(drawn("a"), before)
    assert drawn(ONE).any() and not np.array_equal(drawn(ONE), drawn(TWO))
    assert font_for("violin", 20).getname()[0] != "Squares"


def test_a_font_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.ttf"))
    with pytest.raises(ValueError, match=rf"{VARIABLE}=.*none\.ttf: no font can be read"):
        drawn("violin")


def test_plain_names_are_written_with_the_font_of_before():
    assert writable("violin 0.93 s") == "violin 0.93 s"
    assert font_for("violin 0.93", 20).getname() == font_for("", 20).getname()
