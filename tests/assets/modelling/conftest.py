"""One training set and one trained model for all tests of modelling."""

import pytest

from fraud_assets.modelling.training import Parameters, TrainedModel, train
from fraud_assets.modelling.training_set import TrainingSet, select_training_rows
from tests.assets.modelling.samples import END, FEATURES, MATURITY, ROLES, payments


@pytest.fixture(scope="session")
def training_set() -> TrainingSet:
    features, labels = payments()
    return select_training_rows(features, labels, END, MATURITY, roles=ROLES, feature_names=FEATURES)


@pytest.fixture(scope="session")
def parameters() -> Parameters:
    return Parameters(device="cpu", rounds=80, stop_after=10, max_bin=512)


@pytest.fixture(scope="session")
def model(training_set: TrainingSet, parameters: Parameters) -> TrainedModel:
    return train(training_set, parameters)
