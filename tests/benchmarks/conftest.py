"""The `bench` mark: `pytest -m bench` runs these alone."""


def pytest_configure(config):
    config.addinivalue_line("markers", "bench: compares speed and numbers with other programs")
