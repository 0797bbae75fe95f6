import torch

from train.augment import augment
from train.recipe import AugmentConfig

NONE = AugmentConfig(translate=0, rotate_deg=0, scale=0, brightness=0, contrast=0, gamma=0)


def batch() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 3, 8, 8, generator=generator)
    image = torch.nn.functional.interpolate(coarse, size=(48, 64), mode="bilinear") * 255
    return image.permute(0, 2, 3, 1).to(torch.uint8)


def changed(config: AugmentConfig, seed: int = 0) -> torch.Tensor:
    return augment(batch(), config, torch.Generator().manual_seed(seed))


def test_no_amounts_change_nothing() -> None:
    difference = (changed(NONE).int() - batch().int()).abs()
    assert difference.max() <= 1


def test_shape_and_type_are_kept() -> None:
    result = changed(AugmentConfig())
    assert result.shape == batch().shape
    assert result.dtype == torch.uint8


def test_the_generator_decides() -> None:
    config = AugmentConfig()
    assert torch.equal(changed(config, 1), changed(config, 1))
    assert not torch.equal(changed(config, 1), changed(config, 2))


def test_every_amount_has_an_effect() -> None:
    for name in AugmentConfig.model_fields:
        value = {"rotate_deg": 20.0}.get(name, 0.3)
        result = changed(NONE.model_copy(update={name: value}))
        assert (result.int() - batch().int()).abs().max() > 5, name


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
