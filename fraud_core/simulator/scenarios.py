"""What thieves do: six kinds of fraud, each a campaign of payments over minutes to weeks.

Thieves use ordinary amounts, channels and hours most of the time, and know the victim's home well enough; what gives
them away is the history: of the card, the account, the device, the merchant.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraud_core.simulator import rhythm
from fraud_core.simulator.accounts import LOCAL_FAVOURITES, ONLINE_FAVOURITES
from fraud_core.simulator.behaviour import Behaviour
from fraud_core.simulator.merchants import CASH, DIGITAL, ONLINE, RESALE, SHOP
from fraud_core.simulator.payments import ATM, ECOM, POS, Payments, concatenate
from fraud_core.simulator.theft import Theft, after
from fraud_core.simulator.world import SCENARIOS

LONGEST_DAYS: Final = 26
"""No campaign lasts longer."""
# Share of all fraudulent payments, and payments of one campaign on average.
_MIX: Final = {
    "card_testing": (0.27, 17.0),
    "account_takeover": (0.24, 4.0),
    "compromised_merchant": (0.22, 22.0),
    "atm_cashout": (0.09, 3.5),
    "friendly_fraud": (0.06, 1.0),
    "lost_card": (0.12, 5.0),
}
_HOUR: Final = rhythm.HOUR_MS
_DAY: Final = rhythm.DAY_MS


class Scenarios:
    """Draws the campaigns that begin on a day."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.world = behaviour.world
        self._theft = Theft(behaviour)
        merchants = self.world.merchants
        online = merchants.kind == ONLINE
        self._testing = merchants.popular(online & np.isin(merchants.category, DIGITAL))
        self._disputed = merchants.popular(online & np.isin(merchants.category, (*DIGITAL, *RESALE)))
        self._disputing = np.flatnonzero(self.world.accounts.disputes)
        self._draws: dict[str, Callable[[np.random.Generator, NDArray[np.int64], int], Payments]] = {
            "card_testing": self._card_testing,
            "account_takeover": self._account_takeover,
            "compromised_merchant": self._compromised_merchant,
            "atm_cashout": self._atm_cashout,
            "friendly_fraud": self._friendly_fraud,
            "lost_card": self._lost_card,
        }

    def day(self, day: int) -> Payments | None:
        """All payments of the campaigns that begin on `day`, up to LONGEST_DAYS later; None when none begins."""
        rng = self.world.rng(day, "fraud")
        spec = self.world.spec
        return self.draw(rng, day * _DAY, _DAY, spec.fraud_share * spec.events_per_day)

    def draw(self, rng: np.random.Generator, start_ms: int, span_ms: int, payments: float) -> Payments | None:
        """Campaigns that begin within `span_ms` after `start_ms` and hold about this many payments."""
        chosen = self.world.spec.scenarios
        total = sum(_MIX[name][0] for name in chosen)
        day = start_ms // _DAY
        parts = []
        for number, name in enumerate(SCENARIOS):
            share, size = _MIX[name]
            mean = payments * share / (total or 1.0) / size if name in chosen else 0.0
            starts = start_ms + rng.integers(0, span_ms, rng.poisson(mean))
            if not len(starts):
                continue
            part = self._draws[name](rng, starts, day)
            # `campaign` comes back as an index into `starts`; the number is one of a kind in the world.
            campaign = (start_ms // 1000) * 10_000 + number * 1_000 + part.campaign
            parts.append(replace(part, campaign=campaign, scenario=np.full(len(part), number, dtype=np.int8)))
        return concatenate(parts) if parts else None

    # -- the scenarios: starts (ms) of the campaigns and their day → their payments

    def _card_testing(self, rng: np.random.Generator, starts: NDArray[np.int64], day: int) -> Payments:
        """A list of stolen cards is tried with tiny amounts at one merchant; those that work are spent later."""
        cards = rng.integers(3, 9, len(starts))
        of_card = np.repeat(np.arange(len(starts)), cards)
        account = self._theft.victims(rng, len(of_card))
        shop = self._testing.draw(rng, len(starts))
        tries = rng.integers(1, 5, len(of_card))
        card = np.repeat(np.arange(len(of_card)), tries)
        campaign = of_card[card]
        time_ms = after(rng, starts[campaign], campaign, 0.6 * rhythm.MINUTE_MS)
        device = rng.random(len(starts)) < 0.5  # a script on one device, or one that changes it each time
        tests = self._theft.remote(
            rng, account[card], time_ms, shop[campaign], day=day, campaign=campaign, shared=device[campaign]
        )
        tests = replace(
            tests, euro_cents=np.rint(rng.lognormal(np.log(250), 0.8, len(card))).astype(np.int64) + 30
        )
        works = np.flatnonzero(rng.random(len(of_card)) < 0.55)
        uses = np.repeat(works, rng.integers(1, 4, len(works)))
        later = starts[of_card[uses]] + (rng.gamma(1.2, 14, len(uses)) * _HOUR).astype(np.int64) + _HOUR // 4
        spent = self._theft.remote(
            rng, account[uses], later, self._theft.fences(rng, len(uses)), day=day, campaign=of_card[uses]
        )
        return concatenate([tests, self._theft.dearer(rng, spent, 1.0)])

    def _account_takeover(self, rng: np.random.Generator, starts: NDArray[np.int64], day: int) -> Payments:
        """A new device far away logs in, buys something small, and then takes what it can."""
        account = self._theft.victims(rng, len(starts))
        uses = rng.integers(2, 7, len(starts))
        campaign = np.repeat(np.arange(len(starts)), uses)
        time_ms = after(rng, starts[campaign], campaign, 55 * rhythm.MINUTE_MS)
        shared = np.ones(len(campaign), dtype=np.bool_)
        payments = self._theft.remote(
            rng,
            account[campaign],
            time_ms,
            self._theft.fences(rng, len(campaign)),
            day=day,
            campaign=campaign,
            shared=shared,
        )
        rank = np.arange(len(campaign)) - np.repeat(np.cumsum(uses) - uses, uses)
        return self._theft.dearer(rng, payments, np.where(rank == 0, -0.3, 1.1))

    def _compromised_merchant(
        self, rng: np.random.Generator, starts: NDArray[np.int64], day: int
    ) -> Payments:
        """Cards of a merchant's regular customers are stolen there and abused elsewhere, days to weeks later."""
        accounts, merchants = self.world.accounts, self.world.merchants
        leak = rng.integers(0, len(accounts), len(starts))
        at_shop = rng.random(len(starts)) < 0.6
        merchant = np.where(at_shop, accounts.local_favourites[leak, 0], accounts.online_favourites[leak, 0])
        account, campaign = [], []
        for index, bad in enumerate(merchant):
            favourites = accounts.local_favourites if at_shop[index] else accounts.online_favourites
            width = LOCAL_FAVOURITES if at_shop[index] else ONLINE_FAVOURITES
            regulars = np.flatnonzero((favourites[:, : width // 2] == bad).any(axis=1))
            victims = rng.choice(regulars, min(len(regulars), int(rng.integers(5, 13))), replace=False)
            account.append(victims)
            campaign.append(np.full(len(victims), index))
        victim, of_victim = np.concatenate(account), np.concatenate(campaign)
        uses = np.repeat(np.arange(len(victim)), rng.integers(2, 5, len(victim)))
        first = starts[of_victim] + (rng.uniform(2, 20, len(victim)) * _DAY).astype(np.int64)
        time_ms = after(rng, first[uses], uses, 2 * _HOUR)
        holder, number = victim[uses].astype(np.int32), of_victim[uses]
        shop = self._theft.fences(rng, len(uses))
        remote = self._theft.remote(rng, holder, time_ms, shop, day=day, campaign=number)
        # A copied card at a till: often in the region, sometimes far away.
        region = self._theft.thief_city(rng, holder, near=0.6)
        till = self._theft.till(
            rng, holder, time_ms, merchants.in_city(rng, SHOP, region), day=day, campaign=number, channel=POS
        )
        copied = rng.random(len(uses)) < 0.45
        mixed = concatenate([remote.take(~copied), till.take(copied)])
        return self._theft.dearer(rng, mixed, 0.75)

    def _atm_cashout(self, rng: np.random.Generator, starts: NDArray[np.int64], day: int) -> Payments:
        """A skimmed card is emptied at cash machines within the hour."""
        merchants = self.world.merchants
        account = self._theft.victims(rng, len(starts))
        uses = rng.integers(2, 6, len(starts))
        campaign = np.repeat(np.arange(len(starts)), uses)
        time_ms = after(rng, starts[campaign], campaign, 14 * rhythm.MINUTE_MS)
        city = self._theft.thief_city(rng, account, near=0.45)
        machine = merchants.in_city(rng, CASH, city[campaign])
        payments = self._theft.till(
            rng, account[campaign], time_ms, machine, day=day, campaign=campaign, channel=ATM
        )
        cents = np.clip(np.rint(rng.lognormal(np.log(20), 0.6, len(campaign))), 2, 60).astype(np.int64) * 1000
        return replace(payments, euro_cents=cents)

    def _friendly_fraud(self, rng: np.random.Generator, starts: NDArray[np.int64], day: int) -> Payments:
        """The holder buys, receives, and denies it weeks later: nothing differs but the person's habit."""
        pool = self._disputing if len(self._disputing) else np.arange(len(self.world.accounts))
        account = rng.choice(pool, len(starts)).astype(np.int32)
        payments = self.behaviour.pay(rng, account, starts, self.behaviour.calendar.today(day))
        size = len(starts)
        merchant = self._disputed.draw(rng, size)
        channel = np.full(size, ECOM, dtype=np.int8)
        device, device_type = self.behaviour.device(rng, account, channel, self.behaviour.calendar.today(day))
        payments = replace(
            payments,
            merchant=merchant,
            channel=channel,
            device=device,
            device_type=device_type,
            present=np.zeros(size, dtype=np.bool_),
            euro_cents=self.behaviour.amount(rng, account, merchant),
            campaign=np.arange(size),
        )
        return self._theft.dearer(rng, payments, 0.25)

    def _lost_card(self, rng: np.random.Generator, starts: NDArray[np.int64], day: int) -> Payments:
        """A lost or stolen card is used at tills near home, quickly and contactless, until it is blocked."""
        account = self._theft.victims(rng, len(starts))
        uses = rng.integers(3, 8, len(starts))
        campaign = np.repeat(np.arange(len(starts)), uses)
        time_ms = after(rng, starts[campaign], campaign, 11 * rhythm.MINUTE_MS)
        city = self._theft.thief_city(rng, account, near=0.85)
        shop = self.world.merchants.in_city(rng, SHOP, city[campaign])
        payments = self._theft.till(
            rng, account[campaign], time_ms, shop, day=day, campaign=campaign, channel=POS
        )
        limit = rng.integers(2500, 5000, len(campaign))
        contactless = rng.random(len(campaign)) < 0.6
        return replace(
            payments,
            euro_cents=np.where(contactless, np.minimum(payments.euro_cents, limit), payments.euro_cents),
        )
