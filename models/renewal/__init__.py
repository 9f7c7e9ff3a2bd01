"""A model that renews itself: trained on a fresh window, judged, watched beside the champion, promoted or not.

    tables     the rows of a round: one table or many, a window of time, what no model has seen
    drift      whether fresh rows are of the kind that a model learned from: PSI, Kolmogorov-Smirnov, calibration
    settings   what a round goes by
    gate       the checks that a challenger must pass: entropy, calibration, drift, features, speed
    rounds     one round after the other, every step in the registry's audit log
    gauges     the last round as a file that Prometheus' node exporter reads
    page       drift as one HTML page

A round does one of two things. Without a challenger it trains one on all but the latest rows of the window and asks
the gate with those latest rows, which neither model has seen. With a challenger it *shadows*: rows that came after
the gate's are scored by both, and their probabilities and, as far as labels have come, their entropies are compared;
one that was set by hand, or gated against another champion, passes the gate first. Shadow scoring reads exported
rows, which the bidder's own columns code wrote, beside the bidder and not in it: it costs the bid path nothing, and
it judges what the bidder saw, minutes later.
"""
