"""What of a run's log is shown: its file gets all, the screen what a person reads."""

import logging
import sys

# mmengine's warnings of what is as it should be
_FALSE_ALARMS = (
    'Failed to search registry with scope',  # it is found in mmengine's
    '"FileClient" will be deprecated',  # mmengine's own hooks use it
    '"HardDiskBackend" is the alias',
)
# what it says of each run
_DETAILS = (
    'paramwise_options -- ',
    'Distributed training is not used',
    'Checkpoints will be saved',
    'Exp name: ',
)
_LONGEST = 1000  # characters; a line of all metrics repeats their table


class ScreenFilter(logging.Filter):
    """Keeps false alarms, and what mmengine says at length, off the screen."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is shown.

        Args:
            record: The line.
        """
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            return not text.startswith(_FALSE_ALARMS)
        if text.startswith(_DETAILS):
            return False
        is_long = text.count('\n') > 2 or len(text) > _LONGEST
        return not (is_long and _is_of_mmengine())


def _is_of_mmengine() -> bool:
    """Whether the line that is being logged comes from mmengine's own code."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_globals.get('__name__', '')
        if name.split('.')[0] != 'logging' and not name.startswith(
            ('mmengine.logging', __name__)
        ):
            return name.startswith('mmengine.')
        frame = frame.f_back
    return False


def quieten(logger: logging.Logger) -> None:
    """Show of a log only what a person reads.

    Args:
        logger: Of a run; its handlers of files stay as they are.
    """
    for handler in logger.handlers:
        if type(handler) is logging.StreamHandler:
            handler.addFilter(ScreenFilter())
