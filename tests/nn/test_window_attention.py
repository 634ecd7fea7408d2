"""Window and block attention: against full attention, dense masks, and Longformer's own layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedlt.nn.text.blocks import BlockAttention, order
from fedlt.nn.text.encoder import Embedding
from fedlt.nn.text.transformer import FullAttention
from fedlt.nn.text.window import WindowAttention
from fedlt.nn.text.window_transformer import WindowTransformer

WIDTH, HEADS = 8, 2


def inputs(length: int, *lengths: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """x [B, length, WIDTH] and the mask of texts that have so many tokens."""
    x = torch.randn(len(lengths), length, WIDTH, generator=torch.Generator().manual_seed(seed))
    return x, torch.arange(length) < torch.tensor(lengths)[:, None]


def densely(attention: FullAttention, x: Tensor, seen: Tensor) -> Tensor:
    """[B, L, D] attention with a mask [B, L, L] of what each token sees, one head and one token at a time."""
    parts = [part(x).unflatten(2, (HEADS, -1)) for part in (attention.query, attention.key, attention.value)]
    query, key, value = parts
    found = torch.zeros_like(query)
    for text, token in np.ndindex(*x.shape[:2]):
        for head in range(HEADS):
            near = seen[text, token].nonzero().flatten()
            if len(near):
                score = key[text, near, head] @ query[text, token, head] / (WIDTH / HEADS) ** 0.5
                found[text, token, head] = score.softmax(0) @ value[text, near, head]
    return attention.out(found.flatten(2))  # type: ignore[no-any-return]


def expect_close(found: Tensor, expected: Tensor, mask: Tensor) -> None:
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [1, 5, 9])
def test_a_window_that_covers_the_text_is_full_attention(length: int) -> None:
    """The projections of the first token are copies of the others' at the start."""
    torch.manual_seed(0)
    attention = WindowAttention(WIDTH, HEADS, 18)
    x, mask = inputs(length, length, max(1, length - 3))
    full = FullAttention(WIDTH, HEADS)
    full.load_state_dict(attention.state_dict(), strict=False)
    expect_close(attention(x, mask), full(x, mask), mask)


@pytest.mark.parametrize("attention", ["window", "blocks"])
def test_a_whole_model_whose_window_covers_the_text_is_the_full_transformer(attention: str) -> None:
    torch.manual_seed(0)
    recipe = WindowTransformer(width=16, heads=2, attention=attention, window=24, block=4, random=1)  # type: ignore[arg-type]
    windowed = recipe.tokens(Embedding(20, 16, None), 12).eval()
    full = super(WindowTransformer, recipe).tokens(Embedding(20, 16, None), 12).eval()
    # Its attention is still that of the windows: the base's is put in its place.
    for layer in full.layers:  # type: ignore[union-attr]
        layer.attention = FullAttention(16, 2)  # type: ignore[union-attr]
    full.load_state_dict(windowed.state_dict(), strict=False)
    ids = torch.randint(20, (2, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(12) < torch.tensor([[12], [7]])
    torch.testing.assert_close(windowed(ids, mask), full(ids, mask), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [2, 4, 6])
def test_a_window_is_a_dense_mask(window: int) -> None:
    torch.manual_seed(0)
    attention = WindowAttention(WIDTH, HEADS, window)
    x, mask = inputs(13, 13, 4, 1)
    place = torch.arange(13)
    near = (place[:, None] - place).abs() <= window // 2
    near[0] = near[:, 0] = True
    expect_close(attention(x, mask), densely(attention, x, near & mask[:, None]), mask)


def test_the_first_token_has_projections_of_its_own() -> None:
    torch.manual_seed(0)
    attention = WindowAttention(WIDTH, HEADS, 2)
    x, mask = inputs(7, 7)
    before = attention(x, mask)
    nn.init.zeros_(attention.global_value.weight)
    nn.init.zeros_(attention.global_value.bias)
    after = attention(x, mask)
    torch.testing.assert_close(after[0, 0], attention.out.bias)
    assert torch.equal(after[:, 1:], before[:, 1:])


@pytest.mark.parametrize("length", [6, 8, 20])
def test_it_is_longformer_s_own_layer_with_copied_weights(length: int) -> None:
    """transformers asks for lengths that are a multiple of the window; padding beyond the text changes neither."""
    pytest.importorskip("transformers")
    from transformers import LongformerConfig
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

    window = 4
    config = LongformerConfig(hidden_size=WIDTH, num_attention_heads=HEADS, attention_window=[window])
    torch.manual_seed(0)
    attention, theirs = WindowAttention(WIDTH, HEADS, window).eval(), LongformerSelfAttention(config, 0).eval()
    attention.out = nn.Identity()  # type: ignore[assignment]
    for name in ("query", "key", "value"):
        nn.init.normal_(getattr(attention, f"global_{name}").weight)  # no copies any more
        getattr(theirs, name).load_state_dict(getattr(attention, name).state_dict())
        getattr(theirs, f"{name}_global").load_state_dict(getattr(attention, f"global_{name}").state_dict())

    more = -length % window
    x, mask = inputs(length + more, length, 3)
    kinds = torch.zeros(mask.shape).masked_fill(~mask, -10000.0)
    kinds[:, 0] = 10000.0
    with torch.no_grad():
        (expected,) = theirs(x, kinds, kinds < 0, kinds > 0, True)
        found = attention(x[:, :length], mask[:, :length])
    expect_close(found, expected[:, :length], mask[:, :length])


def seen_by_blocks(attention: BlockAttention, mask: Tensor) -> Tensor:
    """[B, L, L] what each token sees, written down block by block."""
    size = attention.size
    seen = torch.zeros(*mask.shape, mask.shape[1], dtype=torch.bool)
    for text, real in enumerate(mask):
        count = int(real.sum() + size - 1) // size
        drawn = order(-(-mask.shape[1] // size), attention.number)
        for block in range(count):
            others = [other for other in range(1, count) if abs(other - block) > 1]
            others.sort(key=lambda other: -drawn[block, other])
            attended = {0, block - 1, block, block + 1, *others[: attention.random]}
            attended = set(range(count)) if block == 0 else attended & set(range(count))
            for other in attended:
                seen[text, block * size : (block + 1) * size, other * size : (other + 1) * size] = True
    return seen & mask[:, None]


@pytest.mark.parametrize(("size", "random"), [(1, 2), (2, 0), (2, 1), (3, 2)])
def test_blocks_are_a_dense_mask(size: int, random: int) -> None:
    torch.manual_seed(0)
    attention = BlockAttention(WIDTH, HEADS, size, random, 1)
    x, mask = inputs(17, 17, 11, 1)
    seen = seen_by_blocks(attention, mask)
    assert not seen[0].all()
    expect_close(attention(x, mask), densely(attention, x, seen), mask)


def test_random_blocks_follow_neither_padding_nor_seed_and_differ_between_layers() -> None:
    assert np.array_equal(order(5, 0), order(9, 0)[:5, :5])
    assert not np.array_equal(order(9, 0), order(9, 1))
    assert (order(9, 0)[4] == -1).tolist() == [True, False, False, True, True, True, False, False, False]
    drawn = {int(order(40, layer)[20].argmax()) for layer in range(20)}
    assert len(drawn) > 10


@pytest.mark.parametrize("made", [WindowAttention(WIDTH, HEADS, 2), BlockAttention(WIDTH, HEADS, 2, 1, 0)])
def test_texts_may_begin_after_padding(made: nn.Module) -> None:
    """A gap is never attended to, and leaves all numbers finite, whole blocks of it included."""
    x, mask = inputs(11, 11)
    mask[:, :5] = False
    x.requires_grad_(True)
    found = made(x, mask)
    found[mask].square().sum().backward()
    assert bool(found.isfinite().all())
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
    assert bool((x.grad[:, :5] == 0).all())


def test_an_odd_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.window=5 is odd.*take an even number"):
        WindowTransformer(window=5).tokens(Embedding(20, 64, None), 12)
