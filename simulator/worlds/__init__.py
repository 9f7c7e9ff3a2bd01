"""Markets whose truth is known: every price, every probability, and so the true result of any budget.

    recipe           which worlds there are
    world            a world: what the bidder logged, and what it could not see
    draw             auctions, prices and probabilities from a seed
    truth            what any budget really brings in a world
    market_kernels   the loop of several learning bidders in one auction
    proof            estimates judged by the truth of many worlds
    halves           estimates from one half of a real campaign, judged by its other half

Rules of this package. All that is random comes from the seed. The log is made by the live controller with
exploration on a share of the bids. The truth of a budget is the expected result of the same auctions, with the same
prices, under the same controller: only clicks are averaged over. Where rivals learn, they learn again.
"""
