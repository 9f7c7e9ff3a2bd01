"""What a future flight would bring, from past traffic: how much is offered, at what price, to how many users.

traffic  opportunities of each hour to come: shape of the week, trend, holidays, and draws of them
reach    users among so many impressions, from how often users were seen
"""
