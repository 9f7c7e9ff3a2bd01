"""What notebooks show of the simulator's answers; `simulator.api` asks, this says.

results   an answer: its frame, its page, what a notebook shows of it
tables    answers as Arrow tables: money in nanos, every figure with `_low` and `_high`
frames    a table as a frame of polars or pandas, whichever is there
amounts   money and names as a notebook gives them

`example.ipynb` walks through all of it; a test runs it.
"""
