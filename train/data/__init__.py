"""Labelled images: where they are, what is in them, and their decoded pixels."""

from train.data.classes import load_classes
from train.data.dataset import Dataset, load_dataset
from train.data.folder import open_folder
from train.data.sample import Part, Sample
from train.data.sources import list_samples

__all__ = [
    "Dataset",
    "Part",
    "Sample",
    "list_samples",
    "load_classes",
    "load_dataset",
    "open_folder",
]
