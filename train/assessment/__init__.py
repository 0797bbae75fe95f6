"""Figures of a classifier on labelled images, each with its uncertainty."""

from train.assessment.figures import assess
from train.assessment.scored import Scored
from train.assessment.slices import assess_slices, check_slices

__all__ = ["Scored", "assess", "assess_slices", "check_slices"]
