"""Slow, obvious second versions of what relprop.classical computes from local features."""

import math

import numpy as np


def dense_sift(grey, step, sizes):
    """Dense SIFT by loops over frames, bins and pixels; float64, no contrast threshold."""
    height, width = grey.shape
    planes = np.zeros((8, height, width))
    down, across = np.gradient(grey)
    for y in range(height):
        for x in range(width):
            turn = math.atan2(down[y, x], across[y, x]) % (2 * math.pi) * 8 / (2 * math.pi)
            low = math.floor(turn)
            length = math.hypot(down[y, x], across[y, x])
            planes[low % 8, y, x] += (low + 1 - turn) * length
            planes[(low + 1) % 8, y, x] += (turn - low) * length
    found, frames = [], []
    for b in sizes:
        first = 3 * (max(sizes) - b) // 2
        for top in range(first, height - 3 * b, step):
            for left in range(first, width - 3 * b, step):
                found.append(_descriptor(planes, top, left, b))
                frames.append((top + 1.5 * b, left + 1.5 * b, b))
    return np.array(found), np.array(frames)


def _descriptor(planes, top, left, b):
    bins = np.zeros((4, 4, 8))
    for i in range(4):
        for j in range(4):
            for dy in range(1 - b, b):
                for dx in range(1 - b, b):
                    y = min(max(top + i * b + dy, 0), planes.shape[1] - 1)
                    x = min(max(left + j * b + dx, 0), planes.shape[2] - 1)
                    weight = (1 - abs(dy) / b) * (1 - abs(dx) / b)
                    bins[i, j] += weight * planes[:, y, x]
            bins[i, j] *= _gaussian(i, b) * _gaussian(j, b)
    found = bins.ravel()
    if not found.any():
        return found
    found = np.minimum(found / np.linalg.norm(found), 0.2)
    return found / np.linalg.norm(found)


def _gaussian(index, b):
    centre = (index - 1.5) * b
    offsets = range(1 - b, b)
    return sum(math.exp(-(((t - centre) / (2 * b)) ** 2) / 2) for t in offsets) / len(offsets)


def posteriors(values, weights, means, deviations):
    """gamma_k(l) from densities, one by one."""
    found = np.empty((len(values), len(weights)))
    for n, value in enumerate(values):
        logs = [
            math.log(w) - sum(((value - m) / s) ** 2) / 2 - sum(np.log(s))
            for w, m, s in zip(weights, means, deviations, strict=True)
        ]
        shares = np.exp(np.array(logs) - max(logs))
        found[n] = shares / shares.sum()
    return found


def fisher_terms(values, weights, means, deviations):
    """The table `[N, V]` of eq. 4.1-4.3 and, for each dimension of the vector, its component of
    the descriptor (-1 for the weights' block).
    """
    gamma = posteriors(values, weights, means, deviations)
    columns, component = [], []
    for k, w in enumerate(weights):
        columns.append((gamma[:, k] - w) / math.sqrt(w))
        component.append(-1)
    for block in ("means", "deviations"):
        for k, w in enumerate(weights):
            for d in range(means.shape[1]):
                away = (values[:, d] - means[k, d]) / deviations[k, d]
                form = away if block == "means" else (away**2 - 1) / math.sqrt(2)
                columns.append(gamma[:, k] * form / math.sqrt(w))
                component.append(d)
    return np.stack(columns, 1), np.array(component)


def by_component(shares, component, width):
    """Shares `[N, V]` -> relevance of descriptors' components `[N, D]`."""
    found = np.zeros((len(shares), width))
    for v, d in enumerate(component):
        if d < 0:
            found += shares[:, v : v + 1] / width
        else:
            found[:, d] += shares[:, v]
    return found


def spread_boxes(boxes, values, shape):
    """Each box's value evenly over its pixels inside of the image."""
    found = np.zeros(shape)
    for (top, left, bottom, right), value in zip(boxes, values, strict=True):
        rows = [y for y in range(top, bottom) if 0 <= y < shape[0]]
        columns = [x for x in range(left, right) if 0 <= x < shape[1]]
        for y in rows:
            for x in columns:
                found[y, x] += value / (len(rows) * len(columns))
    return found
