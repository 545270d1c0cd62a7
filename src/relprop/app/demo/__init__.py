"""The demo: what relprop finds in real digits and real photographs."""

from relprop.app.demo.run import run_demo

__all__ = ["run_demo"]
