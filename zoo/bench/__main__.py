"""Measures one tokenizer in this process: `python -m tokenzoo.zoo.bench JOB.json`; see `worker.py`."""

from .worker import main

raise SystemExit(main())
