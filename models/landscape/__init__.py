"""The bid landscape: how likely a bid wins, and what a win costs, from prices that are mostly hidden.

    grid          prices on which curves are kept, evenly spaced in the logarithm
    observations  what a row says of the price to beat: known, above the bid, or at most the bid
    strata        groups of auctions and the groups they belong to: prediction, placement, hour
    counts        what was observed in each stratum, as arrays that are added to and fade with age
    estimate      counts -> curves: product limit, self-consistent where wins hide their price, shrunk to the
    parent kernels       the compiled functions: the estimators, and the lookups that price a bid curves
    `Landscape`: the arrays that the pricing kernel and the simulator read store         a landscape as one
    file whose every byte is checked measure       bands by bootstrap, and errors on later rows page
    the HTML page

The *price to beat* z is the lowest bid that would have won. A bid that equals it wins: P(win | b) = P(z <=
b). The estimates are right where, inside a stratum, bids do not depend on the price to beat. Rivals that see
what we do not see break this; finer strata mend it as far as they can tell auctions apart.
"""
