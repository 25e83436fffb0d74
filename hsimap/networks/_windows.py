"""Self-attention within squares that lie on a fixed grid, so that no tile size changes a pixel."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

_NEVER: Final = -1e4
"""Logit of a key that is left out: its weight is 0, and the gradient stays finite."""


def cut(x: Tensor, side: int) -> Tensor:
    """Cut ``(batch, channel, y, x)`` into squares as ``(square, pixel, channel)``, row by row."""
    batch, channels, height, width = x.shape
    rows, cols = height // side, width // side
    x = x.reshape(batch, channels, rows, side, cols, side).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(batch * rows * cols, side * side, channels)


def lay(squares: Tensor, side: int, like: Tensor) -> Tensor:
    """Lay ``(square, pixel, channel)`` out again on the grid of ``like``: undoes :func:`cut`."""
    batch, _, height, width = like.shape
    rows, cols, channels = height // side, width // side, squares.shape[-1]
    x = squares.reshape(batch, rows, cols, side, side, channels).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(batch, channels, height, width)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Turn ``(square, token, channel)`` into ``(square, head, token, channel / head)``."""
    squares, tokens, channels = x.shape
    return x.reshape(squares, tokens, heads, channels // heads).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Undo :func:`split_heads`."""
    return x.transpose(1, 2).flatten(2)


def weights(query: Tensor, key: Tensor, seen: Tensor) -> Tensor:
    """Return the attention of ``(..., query, channel)`` to ``(..., key, channel)``.

    Parameters
    ----------
    query, key : Tensor
        ``(square, head, token, channel)``.
    seen : Tensor
        ``(square, token)``: above 0 where a key counts. Where none does, all count alike.
    """
    logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    return torch.where(seen[:, None, None, :] > 0, logits, _NEVER).softmax(dim=-1)


class TransformerBlock(nn.Module):
    """Self-attention and a two-layer perceptron, each normalised first and added to its input.

    Parameters
    ----------
    width : int
        Channels of a token.
    heads : int
        Heads of the attention.
    dropout : float
        Share of channels dropped in training, after attention and perceptron.
    """

    def __init__(self, width: int, heads: int, *, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Keep the shape of ``(square, token, channel)``; ``seen`` as of :func:`weights`."""
        qkv = self.to_qkv(self.attention_norm(x)).chunk(3, dim=-1)
        query, key, value = (split_heads(part, self.heads) for part in qkv)
        attended = join_heads(weights(query, key, seen) @ value)
        x = x + self.dropout(self.mix(attended))
        y = self.narrow(functional.gelu(self.widen(self.norm(x))))
        result: Tensor = x + self.dropout(y)
        return result


class WindowTransformer(nn.Module):
    """Transformer blocks over the tokens of a square, with a learned embedding of their places.

    Parameters
    ----------
    width, heads : int
        Of :class:`TransformerBlock`.
    depth : int
        Blocks.
    side : int
        Tokens along a square's side.
    dropout : float
        Of :class:`TransformerBlock`.
    """

    def __init__(self, width: int, heads: int, *, depth: int, side: int, dropout: float) -> None:
        super().__init__()
        self.side = side
        self.places = nn.Parameter(torch.zeros(1, side * side, width))
        nn.init.trunc_normal_(self.places, std=0.02)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, dropout=dropout) for _ in range(depth)
        )

    def forward(self, x: Tensor, mask: Tensor, *, taps: int = 1) -> list[Tensor]:
        """Return features after evenly spread blocks, the last of them after the last block.

        Parameters
        ----------
        x : Tensor
            ``(batch, channel, y, x)``; the sides are multiples of the square's.
        mask : Tensor
            ``(batch, 1, y, x)``: above 0 where a token is seen by others.
        taps : int
            Features to return; it divides the number of blocks.
        """
        tokens, seen = cut(x, self.side) + self.places, cut(mask, self.side).squeeze(-1)
        every = len(self.blocks) // taps
        found = []
        for i, block in enumerate(self.blocks, start=1):
            tokens = block(tokens, seen)
            if i % every == 0:
                found.append(lay(tokens, self.side, x))
        return found
