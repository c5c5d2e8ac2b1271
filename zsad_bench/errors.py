"""What can go wrong, as one line each: what was asked, what was found, what to do.

The command line prints `str(error)` alone and exits with `error.exit_code`; `--debug` shows the traceback.
"""

from __future__ import annotations


class ZsadError(Exception):
    """Base of every error a user can cause or fix; exit code 1."""

    exit_code = 1


class UsageError(ZsadError):
    """A wrong option or value in the request; exit code 2."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not registered; the message lists the nearest ones."""


class RegistrationError(ZsadError):
    """A registered method or dataset that cannot be loaded; the message names the file or entry point at fault."""


class BackboneError(ZsadError):
    """Weights that are missing, unreachable, truncated or not what the name says."""


class DatasetError(ZsadError):
    """A dataset that is missing, incomplete or unreadable."""


class DatasetLayoutError(DatasetError):
    """A folder that matches none of a dataset's layouts; the message says what was looked for and found."""


class OverlapError(ZsadError):
    """Auxiliary and target data share a dataset or an image."""


class TrainingError(ZsadError):
    """Training that cannot go on: a loss that is not a number."""


class PromiseError(ZsadError):
    """A method that does not keep to what the interface promises of it; the message names both."""


class CheckpointError(ZsadError):
    """A checkpoint that is truncated, or of another method, backbone or configuration."""


class RowError(ZsadError):
    """A leaderboard row that cannot be read or contradicts another one."""


class OnnxError(ZsadError):
    """A method that cannot be written as an ONNX graph, or a file that is missing, damaged or another program's."""
