"""What money brings back, under its two usual names; defined here and nowhere else.

    ROAS = value / spend               return on ad spend: at 1 the money is back
    ROI  = (value - spend) / spend     return on investment: at 0 the money is back; it is ROAS - 1

Value is `value_nanos` in every answer. Of what happened, in reports and accounts, it is the sum of what conversions
told that they were worth, whatever the goal. Of what would happen, in estimates, forecasts and what-ifs, it is goal
events, clicks where the goal is a click, times the worth that their bids were made by.
"""


def roas(value_nanos: float, spend_nanos: float) -> float | None:
    """Value for each unit of money spent, a ratio; None where nothing is spent."""
    return value_nanos / spend_nanos if spend_nanos else None


def roi(value_nanos: float, spend_nanos: float) -> float | None:
    """What is gained above the money spent, as a share of it; None where nothing is spent."""
    return (value_nanos - spend_nanos) / spend_nanos if spend_nanos else None
