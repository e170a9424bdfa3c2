"""`tokenzoo bench`: quality, rates, codebooks and cost of several tokenizers of one modality over one set, as one table."""

from .result import Bench
from .run import bench
from .settings import Settings

__all__ = ["Bench", "Settings", "bench"]
