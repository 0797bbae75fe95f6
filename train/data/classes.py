"""The classes: of the configuration, or of a file beside the images."""

import yaml
from pydantic import TypeAdapter, ValidationError

from model.bundle import validation_message
from model.manifest import ClassInfo
from train.config import DataConfig
from train.errors import DataError


def load_classes(config: DataConfig) -> list[ClassInfo]:
    """The classes in the order of the answers.

    Raises:
        DataError: the file is unreadable, or fewer than two distinct classes are given.
    """
    if isinstance(config.classes, list):
        classes = config.classes
    else:
        file = config.root / config.classes
        try:
            tree = yaml.safe_load(file.read_text(encoding="utf-8"))
            classes = TypeAdapter(list[ClassInfo]).validate_python(tree)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise DataError(f"data.classes: {file} is unreadable: {error}") from error
        except ValidationError as error:
            raise DataError(f"data.classes: {file}: {validation_message(error)}") from error
    keys = [info.key for info in classes]
    if len(keys) < 2 or len(set(keys)) != len(keys):
        raise DataError(f"data.classes has the keys {keys}; two or more distinct ones are needed")
    return classes
