"""Google Cloud Pub/Sub in memory, over real gRPC on 127.0.0.1, that misbehaves on command.

The real client talks to it: let PUBSUB_EMULATOR_HOST say `server.host`, in this process or another. It does what
Pub/Sub promises (`pubsub_memory`; it passes the bus conformance suite), and counts what arrives. `script` says what
goes wrong (`pubsub_faults`), one fault per request of that kind, in the order of their arrival:

    async with PubSubServer() as server:
        server.add_topic(project, "orders")
        server.add_subscription(project, "orders-sub", "orders", ack_deadline_seconds=20)
        server.script("Publish", Fail(StatusCode.UNAVAILABLE, applied=True))  # done, but the answer is lost
        server.script("Pull", Empty(), Reversed(), Repeated())
        server.script("Acknowledge", *[Fail(StatusCode.INTERNAL)] * 3)
        ...
        assert server.count("Publish") == 1
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Self

import grpc
from google.iam.v1 import iam_policy_pb2
from google.protobuf import empty_pb2
from google.pubsub_v1 import types
from grpc import StatusCode
from pubsub_faults import Empty, Fail, Fault, Half, Late, Normal, Repeated, Reversed, Stall, Surplus
from pubsub_memory import MAX_PER_REQUEST, TIME_REMAINING, PubSubMemory, Refusal

PUBLISHER, SUBSCRIBER, POLICY = "google.pubsub.v1.Publisher", "google.pubsub.v1.Subscriber", "google.iam.v1.IAMPolicy"


class PubSubServer(PubSubMemory):
    """The server. Enter it to start; its state outlives `stop`, `start` and `restart`, but not `forget`."""

    def __init__(self, *, long_poll_seconds: float = 60.0, permissions: Iterable[str] | None = None) -> None:
        """`long_poll_seconds`: how long a pull waits for its first message. `permissions`: what the client may do,
        as test_iam_permissions tells; None: that request is not implemented, as in Google's emulator."""
        super().__init__(long_poll_seconds)
        self.permissions = None if permissions is None else set(permissions)
        #: Every request that arrived, by the name of its method.
        self.requests: dict[str, list[Any]] = defaultdict(list)
        #: How many requests of each method are being worked on, and how many at most there were at once.
        self.active: dict[str, int] = defaultdict(int)
        self.most_active: dict[str, int] = defaultdict(int)
        self._scripts: dict[str, deque[Fault]] = defaultdict(deque)
        self._released = asyncio.Event()
        self._server: Any = None
        self._port = 0

    @property
    def host(self) -> str:
        """What PUBSUB_EMULATOR_HOST is to say; stays the same across restarts."""
        return f"127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()
        await self.stop()

    async def start(self) -> None:
        """Listen, on the port of before if there was one."""
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.http2.max_ping_strikes", 0),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 10),
                ("grpc.so_reuseport", 0),
            ]
        )
        self._server.add_generic_rpc_handlers(self._handlers())
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        await self._server.start()

    async def stop(self) -> None:
        """Drop every connection and request, and refuse new ones."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def restart(self) -> None:
        """Drop every connection; nothing is forgotten."""
        await self.stop()
        await self.start()

    # ------------------------------------------------------------------ for the test

    def script(self, method: str, *faults: Fault) -> None:
        """What the next requests of this method meet, one each; after them it works again."""
        self._scripts[method].extend(faults)

    def release(self) -> None:
        """Let the stalled requests go on."""
        self._released.set()
        self._released = asyncio.Event()

    def count(self, method: str) -> int:
        """How many requests of the method have arrived."""
        return len(self.requests[method])

    async def arrived(self, method: str, number: int = 1) -> None:
        """Wait until so many requests of the method have arrived, since the beginning."""
        while self.count(method) < number:
            await self.changed(None)

    async def idle(self, method: str) -> None:
        """Wait until no request of the method is being worked on."""
        while self.active[method]:
            await self.changed(None)

    # ------------------------------------------------------------------ requests

    def _handlers(self) -> Sequence[Any]:
        services: dict[str, dict[str, tuple[Any, Any, Callable[[Any], Any]]]] = {
            PUBLISHER: {
                "CreateTopic": (types.Topic, types.Topic, self.create_topic),
                "GetTopic": (types.GetTopicRequest, types.Topic, self.get_topic),
                "DeleteTopic": (types.DeleteTopicRequest, None, self.delete_topic),
                "Publish": (types.PublishRequest, types.PublishResponse, self.publish_request),
            },
            SUBSCRIBER: {
                "CreateSubscription": (types.Subscription, types.Subscription, self.create_subscription),
                "GetSubscription": (types.GetSubscriptionRequest, types.Subscription, self.get_subscription),
                "UpdateSubscription": (types.UpdateSubscriptionRequest, types.Subscription, self.update_subscription),
                "DeleteSubscription": (types.DeleteSubscriptionRequest, None, self.delete_subscription),
                "Acknowledge": (types.AcknowledgeRequest, None, self.acknowledge),
                "ModifyAckDeadline": (types.ModifyAckDeadlineRequest, None, self.modify_ack_deadline),
                "Pull": (types.PullRequest, types.PullResponse, self.pull),
            },
        }
        handlers = [
            grpc.method_handlers_generic_handler(
                service,
                {
                    method: grpc.unary_unary_rpc_method_handler(
                        self._handler(method, work),
                        request_deserializer=request.pb().FromString,
                        response_serializer=(response.pb() if response else empty_pb2.Empty).SerializeToString,
                    )
                    for method, (request, response, work) in methods.items()
                },
            )
            for service, methods in services.items()
        ]
        policy = grpc.unary_unary_rpc_method_handler(
            self._handler("TestIamPermissions", self._test_permissions),
            request_deserializer=iam_policy_pb2.TestIamPermissionsRequest.FromString,
            response_serializer=iam_policy_pb2.TestIamPermissionsResponse.SerializeToString,
        )
        return [*handlers, grpc.method_handlers_generic_handler(POLICY, {"TestIamPermissions": policy})]

    def _handler(self, method: str, work: Callable[[Any], Any]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def handle(request: Any, context: Any) -> Any:
            self.requests[method].append(request)
            TIME_REMAINING.set(context.time_remaining())
            self.active[method] += 1
            self.most_active[method] = max(self.most_active[method], self.active[method])
            self.announce()
            script = self._scripts[method]
            fault = script.popleft() if script else Normal()
            try:
                return await self._answer(method, work, request, fault)
            except Refusal as refusal:
                await context.abort(refusal.code, str(refusal))
            finally:
                self.active[method] -= 1
                self.announce()

        return handle

    async def _answer(self, method: str, work: Callable[[Any], Any], request: Any, fault: Fault) -> Any:
        match fault:
            case Fail(code, details, applied):
                if applied:
                    await self._done(work, request)
                raise Refusal(code, details)
            case Stall(applied):
                released = self._released
                answer = await self._done(work, request) if applied else None
                await released.wait()
                return answer if applied else await self._done(work, request)
            case Late(seconds):
                answer = await self._done(work, request)
                await asyncio.sleep(seconds)
                return answer
            case Half(code):
                self.publish(request.topic, list(request.messages)[: len(request.messages) // 2])
                raise Refusal(code, "scripted")
            case Empty():
                return types.PullResponse.pb()()
            case Surplus():
                request.max_messages = MAX_PER_REQUEST
                return await self._done(work, request)
            case Reversed():
                answer = await self._done(work, request)
                return types.PullResponse.pb()(received_messages=list(answer.received_messages)[::-1])
            case Repeated():
                answer = await self._done(work, request)
                return types.PullResponse.pb()(received_messages=[*answer.received_messages] * 2)
            case Normal():
                return await self._done(work, request)

    async def _done(self, work: Callable[[Any], Any], request: Any) -> Any:
        answer = work(request)
        if asyncio.iscoroutine(answer):
            answer = await answer
        return empty_pb2.Empty() if answer is None else answer

    def _test_permissions(self, request: Any) -> Any:
        if self.permissions is None:
            raise Refusal(StatusCode.UNIMPLEMENTED, "")
        granted = [name for name in request.permissions if name in self.permissions]
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=granted)
