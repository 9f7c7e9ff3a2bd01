"""Requests as commands are given them: marks, ids of what was refused, many in one file."""

import orjson
import pytest

from bidder.cli.requests import request_id_of, requests_of, unmarked

LAID_OUT = orjson.dumps({"id": "r1", "imp": [{"id": "1"}]}, option=orjson.OPT_INDENT_2)


@pytest.mark.parametrize(
    ("body", "own"),
    [
        (b'{"id":"r4"}', "r4"),
        (b'{"imp":[{"bidfloor":"abc"}],"id":"r7"}', "r7"),
        (b'{"id":12,"imp":[]}', "12"),
        (b'{"id":-1.50}', "-1.50"),
        ('{"id":"é\\u00e9"}'.encode(), "éé"),
        (b'{"id":null}', ""),
        (b'{"id":true}', ""),
        (b'{"id":["r1"]}', ""),
        (b'{"id":{"id":"r1"}}', ""),
        (b"{}", ""),
        (b'["id"]', ""),
        (b'{"id":"r1"', ""),
        (b"\xff", ""),
        (b'{"id":' + b"[" * 100_000, ""),
    ],
)
def test_an_id_is_read_where_it_is_text_or_a_number(body: bytes, own: str) -> None:
    assert request_id_of(body) == own


def test_a_byte_order_mark_is_no_part_of_a_request() -> None:
    assert unmarked(b"\xef\xbb\xbf{}") == b"{}"


@pytest.mark.parametrize(
    ("data", "requests"),
    [
        (b"", []),
        (b" \n\n", []),
        (b'\xef\xbb\xbf{"id":"a"}', [b'{"id":"a"}']),
        (b'{"id":"a"}\n\n{"id":"b"}\n', [b'{"id":"a"}', b'{"id":"b"}']),
        (b'bad\n{"id":"b"}\n', [b"bad", b'{"id":"b"}']),
        (LAID_OUT, [LAID_OUT]),
        (b'{"id": "r1",\n "imp": [\n{"id": "1"}\n]}', [b'{"id": "r1",\n "imp": [\n{"id": "1"}\n]}']),
        (b'{"id": "r1",\n  "imp": [\n  {\n', [b'{"id": "r1",\n  "imp": [\n  {\n']),
    ],
)
def test_requests_of_a_file_are_one_a_line_or_one_over_all_lines(data: bytes, requests: list[bytes]) -> None:
    assert requests_of(data) == requests
