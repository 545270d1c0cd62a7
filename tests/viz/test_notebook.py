import base64
from types import SimpleNamespace

import numpy as np
import torch

from relprop import viz
from relprop.errors import InvalidInput
from relprop.viz.notebook import explanation_html


def explanation(heatmap):
    """What a notebook needs of an Explanation; `heatmap` is its maps, or a function."""
    return SimpleNamespace(
        method="lrp",
        preset="<thesis>",
        conservation="output 1 = relevance 1",
        notes=("final softmax & its scale left out",),
        heatmap=heatmap if callable(heatmap) else lambda: heatmap,
    )


def test_maps_and_text():
    html = explanation_html(explanation(torch.zeros(2, 4, 4)))
    assert html.count("<img") == 1 and "data:image/png;base64," in html
    assert "&lt;thesis&gt;" in html and "output 1 = relevance 1" in html
    assert "softmax &amp; its scale" in html


def test_only_the_first_maps_are_shown():
    many = np.random.default_rng(0).uniform(-1, 1, (9, 12, 4, 4))
    html = explanation_html(explanation(many))
    assert "the first 8 of 9 samples, 8 of 12 targets" in html
    content = base64.b64encode(viz.png(viz.montage(many[:8, :8], side=128))).decode()
    assert content in html


def test_text_alone_where_there_is_no_image():
    assert "<img" not in explanation_html(explanation(torch.zeros(2, 9)))

    def several():
        raise InvalidInput("maps of several inputs")

    html = explanation_html(explanation(several))
    assert "<img" not in html and "output 1 = relevance 1" in html
