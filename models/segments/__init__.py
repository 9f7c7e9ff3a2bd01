"""Audiences found in behaviour: from rows with a user to named groups, their words and their answers.

    behaviour   rows -> one line of shares a user, column by column
    space       those lines -> few directions, kept only where they say more than shuffled data
    clusters    users -> groups; how many by silhouette and by stability under resampling
    traits      what a group has that others have not, with intervals
    words       a group in a sentence
    response    how a group answers, and which group answers which campaign
    matching    a refreshed set of groups against the one before: names stay, churn is counted
    find        all of that in order
    report      what is told of it, as `segments.json` holds it
    folder      the directory of a set of groups, replaced as a whole
    page        the HTML page

Only `clusters` needs scikit-learn, which is an extra. No user's key stands anywhere but in the assignments, and
nothing is told of fewer users than the smallest size that was asked for.
"""
