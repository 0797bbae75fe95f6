"""The report and the model card: one HTML page that needs nothing else, and one Markdown file."""

from train.report.page import CARD, REPORT, REPORT_FILES, write_report

__all__ = ["CARD", "REPORT", "REPORT_FILES", "write_report"]
