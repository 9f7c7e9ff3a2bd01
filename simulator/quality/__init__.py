"""How well money is spent: policies played over logs beside the best that anyone could have done with hindsight.

    policy_kernels      the compiled policies, ours and the baselines, each a step on flat state; the loop that
                        plays one campaign
    policies            names, parameters and state of policies
    fitting             parameters of the baselines, from the earlier part of a log alone
    hindsight           what could have been bought by one who knew all prices
    hindsight_kernels   its compiled sums
    target_policy_kernels, target_policies
                        the same of policies that keep to a target of cost or return besides
    targets             those on markets with known truth, beside the optimum of budget and target
    check               what every policy keeps: `check_policy`
    series              one campaign's auctions as arrays, from a log or the synthetic market
    runs                the table: campaign x budget x start x delay x policy
    episodes            the protocol of published click tables; `published` has their figures
    regimes             changes of traffic, price and budget on a market with known truth
    first_markets       first-price markets whose law is known, and the best bids there
    first_price         first price learned from wins and losses; its loop is in first_price_kernels
    through_engine      the same auctions through the real `Engine`
    report, page, page_first  what comes of it as JSON, text and one HTML page

Rules of this package. A policy knows what a bidder knows: the value, what notices have told, the clock, the plan.
An auction is of one campaign, and prices do not answer to bids. A bid wins where it is above the price; a tie goes
to the rival. Money is int64 nanos for one impression; value is float64, in the same unit.
"""
