"""The plugin `ibkr`: hands over its record, nothing else."""

from exec_core.broker import BrokerPlugin
from exec_core.hookspecs import hookimpl


@hookimpl
def exec_register_broker() -> BrokerPlugin:
    """Interactive Brokers, through TWS or IB Gateway, as a broker."""
    from exec_broker_ibkr.broker import PLUGIN

    return PLUGIN
