"""The plugin `acme`: hands over its record, nothing else."""

from exec_core import BrokerPlugin, hookimpl


@hookimpl
def exec_register_broker() -> BrokerPlugin:
    """Acme, as a broker."""
    from exec_broker_acme.broker import PLUGIN

    return PLUGIN
