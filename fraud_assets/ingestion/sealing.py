"""Quarantined bytes hold whatever a producer sent, card numbers included: sealed when a key is set.

A sealed payload says so in its first bytes, so that a quarantine may hold rows from before and after a key was set.
"""

from collections.abc import Sequence
from typing import Final

from cryptography.fernet import Fernet, InvalidToken

from fraud_core.errors import LakeError, SettingsError
from fraud_core.settings import Settings

_MARK: Final = b"\x00sealed:1\x00"


class Seal:
    """Encrypts and decrypts quarantined payloads (Fernet: AES-128-CBC with HMAC-SHA256)."""

    def __init__(self, key: str) -> None:
        try:
            self._fernet = Fernet(key) if key else None
        except ValueError as error:
            raise SettingsError(
                "SPEARHEAD_QUARANTINE_KEY was expected to be a Fernet key, 32 bytes in url-safe base64; it is not. Make one: "
                'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
            ) from error

    @classmethod
    def of(cls, settings: Settings) -> "Seal":
        """The seal of the settings; one without a key leaves payloads as they came."""
        return cls(settings.quarantine_key.get_secret_value())

    def close(self, payloads: Sequence[bytes]) -> list[bytes]:
        """Seal payloads, when there is a key."""
        if self._fernet is None:
            return list(payloads)
        return [_MARK + self._fernet.encrypt(payload) for payload in payloads]

    def open(self, payload: bytes) -> bytes:
        """The bytes as they came. Raises LakeError when they are sealed and the key is missing or another."""
        if not payload.startswith(_MARK):
            return payload
        if self._fernet is None:
            raise LakeError(
                "This payload is sealed: set SPEARHEAD_QUARANTINE_KEY to the key it was sealed with."
            )
        try:
            return self._fernet.decrypt(payload[len(_MARK) :])
        except InvalidToken as error:
            raise LakeError(
                "This payload was sealed with another key than SPEARHEAD_QUARANTINE_KEY, or was altered: set the key that "
                "was in use when it was quarantined."
            ) from error
