"""The classes: of the configuration, or of a file beside the images."""

import yaml
from pydantic import TypeAdapter, ValidationError

from model.bundle import validation_message
from model.manifest import ClassInfo
from train.data.folder import Folder, open_file, open_folder
from train.data_config import DataConfig
from train.errors import DataError


def load_classes(config: DataConfig, folder: Folder | None = None) -> list[ClassInfo]:
    """The classes in the order of the answers.

    Args:
        config: where they are.
        folder: of the data, where it has been opened already.

    Raises:
        DataError: the file is unreadable, or fewer than two distinct classes are given.
    """
    if isinstance(config.classes, list):
        classes = config.classes
    else:
        file = open_file(config, config.classes, folder or open_folder(config), "data.classes")
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
