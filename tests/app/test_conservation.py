import torch

from relprop.app.conservation import conservation_line


def totals(**figures):
    names = ("received", "passed", "bias", "stabiliser", "lost", "remainder")
    return {name: torch.tensor([[0.0, figures.get(name, 0.0)]]) for name in names}


def test_every_share_has_its_sign():
    given = totals(received=3, passed=-1, bias=-2, stabiliser=1, lost=5)
    line = "output 3.0000 = input relevance -1.0000 - bias 2.0000 + stabiliser 1.0000 + lost 5.0000"
    assert conservation_line(given, 0, 1) == line


def test_zero_has_no_sign():
    given = totals(received=3, passed=3, bias=-1e-9, stabiliser=-1e-7)
    assert "+ bias 0.0000 + stabiliser 0.0000" in conservation_line(given, 0, 1)


def test_nothing_lost_is_not_mentioned_and_a_remainder_is():
    given = totals(received=3, passed=3, lost=1e-6, remainder=1e-6)
    assert conservation_line(given, 0, 1).endswith("+ stabiliser 0.0000")
    given = totals(received=3, passed=2, remainder=1)
    assert conservation_line(given, 0, 1).endswith("; unaccounted for 1.0000")
