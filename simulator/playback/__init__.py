"""A history played again: other campaigns and budgets on the same opportunities, through the live engine.

bodies    rows of a history as bid requests
prepared  rows as the engine's own columns, made once for any number of budgets
market    who wins and what is paid: first price, second price, floors, soft floors
outcomes  clicks and conversions: the log's own where they are known, else drawn by the predictions, and marked
delays    how long results and bills take, and which never come: given, or as the log says
pays      what line items pay for, in the terms of the engine; targets that a replay cannot keep
player    steps of virtual time: decide, settle, count
results   what came of it, by campaign
run       one replay from a history and a sheet to a result

A pure function of history, campaigns, models and seed: no clock, no socket. Rivals do not react.
"""
