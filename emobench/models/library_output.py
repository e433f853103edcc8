"""What transformers prints while it loads, held back for the length of a block. Changes nothing at import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hold back the library's loading tables and progress bars; errors still show, and the settings come back after.

    The caller looks at what a load reports (``output_loading_info``) instead of letting it be printed.
    """
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
