"""Settings of all tests."""

from hypothesis import settings

# no deadline for an example: two busy cores are slow now and then
settings.register_profile("comity", deadline=None, max_examples=60)
settings.load_profile("comity")
