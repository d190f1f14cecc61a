"""One payment, or many at once: claim, features, model, decision, log, answer.

The same few lines serve HTTP and the stream. Nothing here raises for a dependency that is down: the answer says what
it was made with (`route`, `backend`, `fallback_reason`, `degraded`, `logged`).
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec
import numpy as np

from fraud_core.errors import StateError
from fraud_core.features import Applied, FeatureSet
from fraud_core.features.wording import Wording
from fraud_core.release.contributions import Trees
from fraud_serving.models import ladder
from fraud_serving.models.backend import Backend, Matrix
from fraud_serving.models.live import LiveModels
from fraud_serving.models.loaded import LoadedModel
from fraud_serving.scoring import metrics
from fraud_serving.scoring.answer import NO_STATE, Answer, Reason, State, encode_record
from fraud_serving.scoring.claims import Claim, Standing
from fraud_serving.scoring.fallback import Decision, Fallback
from fraud_serving.scoring.store import Store
from fraud_serving.scoring.submission import Answered, Busy, Conflict, Finished, Outcome, Submission
from fraud_serving.scoring.unavailable import Pending, StoreUnavailable

REASONS = 3
BUSY_POLL_S = 0.005


class Scorer:
    """The scoring pipeline of one event loop."""

    def __init__(
        self,
        store: Store,
        features: FeatureSet,
        models: LiveModels,
        *,
        local: Backend,
        remote: Backend | None,
        fallback: Fallback,
        deadline_s: float,
        source: str,
    ) -> None:
        self._store = store
        self._features = features
        self._wordings = {feature.name: feature.wording for feature in features.features}
        self._models = models
        self._local = local
        self._remote = remote
        self._fallback = fallback
        self._deadline_s = deadline_s
        self._source = source
        self._working: set[asyncio.Task[list[Outcome]]] = set()

    async def score(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Outcomes of the submissions, in order. The same id twice in one call is scored once.

        A caller that is cancelled does not stop what has begun: a payment that was applied will be logged.
        """
        outcomes: dict[int, Outcome] = {}
        waiting = list(range(len(submissions)))
        deadline = time.monotonic() + self._deadline_s
        while waiting:
            first: dict[str, int] = {}
            for place in waiting:
                first.setdefault(submissions[place].event_id, place)
            places = list(first.values())
            known = [outcomes.get(place) for place in places]
            found = await self._to_the_end([submissions[place] for place in places], known, deadline)
            outcomes.update(zip(places, found, strict=True))
            in_time = time.monotonic() < deadline
            again = [place for place in waiting if place not in outcomes]
            busy = [place for place in places if isinstance(outcomes[place], Busy)]
            if busy and in_time:  # whoever holds them may finish any moment
                await asyncio.sleep(BUSY_POLL_S)
                again = sorted(again + busy)
            waiting = again
        for outcome in outcomes.values():
            self._count_repeat(outcome)
        return [outcomes[place] for place in range(len(submissions))]

    async def settle(self) -> None:
        """Wait for what was begun on behalf of callers that are gone; not for longer than a dependency may take."""
        if self._working:
            await asyncio.wait(self._working, timeout=4 * self._deadline_s)
        await self._store.settle(2 * self._deadline_s)

    async def _to_the_end(
        self, submissions: Sequence[Submission], known: Sequence[Outcome | None], deadline: float
    ) -> list[Outcome]:
        task = asyncio.ensure_future(self._score_distinct(submissions, known, deadline))
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return await asyncio.shield(task)

    async def _score_distinct(
        self, submissions: Sequence[Submission], known: Sequence[Outcome | None], deadline: float
    ) -> list[Outcome]:
        applied: Sequence[Applied | StoreUnavailable | None] | StoreUnavailable
        try:
            claims, applied = await self._store.claim_and_apply(submissions, deadline)
        except StoreUnavailable as error:
            # What another request is known to hold stays busy, though asking once more found no answer in time.
            claims, applied = [_held(outcome) or Claim(Standing.OURS) for outcome in known], error
        ours = [place for place, claim in enumerate(claims) if claim.standing is Standing.OURS]
        outcomes = {place: _settled(claim) for place, claim in enumerate(claims) if place not in set(ours)}
        if ours:
            mine = [submissions[place] for place in ours]
            own: Sequence[Applied | StoreUnavailable] | StoreUnavailable
            if isinstance(applied, StoreUnavailable):
                own = applied
            else:
                own = [each for each in map(applied.__getitem__, ours) if each]
            outcomes.update(zip(ours, await self._decided(mine, own, deadline), strict=True))
        return [outcomes[place] for place in range(len(submissions))]

    async def _decided(
        self,
        submissions: Sequence[Submission],
        applied: Sequence[Applied | StoreUnavailable] | StoreUnavailable,
        deadline: float,
    ) -> list[Outcome]:
        """Score and log. What was applied to an epoch that gave way meanwhile is applied to its successor, and scored anew."""
        outcomes: dict[int, Outcome] = {}
        waiting = list(range(len(submissions)))
        while waiting:
            mine = [submissions[place] for place in waiting]
            if isinstance(applied, StoreUnavailable):
                decided = [self._without_features(each, applied.code) for each in mine]
                pending = applied.pending
            else:
                decided = await self._with_what_there_is(mine, applied, deadline)
                pending = None
            logged = await self._log(mine, decided, deadline, pending)
            outcomes.update(
                {place: found for place, found in zip(waiting, logged, strict=True) if found is not None}
            )
            waiting = [place for place in waiting if place not in outcomes]
            applied = await self._store.apply([submissions[place] for place in waiting], deadline)
        return [outcomes[place] for place in range(len(submissions))]

    async def _with_what_there_is(
        self,
        submissions: Sequence[Submission],
        applied: Sequence[Applied | StoreUnavailable],
        deadline: float,
    ) -> list[tuple[Answer, State]]:
        """A payment that alone was refused by the state is decided without features, the others with theirs."""
        found = [each for each in applied if isinstance(each, Applied)]
        known = [each for each, its in zip(submissions, applied, strict=True) if isinstance(its, Applied)]
        decided = iter(await self._with_features(known, found, deadline) if found else [])
        return [
            next(decided) if isinstance(its, Applied) else self._without_features(each, its.code)
            for each, its in zip(submissions, applied, strict=True)
        ]

    async def _with_features(
        self, submissions: Sequence[Submission], applied: Sequence[Applied], deadline: float
    ) -> list[tuple[Answer, State]]:
        vectors = np.stack([each.vector for each in applied])
        scored = await ladder.score(self._models.current, vectors, self._local, self._remote, deadline)
        states = [_state(each) for each in applied]
        if scored.scores is None or scored.model is None:
            reason = scored.fallback_reason or ladder.NO_MODEL
            return [
                (
                    self._by_fallback(
                        submission, reason, dict(zip(self._features.names, state.vector, strict=True))
                    ),
                    state,
                )
                for submission, state in zip(submissions, states, strict=True)
            ]
        reasons = self._reasons(scored.model, vectors)
        answers = [
            Answer(
                transaction_id=submission.event_id,
                score=score,
                decision=_decide(scored.model, score),
                reasons=why,
                model_version=scored.model.version,
                route=scored.route,
                backend=scored.backend,
                fallback_reason=scored.fallback_reason,
                degraded=scored.route != "champion",
                logged=True,
                trace_id=submission.trace_id,
                latency_ms=_elapsed_ms(submission),
            )
            for submission, score, why in zip(submissions, scored.scores.tolist(), reasons, strict=True)
        ]
        return list(zip(answers, states, strict=True))

    def _without_features(self, submission: Submission, reason: str) -> tuple[Answer, State]:
        """No model is asked without features: it never learned from payments that lack all of them."""
        return self._by_fallback(submission, reason, {}), NO_STATE

    def _by_fallback(self, submission: Submission, reason: str, features: dict[str, float]) -> Answer:
        known = {name: value for name, value in features.items() if value == value}  # noqa: PLR0124 (NaN is absent)
        values, _ = self._features.contract.event_check.read(submission.event)
        verdict = self._fallback.decide(known | values)
        return Answer(
            transaction_id=submission.event_id,
            score=None,
            decision=verdict.decision,
            reasons=[Reason(verdict.code, verdict.text)] if verdict.code else [],
            model_version=None,
            route=verdict.route,
            backend="none",
            fallback_reason=reason,
            degraded=True,
            logged=True,
            trace_id=submission.trace_id,
            latency_ms=_elapsed_ms(submission),
        )

    def _reasons(self, model: LoadedModel, vectors: Matrix) -> list[list[Reason]]:
        if model.trees is None:
            return [[] for _ in vectors]
        names = model.bundle.manifest.features
        wordings = [self._wordings[name] for name in names]
        return [
            list(islice(_said(names, wordings, vector, model.trees), REASONS))
            for vector in model.select(vectors)
        ]

    async def _log(
        self,
        submissions: Sequence[Submission],
        decided: Sequence[tuple[Answer, State]],
        deadline: float,
        pending: Pending | None,
    ) -> list[Outcome | None]:
        """Append the decisions and store their answers; what could not be logged says so.

        None for a decision that was refused because its epoch gave way. `pending`: the update that was too slow for them.
        """
        contents = [answer.encode() for answer, _ in decided]

        def finished(applied: Sequence[Applied | StateError] | None = None) -> list[Finished]:
            late = [state for _, state in decided]
            if applied:
                late = [_state(each) if isinstance(each, Applied) else NO_STATE for each in applied]
            return [
                (
                    submission,
                    content,
                    encode_record(answer, submission, state, self._features.hash),
                    state.epoch,
                )
                for submission, content, (answer, _), state in zip(
                    submissions, contents, decided, late, strict=True
                )
            ]

        try:
            if pending is None:
                claims = await self._store.finish(finished(), deadline)
            else:
                claims = await self._store.finish_late(pending, finished, deadline)
        except StoreUnavailable as error:
            metrics.UNLOGGED.inc(len(decided))
            unlogged = [_unlogged(answer, error.code) for answer, _ in decided]
            return [self._given(answer, answer.encode()) for answer in unlogged]
        return [
            self._given(answer, content)
            if claim.standing is Standing.OURS
            else None
            if claim.standing in (Standing.FENCED, Standing.LOST)
            else _settled(claim)
            for claim, (answer, _), content in zip(claims, decided, contents, strict=True)
        ]

    def _given(self, answer: Answer, content: bytes) -> Answered:
        metrics.DECISIONS.labels(self._source, answer.decision, answer.route, answer.backend).inc()
        if answer.fallback_reason:
            metrics.FALLBACKS.labels(answer.fallback_reason).inc()
        if answer.score is not None:
            metrics.SCORES.observe(answer.score)
        return Answered(content, logged=answer.logged)

    @staticmethod
    def _count_repeat(outcome: Outcome) -> None:
        if isinstance(outcome, Conflict):
            metrics.REPEATS.labels("conflict").inc()
        elif isinstance(outcome, Busy):
            metrics.REPEATS.labels("busy").inc()
        elif outcome.repeated:
            metrics.REPEATS.labels("answered").inc()


def _said(
    names: Sequence[str], wordings: Sequence[Wording], vector: Matrix, trees: Trees
) -> Iterator[Reason]:
    """Reasons, the weightiest first; a feature whose sentence its own value contradicts gives none."""
    for column, raised in trees.raising(vector):
        text = wordings[column].of(float(vector[column]))
        if text is not None:
            yield Reason(names[column], text, _number(vector[column]), round(raised, 4))


def _unlogged(answer: Answer, reason: str) -> Answer:
    return msgspec.structs.replace(
        answer, logged=False, degraded=True, fallback_reason=answer.fallback_reason or reason
    )


def _held(outcome: Outcome | None) -> Claim | None:
    return Claim(Standing.BUSY, lease_ms=outcome.retry_after_ms) if isinstance(outcome, Busy) else None


def _settled(claim: Claim) -> Outcome:
    if claim.standing is Standing.ANSWERED:
        return Answered(claim.answer, repeated=True)
    if claim.standing is Standing.CONFLICT:
        return Conflict()
    return Busy(claim.lease_ms)


def _state(applied: Applied) -> State:
    return State(applied.epoch, applied.seqs, applied.vector.tolist())


def _decide(model: LoadedModel, score: float) -> Decision:
    if score >= model.thresholds.decline:
        return "decline"
    return "review" if score >= model.thresholds.review else "approve"


def _number(value: np.float32) -> float | None:
    """A feature's value as JSON has it: six digits are enough for a reader, and NaN is null."""
    return None if np.isnan(value) else float(f"{value:.6g}")


def _elapsed_ms(submission: Submission) -> float:
    return round((time.monotonic() - submission.received) * 1000, 3)
