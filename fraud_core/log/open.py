"""Opening the log that the settings name."""

from fraud_core.log.protocol import Log
from fraud_core.log.redis_streams import RedisLog
from fraud_core.settings import Settings


def open_log(settings: Settings) -> Log:
    """The log that the settings name; raises LogUnavailable when it does not answer, LogError when it is unsafe."""
    log = RedisLog(settings.redis_address, namespace=settings.namespace, shards=settings.shards)
    log.probe()
    return log
