"""The steps of training; `models.train` puts them in order.

params   how to train
checks   what a table must have before anything is learned from it
split    rows by time, or whole groups, into train, calibration and test
sample   features, labels and weights of the rows that one model may see; sampling and its correction
fit      LightGBM: trees, early stopping, priors, the likelihood of labels that are not complete yet
delay    how long conversions take, and what a click without one is worth
delays   which method a table allows, and the samples it gives
value    what a conversion is worth
tune     a search for better parameters (optuna)
"""
