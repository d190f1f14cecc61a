"""Payments scored over HTTP at a steady rate, whatever becomes of the answers."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx

from fraud_core.contracts import Contracts


class Traffic:
    """Sends payments of a few entities, so that all of them are busy at all times, and keeps what was answered."""

    def __init__(self, contracts: Contracts, rate: float) -> None:
        """`rate`: requests a second."""
        self._contracts, self._rate = contracts, rate
        self.sent = 0
        self.answers: dict[str, dict[str, Any]] = {}
        """By the payment's id, in the order in which they came."""

    @property
    def logged(self) -> int:
        """Answers that said so."""
        return sum(bool(answer["logged"]) for answer in list(self.answers.values()))

    async def run(self, http: httpx.AsyncClient) -> None:
        """Send until cancelled, then wait for the answers to what was sent: none of it is without one for that reason."""
        sending: set[asyncio.Task[None]] = set()
        number = 1000
        try:
            while True:
                body = payment(self._contracts, number, datetime.now(UTC))
                task = asyncio.create_task(self._send(http, body))
                sending.add(task)
                task.add_done_callback(sending.discard)
                number += 1
                await asyncio.sleep(1 / self._rate)
        finally:
            await asyncio.gather(*sending)

    async def _send(self, http: httpx.AsyncClient, body: dict[str, Any]) -> None:
        self.sent += 1
        try:
            response = await http.post("/v1/score", json=body)
            if response.status_code == 200:
                self.answers[body["transaction_id"]] = response.json()
        except httpx.HTTPError:
            return


def payment(contracts: Contracts, number: int, at: datetime) -> dict[str, Any]:
    """The payment of that number."""
    who, amount = number % 40, 100 + number % 5000
    return contracts.transactions.example() | {
        "transaction_id": f"txn_drill_{number:08d}",
        "event_ts": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "account_id": f"acc_{who:06d}",
        "card_id": f"crd_{who:06d}",
        "merchant_id": f"mer_{number % 7:06d}",
        "device_id": f"dev_{who:06d}",
        "amount_minor": amount,
        "amount_base_minor": amount,
    }
