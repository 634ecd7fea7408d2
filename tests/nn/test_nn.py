"""Models, their flat layout, and the cache of features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedlt.config import catalog
from fedlt.config.sections import Local
from fedlt.data.inputs.features import Encoded
from fedlt.data.task import Task
from fedlt.exchange import Report
from fedlt.measures.collect import Collector
from fedlt.measures.confusion import Confusions
from fedlt.measures.evaluate import TestSet, evaluate_generic, evaluate_personal
from fedlt.nn.cnn import CNN
from fedlt.nn.flat import Flat
from fedlt.nn.mlp import MLP
from fedlt.nn.model import Model
from fedlt.nn.net import Net, Switch
from fedlt.nn.norm import BatchNorm
from fedlt.nn.resnet import ResNet8, ResNet18, ResNet32, ResNet34
from fedlt.statistic import NOBODY
from fedlt.strategy import Client, Server, Strategy
from fedlt.training.sgd import SGD
from tests.evaluations import matrices


def task(*input_shape: int, classes: int = 10) -> Task:
    return Task("single", classes, input_shape, np.ones(classes, np.int64))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def small(seed: int = 0) -> Net:
    """Seven tensors: 4-d weights, batch normalisation with two buffers, a linear head. Images [B, 3, 4, 4]."""
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1, bias=False), BatchNorm(2), nn.ReLU(), nn.Flatten())
    return Net(backbone, nn.Linear(32, 5), 32)


def images(number: int, seed: int = 1) -> Tensor:
    return torch.randn(number, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_parts_of_a_model_are_found_by_name() -> None:
    model = small()
    assert model.part("head") is model.head
    assert model.part("head.weight") is model.get_parameter("head.weight")
    assert model.part("backbone.1.running_mean") is model.get_buffer("backbone.1.running_mean")
    with pytest.raises(AttributeError, match="has no attribute 'tail'"):
        model.part("backbone.tail")


def test_a_part_is_what_stands_in_its_place() -> None:
    """Under `functional_call` no parameter of that name is in the model, but the tensor that was given."""
    model, given = small(), torch.ones(5, 32)

    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self) -> Tensor:
            return 2 * model.part("head.weight")  # type: ignore[no-any-return]

    assert torch.equal(torch.func.functional_call(Reading(), {"model.head.weight": given}, ()), 2 * given)


# Models ---------------------------------------------------------------------------------------------------------------


def test_parameter_counts_are_those_of_the_papers() -> None:
    assert count(CNN().build(task(1, 28, 28))) == 1_663_370
    assert count(ResNet18().build(task(3, 32, 32)).backbone) == 11_168_832
    assert count(ResNet34().build(task(3, 32, 32)).backbone) == 21_276_992
    assert count(ResNet32().build(task(3, 32, 32))) == 464_154


@pytest.mark.slow
def test_pooling_before_rectifying_has_the_bits_of_the_order_of_the_paper() -> None:
    torch.manual_seed(0)
    layers = list(CNN(width=4, hidden=8).build(task(1, 8, 8)).backbone)
    assert [type(layer) for layer in layers[1:3] + layers[4:6]] == [nn.MaxPool2d, nn.ReLU] * 2
    x = torch.cat([torch.randn(3, 1, 8, 8), torch.zeros(1, 1, 8, 8)])  # of zeros all four of a window are equal

    found = []
    for order in (range(9), (0, 2, 1, 3, 5, 4, 6, 7, 8)):
        backbone = nn.Sequential(*(layers[place] for place in order))
        features = backbone(x)
        found.append([features, *torch.autograd.grad(features.square().sum(), list(backbone.parameters()))])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("mlp", 200),
        ("cnn", 512),
        ("resnet8", 64),
        ("resnet20", 64),
        ("resnet32", 64),
        ("resnet18", 512),
        ("resnet34", 512),
    ],
)
def test_models_take_any_size_and_number_of_channels(name: str, dim: int) -> None:
    for shape in ((1, 8, 8), (3, 13, 9)):
        net = catalog.find("model", name).load()().build(task(*shape, classes=7)).eval()
        x = torch.randn(2, *shape)
        with torch.no_grad():
            assert net.encode(x).shape == (2, dim)
            assert net(x).shape == (2, 7)
        assert net.feature_dim == dim


def test_every_model_of_the_catalog_is_tested_above_or_reads_tokens() -> None:
    reading = [name for name in catalog.names("model") if ".text." in catalog.find("model", name).target]
    assert [name for name in catalog.names("model") if name not in reading] == [
        "behaviour_experts",  # of histories: tests/learners/test_aw_moe.py
        "clauses",  # of Boolean features: tests/nn/test_clauses.py
        "cnn",
        "efficientnet_lite0",
        "mlp",
        "resnet18",
        "resnet20",
        "resnet32",
        "resnet34",
        "resnet8",
        "two_towers",  # of histories: tests/nn/test_two_towers.py
    ]


def test_a_perceptron_takes_rows_of_features_and_the_others_say_so() -> None:
    assert MLP(width=4, depth=3).build(task(6))(torch.zeros(2, 6)).shape == (2, 10)
    assert count(MLP(width=4, depth=3).backbone((6,))[0]) == (6 * 4 + 4) + 2 * (4 * 4 + 4)
    for recipe in (CNN(), ResNet8()):
        with pytest.raises(ValueError, match=r"needs images.*shape \(6,\); use model=mlp"):
            recipe.build(task(6))
    with pytest.raises(ValueError, match="at least 4 x 4 pixels, got 3 x 8; use model=mlp"):
        CNN().build(task(1, 3, 8))


def test_group_normalisation_keeps_samples_apart_and_batch_normalisation_does_not() -> None:
    x = torch.randn(4, 1, 8, 8)
    for kind, apart in (("group", True), ("batch", False)):
        net = ResNet8(norm=kind).build(task(1, 8, 8)).train()  # type: ignore[arg-type]
        with torch.no_grad():
            together, halves = net(x), torch.cat([net(x[:2]), net(x[2:])])
        assert torch.allclose(together, halves, atol=1e-5) is apart
        assert (not list(net.buffers())) is apart


def test_the_last_stage_gives_as_many_features_as_asked_for() -> None:
    net = ResNet8(features=104).build(task(3, 8, 8))
    assert net.feature_dim == net.head.in_features == net.encode(torch.zeros(2, 3, 8, 8)).shape[1] == 104
    assert [block.conv2.out_channels for block in net.backbone.blocks] == [16, 32, 104]


def test_a_wider_stem_stride_halves_the_image() -> None:
    seen = []
    net = ResNet8(stem_stride=2).build(task(1, 8, 8))
    net.backbone.get_submodule("blocks").register_forward_hook(
        lambda _, inputs, output: seen.append(inputs[0].shape[2:])
    )
    net(torch.zeros(2, 1, 8, 8))
    assert seen == [(4, 4)]


def test_one_sample_trains_through_a_one_pixel_feature_map() -> None:
    net = ResNet18().build(task(1, 8, 8)).train()  # 8, 4, 2, then 1 pixel: one value per channel
    net(torch.randn(1, 1, 8, 8)).sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in net.parameters() if p.grad is not None)
    assert all(p.grad is not None for p in net.parameters())


def test_batch_normalisation_of_one_value_per_channel_uses_the_running_statistics() -> None:
    layer = BatchNorm(2).train()
    layer.eps = 1e-12
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.running_mean.copy_(torch.tensor([1.0, 2.0]))
    layer.running_var.copy_(torch.tensor([4.0, 9.0]))
    out = layer(torch.tensor([5.0, 11.0]).view(1, 2, 1, 1))
    assert out.flatten().tolist() == pytest.approx([2.0, 3.0])
    assert layer.running_mean.tolist() == [1.0, 2.0]
    layer(torch.zeros(2, 2, 1, 1))
    assert layer.running_mean.tolist() == pytest.approx([0.9, 1.8])


# Flat -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_flattening_leaves_the_output_and_the_values_as_they_are(order: torch.memory_format) -> None:
    net, x = small().eval(), images(3)
    before, values = net(x), {name: tensor.clone() for name, tensor in net.state_dict().items()}
    flat = Flat(net, memory_format=order)
    assert torch.allclose(net(x), before, atol=1e-6)
    assert set(flat.tensors) == set(values)
    assert all(torch.equal(flat.tensors[name], value) for name, value in values.items())


def test_tensors_and_vector_are_one_memory() -> None:
    net = small()
    flat = Flat(net, private=["head.*"])
    flat.storage.fill_(3.0)
    assert all(bool((tensor == 3).all()) for tensor in net.state_dict().values())
    with torch.no_grad():
        net.head.get_parameter("bias")[1] = 7.0
    assert flat.private.tolist().index(7.0) == 160 + 1  # the head's 5 x 32 weights come first
    net.train()(images(4))  # batch normalisation writes into the vector as well
    assert flat.tensors["backbone.1.running_mean"].tolist() == flat.shared[58:60].tolist() != [3.0, 3.0]


def test_order_is_shared_private_frozen_and_parameters_come_before_buffers() -> None:
    flat = Flat(small(), private=["head.*"], frozen=["backbone.0.*"])
    assert list(flat.tensors) == [
        "backbone.1.weight",
        "backbone.1.bias",
        "backbone.1.running_mean",
        "backbone.1.running_var",
        "head.weight",
        "head.bias",
        "backbone.0.weight",
    ]
    assert (len(flat.shared), len(flat.private), len(flat.frozen)) == (8, 165, 54)
    assert flat.num_trainable == 4
    assert list(flat.trainable) == ["backbone.1.weight", "backbone.1.bias", "head.weight", "head.bias"]
    required = {name: parameter.requires_grad for name, parameter in flat.model.named_parameters()}
    assert not required.pop("backbone.0.weight")
    assert all(required.values())


def test_what_is_frozen_is_not_private_as_well() -> None:
    flat = Flat(small(), private=["*"], frozen=["head.*"])
    assert (len(flat.shared), len(flat.private), len(flat.frozen)) == (0, 62, 165)


def test_loading_gives_back_what_was_read() -> None:
    net, x = small().eval(), images(3)
    flat = Flat(net, private=["head.*"], memory_format=torch.channels_last)
    shared, private, before = flat.shared.clone(), flat.private.clone(), net(x)
    flat.load_shared(torch.zeros_like(shared))
    assert not torch.allclose(net(x), before)
    flat.load_shared(shared)
    flat.load_private(torch.zeros_like(private))
    assert bool((net(x) == 0).all())
    flat.load_private(private)
    assert torch.equal(net(x), before)


def test_four_dimensional_weights_lie_channels_last() -> None:
    net = small()
    weight = net.backbone.get_parameter("0.weight").detach().clone()
    flat = Flat(net, memory_format=torch.channels_last)
    bound = net.backbone.get_parameter("0.weight")
    assert bound.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(bound, weight)
    assert torch.equal(flat.shared[:54], weight.permute(0, 2, 3, 1).flatten())
    net(images(2)).sum().backward()
    gradient = bound.grad
    assert gradient is not None
    plain = Flat(small(), memory_format=torch.contiguous_format)
    assert torch.equal(plain.shared[:54], weight.flatten())
    plain.model(images(2)).sum().backward()
    other = plain.model.get_parameter("backbone.0.weight").grad
    assert other is not None
    assert torch.allclose(gradient, other, atol=1e-5)


@pytest.mark.parametrize("what", ["private", "frozen"])
def test_patterns_that_match_nothing_are_refused(what: str) -> None:
    with pytest.raises(ValueError, match=rf"the {what} pattern 'heat\.\*' matches no tensor.*head\.weight"):
        Flat(small(), **{what: ["head.*", "heat.*"]})  # type: ignore[arg-type]


def test_segments_join_neighbours() -> None:
    flat = Flat(small())  # 54, 2, 2, 160, 5 parameters, then two buffers of 2
    names = list(flat.trainable)
    assert flat.segments(names) == [slice(0, 223)]
    assert flat.segments(["head.bias", "backbone.0.weight", "backbone.1.weight"]) == [slice(0, 56), slice(218, 223)]
    assert flat.segments([]) == []


def test_a_vector_is_cut_as_the_storage_is() -> None:
    flat = Flat(small(), private=["head.*"])
    vector = torch.arange(float(len(flat.storage)))
    flat.storage.copy_(vector)
    views = flat.views(vector)
    assert views.keys() == flat.tensors.keys()
    assert all(torch.equal(views[name], tensor) for name, tensor in flat.tensors.items())
    assert views["head.bias"].data_ptr() == vector[-5:].data_ptr()


def test_the_weights_vector_hands_its_gradient_to_the_parameters() -> None:
    """A net of 2 * 1 + 1 and 1 * 2 + 2 parameters; w = (1, 2 | 3 | 4, 5 | 6, 7)."""
    net = Net(nn.Linear(2, 1), nn.Linear(1, 2), 1)
    flat = Flat(net, private=["head.bias"])
    flat.storage.copy_(torch.arange(1.0, 8.0))
    start = torch.tensor([0.0, 0.0, 0.0, 4.0, 4.0])
    weights = flat.weights()
    assert weights.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    (0.5 * (weights - start).square().sum() + net.head.get_parameter("weight").sum()).backward()
    gradients = {name: None if p.grad is None else p.grad.flatten().tolist() for name, p in net.named_parameters()}
    assert gradients == {
        "backbone.weight": [1.0, 2.0],
        "backbone.bias": [3.0],
        "head.weight": [0.0 + 1, 1.0 + 1],
        "head.bias": None,  # private: not part of the vector
    }


def test_the_gradient_through_the_vector_is_that_of_the_explicit_sum() -> None:
    explicit, gathered = small(), small()
    flat = Flat(gathered, memory_format=torch.channels_last)
    x = images(3)
    factor = torch.linspace(-1, 1, flat.num_trainable)
    views = flat.trainable_views(factor).values()
    (
        explicit(x).square().sum() + sum((p**3 * v).sum() for p, v in zip(explicit.parameters(), views, strict=True))
    ).backward()
    (gathered(x).square().sum() + (flat.weights() ** 3 * factor).sum()).backward()
    for expected, found in zip(explicit.parameters(), gathered.parameters(), strict=True):
        assert expected.grad is not None
        assert found.grad is not None
        assert torch.allclose(expected.grad, found.grad, rtol=1e-4, atol=1e-4)


# The cache of features ------------------------------------------------------------------------------------------------


class Counted(nn.Module):
    """Counts the samples that pass it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.samples = inner, 0

    def forward(self, x: Tensor) -> Tensor:
        self.samples += len(x)
        out: Tensor = self.inner(x)
        return out


class Held:
    """Test inputs that are a tensor."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Tensor, augment: str = "none", generator: Any = None) -> Tensor:
        return self.x[rows]


def cached(samples: int = 10, chunk: int = 4) -> tuple[Net, Flat, Counted, Encoded, Tensor]:
    net = small()
    net.backbone = counted = Counted(net.backbone)
    net.eval()
    flat = Flat(net, private=["head.*"])
    x = images(samples)
    return net, flat, counted, Encoded.of(Held(x), net, chunk), x


def test_many_heads_cost_one_pass_over_the_test_set() -> None:
    net, flat, counted, encoded, x = cached()
    with torch.no_grad():
        for head in range(20):
            flat.load_private(torch.full((165,), float(head)))
            out = net(encoded.take(torch.tensor([9, 0, head % 10])))
            direct = net.head(counted.inner(x[[9, 0, head % 10]]))
            assert torch.allclose(out, direct, atol=1e-4)
    assert counted.samples == 10


def test_chunks_that_nobody_asks_for_are_not_computed() -> None:
    net, _, counted, encoded, _ = cached()
    with torch.no_grad():
        net(encoded.take(torch.tensor([4, 7])))
        assert counted.samples == 4  # chunk 1 alone
        net(encoded.take(torch.tensor([8])))
    assert counted.samples == 6  # the last chunk holds two


def in_place(net: Net, flat: Flat) -> None:
    with torch.no_grad():
        net.get_parameter("backbone.inner.0.weight").mul_(2)


def load(net: Net, flat: Flat) -> None:
    flat.load_shared(flat.shared * 2)


def train(net: Net, flat: Flat) -> None:
    with torch.enable_grad():
        sgd = SGD(flat, momentum=0.0, weight_decay=0.0)
        sgd.reset(("backbone.inner.0.weight",), lr=1.0)
        sgd.zero_grad()
        net(images(4)).square().sum().backward()
        sgd.step()


def running_statistics(net: Net, flat: Flat) -> None:
    net.train()(images(4, seed=5))
    net.eval()


@pytest.mark.parametrize("edit", [in_place, load, train, running_statistics])
def test_features_of_another_backbone_are_not_used(edit: Any) -> None:
    net, flat, counted, encoded, x = cached()
    rows = torch.tensor([1, 5])
    with torch.no_grad():
        old = net(encoded.take(rows))
        edit(net, flat)
        new = net(encoded.take(rows))
        assert torch.equal(new, net.head(counted.inner(x[rows])))
        assert not torch.allclose(new, old, atol=1e-4)


def test_revalidated_features_are_used_again() -> None:
    net, flat, counted, encoded, _ = cached()
    rows, shared = torch.tensor([1, 5]), flat.shared.clone()
    with torch.no_grad():
        old = net(encoded.take(rows))
        load(net, flat)
        flat.load_shared(shared)
        passed = counted.samples
        net(encoded.take(rows))
        assert counted.samples == passed + 2  # not known to be the old ones
        encoded.revalidate()
        assert torch.equal(net(encoded.take(rows)), old)
    assert counted.samples == passed + 2


def test_a_private_backbone_is_never_served_from_the_cache() -> None:
    net = small()
    flat = Flat(net.eval(), private=["backbone.0.*"])
    x = images(4)
    encoded = Encoded.of(Held(x), net, 4)
    with torch.no_grad():
        before = net(encoded.take(torch.arange(4)))
        flat.load_private(flat.private * 3)
        after = net(encoded.take(torch.arange(4)))
        assert torch.equal(after, net(x))
    assert not torch.allclose(after, before)


def test_another_model_is_not_served_from_the_cache() -> None:
    net, _, _, encoded, x = cached()
    other = small(seed=9).eval()
    with torch.no_grad():
        net(encoded.take(torch.arange(3)))
        assert torch.equal(other(encoded.take(torch.arange(3))), other(x[:3]))


def test_one_pass_serves_the_generic_and_all_personal_models(make_client: Any) -> None:
    """Generic figures of one chunk only, as where the chunks are spread over workers; the rest for clients."""
    net, flat, counted, encoded, _x = cached()
    targets = torch.zeros(10, dtype=torch.int64)
    test = TestSet(encoded, targets)
    strategy, about = Strategy(), task(3, 4, 4, classes=5)
    collector = Collector({"confusion": Confusions()}, about)
    evaluate_generic(strategy, Server(net, flat, about), test, [0], collector)
    assert matrices(Report(statistics=collector.arrays()), 5)["generic:", NOBODY].support.tolist() == [4, 0, 0, 0, 0]
    client: Client = make_client(small(), np.zeros((2, 3)), [0, 1], Local())
    client.model, client.task, client.class_counts = net, about, torch.tensor([0, 1, 1, 0, 0])
    for _ in range(3):
        collector = Collector({"confusion": Confusions()}, about)
        evaluate_personal(strategy, client, test, torch.arange(10), collector)
        found = matrices(Report(statistics=collector.arrays()), 5)
        assert found["personal:", client.id].support.tolist() == [10, 0, 0, 0, 0]
        predicted = found["personal_masked:", client.id].predicted
        assert predicted.sum() == predicted[1] + predicted[2] == 10  # unseen classes are never predicted
    assert counted.samples == 10


def test_a_recipe_without_a_backbone_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Model defines no backbone"):
        Model().build(task(1, 8, 8))


def test_weights_come_back_from_a_plain_dictionary() -> None:
    models = [ResNet8().build(task(3, 16, 16)) for _ in range(2)]
    models[1].load_state_dict({name: value + 1 for name, value in models[0].state_dict().items()})
    assert torch.equal(models[1].backbone.norm.running_var, models[0].backbone.norm.running_var + 1)


class Stubborn(nn.Linear):
    """A layer that stays in evaluation mode."""

    def train(self, mode: bool = True) -> Stubborn:
        return super().train(False)


@pytest.mark.parametrize("layer", [nn.Linear, Stubborn])
def test_switch_does_what_train_does(layer: type[nn.Linear]) -> None:
    switched, expected = (nn.Sequential(layer(2, 2), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))) for _ in range(2))
    switch = Switch(switched)
    for training in (False, True):
        switch(training)
        expected.train(training)
        assert [part.training for part in switched.modules()] == [part.training for part in expected.modules()]
