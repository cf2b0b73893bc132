"""Credentials, and processes that hear of them."""

import pytest

from storage.identity.service import CredentialService
from support.faults.outages import process
from wiring.process import Services


@pytest.fixture
def service(alone: Services) -> CredentialService:
    return alone.jobs.credentials


@pytest.fixture
def other(alone: Services) -> Services:
    """Another process, which hears of things by PostgreSQL alone."""
    return process(alone)
