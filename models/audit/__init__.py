"""Whether a table is fit to learn from: volume, time, labels, leaks, gaps, and what serving would see otherwise.

    findings   one thing that was found, how grave it is, what to do; the verdict of all
    columns    one feature: missing, distinct, rare, what it knows of the label
    labels     how many events, how they spread over time and campaigns, when they become known
    rows       time, repeats, weights
    drift      how a column differs between two tables
    audit      all checks in order
    page       the same as one HTML page

Every check looks at columns as a whole, so a million rows take seconds.
"""
