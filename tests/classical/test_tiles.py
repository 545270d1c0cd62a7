"""Large images in overlapping tiles: one map, with the tiles' common scale (thesis 2.4.3)."""

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import relprop
from relprop.classical import BagOfWords, DenseSift
from relprop.data import photograph
from relprop.viz import merge_tiles, tile_positions


def test_tiles_of_a_photograph_become_one_map():
    """Half brick, half gravel, cut into tiles: positive on gravel, and what a tile says counts as
    much as it says, whatever the others say.
    """
    parts = {name: photograph(name)[::4, ::4][:64, :96] for name in ("brick", "gravel")}
    tiles = {
        name: [
            one[y : y + 32, x : x + 32]
            for y, x in tile_positions(one.shape[:2], (32, 32), overlap=0)
        ]
        for name, one in parts.items()
    }
    images = tiles["brick"] + tiles["gravel"]
    labels = [0] * len(tiles["brick"]) + [1] * len(tiles["gravel"])
    words = BagOfWords(DenseSift(step=4, bin_sizes=(4,)), n_words=16, random_state=0)
    model = make_pipeline(words, LinearSVC(random_state=0)).fit(images, labels)
    large = np.concatenate([parts["brick"], parts["gravel"]], axis=1)
    positions = tile_positions(large.shape[:2], (32, 32), overlap=0.5)
    explanation = relprop.explain(model, [large[y : y + 32, x : x + 32] for y, x in positions])
    merged = merge_tiles(explanation.relevance, positions, large.shape[:2])
    expected, count = np.zeros(merged.shape), np.zeros(merged.shape)
    for (y, x), own in zip(positions, explanation.relevance, strict=True):
        expected[y : y + 32, x : x + 32] += own
        count[y : y + 32, x : x + 32] += 1
    np.testing.assert_allclose(merged, expected / count)
    assert merged[:, 112:].mean() > 0 > merged[:, :80].mean()
