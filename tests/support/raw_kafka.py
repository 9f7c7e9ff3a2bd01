"""A client that sends requests byte by byte, for what no client library can be made to send."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from simulator.broker.wire import Reader, Writer


def batch(
    *values: bytes,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    timestamp_ms: int = 0,
) -> bytearray:
    """One uncompressed record batch with a right checksum."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        batch_size=1 << 20,
    )
    for index, value in enumerate(values):
        builder.append(index, timestamp_ms, None, value, [])
    return bytearray(builder.build())


class RawClient:
    """One connection; a request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._correlation_id = 0

    async def send(self, data: bytes) -> None:
        """Any bytes."""
        self._writer.write(data)
        await self._writer.drain()

    def abort(self) -> None:
        """Ends the connection without sending what is not sent yet."""
        self._writer.transport.abort()

    async def is_closed(self, timeout_s: float = 5) -> bool:
        """Whether the broker closes the connection without a word."""
        try:
            return await asyncio.wait_for(self._reader.read(1), timeout_s) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    async def send_request(self, api_key: int, version: int, body: Writer | bytes) -> int:
        """One request; its correlation id."""
        self._correlation_id += 1
        head = Writer()
        head.int16(api_key)
        head.int16(version)
        head.int32(self._correlation_id)
        head.string("raw")
        data = head.join() + (body.join() if isinstance(body, Writer) else body)
        await self.send(len(data).to_bytes(4, "big") + data)
        return self._correlation_id

    async def receive(self) -> tuple[int, Reader]:
        """The next response: its correlation id and body."""
        size = int.from_bytes(await asyncio.wait_for(self._reader.readexactly(4), 10), "big")
        reader = Reader(await self._reader.readexactly(size))
        return reader.int32(), reader

    async def ask(self, api_key: int, version: int, body: Writer) -> Reader:
        """One request and the body of its response."""
        sent = await self.send_request(api_key, version, body)
        answered, reader = await self.receive()
        assert answered == sent
        return reader

    async def produce(
        self, topic: str, partition: int, records: bytes | bytearray, *, acks: int = -1
    ) -> tuple[int, int]:
        """Sends one batch: error code and base offset."""
        reader = await self.ask(0, 7, produce_body(topic, partition, records, acks=acks))
        assert reader.int32() == 1
        assert reader.string() == topic
        assert reader.int32() == 1
        assert reader.int32() == partition
        return reader.int16(), reader.int64()

    async def end_offset(self, topic: str, partition: int) -> int:
        """The offset after the last record."""
        body = Writer()
        body.int32(-1)
        body.int32(1)
        body.string(topic)
        body.int32(1)
        body.int32(partition)
        body.int64(-1)
        reader = await self.ask(2, 1, body)
        reader.int32()
        reader.string()
        reader.int32()
        reader.int32()
        assert reader.int16() == 0
        reader.int64()
        return reader.int64()

    async def producer_id(self) -> int:
        """A new producer id; its epoch is 0."""
        body = Writer()
        body.string(None)
        body.int32(60_000)
        reader = await self.ask(22, 0, body)
        reader.int32()
        assert reader.int16() == 0
        return reader.int64()


def produce_body(topic: str, partition: int, records: bytes | bytearray, *, acks: int = -1) -> Writer:
    """The body of a Produce of version 3 to 7 with one batch."""
    body = Writer()
    body.string(None)
    body.int16(acks)
    body.int32(5000)
    body.int32(1)
    body.string(topic)
    body.int32(1)
    body.int32(partition)
    body.bytes_(records)
    return body


@asynccontextmanager
async def raw_client(bootstrap: str) -> AsyncIterator[RawClient]:
    """A connection to a broker."""
    host, port = bootstrap.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
