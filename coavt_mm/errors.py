"""Errors written for the person who reads them: what, where, what to do."""


class CoAVTError(Exception):
    """Base of all errors that a user can mend; tools print it as one line."""


class ConfigError(CoAVTError):
    """A setting is unknown, mistyped or contradicts another one."""


class DatasetMissingError(CoAVTError):
    """A data set, manifest or tokenizer is not where the config says."""


class ManifestError(CoAVTError):
    """A manifest row can't be read; the message names file and line."""


class ClipError(CoAVTError):
    """A clip can't be decoded as asked; the message names the file."""


class CheckpointError(CoAVTError):
    """A checkpoint is of another kind, damaged, or unsafe to load."""


class InputError(CoAVTError):
    """What was handed to a function is of a kind or shape that it doesn't take."""
