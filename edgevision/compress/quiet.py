"""Tools that print are heard by nobody: stdout is the result of a command, and it is ours."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Run the block with what it prints on stdout dropped, warnings ignored and the named loggers at ERROR.

    >>> with quiet("some.library"):
    ...     print("chatter")
    """
    found = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in found]
    # One bar redrawn ten times a second is still a thread; rich draws none on a terminal it calls dumb.
    term = os.environ.get("TERM")
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["TERM"] = "dumb"
        try:
            for logger in found:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(found, levels, strict=True):
                logger.setLevel(level)
            if term is None:
                os.environ.pop("TERM", None)
            else:
                os.environ["TERM"] = term
