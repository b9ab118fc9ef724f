"""The composition root: the only module that knows concrete stores, buses and notifiers.

What only a running service needs is imported when one is opened: commands that look into the store begin sooner.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from exec_core.broker import BrokerConfig, Mode
from exec_core.capabilities import Capabilities
from exec_core.clock import utc_now
from exec_core.errors import ConfigurationError, PluginError
from exec_core.identifiers import AccountId
from exec_core.plugins import load_broker_plugin, plugin_settings

from exec_service.accounts import LONGEST_NAME, MOCK
from exec_service.buses import Bus, BusError, BusUnavailable
from exec_service.checks import Check, Outcome
from exec_service.settings import Settings
from exec_service.stores import Store, StoreError, StoreUnavailable

if TYPE_CHECKING:
    import tenacity

    from exec_service.intake import Intake
    from exec_service.outbox import Channel
    from exec_service.service import Service

logger = logging.getLogger(__name__)

T = TypeVar("T", Store, Bus)

LAST_PORT = 65_535
#: Where whoever wants to know what became of an order may listen; `set_up` makes it.
CONFIRMATIONS_SUBSCRIPTION = "execution-confirmations-sub"


def make_store(settings: Settings, *, prepare: bool = True) -> Store:
    """The store that the settings ask for; without `prepare`, one that makes nothing where nothing is.

    :raises StoreError: the embedded store's directory cannot be made.
    """
    if settings.mongodb_uri is not None and not settings.embedded:
        from exec_service.stores.mongo import MongoStore

        return MongoStore(settings.mongodb_uri, settings.mongodb_database, prepare=prepare)
    from exec_service.stores.sqlite import SqliteStore

    try:
        settings.exec_data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # Waiting would not help, unlike with a store that is locked.
        raise StoreError(f"EXEC_DATA_DIR: {settings.exec_data_dir} cannot be made: {error.strerror}") from error
    return SqliteStore(settings.exec_data_dir)


def store_exists(settings: Settings) -> bool:
    """Whether a service has made the embedded store: looking must not make one. MongoDB's tells when it is opened."""
    if not settings.embedded:
        return True
    from exec_service.stores.sqlite import FILE_NAME as STORE_FILE

    return (settings.exec_data_dir / STORE_FILE).is_file()


def make_bus(settings: Settings, extra_subscriptions: Mapping[str, str] | None = None, *, consume: bool = True) -> Bus:
    """The bus that the settings ask for; `extra_subscriptions` maps more subscriptions to their topics.

    Without `consume` it is for publishing orders only: on Pub/Sub nothing but the orders topic need be there.
    """
    subscriptions = {settings.trading_orders_subscription: settings.trading_orders_topic, **(extra_subscriptions or {})}
    if settings.embedded:
        from exec_service.buses.sqlite import SqliteBus

        return SqliteBus(settings.exec_data_dir, consumer=settings.worker_id, subscriptions=subscriptions)
    from exec_service.buses.pubsub import PubSubBus

    if not consume:
        return PubSubBus(settings.pubsub_project_id, topics=[settings.trading_orders_topic])
    topics = [settings.trading_orders_topic, settings.execution_confirmations_topic]
    return PubSubBus(settings.pubsub_project_id, topics=topics, subscriptions=subscriptions)


async def set_up(settings: Settings) -> list[str]:
    """Make what the service needs of its bus and store; one sentence for each thing. Doing it again is fine.

    :raises StoreError: the store cannot be made ready.
    :raises BusError: the bus cannot be made ready.
    """
    done = []
    if not settings.embedded:
        from exec_service.buses.pubsub_setup import set_up as set_up_pubsub

        done += await set_up_pubsub(
            settings.pubsub_project_id,
            orders_topic=settings.trading_orders_topic,
            orders_subscription=settings.trading_orders_subscription,
            confirmations_topic=settings.execution_confirmations_topic,
            confirmations_subscription=CONFIRMATIONS_SUBSCRIPTION,
        )
    else:
        extra = {CONFIRMATIONS_SUBSCRIPTION: settings.execution_confirmations_topic}
        async with make_bus(settings, extra):
            done.append(f"The bus in {settings.exec_data_dir.resolve()} is ready.")
    async with make_store(settings):
        where = settings.exec_data_dir.resolve() if settings.embedded else f"database {settings.mongodb_database}"
        done.append(f"The store in {where} is ready: collections, indexes, schema version.")
    return done


async def examine(settings: Settings) -> list[Check]:
    """What there is to say of the bus and the store, for ``doctor``. Nothing is made, nothing is raised."""
    if settings.mongodb_uri is None or settings.embedded:
        return await _examine_embedded(settings)
    from exec_service.buses import pubsub_checks
    from exec_service.stores import mongo_checks

    found = await asyncio.gather(
        mongo_checks.examine(settings.mongodb_uri, settings.mongodb_database),
        pubsub_checks.examine(
            settings.pubsub_project_id,
            orders_topic=settings.trading_orders_topic,
            orders_subscription=settings.trading_orders_subscription,
            confirmations_topic=settings.execution_confirmations_topic,
        ),
    )
    return [check for checks in found for check in checks]


async def _examine_embedded(settings: Settings) -> list[Check]:
    where = settings.exec_data_dir.resolve()
    if not store_exists(settings):
        text = f"{where} holds no store yet; the first start makes it"
        return [Check("embedded", "store and bus", Outcome.WARNING, text, "exec-service setup --embedded")]
    checks = []
    for name, make in (("store", lambda: make_store(settings)), ("bus", lambda: make_bus(settings))):
        try:
            async with make():
                checks.append(Check("embedded", name, Outcome.OK, f"The {name} in {where} opens"))
        except (StoreError, BusError) as error:
            fix = "See that the directory is writable, its disk is not full, and its files are of this release"
            checks.append(Check("embedded", name, Outcome.FAILED, str(error), fix))
    return checks


def check(settings: Settings, *, workers: int = 1) -> None:
    """Load every plugin that is needed, and check their settings, before anything is started.

    With several `workers` also what several processes need besides.

    :raises ConfigurationError: a plugin is missing or broken, or its settings cannot be used; all mistakes at once.
    """
    from exec_service.notifier_plugins import make_notifiers

    found = list(_worker_problems(settings, workers))
    for config in _configs(settings):
        try:
            plugin_settings(load_broker_plugin(config.broker), config)
        except ConfigurationError as error:
            found.extend(error.problems)
        except PluginError as error:
            found.append(f"account {config.account_id}: {error}")
    try:
        make_notifiers()
    except ConfigurationError as error:
        found.extend(error.problems)
    if found:
        raise ConfigurationError(*found)


def has_mock_in_memory(settings: Settings) -> bool:
    """Whether a mock account keeps its venue in the memory of one process; the settings have passed `check`."""
    mocks = [config for config in _configs(settings) if config.broker == MOCK]
    made = [plugin_settings(load_broker_plugin(config.broker), config) for config in mocks]
    return any(getattr(one, "state_file", None) is None for one in made)


def _configs(settings: Settings) -> list[BrokerConfig]:
    """What each account's broker is made of; with one for the mock where it serves any account."""
    configs = [settings.broker_config(account) for account in settings.accounts_or_mock.values()]
    return [*configs, BrokerConfig(MOCK, AccountId("any"))] if settings.serves_any_account else configs


def _worker_problems(settings: Settings, workers: int) -> Iterator[str]:
    """What keeps so many workers from having an id and a port each."""
    if workers == 1:
        return
    room = LONGEST_NAME - len(f"-{workers}")
    if len(settings.worker_id) > room:
        yield f"WORKER_ID: must be at most {room} characters with --workers {workers}, because each adds its number"
    if settings.health_port is not None and settings.health_port + workers - 1 > LAST_PORT:
        most = LAST_PORT - workers + 1
        yield f"HEALTH_PORT: must be at most {most} with --workers {workers}, because each takes the next port"


class Stopped(Exception):
    """A stop was asked for while something was being opened."""


@asynccontextmanager
async def open_service(
    settings: Settings,
    redact: Callable[[str], str],
    stop: asyncio.Event | None = None,
    *,
    expected_workers: int = 1,
) -> AsyncIterator[Service]:
    """The service, wired, on an open store and bus; `stop` ends the waiting for those."""
    from exec_service import delivery
    from exec_service.notifier_plugins import make_notifiers

    stop = stop or asyncio.Event()
    async with AsyncExitStack() as stack:
        store = await _opened(stack, lambda: make_store(settings), settings.startup_timeout_seconds, stop)
        bus = await _opened(stack, lambda: make_bus(settings), settings.startup_timeout_seconds, stop)
        channels = [delivery.confirmations(bus, settings.execution_confirmations_topic), delivery.signals(store)]
        names = []
        for plugin, notifier in make_notifiers():
            await stack.enter_async_context(notifier)
            seconds, digest_above = plugin.send_timeout_seconds, plugin.digest_above
            channels.append(delivery.notifications(plugin.name, notifier, seconds, digest_above))
            names.append(plugin.name)
        yield assemble(settings, store, bus, channels, names, redact, expected_workers=expected_workers)


async def _opened(stack: AsyncExitStack, make: Callable[[], T], seconds: float, stop: asyncio.Event) -> T:
    """A store or a bus, entered; one that is away is tried again for so many seconds, then its error is raised."""
    import tenacity

    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type((StoreUnavailable, BusUnavailable)),
        stop=tenacity.stop_after_delay(seconds),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=3),
        sleep=lambda seconds: _unless_stopped(asyncio.sleep(seconds), stop),
        before_sleep=_not_ready_yet,
        reraise=True,
    ):
        with attempt:
            component = make()
            await _unless_stopped(component.__aenter__(), stop)
            stack.push_async_exit(component)
            return component
    raise AssertionError("a retry ends with a result or an error")


async def _unless_stopped(work: Coroutine[Any, Any, Any], stop: asyncio.Event) -> None:
    """Do the work. :raises Stopped: a stop came before its end; the work was cancelled."""
    doing, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([doing, stopping], return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
            return
    finally:
        stopping.cancel()
        if not doing.done():
            doing.cancel()
            await asyncio.wait([doing])
    raise Stopped


def _not_ready_yet(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    logger.warning("Not ready yet, trying again: %s", error)


def _run_mode(settings: Settings) -> Mode:
    """The run's mode: that of its account that is nearest to real money."""
    modes = {account.mode for account in settings.accounts_or_mock.values()}
    return next((mode for mode in (Mode.LIVE, Mode.PAPER) if mode in modes), Mode.MOCK)


def assemble(
    settings: Settings,
    store: Store,
    bus: Bus,
    channels: list[Channel],
    notifiers: list[str],
    redact: Callable[[str], str],
    *,
    expected_workers: int = 1,
) -> Service:
    """Wire a service onto a store and a bus."""
    from exec_service.commands import Commands
    from exec_service.execution import Execution
    from exec_service.intake import Intake
    from exec_service.ledger import Ledger
    from exec_service.outbox import Outbox
    from exec_service.ownership import Owner
    from exec_service.projections import Projector
    from exec_service.service import Parts, Service

    account = settings.account
    projector = Projector(account, notifiers, _run_mode(settings))
    ledger = Ledger(store, projector, utc_now)
    plugins = functools.cache(load_broker_plugin)

    def capabilities(broker: str) -> Capabilities | None:
        try:
            return plugins(broker).capabilities
        except PluginError as error:
            logger.debug("What %s can do is not known: %s", broker, error)  # its accounts say so, loudly
            return None

    execution = Execution(
        ledger,
        utc_now,
        account=account,
        capabilities=capabilities,
        max_age_seconds=settings.order_max_age_seconds,
        redact=redact,
    )
    owner = Owner(store, settings.worker_id, settings.worker_lease_seconds)
    commands = Commands(store, ledger, execution, utc_now, owner.owns, projector.tell)
    parts = Parts(
        settings=settings,
        store=store,
        owner=owner,
        ledger=ledger,
        execution=execution,
        projector=projector,
        outbox=Outbox(store, ledger, utc_now, channels, owner.may_send),
        commands=commands,
        clock=utc_now,
        plugins=plugins,
        account=account,
        redact=redact,
        expected_workers=expected_workers,
    )

    def make_intake(service: Service) -> Intake:
        return Intake(
            bus,
            store,
            ledger,
            execution,
            projector,
            utc_now,
            subscription=settings.trading_orders_subscription,
            environment=settings.environment,
            account_names=settings.account_names(),
            claim=service.claim,
            accepted=service.accept,
            repeated=service.notice,
            backlog=service.backlog,
        )

    return Service(parts, make_intake)
