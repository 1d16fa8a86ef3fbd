"""The devices: peaks of chips, and what their drivers read."""
