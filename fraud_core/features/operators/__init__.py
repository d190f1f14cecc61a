"""The vocabulary of features.yaml: one operator per file, each compiling a declaration to slots and a node."""

from fraud_core.features.ask import Operator
from fraud_core.features.operators import (
    category,
    clean_since_fraud,
    count,
    days_since,
    differs,
    distance,
    distance_from_last,
    distinct,
    field,
    first_seen,
    fraud_rate,
    frauds,
    hour,
    max,
    mean,
    median,
    night,
    present,
    quantile,
    ratio,
    since_fraud,
    since_last,
    since_same,
    speed,
    std,
    weekday,
    zscore,
)
from fraud_core.features.operators import (
    sum as sum_,
)

OPERATORS: dict[str, Operator] = {
    module.OPERATOR.name: module.OPERATOR
    for module in (
        category,
        clean_since_fraud,
        count,
        days_since,
        differs,
        distance,
        distance_from_last,
        distinct,
        field,
        first_seen,
        fraud_rate,
        frauds,
        hour,
        max,
        mean,
        median,
        night,
        present,
        quantile,
        ratio,
        since_fraud,
        since_last,
        since_same,
        speed,
        std,
        weekday,
        zscore,
        sum_,
    )
}
