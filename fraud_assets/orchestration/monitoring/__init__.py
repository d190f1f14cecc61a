"""What is watched while models are live."""
