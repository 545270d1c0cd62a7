"""Every other way to explain, beside LRP: one signature, `method(model, inputs, target)`."""

from .registry import METHODS, Method, find, register

__all__ = ["METHODS", "Method", "find", "register"]
