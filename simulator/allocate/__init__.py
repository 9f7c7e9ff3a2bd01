"""Budgets of several campaigns, shared out by their response curves: for analysts, from a file of curves.

    curves     the file format, its reader and writer
    terms      what may be done with each campaign: bounds, frozen ones, steps
    goals      what is asked for: a total, a return to keep, a result at least money
    plan       the best split, how sure the gain is, the recommended part of the way
    words      a plan as lines of text and as JSON
    page       a plan as one HTML page

The solver is the bidder's own, `bidder.core.portfolio`; campaigns under way are shared out by it too.
"""
