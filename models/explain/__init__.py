"""Why a model says what it says: contributions of features, for one row and over a table.

groups         which features are told together, and how a value reads
contributions  exact TreeSHAP, by LightGBM, checked to add up
attribution    one row: from the base through each feature and the calibration to the probability
overview       many rows: what counts, for whom, and how it runs with the value
permutation    whether what counts matters: the loss where a feature is shuffled
words          contributions and probabilities as people read them
charts         bars that begin where the one before ended
page           one HTML page of either view

Contributions are in log odds and add up; see `contributions` for what they mean. LightGBM is loaded where it is
asked, and not before.
"""
