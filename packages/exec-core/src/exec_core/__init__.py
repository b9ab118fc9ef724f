"""The domain, the order lifecycle and the broker contract of an execution framework."""

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
from exec_core.settings import BrokerSettings, PluginSettings
from exec_core.sides import Side

__all__ = [
    "AccountId",
    "AccountSummary",
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
