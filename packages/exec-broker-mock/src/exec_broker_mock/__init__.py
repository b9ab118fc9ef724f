"""The plugin `mock`: hands over its record, nothing else."""

from exec_core.broker import BrokerPlugin
from exec_core.hookspecs import hookimpl


@hookimpl
def exec_register_broker() -> BrokerPlugin:
    """The small venue with a durable book, as a broker."""
    from exec_broker_mock.broker import PLUGIN

    return PLUGIN
