"""The markup of a bid, a module a media: text whose only holes are what differs from bid to bid.

Nothing here knows of money, campaigns or requests: a module gets addresses and sizes and gives `Pieces`.
"""
