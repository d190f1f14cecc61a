from fraud_serving.models.breaker import Breaker


def test_it_opens_after_failures_in_a_row_and_lets_one_caller_try_later() -> None:
    now = [0.0]
    breaker = Breaker(failures=2, retry_after_s=1.0, clock=lambda: now[0])
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    assert breaker.allows()
    breaker.failed()
    assert not breaker.allows()
    now[0] = 1.0
    assert [breaker.allows(), breaker.allows()] == [True, False]
    breaker.succeeded()
    assert breaker.allows()


def test_without_a_retry_time_only_success_closes_it() -> None:
    breaker = Breaker(failures=1, retry_after_s=None, clock=lambda: 1e9)
    breaker.failed()
    assert not breaker.allows()
    breaker.succeeded()
    assert breaker.allows()
