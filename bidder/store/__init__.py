"""Durable state: what must be there after a crash.

What may live here: SQL, files, and the checks of what comes out of them. What must not: decisions about money or
bids (`bidder.core` makes those and hands over rows), a running clock (times come in as arguments), `await`.
"""
