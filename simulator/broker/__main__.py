"""Runs the embedded broker in a process of its own: `python -m simulator.broker --topic bids:8`.

Prints the address for clients, then serves until it is told to stop (SIGTERM, SIGINT, or the end of its input
with `--until-eof`).
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from bidder.errors import ClearbidError, ConfigError
from simulator.broker.server import EmbeddedBroker


def _topic(text: str) -> tuple[str, int]:
    name, colon, partitions = text.rpartition(":")
    if not colon or not partitions.isdecimal():
        raise argparse.ArgumentTypeError(f"topic must be NAME:PARTITIONS, was {text!r}")
    return name, int(partitions)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulator.broker", description="A Kafka-protocol broker of one node, in memory only."
    )
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument(
        "--topic", type=_topic, action="append", default=[], metavar="NAME:PARTITIONS", help="may be repeated"
    )
    parser.add_argument(
        "--auto-create",
        type=int,
        default=0,
        metavar="PARTITIONS",
        help="make topics that clients ask for; 0: never",
    )
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input ends")
    return parser


def _stop_at_eof(stopping: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        stopping.set()


async def _serve(arguments: argparse.Namespace) -> None:
    broker = EmbeddedBroker(
        dict(arguments.topic),
        host=arguments.host,
        port=arguments.port,
        auto_create_partitions=arguments.auto_create,
    )
    try:
        bootstrap = await broker.start()
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {arguments.host} port {arguments.port}: {error.strerror}"
        ) from error
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if arguments.until_eof:
        loop.add_reader(sys.stdin, _stop_at_eof, stopping)
    # Last: who reads the address may at once ask us to stop.
    sys.stdout.write(f"bootstrap {bootstrap}\nin memory only: not durable\n")
    sys.stdout.flush()
    await stopping.wait()
    await broker.stop()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the broker; the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        asyncio.run(_serve(arguments))
    except ClearbidError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
