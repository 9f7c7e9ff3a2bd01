"""Models of Clearbid: from a table to a compiled, calibrated, checked artifact. Imports nothing above it.

    audit        whether a table is fit to learn from
    dataset      a table of impressions, checked and cut by time
    schema       which features there are, on which side, and how a value becomes a number
    columns      columns of such a table as arrays, checked
    texts        texts kept as codes
    train        click, conversion and value models (LightGBM), calibrated, measured on later rows
    training     the steps of it: slices, sampling, late conversions, fitting, values, the search for parameters
    reports      what a manifest says of a training
    value        what a conversion is worth, as a bundle keeps it
    calibration  raw score -> probability, a small monotone table
    clusters     which rows belong together: those of one user, or of one stretch of time
    shift        how far two samples of one thing differ
    spans        spans of time as people write them
    evaluate     the numbers a model is judged by
    ripe         clicks whose conversion is settled
    evaluation   those with intervals, by part and by group, and two models compared
    unseen       which rows of a table can not have taught a model
    artifact     the directory a trained model lives in; every byte is checked when it is read
    aliases      which model of a registry decides
    registry     a folder of models: champion, challenger, an audit log of every change
    renewal      train a challenger, judge it, watch it beside the champion, promote it or not
    trees        LightGBM's model text -> plain trees
    compile      trees -> bitset rows, exact
    kernels      the compiled functions over those rows
    scorer       a loaded artifact, checked bit for bit against LightGBM
    landscape    how likely a bid wins and what a win costs, from prices that are mostly hidden
    reliability  whether predictions are right where money is spent
    native       LightGBM itself, a row at a time, where its compiled form does not prove equal
    check        what a model file needs, whether it fits, its bits and its speed
    needs        what stands in a LightGBM text
    bring        LightGBM texts trained elsewhere -> a bundle
    extras       what else a training table may say of a row
    segments     audiences found in behaviour
    pages        one-file HTML pages
    explain      contributions of features to a probability, for one row and over a table
    commands     `clearbid models ...`

`train` imports LightGBM and `dataset` PyArrow: only who trains pays for them. `schema`, `kernels` and `compile`,
which the bidder imports, need NumPy, msgspec and Numba; `scorer` loads LightGBM when it checks.
"""
