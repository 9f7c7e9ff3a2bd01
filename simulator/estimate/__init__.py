"""What another budget, bid or targeting would have brought, from a log that hides most prices.

    controller        what bids in an estimate: the live controller's settings and state
    play_kernels      the compiled loops: hidden prices drawn, the controller played again, multipliers swept
    reference         a price that every auction is compared with
    prices            the law of hidden prices: the product limit in strata
    outcomes          predictions corrected by what was seen of what was won
    lateness          conversions that have not come yet
    study             a log made ready, and one draw of all of it
    resampling        a bootstrap of users, or of blocks of time
    intervals         intervals from its draws
    estimate          scenarios -> points with intervals
    doubly            a check by bids that exploration drew
    tails             how surprising a weighted count of rare events is
    asking            from a history on disk to a study
    curves            the file that `clearbid allocate` reads
    report, page      what comes of it as JSON, text and one HTML page

Rules of this package. The multiplier moves by the steps of the live engine. What the log knows is taken as it was;
what it hides is drawn. Rivals do not react. All that is drawn comes from the seed, whatever the number of processes.
"""
