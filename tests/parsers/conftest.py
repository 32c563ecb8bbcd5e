"""No parser of ours fails: parse_log would hide it, because a fault in a parser must refuse no result."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def no_parser_fails(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail where a parser raised in the tests of a module, other than those of parsers that are broken on purpose."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger("backuplog").addHandler(handler)
    yield
    logging.getLogger("backuplog").removeHandler(handler)
    if not request.module.__name__.endswith("test_parse_log"):
        assert [record.exc_info for record in records] == []
