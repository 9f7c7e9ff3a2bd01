"""Sweeps: a past played with many settings, its prices and outcomes drawn once for all of them.

space     what is varied: grids and random points
run       every point on every draw
backends  where draws are played: here, over cores, on a Dask cluster
table     what comes of it as a Parquet file
"""
