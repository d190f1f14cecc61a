"""Several commands in one round trip, past the client's pipeline: it costs more than everything else an event needs.

Only for clients of one server; others (a cluster's) go through their own pipeline. Commands sent here must be
idempotent, for a connection that broke is tried once more.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

Command: TypeAlias = tuple[str | bytes | int, ...]


def pack(commands: Sequence[Command]) -> bytes:
    """Commands in the Redis protocol."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for argument in command:
            raw = argument if type(argument) is bytes else str(argument).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


def exchange(client: Any, commands: Sequence[Command]) -> list[Any]:
    """Send all, then read all replies; a reply that is an error comes back as a ResponseError, in its place."""
    if not isinstance(client, Redis):
        pipe = client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        return list(pipe.execute(raise_on_error=False))
    try:
        return _exchange_once(client, commands)
    except RedisConnectionError:
        return _exchange_once(client, commands)


def _exchange_once(client: Redis, commands: Sequence[Command]) -> list[Any]:
    pool: Any = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_packed_command([pack(commands)])
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(connection.read_response())
            except ResponseError as error:
                replies.append(error)
    except BaseException:
        connection.disconnect()  # replies that were not read must not meet the next command
        raise
    finally:
        pool.release(connection)
    return replies


async def exchange_async(client: Any, commands: Sequence[Command]) -> list[Any]:
    """See `exchange`."""
    if not isinstance(client, AsyncRedis):
        pipe = client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        return list(await pipe.execute(raise_on_error=False))
    try:
        return await _exchange_async_once(client, commands)
    except RedisConnectionError:
        return await _exchange_async_once(client, commands)


async def _exchange_async_once(client: AsyncRedis, commands: Sequence[Command]) -> list[Any]:
    pool: Any = client.connection_pool
    connection = await pool.get_connection()
    try:
        await connection.send_packed_command(pack(commands))
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as error:
                replies.append(error)
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)
    return replies
