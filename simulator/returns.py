"""What money brings back, under its two usual names; defined here and nowhere else.

    ROAS = value / spend               return on ad spend: at 1 the money is back
    ROI  = (value - spend) / spend     return on investment: at 0 the money is back; it is ROAS - 1

Value, `value_nanos` in every answer, is what outcomes of the goal are worth: of conversions, or of clicks where the
goal is a click.
"""


def roas(value_nanos: float, spend_nanos: float) -> float | None:
    """Value for each unit of money spent, a ratio; None where nothing is spent."""
    return value_nanos / spend_nanos if spend_nanos else None


def roi(value_nanos: float, spend_nanos: float) -> float | None:
    """What is gained above the money spent, as a share of it; None where nothing is spent."""
    return (value_nanos - spend_nanos) / spend_nanos if spend_nanos else None
