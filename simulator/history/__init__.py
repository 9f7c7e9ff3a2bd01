"""What happened, as the simulator asks of it: logs in one canonical shape, and what they leave unsaid.

auctions  one campaign's opportunities as arrays: what was offered, bid, won, paid and followed
"""
