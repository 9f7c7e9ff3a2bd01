"""Money and conversions under faults: the bidder's own code on virtual time; what goes wrong is drawn from one seed.

What is driven is what runs: `Worker`, `ShardedBank` on a SQLite database, `Tracker`, `NoticePublisher` and `Spool`.
What is simulated is the world around them:

| file | what it is |
|---|---|
| `dice` | all randomness, from one seed |
| `scheduler` | virtual time, and what happens when |
| `loop` | the event loop on which the tracker's publisher runs |
| `broker` | topics, partitions, consumer groups; sends that fail, repeat or come late |
| `disk` | the database that survives crashes; transactions that are cut off (`simulator.disk` is a tracker's) |
| `machines` | the life of a process: steps, crashes, stalls, a clock that is wrong |
| `bidders`, `trackers`, `banks` | one process each: the order of calls of its shell |
| `calls` | calls of tracking URLs: never made, late, lost, not answered, made again |
| `market` | exchanges, each with a notice that books money: auctions, calls of tracking URLs, and their own books |
| `shops` | people who click and buy, and the shops' own words of it: pixels, servers, ids of clicks and orders |
| `plan` | what is played and what goes wrong, drawn from the seed |
| `oracle` | what must hold, by the scheduler's clock and never by the ledger under test |
| `credits` | what each order must count for: a simple computation from the books of people and shops |
| `run` | puts them together |
| `late` | apart from these: a stated law of late billings, long enough for the bank to learn it |

Nothing here reads a clock, waits or starts a thread: the same seed gives the same trace.
"""
