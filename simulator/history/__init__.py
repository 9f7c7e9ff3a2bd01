"""What happened, as the simulator asks of it: logs in one canonical shape, and what they leave unsaid.

schema     the canonical row, and what its columns mean
file       the Parquet file of a history, written and read in row groups
checking   rules that every history keeps
tally      what a history holds, counted
ordering   tables put in the order of time, by runs on disk
runs       runs of our own
seasons    iPinYou's season logs as they were published
openrtb    OpenRTB requests, responses and notices as JSON lines
mapping    any table, by a file that names its columns
convert    whatever log there is: finds its reader
logrows    iPinYou's Parquet files, and other rows of `simulator.logs`
auctions   one campaign's opportunities as arrays: what was offered, bid, won, paid and followed
loading    a campaign of a history as such arrays, whole or in pieces
strata     groups within which bids do not depend on prices
"""
