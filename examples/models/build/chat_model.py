"""The tide-chat decoder in PyTorch.

A small pre-norm transformer: LayerNorm, grouped-query attention with rotary
positions (halves, not interleaved: what GroupQueryAttention computes), SwiGLU,
and one table for both the embedding and the output.  `export_chat.py` writes
the same arithmetic as an ONNX graph.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from chat_settings import Settings


def rotary_tables(settings: Settings) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines, each [max_sequence, head_dim / 2]."""
    half = settings.head_dim // 2
    rates = settings.rope_base ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(settings.max_sequence, dtype=torch.float64)[:, None] * rates
    return angles.cos().float(), angles.sin().float()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate [batch, heads, sequence, head_dim] by its positions from 0."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[: x.shape[2]], sin[: x.shape[2]]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Block(nn.Module):
    """Attention and feed-forward, each behind a LayerNorm."""

    def __init__(self, s: Settings):
        super().__init__()
        self.settings = s
        self.norm1 = nn.LayerNorm(s.width, eps=s.norm_eps)
        self.norm2 = nn.LayerNorm(s.width, eps=s.norm_eps)
        self.q = nn.Linear(s.width, s.heads * s.head_dim, bias=False)
        self.k = nn.Linear(s.width, s.kv_heads * s.head_dim, bias=False)
        self.v = nn.Linear(s.width, s.kv_heads * s.head_dim, bias=False)
        self.o = nn.Linear(s.heads * s.head_dim, s.width, bias=False)
        self.gate = nn.Linear(s.width, s.hidden, bias=False)
        self.up = nn.Linear(s.width, s.hidden, bias=False)
        self.down = nn.Linear(s.hidden, s.width, bias=False)

    def _split(self, x: torch.Tensor, heads: int) -> torch.Tensor:
        batch, length, _ = x.shape
        return x.view(batch, length, heads, -1).transpose(1, 2)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        s = self.settings
        h = self.norm1(x)
        q = rotate(self._split(self.q(h), s.heads), cos, sin)
        k = rotate(self._split(self.k(h), s.kv_heads), cos, sin)
        v = self._split(self.v(h), s.kv_heads)
        k, v = (t.repeat_interleave(s.heads // s.kv_heads, dim=1) for t in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(mixed.transpose(1, 2).flatten(2))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):
    """Token ids [batch, sequence] to hidden states; `logits` finishes them."""

    def __init__(self, settings: Settings):
        super().__init__()
        self.settings = settings
        self.embed = nn.Embedding(settings.vocab, settings.width)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(settings.width, eps=settings.norm_eps)
        cos, sin = rotary_tables(settings)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.04)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return self.norm(x)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ self.embed.weight.t()


@torch.no_grad()
def greedy(model: Decoder, prompt: list[int], stop: set[int], limit: int) -> list[int]:
    """Greedy continuation by full recomputation; the slow, plain reference."""
    ids = list(prompt)
    while len(ids) - len(prompt) < limit and len(ids) < model.settings.max_sequence:
        token = int(model.logits(model(torch.tensor([ids]))[0, -1]).argmax())
        ids.append(token)
        if token in stop:
            break
    return ids[len(prompt) :]
