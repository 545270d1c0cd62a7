"""`relprop coverage`: the plan, before anything is computed."""

from __future__ import annotations

from typing import Annotated

import torch
import typer

import relprop
from relprop import models
from relprop.app.cli.options import (
    FlatUntil,
    Model,
    RandomWeights,
    Rules,
    Weights,
    chosen_preset,
    whole_numbers,
)
from relprop.app.model_source import load_model
from relprop.data import Preprocessing
from relprop.errors import InvalidInput


def coverage(
    model: Model,
    weights: Weights = None,
    random_weights: RandomWeights = False,
    rules: Rules = None,
    flat_until: FlatUntil = None,
    input_shape: Annotated[
        str | None,
        typer.Option(help="CHANNELS,HEIGHT,WIDTH of one input; by default the model's own."),
    ] = None,
) -> None:
    """Print what relprop takes each operation of a model for, and the rule that it gets.

    Ends in exit code 1 where an operation is refused.
    """
    given = None
    if input_shape is not None:
        given = tuple(whole_numbers(input_shape, "--input-shape", example="3,224,224"))
    preset = chosen_preset(rules)
    # The plan does not depend on the weights, which for some models would have to be fetched.
    random_weights = random_weights or (model in models.names() and weights is None)
    network = load_model(model, weights=weights, random_weights=random_weights)
    inputs = torch.zeros(1, *(given or _shape(network)))
    found = relprop.Explainer(network, preset, flat_until=flat_until).coverage(inputs)
    print(found)
    if found.refused:
        raise typer.Exit(1)


def _shape(network: torch.nn.Module) -> tuple[int, ...]:
    preprocessing = getattr(network, "preprocessing", None)
    if not isinstance(preprocessing, Preprocessing):
        raise InvalidInput(
            "the shape of this model's input is not known: give --input-shape, such as 3,224,224"
        )
    return (preprocessing.channels, *preprocessing.size)
