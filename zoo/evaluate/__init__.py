"""`tokenzoo eval MODEL FILES`: how well a tokenizer reconstructs media, what its tokens cost, how it uses its codebooks.

    from tokenzoo.zoo.evaluate import evaluate, print_report
    report = evaluate(tokenzoo.load("NAME"), "folder")      # report.metrics: name -> mean over items
"""

from .density import tok_dense
from .perturb import Perturb
from .report import Report, print_report, report_text
from .run import evaluate

__all__ = ["Perturb", "Report", "evaluate", "print_report", "report_text", "tok_dense"]
