"""Who answers for the assets."""

OWNERS = ["team:ml-platform"]
