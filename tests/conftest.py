"""What all tests share: seeded random numbers."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded():
    """The same random numbers for every test, whatever ran before it."""
    torch.manual_seed(0)
