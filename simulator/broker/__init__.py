"""The embedded Kafka-protocol broker, for the demo and for contract tests; not durable.

    wire        primitives and frames              records     the header of a batch
    log         one partition's batches            producers   ids and sequences of idempotent producers
    topics      partitions, bound on memory        members, groups, coordinator     consumer groups
    requests    a request on its way               produce, fetch, offsets, group_api, cluster_api  answers
    connection  one client                         server      `EmbeddedBroker`

What lives here may not know the bidder: it moves bytes. What Kafka does is settled by the contract suite, which
runs against this broker and Apache Kafka alike, not by our reading of the protocol.
"""

from simulator.broker.server import EmbeddedBroker

__all__ = ["EmbeddedBroker"]
