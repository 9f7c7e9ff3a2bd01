"""A strict exchange as a pure state machine: it offers rows of a log, judges bids, and says what follows.

What may live here: the rules of auction, billing and outcome, as functions of rows, bytes, times and seeds. What
must not: a clock, a socket, an order of events. A shell sends the requests, hands in the responses, and makes
the calls that come out when their time has come.
"""
