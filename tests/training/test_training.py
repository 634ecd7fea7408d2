"""The optimiser, the training loop, and how inputs become batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Local
from fedlt.data.inputs import Inputs
from fedlt.data.inputs.images import ImageKind
from fedlt.data.inputs.pixels import Images, _cut_out
from fedlt.data.inputs.tabular import TabularKind
from fedlt.data.site import Batch, Rows, Site
from fedlt.errors import ScenarioError
from fedlt.learner import Learner, Stage
from fedlt.nn.flat import Flat
from fedlt.nn.net import Net
from fedlt.training.sgd import SGD


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), nn.Linear(4, 2), 4)


def data(number: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(number, 3)), rng.integers(0, 2, number)


def loss_of(model: Net, step: int) -> Tensor:
    x, y = data(8, seed=step)
    return F.cross_entropy(model(torch.as_tensor(x).float()), torch.as_tensor(y))


# SGD ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("subset", [None, ("backbone.0.bias", "head.weight")])
def test_sgd_is_that_of_pytorch(momentum: float, weight_decay: float, subset: tuple[str, ...] | None) -> None:
    ours, theirs = net(), net()
    names = subset or tuple(name for name, _ in ours.named_parameters())
    flat = Flat(ours)
    sgd = SGD(flat, momentum, weight_decay)
    sgd.reset(names, lr=0.3)
    reference = torch.optim.SGD(
        [theirs.get_parameter(name) for name in names], lr=0.3, momentum=momentum, weight_decay=weight_decay
    )
    before = {name: p.detach().clone() for name, p in ours.named_parameters()}
    for step in range(5):
        sgd.zero_grad()
        loss_of(ours, step).backward()
        sgd.step()
        theirs.zero_grad()
        loss_of(theirs, step).backward()
        reference.step()
    for name, expected in theirs.named_parameters():
        found = ours.get_parameter(name)
        assert torch.allclose(found, expected, atol=1e-6), name
        assert torch.equal(found, before[name]) is (name not in names), name


def test_reset_forgets_the_momentum_and_sets_the_rate() -> None:
    """w = 1, gradient 2 throughout. Velocities 2, then 2 + 0.5 * 2 = 3; after the reset 2 again."""
    flat = Flat(Net(nn.Identity(), nn.Linear(1, 1, bias=False), 1))
    flat.storage.fill_(1.0)
    sgd = SGD(flat, momentum=0.5, weight_decay=0.0)
    seen = []
    for lr in (0.1, None, 1.0):
        if lr is not None:
            sgd.reset(("head.weight",), lr)
        sgd.zero_grad()
        (2 * flat.model.get_parameter("head.weight")).sum().backward()
        sgd.step()
        assert flat.model.get_parameter("head.weight").grad is None  # later gradients must not add to the velocity
        seen.append(round(float(flat.storage), 5))
    assert seen == [0.8, 0.5, -1.5]


# Trainer --------------------------------------------------------------------------------------------------------------


def test_steps_and_samples_are_counted_with_a_smaller_last_batch(make_client: Any) -> None:
    client = make_client(net(), *data(10), Local(epochs=3, batch_size=4, lr=0.1))
    sizes = []

    def loss(site: Site, batch: Batch) -> Tensor:
        sizes.append(len(batch))
        return site.learner.loss(site, batch)

    client.train(loss)
    assert sizes == [4, 4, 2] * 3
    assert (client.trainer.work.steps, client.trainer.work.samples) == (9, 30)


def test_the_mean_loss_weighs_samples_alike(make_client: Any) -> None:
    """Losses 1 and 4 on batches of 4 and 2 samples: sum 1 * 4 + 4 * 2."""
    client = make_client(net(), *data(6), Local(epochs=1, batch_size=4, lr=1e-9))
    values = iter([1.0, 4.0])
    client.train(lambda site, batch: site.weights().sum() * 0 + next(values))
    assert float(client.trainer.work.loss_sum) == 12.0


def test_an_epoch_is_one_pass_in_random_order(make_client: Any) -> None:
    seen: list[list[int]] = []
    for seed in (0, 0, 1):
        client = make_client(net(), *data(10), Local(epochs=2, batch_size=4), rng=np.random.default_rng(seed))
        rows: list[int] = []
        client.train(lambda site, batch, rows=rows: (rows.extend(batch.rows.tolist()), site.weights().sum())[1])
        assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
        assert rows[:10] != rows[10:]
        seen.append(rows)
    assert seen[0] == seen[1] != seen[2]


def test_parameters_that_are_left_out_stand_still(make_client: Any) -> None:
    """Sixteen weights of the backbone, then the head's."""
    client = make_client(net(), *data(8), Local(epochs=1, batch_size=4, lr=0.1, weight_decay=0.1))
    before = client.flat.storage.clone()
    client.train(client.learner.loss, without=("head.*",))
    changed = client.flat.storage != before
    assert changed[:16].all() and not changed[16:].any()

    after = client.flat.storage.clone()
    client.train(client.learner.loss, only=("head.*",), without=("head.bias",))
    changed = client.flat.storage != after
    names = [name for name, tensor in client.flat.views(changed.float()).items() if tensor.any()]
    assert names == ["head.weight"]
    with pytest.raises(ValueError, match=r"no trainable parameter matches .* without \('\*',\); there are: backbone"):
        client.train(client.learner.loss, without=("*",))


def test_only_the_parameters_asked_for_are_trained(make_client: Any) -> None:
    client = make_client(net(), *data(8), Local(epochs=1, batch_size=4, lr=0.1, weight_decay=0.1))
    before = client.flat.storage.clone()
    client.train(client.learner.loss, only=("head.*",))
    changed = client.flat.storage != before
    assert not changed[:16].any()
    assert changed[16:].all()
    client.train(client.learner.loss)  # the next call trains all again
    assert (client.flat.storage != before)[:16].any()
    with pytest.raises(
        ValueError, match=r"no trainable parameter matches .*'heat\.\*'.*there are: backbone\.0\.weight"
    ):
        client.train(client.learner.loss, only=("heat.*",))


def test_frozen_parameters_are_not_trained(make_client: Any) -> None:
    client = make_client(net(), *data(8), Local(epochs=1, batch_size=4, lr=0.1, weight_decay=0.1), frozen=("head.*",))
    before = client.flat.frozen.clone()
    client.train(client.learner.loss)
    assert torch.equal(client.flat.frozen, before)
    with pytest.raises(ValueError, match="no trainable parameter"):
        client.train(client.learner.loss, only=("head.*",))


def test_epochs_and_rate_may_be_given(make_client: Any) -> None:
    """Gradient 1 for all weights: two epochs of one step at rate 0.25 take 0.5 away."""
    client = make_client(net(), *data(4), Local(epochs=7, batch_size=4, lr=9.0, momentum=0.0))
    before = client.flat.storage.clone()
    client.train(lambda site, batch: site.weights().sum(), epochs=2, lr=0.25)
    assert torch.allclose(client.flat.storage, before - 0.5)


def test_training_works_where_gradients_are_off_and_leaves_the_model_ready_for_prediction(make_client: Any) -> None:
    """So a strategy may fine-tune in `personal`, which runs without gradients."""
    client = make_client(net(), *data(4), Local(epochs=1, batch_size=4, lr=0.1))
    before = client.flat.storage.clone()
    with torch.no_grad():
        client.train(client.learner.loss)
    assert not torch.equal(client.flat.storage, before)
    assert not client.model.training


def test_an_epoch_may_stand_for_more_samples_than_the_site_holds(make_client: Any) -> None:
    client = make_client(net(), *data(4), Local(epochs=1, batch_size=4), epoch_size=10)
    positions = client.positions(10)
    assert np.bincount(positions).tolist() in (
        [3, 3, 2, 2],
        [3, 2, 3, 2],
        [3, 2, 2, 3],
        [2, 3, 3, 2],
        [2, 3, 2, 3],
        [2, 2, 3, 3],
    )
    assert sorted(positions[:4]) == sorted(positions[4:8]) == [0, 1, 2, 3]
    client.train(client.learner.loss)
    assert client.trainer.work.samples == 10
    assert client.positions(0).tolist() == []


@dataclass(frozen=True)
class TwoStages(Learner):
    """Representation on all data, then the classifier on the second class alone."""

    def stages(self) -> tuple[Stage, ...]:
        return Stage("features", 0.75, ("backbone.*",)), Stage("classifier", 0.25, ("head.*",))

    def sampler(self, site: Site, stage: Stage) -> NDArray[np.int64]:
        if stage.name == "features":
            return super().sampler(site, stage)
        return np.flatnonzero(site.data.y.numpy() == 1).repeat(2)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        return F.cross_entropy(site.model(batch.x), batch.y)


@pytest.mark.parametrize(
    ("progress", "name"), [(0.0, "features"), (0.7, "features"), (0.75, "classifier"), (0.99, "classifier")]
)
def test_the_stage_follows_the_share_of_the_rounds_that_are_done(make_client: Any, progress: float, name: str) -> None:
    client = make_client(net(), *data(8), Local(epochs=1, batch_size=8, lr=0.1), learner=TwoStages(), progress=progress)
    before = client.flat.storage.clone()
    assert client.stage.name == name
    client.train(client.learner.loss)
    changed = client.flat.storage != before
    assert (bool(changed[:16].any()), bool(changed[16:].any())) == (name == "features", name == "classifier")


def test_thirds_add_up_to_a_whole(make_client: Any) -> None:
    class Thirds(TwoStages):
        def stages(self) -> tuple[Stage, ...]:
            return tuple(Stage(str(index), 0.1) for index in range(10))

    names = [
        make_client(net(), *data(2), Local(), learner=Thirds(), progress=done / 10).stage.name for done in range(10)
    ]
    assert names == [str(index) for index in range(10)]  # though 0.1 + 0.1 + 0.1 > 0.3


def test_the_learners_sampler_decides_what_is_seen(make_client: Any) -> None:
    client = make_client(
        net(), *data(2), Local(epochs=1, batch_size=8), learner=TwoStages(), progress=0.9, epoch_size=5
    )
    client.data.targets.copy_(torch.tensor([0, 1]))
    seen: list[int] = []

    def loss(site: Site, batch: Batch) -> Tensor:
        seen.extend(batch.y.tolist())
        return site.model(batch.x).sum()

    client.train(loss)
    assert seen == [1] * 5


def test_a_learner_without_a_loss_says_so(make_client: Any) -> None:
    client = make_client(net(), *data(2), Local(), learner=Learner())
    with pytest.raises(NotImplementedError, match="Learner defines no loss"):
        client.train(client.learner.loss)


def test_bfloat16_is_another_result_yet_a_finite_one(make_client: Any) -> None:
    ends = {}
    for precision in ("float32", "bfloat16"):
        client = make_client(net(), *data(16), Local(epochs=3, batch_size=4, lr=0.1), precision=precision)
        client.train(client.learner.loss)
        ends[precision] = client.flat.storage.clone()
    assert torch.isfinite(ends["bfloat16"]).all()
    assert ends["bfloat16"].dtype == torch.float32
    assert not torch.equal(ends["float32"], ends["bfloat16"])
    assert torch.allclose(ends["float32"], ends["bfloat16"], atol=0.05)


def test_precision_is_that_of_the_loss(make_client: Any) -> None:
    kinds: list[torch.dtype] = []

    def loss(site: Site, batch: Batch) -> Tensor:
        kinds.append(site.model(batch.x).dtype)
        return site.flat.weights().sum()

    for precision in ("float32", "bfloat16"):
        client = make_client(net(), *data(4), Local(epochs=1, batch_size=4), precision=precision)
        client.train(loss)
    assert kinds == [torch.float32, torch.bfloat16]


# Inputs ---------------------------------------------------------------------------------------------------------------


def plain(pixels: Any) -> Images:
    """Images whose batches are the pixels themselves: mean 0 and std 1 / 255."""
    array = torch.as_tensor(np.asarray(pixels, np.uint8))
    channels = array.shape[3]
    return Images(array, torch.zeros(channels), torch.full((channels,), 1 / 255), channels_last=False)


def opened(pixels: Any, mean: Any, std: Any, channels_last: bool) -> Inputs:
    """Images of a data set with these moments."""
    height, width, channels = pixels.shape[1:]
    moments = (np.asarray(values, np.float32) for values in (mean, std))
    return ImageKind((channels, height, width), *moments, channels_last).open(pixels, torch.device("cpu"))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


ROWS = torch.zeros(64, dtype=torch.int64)  # the first image, 64 times


def test_images_are_standardised_per_channel() -> None:
    """0, 51 and 255 are 0, 0.2 and 1; with mean 0.2 and std 0.4 (channel 0) -0.5, 0 and 2; with 0 and 1 themselves."""
    pixels = np.array([[[[0, 0], [51, 51]], [[255, 255], [0, 51]]]], np.uint8)
    for channels_last in (False, True):
        inputs = opened(pixels, [0.2, 0.0], [0.4, 1.0], channels_last)
        x = inputs.take(torch.tensor([0, 0]))
        assert x.shape == (2, 2, 2, 2)
        assert x.dtype == torch.float32
        assert x[1, 0].tolist() == pytest.approx(np.array([[-0.5, 0.0], [2.0, -0.5]]), abs=1e-6)
        assert x[1, 1].tolist() == pytest.approx(np.array([[0.0, 0.2], [1.0, 0.2]]), abs=1e-6)
        assert x.is_contiguous() is not channels_last
        assert x.is_contiguous(memory_format=torch.channels_last) is channels_last


def test_features_are_standardised_and_not_augmented() -> None:
    kind = TabularKind(np.array([1, 5], np.float32), np.array([2, 4], np.float32))
    inputs = kind.open(np.array([[1, 5], [3, 9]], np.float32), torch.device("cpu"))
    assert inputs.take(torch.tensor([1, 0])).tolist() == [[1, 1], [0, 0]]
    with pytest.raises(ValueError, match=r"local\.augment=flip is for images"):
        inputs.take(torch.tensor([0]), "flip")


def test_rows_gather_from_the_whole_set() -> None:
    rows = Rows(plain(np.arange(4).reshape(4, 1, 1, 1)), torch.tensor([5, 6, 7, 8]), torch.tensor([3, 1]))
    assert len(rows) == 2
    assert rows.y.tolist() == [8, 6]
    assert rows.x().flatten().tolist() == pytest.approx([3, 1])
    batch = rows.batch(torch.tensor([1, 1, 0]))
    assert (batch.y.tolist(), batch.rows.tolist()) == ([6, 6, 8], [1, 1, 0])
    assert batch.x.flatten().tolist() == pytest.approx([1, 1, 3])


def test_a_flip_mirrors_columns_of_half_the_images() -> None:
    image = [[1, 2, 3], [4, 5, 6]]
    out = plain([[[[v] for v in row] for row in image]]).take(ROWS, "flip", seeded(0)).round().int()[:, 0].tolist()
    mirrored = [[3, 2, 1], [6, 5, 4]]
    assert {str(found) for found in out} == {str(image), str(mirrored)}
    assert 20 < sum(found == mirrored for found in out) < 44


def test_a_crop_shifts_by_at_most_an_eighth_with_zeros_from_outside() -> None:
    """16 x 16 pixels: up to 2 to each side. Each result must be the image at one of the 25 shifts."""
    image = np.arange(1, 257).reshape(16, 16) % 250 + 1
    padded = np.pad(image, 2)
    shifts = {(i, j): padded[i : i + 16, j : j + 16] for i in range(5) for j in range(5)}
    out = plain(image[None, :, :, None]).take(ROWS, "crop", seeded(0)).round().int()[:, 0].numpy()
    found = [key for picture in out for key, expected in shifts.items() if np.array_equal(picture, expected)]
    assert len(found) == 64
    assert {i for i, _ in found} == {j for _, j in found} == {0, 1, 2, 3, 4}
    assert {i - j for i, j in found} != {0}  # rows and columns by draws of their own


def test_small_images_are_still_shifted_by_one_pixel() -> None:
    out = plain(np.full((1, 3, 3, 1), 9)).take(ROWS, "crop", seeded(0)).round().int()[:, 0]
    assert {int((picture == 0).sum()) for picture in out} == {0, 3, 5}  # no shift, one side, two sides


def test_cutout_zeroes_one_square_of_half_the_height() -> None:
    """8 x 8: rows and columns nearer than 2 to the centre, so 3 x 3, less where it leaves the image."""
    x = torch.full((64, 2, 8, 8), 9.0)
    _cut_out(x, seeded(1))
    assert torch.equal(x[:, 0], x[:, 1])
    sizes = set()
    for picture in x[:, 0]:
        zero = picture == 0
        rows, columns = zero.any(1).nonzero().flatten(), zero.any(0).nonzero().flatten()
        assert zero[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert int(zero.sum()) == len(rows) * len(columns)
        sizes.add((len(rows), len(columns)))
    assert sizes == {(3, 3), (2, 3), (3, 2), (2, 2)}


@pytest.mark.parametrize("augment", ["crop", "flip", "crop_flip", "crop_flip_cutout", "crop_cutout", "shift_flip"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_augmentation_is_a_function_of_the_seed(augment: str, channels_last: bool) -> None:
    pixels = np.random.default_rng(0).integers(1, 256, (5, 16, 12, 3)).astype(np.uint8)
    inputs = opened(pixels, np.zeros(3), np.ones(3), channels_last)
    rows = torch.tensor([4, 0, 0, 2])
    plain_batch = inputs.take(rows)
    first, again, other = (inputs.take(rows, augment, seeded(seed)) for seed in (0, 0, 1))
    assert first.shape == plain_batch.shape == (4, 3, 16, 12)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, plain_batch)
    assert torch.equal(inputs.take(rows), plain_batch)  # the stored images stay as they are
    assert first.is_contiguous(memory_format=torch.channels_last) is channels_last


def test_beyond_the_image_a_crop_finds_black_and_a_shift_the_mean() -> None:
    """One colour 9 throughout, mean 5 and deviation 1/2: (9 - 5) / 0.5 = 8 inside, -10 where black, 0 at the mean."""
    pixels = np.full((1, 16, 16, 1), 9, np.uint8)
    inputs = opened(pixels, [5 / 255], [0.5 / 255], True)
    cropped, shifted = (inputs.take(ROWS, augment, seeded(0)) for augment in ("crop", "shift"))
    assert torch.allclose(cropped.unique(), torch.tensor([-10.0, 8.0]), atol=1e-5)
    assert torch.allclose(shifted.unique(), torch.tensor([0.0, 8.0]), atol=1e-5)
    assert torch.equal(shifted == 0, cropped < 0)


def test_cutout_joins_in_where_it_is_named() -> None:
    inputs = plain(np.full((1, 16, 16, 1), 9))
    zeros = [int((inputs.take(ROWS, augment, seeded(0)) == 0).sum()) for augment in ("crop", "crop_cutout")]
    assert zeros[1] > zeros[0] + 64 * 10


def test_a_read_only_array_is_used_without_a_warning_or_a_copy(recwarn: pytest.WarningsRecorder) -> None:
    array = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    array.flags.writeable = False
    inputs = opened(array, np.zeros(1), np.ones(1), False)
    assert isinstance(inputs, Images)
    assert inputs.pixels.data_ptr() == array.ctypes.data
    assert not recwarn.list


# Clipping -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1e-3, 0.5, 1e3])
def test_clipped_steps_are_those_of_pytorch(limit: float) -> None:
    """Ten steps on the same batches, with momentum and weight decay, which is added after clipping."""
    ours, theirs = net(), net()
    flat = Flat(ours)
    sgd = SGD(flat, momentum=0.9, weight_decay=0.1, clip=limit)
    sgd.reset(tuple(flat.trainable), 0.1)
    reference = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for step in range(10):
        sgd.zero_grad()
        loss_of(ours, step).backward()
        sgd.step()
        theirs.zero_grad()
        loss_of(theirs, step).backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), limit)
        reference.step()
    for mine, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, expected, atol=1e-6)


@pytest.mark.slow
def test_clipping_is_part_of_a_scenario_only_where_it_is_set(tiny: dict[str, Any], tmp_path: Path) -> None:
    plain, clipped = load_scenario(tiny), load_scenario(tiny, ["local.clip=0.01"])
    assert "clip" not in plain.to_dict()["local"]
    hashes = [fedlt.run(s, out=tmp_path, backend="inline").summary["model_hash"] for s in (plain, clipped)]
    assert hashes[0] != hashes[1]
    assert fedlt.run(tiny, "local.clip=1e9", out=tmp_path, backend="inline").summary["model_hash"] == hashes[0]
    with pytest.raises(ScenarioError, match=r"local\.clip: is of one client's gradient"):
        load_scenario(tiny, ["local.clip=1", "local.together=2"])
