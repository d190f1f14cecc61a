"""Training set, model, evaluation, release."""
