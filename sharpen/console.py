"""How a command shows what the library logs: the message alone, a line at once, on stdout.

The library only logs. Whoever starts a process of ours calls `enable_logging`; in a notebook it is a choice.
"""

from __future__ import annotations

import logging
import sys

LIBRARY = "sharpen"
# for `extra=`: a message that must not stand among a command's results
TO_STDERR = {"to_stderr": True}


class ConsoleHandler(logging.Handler):
    """Messages as lines of a console: errors on stderr, everything else on stdout as it is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message; an error while writing is the command's, as it is for print."""
        aside = getattr(record, "to_stderr", False)
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            text = f"error: {text}"
        elif record.levelno >= logging.WARNING and not aside and not text.startswith("note: "):
            text = f"warning: {text}"
        print(text, file=sys.stderr if aside or record.levelno >= logging.ERROR else sys.stdout, flush=True)


def enable_logging(level: int = logging.INFO) -> None:
    """Show what Sharpen logs on this process's console; once is enough.

    Example:
        sharpen.enable_logging()
        sharpen.finetune("base", "train.jsonl")     # notes and progress appear as plain lines, or a bar on a terminal
    """
    logger = logging.getLogger(LIBRARY)
    if not enabled():
        logger.addHandler(ConsoleHandler())
    logger.setLevel(level)
    logger.propagate = False  # else a root handler, such as that of KFP's executor, shows each line again


def enabled() -> bool:
    """Whether this process's console shows what the library logs."""
    return any(isinstance(handler, ConsoleHandler) for handler in logging.getLogger(LIBRARY).handlers)
