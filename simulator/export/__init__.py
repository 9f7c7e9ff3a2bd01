"""Training tables from runs: what went into a bidder, what came out of it, and what became of that.

    inputs      the journal: bodies and campaigns as they were at each moment, and losses that were told
    decisions   the decision log: the bids
    join        each bid with what the bidder saw of its opportunity; pure
    outcomes    the bank's books: what became of each bid; pure but for the reader of a database
    columns     the columns of a table, and its file
    run         a folder of a run as a table

Features are made by the bidder's own code (`bidder.core.hindsight`), so a model is served what it learned from.
"""
