"""Errors of the bidder.

    ClearbidError              everything we raise on purpose
    ├── InputError             the caller's data; mended by other input; the command line exits with 2
    │   ├── ConfigError        a setting that is unknown, of the wrong type or out of range
    │   │   └── SeatTaken      another worker holds the seat: give each its own
    │   ├── SheetError         a campaign sheet, with the row and column
    │   └── RequestError       an OpenRTB body, with the JSON path
    ├── DependencyError        something outside that is not there or failed; may be tried again; exit 3
    │   ├── BrokerUnavailable
    │   ├── UnknownTopic
    │   └── DeliveryError      messages that the broker did not acknowledge
    └── InvariantError         our own logic is wrong: the process must stop; exit 70

A refusal to bid is none of these: it is a `Reason`, numbered and counted. Every message names the thing, what
it was, what is allowed and what to do: `budget must be > 0, was -5 (row 17, campaigns.csv)`.
"""


class ClearbidError(Exception):
    """Base of every error that Clearbid raises on purpose."""

    exit_code = 1


class InputError(ClearbidError):
    """Data handed in by the caller that cannot be used."""

    exit_code = 2


class ConfigError(InputError):
    """A setting that is unknown, of the wrong type or out of range."""


class SeatTaken(ConfigError):
    """Another start took the seat of this worker, which the bank hears no more."""


class SheetError(InputError):
    """A campaign sheet with a row that cannot be taken; nothing of the sheet is applied."""


class RequestError(InputError):
    """An OpenRTB body that cannot be read.

    Args:
        message: what was wrong, and what is allowed.
        path: JSON path of the offending value, such as `$.imp[0].bidfloor`; `$` for the whole body.
    """

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(f"{message} at {path}")
        self.path = path


class DependencyError(ClearbidError):
    """Something outside the process that is not there or failed; trying again may help."""

    exit_code = 3


class BrokerUnavailable(DependencyError):
    """No Kafka broker answers at the configured address."""


class UnknownTopic(DependencyError):
    """A topic that the broker does not have and that we do not create."""


class DeliveryError(DependencyError):
    """Messages that the broker did not acknowledge in time; whether they were stored is unknown."""


class InvariantError(ClearbidError):
    """Our own logic broke a rule that must always hold; the process must stop."""

    exit_code = 70
