"""What if: the same past with one thing changed, beside the past as it was bid, draw by draw.

change    what can be changed, and what a change makes of a log
compare   both sides on the same draws: their results, the difference, and how likely it helps
split     two policies side by side, each with half of the users and half of the budget
"""
