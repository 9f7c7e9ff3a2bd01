"""The transport over Apache Kafka, or over the embedded broker that speaks its protocol.

`KafkaSource` and `KafkaSink` keep the protocols of `runtime.transport`; `ensure_topics` creates what is missing.
The parts: `kafka_link` finds the broker and its topics, `kafka_source` reads by way of `kafka_queues` under the
eye of `kafka_watch`, `kafka_sink` writes. aiokafka stays behind these files; another client would replace them.

aiokafka logs by the standard library, loudly when a broker goes away. Nothing here configures logging: that is
for the command line to do.
"""

from bidder.runtime.kafka_link import Timeouts, ensure_topics, find_broker, partition_counts
from bidder.runtime.kafka_sink import KafkaSink
from bidder.runtime.kafka_source import KafkaSource

__all__ = ["KafkaSink", "KafkaSource", "Timeouts", "ensure_topics", "find_broker", "partition_counts"]
