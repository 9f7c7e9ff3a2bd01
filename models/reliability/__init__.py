"""Whether predicted probabilities are right where money is spent: on what is won, at every price.

ratios   predicted over happened, with intervals, for all rows and by tenths of price, bid and prediction
won      weights of won rows, one over the chance to win, so that they speak for all that was bid on
factor   a correction by price, for where rivals know what the model does not
report   all of that for the models of a bundle on a table
refit    a bundle with its calibration fitted again; the trees stay
change   what the new calibration changes, on rows later than those of the fit
store    a factor by price as a file
page     the HTML page
"""
