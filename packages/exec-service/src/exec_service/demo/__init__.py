"""A day of orders through the service as users run it: a process of its own, killed once, and checked at the end."""

from exec_service.demo.story import run_demo
from exec_service.demo.world import DemoFailed

__all__ = ["DemoFailed", "run_demo"]
