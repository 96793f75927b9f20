"""Softmax attention and its gradients in float64 NumPy."""

import numpy as np


def attention(q, k, v, ids=None):
    """[B, N, heads, head_dim]; tokens see tokens of their own id."""
    return _forward(q, k, v, ids)[0]


def gradients(q, k, v, d_out, ids=None):
    """d_q, d_k, d_v of sum(out * d_out)."""
    _, weights, (q, k, v) = _forward(q, k, v, ids)
    d_out = np.asarray(d_out, np.float64)
    d_weights = np.einsum("bqhd,bkhd->bhqk", d_out, v)
    mean = np.sum(weights * d_weights, axis=-1, keepdims=True)
    d_scores = weights * (d_weights - mean) / np.sqrt(q.shape[-1])
    return (
        np.einsum("bhqk,bkhd->bqhd", d_scores, k),
        np.einsum("bhqk,bqhd->bkhd", d_scores, q),
        np.einsum("bhqk,bqhd->bkhd", weights, d_out),
    )


def _forward(q, k, v, ids):
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
    if ids is not None:
        hidden = ids[:, None, :, None] != ids[:, None, None, :]
        scores = np.where(hidden, -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhqk,bkhd->bqhd", weights, v), weights, (q, k, v)
