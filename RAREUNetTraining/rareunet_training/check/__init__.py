"""What a data set holds and what is wrong with it, before a training run starts.

files -> CaseReading -> CaseFacts (judged by what the model expects) -> CheckReport. One case is in memory at a time.
"""

from rareunet_training.check.facts import CaseFacts, Finding
from rareunet_training.check.report import CheckReport, check_cases
from rareunet_training.check.report_files import read_report, write_report

__all__ = ["CaseFacts", "CheckReport", "Finding", "check_cases", "read_report", "write_report"]
