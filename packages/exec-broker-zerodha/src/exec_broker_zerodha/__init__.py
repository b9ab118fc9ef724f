"""The plugin `zerodha`: hands over its record, nothing else."""

from exec_core.broker import BrokerPlugin
from exec_core.hookspecs import hookimpl


@hookimpl
def exec_register_broker() -> BrokerPlugin:
    """Zerodha, through Kite Connect, as a broker."""
    from exec_broker_zerodha.broker import PLUGIN

    return PLUGIN
