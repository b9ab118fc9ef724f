"""The domain, the order lifecycle and the broker contract of an execution framework.

What plugins derive their settings from is imported when it is first asked for: pydantic-settings takes longer to import
than all else here, and a command that looks into a store needs none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exec_core.broker import (
    AccountSummary,
    Availability,
    AvailabilityState,
    Broker,
    BrokerConfig,
    BrokerPlugin,
    BrokerPosition,
    Found,
    Mode,
    Placed,
    Snapshot,
    View,
)
from exec_core.capabilities import Capabilities, Idempotency
from exec_core.errors import (
    AnnouncedBreak,
    AuthenticationFailed,
    BrokerError,
    CancelRejected,
    ConfigurationError,
    ConnectionFailed,
    ExecError,
    NotificationDelayed,
    NotificationRefused,
    NotSent,
    OrderRejected,
    OrderUnsupported,
    OutcomeUnknown,
    PluginError,
)
from exec_core.fills import Commission, Fill
from exec_core.hookspecs import hookimpl
from exec_core.identifiers import AccountId, BrokerOrderId, ClientOrderId, ExecutionId, OrderKey, SignalId
from exec_core.instruments import AssetClass, Instrument, InstrumentDetails, Right
from exec_core.modifications import Modification
from exec_core.notifier import CheckableNotifier, Notification, Notifier, NotifierPlugin
from exec_core.orders import Leg, Order, OrderRequest, OrderStatus, OrderType, ReasonCode, Role, TimeInForce
from exec_core.plugins import BrokerFactory
from exec_core.reports import CommissionReport, FillReport, OrderReport, OrderTerms, Report, ReportStatus
from exec_core.sides import Side

if TYPE_CHECKING:
    from exec_core.settings import BrokerSettings, PluginSettings

__all__ = [
    "AccountId",
    "AccountSummary",
    "AnnouncedBreak",
    "AssetClass",
    "AuthenticationFailed",
    "Availability",
    "AvailabilityState",
    "Broker",
    "BrokerConfig",
    "BrokerError",
    "BrokerFactory",
    "BrokerOrderId",
    "BrokerPlugin",
    "BrokerPosition",
    "BrokerSettings",
    "CancelRejected",
    "Capabilities",
    "CheckableNotifier",
    "ClientOrderId",
    "Commission",
    "CommissionReport",
    "ConfigurationError",
    "ConnectionFailed",
    "ExecError",
    "ExecutionId",
    "Fill",
    "FillReport",
    "Found",
    "Idempotency",
    "Instrument",
    "InstrumentDetails",
    "Leg",
    "Mode",
    "Modification",
    "NotSent",
    "Notification",
    "NotificationDelayed",
    "NotificationRefused",
    "Notifier",
    "NotifierPlugin",
    "Order",
    "OrderKey",
    "OrderRejected",
    "OrderReport",
    "OrderRequest",
    "OrderStatus",
    "OrderTerms",
    "OrderType",
    "OrderUnsupported",
    "OutcomeUnknown",
    "Placed",
    "PluginError",
    "PluginSettings",
    "ReasonCode",
    "Report",
    "ReportStatus",
    "Right",
    "Role",
    "Side",
    "SignalId",
    "Snapshot",
    "TimeInForce",
    "View",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name not in {"BrokerSettings", "PluginSettings"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from exec_core import settings

    return getattr(settings, name)
