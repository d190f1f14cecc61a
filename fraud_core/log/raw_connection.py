"""Commands and replies taken past redis-py, over a connection of its own: what breaks off is closed and named by its errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis


@contextmanager
def closed_when_broken(connection: Any) -> Iterator[None]:
    """Errors of the socket as redis-py names them. After any error the connection is closed: what was not read of an
    answer must not meet the next command."""
    try:
        yield
    except TimeoutError as error:
        connection.disconnect()
        raise redis.TimeoutError(f"it did not answer in time ({error})") from error
    except OSError as error:
        connection.disconnect()
        raise redis.ConnectionError(str(error)) from error
    except BaseException:
        connection.disconnect()
        raise
