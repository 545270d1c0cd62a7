import io

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from relprop import viz
from relprop.errors import InvalidInput

RANDOM = np.random.default_rng(0)
MAPS = RANDOM.uniform(-1, 1, (2, 3, 4, 5))
TOKENS = ["the", "<b>film</b>", "cost", "$5$", "&c"]


def drawn(figure):
    """The figure's pixels, which also shows that it can be drawn at all."""
    assert isinstance(figure, Figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=40)
    return stream.getvalue()


def texts(figure):
    found = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    return {text for text in found if text}


def test_no_figure_touches_the_state_of_pyplot():
    from matplotlib import pyplot

    drawn(viz.montage_figure(MAPS))
    drawn(viz.token_figure(TOKENS, np.ones(5)))
    assert pyplot.get_fignums() == []


def test_montage_has_maps_images_labels_and_a_bar():
    images = [np.zeros((4, 5), np.uint8)] * 2
    figure = viz.montage_figure(
        torch.from_numpy(MAPS), images=images, row_labels=["r1", "r2"], column_labels=list("abc")
    )
    drawn(figure)
    assert len(figure.axes) == 2 * 4 + 1
    assert {"r1", "r2", "a", "b", "c"} <= texts(figure)
    shown = figure.axes[1].images[0].get_array()
    np.testing.assert_array_equal(shown, viz.colourise(MAPS[0, 0]))
    with pytest.raises(InvalidInput, match="there are 3 columns and 1 column labels"):
        viz.montage_figure(MAPS, column_labels=["a"])
    with pytest.raises(InvalidInput, match="2 samples and 1 images"):
        viz.montage_figure(MAPS, images=images[:1])


def test_signals_are_coloured_by_relevance():
    signals, relevance = RANDOM.normal(size=(2, 30)), np.zeros((2, 30))
    relevance[0, 10:13] = 5
    figure = viz.signal_figure(signals, relevance, labels=["lead I", "lead II"])
    drawn(figure)
    assert {"lead I", "lead II"} <= texts(figure)
    colours = figure.axes[0].collections[0].get_colors()[:, :3] * 255
    np.testing.assert_allclose(colours[10], viz.colourise([1.0], "blue-orange")[0])
    np.testing.assert_allclose(colours[0], [255, 255, 255])
    drawn(viz.signal_figure(np.ones(30), relevance[0]))
    with pytest.raises(InvalidInput, match=r"signals \[2, 30\] and their relevance \[2, 29\]"):
        viz.signal_figure(signals, relevance[:, 1:])


def test_bars_are_sorted_and_the_rest_is_summed():
    relevance = torch.tensor([1.0, -4.0, 2.0, 0.5, -0.25])
    figure = viz.bar_figure(
        relevance, ["a", "b", "c", "d", "e"], values=[1, 2, 3, 4, 5.5], labels=["row"], largest=3
    )
    drawn(figure)
    (ax,) = figure.axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["b = 2", "c = 3", "a = 1", "2 others"]
    assert [bar.get_width() for bar in ax.patches] == [-4, 2, 1, 0.25]
    left, right = ax.patches[0].get_facecolor(), ax.patches[1].get_facecolor()
    assert left[2] > left[0] and right[0] > right[2]  # blue, orange
    assert "row" in texts(figure)


def test_bars_that_do_not_match_are_refused():
    with pytest.raises(InvalidInput, match=r"relevance \[1, 2\] and 1 names"):
        viz.bar_figure([1, 2], ["a"])
    with pytest.raises(InvalidInput, match=r"values are \[1, 1\] and relevance \[1, 2\]"):
        viz.bar_figure([1, 2], ["a", "b"], values=[1])
    with pytest.raises(InvalidInput, match="largest is 0"):
        viz.bar_figure([1, 2], ["a", "b"], largest=0)


def test_tokens_are_escaped_and_coloured():
    html = viz.token_html(TOKENS, torch.tensor([0.0, 2.0, -2.0, 0.1, 0.0]))
    assert "<b>" not in html and "&lt;b&gt;film&lt;/b&gt;" in html and "&amp;c" in html
    assert html.count("<span") == 5 and 'title="-2"' in html
    red, green, blue = viz.colourise([1.0], "blue-orange")[0].tolist()
    assert f"background:rgb({red},{green},{blue});color:white" in html
    assert "background:rgb(255,255,255);color:black" in html


def test_a_quote_can_not_leave_its_place():
    html = viz.token_html(['"><script>alert(1)</script>'], [1.0])
    assert "<script" not in html and "&quot;&gt;&lt;script&gt;" in html


def test_tokens_as_a_figure():
    figure = viz.token_figure(TOKENS * 10, RANDOM.normal(size=50))
    assert drawn(figure)
    heights = {text.get_position()[1] for text in figure.axes[0].texts}
    assert len(heights) == 4 and len(figure.axes[0].texts) == 50


@pytest.mark.parametrize("make", [viz.token_html, viz.token_figure])
def test_tokens_and_relevance_match(make):
    with pytest.raises(InvalidInput, match=r"2 tokens and relevance \[3\]"):
        make(["a", "b"], [1, 2, 3])
    with pytest.raises(InvalidInput, match="give a list of texts"):
        make("ab", [1, 2])
