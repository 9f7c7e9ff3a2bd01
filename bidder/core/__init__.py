"""The pure core: deciding is a function of events, time and state.

What may live here: plain data, integer money, NumPy arrays and Numba kernels. What must not: a clock, randomness,
logging, I/O, `await`, a client library. Time and seeds come in as arguments; everything that happened goes
out as data. A test and an import contract hold this.
"""
