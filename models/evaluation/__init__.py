"""A model judged on rows of a table: how well, how surely, where, for whom, and against which other.

resampling  how many times each cluster of rows counts in each draw of the bootstrap
kernels     the compiled sums over the rows of a draw
intervals   metrics with intervals, of all rows and of parts of them
slicing     a column as parts of the rows: values, bands of numbers, segments, the rest together
slices      metrics by part, and which parts are off by more than chance allows
fairness    rates, calibration, impressions, bids and spend by group
compare     two models on the same rows
rows        which rows of a table a bundle is judged by, and what it said of them
report      all of that for a bundle and a table
words       the report in sentences
page        the report as one HTML page
page_parts  its sections by column and by group

The point estimates are those of `models.evaluate`. Intervals are percentiles of a bootstrap that draws clusters (a
user, or a stretch of time), not rows: rows of one user are alike, and an interval that takes them for independent
is too narrow.
"""
