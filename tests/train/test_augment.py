import pytest
import torch
from torch.nn import functional as F

from train.augment import Augment
from train.presets import PRESETS, AugmentConfig, Preset

NONE = AugmentConfig(preset="none")
# An amount of each that shows, the share of images for those that are all or nothing.
AMOUNTS = {
    "translate": 0.3,
    "rotate_deg": 20.0,
    "scale": 0.3,
    "brightness": 0.3,
    "contrast": 0.3,
    "gamma": 0.3,
    "flip": 1.0,
    "erase": 1.0,
    "blur": 1.0,
}


def batch() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 3, 8, 8, generator=generator)
    image = torch.nn.functional.interpolate(coarse, size=(48, 64), mode="bilinear") * 255
    return image.permute(0, 2, 3, 1).to(torch.uint8)


def augment(image: torch.Tensor, config: AugmentConfig, generator: torch.Generator) -> torch.Tensor:
    return Augment(config, generator, classes=3).images(image)


def changed(config: AugmentConfig, seed: int = 0) -> torch.Tensor:
    return augment(batch(), config, torch.Generator().manual_seed(seed))


def test_no_amounts_change_nothing() -> None:
    assert torch.equal(changed(NONE), batch())


def test_shape_and_type_are_kept() -> None:
    result = changed(AugmentConfig())
    assert result.shape == batch().shape
    assert result.dtype == torch.uint8


def test_the_generator_decides() -> None:
    config = AugmentConfig()
    assert torch.equal(changed(config, 1), changed(config, 1))
    assert not torch.equal(changed(config, 1), changed(config, 2))


@pytest.mark.parametrize("name", AMOUNTS)
def test_every_amount_has_an_effect(name: str) -> None:
    result = changed(NONE.model_copy(update={name: AMOUNTS[name]}))
    assert (result.int() - batch().int()).abs().max() > 5
    assert set(AMOUNTS) == set(AugmentConfig.model_fields) - {"preset", "mixup", "cutmix"}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_gives_images(preset: Preset) -> None:
    result = changed(AugmentConfig(preset=preset))
    assert result.shape == batch().shape
    assert result.dtype == torch.uint8
    assert torch.equal(result, batch()) == (preset == "none")


def test_an_amount_goes_before_the_presets() -> None:
    config = AugmentConfig(preset="strong", flip=0.0)
    assert (config.amount("flip"), config.amount("erase")) == (0.0, PRESETS["strong"]["erase"])


def test_each_image_is_changed_by_its_own_amount() -> None:
    image = torch.full((4, 16, 16, 3), 100, dtype=torch.uint8)
    config = NONE.model_copy(update={"brightness": 0.3})
    result = augment(image, config, torch.Generator().manual_seed(0))
    assert len(set(result[:, 0, 0, 0].tolist())) == 4


def test_translation_moves_by_at_most_its_share() -> None:
    image = torch.zeros(200, 64, 64, 3, dtype=torch.uint8)
    image[:, 32, 32] = 255
    config = NONE.model_copy(update={"translate": 0.1})
    result = augment(image, config, torch.Generator().manual_seed(0))
    rows = result[..., 0].amax(dim=2).argmax(dim=1)
    assert rows.min() >= 32 - 7
    assert rows.max() <= 32 + 7
    assert rows.max() - rows.min() > 6


def test_left_and_right_are_never_exchanged() -> None:
    image = torch.zeros(100, 64, 64, 3, dtype=torch.uint8)
    image[:, :, 8:16] = 255
    result = augment(image, AugmentConfig(), torch.Generator().manual_seed(0))
    left = result[:, :, :32].float().mean(dim=(1, 2, 3))
    right = result[:, :, 32:].float().mean(dim=(1, 2, 3))
    assert (left > right).all()


def test_a_flip_is_exact_and_concerns_its_share() -> None:
    image = batch()[:1].repeat(400, 1, 1, 1)
    result = augment(
        image, NONE.model_copy(update={"flip": 0.25}), torch.Generator().manual_seed(0)
    )
    mirrored = (result == image.flip(2)).flatten(1).all(1)
    assert ((result == image).flatten(1).all(1) | mirrored).all()
    assert 70 < int(mirrored.sum()) < 130


def test_torch_s_own_generator_neither_decides_nor_is_drawn_from() -> None:
    config = AugmentConfig(preset="strong", mixup=0.4, cutmix=1.0)
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        change = Augment(config, torch.Generator().manual_seed(5), classes=3)
        x = change.images(batch()).permute(0, 3, 1, 2).float()
        results.append(change.mixed(x, torch.arange(6) % 3))
        assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_the_generator_s_state_is_enough_to_go_on() -> None:
    config = AugmentConfig(preset="strong", mixup=0.4, cutmix=1.0)
    generator = torch.Generator().manual_seed(3)
    change = Augment(config, generator, classes=3)
    change.images(batch())
    saved = generator.get_state()
    expected = change.images(batch())
    other = torch.Generator()
    other.set_state(saved)
    assert torch.equal(Augment(config, other, classes=3).images(batch()), expected)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_images_have_mixed_targets(kind: str) -> None:
    # Images of one grey value each: the value of a pixel says which share of it comes from whom.
    labels = torch.arange(8) % 4
    x = labels.float().view(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous()
    config = NONE.model_copy(update={kind: 1.0})
    generator = torch.Generator().manual_seed(1)
    mixed, target = Augment(config, generator, classes=4).mixed(x, labels)
    assert target.shape == (8, 4)
    assert torch.allclose(target.sum(1), torch.ones(8))
    assert not torch.equal(target, F.one_hot(labels, 4).float())
    shown = (target * torch.arange(4.0)).sum(1)
    assert torch.allclose(mixed.mean(dim=(1, 2, 3)), shown, atol=1e-4)
    assert torch.allclose(target.sum(0), torch.full((4,), 2.0))


def test_partners_are_not_always_neighbours() -> None:
    # A class lies side by side, as on disk; neighbours alone would mix it with itself.
    labels = torch.arange(4).repeat_interleave(16)
    x = torch.zeros(64, 3, 4, 4)
    change = Augment(NONE.model_copy(update={"mixup": 1.0}), torch.Generator().manual_seed(0), 4)
    _, target = change.mixed(x, labels)
    assert ((target > 0).sum(1) == 2).float().mean() > 0.5


def test_both_kinds_of_mixing_have_their_turn() -> None:
    change = Augment(
        NONE.model_copy(update={"mixup": 1.0, "cutmix": 1.0}), torch.Generator().manual_seed(0), 2
    )
    labels = torch.tensor([0, 1] * 4)
    x = labels.float().view(-1, 1, 1, 1).expand(-1, 3, 16, 16).contiguous()
    patched = [
        bool(((each := change.mixed(x, labels)[0]) == 0).logical_or(each == 1).all())
        for _ in range(20)
    ]
    assert 0 < sum(patched) < 20
